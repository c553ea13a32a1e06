"""Containers that name hosts, and the files that their sites are made with: makers, and Hypothesis strategies."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from strategies import container, worlds

from lbwatch.core.model import Container, Plan, Route
from lbwatch.core.rules import Rules
from lbwatch.core.site import Certificate, Location, Site, SiteFiles, SiteRules

CERTS, VHOSTS, PASSWORDS = "/etc/nginx/certs", "/etc/nginx/vhost.d", "/etc/nginx/htpasswd"
NO_FILES = SiteFiles()
HOSTS = ("a.example", "www.a.example", "b.c.example", "*.example", "~^re\\.", "[fd00::1]", "192.0.2.1", "localhost")
PATHS = ("/", "/x", "/x/", "= /x", "~ ^/(a|b)/")
SERVED = Rules(sites_refusal=None)
"""Rules of a template that writes sites."""


def certificate(name: str, *, hosts: tuple[str, ...] = (), error: str | None = None) -> Certificate:
    return Certificate(name=name, path=f"{CERTS}/{name}.crt", key=f"{CERTS}/{name}.key", hosts=hosts, error=error)


def files(
    *certificates: str | Certificate,
    snippets: tuple[str, ...] = (),
    passwords: tuple[str, ...] = (),
    others: tuple[str, ...] = (),
    lone: tuple[str, ...] = (),
    errors: Mapping[str, str] | None = None,
) -> SiteFiles:
    """Make files of these names; the digest of each is its path, backwards."""
    certs = [certificate(each) if isinstance(each, str) else each for each in certificates]
    paths = [path for each in certs for path in (each.path, each.key, each.chain, each.dhparam) if path is not None]
    paths += [f"{VHOSTS}/{name}" for name in snippets] + [f"{PASSWORDS}/{name}" for name in passwords] + [*others]
    return SiteFiles(
        certificates={each.name: each for each in certs},
        lone=lone,
        snippets={name: f"{VHOSTS}/{name}"[::-1] for name in snippets},
        passwords={name: f"{PASSWORDS}/{name}"[::-1] for name in passwords},
        others={path: path[::-1] for path in others},
        digests={path: path[::-1] for path in paths},
        errors=errors or {},
    )


def served(rules: SiteRules | None = None, site_files: SiteFiles = NO_FILES) -> dict[str, Any]:
    """Make the rules of a template that writes sites, for `strategies.decide`."""
    return {"sites_refusal": None, "sites": rules or SiteRules(), "site_files": site_files}


def hosting(
    name: str, host: str, /, *, created_ns: int = 0, env: Mapping[str, str] | None = None, **labels: str
) -> Container:
    """Make a container that serves a host, older than any other maker's unless said otherwise."""
    said = {f"lbwatch.{key}": value for key, value in labels.items()} | ({"lbwatch.host": host} if host else {})
    return container(name, labels=said, created_ns=created_ns, env=tuple(sorted((env or {}).items())))


def site(plan: Plan, host: str) -> Site:
    (found,) = [each for each in plan.sites if each.host == host]
    return found


def location(plan: Plan, host: str, path: str = "/") -> Location:
    (found,) = [each for each in site(plan, host).locations if str(each.path) == path]
    return found


def hosts_of(plan: Plan) -> list[str]:
    return [each.host for each in plan.sites]


def without_sites(plan: Plan) -> list[Route]:
    """List the routes that are about a path of a host."""
    return [each for each in plan.routes if each.site is not None]


# -- strategies

_named = st.sampled_from(
    [
        {},
        {},
        {"lbwatch.upstream": "web"},
        {"lbwatch.upstream": "api"},
        {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"},
    ]
)
_hosts = st.lists(st.sampled_from(HOSTS), min_size=1, max_size=3).map(",".join)
_more = st.fixed_dictionaries(
    {},
    optional={
        "lbwatch.path": st.sampled_from(PATHS),
        "lbwatch.https": st.sampled_from(["auto", "redirect", "both", "only", "off"]),
        "lbwatch.cert": st.sampled_from(["shared", "a.example"]),
        "lbwatch.auth": st.sampled_from(["staff", "nobody"]),
        "lbwatch.redirect_from": _hosts,
        "lbwatch.protocol": st.sampled_from(["http", "grpc"]),
        "lbwatch.upstreams.more.host": _hosts,
        "lbwatch.enable": st.just("true"),
        "lbwatch.body_size": st.just("1m"),
    },
)
site_labels: st.SearchStrategy[dict[str, str]] = st.builds(
    lambda host, named, more: {"lbwatch.host": host} | named | more, _hosts, _named, _more
)
"""Labels of sites as users write them."""

site_worlds = worlds(st.one_of(site_labels, site_labels, site_labels, st.just({"lbwatch.enable": "true"})), most=5)


_X, _RE = (hashlib.sha1(text.encode()).hexdigest() for text in ("/x", "~^re\\."))
_SNIPPETS = ("a.example", "default", "localhost_location", f"a.example_{_X}_location_override", _RE, f"{_RE}_location")
_OTHERS = (f"{CERTS}/ca.crt", f"{CERTS}/a.example.ca.crt", f"{CERTS}/a.example.crl.pem", "/etc/nginx/proxy.conf")


@st.composite
def site_files(draw: st.DrawFn) -> SiteFiles:
    """Draw what may lie in the three folders, some of it broken."""
    names = ("a.example", "c.example", "shared", "default", "*.example")
    certs = [
        certificate(name, error=draw(st.sampled_from([None, None, "its key is another one's"])))
        for name in draw(st.lists(st.sampled_from(names), unique=True, max_size=3))
    ]
    found = files(
        *certs,
        snippets=tuple(draw(st.lists(st.sampled_from(_SNIPPETS), unique=True, max_size=3))),
        passwords=tuple(draw(st.lists(st.sampled_from(["a.example", f"a.example_{_X}", "staff"]), unique=True))),
        others=tuple(draw(st.lists(st.sampled_from(_OTHERS), unique=True, max_size=2))),
        lone=tuple(draw(st.lists(st.sampled_from(["localhost", "a.example"]), unique=True, max_size=1))),
    )
    may_break = [f"{VHOSTS}/default", f"{VHOSTS}/{_RE}", f"{PASSWORDS}/a.example", f"{CERTS}/a.example.ca.crt"]
    may_break.append("/etc/nginx/proxy.conf")
    broken = draw(st.lists(st.sampled_from(may_break), unique=True, max_size=1))
    return replace(found, errors=dict.fromkeys(broken, "it cannot be read"))


site_rules = st.builds(
    Rules,
    sites_refusal=st.none(),
    sites=st.builds(
        SiteRules,
        default_host=st.sampled_from([None, "a.example", "nobody.example"]),
        https_port=st.sampled_from([443, 8443]),
    ),
    site_files=site_files(),
)
