"""Puts together what was seen of each place, in the words of `SiteFiles`; pure."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from lbwatch.core.site import SiteFiles
from lbwatch.system.sitefiles.contents import SeenFile
from lbwatch.system.sitefiles.grace import Seen
from lbwatch.system.sitefiles.pairs import is_shared

NOT_LOOKED_AT = "it was not looked at yet"
NOT_ANSWERING = "its file system does not answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """
    What is known of one place.

    Attributes:
        paths: Those that stand for it in `errors`, once its files cannot be known.
        seen: What was seen; `None`: nothing yet.
        answers: Whether the latest look ended, or may still do so in time.
    """

    paths: tuple[str, ...]
    seen: Seen | None
    answers: bool

    @property
    def error(self) -> str | None:
        """Return why its files cannot be known, in words."""
        if not self.answers:
            return NOT_ANSWERING
        return NOT_LOOKED_AT if self.seen is None else self.seen.error

    @property
    def is_unknown(self) -> bool:
        """Return whether nothing was ever known of its files."""
        return self.seen is None or (self.seen.error is not None and not self.seen.was_known)

    @property
    def files(self) -> Mapping[str, SeenFile]:
        """Return them by path."""
        return {} if self.seen is None else self.seen.files


def merged(*, certificates: Known, snippets: Known, passwords: Known, fixed: Known) -> SiteFiles:
    """Return all that is known."""
    places = (certificates, snippets, passwords, fixed)
    files = {path: each for place in places for path, each in place.files.items()}
    digests = {path: each.digest for path, each in sorted(files.items()) if each.digest is not None}
    errors = {path: each.error for path, each in sorted(files.items()) if each.error is not None}
    for place in places:
        if place.error is not None:
            errors |= dict.fromkeys(place.paths, place.error)
    unknown = (path for place in places if place.is_unknown for path in place.paths)
    shared = {path for path in certificates.files if is_shared(os.path.basename(path))}
    others = shared | fixed.files.keys()
    pairs = certificates.seen.pairs if certificates.seen is not None else None
    return SiteFiles(
        certificates=pairs.certificates if pairs is not None else {},
        lone=pairs.lone if pairs is not None else (),
        snippets=_by_name(snippets.files),
        passwords=_by_name(passwords.files),
        others={path: digest for path, digest in digests.items() if path in others},
        digests=digests,
        errors=errors,
        unknown=frozenset(unknown),
        spelled=_spelled(files) | _spelled(pairs.certificates if pairs is not None else ()),
    )


def _spelled(names: Collection[str]) -> dict[str, str]:
    """Return the paths, or names, whose last part is written with capitals, by the same without."""
    found: dict[str, str] = {}
    for each in sorted(names):
        folder, slash, name = each.rpartition("/")
        if (lower := f"{folder}{slash}{name.lower()}") not in names:
            found.setdefault(lower, each)
    return found


def _by_name(files: Mapping[str, SeenFile]) -> dict[str, str]:
    return {os.path.basename(path): each.digest for path, each in sorted(files.items()) if each.digest is not None}
