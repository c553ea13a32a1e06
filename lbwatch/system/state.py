"""
What must survive a restart of the daemon: drains and pauses by hand, in a small JSON file below `state_dir`.

It touches the disk and decides nothing. A state that cannot be kept is logged once; routing goes on.
"""

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import msgspec

from lbwatch.core.errors import OutputError, StateError
from lbwatch.core.model import UPSTREAM_NAME
from lbwatch.system import files, place, reading

FILE = "drains.json"

MAX_BYTES = 16 << 20
"""Of that file: 64,000 drained containers, whose names may be 128 bytes long, or as many paused upstreams."""


class _Drain(msgspec.Struct, frozen=True):
    id: str
    name: str


class _Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the file holds."""

    drained: tuple[_Drain, ...]
    paused: tuple[Annotated[str, msgspec.Meta(pattern=rf"^{UPSTREAM_NAME.pattern}\Z")], ...] = ()


class State:
    """
    The drains and pauses by hand.

    Args:
        folder: Where the file is; it is made when there is something to keep.

    Attributes:
        drained: Names of the drained containers, by id.
        paused: Names of the paused upstreams; never changed, only replaced.
        path: Of the file.
    """

    def __init__(self, folder: Path) -> None:
        self.drained: dict[str, str] = {}
        self.paused: frozenset[str] = frozenset()
        self.path = folder / FILE
        self._unsaved = False  # whether a change did not reach the disk

    def load(self) -> None:
        """
        Read what was kept; there may be nothing.

        Raises:
            StateError: There is something, and it cannot be used; nothing is drained or paused then.
        """
        try:
            kept = msgspec.json.decode(reading.of_ours(self.path, max_bytes=MAX_BYTES), type=_Kept)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StateError(self.path, reason=str(error)) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise StateError(self.path, reason=f"it is not what lbwatch keeps there ({error}): remove it") from error
        self.drained = {each.id: each.name for each in kept.drained}
        self.paused = frozenset(map(str.lower, kept.paused))

    def check(self) -> None:
        """
        Make sure, before it matters, that something can be kept.

        Raises:
            StateError: It cannot, for this reason.
        """
        folder = self.path.parent
        with suppress(OSError):
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        if (reason := place.unusable_reason(self.path)) is not None:
            raise StateError(self.path, reason=reason)

    def drain(self, id: str, name: str) -> None:
        """
        Keep that a container is drained, on the disk too.

        Raises:
            StateError: It is drained, but that does not survive.
        """
        self.drained[id] = name
        self._save()

    def undrain(self, id: str) -> None:
        """
        Forget that a container is drained.

        Raises:
            StateError: It is not drained any more, but that does not survive.
        """
        # Also where it is not drained: a file that could not be written may still say so, and count at the next start.
        if self.drained.pop(id, None) is not None or self._unsaved:
            self._save()

    def pause(self, name: str) -> None:
        """
        Keep that an upstream is paused, on the disk too.

        Raises:
            StateError: It is paused, but that does not survive.
        """
        self.paused |= {name}
        self._save()

    def resume(self, name: str) -> None:
        """
        Forget that an upstream is paused.

        Raises:
            StateError: It is not paused any more, but that does not survive.
        """
        if name in self.paused or self._unsaved:
            self.paused -= {name}
            self._save()

    def retain(self, ids: Collection[str]) -> None:
        """Forget the containers that are not among *ids*; on the disk with the next change."""
        self.drained = {id: name for id, name in self.drained.items() if id in ids}

    def _save(self) -> None:
        # True until the file is there: whatever is raised on the way leaves the next call to try again.
        self._unsaved = True
        self.check()
        drained = tuple(_Drain(id=id, name=name) for id, name in sorted(self.drained.items()))
        kept = _Kept(drained=drained, paused=tuple(sorted(self.paused)))
        text = msgspec.json.format(msgspec.json.encode(kept)).decode() + "\n"
        if len(text.encode()) > MAX_BYTES:
            raise StateError(self.path, reason=f"it would be longer than {MAX_BYTES >> 20} MiB: undrain or resume some")
        try:
            files.replace(self.path, text=text)
        except OutputError as error:
            raise StateError(self.path, reason=str(error).removeprefix(f"{self.path}: ")) from error
        self._unsaved = False
