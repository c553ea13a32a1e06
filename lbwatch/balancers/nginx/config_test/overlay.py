"""
A folder that stands for the root of a file system: all in it is reached by links, but for some files with other bytes.

Only the folders on the way to those files are folders here too, and each holds a link to whatever else the real one
holds. Relative paths, `..` and patterns of the user's mean here what they mean there, since it is the kernel and nginx
that resolve them.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from lbwatch.balancers.nginx.config_test import scratch

_MAX_LINKS = 40
"""On the way to one file, as for the kernel (path_resolution(7))."""

_ALL, _OWNERS, _ENTER = 0o644, 0o600, 0o111  # modes


class Overlay:
    """
    What such a folder is made of.

    Args:
        here: Returns where on this side a path of the file system is.
        link: Returns where a link of the file system leads in there; `None`: it is none.
        ways: Paths, perhaps by links, on which the other files are come to.
        replaced: The paths, without links, of the files with other bytes.
        ignored: Returns whether a path is nobody's business, since it comes and goes.
    """

    def __init__(
        self,
        *,
        here: Callable[[str], str],
        link: Callable[[str], str | None],
        ways: Iterable[str],
        replaced: Iterable[str],
        ignored: Callable[[str], bool],
    ) -> None:
        self._here = here
        self._is_whole = here("/") == "/"  # else not all that there is of the file system is on this side
        self._link = link
        self._replaced = frozenset(replaced)
        self._ignored = ignored
        self._steps: dict[str, set[str]] = {"/": set()}  # by folder, what ways go through in it
        for path in (*ways, *self._replaced):
            self._walk(path)
        self._listed = self._listing()

    def is_outdated(self) -> bool:
        """Return whether a folder holds other names, or other links, than when this was made."""
        return self._listed != self._listing()

    def make(self, name: str, *, within: int, contents: Mapping[str, bytes], shared: bool) -> None:
        """
        Make the folder.

        Args:
            name: Of the folder.
            within: Descriptor of the one around it.
            contents: The bytes of the files with others, by their paths.
            shared: Whether others are to read it as far as they may read the user's files, whatever our umask is.
        """
        self._make_folder("/", name, within=within, contents=contents, shared=shared)

    def _make_folder(self, folder: str, name: str, *, within: int, contents: Mapping[str, bytes], shared: bool) -> None:
        # By descriptors, not by paths: whoever may write there too could put a link in the place of what was just made.
        with scratch.made(name, within=within, mode=_ALL | _ENTER if shared else None) as descriptor:
            for each, link in self._listed[folder]:
                path = os.path.join(folder, each)
                if path in self._steps:
                    self._make_folder(path, each, within=descriptor, contents=contents, shared=shared)
                elif path in self._replaced:
                    mode = self._mode(path) if shared else None
                    scratch.write_file(each, content=contents[path], within=descriptor, mode=mode)
                else:
                    os.symlink(self._target(path, link=link, folder=folder), each, dir_fd=descriptor)

    def _target(self, path: str, *, link: str | None, folder: str) -> str:
        """Return what a link in the place of a path leads to: the path itself, or one of ours as the user's does."""
        if link is not None:
            real = "/" + self._walk(path, note=False).lstrip("/")
            if real in self._steps or real in self._replaced:
                up = folder.count("/") if folder != "/" else 0
                return "../" * up + (real.lstrip("/") or ".")
        return path

    def _mode(self, path: str) -> int:
        with suppress(OSError):
            return os.stat(self._here(path)).st_mode & _ALL | _OWNERS
        return _ALL

    def _walk(self, path: str, *, note: bool = True) -> str:
        """Return a path without links, itself if it leads nowhere, and note what the kernel passes on its way."""
        waiting = [part for part in reversed(path.split("/")) if part]
        at, links = "/", 0
        while waiting:
            name = waiting.pop()
            if name in (".", ".."):
                if note and os.path.isdir(self._here(at)):
                    self._steps.setdefault(at, set())  # behind a link to the real one, `..` would lead out of ours
                at = os.path.dirname(at) if name == ".." else at
                continue
            step = os.path.join(at, name)
            if note:
                self._steps.setdefault(at, set()).add(name)
            if (target := self._link(step)) is None:
                if waiting and self._is_end(step, path):
                    return path
                at = step
                continue
            if (links := links + 1) > _MAX_LINKS:
                return path
            at = "/" if target.startswith("/") else at
            waiting += [part for part in reversed(target.split("/")) if part]
        return at

    def _is_end(self, step: str, path: str) -> bool:
        """Return whether the kernel gets no further on its way to a path, but for one that is yet to be made."""
        here = self._here(step)
        is_ours = path in self._replaced or step in self._steps
        return os.path.isfile(here) or (self._is_whole and not is_ours and not os.path.isdir(here))

    def _listing(self) -> dict[str, list[tuple[str, str | None]]]:
        """Return what each folder holds, sorted: names, and of links where they lead."""
        found = {}
        for folder, steps in self._steps.items():
            names = set(steps)
            with suppress(OSError):  # one that is not there yet
                names.update(os.listdir(self._here(folder)))
            whole = ((name, os.path.join(folder, name)) for name in sorted(names))
            found[folder] = [(name, self._link(path)) for name, path in whole if self._is_there(path)]
        return found

    def _is_there(self, path: str) -> bool:
        """Return whether a path is to have something in its place: a pattern would match a link that leads nowhere."""
        if self._ignored(path):
            return False
        return path in self._steps or path in self._replaced or not self._is_whole or os.path.lexists(path)
