"""
Makes a copy of the user's nginx configuration in which the candidate stands where the output would be, or both would.

The user's bytes stay as they are but for spans that must differ (`includes`); where relative paths and patterns lead is
for nginx and the kernel to say, in a folder that stands for the root of the file system (`overlay`). The live file and
the pid file are not touched. Logs are opened, as by any `nginx -t`; where we are not root, what it could not open has
something else in its place (`permissions`).

Paths are as nginx sees them; where it has a file system of its own, the two arguments of `ConfigCopy` that begin with
`seen` say how the two views go together.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lbwatch.balancers.nginx.config_test import scratch
from lbwatch.balancers.nginx.config_test.includes import IncludeTree
from lbwatch.balancers.nginx.config_test.overlay import Overlay
from lbwatch.balancers.nginx.config_test.permissions import NoCopyError, Permissions
from lbwatch.balancers.nginx.config_test.program import NOWHERE, error_in, rejection
from lbwatch.balancers.nginx.outputs import first_stream_line, split
from lbwatch.core.errors import ConfigRejectedError

_ROOT, _STAND_INS = "root", "made"  # names of folders
_OPEN, _ENTER = 0o644, 0o111


class ConfigCopy:
    """
    The copy, kept between tests and made anew when the user's files change.

    Args:
        folder: A folder for it, on this side.
        main: The user's main file, such as /etc/nginx/nginx.conf.
        output: The file that the candidate stands for.
        stream: The one that its part for `stream {}` stands for; `None`: it has none.
        seen_at: Where nginx sees *folder*; `None`: where it is.
        seen_from: The folder on this side that holds what nginx sees as its root; `None`: there is one root for both.
        has_pid: Whether nginx is given the path of its pid file beside its files.

    Attributes:
        includes_output: Whether nginx was seen to read the candidate in this copy; `None`: not known yet.
        includes_stream: The same of its part for `stream {}`.
        checked_listens: Those of our lines that say where nginx listens of which it is known that they go together with
            the user's own; `None`: of none.
        wrong: Why nothing can be said by this copy, ever since nginx was seen to judge it unlike the files themselves.
        source: The user's main file.
        seen_at: Where nginx sees the folder of the copy.
        is_limited: Whether nginx, run by this user, may not do all that the user's configuration asks for.
    """

    __test__ = False  # pytest takes it for a test otherwise

    def __init__(
        self,
        folder: Path,
        *,
        main: Path,
        output: Path,
        stream: Path | None = None,
        seen_at: Path | None = None,
        seen_from: Path | None = None,
        has_pid: bool = False,
    ) -> None:
        self.output = output
        self.stream = stream
        self.includes_output: bool | None = None
        self.includes_stream: bool | None = None
        self.checked_listens: frozenset[str] | None = None
        self.wrong: str | None = None
        self._folder = folder
        self._has_pid = has_pid
        self.source = main
        self.seen_at = folder if seen_at is None else seen_at
        self._root = "" if seen_from is None else str(seen_from)
        self._is_shared = seen_at is not None  # with an nginx that may be another user, whatever our umask is
        self.is_limited = os.geteuid() != 0 and seen_at is None and seen_from is None
        self._outputs = (output,) if stream is None else (output, stream)
        self._lines_before_stream = 0  # in the latest text that was put in place
        self._made: Path | None = None  # the folder of the copy of now, on this side; none while there is no whole one
        self._tree: IncludeTree | None = None
        self._overlay: Overlay | None = None

    @property
    def top(self) -> str:
        """The folder that stands for the root, as nginx sees it."""
        assert self._made is not None
        return str(self.seen_at / self._made.name / _ROOT)

    @property
    def main(self) -> Path:
        """What nginx is to be given as its main file."""
        return Path(self.top + str(self.source))

    @property
    def candidates(self) -> tuple[str, ...]:
        """The files in the place of the outputs, as nginx sees them: the second is that for `stream {}`."""
        assert self._tree is not None
        return tuple(self.top + each for each in self._tree.outputs)

    @property
    def extra(self) -> str:
        """What nginx is to be given beside it: a pid nowhere, if the user's files name none, and so for its errors."""
        assert self._tree is not None
        pid = "" if self._has_pid or self._tree.names_pid else f"pid {NOWHERE};"
        return f"{pid} error_log {NOWHERE};" if self.is_limited else pid

    def original(self, text: str) -> str:
        """Return a text of nginx's with the user's own paths in the place of the copy's."""
        return text.replace(self.top, "")

    @property
    def candidate(self) -> str:
        """The first of them."""
        return self.candidates[0]

    def is_blamed(self, printed: str) -> bool:
        """Return whether what nginx printed is about a line of the candidate."""
        return any(f"{each}:" in printed for each in self.candidates)

    def rejection(self, printed: str) -> ConfigRejectedError:
        """Return the error of a test that failed, its line as it is counted in the text of the candidate."""
        http, *streams = map(self.original, self.candidates)
        if self.stream is not None and f"{streams[0]}:" in error_in(self.original(printed)):
            error = rejection(self.original(printed), candidate=streams[0], stands_for=str(self.stream))
            line = None if error.line is None else error.line + self._lines_before_stream
            return ConfigRejectedError(str(error), stderr=error.stderr, line=line)
        return rejection(self.original(printed), candidate=http, stands_for=str(self.output))

    def unread(self) -> Path | None:
        """Return the output that nginx was seen not to read; `None`: it reads all there is."""
        if not self.includes_output:
            return self.output
        return None if self.includes_stream in (True, None) else self.stream

    def are_outputs_among(self, paths: Iterable[str]) -> tuple[bool, ...]:
        """Return of each output whether one of the user's files is it, perhaps by links."""
        assert self._tree is not None
        read = {self._tree.real(path) for path in paths}
        return tuple(each in read for each in self._tree.outputs)

    def read(self) -> None:
        """Read the user's files, if they have changed. Raises `NoCopyError`."""
        with self._errors():
            if not self._is_current():
                self.clear()
                permissions = Permissions(str(self.source.parent)) if self.is_limited else None
                self._tree = IncludeTree(self.source, outputs=self._outputs, root=self._root, permissions=permissions)

    def write(self, text: str) -> None:
        """
        Put the candidate in place, and everything around it if the user's files have changed.

        Raises:
            NoCopyError: The user's own files cannot be read, or the copy cannot be written.
        """
        self.read()
        with self._errors():
            if self._overlay is None or not self._is_there():
                self._make()
        self.put(text)

    def put(self, text: str) -> None:
        """Put another candidate in place, and change nothing else. Raises `NoCopyError`."""
        assert self._made is not None
        assert self._tree is not None
        http, stream = split(text) if self.stream is not None else (text, None)
        stand_ins = str(self.seen_at / self._made.name / _STAND_INS)
        for path, part in zip(self._tree.outputs, (http, stream or ""), strict=False):
            content = self._tree.permitted(part.encode(), path=path, stand_ins=stand_ins)
            *folders, name = path.strip("/").split("/")
            with self._errors(), scratch.opened(str(self._folder), self._made.name, _ROOT, *folders) as folder:
                mode = _OPEN if self._is_shared else None
                scratch.write_file(name, content=content, within=folder, mode=mode)
        self._lines_before_stream = first_stream_line(text)

    def clear(self) -> None:
        """Leave nothing behind, and know nothing of it any more."""
        self.hide()
        self._tree = self._overlay = None
        self.includes_output = self.includes_stream = self.checked_listens = self.wrong = None

    def hide(self) -> None:
        """Leave nothing behind for now: others see what nginx sees, and its files may be for nobody else."""
        if self._made is not None:
            scratch.remove(self._made)
            if self._is_shared:
                with suppress(OSError):
                    self._folder.rmdir()
        self._made = None

    def included(self) -> frozenset[str]:
        """Return what the user's files include, see `IncludeTree`; nothing while there is no copy."""
        return frozenset() if self._tree is None else self._tree.included()

    def _is_current(self) -> bool:
        """Return whether what is known is of the user's files of now."""
        return (
            self._tree is not None
            and not self._tree.is_outdated()
            and (self._overlay is None or not self._overlay.is_outdated())
        )

    def _is_there(self) -> bool:
        """Return whether the copy is there: cleaners of /tmp remove what is old."""
        return self._made is not None and os.path.lexists(f"{self._made / _ROOT}{self.source}")

    def _make(self) -> None:
        assert self._tree is not None
        self.hide()
        mode = _OPEN | _ENTER if self._is_shared else None
        made = self._folder / scratch.new_name(self._folder, mode=mode)
        top, stand_ins = str(self.seen_at / made.name / _ROOT), str(self.seen_at / made.name / _STAND_INS)
        contents = self._tree.replaced(top=top, stand_ins=stand_ins) | dict.fromkeys(self._tree.outputs, b"")
        self._overlay = Overlay(
            here=self._tree.here,
            link=self._tree.link,
            ways=self._tree.ways,
            replaced=contents,
            ignored=self._tree.is_ours,
        )
        self._made = made
        with scratch.opened(str(self._folder)) as folder, scratch.made(made.name, within=folder, mode=mode) as within:
            with scratch.made(_STAND_INS, within=within, mode=mode):
                pass
            self._overlay.make(_ROOT, within=within, contents=contents, shared=self._is_shared)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Translate what goes wrong, and forget the copy: one that a full disk cut short would be tested for ever."""
        try:
            yield
        except OSError as error:
            # Of what is in the copy only the folder is named: one name of it is another one each time.
            name = str(error.filename or "") if error.filename2 is None else ""  # else of a link that was to be made
            theirs = os.path.isabs(name) and not name.startswith(f"{self._folder}/")
            where = name.removeprefix(self._root) if theirs else self._folder
            self.clear()
            raise NoCopyError(f"the test's copy of {self.source}: {where}: {error.strerror}") from error
        except ValueError as error:  # what no file system takes, such as a NUL
            self.clear()
            raise NoCopyError(f"the test's copy of {self.source} cannot be made: {error}") from error
