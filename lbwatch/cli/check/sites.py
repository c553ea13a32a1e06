"""Says which of nginx's server blocks pass to our upstreams, and why a request may meet another one: pure words."""

from collections.abc import Collection, Iterator
from pathlib import PurePath

from lbwatch.balancers.nginx.config_test.sites import Clash, Hidden, Site, Sites
from lbwatch.cli.check.finding import Finding, ok, warn, warnings
from lbwatch.core.errors import excerpt

_WELCOME = frozenset(("default", "default.conf"))
"""How Debian and nginx.org name the file of the site that answers "Welcome to nginx!"."""

_MOST_NAMED = 3


def site_words(sites: Sites, *, names: Collection[str], is_inside: bool) -> Iterator[Finding]:
    """
    Return the lines of what nginx has for our upstreams.

    Args:
        sites: That.
        names: The upstreams.
        is_inside: Whether nginx's files are in a container.
    """
    if not sites.ours and names:
        example = f"`location / {{ proxy_pass http://{min(names)}; }}`"
        yield warn("site", f"no server block of nginx passes requests to {_few(sorted(names))}: add one with {example}")
    elif sites.ours and not sites.hidden:
        yield ok("site", f"{_few([_where(each) for each in sites.ours])} {_verb(sites.ours)} to upstreams of lbwatch")
    where = " in nginx's container" if is_inside else ""
    yield from warnings("site", (_hidden_words(each, where=where) for each in sites.hidden))
    yield from warnings("site", (_clash_words(each, where=where) for each in sites.clashes))


def _hidden_words(hidden: Hidden, *, where: str) -> str:
    by, site = hidden.by, hidden.site
    what, cure = _taker_words(by, is_said=hidden.is_said, where=where)
    answered = f"requests to {excerpt(hidden.place)} are answered by {_where(by)} ({what})"
    instead = f"not by {_where(site)}, which passes to {_few(sorted(site.upstreams))}"
    cures = "give yours a server_name" if by.is_written else f"{cure}, or give yours a server_name"
    return f"{answered} and {instead}: {cures}"


def _taker_words(by: Site, *, is_said: bool, where: str) -> tuple[str, str]:
    """Return what a server block is that gets what others were meant to, and what ends that."""
    is_welcome = PurePath(by.path).name in _WELCOME and not by.is_written
    why = "the default_server there" if is_said else "the first one there"
    if not is_welcome:
        return why, f"change that one{where}"
    return f'{why}, and often "Welcome to nginx!"', f"`rm {excerpt(by.path)}`{where} and reload nginx"


def _clash_words(clash: Clash, *, where: str) -> str:
    theirs, at = clash.theirs, _few(list(clash.places))
    if not clash.name:
        what, cure = _taker_words(theirs, is_said=clash.is_said, where=where)
        answered = f"requests to {at} for hosts of no container are answered by {_where(theirs)} ({what})"
        return f"{answered}, and not with 503 by lbwatch: {cure}, unless you want that"
    both = (_where(theirs), "the site of a container")
    winner, loser = both if clash.wins else reversed(both)
    answered = f"requests to {at} for {excerpt(clash.name)} are answered by {winner}, which nginx reads first"
    return f"{answered}, and never by {loser}: take the name out of one of the two"


def _verb(sites: Collection[Site]) -> str:
    return "passes" if len(sites) == 1 else "pass"


def _where(site: Site) -> str:
    return f"{excerpt(site.path)}:{site.line}"


def _few(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(map(excerpt, names[:_MOST_NAMED])) + (f" and {more} more" if more > 0 else "")
