"""
Which port of the load balancer's goes to which upstream as it is: the label `listen`.

Pure bookkeeping: an upstream that changes costs what its own containers ask for, and says who is judged anew.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from lbwatch.core.claims import Claim, Claims
from lbwatch.core.model import Notice, NoticeKind, Reason, Route, Stream, Upstream
from lbwatch.core.placement import Candidate
from lbwatch.core.rules import Rules

Row = tuple[tuple[Route, ...], tuple[Notice, ...]]
"""What is said of one container: the ports that it does not get, and what its owner should know."""

Port = tuple[int, str]
"""Its number, and `tcp` or `udp`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """
    What the containers of one upstream ask for.

    Attributes:
        by: The names of those that ask for a port, the oldest first.
        claims: Of the upstream, by the port in words.
    """

    by: Mapping[Port, tuple[str, ...]]
    claims: Mapping[str, Claim]


class Streams:
    """
    What all upstreams ask for.

    Args:
        rules: What holds for all.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._reserved: dict[Port, str] = {
            (rules.sites.http_port, "tcp"): "the one of sites: listen on another, or set http_port to another",
            (rules.sites.https_port, "tcp"): "the one of sites: listen on another, or set https_port to another",
        }
        if rules.own_port is not None:
            own = "the one of lbwatch's own page: listen on another, or set status_listen to another"
            self._reserved[rules.own_port, "tcp"] = own
        self._asked: dict[str, _Asked] = {}  # by upstream
        self._claims = Claims()
        self._latest: dict[Port, Stream] = {}

    def put(self, name: str, candidates: Iterable[Candidate]) -> set[str]:
        """
        Take what an upstream's containers ask for now, and return the upstreams of which something else is said.

        Args:
            name: Of the upstream.
            candidates: Its own, also those without a server: a port outlives a container that is stopped.
        """
        before = self._asked.pop(name, None)
        asking = [each for each in candidates if each.labels.listen and each.reason is not Reason.NAME_TAKEN]
        if before is None and not asking:  # the rule
            return set()
        if asking:
            self._asked[name] = _asked(name, asking)
        claims = {} if self._rules.streams_refusal is not None or not asking else self._asked[name].claims
        return {name} | self._claims.put(name, claims)

    def rows(self, name: str) -> Mapping[str, Row]:
        """Return what is said of the containers of an upstream, by their names."""
        asked = self._asked.get(name)
        if asked is None:
            return {}
        if self._rules.streams_refusal is not None:
            detail = f"{self._rules.prefix}.listen is not used: {self._rules.streams_refusal}"
            unused = ((), (Notice(kind=NoticeKind.SITE_NOT_USED, detail=detail),))
            return {container: unused for containers in asked.by.values() for container in containers}
        routes: dict[str, tuple[Route, ...]] = {}
        for port, containers in sorted(asked.by.items()):
            if (why := self._taken(port, name=name)) is not None:
                for container in containers:
                    row = Route(
                        container=container, upstream=name, site=_words(port), reason=Reason.PORT_TAKEN, detail=why
                    )
                    routes[container] = (*routes.get(container, ()), row)
        return {container: (each, ()) for container, each in routes.items()}

    def streams(self, upstream: Callable[[str], Upstream]) -> tuple[Stream, ...]:
        """
        Return each port that goes to an upstream, sorted by name; what did not change is the same object.

        Args:
            upstream: Returns one as it is now, by its name.
        """
        if not self._asked and not self._latest:  # the rule
            return ()
        found = {}
        for port, name in self._won():
            known, now = self._latest.get(port), upstream(name)
            is_same = known is not None and known.upstream is now
            found[port] = known if known and is_same else Stream(port=port[0], protocol=port[1], upstream=now)
        self._latest = found
        return tuple(sorted(found.values(), key=_by_name))

    def _won(self) -> Iterator[tuple[Port, str]]:
        """Return the ports that somebody has, each with the upstream that it goes to."""
        for name, asked in self._asked.items():
            for port in asked.by:
                first = self._claims.first(_words(port))
                if port not in self._reserved and first is not None and first.claimant == name:
                    yield port, name

    def _taken(self, port: Port, *, name: str) -> str | None:
        """Return why a port does not go to an upstream, in words; `None`: it does."""
        if (whose := self._reserved.get(port)) is not None:
            return f"port {_words(port)} is {whose}"
        first = self._claims.first(_words(port))
        if first is None or first.claimant == name:
            return None
        return f"port {_words(port)} goes to {first.words}, which is older: listen on another, or end that one"


def refused_ports(streams: Iterable[Stream], *, words: Mapping[str, str]) -> Mapping[str, tuple[Notice, ...]]:
    """
    Return what containers should know of ports that are not written as they should be, by their upstream.

    Args:
        streams: Of a plan.
        words: What became of the parts that are not, by name.
    """
    notices: dict[str, tuple[Notice, ...]] = {}
    for each in streams:
        if (said := words.get(each.name)) is not None:
            name = each.upstream.name
            notices[name] = (*notices.get(name, ()), Notice(kind=NoticeKind.DEGRADED, detail=said))
    return notices


def _asked(name: str, candidates: Iterable[Candidate]) -> _Asked:
    by: dict[Port, dict[str, None]] = {}
    claims: dict[str, Claim] = {}
    for each in sorted(candidates, key=_by_age):
        container = each.container
        for port in each.labels.listen:
            by.setdefault(port, {})[container.name] = None
            words = f"upstream {name} of container {container.name}"
            # Of one container two upstreams may ask for one port: the first by name has it.
            rank = *container.age[:2], f"{container.id} {name}"
            claims.setdefault(_words(port), Claim(claimant=name, rank=rank, words=words))
    return _Asked(by={port: tuple(names) for port, names in by.items()}, claims=claims)


def _by_age(candidate: Candidate) -> tuple[int, int, str]:
    return candidate.container.age


def _by_name(stream: Stream) -> str:
    return stream.name


def _words(port: Port) -> str:
    return f"{port[0]}/{port[1]}"
