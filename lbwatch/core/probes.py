"""
Which containers wait for their port to accept a connection (`health=connect`), and which ports have done so.

Who connects is an edge; here is what that is about, and what is remembered of it: once a port has accepted, its
container is ready for as long as it lives, whatever comes later. Seconds are of the loop's clock; no clock is read.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from lbwatch.core.model import Container, Reason, bracketed
from lbwatch.core.placement import Candidate

LATE_S = 30.0
"""A port that has not accepted a connection for so long may never do so: its owner should know why."""

FIRST_TRIES_S = 2.0
"""So long a daemon that has just begun writes nothing while a port was not tried: all of them may be open."""

ACCEPTED = ""
"""What stands in `Suspended.probed` of a port that has accepted a connection."""

_LOOPBACK = ("127.", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class PortProbe:
    """
    A port that has to accept a connection once in the life of its container.

    Attributes:
        id: Of the container.
        started_ns: Its latest start: another one is another life.
        container: Its name.
    """

    id: str
    started_ns: int
    address: str
    port: int
    container: str = field(default="", compare=False)

    @property
    def host_port(self) -> str:
        """Return where it is, as `ADDRESS:PORT`."""
        return f"{bracketed(self.address)}:{self.port}"

    @property
    def key(self) -> str:
        """Return its key in `Suspended.probed`, which begins with the container's id."""
        return f"{self.id} {self.started_ns} {self.host_port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAccepted:
    """Why a port did not accept a connection; *refused*: by the machine at that address, so that it was reached."""

    error: str
    refused: bool


def id_of(key: str) -> str:
    """Return the id of the container that a key in `Suspended.probed` is about."""
    return key.partition(" ")[0]


def probe_of(candidate: Candidate) -> PortProbe | None:
    """Return what has to accept a connection before a candidate may serve; `None`: nothing."""
    server = candidate.server
    if server is None or not candidate.labels.waits_for_port:
        return None
    container = candidate.container
    return PortProbe(
        id=container.id,
        started_ns=container.started_ns,
        address=server.address,
        port=server.port,
        container=container.name,
    )


def waiting(candidates: Iterable[Candidate], *, probed: Mapping[str, str]) -> tuple[PortProbe, ...]:
    """Return what candidates wait for still, each once; *probed*: as in `Suspended`."""
    probes = (probe_of(each) for each in candidates)
    return tuple(dict.fromkeys(each for each in probes if each is not None and probed.get(each.key) != ACCEPTED))


def until_accepted(candidates: Iterable[Candidate], *, probed: Mapping[str, str], prefix: str) -> Iterator[Candidate]:
    """
    Return the candidates, without a server where their port has not accepted a connection yet.

    Args:
        candidates: Of any containers.
        probed: What came of the ports that were tried, as in `Suspended`.
        prefix: What labels begin with, without the dot.
    """
    for each in candidates:
        probe = probe_of(each)
        words = None if probe is None else probed.get(probe.key)
        if probe is None or words == ACCEPTED:
            yield each
        else:
            detail = f"its port {probe.port} has not accepted a connection yet ({prefix}.health=connect)"
            yield replace(each, server=None, reason=Reason.STARTING, detail=f"{detail}: {words}" if words else detail)


@dataclass(slots=True, kw_only=True)
class _Tries:
    """Of one port, the loop time of the first try, and why nothing comes of it, once that lasts."""

    since: float
    words: str | None = None


class Probes:
    """
    The memory of ports that are waited for; one for all sources.

    Args:
        tries: Whether anybody tries them: a command that only looks does not, and all that it knows is a daemon's.
    """

    def __init__(self, *, tries: bool = False) -> None:
        self._accepted: dict[str, set[str]] = {}  # keys by the container's id
        self._lives: dict[str, int] = {}  # by id, in which life those did so: when it began
        self._tries: dict[str, _Tries] = {}  # by key, of those that are waited for
        self._probed: Mapping[str, str] = {}
        self._firm_at: float | None = 0.0  # before that nothing is firm; `None`: until the first look
        if tries:
            self._firm_at = None

    def probed(self, containers: Mapping[str, Container], *, changed: Iterable[str]) -> Mapping[str, str]:
        """
        Return what came of the ports that were tried, as in `Suspended`; the same object while nothing comes of others.

        Args:
            containers: All, by id.
            changed: Ids of those that changed, came or went since the call before; former lives are forgotten.
        """
        over = [id for id in changed if id in self._accepted and not self._is_life(containers.get(id))]
        for id in over:
            del self._accepted[id], self._lives[id]
        if over:
            self._write()
        return self._probed

    def keep(self, probes: Iterable[PortProbe]) -> None:
        """Forget the tries of all ports but those that are waited for now."""
        keys = {each.key for each in probes}
        gone = [key for key in self._tries if key not in keys]
        is_seen = any(self._tries.pop(key).words is not None for key in gone)
        if is_seen:
            self._write()

    def firm_at(self, probes: Iterable[PortProbe], *, now: float) -> float:
        """
        Return the loop time before which a plan should not be brought into force, since too little is known.

        After a start of ours all ports would seem closed that were open all the time.

        Args:
            probes: What is waited for now.
            now: Loop time, in seconds.
        """
        if self._firm_at is None:
            self._firm_at = now + FIRST_TRIES_S
        if now < self._firm_at and all(each.key in self._tries for each in probes):
            self._firm_at = now
        return self._firm_at

    def unanswered(self, probes: Iterable[PortProbe]) -> tuple[PortProbe, ...]:
        """Return those of the ports that are still to be tried."""
        return tuple(each for each in probes if each.key not in self._accepted.get(each.id, ()))

    def tried(self, probe: PortProbe, failure: NotAccepted | None, *, now: float) -> str | None:
        """
        Note what came of a try.

        Args:
            probe: The port.
            failure: Why it did not accept; `None`: it did.
            now: Loop time, in seconds.

        Returns:
            What its owner should know, in words, at the first try by which it has taken too long; else `None`.
        """
        if failure is None:
            self._tries.pop(probe.key, None)
            if self._lives.setdefault(probe.id, probe.started_ns) != probe.started_ns:
                self._lives[probe.id], self._accepted[probe.id] = probe.started_ns, set()
            self._accepted.setdefault(probe.id, set()).add(probe.key)
            self._write()
            return None
        tries = self._tries.setdefault(probe.key, _Tries(since=now))
        if tries.words is not None or now < tries.since + LATE_S:
            return None
        tries.words = _late_words(probe, failure)
        self._write()
        return tries.words

    def _is_life(self, container: Container | None) -> bool:
        return container is not None and self._lives[container.id] == container.started_ns

    def _write(self) -> None:
        accepted = {key: ACCEPTED for keys in self._accepted.values() for key in keys}
        self._probed = accepted | {key: each.words for key, each in self._tries.items() if each.words is not None}


def _late_words(probe: PortProbe, failure: NotAccepted) -> str:
    """Return why a port has not accepted anything for long, and what to do."""
    lasts = f"for {LATE_S:g} s nothing came of tries at {probe.host_port} ({failure.error})"
    if failure.refused and not probe.address.startswith(_LOOPBACK):
        return f"{lasts}; does its program listen there, and not on 127.0.0.1 or on another port?"
    return f"{lasts}; if nginx reaches it and lbwatch does not, have lbwatch share a network with it, or drop the label"
