"""
Whether it is still the same engine that answers: behind one address there may be another one at any time.

A virtual address moves, a name is resolved anew, a proxy has two engines. Believed, the other one's answers would take
every server out. No single fact tells engines apart: the id of `/info` is copied with a virtual machine, is made up
anew for each answer by some, and a proxy may keep `/info` to itself. So a list is judged, too: **the same engine can
have no container that is older than the latest full look and was not in it.** Values in, verdicts out; no clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from lbwatch.core.errors import EngineChangedError, excerpt
from lbwatch.core.model import Container

MARGIN_S = 5.0
"""How much older: the engine tells its clock in whole seconds, and lists a container only once its files are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmMembership:
    """
    What an engine is in a Swarm.

    Attributes:
        node_id: The Swarm's 25 characters for its node; empty while it is being joined, or locked.
        state: How that is, in the engine's word, such as `active` or `locked`.
        cluster: Those for the Swarm itself, which only its managers know; else empty.
        is_manager: Whether it answers for the Swarm.
    """

    node_id: str
    state: str = "active"
    cluster: str = ""
    is_manager: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """
    What `/info` says of who the engine is; empty where it does not say.

    Attributes:
        swarm: What it is in a Swarm; `None` where it is in none.
        is_rootless: Whether a user without rights runs it, whose networks the machine itself does not reach.
    """

    id: str = ""
    name: str = ""
    swarm: SwarmMembership | None = None
    is_rootless: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListTimes:
    """
    When a list was made.

    Attributes:
        asked_at, answered_at: Loop times, in seconds.
        engine_s: What the engine's clock showed at the answer, seconds since the epoch; `None` if it did not say.
    """

    asked_at: float
    answered_at: float
    engine_s: float | None


class Identity:
    """
    Who one engine is, as far as it can be told.

    Args:
        name: The engine's name for people.

    Attributes:
        info_error: Why it is another one by `/info`, in words; `None` while that does not say so.
        list_error: The same, by its list.
    """

    def __init__(self, name: str) -> None:
        self.info_error: str | None = None
        self.list_error: str | None = None
        self._name = name
        self._info: EngineInfo | None = None  # what `/info` says for good; `None`: not known yet, or never the same
        self._named_otherwise = False  # whether the latest `/info` has that id and another name
        self._listed: frozenset[str] = frozenset()  # ids in the latest list that was believed
        self._times: ListTimes | None = None  # of that one

    def require_same(self) -> None:
        """Raise `EngineChangedError` while another engine answers."""
        self.require_same_info()
        if self.list_error is not None:
            raise EngineChangedError(self.list_error)

    def require_same_info(self) -> None:
        """Raise `EngineChangedError` while another engine answers by its `/info`, whatever it lists."""
        if self.info_error is not None:
            raise EngineChangedError(self.info_error)

    def learn(self, first: EngineInfo, second: EngineInfo) -> None:
        """Take what two calls in a row said; of what differs nothing is believed."""
        self._info = EngineInfo(
            id=first.id if first.id == second.id else "", name=first.name if first.name == second.name else ""
        )

    def check_info(self, info: EngineInfo) -> None:
        """
        Judge an answer of `/info`.

        Raises:
            EngineChangedError: Its id is another one.
        """
        before = self._info or EngineInfo()
        # A host may be given another name; that counts only beside a list that has none of what we knew.
        self._named_otherwise = bool(before.name and info.name and info.name != before.name)
        if before.id and info.id and info.id != before.id:
            self.info_error = self._words(f"its id is {excerpt(info.id)[:64]}, and was {excerpt(before.id)[:64]}")
            raise EngineChangedError(self.info_error)
        self.info_error = None

    def check_list(
        self,
        listed: Mapping[str, Container],
        *,
        serving: frozenset[str],
        times: ListTimes,
    ) -> None:
        """
        Judge a list, and keep it if it is believed.

        Args:
            listed: By id.
            serving: Ids of those that are known to run and ask to be routed.
            times: When it was made.

        Raises:
            EngineChangedError: It is another engine's.
        """
        # An id is drawn anew for each container: what we knew to run and is still there is proof of the same engine.
        # And where nothing serves nothing is lost.
        if serving and not serving & listed.keys():
            stranger = self._stranger(listed, times=times)
            if stranger is not None or self._named_otherwise:
                reason = "its host has another name" if stranger is None else f"it has an older {stranger.name}"
                self.list_error = self._words(f"{reason}, and none of the containers that served")
                raise EngineChangedError(self.list_error)
        self.list_error, self._listed, self._times = None, frozenset(listed), times

    def _stranger(self, listed: Mapping[str, Container], *, times: ListTimes) -> Container | None:
        """Return a container that the engine of the latest list cannot have."""
        before_s = self._looked_s(times)
        if before_s is None:
            return None
        new = (each for id, each in listed.items() if id not in self._listed)
        return next((each for each in new if 0 < each.created_ns / 1e9 < before_s), None)

    def _looked_s(self, times: ListTimes) -> float | None:
        """Return until when, by the engine's clock, what was created must have been in the list before this one."""
        before = self._times
        if before is None or before.engine_s is None or times.engine_s is None:
            return None
        looked_s = before.engine_s - (before.answered_at - before.asked_at)
        # By a clock that was set back since, what is new looks old: so it is counted back from the clock of now, too.
        return min(looked_s, times.engine_s - (times.answered_at - before.asked_at)) - MARGIN_S

    def _words(self, reason: str) -> str:
        return f"another engine answers at {self._name}: {reason}; restart lbwatch if that is right"
