"""
What a container asks of all of a host, or of its pool: values that are left out where they are wrong.

One such value is no reason to take a whole container out: the proxy's own default holds, and its owner is told. Two
could open more than a slip is worth, CERT_NAME and NETWORK_ACCESS: with a wrong one the container is refused.
"""

from collections.abc import Mapping

from lbwatch.core.model import Method, Reason
from lbwatch.core.site import HostWish, Https, SiteRules
from lbwatch.core.sites import grammar
from lbwatch.core.sites.nginxproxy import names
from lbwatch.core.sites.nginxproxy.policies import policy
from lbwatch.core.sites.nginxproxy.refusal import judged
from lbwatch.core.sites.nginxproxy.values import Reader, Values
from lbwatch.core.wishes import HashKeyRefusal

METHODS: Mapping[str, Https] = {
    "redirect": Https.REDIRECT,
    "noredirect": Https.BOTH,
    "nohttp": Https.ONLY,
    "nohttps": Https.OFF,
}


def https_method(text: str) -> Https:
    """Return what an HTTPS_METHOD means."""
    if (method := METHODS.get(text.strip().lower())) is None:
        raise grammar.GrammarError(Reason.BAD_VARIABLE, "it takes redirect, noredirect, nohttp or nohttps")
    return method


def acme(text: str) -> bool:
    """Return whether ACME challenges are served; `legacy` serves fewer, and nothing that is secret in more."""
    return True if text.strip().lower() == "legacy" else grammar.boolean(text)


_OF_HOST: Mapping[str, tuple[str, Reader]] = {
    names.HTTPS_METHOD: ("https", https_method),
    names.HSTS: ("hsts", grammar.hsts),
    names.TOKENS: ("server_tokens", grammar.server_tokens),
    names.EXTERNAL_HTTP: ("http_port", grammar.port),
    names.EXTERNAL_HTTPS: ("https_port", grammar.port),
    names.ACME: ("acme", acme),
    names.MISSING_CERT: ("is_lenient", grammar.boolean),
    names.VERIFY_CLIENT: ("verifies_client", grammar.ssl_verify_client),
    names.REDIRECT_CODE: ("redirect_code", grammar.redirect_code),
    names.TRUST_DEFAULT: ("trusts_default", grammar.boolean),
    names.HTTP2: ("http2", grammar.boolean),
}


def host_wish(values: Values, *, rules: SiteRules) -> HostWish:
    """Return what is asked of every host of a container."""
    asked = values.all(_OF_HOST)
    if "http_port" in asked and asked["http_port"] == asked.get("https_port"):
        values.drop(names.EXTERNAL_HTTPS, f"it takes another port than {names.EXTERNAL_HTTP}")
        del asked["https_port"]
    _drop_what_is_the_proxys(values, rules=rules)
    # Without it the host might be served under another certificate, or without any.
    if values.has(names.CERT_NAME):
        asked["certificate"] = judged(names.CERT_NAME, values.said[names.CERT_NAME], grammar.certificate_name)
    return HostWish(**asked)


def _drop_what_is_the_proxys(values: Values, *, rules: SiteRules) -> None:
    wanted = values.read(names.SSL_POLICY, policy)
    if wanted is not None and wanted != rules.ssl_policy:
        values.drop(names.SSL_POLICY, f"it is read of the proxy's own environment, where it is {rules.ssl_policy}")
    if values.read(names.HTTP3, grammar.boolean):
        values.drop(names.HTTP3, "lbwatch's template serves no HTTP/3")


def is_internal(values: Values) -> bool:
    """Return whether internal networks alone are let in; a word that is not known would let in everyone."""
    return values.has(names.ACCESS) and judged(names.ACCESS, values.said[names.ACCESS], _access)


def _access(text: str) -> bool:
    word = text.strip().lower()
    if word not in ("internal", "external"):
        raise grammar.GrammarError(Reason.BAD_VARIABLE, "it takes internal or external")
    return word == "internal"


def method(values: Values, *, refuses_key: HashKeyRefusal) -> Method | None:
    """Return how the requests of a container's pools are spread; `None`: it does not say."""

    def reader(text: str) -> Method:
        said = grammar.loadbalance(text)
        if said.name == "hash" and said.key is not None and (why := refuses_key(said.key)) is not None:
            raise grammar.GrammarError(Reason.BAD_VARIABLE, why)
        return said

    found: Method | None = values.read(names.LOADBALANCE, reader)
    return found


def keepalive(values: Values) -> tuple[int | None, bool]:
    """
    Return how many idle connections a container's pools keep, and whether any is kept.

    `None` is `auto`, and what nobody says: twice as many as there are servers, see `Upstream`.
    """
    said = values.read(names.KEEPALIVE, grammar.keepalive_word, default="auto")
    return (0, False) if said is None else (said if isinstance(said, int) else None, True)
