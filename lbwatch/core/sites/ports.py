"""
On which port each host listens: one port speaks plain HTTP or HTTPS, for all hosts alike.

Pure bookkeeping: the proxy's own two ports come first, then the hosts in the order of their age.
"""

from collections.abc import Mapping

from lbwatch.core.claims import Claim, Claims, Rank
from lbwatch.core.site import HostWish, SiteRules
from lbwatch.core.sites.build import Ports

_HTTP, _HTTPS = "http", "https"
_PROXY = ""  # whose ports hold for all hosts; no host is called so


class PortClaims:
    """Which hosts ask for ports of their own."""

    def __init__(self) -> None:
        self._claims = Claims()

    def put_rules(self, rules: SiteRules) -> set[str]:
        """Take the proxy's own ports, and return the hosts that must be judged anew for them."""
        rank = -1, 0, ""
        wanted = {rules.http_port: _HTTP, rules.https_port: _HTTPS}
        claims = {str(port): Claim(claimant=kind, rank=rank, words="") for port, kind in wanted.items()}
        return self._claims.put(_PROXY, claims) - {_PROXY}

    def put(self, host: str, wish: HostWish, *, rank: Rank) -> set[str]:
        """
        Take the ports that a host asks for now, and return the hosts that must be judged anew for it.

        Args:
            host: See `SiteWish`.
            wish: What is asked of it.
            rank: Of its oldest container.
        """
        claims = {
            str(port): Claim(claimant=kind, rank=rank, words="")
            for kind, port in _asked(wish).items()
            if port is not None
        }
        return self._claims.put(host, claims) - {_PROXY}

    def of(self, wish: HostWish, *, rules: SiteRules) -> Ports:
        """Return where a host listens, and what of its wishes cannot be."""
        asked = _asked(wish)
        granted = {kind: port for kind, port in asked.items() if self._has(kind, port)}
        dropped = [_words(kind, asked[kind]) for kind in asked.keys() - granted.keys()]
        if wish.https_port is not None and wish.https_port == wish.http_port:
            dropped.append(_words(_HTTPS, wish.https_port))
        return Ports(
            http=granted.get(_HTTP, rules.http_port),
            https=granted.get(_HTTPS, rules.https_port),
            dropped=tuple(sorted(dropped)),
        )

    def _has(self, kind: str, port: int) -> bool:
        first = self._claims.first(str(port))
        return first is None or first.claimant == kind


def _asked(wish: HostWish) -> Mapping[str, int]:
    """Return the ports that a host asks for, by what they should speak; of two that are equal the first alone."""
    asked = {_HTTP: wish.http_port, _HTTPS: None if wish.https_port == wish.http_port else wish.https_port}
    return {kind: port for kind, port in asked.items() if port is not None}


def _words(kind: str, port: int) -> str:
    other = _HTTPS if kind == _HTTP else _HTTP
    return f"port {port} for {kind} is not used: {other} is spoken there"
