"""
Keeps a good certificate known while its files are replaced one after the other.

Whoever renews one writes the certificate, and then its key. In between they do not belong together, and a site must not
be closed for that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lbwatch.core.site import Certificate
from lbwatch.system.sitefiles.contents import SeenFile
from lbwatch.system.sitefiles.pairs import Pairs

LOST = "it is gone, and its folder with it"

GRACE_S = 5.0
"""From the first half that was seen until it counts; copies over a slow network are done within a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """
    What was seen of one place.

    Attributes:
        files: By path, those that are there.
        pairs: Of a folder of certificates.
        error: Why the files cannot be known, in words: what else stands here is from before then.
        was_known: Whether they ever were.
        folder: See `Survey`.
    """

    files: Mapping[str, SeenFile] = field(default_factory=dict)
    pairs: Pairs = field(default_factory=Pairs)
    error: str | None = None
    was_known: bool = False
    folder: tuple[int, int] | None = None

    def has_lost(self, before: "Seen") -> bool:
        """
        Return whether the folder itself went, with the files of before: renamed, removed, or no longer mounted.

        What is empty is another folder then. Whoever wants its files gone removes them.
        """
        return bool(before.files) and before.folder not in (None, self.folder) and not self.files

    @property
    def lost(self) -> "Seen":
        """Return the same, with none of its files to be used: what they close must not be open without them."""
        certificates = {
            name: replace(each, chain=None, dhparam=None, error=LOST) for name, each in self.pairs.certificates.items()
        }
        return replace(
            self,
            files={path: SeenFile(error=LOST) for path in self.files},
            pairs=replace(self.pairs, certificates=certificates),
        )


class Grace:
    """Remembers since when certificates are half replaced."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def eased(self, seen: Seen, *, before: Seen, now: float) -> Seen:
        """
        Return what was seen, with the certificates of before that are half replaced.

        Args:
            seen: As it is on disk.
            before: What counted until now.
            now: Loop time.
        """
        halves = {name: each for name, each in before.pairs.certificates.items() if each.error is None}
        halves = {name: each for name, each in halves.items() if _is_half(name, seen.pairs)}
        self._since = {name: self._since.get(name, now) for name in halves}
        kept = {name: each for name, each in halves.items() if now - self._since[name] < GRACE_S}
        return _with(seen, kept, before=before) if kept else seen

    def is_running(self, now: float) -> bool:
        """Return whether a certificate is kept: then somebody should look again soon."""
        return any(now - since < GRACE_S for since in self._since.values())


def _is_half(name: str, pairs: Pairs) -> bool:
    certificate = pairs.certificates.get(name)
    return name in pairs.lone or (certificate is not None and certificate.error is not None)


def _with(seen: Seen, kept: Mapping[str, Certificate], *, before: Seen) -> Seen:
    paths = (path for each in kept.values() for path in (each.path, each.key))
    certificates = {**seen.pairs.certificates, **kept}
    return replace(
        seen,
        files={**seen.files, **{path: before.files[path] for path in paths}},
        pairs=Pairs(
            certificates={name: certificates[name] for name in sorted(certificates)},
            lone=tuple(name for name in seen.pairs.lone if name not in kept),
        ),
    )
