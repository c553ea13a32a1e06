"""
What one container asks for in all: by lbwatch's labels, and with `compat` by nginx-proxy's variables beside them.

And which upstreams these are: a label names one, else the service that it is of, else the host that it serves, else its
own name.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from lbwatch.core.errors import excerpt
from lbwatch.core.labels import read_labels
from lbwatch.core.model import SERVICE_LABEL, UPSTREAM_NAME, Container, Reason
from lbwatch.core.networks import SkipError
from lbwatch.core.rules import Rules
from lbwatch.core.sites.nginxproxy import compat_labels
from lbwatch.core.sites.pools import pool_name
from lbwatch.core.wishes import ContainerLabels, UpstreamLabels

_COMPOSE_PROJECT = "com.docker.compose.project"
_COMPOSE_SERVICE = "com.docker.compose.service"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """
    One upstream that a container asks for.

    Attributes:
        name: Of the upstream.
        application: Whose name that is, in words, where no label says it.
    """

    labels: UpstreamLabels
    name: str
    application: str | None = None


def asked_of(container: Container, *, rules: Rules) -> ContainerLabels:
    """
    Return what a container asks for, by labels and variables: both hold.

    Args:
        container: Any one.
        rules: What holds for all.
    """
    labels = read_labels(container.labels, prefix=rules.prefix, refuses_key=rules.refuses_key)
    if not rules.sites.compat or labels.enable is False or labels.refusal is not None:
        return labels
    compat = compat_labels(container.env, container.labels, rules=rules.sites, refuses_key=rules.refuses_key)
    return labels if compat is None else _together(labels, compat, expose_all=rules.expose_all)


def _together(labels: ContainerLabels, compat: ContainerLabels, *, expose_all: bool) -> ContainerLabels:
    if compat.refusal is not None:
        return replace(
            labels, asks=True, refusal=compat.refusal, takes=compat.takes, reason=compat.reason, dropped=compat.dropped
        )
    shared = labels.shared
    # What labels say of the container itself holds for its hosts too, as far as no variable says otherwise.
    hosts = tuple(
        replace(
            each,
            port=shared.port if each.port is None else each.port,
            network=shared.network if each.network is None else each.network,
            reach=shared.reach,
            address=shared.address,
            health_ignored=shared.health_ignored or each.health_ignored,
            waits_for_port=shared.waits_for_port or each.waits_for_port,
        )
        for each in compat.upstreams
    )
    own = labels.upstreams if labels.asks or expose_all else ()
    return replace(labels, asks=True, upstreams=(*own, *hosts), dropped=(*labels.dropped, *compat.dropped))


def upstreams_of(container: Container, labels: ContainerLabels, *, rules: Rules) -> tuple[Asked, ...]:
    """
    Return the upstreams that a container asks for, each once.

    Args:
        container: Any one.
        labels: What it asks for.
        rules: What holds for all.

    Raises:
        SkipError: The name that it would have by default cannot name an upstream.
    """
    found: dict[str, Asked] = {}
    for wanted in labels.upstreams:
        for each in _named(container, wanted, rules=rules):
            known = found.get(each.name)
            if known is None:
                found[each.name] = each
            elif each.labels.sites:  # a host that labels and variables name alike
                sites = (*known.labels.sites, *each.labels.sites)
                found[each.name] = replace(known, labels=replace(known.labels, sites=sites))
    return tuple(found.values())


def _named(container: Container, wanted: UpstreamLabels, *, rules: Rules) -> Iterator[Asked]:
    if wanted.upstream is not None:
        yield Asked(labels=wanted, name=wanted.upstream)
    elif not wanted.sites or rules.sites_refusal is not None or _service(container) is not None:
        name, application = default_upstream(container, prefix=rules.prefix)
        yield Asked(labels=wanted, name=name, application=application)
    else:
        # A pool for each host: two containers that have one host in common share that one alone.
        for number, wish in enumerate(wanted.sites):
            name = pool_name(wish.host, path=wish.path)
            listen = () if number else wanted.listen
            labels = replace(wanted, upstream=name, sites=(wish,), listen=listen)
            yield Asked(labels=labels, name=name, application=f"host {excerpt(wish.host)}")


def default_upstream(container: Container, *, prefix: str) -> tuple[str, str]:
    """
    Return the name of the upstream that a container joins by default, and whose name that is, in words.

    Raises:
        SkipError: It cannot name an upstream.
    """
    name, application = _service(container) or (container.own_name, f"container {excerpt(container.name)}")
    if UPSTREAM_NAME.fullmatch(name) is None:
        raise SkipError(Reason.BAD_NAME, f"{excerpt(name)!r} cannot name an upstream: add the label {prefix}.upstream")
    return name.lower(), application


def _service(container: Container) -> tuple[str, str] | None:
    """Return the name of the service that a container is of, and what that is, in words; `None`: of none."""
    if name := container.label(SERVICE_LABEL):
        return name, f"Swarm service {excerpt(name)}"
    project, service = container.label(_COMPOSE_PROJECT), container.label(_COMPOSE_SERVICE)
    if project and service:
        return f"{project}-{service}", f"service {excerpt(service)} of Compose project {excerpt(project)}"
    return None
