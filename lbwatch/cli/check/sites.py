"""Says which of nginx's server blocks pass to our upstreams, and why a request may meet another one: pure words."""

from collections.abc import Collection, Iterator
from pathlib import PurePath

from lbwatch.balancers.nginx.config_test.sites import Hidden, Site, Sites
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
    if not sites.ours:
        example = f"`location / {{ proxy_pass http://{min(names)}; }}`"
        yield warn("site", f"no server block of nginx passes requests to {_few(sorted(names))}: add one with {example}")
    elif not sites.hidden:
        yield ok("site", f"{_few([_where(each) for each in sites.ours])} {_verb(sites.ours)} to upstreams of lbwatch")
    where = " in nginx's container" if is_inside else ""
    yield from warnings("site", (_hidden_words(each, where=where) for each in sites.hidden))


def _hidden_words(hidden: Hidden, *, where: str) -> str:
    by, site = hidden.by, hidden.site
    is_welcome = PurePath(by.path).name in _WELCOME
    why = "the default_server there" if hidden.is_said else "the first one there"
    what = f'{why}, and often "Welcome to nginx!"' if is_welcome else why
    cure = f"`rm {excerpt(by.path)}`{where} and reload nginx" if is_welcome else f"change that one{where}"
    answered = f"requests to {excerpt(hidden.place)} are answered by {_where(by)} ({what})"
    instead = f"not by {_where(site)}, which passes to {_few(sorted(site.upstreams))}"
    return f"{answered} and {instead}: {cure}, or give yours a server_name"


def _verb(sites: Collection[Site]) -> str:
    return "passes" if len(sites) == 1 else "pass"


def _where(site: Site) -> str:
    return f"{excerpt(site.path)}:{site.line}"


def _few(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(map(excerpt, names[:_MOST_NAMED])) + (f" and {more} more" if more > 0 else "")
