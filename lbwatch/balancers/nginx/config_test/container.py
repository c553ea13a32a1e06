"""Tests a candidate by the nginx in a container: with a copy of its own files, made here, by a program run there."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

from lbwatch.balancers.nginx.balancer import Tester
from lbwatch.balancers.nginx.config_test.copy import ConfigCopy
from lbwatch.balancers.nginx.config_test.mirror import Mirror
from lbwatch.balancers.nginx.config_test.program import TEST_TIMEOUT_S, command_to_test, main_file, rejection
from lbwatch.balancers.nginx.config_test.shared import SharedFolder
from lbwatch.balancers.nginx.engine import Engine
from lbwatch.balancers.nginx.locate import NginxContainer
from lbwatch.core.errors import NotTestedError, ReloadError, SourceError, SourceTimeoutError, excerpt
from lbwatch.core.model import Container, ContainerStatus

TEST_FOLDER = ".lbwatch-test"
"""In the folder of the output, which nginx sees too; hidden, so that no `include` takes it."""

TEST_LIMIT_S = 60.0
"""For all that a test takes: copies of the user's files by the engine, and `TEST_TIMEOUT_S` for nginx itself."""

_MAX_ROUNDS = 32  # in which links and includes lead to further files
_PERMANENT_STATUSES = (200, 400, 401, 403, 405)  # HTTP statuses of what no retry mends; else something just ends
_NOT_STARTED = (126, 127)  # exit codes of a program that is not there, or cannot be run

_log = structlog.get_logger()


class ContainerTester:
    """
    Tests a candidate together with the user's real configuration, by the nginx in the container.

    The copy lies in a hidden folder beside the output, which the container sees; the user's files come out of it as the
    engine packs them.

    Args:
        engine: Runs the container.
        nginx_container: Knows which it is.
        command: The nginx program in there, and what it always needs.
        main: The user's main file in there; `None`: the one that the program was built for.
        output: The file that the candidate stands for, on this side.
        output_there: Where the folder of the output lies in there; `None`: found from the mounts.
        folder: An empty folder for what is copied out of the container.
        copy: Where the copy that nginx tests is made; in the folder of the output, or below.
        mountinfo: Returns our own mounts, as /proc/self/mountinfo has them.

    Attributes:
        main: The user's main file in there; known for sure once there is a copy.
        copy: In which a candidate is tested; `None` before the first test.
        remark: See `Tester`.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        nginx_container: NginxContainer,
        command: tuple[str, ...],
        main: Path | None,
        output: Path,
        output_there: Path | None,
        folder: Path,
        copy: Path,
        mountinfo: Callable[[], str],
    ) -> None:
        self.main = main
        self.copy: ConfigCopy | None = None
        self.remark: str | None = None
        self._program = _ContainerProgram(engine, command=command, main=main)
        self._files = _ContainerFiles(engine, folder=folder / "mirror")
        self._shared = SharedFolder(engine, output=output, output_there=output_there, mountinfo=mountinfo)
        self._nginx_container = nginx_container
        self._output = output
        self._copy_folder = copy
        self._copy_of: str | None = None  # id of the container that the copy is for
        self._warned: set[str] = set()  # by reason

    async def test(self, text: str) -> bool:
        """
        Return `True` if `nginx -t` takes the copy, `False` if the container does not run.

        Raises:
            ConfigRejectedError: `nginx -t` refuses it, or could not be run (`NotTestedError`).
            ReloadError: There is no such container: nothing is to be written.
        """
        container = self._nginx_container.container()
        self.remark = None
        if container.status is not ContainerStatus.RUNNING:
            self.remark = (
                f"nginx's container {container.name} is {container.status}: nothing tests a new file until it runs"
            )
            return False
        try:
            async with asyncio.timeout(TEST_LIMIT_S):
                copy = await self._test_copy(container, text=text)
        except (TimeoutError, SourceTimeoutError) as error:
            why = str(error) or f"the test did not end within {TEST_LIMIT_S:g} s"
            raise NotTestedError(f"nginx's container {container.name}: {why}") from error
        except SourceError as error:
            kind = NotTestedError if error.status in _PERMANENT_STATUSES else ReloadError
            raise kind(f"nginx's container {container.name}: {error}") from error
        if not copy.includes_output:
            self._warn_once(
                f"{self.main} in container {container.name} does not include {copy.output}: nginx never reads it"
            )
        return True

    async def _test_copy(self, container: Container, *, text: str) -> ConfigCopy:
        """Return the copy that nginx took; nothing of the user's files is left behind."""
        try:
            copy = await self._prepare(container, text=text)
            code, printed = await self._program.test(container, main=copy.main)
        finally:
            await asyncio.to_thread(self._clear)
        if code == 0:
            return copy
        if f'"{copy.main}" failed (2:' in printed:  # ENOENT, of what was written a moment ago
            raise NotTestedError(
                f"nginx's container {container.name} does not see {self._copy_folder} at {copy.main.parent}: set "
                f"nginx_output to where {self._output.parent} lies in there ({excerpt(printed)})"
            )
        raise rejection(printed, candidate=copy.candidate, stands_for=self._output)

    def _clear(self) -> None:
        self._files.clear()
        if self.copy is not None:
            self.copy.clear()

    async def _prepare(self, container: Container, *, text: str) -> ConfigCopy:
        """Return the copy that is to be tested, made of the user's files as they are now."""
        # A recreated container has the name of the one that it replaces, and nothing else need be the same.
        if self._copy_of != container.id or self.copy is None:
            self.main = await self._program.main_in(container)
            self.copy, self._copy_of = await self._new_copy(container, main=self.main), container.id
        assert self.main is not None
        copy, main = self.copy, (str(self.main.parent), str(self.main))
        self._files.start(main[0])
        missing = frozenset(main[:1])
        # What links and includes lead to is only known once what names them is here, so that it takes several rounds.
        for _ in range(_MAX_ROUNDS):
            for path in sorted(missing):
                if not await self._files.fetch(container, path) and path in main:
                    raise NotTestedError(f"nginx's container {container.name} has no {path}: see nginx_conf")
            if not (missing := self._files.not_asked(main)):
                await asyncio.to_thread(copy.write, text)
                missing = self._files.not_asked(copy.included())
            if not missing:
                return copy
        raise NotTestedError(f"nginx's container {container.name}: its files include one another without an end")

    async def _new_copy(self, container: Container, *, main: Path) -> ConfigCopy:
        there = await self._shared.path_in(container)
        return ConfigCopy(
            self._copy_folder,
            main=main,
            output=there / self._output.name,
            seen_at=there / self._copy_folder.relative_to(self._output.parent),
            seen_from=self._files.root,
        )

    def _warn_once(self, reason: str) -> None:
        self.remark = reason
        if reason not in self._warned:
            _log.warning("nginx.not_included", reason=reason)
        self._warned.add(reason)


class ContainerRequiredTester:
    """
    Tests without nginx's container, and only while there is one: else nothing is to be written.

    Args:
        nginx_container: Knows which it is.
        tester: Tests; `None`: nothing may be run in the container, and nothing else can test.
    """

    def __init__(self, nginx_container: NginxContainer, *, tester: Tester | None) -> None:
        self.remark = None if tester else "nginx_reload is signal: nothing tests a new file before nginx reads it"
        self._nginx_container = nginx_container
        self._tester = tester

    async def test(self, text: str) -> bool:
        """Return what the tester does, or raise `ReloadError` if there is no container."""
        # Without it, it is not known which networks nginx reaches: what would be written is not worth a test.
        self._nginx_container.container()
        return self._tester is not None and await self._tester.test(text)


class _ContainerProgram:
    """
    The nginx program in a container.

    Args:
        engine: Runs the container.
        command: The program, and what it always needs.
        main: Its main file; `None`: the one that it was built for.
    """

    def __init__(self, engine: Engine, *, command: tuple[str, ...], main: Path | None) -> None:
        self._engine = engine
        self._command = command
        self._main = main

    async def test(self, container: Container, *, main: Path) -> tuple[int, str]:
        """Return the exit code of the test of a main file, and its output. Raises `NotTestedError`, `SourceError`."""
        return await self._execute(container, command_to_test(self._command, main=main))

    async def main_in(self, container: Container) -> Path:
        """Return the main file of the user's configuration in there; raises `NotTestedError`, `SourceError`."""
        if self._main is not None:
            return self._main
        _, printed = await self._execute(container, (*self._command, "-V"))
        return main_file(printed)

    async def _execute(self, container: Container, command: tuple[str, ...]) -> tuple[int, str]:
        code, printed = await self._engine.execute(container.id, command, timeout_s=TEST_TIMEOUT_S)
        if code in _NOT_STARTED:
            raise NotTestedError(
                f"nginx's container {container.name} has no program {self._command[0]}: "
                "see nginx_container, nginx_command"
            )
        return code, printed


class _ContainerFiles:
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

    def start(self, folder: str) -> None:
        """Begin anew with a folder: what was copied before may have changed."""
        self._asked = frozenset((folder,))

    def not_asked(self, paths: Iterable[str]) -> frozenset[str]:
        """Return where some of the files really are, without those that were returned before: what is to be fetched."""
        real = map(self._mirror.real, paths)
        missing = frozenset(each for each in real if not _is_below(each, self._asked))
        self._asked |= missing
        return missing

    async def fetch(self, container: Container, path: str) -> bool:
        """
        Return whether the container has a file or a folder of that path, which is copied out of it.

        Raises:
            SourceError: The engine does not hand it out.
            NotTestedError: It cannot be written here.
        """
        try:
            archive = await self._engine.archive(container.id, path)
        except SourceError as error:
            raise SourceError(f"{path} cannot be copied out of it: {error}", status=error.status) from error
        try:
            await asyncio.to_thread(self._mirror.replace, path, archive)
        except OSError as error:
            raise NotTestedError(f"the copy of {path}: {error.strerror or error}") from error
        return archive is not None

    def clear(self) -> None:
        """Remove all that was copied."""
        self._mirror.clear()


def _is_below(path: str, folders: frozenset[str]) -> bool:
    return any(f"{path}/".startswith(f"{each}/") for each in folders)
