"""Which certificate a host has, and why the nearer ones are not taken."""

import re
from dataclasses import dataclass
from typing import Final

from lbwatch.core.site import Certificate, SiteFiles

DEFAULT: Final = "default"
"""The certificate of whoever has no nearer one, and of hosts that nobody serves."""

_IPV4 = re.compile(r"[0-9.]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """
    What was chosen of all certificates for one host.

    Attributes:
        certificate: The one, which may be one that cannot be used; `None`: there is none.
        passed_over: Names of those that would have come before it, each with why it is not taken, in words.
        named: Whether a container names the only one that may be taken.
    """

    certificate: Certificate | None = None
    passed_over: tuple[tuple[str, str], ...] = ()
    named: bool = False

    @property
    def usable(self) -> Certificate | None:
        """Return the certificate, if nginx can use it."""
        return None if self.certificate is None or self.certificate.error is not None else self.certificate


def certificate_of(
    host: str,
    *,
    files: SiteFiles,
    wanted: str | None = None,
    trusts_default: bool = True,
    also: Certificate | None = None,
) -> Choice:
    """
    Return the certificate of a host: named by its container, else as the host or its parent, else the default one.

    Args:
        host: See `SiteWish`.
        files: What there is.
        wanted: Name of the only one that may be taken; `None`: whichever is nearest.
        trusts_default: Whether the default one may be taken.
        also: One that may be taken, if it says that it is for the host.
    """
    passed_over: list[tuple[str, str]] = []
    for name in (wanted,) if wanted is not None else certificate_names(host):
        written = name if wanted is not None else files.spelled.get(name, name)
        if (found := files.certificates.get(written)) is not None:
            return Choice(certificate=found, passed_over=tuple(passed_over), named=wanted is not None)
        passed_over.append((name, _missing_words(name, files=files)))
    if wanted is not None:
        return Choice(passed_over=tuple(passed_over), named=True)
    if also is not None and is_for(also, host):
        return Choice(certificate=also, passed_over=tuple(passed_over))
    found = files.certificates.get(DEFAULT) if trusts_default else None
    if found is None:
        why = _missing_words(DEFAULT, files=files) if trusts_default else "it is not trusted here"
        passed_over.append((DEFAULT, why))
    return Choice(certificate=found, passed_over=tuple(passed_over))


def certificate_names(host: str) -> tuple[str, ...]:
    """
    Return the names under which the certificate of a host is looked for, the nearest first.

    nginx-proxy's: as the host, then as its parent, one level up and only of a host with three labels or more.
    """
    if host.startswith(("~", "[")) or _IPV4.fullmatch(host):
        return (host,)
    labels = host.split(".")
    return (host,) if len(labels) < 3 else (host, ".".join(labels[1:]))


def is_for(certificate: Certificate, host: str) -> bool:
    """Return whether a certificate says that it is for a host, by RFC 6125: a `*` stands for one label."""
    name = host.strip("[]").lower()
    names = {each.lower() for each in certificate.hosts}
    return name in names or f"*.{name.partition('.')[2]}" in names


def _missing_words(name: str, *, files: SiteFiles) -> str:
    return "its certificate or its key is missing" if name in files.lone else "there is none"
