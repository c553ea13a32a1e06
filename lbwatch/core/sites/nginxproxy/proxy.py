"""
What holds for all sites by the environment of nginx-proxy's own container, which lbwatch's is now.

A value that cannot be used never ends anything: its default holds, and the operator is told so. lbwatch's own settings
win.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final

from lbwatch.core.model import Reason
from lbwatch.core.site import HostWish, Https, SiteRules
from lbwatch.core.sites import grammar
from lbwatch.core.sites.nginxproxy import names
from lbwatch.core.sites.nginxproxy.hostwide import acme, https_method
from lbwatch.core.sites.nginxproxy.logs import JSON_FORMAT, log_escape, log_format
from lbwatch.core.sites.nginxproxy.policies import policy
from lbwatch.core.sites.nginxproxy.values import Reader, Values

DEFAULTS: Final = HostWish(
    https=Https.REDIRECT,
    is_lenient=True,
    trusts_default=True,
    hsts="max-age=31536000",
    redirect_code=301,
    http2=True,
    acme=True,
)
"""What nginx-proxy does for a host that says nothing."""

_MAX_ROOT_CHARS: Final = 1024
_STATUS = re.compile(r"[2-5][0-9]{2}")
_REDIRECT = re.compile(r"(30[12378])\s+(\S+)")
_ROOT_URL = re.compile(
    r"(?:https?://|\$scheme://|/)(?:[A-Za-z0-9._~!&()*+,=:@/?-]|%[0-9A-Fa-f]{2}|\$(?:scheme|host|request_uri|uri|args|is_args)"
    r"(?![A-Za-z0-9_]))*"
)
_ROOT_TAKES = (
    "it takes a status, none, or a redirect such as 301 https://www.example$request_uri, with $scheme, $host, "
    "$request_uri, $uri, $is_args and $args"
)


def default_root(text: str) -> str | None:
    """Return what a host without a location for `/` answers there, as nginx's `return` takes it."""
    said = text.strip()
    if said.lower() == "none":
        return None
    redirect = _REDIRECT.fullmatch(said) if len(said) <= _MAX_ROOT_CHARS else None
    if redirect is not None and _ROOT_URL.fullmatch(redirect[2]) is not None:
        return f"{redirect[1]} {redirect[2]}"
    if _STATUS.fullmatch(said) is None:
        raise grammar.GrammarError(Reason.BAD_VARIABLE, _ROOT_TAKES)
    return said


def _any_value(text: str) -> bool:
    """Return whether a variable is set that counts whatever its value is, unless it clearly says no."""
    try:
        return grammar.boolean(text)
    except grammar.GrammarError:
        return True


_OF_RULES: Mapping[str, tuple[str, Reader]] = {
    "DEFAULT_HOST": ("default_host", grammar.host),
    "DEFAULT_ROOT": ("default_root", default_root),
    "HTTP_PORT": ("http_port", grammar.port),
    "HTTPS_PORT": ("https_port", grammar.port),
    "ENABLE_IPV6": ("ipv6", grammar.boolean),
    "PREFER_IPV6_NETWORK": ("prefers_ipv6", grammar.boolean),
    "TRUST_DOWNSTREAM_PROXY": ("trusts_downstream", grammar.boolean),
    "ENABLE_PROXY_PROTOCOL": ("proxy_protocol", grammar.boolean),
    "SSL_POLICY": ("ssl_policy", policy),
    "ACME_HTTP_CHALLENGE_ACCEPT_UNKNOWN_HOST": ("acme_unknown", grammar.boolean),
    "LOG_FORMAT": ("log_format", log_format),
    "LOG_FORMAT_ESCAPE": ("log_escape", log_escape),
}
_OF_HOST: Mapping[str, tuple[str, Reader]] = {
    names.HTTPS_METHOD: ("https", https_method),
    names.HSTS: ("hsts", grammar.hsts),
    names.TOKENS: ("server_tokens", grammar.server_tokens),
    names.ACME: ("acme", acme),
    names.MISSING_CERT: ("is_lenient", grammar.boolean),
    "TRUST_DEFAULT_CERT": ("trusts_default", grammar.boolean),
    "NON_GET_REDIRECT": ("redirect_code", grammar.redirect_code),
    "ENABLE_HTTP2": ("http2", grammar.boolean),
}
_JSON, _NO_LOG, _TRUST = "LOG_JSON", "DISABLE_ACCESS_LOGS", "TRUST_DOWNSTREAM_PROXY"
_NOT_TAKEN: Mapping[str, str] = {
    "ENABLE_HTTP3": "lbwatch's template serves no HTTP/3",
    "SHA1_UPSTREAM_NAME": "upstreams have their hosts' names",
    "DEBUG_ENDPOINT": "lbwatch explain --host, and /api/state, say more, and are not public",
    "DHPARAM_BITS": "no Diffie-Hellman group is written unless a certificate has its own, as NAME.dhparam.pem",
}
"""What nginx-proxy can be asked to do and is not done here, unless it is switched off; with what to do instead."""

PROXY_VARIABLES: frozenset[str] = frozenset({*_OF_RULES, *_OF_HOST, _JSON, _NO_LOG, *_NOT_TAKEN})
"""Of the proxy's own environment, all that is looked at."""


def proxy_rules(
    environ: Mapping[str, str], *, own: SiteRules, said: Collection[str] = ()
) -> tuple[SiteRules, tuple[str, ...]]:
    """
    Return what holds for all sites, and for each value that is not used a line on it.

    Args:
        environ: Of the proxy; no other names than `PROXY_VARIABLES` are looked at.
        own: What lbwatch's own settings say.
        said: The names of those of its fields that someone did set: they hold, as does all that is not the default.
    """
    values = Values(said={name: environ[name] for name in PROXY_VARIABLES if name in environ})
    compat = SiteRules(compat=True, trusts_downstream=True, acme_unknown=False)
    compat = replace(compat, of_host=replace(DEFAULTS, **values.all(_OF_HOST)), **values.all(_OF_RULES))
    if values.read(_JSON, grammar.boolean) and compat.log_format is None:
        compat = replace(compat, log_format=JSON_FORMAT, log_escape="json")
    if values.read(_NO_LOG, _any_value):
        compat = replace(compat, access_log=False)
    for name, why in _NOT_TAKEN.items():
        if values.read(name, _any_value):
            values.drop(name, why)
    return _with_own(compat, own=own, said=said, values=values), tuple(values.dropped)


def _with_own(compat: SiteRules, *, own: SiteRules, said: Collection[str], values: Values) -> SiteRules:
    """Return the rules with lbwatch's own settings over them; ports that would clash then are lbwatch's, both."""
    plain = SiteRules()
    held = {
        name: value
        for name in SiteRules.__dataclass_fields__
        if (value := getattr(own, name)) != getattr(plain, name) or name in said
    }
    # Who names the proxies before nginx trusts no others.
    if own.trusted_proxies:
        held["trusts_downstream"] = False
        if values.has(_TRUST) and compat.trusts_downstream:
            values.drop(_TRUST, "the setting trusted_proxies says who is trusted")
    made = replace(compat, **(held | {"compat": True}))
    if made.http_port != made.https_port:
        return made
    values.dropped.append(f"variables HTTP_PORT and HTTPS_PORT: both would be {made.http_port}; they are not used")
    return replace(made, http_port=own.http_port, https_port=own.https_port)
