"""
Which files the folders of sites had, for the next start: a folder that is gone by then must not open what it closed.

Names alone, in a small file below `state_dir`. Where that cannot be kept it is logged once, and nothing else is lost.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import structlog

from lbwatch.core.errors import OutputError
from lbwatch.system import files, reading
from lbwatch.system.sitefiles.contents import SeenFile
from lbwatch.system.sitefiles.grace import LOST, Seen
from lbwatch.system.sitefiles.pairs import Judge

FILE = "sitefiles.json"

MAX_BYTES = 32 << 20
"""Of that file: three folders of 20,000 files, whose paths may be 512 bytes long."""

_log = structlog.get_logger()


class _Folder(msgspec.Struct, frozen=True):
    identity: tuple[int, int]
    paths: tuple[str, ...]


_Kept = dict[str, _Folder]


class Memory:
    """
    What was known before this start.

    Args:
        folder: Where it is kept; `None`: nowhere.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / FILE
        self._kept: _Kept = {}
        self._reported = False
        self._load()

    def of(self, folder: str, *, has_pairs: bool) -> Seen | None:
        """
        Return what a folder had, as if it were gone; `None`: nothing is known of it.

        Args:
            folder: Its path.
            has_pairs: Whether it is one of certificates.
        """
        if (kept := self._kept.get(folder)) is None:
            return None
        seen = {path: SeenFile(error=LOST) for path in kept.paths}
        found = Seen(files=seen, was_known=True, folder=kept.identity)
        return replace(found, pairs=Judge(folder).pairs(seen)) if has_pairs else found

    def keep(self, seen: Mapping[str, Seen | None]) -> None:
        """Keep what is known of each folder now, by its path; of those that nobody looked into yet what was."""
        now = dict(self._kept)
        for folder, each in seen.items():
            if each is not None and each.error is None:
                now.pop(folder, None)
                if each.folder is not None and each.files:
                    now[folder] = _Folder(identity=each.folder, paths=tuple(sorted(each.files)))
        if now != self._kept:
            self._kept = now
            self._save()

    def _load(self) -> None:
        if self._path is None:
            return
        try:
            self._kept = msgspec.json.decode(reading.of_ours(self._path, max_bytes=MAX_BYTES), type=_Kept)
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._report(error)

    def _save(self) -> None:
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            files.replace(self._path, text=msgspec.json.encode(self._kept).decode() + "\n")
        except (OSError, OutputError) as error:
            self._report(error)

    def _report(self, error: Exception) -> None:
        if not self._reported:
            self._reported = True
            _log.warning("files.not_remembered", path=str(self._path), error=str(error))
