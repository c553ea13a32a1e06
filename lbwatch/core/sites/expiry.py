"""What is to be said of a certificate's end: browsers refuse it from then on, and whoever renews it may have failed."""

from collections.abc import Iterable
from datetime import UTC, datetime

from lbwatch.core.errors import excerpt
from lbwatch.core.site import Certificate, Site

SOON_S = 14 * 86_400.0
"""An end that is nearer is worth a word: who renews by ACME does so 30 days before it, and tries each day."""

MAX_REMARKS = 5
"""So many certificates are remarked on, each with a sentence."""

_DAY_S = 86_400.0


def day(seconds: float) -> str:
    """Return the day of a time given in seconds since the epoch, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def expiry_words(certificate: Certificate, *, at: float) -> str | None:
    """
    Return that a certificate ends soon, or has ended; `None`: it does not, or its end is not known.

    Args:
        certificate: Of a site.
        at: Now, seconds since the epoch.
    """
    if certificate.expires_at is None or (left_s := certificate.expires_at - at) >= SOON_S:
        return None
    name, date = excerpt(certificate.name), day(certificate.expires_at)
    if left_s <= 0:
        return f"certificate {name} expired on {date}, and browsers refuse it: renew it"
    days = int(left_s // _DAY_S)
    when = "today" if days == 0 else "in 1 day" if days == 1 else f"in {days} days"
    return f"certificate {name} expires {when}, on {date}: renew it"


def certificates_of(sites: Iterable[Site]) -> tuple[Certificate, ...]:
    """Return the certificates that sites use, each once, by name."""
    found = {each.certificate.name: each.certificate for each in sites if each.certificate is not None}
    return tuple(found[name] for name in sorted(found))


def expiry_remarks(sites: Iterable[Site], *, at: float) -> tuple[str, ...]:
    """
    Return what is to be said of the certificates that sites use, the first that ends first.

    Args:
        sites: All.
        at: Now, seconds since the epoch.
    """
    ending = sorted(certificates_of(sites), key=lambda each: (each.expires_at or 0.0, each.name))
    words = [each for one in ending if (each := expiry_words(one, at=at)) is not None]
    more = [f"so it is with {len(words) - MAX_REMARKS} more certificates"] if len(words) > MAX_REMARKS else []
    return (*words[:MAX_REMARKS], *more)
