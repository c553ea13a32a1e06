"""
Which hosts live on for a moment without a container, and the upstreams that they point to.

A container that is created anew is removed first. Meanwhile its host must show no other site, nor a certificate that is
not its own: browsers remember both. Plain arithmetic on seconds of the loop's clock; no clock is read here.
"""

from collections.abc import Mapping

from lbwatch.core.model import Upstream
from lbwatch.core.site import SiteAsk

KEEP_S = 60.0
"""How long a host outlives its last container: a deploy that takes longer is an outage anyway."""

MAX_KEPT = 10_000
"""How many hosts are kept at most; more have lost their last container within a minute on no engine."""


class KeptSites:
    """The memory of hosts that lost their last container; one for all sources."""

    def __init__(self) -> None:
        self._asks: dict[str, tuple[SiteAsk, ...]] = {}
        self._upstreams: dict[str, Mapping[str, Upstream]] = {}  # by host, as the next
        self._until: dict[str, float] = {}  # loop time

    def lose(self, asks: Mapping[str, tuple[SiteAsk, ...]], *, emptied: Mapping[str, Upstream], now: float) -> None:
        """
        Note that hosts have lost their last container just now.

        Args:
            asks: What was asked of each.
            emptied: The upstreams that lost theirs, by name.
            now: Loop time, in seconds; never less than at the call before.
        """
        for host, each in asks.items():
            if len(self._asks) < MAX_KEPT or host in self._asks:
                self._asks[host] = each
                names = {ask.upstream for ask in each} & emptied.keys()
                self._upstreams[host] = {name: _kept(emptied[name]) for name in names}
                self._until[host] = now + KEEP_S

    def kept(self, *, now: float) -> Mapping[str, tuple[SiteAsk, ...]]:
        """Return what is asked of the hosts that live on; one that has a container again does no harm."""
        self._let_pass(now=now)
        return dict(self._asks)

    def upstreams(self, *, now: float) -> Mapping[str, Upstream]:
        """Return the upstreams that these hosts point to, without a server, by name."""
        self._let_pass(now=now)
        return {name: each for kept in self._upstreams.values() for name, each in kept.items()}

    def changes_at(self) -> float | None:
        """Return the loop time at which the next one ends; `None`: none does."""
        return min(self._until.values(), default=None)

    def _let_pass(self, *, now: float) -> None:
        for host in [host for host, until in self._until.items() if now >= until]:
            del self._asks[host], self._upstreams[host], self._until[host]


def _kept(upstream: Upstream) -> Upstream:
    return Upstream(name=upstream.name, method=upstream.method, keepalive=upstream.keepalive)
