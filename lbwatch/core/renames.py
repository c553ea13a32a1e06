"""
Which containers go by their former name for a moment, because they were renamed.

A deploy by hand is a sequence: `docker rename web web-old`, `docker rename web-new web`, `docker rm -f web-old`. The
half of it would take the upstream `web` away and bring it back, as if its container had died. So whoever is renamed
keeps the upstream of its former name until another container serves under that, or a moment has passed. Plain
arithmetic on seconds of the loop's clock; no clock is read here.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lbwatch.core.model import Container, ContainerStatus, Health

KEEP_NAME_S = 1.5
"""
How long a former name counts: a script has renamed the next one by then, also if it logs in for each command. With the
pace of reloads it is still within the 3 s in which every change is promised to be in force.
"""

MAX_FREED = 10_000
"""How many names of removed containers are remembered at most; more go in these seconds on no engine."""


@dataclass(slots=True, kw_only=True)
class _Seen:
    """
    What was seen of one container.

    Attributes:
        name: Its name.
        since: Loop time since which it has that; minus infinity where it never had another.
        serves: Whether it runs and is ready.
        served_at: Loop time at which it was seen last to do so, or not to do so any more.
    """

    name: str
    since: float
    serves: bool = False
    served_at: float = -math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """A former name, and the loop time until which it counts."""

    name: str
    until: float


class Renames:
    """The memory of names; one for all sources."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}  # by id
        self._serving: dict[str, str] = {}  # ids of those that serve, by name
        self._kept: dict[str, _Kept] = {}  # by id, of those that were renamed just now
        self._freed: dict[str, float] = {}  # names that no server has any more: until when that counts

    def former_names(self, changed: Iterable[Container], *, gone: Iterable[str], now: float) -> Mapping[str, str]:
        """
        Return the former names of those that were renamed just now, by id.

        Args:
            changed: Those that may be another than at the call before, as they are now; any others do no harm.
            gone: Ids of those that are no more.
            now: Loop time, in seconds; never less than at the call before.
        """
        for id in gone:
            self._forget(id, now=now)
        renamed = [self._note(container, now=now) for container in changed]
        self._take_over([id for id in renamed if id is not None], now=now)
        self._let_pass(now=now)
        return {id: kept.name for id, kept in self._kept.items()}

    def changes_at(self) -> float | None:
        """Return the loop time at which the next former name ends to count; `None`: none does."""
        return min((kept.until for kept in self._kept.values()), default=None)

    def _forget(self, id: str, *, now: float) -> None:
        """Forget a container, and let whoever takes over its name just now do so at once."""
        self._kept.pop(id, None)
        seen = self._seen.pop(id, None)
        if seen is None:
            return
        self._end_serving(id, seen, now=now)
        # Not one that had a name for a moment only: that is what the last deploy put away, and the next one uses again.
        if now - seen.served_at < KEEP_NAME_S <= now - seen.since:
            self._free(seen.name, now=now)

    def _note(self, container: Container, *, now: float) -> str | None:
        """Return the id of a container that has another name than before; `None` if it has not."""
        id = container.id
        seen = self._seen.setdefault(id, _Seen(name=container.name, since=-math.inf))
        former = seen.name
        if _is_shown_otherwise(container, than=former):
            former = self._show(id, seen, name=container.name)
        if container.name != former:
            self._end_serving(id, seen, now=now)
            seen.name, seen.since = container.name, now
            kept = self._kept.pop(id, None) or _Kept(name=former, until=now + KEEP_NAME_S)
            if container.name != kept.name:  # else it is called as before: nothing has happened
                self._kept[id] = kept
        if container.status is ContainerStatus.RUNNING and container.health in (Health.NONE, Health.HEALTHY):
            seen.serves = True
            self._serving[seen.name] = id
        else:
            self._end_serving(id, seen, now=now)
        return id if container.name != former else None

    def _show(self, id: str, seen: _Seen, *, name: str) -> str:
        """Take, and return, another way to show the same name."""
        if self._serving.get(seen.name) == id:
            del self._serving[seen.name]
            self._serving[name] = id
        seen.name = name
        return name

    def _end_serving(self, id: str, seen: _Seen, *, now: float) -> None:
        if seen.serves:
            seen.serves, seen.served_at = False, now
        if self._serving.get(seen.name) == id:
            del self._serving[seen.name]

    def _take_over(self, renamed: Iterable[str], *, now: float) -> None:
        """Believe a new name at once where another container gives it up: its upstream waits for a server."""
        given_up = {kept.name for kept in self._kept.values()} | self._freed.keys()
        for id in renamed:
            if self._seen[id].name in given_up and (kept := self._kept.pop(id, None)) is not None:
                self._free(kept.name, now=now)  # two that swap their names do so by way of a third one

    def _free(self, name: str, *, now: float) -> None:
        self._freed.pop(name, None)  # so that it goes to the end: they are in the order of time
        self._freed[name] = now + KEEP_NAME_S

    def _let_pass(self, *, now: float) -> None:
        while self._freed and (len(self._freed) > MAX_FREED or now >= next(iter(self._freed.values()))):
            del self._freed[next(iter(self._freed))]
        for id, kept in list(self._kept.items()):
            if now >= kept.until or self._serving.get(kept.name, id) != id:
                del self._kept[id]


def shown_otherwise(before: Mapping[str, Container], now: Iterable[Container]) -> Mapping[str, str]:
    """
    Return the names of containers that nobody renamed and that are shown otherwise: as they were, and as they are.

    That happens where another engine has a container of that name, too, or has it no more.

    Args:
        before: All as they were, by id.
        now: Those that may be others, as they are.
    """
    pairs = ((before[each.id].name, each) for each in now if each.id in before)
    return {name: each.name for name, each in pairs if _is_shown_otherwise(each, than=name)}


def _is_shown_otherwise(container: Container, *, than: str) -> bool:
    return container.name != than and container.own_name == than.rpartition("/")[2]
