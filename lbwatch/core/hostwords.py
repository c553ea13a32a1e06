"""
The answer of `explain --host`: what becomes of the requests for one host, in words that say what to do.

Pure, and nothing is decided or found out here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from lbwatch.core.errors import excerpt
from lbwatch.core.model import Degraded, Plan, Reason, Route
from lbwatch.core.rows import degraded_words
from lbwatch.core.rules import Rules
from lbwatch.core.site import Location, OnHttp, Protocol, Site
from lbwatch.core.sites.expiry import day, expiry_words
from lbwatch.core.sites.unmatched import UnmatchedFile, file_words, files_like
from lbwatch.core.sitestory import ContainerStory, LocationStory, SiteStory, site_story
from lbwatch.core.status import Status, unready

MAX_ROWS = 20
"""So many containers of one path, or rows of one kind, are shown; JSON has all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostExplanation:
    """
    The whole answer.

    Attributes:
        source: The name of the engine that it is about.
        story: What is known of the host.
        at: When that was so, seconds since the epoch.
        refused: What of its site the load balancer did not take, and why, in words; `None`: it took all.
        unmatched: Files that no site takes, and that may have been meant for it.
        reasons: Why the daemon is not in step, so that this may be old; empty if it is, or there is none.
    """

    source: str
    story: SiteStory
    at: float
    refused: str | None = None
    unmatched: tuple[UnmatchedFile, ...] = ()
    reasons: tuple[str, ...] = ()


def host_explanation(
    story: SiteStory,
    *,
    source: str,
    at: float,
    degraded: Iterable[Degraded] = (),
    unmatched: Iterable[UnmatchedFile] = (),
    reasons: tuple[str, ...] = (),
) -> HostExplanation:
    """
    Return the answer.

    Args:
        story: What is known of the host.
        source: The name of the engine that it is about.
        at: Now, seconds since the epoch.
        degraded: What the load balancer did not take as it should be.
        unmatched: All files that no site takes.
        reasons: Why the daemon is not in step.
    """
    name = None if story.site is None else story.site.name
    refused = next((degraded_words(each) for each in degraded if each.upstream == name), None)
    files = files_like(unmatched, story.host)
    return HostExplanation(source=source, story=story, at=at, refused=refused, unmatched=files, reasons=reasons)


def host_of(status: Status, host: str, *, source: str, rules: Rules) -> HostExplanation:
    """
    Return the answer of a daemon.

    Args:
        status: How it does, with all containers.
        host: As somebody typed it.
        source: Where the engines are, as users write it.
        rules: What holds now.
    """
    plan = replace(status.applied.plan or Plan(), routes=status.routes)
    story = site_story(host, plan=plan, rules=rules, containers={each.id: each for each in status.containers})
    return host_explanation(
        story,
        source=source,
        at=status.at,
        degraded=status.applied.degraded,
        unmatched=status.unmatched,
        reasons=tuple(unready(status)),
    )


Section = tuple[str, list[str]]
"""A word of at most nine letters, and the lines that stand beside it."""


def host_sections(told: HostExplanation) -> list[Section]:
    """Return the answer as people read it; no section without a line."""
    story, site = told.story, told.story.site
    sections: list[Section] = [("host", [f"{excerpt(story.host) or 'none'}: {story.how}"])]
    if site is not None:
        sections += [("answers", list(_answers(site, refused=told.refused)))]
        sections += [("path", list(_path_lines(each))) for each in story.locations]
        sections += [("https", list(_https_lines(told))), ("files", list(_site_files(site)))]
    return [
        each
        for each in (
            *sections,
            ("out", _rows(_others(story))),
            ("named by", _rows(story.mentions)),
            ("similar", [f"did you mean {excerpt(each)}?" for each in story.nearest]),
            ("regexps", _regexp_lines(story.regexps)),
            ("unused", list(map(file_words, told.unmatched[:MAX_ROWS]))),
        )
        if each[1]
    ]


def closed_words(site: Site, *, refused: str | None) -> str | None:
    """Return why all of a site is closed, in words; `None`: it is not."""
    if refused is not None or site.closed is not None:
        return refused or site.closed
    if site.host and site.redirect_to is None and site.certificate is None and site.on_http is not OnHttp.SERVES:
        return "it asks for HTTPS and has no certificate, so that nobody is served"
    return None


def _answers(site: Site, *, refused: str | None) -> Iterator[str]:
    if refused is not None:
        yield f"nginx does not take it as it should be: {refused}"
        return
    if (closed := closed_words(site, refused=None)) is not None:
        yield f"{'503' if site.closed else 'nothing'} to everyone until this is mended: {closed}"
        return
    if not site.host:
        yield f"http (port {site.http_port}): 503"
        tls = (
            "503, under the default certificate"
            if site.certificate
            else "no handshake: there is no default certificate"
        )
        yield f"https (port {site.https_port}): {tls}"
        return
    does = "serves" if site.redirect_to is None else f"redirects to {excerpt(site.redirect_to)}"
    http = {
        OnHttp.SERVES: does,
        OnHttp.REDIRECTS: "redirects to https",
        OnHttp.REFUSES: "503, as it asks for https only",
    }
    yield f"http (port {site.http_port}): {http[site.on_http]}"
    yield f"https (port {site.https_port}): {does if site.certificate else 'none'}"


def _path_lines(story: LocationStory) -> Iterator[str]:
    location = story.location
    protocol = "" if location.wish.protocol is Protocol.HTTP else f", by {location.wish.protocol}"
    yield f"{excerpt(str(location.path))}: upstream {location.upstream}{protocol}"
    if location.closed is not None:
        yield f"  503 to everyone until this is mended: {location.closed}"
    if not story.containers:
        yield "  no container: nginx answers 502"
    for each in story.containers[:MAX_ROWS]:
        yield f"  {_container_words(each)}"
        yield from (f"    warning: {notice.detail}" for notice in each.route.notices)
    if (more := len(story.containers) - MAX_ROWS) > 0:
        yield f"  and {more} more containers"
    yield from (f"  {each}" for each in _limits(location))


def _container_words(story: ContainerStory) -> str:
    route = story.route
    port = f"port {story.port}" if story.port[:1].isdecimal() else story.port
    port = f" ({port})" if port and route.address is not None else ""
    state = f" ({route.state})" if route.state not in (None, "up") else ""
    return f"{story.name}: {route.outcome}{state}{port}"


def _limits(location: Location) -> Iterator[str]:
    """Return which files a path is made with, and who may use it."""
    wish = location.wish
    if location.password_file is not None:
        yield f"passwords of {excerpt(location.password_file)}"
    if location.internal is not None:
        yield f"only for the networks of {excerpt(location.internal)}"
    if wish.allow:
        yield f"only for {excerpt(', '.join(wish.allow))}"
    if location.override is not None:
        yield f"written as {excerpt(location.override)} says, instead of all this"
    elif location.snippet is not None:
        yield f"with the lines of {excerpt(location.snippet)}"


def _https_lines(told: HostExplanation) -> Iterator[str]:
    choice, certificate = told.story.choice, told.story.site and told.story.site.certificate
    if certificate:
        end = "" if certificate.expires_at is None else f", until {day(certificate.expires_at)}"
        hosts = f", for {excerpt(', '.join(certificate.hosts))}" if certificate.hosts else ""
        yield f"certificate {excerpt(certificate.name)} ({excerpt(certificate.path)}){end}{hosts}"
        words = told.story.certificate, expiry_words(certificate, at=told.at)
        yield from (f"warning: {each}" for each in words if each is not None)
    elif choice is not None and choice.certificate is not None:
        why = choice.certificate.error or "HTTPS is off"
        yield f"certificate {excerpt(choice.certificate.name)} ({excerpt(choice.certificate.path)}) is not used: {why}"
    elif choice is not None:
        yield "no certificate"
    if choice is not None:
        yield from (f"{excerpt(name)}.crt with its .key is not taken: {why}" for name, why in choice.passed_over)


def _site_files(site: Site) -> Iterator[str]:
    """Return the files that hold for all of a site, beside its certificate."""
    if site.snippet is not None:
        yield f"with the lines of {excerpt(site.snippet)}"
    if site.clients is not None:
        crl = "" if site.clients.crl is None else f", but those of {excerpt(site.clients.crl)}"
        yield f"clients show certificates (ssl_verify_client {site.clients.verify}) of {excerpt(site.clients.ca)}{crl}"


def _others(story: SiteStory) -> tuple[Route, ...]:
    """Return the rows of those that do not get the host, but for what the answer has said of the whole host already."""
    said = (Reason.NO_CERTIFICATE, Reason.HOST_REFUSED)
    serving = {one.name for each in story.locations for one in each.containers}
    return tuple(each for each in story.refused if each.reason not in said or each.container not in serving)


def _rows(routes: tuple[Route, ...]) -> list[str]:
    rows = [f"{each.container}: {each.outcome}" for each in routes[:MAX_ROWS]]
    return [*rows, *([f"and {more} more"] if (more := len(routes) - MAX_ROWS) > 0 else [])]


def _regexp_lines(regexps: tuple[str, ...]) -> list[str]:
    if not regexps:
        return []
    more = f" and {len(regexps) - MAX_ROWS} more" if len(regexps) > MAX_ROWS else ""
    names = ", ".join(map(excerpt, regexps[:MAX_ROWS]))
    return [f"nginx tries these for a name that nobody serves, and lbwatch does not: {names}{more}"]
