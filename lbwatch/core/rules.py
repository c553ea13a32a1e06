"""What settings say about routing, as far as it is decided without a look at anything."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lbwatch.core.model import Upstream
from lbwatch.core.site import SiteFiles, SiteRules
from lbwatch.core.wishes import HashKeyRefusal, takes_any_key

NO_SITES = "the template writes no sites: with the setting template = nginx/sites.conf.j2 it does"


def takes_none(upstream: Upstream) -> str | None:  # noqa: ARG001 - stands for what looks at it
    """Return `None`: no change takes a reload."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """
    What settings say about routing.

    Attributes:
        prefix: What the labels begin with, without the dot.
        expose_all: Whether containers without a label are routed too.
        networks: Those that nginx reaches, in order of preference; empty: not known.
        declare: Upstreams that exist even with no container.
        host_shared: Whether nginx shares the network of the engine's host.
        refuses_key: Judges the KEY of a `hash` for the load balancer.
        sticky_refusal: Why the load balancer keeps no client with its server, in words; `None`: it can.
        hold_refusal: Why it has no request wait for a server, likewise.
        takes_reload: Returns why changes of an upstream's servers need more than that the load balancer's processes are
            told, so that its requests cannot wait, in words; `None`: they do not.
        sites: What holds for all sites.
        site_files: The files that they are made with, as they are now.
        sites_refusal: Why nobody is served by host, in words, such as that the template writes no sites; `None`: they
            are.
        streams_refusal: Why no port is served as it is, likewise.
        own_port: TCP port that lbwatch itself listens at where nginx does; `None`: there is none.
        gateway: Address of the engine's host on the first network that nginx's container is on; empty: not known.
        nginx_engine: Name of the engine on whose machine nginx runs, which alone has networks that nginx may be on;
            `None`: it runs on none of them.
        addresses: By the engine's name, where ports that it publishes are reached; one that is not in it has no such
            address.
        unresolved: By the engine's name, why its address is not known although a name of it is, in words.
        several_engines: Whether there is more than one, so that messages name them.
    """

    prefix: str = "lbwatch"
    expose_all: bool = False
    networks: tuple[str, ...] = ()
    declare: tuple[str, ...] = ()
    host_shared: bool = False
    refuses_key: HashKeyRefusal = takes_any_key
    sticky_refusal: str | None = None
    hold_refusal: str | None = None
    takes_reload: Callable[[Upstream], str | None] = takes_none
    sites: SiteRules = field(default_factory=SiteRules)
    site_files: SiteFiles = field(default_factory=SiteFiles)
    sites_refusal: str | None = NO_SITES
    streams_refusal: str | None = None
    own_port: int | None = None
    gateway: str = ""
    nginx_engine: str | None = ""
    addresses: Mapping[str, str] = field(default_factory=dict)
    unresolved: Mapping[str, str] = field(default_factory=dict)
    several_engines: bool = False
