"""
What one container asks for, as typed values: of each upstream that it joins, and of the sites that these serve.

Labels are read into them, and with `compat` nginx-proxy's variables; nothing here decides.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from lbwatch.core.model import Method, Reason, Sticky
from lbwatch.core.site import SiteWish


class Reach(StrEnum):
    """By what a container's server is reached, as its owner says."""

    NETWORK = "network"
    PORT = "port"
    VIP = "vip"


HashKeyRefusal = Callable[[str], str | None]
"""Returns why a load balancer cannot hash by a key, in words; `None` if it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamLabels:
    """
    What a container asks of one upstream.

    Attributes:
        upstream: Its name, in lower case; `None` for the one that the container joins by default.
        port: `None`: the only exposed TCP port.
        network: `None`: the first reachable one.
        reach: By what it is reached; `None`: by the first thing that nginx reaches.
        address: At which it is reached, whatever else holds; `None`: that is found out.
        method: `None`: no opinion; `round_robin` is one.
        health_ignored: Whether the container's health check has no say.
        hold_s: How many seconds a request waits for a server while there is none; `None`: no opinion.
        sites: Which paths of which hosts the upstream should serve.
        listen: Which ports of the load balancer's go to it as they are, each with `tcp` or `udp`.
        assumed_port: Taken where no port is said, and not exactly one is exposed; `None`: then it has none.
        is_compat: Whether nginx-proxy's variables ask for it.
        waits_for_port: Whether it is ready only once its port has accepted a connection, since its latest start.
    """

    upstream: str | None = None
    port: int | None = None
    network: str | None = None
    reach: Reach | None = None
    address: str | None = None
    weight: int = 1
    max_fails: int | None = None
    fail_timeout: int | None = None
    max_conns: int | None = None
    backup: bool = False
    method: Method | None = None
    keepalive: int | None = None
    sticky: Sticky | None = None
    health_ignored: bool = False
    hold_s: float | None = None
    sites: tuple[SiteWish, ...] = ()
    listen: tuple[tuple[int, str], ...] = ()
    assumed_port: int | None = None
    is_compat: bool = False
    waits_for_port: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerLabels:
    """
    All that a container's labels say.

    Attributes:
        asks: Whether any label stands below the prefix.
        enable: `None` where the label is absent.
        upstreams: The upstreams it joins, by name, the default one first.
        shared: What is true of the container itself and was said for all of its upstreams: port, network, reach,
            address, health.
        vars: For the user's own template.
        unknown: The first label keys below the prefix that mean nothing, as excerpts.
        more_unknown: How many more of them there are.
        refusal: Why the labels cannot be used, in words; `None` if they can. A container with `enable` false is
            never refused.
        takes: What the refused label takes, which is the end of *refusal*.
        reason: The refusal as a code.
        dropped: Values that are not used and take nobody out, each in words: what concerns a whole host, say.
    """

    asks: bool = False
    enable: bool | None = None
    upstreams: tuple[UpstreamLabels, ...] = (UpstreamLabels(),)
    shared: UpstreamLabels = field(default_factory=UpstreamLabels)
    vars: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    more_unknown: int = 0
    refusal: str | None = None
    takes: str = ""
    reason: Reason = Reason.BAD_LABEL
    dropped: tuple[str, ...] = ()


def takes_any_key(_: str) -> str | None:
    """Return no refusal: of a load balancer that hashes by anything."""
    return None
