"""The labels of sites: what the fields of one upstream ask for together, and the ports that go to it as they are."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from lbwatch.core.model import Reason
from lbwatch.core.site import ROOT, HostWish, LocationWish, Protocol, SitePath, SiteWish
from lbwatch.core.sites import grammar
from lbwatch.core.sites.grammar import GrammarError

SITE_FIELDS: Final = frozenset(
    {"host", "path", "strip_path", "https", "cert", "protocol", "auth", "allow", "body_size"}
    | {"redirect_from", "read_timeout", "buffering"}
)
"""Fields that mean something beside `host` alone, which is one of them."""

MAX_SITES: Final = 256
"""Of one container: each host of each upstream is a block, or a part of one, for the load balancer."""

MAX_LISTEN: Final = 64
"""Ports of one upstream: each is a socket of the load balancer's."""

_LISTEN = re.compile(r"([0-9]{1,5})/(tcp|udp)")
_LISTEN_TAKES = f"it takes ports such as 5432/tcp, 53/udp, separated by commas, at most {MAX_LISTEN}"
_REDIRECT_TAKES = "it takes hosts beside a host that is a name: nobody can be redirected to a pattern"
_STRIP_TAKES = "it takes true beside a path that is no regexp"


class TogetherError(GrammarError):
    """
    Values that can be used do not go together.

    Attributes:
        field: The one that is to be mended.
    """

    def __init__(self, reason: Reason, takes: str, *, field: str) -> None:
        super().__init__(reason, takes)
        self.field = field


def hosts(text: str) -> tuple[str, ...]:
    """Return the hosts of a label, at least one: who writes it wants some."""
    found = grammar.hosts(text)
    if not found:
        raise GrammarError(
            Reason.BAD_HOST, f"it takes a list of hosts, separated by commas, at most {grammar.MAX_HOSTS}"
        )
    return found


def listen(text: str) -> tuple[tuple[int, str], ...]:
    """Return the ports of a list, each once, in its order, with their protocol."""
    entries = [_LISTEN.fullmatch(each.strip().lower()) for each in text[: MAX_LISTEN * 16].split(",")]
    if len(text) > MAX_LISTEN * 16 or len(entries) > MAX_LISTEN:
        raise GrammarError(Reason.BAD_VARIABLE, _LISTEN_TAKES)
    found = {(int(each[1]), each[2]) for each in entries if each is not None}
    if None in entries or not all(1 <= port <= 65_535 for port, _ in found):
        raise GrammarError(Reason.BAD_VARIABLE, _LISTEN_TAKES)
    return tuple(sorted(found))


def site_wishes(said: Mapping[str, Any]) -> tuple[SiteWish, ...]:
    """
    Return what the fields of one upstream ask for: one path of each of its hosts.

    Args:
        said: The values of the fields, read already, by the field's name; others do no harm.

    Raises:
        TogetherError: They do not go together.
    """
    path: SitePath = said.get("path", ROOT)
    if said.get("strip_path") and path.match.is_regexp:
        raise TogetherError(Reason.BAD_PATH, _STRIP_TAKES, field="strip_path")
    hosts_, redirect_from = said.get("host", ()), said.get("redirect_from", ())
    # Of several hosts the first that is a name is the one to redirect to.
    target = next((host for host in hosts_ if not host.startswith("~") and "*" not in host), None)
    if hosts_ and redirect_from and target is None:
        raise TogetherError(Reason.BAD_HOST, _REDIRECT_TAKES, field="redirect_from")
    https = said.get("https")
    of_host = HostWish(
        https=https,
        # Whoever asks for HTTPS by label is not served without: that is nginx-proxy's way for its own variables.
        is_lenient=None if https is None else False,
        certificate=said.get("cert"),
    )
    of_location = LocationWish(
        protocol=said.get("protocol", Protocol.HTTP),
        strips_path=said.get("strip_path", False),
        auth=said.get("auth"),
        allow=said.get("allow", ()),
        body_size=said.get("body_size"),
        read_timeout_s=said.get("read_timeout"),
        buffering=said.get("buffering"),
    )
    redirecting = replace(of_host, redirect_from=redirect_from)
    return tuple(
        SiteWish(host=host, path=path, of_host=redirecting if host == target else of_host, of_location=of_location)
        for host in hosts_
    )


def without_host(said: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the fields that are not used, because no host stands beside them; sorted."""
    return () if "host" in said else tuple(sorted(SITE_FIELDS & said.keys()))
