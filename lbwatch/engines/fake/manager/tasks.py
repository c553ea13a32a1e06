"""
The copies of tasks that managers answer from, which lag behind what the leader decided, and the filters of a list.

The lag is that of a log: whoever sees a change has seen all before it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from lbwatch.engines.fake.manager.answers import task_answer
from lbwatch.engines.fake.manager.state import STATES, SwarmState, Task
from lbwatch.engines.fake.requests import Filters, has_labels
from lbwatch.engines.fake.state import InvalidError, NotFoundError

TASK_FILTERS = frozenset({"desired-state", "id", "label", "name", "node", "runtime", "service", "_up-to-date"})
"""What `GET /tasks` takes (20.10 and 28.5, measured); any other is refused with 400, `version` too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    id: str
    name: str
    service: str
    node: str
    desired: str
    labels: Mapping[str, str]  # of its service: what swarmkit compares with (src, controlapi/task.go)
    answer: bytes


class TaskReplica:
    """
    All tasks as managers answer them.

    Args:
        state: What is true.
        monotonic: Clock, in seconds.

    Attributes:
        lag_s: Returns after how many seconds the next change is seen.
    """

    def __init__(self, state: SwarmState, *, monotonic: Callable[[], float]) -> None:
        self.lag_s: Callable[[], float] = lambda: 0.0
        self._state = state
        self._monotonic = monotonic
        self._pending: deque[tuple[float, str, str, _Seen | None]] = deque()
        self._visible: dict[str, _Seen] = {}
        self._of_service: dict[str, dict[str, _Seen]] = {}

    def record(self, task: Task) -> None:
        """Record that a task changed."""
        seen = _Seen(
            id=task.id,
            name=task.name,
            service=task.service.id,
            node=task.node.id if task.node is not None else "",
            desired=task.desired,
            labels=task.spec.labels,
            answer=task_answer(task, state=self._state),
        )
        self._append(task, seen)

    def drop(self, task: Task) -> None:
        """Record that a task is gone from the history."""
        self._append(task, None)

    def _append(self, task: Task, seen: _Seen | None) -> None:
        at = self._monotonic() + self.lag_s()
        if self._pending:
            at = max(at, self._pending[-1][0])
        self._pending.append((at, task.id, task.service.id, seen))

    def find(self, ref: str) -> bytes:
        """Return the answer of one task. Raises `NotFoundError`."""
        self._catch_up()
        matches = [self._visible[ref]] if ref in self._visible else self._beginning_with(ref)
        if len(matches) != 1:
            raise NotFoundError(f"task {ref} not found")
        return matches[0].answer

    def listed(self, filters: Filters) -> list[bytes]:
        """
        Return the answers of the tasks that pass, by id.

        Raises:
            NotFoundError: A service or a node in the filters does not exist: moby looks it up first.
            InvalidError: There is no such state.
        """
        self._catch_up()
        state = self._state
        services = {state.find_service(ref).id for ref in filters.get("service", ())}
        nodes = {state.find_node(ref).id for ref in filters.get("node", ())}
        desired = filters.get("desired-state", frozenset())
        if unknown := desired - {*STATES}:
            raise InvalidError(f"Invalid desired-state filter: {min(unknown)!r}")
        found: Iterable[_Seen] = self._visible.values()
        if services:
            found = [seen for id in services for seen in self._of_service.get(id, {}).values()]
        chosen = (
            seen
            for seen in found
            if (not nodes or seen.node in nodes)
            and (not desired or seen.desired in desired)
            and _begins(seen.id, filters.get("id"))
            and _begins(seen.name, filters.get("name"))
            and has_labels(seen.labels, wanted=filters.get("label"))
        )
        return [seen.answer for seen in sorted(chosen, key=lambda seen: seen.id)]

    def _beginning_with(self, ref: str) -> list[_Seen]:
        return [seen for id, seen in self._visible.items() if ref and id.startswith(ref)]

    def _catch_up(self) -> None:
        now = self._monotonic()
        while self._pending and self._pending[0][0] <= now:
            _, id, service, seen = self._pending.popleft()
            if seen is None:
                self._visible.pop(id, None)
                self._of_service.get(service, {}).pop(id, None)
            else:
                self._visible[id] = seen
                self._of_service.setdefault(service, {})[id] = seen


def _begins(text: str, wanted: frozenset[str] | None) -> bool:
    return not wanted or any(text.startswith(value) for value in wanted)
