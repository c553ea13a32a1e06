"""
How the upstream of a host's path is named where no label and no service names it, and the digests of files' names.

The names are those of nginx-proxy: files of its users say them.
"""

import hashlib

from lbwatch.core.model import UPSTREAM_NAME
from lbwatch.core.site import ROOT, SitePath

_MAX_CHARS = 255 - 41  # of a host, so that a dash and the digest of a path fit behind it


def pool_name(host: str, *, path: SitePath = ROOT) -> str:
    """
    Return the name of the upstream that serves a path of a host: `HOST` for all of it, else `HOST-SHA1(path)`.

    A host that cannot name an upstream, such as a regular expression, is written as its SHA-1.

    Args:
        host: As in `SiteWish`.
        path: Of that host.
    """
    is_name = len(host) <= _MAX_CHARS and UPSTREAM_NAME.fullmatch(host) is not None
    name = host.lower() if is_name else sha1(host)
    return name if path == ROOT else f"{name}-{sha1(str(path))}"


def sha1(text: str) -> str:
    """Return the SHA-1 of a text, in hex digits; nothing is kept safe by it."""
    return hashlib.sha1(text.encode(errors="surrogatepass"), usedforsecurity=False).hexdigest()
