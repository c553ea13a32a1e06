"""
Which protocols and ciphers TLS has, by Mozilla's three policies. Pure.

https://wiki.mozilla.org/Security/Server_Side_TLS
"""

from dataclasses import dataclass

_ECDHE = (
    *("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
    *("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
    *("ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"),
)
_DHE = ("DHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES256-GCM-SHA384", "DHE-RSA-CHACHA20-POLY1305")
_OLD = (
    *("ECDHE-ECDSA-AES128-SHA256", "ECDHE-RSA-AES128-SHA256", "ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA"),
    *("ECDHE-ECDSA-AES256-SHA384", "ECDHE-RSA-AES256-SHA384", "ECDHE-ECDSA-AES256-SHA", "ECDHE-RSA-AES256-SHA"),
    *("DHE-RSA-AES128-SHA256", "DHE-RSA-AES256-SHA256", "AES128-GCM-SHA256", "AES256-GCM-SHA384"),
    *("AES128-SHA256", "AES256-SHA256", "AES128-SHA", "AES256-SHA", "DES-CBC3-SHA"),
    "@SECLEVEL=0",  # without it OpenSSL 3 speaks no TLS 1.0 and 1.1
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """
    What nginx's directives take.

    Attributes:
        protocols: Of `ssl_protocols`.
        ciphers: Of `ssl_ciphers`, for what is older than TLS 1.3; `None`: nothing is.
        prefers_server_ciphers: Whether the server's order counts.
    """

    protocols: str
    ciphers: str | None = None
    prefers_server_ciphers: bool = False


_POLICIES = {
    "modern": Policy(protocols="TLSv1.3"),
    "intermediate": Policy(protocols="TLSv1.2 TLSv1.3", ciphers=":".join((*_ECDHE, *_DHE))),
    "old": Policy(
        protocols="TLSv1 TLSv1.1 TLSv1.2 TLSv1.3",
        ciphers=":".join((*_ECDHE, *_DHE, *_OLD)),
        prefers_server_ciphers=True,
    ),
}


def policy(name: str) -> Policy:
    """Return a policy by its name; of one that there is not, the one that all browsers of today take."""
    return _POLICIES.get(name, _POLICIES["intermediate"])
