"""
Keeps a copy of some files and folders of another file system, as the engine packs them.

Links lead to where they would lead in there, so that nothing outside of the copy is ever reached.
"""

import io
import os
import posixpath
import shutil
import tarfile
from pathlib import Path

_OWNERS, _MODES = 0o600, 0o666
_PEM = b"-----BEGIN "


class Mirror:
    """
    The copy.

    Args:
        root: A folder of its own on this side, for the other's root.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def clear(self) -> None:
        """Remove all that was copied."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True, exist_ok=True)

    def replace(self, path: str, archive: bytes | None) -> None:
        """
        Replace a file or a folder by what an archive holds, and nothing else.

        Args:
            path: Where it is in the other file system.
            archive: A tar whose first name is its own; `None`: there is none.

        Raises:
            OSError: The copy cannot be written, or that is no tar.
        """
        here = self._here(path)
        if here.is_dir() and not here.is_symlink():
            shutil.rmtree(here)
        elif os.path.lexists(here):
            here.unlink()
        if archive is None:
            return
        try:
            # Never packed a second time: the bound on an archive's size is on what comes, not on what it unpacks to.
            with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
                self._unpack(tar, top=path)
        except (tarfile.TarError, EOFError, LookupError, ValueError) as error:
            raise OSError(f"the engine's archive of it cannot be read: {error}") from error

    def real(self, path: str) -> str:
        """Return where a path leads to by the links that are copied, there or not."""
        return "/" + os.path.realpath(self._here(path)).removeprefix(os.path.realpath(self.root)).lstrip("/")

    def _unpack(self, tar: tarfile.TarFile, *, top: str) -> None:
        # Links come last: nothing is written through one, wherever it leads.
        links: list[tuple[Path, Path]] = []
        for entry in tar:
            path = _within(top, entry.name)
            here = self._here(path)
            if entry.isdir():
                here.mkdir(parents=True, exist_ok=True)
            elif entry.issym():
                links.append((here, self._here(posixpath.join(posixpath.dirname(path.rstrip("/")), entry.linkname))))
            elif entry.islnk() and (first := self._here(_within(top, entry.linkname))).is_file():
                here.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(first, here)
            elif entry.isfile() and (content := tar.extractfile(entry)) is not None:
                here.parent.mkdir(parents=True, exist_ok=True)
                text = content.read()
                # Of a key beside the user's sites it only counts that it is there: nothing is included from it.
                here.write_bytes(b"" if text.startswith(_PEM) else text)
                here.chmod(entry.mode & _MODES | _OWNERS)
        for link, target in links:
            if not os.path.lexists(link):
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(target)

    def _here(self, path: str) -> Path:
        """Return where a path of the other file system is in the copy: never outside of it."""
        return self.root / posixpath.normpath(f"/{path}").lstrip("/")


def _within(top: str, name: str) -> str:
    """Return where a member of an archive is, whose first name is that of *top*."""
    _, _, rest = posixpath.normpath(f"/{name}").lstrip("/").partition("/")
    return posixpath.join(top, rest)
