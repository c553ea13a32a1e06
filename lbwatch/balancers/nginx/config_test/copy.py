"""
Makes a copy of the user's nginx configuration in which the candidate stands where the output would be.

The live file and the pid file are not touched: the main file and the files that lead to the output are parsed and
written anew, without a pid file and an error log; all others are reached by links (facts, nginx 5). Logs that those
others name are opened, as by any `nginx -t`; where we are not root, what it could not open is left out (`permissions`).

Paths are as nginx sees them; where it has a file system of its own, the two arguments of `ConfigCopy` that begin with
`seen` say how the two views go together.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import crossplane

from lbwatch.balancers.nginx.config_test import scratch
from lbwatch.balancers.nginx.config_test.includes import IncludeTree
from lbwatch.balancers.nginx.config_test.permissions import LOGS, Block, Permissions
from lbwatch.core.errors import NotTestedError

_OWN = ".lbwatch"
_NOWHERE = "/dev/null"  # for the pid and the errors, which a test would write: nginx may be another user than we are
_OWNERS, _OPEN, _ENTER = 0o600, 0o644, 0o111  # modes


class ConfigCopy:
    """
    The copy, kept between tests and written anew when the user's files change.

    Args:
        folder: A folder for it, on this side.
        main: The user's main file, such as /etc/nginx/nginx.conf.
        output: The file that the candidate stands for.
        seen_at: Where nginx sees *folder*; `None`: where it is.
        seen_from: The folder on this side that holds what nginx sees as its root; `None`: there is one root for both.

    Attributes:
        main: What nginx is to be given as its main file.
        candidate: What stands in the place of *output*.
        includes_output: Whether the user's configuration includes the output at all.
    """

    __test__ = False  # pytest takes it for a test otherwise

    def __init__(
        self, folder: Path, *, main: Path, output: Path, seen_at: Path | None = None, seen_from: Path | None = None
    ) -> None:
        there = folder if seen_at is None else seen_at
        self.candidate = there / _OWN / "candidate.conf"
        self.main = there / main.name
        self.output = output
        self.includes_output = False
        self._folder = folder
        self._source = main
        self._root = "" if seen_from is None else str(seen_from)
        self._is_shared = seen_at is not None  # with an nginx that may be another user, whatever our umask is
        self._is_limited = os.geteuid() != 0 and seen_at is None and seen_from is None
        self._tree: IncludeTree | None = None  # what the copy is of; none while there is no whole one

    def write(self, text: str) -> None:
        """
        Put the candidate in place, and everything around it if the user's files have changed.

        Raises:
            NotTestedError: The user's own files cannot be read, or the copy cannot be written.
        """
        try:
            # Until its end a new copy counts as none: one that a full disk cut short would be tested for ever.
            kept, self._tree = self._tree, None
            if kept is not None and (not self._is_intact() or kept.is_outdated()):
                kept = None
            tree = kept or self._read()
            with self._opened() as (top, own):
                if kept is None:
                    self._build(tree, top=top, own=own)
                scratch.write_file(self.candidate.name, text=text, within=own, mode=self._mode(None))
            self._tree = tree
        except OSError as error:
            where = str(error.filename or self._folder).removeprefix(self._root)
            raise NotTestedError(f"the test's copy of {self._source}: {where}: {error.strerror}") from error
        except (ValueError, LookupError) as error:  # what neither a parser nor a file system takes, such as a NUL
            raise NotTestedError(f"the test's copy of {self._source} cannot be made: {error}") from error

    def clear(self) -> None:
        """Leave nothing behind: others see what nginx sees, and its files may be for nobody else."""
        self._tree = None
        with suppress(OSError):
            with self._opened() as (top, own):
                scratch.clear(own)
                os.rmdir(_OWN, dir_fd=top)
                scratch.clear(top)
            self._folder.rmdir()

    def included(self) -> frozenset[str]:
        """Return what the user's files include, see `IncludeTree`; nothing while there is no copy."""
        return frozenset() if self._tree is None else self._tree.included()

    @contextmanager
    def _opened(self) -> Iterator[tuple[int, int]]:
        """Open the copy's folder, and the one in it that is all ours."""
        mode = _OPEN | _ENTER if self._is_shared else None
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        with scratch.opened(self._folder, mode=mode) as top, scratch.opened(_OWN, within=top, mode=mode) as own:
            yield top, own

    def _is_intact(self) -> bool:
        """Return whether the copy is still there: cleaners of /tmp remove what is old."""
        return (self._folder / self.main.name).exists() and (self._folder / _OWN).is_dir()

    def _read(self) -> IncludeTree:
        return IncludeTree(
            self._source,
            output=self.output,
            root=self._root,
            permissions=Permissions(str(self._source.parent)) if self._is_limited else None,
            stand_ins=self.candidate.parent,
        )

    def _build(self, tree: IncludeTree, *, top: int, own: int) -> None:
        """Write all but the candidate into the two folders that are opened."""
        names = {path: f"{number}.conf" for number, path in enumerate(tree.files) if tree.files[path].needs_copy}
        copies = {path: str(self.candidate.with_name(name)) for path, name in names.items()}
        main = str(self._source)
        for path, name in names.items():
            if path != main:
                text = crossplane.build(self._rewritten(tree.files[path].block, tree=tree, copies=copies))
                scratch.write_file(name, text=text, within=own, mode=self._mode(tree.here(path)))
        block = self._rewritten(tree.files[main].block, tree=tree, copies=copies)
        block = [directive for directive in block if directive["directive"] != "pid"]
        block = [{"directive": each, "args": [_NOWHERE]} for each in ("error_log", "pid")] + block
        text = crossplane.build(block) + "\n"
        scratch.write_file(self.main.name, text=text, within=top, mode=self._mode(tree.here(main)))
        self.includes_output = tree.files[main].leads_to_output
        self._link(tree.neighbours(), top=top)

    def _mode(self, original: str | None) -> int | None:
        """Return the mode of the copy of a file, or of the candidate (`None`); `None` where our umask says it."""
        if not self._is_shared:
            return None
        return _OPEN if original is None else os.stat(original).st_mode & _OPEN | _OWNERS

    def _link(self, neighbours: list[str], *, top: int) -> None:
        """Reach the main file's neighbours by links, and nothing that is gone."""
        # Relative names resolve against the folder of the main file that nginx is given (facts, nginx 5).
        names = {name for name in neighbours if name not in (_OWN, self.main.name)}
        links = {entry.name for entry in os.scandir(top) if entry.is_symlink()}
        for name in links - names:
            os.unlink(name, dir_fd=top)
        for name in names - links:
            scratch.link(name, target=self._source.parent / name, within=top)

    def _rewritten(self, block: Block, *, tree: IncludeTree, copies: Mapping[str, str]) -> Block:
        """
        Return a block without its logs, and with the includes of files that are copied leading to the copies.

        Args:
            block: As the user has it.
            tree: Has what its includes match.
            copies: The paths of copies, by those of what they are of.
        """
        made: Block = []
        for directive in block:
            if directive["directive"] in LOGS and directive["args"] != ["off"]:
                continue  # a test opens logs, and makes those that are not there
            if directive["directive"] == "include":
                made += self._rewritten_include(directive, tree=tree, copies=copies)
            elif "block" in directive:
                made.append(directive | {"block": self._rewritten(directive["block"], tree=tree, copies=copies)})
            else:
                made.append(directive)
        return made

    def _rewritten_include(self, directive: dict[str, Any], *, tree: IncludeTree, copies: Mapping[str, str]) -> Block:
        matches = tree.matches(directive["args"][0]) if directive["args"] else ()
        targets = tuple(str(self.candidate) if tree.is_output(path) else copies.get(path, path) for path in matches)
        if targets == matches:
            return [directive]
        return [{"directive": "include", "args": [target]} for target in targets]
