"""What is in nginx's container: its program, which is run there, and the user's files, which are copied out of it."""

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path

from lbwatch.balancers.nginx.config_test.mirror import Mirror
from lbwatch.balancers.nginx.config_test.permissions import NoCopyError
from lbwatch.balancers.nginx.config_test.program import TEST_TIMEOUT_S, command_to_test, is_passed, main_file
from lbwatch.balancers.nginx.engine import Engine
from lbwatch.balancers.nginx.process import with_flags
from lbwatch.balancers.nginx.version import Version, version_in
from lbwatch.core.errors import NotTestedError, SourceError
from lbwatch.core.model import Container

PERMANENT_STATUSES = (200, 400, 401, 403, 405)
"""HTTP statuses of what no retry mends; any other may be of something that just ends."""

_NOT_STARTED = (126, 127)  # exit codes of a program that is not there, or cannot be run


class ContainerProgram:
    """
    The nginx program in a container.

    Args:
        engine: Runs the container.
        container: As it runs now.
        command: The program, and what it always needs.
        flags: Those that the nginx which runs there was started with.

    Attributes:
        start: The container's id, and when it was started.
        command: The program with all that it needs but its main file.
    """

    def __init__(
        self, engine: Engine, *, container: Container, command: tuple[str, ...], flags: Mapping[str, str]
    ) -> None:
        self.start = container.id, container.started_ns
        self.command = with_flags(command, flags={name: value for name, value in flags.items() if name != "-c"})
        self._engine = engine
        self._container = container
        self._flags = flags
        self._printed: str | None = None  # by `-V`

    async def test(self, *, main: Path | None, extra: str | None = None, dump: bool = False) -> tuple[int, str]:
        """See `Program`. Raises `NotTestedError`, `SourceError`."""
        return await self._execute(command_to_test(self.command, main=main, extra=extra, dump=dump))

    async def main(self) -> Path:
        """Return the main file of the nginx that runs there; raises `NotTestedError`, `SourceError`."""
        given = Path(self._flags.get("-c", "."))
        if given.is_absolute():
            return given
        return main_file(await self._build_info(), flags=self._flags)

    async def version(self) -> Version | None:
        """Return the version of the program; raises likewise."""
        return version_in(await self._build_info())

    async def _build_info(self) -> str:
        if self._printed is None:  # an image does not change
            _, self._printed = await self._execute((*self.command, "-V"))
        return self._printed

    async def _execute(self, command: tuple[str, ...]) -> tuple[int, str]:
        code, printed = await self._engine.execute(
            self._container.id, command, timeout_s=TEST_TIMEOUT_S, proves=is_passed
        )
        if code in _NOT_STARTED:
            raise NotTestedError(
                f"nginx's container {self._container.name} has no program {self.command[0]}: "
                "see nginx_container, nginx_command"
            )
        return code, printed


class ContainerFiles:
    """
    The user's files, copied out of a container as far as they are asked for.

    Args:
        engine: Runs the container.
        folder: A folder of its own for them.

    Attributes:
        root: The folder that stands for the container's root.
    """

    def __init__(self, engine: Engine, *, folder: Path) -> None:
        self.root = folder
        self._engine = engine
        self._mirror = Mirror(folder)
        self._asked: frozenset[str] = frozenset()  # files and folders, in there

    def start(self) -> None:
        """Begin anew: what was copied before may have changed. Raises as `clear` does."""
        self.clear()
        self._asked = frozenset()

    def not_asked(self, paths: Iterable[str]) -> frozenset[str]:
        """Return where some of the files really are, without those that are known already: what is to be fetched."""
        return frozenset(each for each in map(self._mirror.real, paths) if not _is_below(each, self._asked))

    async def fetch(self, container: Container, path: str) -> bool:
        """
        Return whether the container has a file or a folder of that path, which is copied out of it.

        Raises:
            SourceError: The engine does not hand it out.
            NoCopyError: It is too large, or cannot be written here.
        """
        try:
            archive = await self._engine.archive(container.id, path)
            await asyncio.to_thread(self._mirror.replace, path, archive)
        except SourceError as error:
            if error.status in PERMANENT_STATUSES:
                raise NoCopyError(f"{path} cannot be copied out of it: {error}") from error
            raise SourceError(f"{path} cannot be copied out of it: {error}", status=error.status) from error
        except OSError as error:
            raise NoCopyError(f"the copy of {path}: {error.strerror or error}") from error
        self._asked |= {path}
        return archive is not None

    def clear(self) -> None:
        """Remove all that was copied; raises `NoCopyError` if there is no room for more."""
        try:
            self._mirror.clear()
        except OSError as error:
            raise NoCopyError(f"the copy of its files: {self.root}: {error.strerror}") from error


def _is_below(path: str, folders: frozenset[str]) -> bool:
    return any(f"{path}/".startswith(f"{each}/") for each in folders)
