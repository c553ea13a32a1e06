"""
What containers ask of one host, put together: who has each path, and whose word counts where they differ.

The oldest container wins, so that one that comes cannot change what is served already.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace

from lbwatch.core.errors import excerpt
from lbwatch.core.model import Notice, NoticeKind, Reason, Route
from lbwatch.core.site import HostWish, LocationWish, Match, SiteAsk, SitePath

_WORDS = {
    "https": "https",
    "certificate": "certificate",
    "trusts_default": "trust of the default certificate",
    "hsts": "HSTS",
    "redirect_code": "status of redirects",
    "http_port": "port for HTTP",
    "https_port": "port for HTTPS",
    "server_tokens": "server tokens",
    "verifies_client": "check of clients' certificates",
    "http2": "HTTP/2",
    "acme": "path of ACME challenges",
}
"""The fields of a `HostWish` of which the oldest opinion counts, as their owner would call them."""

_LIMITS = ("auth", "allow", "is_internal")
"""The fields of a `LocationWish` that keep somebody out."""

_LOCATION_WORDS = {each.name: each.name.removesuffix("_s").replace("_", " ") for each in fields(LocationWish)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """One path of a host, who serves it, and what the oldest of these asks."""

    path: SitePath
    upstream: str
    wish: LocationWish


@dataclass(slots=True, kw_only=True)
class Merged:
    """
    What is asked of one host.

    Attributes:
        host: See `SiteWish`.
        wish: What is asked of all of it; `None` fields: nobody has an opinion.
        paths: Sorted.
        asks: Those that have the path that they ask for, the oldest first.
        routes: Of those that have not.
        notices: Each with the name of the container that it is for.
    """

    host: str
    wish: HostWish = field(default_factory=HostWish)
    paths: tuple[Claimed, ...] = ()
    asks: tuple[SiteAsk, ...] = ()
    routes: list[Route] = field(default_factory=list)
    notices: list[tuple[str, Notice]] = field(default_factory=list)


def site_of(host: str, path: SitePath) -> str:
    """Return a path of a host as people read it."""
    return f"{host}{path.text}" if path.match is Match.PREFIX else f"{host} {path}"


def merged(host: str, asks: Iterable[SiteAsk]) -> Merged:
    """Return what all containers together ask of a host, in whatever order their wishes come."""
    result = Merged(host=host)
    # Of two spellings of one path nginx would refuse the second, and with it the host.
    by_path: dict[object, list[SiteAsk]] = {}
    for ask in sorted(asks, key=_by_rank):
        by_path.setdefault(ask.wish.path.compared, []).append(ask)
    winners = [ask for claiming in by_path.values() for ask in _claim(result, claiming)]
    result.asks = tuple(sorted(winners, key=_by_rank))
    result.paths = tuple(sorted(result.paths, key=lambda each: each.path))
    result.wish = _host_wish(result)
    return result


def _by_rank(ask: SiteAsk) -> tuple[int, int, str, int]:
    return ask.rank


def _claim(result: Merged, asks: Sequence[SiteAsk]) -> list[SiteAsk]:
    """Return who has a path of those who ask for it, the oldest first."""
    first = asks[0]
    path = first.wish.path
    having = [each for each in asks if each.upstream == first.upstream]
    ids = {each.id for each in having}
    wish = _location_wish(having)
    result.paths += (Claimed(path=path, upstream=first.upstream, wish=wish),)
    for each in asks:
        # One that asks by label and by nginx-proxy's variables is served by the upstream of its label.
        if each.upstream != first.upstream and each.id not in ids:
            result.routes.append(_taken(result.host, each, first=first))
    for each in having:
        result.notices += _location_differs(result.host, each, first=first, chosen=wish)
    return having


def _location_wish(asks: Sequence[SiteAsk]) -> LocationWish:
    """Return what the oldest asks, and who may come in as the oldest says that asks for that to be limited at all."""
    wishes = [each.wish.of_location for each in asks]
    # Else a container that closes its path would be reached by the open one of another that is older.
    limits = {name: next(filter(None, (getattr(each, name) for each in wishes)), None) for name in _LIMITS}
    return replace(wishes[0], **{name: value for name, value in limits.items() if value})


def _taken(host: str, ask: SiteAsk, *, first: SiteAsk) -> Route:
    site = excerpt(site_of(host, ask.wish.path))
    detail = (
        f"{site} is served by upstream {first.upstream} of {first.container}, which is older: an equal name for both "
        "upstreams has them share it, else another path or host is needed, or that container has to go"
    )
    return Route(container=ask.container, upstream=ask.upstream, site=site, reason=Reason.HOST_TAKEN, detail=detail)


def _location_differs(host: str, ask: SiteAsk, *, first: SiteAsk, chosen: LocationWish) -> list[tuple[str, Notice]]:
    """
    Return a notice for whoever asks for a path to be served in another way than it is.

    Args:
        host: Whose path it is.
        ask: Any that has it.
        first: The oldest of these.
        chosen: As it is served.
    """
    own = ask.wish.of_location
    others = {name: word for name, word in _LOCATION_WORDS.items() if getattr(own, name) != getattr(chosen, name)}
    if ask.id == first.id:  # of one container each path has its last word; others may limit it
        others = {name: word for name, word in others.items() if name in _LIMITS}
    if not others:
        return []
    site, words = excerpt(site_of(host, ask.wish.path)), ", ".join(others.values())
    who = f"its oldest container {first.container} says, and who may come in as the oldest that limits it does"
    detail = f"{site} is served as {who}: this one's {words} is not used"
    return [(ask.container, Notice(kind=NoticeKind.SITE_DIFFERS, detail=detail))]


def _host_wish(result: Merged) -> HostWish:
    """Return of each field the oldest opinion, with a notice for those that say otherwise."""
    chosen: dict[str, object] = {}
    for name, word in _WORDS.items():
        said = [(ask, value) for ask in result.asks if (value := getattr(ask.wish.of_host, name)) is not None]
        if not said:
            continue
        first, chosen[name] = said[0]
        for ask, value in said[1:]:
            if value != chosen[name] and ask.id != first.id:
                result.notices.append((ask.container, _differs(result.host, word, chosen[name])))
    lenient = _lenient(result.asks)
    for ask in result.asks:
        if (own := ask.wish.of_host.is_lenient) is not None and own != lenient:
            result.notices.append((ask.container, _leniency_differs(result.host)))
    redirects = {each for ask in result.asks for each in ask.wish.of_host.redirect_from}
    wish = HostWish(redirect_from=tuple(sorted(redirects - {result.host})), is_lenient=lenient)
    return replace(wish, **chosen)  # type: ignore[arg-type] # each is a field's own value


def _lenient(asks: Iterable[SiteAsk]) -> bool | None:
    """
    Return whether plain HTTP may be served where a certificate is missing.

    It belongs to the word on HTTPS that counts: another container's leniency must not open what one has closed.
    """
    wishes = [ask.wish.of_host for ask in asks]
    if (chosen := next((each for each in wishes if each.https is not None), None)) is not None:
        return chosen.is_lenient
    return next((each.is_lenient for each in wishes if each.is_lenient is not None), None)


def _leniency_differs(host: str) -> Notice:
    who = "the container that decides on its HTTPS decides what it is without a certificate, too"
    return Notice(kind=NoticeKind.SITE_DIFFERS, detail=f"host {excerpt(host)}: {who}; this one's is not used")


def _differs(host: str, word: str, value: object) -> Notice:
    detail = f"host {excerpt(host)} has {word} {value}, as its oldest container says; this one's is not used"
    return Notice(kind=NoticeKind.SITE_DIFFERS, detail=detail)
