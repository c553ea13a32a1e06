"""
What can be decided of one container alone: which upstreams it asks for, at which address, or why it is not routed.

What several containers make of an upstream, and of an address that two of them claim, is `plan`'s.
"""

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from lbwatch.core.asked import asked_of, default_upstream, upstreams_of
from lbwatch.core.errors import excerpt
from lbwatch.core.labels import nearest, slip
from lbwatch.core.model import (
    Container,
    ContainerStatus,
    Health,
    Notice,
    NoticeKind,
    Reason,
    Server,
)
from lbwatch.core.networks import SkipError
from lbwatch.core.oneoff import one_off_of
from lbwatch.core.reach import Reached, reached
from lbwatch.core.rules import Rules
from lbwatch.core.site import SiteAsk
from lbwatch.core.wishes import ContainerLabels, UpstreamLabels


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """
    A container that could serve one upstream: with a server, or with the reason why it cannot.

    Attributes:
        upstream: `None` where the reason holds for all of the container.
        labels: What it asks of that upstream.
        application: Where it has its upstream's name by default, whose name that is, in words: equal for all replicas.
        owner: Whose network the server's address is on.
        claim: What of its server only one container may have, see `reach.Reached`.
        notices: What should be known of how its server was found.
        place: What the server is sorted by: version and number of its address, so that .9 stands before .10, and port.
        flapping: Why it serves as a last resort only although it may be healthy just now; `None`: it does not.
        has_host: Whether the container asks for a host, in this upstream or another one.
    """

    container: Container
    upstream: str | None = None
    labels: UpstreamLabels = field(default_factory=UpstreamLabels)
    application: str | None = None
    owner: Container | None = None
    claim: str = ""
    notices: tuple[Notice, ...] = ()
    server: Server | None = None
    place: tuple[int, int, int] = (0, 0, 0)
    reason: Reason | None = None
    detail: str | None = None
    flapping: str | None = None
    has_host: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What is decided of one container alone, and from what."""

    container: Container
    owner: Container | None
    rules: Rules
    candidates: tuple[Candidate, ...] = ()
    notices: tuple[Notice, ...] = ()


def placement_of(container: Container, *, owner: Container | None, rules: Rules) -> Placement:
    """
    Return all that can be decided of one container alone.

    Args:
        container: Any one.
        owner: Whose network it uses, most often its own; `None` if that one is gone.
        rules: What holds for all containers.
    """
    labels = asked_of(container, rules=rules)
    notices = (*_unknown_labels(labels, prefix=rules.prefix), *_hidden_signal(container))
    try:
        candidates = tuple(_candidates(container, labels, owner=owner, rules=rules))
    except SkipError as skip:
        candidates = (Candidate(container=container, reason=skip.reason, detail=skip.detail),)
    notices += (*_not_used(labels, rules=rules), *_found_notices(candidates))
    return Placement(container=container, owner=owner, rules=rules, candidates=candidates, notices=notices)


def _not_used(labels: ContainerLabels, *, rules: Rules) -> Iterator[Notice]:
    """Return a notice for each thing that a container says in vain."""
    for words in labels.dropped:
        yield Notice(kind=NoticeKind.VALUE_NOT_USED, detail=words)
    if rules.sites_refusal is not None and any(each.sites for each in labels.upstreams):
        yield Notice(kind=NoticeKind.SITE_NOT_USED, detail=f"no host is served: {rules.sites_refusal}")


def _found_notices(candidates: Iterable[Candidate]) -> Iterator[Notice]:
    """Return what should be known of how a container's servers were found, one of each kind for all its upstreams."""
    said: dict[NoticeKind, Notice] = {}
    for candidate in candidates:
        for notice in candidate.notices:
            said.setdefault(notice.kind, notice)
    yield from (said[kind] for kind in (NoticeKind.NETWORK_GUESSED, NoticeKind.PORT_ASSUMED) if kind in said)


def _unknown_labels(labels: ContainerLabels, *, prefix: str) -> Iterator[Notice]:
    details = []
    for key in labels.unknown:
        meant = nearest(key, prefix=prefix)
        details.append(f"label {key} means nothing to lbwatch" + (f": did you mean {meant}?" if meant else ""))
    if labels.more_unknown:
        details.append(f"{labels.more_unknown} more labels mean nothing to lbwatch")
    return (Notice(kind=NoticeKind.UNKNOWN_LABEL, detail=detail) for detail in details)


def _hidden_signal(container: Container) -> Iterator[Notice]:
    if container.stop_signal is None:
        detail = "its label signal hides which signal it gets, so that any one, such as HUP, drains it for a while"
        yield Notice(kind=NoticeKind.SIGNAL_HIDDEN, detail=detail)


def _candidates(
    container: Container, labels: ContainerLabels, *, owner: Container | None, rules: Rules
) -> Iterator[Candidate]:
    """Return a candidate for each upstream that a container asks for; a reason that holds for all of it is raised."""
    _check_wanted(container, labels, rules=rules)
    asked = tuple(upstreams_of(container, labels, rules=rules))
    has_host = any(each.labels.sites for each in asked)
    for each in asked:
        candidate = Candidate(
            upstream=each.name,
            application=each.application,
            container=container,
            labels=each.labels,
            has_host=has_host,
        )
        try:
            _check_state(container, ignore_health=each.labels.health_ignored, prefix=rules.prefix)
            found = reached(container, each.labels, owner=owner, rules=rules)
        except SkipError as skip:
            yield replace(candidate, reason=skip.reason, detail=skip.detail)
        else:
            server = _server(container, each.labels, found=found, variables=labels.vars)
            yield replace(
                candidate, owner=owner, claim=found.claim, notices=found.notices, server=server, place=_place(server)
            )


def _place(server: Server) -> tuple[int, int, int]:
    address = ipaddress.ip_address(server.address)
    return address.version, int(address), server.port


def _check_wanted(container: Container, labels: ContainerLabels, *, rules: Rules) -> None:
    # The order decides which reason is shown where several hold: first what its owner wanted, then what is wrong with
    # the labels, and only then what passes by itself.
    if labels.enable is False:
        raise SkipError(Reason.DISABLED, f"label {rules.prefix}.enable is false")
    if not labels.asks and not rules.expose_all:
        raise SkipError(Reason.NOT_LABELLED, _unlabelled_words(container, prefix=rules.prefix))
    if labels.refusal is not None:
        raise SkipError(labels.reason, labels.refusal)
    if (made_by := one_off_of(container)) is not None:
        raise SkipError(Reason.ONE_OFF, f"it is a one-off of `{made_by}`")
    if container.status is ContainerStatus.CREATED:
        raise SkipError(Reason.NOT_RUNNING, _created_words(container))


def _unlabelled_words(container: Container, *, prefix: str) -> str:
    key = slip(container.labels, prefix=prefix)
    if key is None:
        return f"it has no {prefix}.* label: add {prefix}.enable=true"
    meant = f"{prefix}.{key.partition('.')[2]}"
    return f"it has no {prefix}.* label, but {excerpt(key)}: did you mean {excerpt(meant)}?"


def _created_words(container: Container) -> str:
    """Return why a container does not run yet; a Swarm starts its tasks by itself, and has a word for how far it is."""
    task = container.task
    if task is None:
        return "it was created but never started"
    words = f"it does not run yet: its Swarm says `{task.state}`"
    if task.state == "starting":
        return f"{words}, which a task with a health check is until that has passed"
    return f"{words}, and docker service ps {excerpt(task.service)} why" if task.state == "pending" else words


def _stopped_words(container: Container) -> str:
    """Return how a container that does not run ended; an engine always says with which code it exited."""
    code, task = container.exit_code, container.task
    if task is not None and (code is None or task.state == "orphaned"):  # it never ran, or on a node that is lost
        return f"it is over: its Swarm says `{task.state}`, and docker service ps {excerpt(task.service)} why"
    return f"it is {container.status}" if code is None else f"it exited with code {code}"


def _starting_words(container: Container, *, prefix: str) -> str:
    words = "its health check has not passed yet"
    if not container.unprobed:
        return words
    return (
        f"{words}: no probe has run. Podman has systemd run them, and without it none ever does: then the label "
        f"{prefix}.health=ignore routes it at once, or something else runs "
        f"`podman healthcheck run {container.own_name}`"
    )


def _check_state(container: Container, *, ignore_health: bool, prefix: str) -> None:
    if container.status is ContainerStatus.PAUSED:
        raise SkipError(Reason.PAUSED, f"it is paused: docker unpause {container.own_name} lets it serve")
    if container.status is not ContainerStatus.RUNNING:
        raise SkipError(Reason.NOT_RUNNING, _stopped_words(container))
    if container.health is Health.STARTING and not ignore_health:
        raise SkipError(Reason.STARTING, _starting_words(container, prefix=prefix))


def site_asks(candidates: Iterable[Candidate]) -> tuple[SiteAsk, ...]:
    """
    Return what one container asks of hosts, whether it runs or not: a host outlives its last server.

    Args:
        candidates: All of the container.
    """
    asks: list[SiteAsk] = []
    for each in candidates:
        # Whoever has lost its upstream's name is not in that upstream: its hosts would be another's.
        if each.upstream is not None and each.reason is not Reason.NAME_TAKEN:
            for wish in each.labels.sites:
                rank = *each.container.age, len(asks)
                asks.append(SiteAsk(container=each.container.name, rank=rank, upstream=each.upstream, wish=wish))
    return tuple(asks)


def under_former_names(
    candidates: Iterable[Candidate], *, former_names: Mapping[str, str], prefix: str
) -> Iterator[Candidate]:
    """
    Return the candidates, those of containers that were renamed just now in the upstream that they had before.

    Args:
        candidates: Of any containers.
        former_names: By the container's id.
        prefix: What labels begin with, without the dot.
    """
    for candidate in candidates:
        former = former_names.get(candidate.container.id)
        # An upstream that a label names has nothing to do with the container's name.
        if former is None or candidate.upstream is None or candidate.labels.upstream is not None:
            yield candidate
        else:
            container = replace(candidate.container, name=former)
            upstream, application = default_upstream(container, prefix=prefix)
            yield replace(candidate, upstream=upstream, application=application)


def marked_flapping(candidates: Iterable[Candidate], *, stay_healthy_s: Mapping[str, float]) -> Iterator[Candidate]:
    """
    Return the candidates, those marked whose container's health check flips.

    Args:
        candidates: Of any containers.
        stay_healthy_s: By the id of each such container, how many seconds it must be healthy to be as any other.
    """
    for candidate in candidates:
        seconds = stay_healthy_s.get(candidate.container.id)
        if seconds is None or candidate.labels.health_ignored:
            yield candidate
        else:
            yield replace(candidate, flapping=flapping_words(seconds))


def flapping_words(stay_healthy_s: float) -> str:
    """Return what is wrong with a container whose health check flips, and when that is over."""
    return f"its health check flips between passing and failing, until it passed for {stay_healthy_s:g} s in a row"


def _server(container: Container, labels: UpstreamLabels, *, found: Reached, variables: Mapping[str, str]) -> Server:
    return Server(
        address=found.address,
        port=found.port,
        container=container.name,
        weight=labels.weight,
        max_fails=labels.max_fails,
        fail_timeout_s=labels.fail_timeout,
        max_conns=labels.max_conns,
        backup=labels.backup,
        vars=variables,
        started_ns=container.started_ns,
    )


def network_owner(
    container: Container, *, containers: Mapping[str, Container], named: Callable[[str], Container | None] | None = None
) -> Container | None:
    """
    Return whose network a container uses: most often itself; `None` if the one that it was attached to is gone.

    Args:
        container: Any one.
        containers: All of them, by id.
        named: Finds one of its engine by its name; `None`: *containers* are searched, which takes long where many ask.
    """
    if container.network_of is None:
        return container
    # Most often an id; a name where there was no such container when this one was created (facts, stream 20).
    if (owner := containers.get(container.network_of)) is not None:
        return owner
    if named is not None:
        return named(container.network_of)
    named_so = (other for other in containers.values() if other.own_name == container.network_of)
    return max((other for other in named_so if other.engine == container.engine), key=age, default=None)


def age(container: Container) -> tuple[int, int, str]:
    """Return what tells the newest of several containers with one name."""
    return container.age
