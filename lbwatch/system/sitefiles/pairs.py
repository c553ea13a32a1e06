"""Puts the files of a folder of certificates together: which certificate has which key, and what is wrong with it."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lbwatch.core.site import Certificate
from lbwatch.system import reading
from lbwatch.system.sitefiles.contents import SeenFile, digest_of
from lbwatch.system.sitefiles.judge import Verdict, judged
from lbwatch.system.sitefiles.survey import MAX_CERTIFICATE_BYTES

_CERTIFICATE, _KEY, _AUTHORITY, _REVOKED = ".crt", ".key", ".ca.crt", ".crl.pem"
_GLOBAL_AUTHORITY = "ca.crt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """
    What a folder of certificates has; see `SiteFiles` for both.

    Attributes:
        certificates: By name.
        lone: Names of halves.
    """

    certificates: Mapping[str, Certificate] = field(default_factory=dict)
    lone: tuple[str, ...] = ()


def is_shared(name: str) -> bool:
    """Return whether a file in a folder of certificates is for those of clients."""
    return name == _GLOBAL_AUTHORITY or name.endswith((_AUTHORITY, _REVOKED))


class Judge:
    """
    Judges the certificates of a folder, those that are the same as before without reading them.

    Args:
        folder: As in the paths of its files.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._known: dict[str, tuple[object, Verdict]] = {}  # by name, with the digests that it is of

    def pairs(self, files: Mapping[str, SeenFile], *, step: Callable[[], None] = lambda: None) -> Pairs:
        """
        Return the certificates of a folder.

        Args:
            files: By path, all that are there.
            step: Called at each of them, since many take their time.
        """
        found = {os.path.basename(path) for path in files}
        certificates = {name.removesuffix(_CERTIFICATE) for name in found if name.endswith(_CERTIFICATE)}
        keys = {name.removesuffix(_KEY) for name in found if name.endswith(_KEY)}
        self._known = {name: self._known[name] for name in certificates & keys & self._known.keys()}
        return Pairs(
            certificates={name: self._certificate(name, files, step=step) for name in sorted(certificates & keys)},
            # Authorities have no key here, and are no certificate of a site, unless that is named so (example.ca).
            lone=tuple(sorted(name for name in certificates ^ keys if not is_shared(name + _CERTIFICATE))),
        )

    def _certificate(self, name: str, files: Mapping[str, SeenFile], *, step: Callable[[], None]) -> Certificate:
        step()
        path, key, chain, dhparam = (
            os.path.join(self._folder, name + ending) for ending in (_CERTIFICATE, _KEY, ".chain.pem", ".dhparam.pem")
        )
        verdict = self._verdict(name, path=path, key=key, files=files)
        return Certificate(
            name=name,
            path=path,
            key=key,
            chain=_usable(chain, files),
            dhparam=_usable(dhparam, files),
            hosts=verdict.hosts,
            expires_at=verdict.expires_at,
            error=verdict.error,
        )

    def _verdict(self, name: str, *, path: str, key: str, files: Mapping[str, SeenFile]) -> Verdict:
        for each, what in ((path, "the certificate"), (key, "its key")):
            if (error := files[each].error) is not None:
                return Verdict(error=f"{what} cannot be used: {error}")
        digests = files[path].digest, files[key].digest
        if name in self._known and self._known[name][0] == digests:
            return self._known[name][1]
        verdict = Verdict()  # of one that lbwatch may not read
        if files[path].is_readable:
            certificate, secret = _content(path, files[path]), _content(key, files[key])
            if certificate is None or (secret is None and files[key].is_readable):
                return Verdict(error="it is being written just now")
            verdict = judged(certificate, key=secret)
        self._known[name] = digests, verdict
        return verdict


def _content(path: str, seen: SeenFile) -> bytes | None:
    """Return what a file holds; `None` if it may not be read, or is another one by now."""
    if not seen.is_readable:
        return None
    with suppress(OSError):
        content = reading.of_user(Path(path), max_bytes=MAX_CERTIFICATE_BYTES)
        if digest_of(content) == seen.digest:
            return content
    return None


def _usable(path: str, files: Mapping[str, SeenFile]) -> str | None:
    return path if path in files and files[path].error is None else None
