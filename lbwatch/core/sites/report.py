"""What the containers of a host should know of its site: why it is closed, or served otherwise than they may think."""

from collections.abc import Iterator

from lbwatch.core.errors import excerpt
from lbwatch.core.model import Notice, NoticeKind, Reason, Route
from lbwatch.core.site import Https, OnHttp, Site, SiteAsk, SiteFiles
from lbwatch.core.sites.certificates import Choice
from lbwatch.core.sites.merging import Merged, site_of

_ASKS_FOR_TLS = (Https.REDIRECT, Https.BOTH, Https.ONLY)

_Told = tuple[str, Notice]
"""A notice, and the name of the container that it is for."""


def reported(
    merged: Merged, site: Site, *, choice: Choice, https: Https, dropped: tuple[str, ...], files: SiteFiles
) -> tuple[tuple[Route, ...], tuple[_Told, ...]]:
    """
    Return the routes of the containers that do not get a host, or a path of it, and notices for those that do.

    Args:
        merged: What is asked of the host.
        site: What came of it.
        choice: Which certificate it has, and why.
        https: What is asked about HTTPS.
        dropped: What else is asked and not used, in words.
        files: What there is.
    """
    lacks = https is not Https.OFF and choice.usable is None
    routes, notices = list(merged.routes), list(merged.notices)
    if site.closed is not None:
        broken = lacks and choice.certificate is not None
        reason = Reason.NO_CERTIFICATE if broken else Reason.HOST_REFUSED
        routes += _of_all(merged, reason, f"{excerpt(site.host)} answers 503: {site.closed}")
    elif lacks and site.on_http is not OnHttp.SERVES:
        words = f"{excerpt(site.host)} is not served over plain HTTP, as it asks, and {_lack(choice)}"
        routes += _of_all(merged, Reason.NO_CERTIFICATE, words)
    else:
        routes += _of_closed_paths(merged, site)
        if lacks and _is_worth_a_word(https, choice, files=files):
            words = f"{excerpt(site.host)} is served over plain HTTP: {_lack(choice)}"
            notices += _to_all(merged, NoticeKind.NO_CERTIFICATE, words)
    for words in dropped:
        notices += _to_all(merged, NoticeKind.VALUE_NOT_USED, words)
    return tuple(dict.fromkeys(routes)), tuple(dict.fromkeys(notices))


def _is_worth_a_word(https: Https, choice: Choice, *, files: SiteFiles) -> bool:
    """Return whether plain HTTP may be a surprise: not where nobody has a certificate, or asks for one."""
    return https in _ASKS_FOR_TLS or choice.named or bool(files.certificates) or bool(files.lone)


def _lack(choice: Choice) -> str:
    if not choice.passed_over:
        return "it has no certificate"
    name, why = choice.passed_over[0]
    return f"it has no certificate: {excerpt(name)}.crt with its .key is looked for, but {why}"


def _of_all(merged: Merged, reason: Reason, detail: str) -> Iterator[Route]:
    return (_route(ask, merged.host, reason, detail) for ask in merged.asks)


def _of_closed_paths(merged: Merged, site: Site) -> Iterator[Route]:
    closed = {each.path.compared: each.closed for each in site.locations if each.closed is not None}
    for ask in merged.asks:
        if (why := closed.get(ask.wish.path.compared)) is not None:
            detail = f"{excerpt(site_of(site.host, ask.wish.path))} answers 503: {why}"
            yield _route(ask, site.host, Reason.HOST_REFUSED, detail)


def _route(ask: SiteAsk, host: str, reason: Reason, detail: str) -> Route:
    site = excerpt(site_of(host, ask.wish.path))
    return Route(container=ask.container, upstream=ask.upstream, site=site, reason=reason, detail=detail)


def _to_all(merged: Merged, kind: NoticeKind, detail: str) -> Iterator[_Told]:
    notice = Notice(kind=kind, detail=detail)
    return ((ask.container, notice) for ask in merged.asks)
