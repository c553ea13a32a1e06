"""Tests a candidate by the nginx in a container: with a copy of its own files, made here, by a program run there."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from lbwatch.balancers.nginx.balancer import Tester
from lbwatch.balancers.nginx.config_test import scratch
from lbwatch.balancers.nginx.config_test.copy import ConfigCopy
from lbwatch.balancers.nginx.config_test.inside import PERMANENT_STATUSES, ContainerFiles, ContainerProgram
from lbwatch.balancers.nginx.config_test.judge import NotSeenError, dumped, judged
from lbwatch.balancers.nginx.config_test.permissions import NoCopyError
from lbwatch.balancers.nginx.config_test.program import (
    UNTESTED,
    names_pid,
)
from lbwatch.balancers.nginx.config_test.shared import SharedFolder
from lbwatch.balancers.nginx.engine import Engine
from lbwatch.balancers.nginx.locate import NginxContainer
from lbwatch.balancers.nginx.outputs import Outputs
from lbwatch.balancers.nginx.process import chosen_master, running_flags
from lbwatch.balancers.nginx.version import Version
from lbwatch.core.errors import (
    ConfigRejectedError,
    NotTestedError,
    ReloadError,
    SourceError,
    SourceTimeoutError,
    excerpt,
)
from lbwatch.core.model import Container, ContainerStatus

TEST_FOLDER = ".lbwatch-test"
"""In the folder of the output, which nginx sees too; hidden, so that no `include` takes it."""

TEST_LIMIT_S = 60.0
"""For all that a test takes: copies of the user's files by the engine, and `TEST_TIMEOUT_S` for nginx itself."""

_FRESH_S = 2.0  # after a look: a search for the one to blame takes many tests, one right after the other
_MAX_ROUNDS = 32  # in which links and includes lead to further files

_log = structlog.get_logger()


class ContainerTester:
    """
    Tests a candidate together with the user's real configuration, by the nginx in the container.

    The copy lies in a hidden folder beside the output, which the container sees; the user's files come out of it as the
    engine packs them, and only those that nginx reads. Both are kept for the next test.

    Args:
        engine: Runs the container.
        nginx_container: Knows which it is.
        command: The nginx program in there, and what it always needs.
        main: The user's main file in there; `None`: the one that the nginx which runs was started with.
        output: The file that the candidate stands for, on this side.
        output_there: Where the folder of the output lies in there; `None`: found from the mounts.
        folder: An empty folder for what is copied out of the container.
        copy: Where the copy that nginx tests is made; in the folder of the output, or below.
        mountinfo: Returns our own mounts, as /proc/self/mountinfo has them.
        stream: The file that the candidate's part for `stream {}` stands for, on this side; `None`: it has none.

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
        stream: Path | None = None,
    ) -> None:
        self.main = main
        self.copy: ConfigCopy | None = None
        self.remark: str | None = None
        self._engine = engine
        self._command = command
        self._given_main = main
        self._files = ContainerFiles(engine, folder=folder / "mirror")
        self._shared = SharedFolder(engine, output=output, output_there=output_there, mountinfo=mountinfo)
        self._shared_stream = self._shared
        if stream is not None and stream.parent != output.parent:
            self._shared_stream = SharedFolder(engine, output=stream, output_there=None, mountinfo=mountinfo)
        self._nginx_container = nginx_container
        self._outputs = Outputs(output, stream=stream)
        self._copy_folder = copy
        self._found: ContainerProgram | None = None  # the latest whose nginx was seen to run
        self._program: ContainerProgram | None = None  # of the container that the copy is for
        self._is_doubted = False
        self._looked_at = 0.0  # loop time
        self._turn = asyncio.Lock()
        self._warned: set[str] = set()  # by reason

    async def test(self, text: str) -> bool:
        """
        Return `True` if nginx takes the candidate, `False` if nothing can tell before a reload.

        Raises:
            ConfigRejectedError: It refuses it, or its test could not be run (`NotTestedError`).
            ReloadError: There is no such container: nothing is to be written.
        """
        container = self._nginx_container.container()
        self.remark = None
        if container.status is not ContainerStatus.RUNNING:
            self.remark = f"nginx's container {container.name} is {container.status}: {UNTESTED} until it runs"
            return False
        try:
            async with self._turn, asyncio.timeout(TEST_LIMIT_S):
                reason = await self._judge(container, text=text)
        except NoCopyError as error:
            reason = f"nginx's container {container.name}: {error}"
        except (TimeoutError, SourceTimeoutError) as error:
            why = str(error) or f"the test did not end within {TEST_LIMIT_S:g} s"
            raise NotTestedError(f"nginx's container {container.name}: {why}") from error
        except SourceError as error:
            kind = NotTestedError if error.status in PERMANENT_STATUSES else ReloadError
            raise kind(f"nginx's container {container.name}: {error}") from error
        if reason is not None:
            self._warn_once("nginx.untested", reason=f"{reason}: {UNTESTED}")
            return False
        if self.copy is not None and (unread := self.copy.unread()) is not None:
            reason = f"{self.main} in container {container.name} does not include {unread}"
            self._warn_once("nginx.not_included", reason=f"{reason}: nginx never reads it")
        return True

    async def dump(self, text: str) -> str | None:
        """Return all that nginx would read with a text that passed, as `nginx -T` prints it; `None`: not known."""
        if self.copy is None or self._program is None:
            return None
        try:
            async with self._turn, asyncio.timeout(TEST_LIMIT_S):
                return await dumped(self.copy, text, program=self._program)
        except (NoCopyError, NotTestedError, ReloadError, SourceError, TimeoutError):
            return None
        finally:
            await asyncio.to_thread(self.copy.hide)

    async def program_version(self) -> Version | None:
        """Return what the program in there says of itself: most often by the call that the first test needs anyway."""
        with suppress(ReloadError, SourceError, NotTestedError):
            container = self._nginx_container.running()
            async with self._turn:
                return await (await self._program_in(container)).version()
        return None

    async def refresh(self) -> None:
        """See `Tester`: its files change without a word, and to look at them each time would cost calls."""
        with suppress(ReloadError, SourceError, NoCopyError, NotTestedError, OSError):
            container = self._nginx_container.running()
            if self._is_known(container):
                async with self._turn:
                    await self._look_at(container)
                    await self._fetch(container)

    def doubt(self) -> None:
        """See `Tester`."""
        self._is_doubted = True

    def _clear(self) -> None:
        """Remove what was copied, and what one that was killed has left: nobody else writes there."""
        self._files.clear()
        scratch.remove(self._copy_folder)

    async def _judge(self, container: Container, *, text: str) -> str | None:
        clock = asyncio.get_running_loop().time
        if not self._is_known(container) or self._is_doubted:
            await self._look_at(container)
        is_fresh = clock() < self._looked_at + _FRESH_S
        try:
            reason = await self._judge_copy(container, text=text)
        except ConfigRejectedError:
            if is_fresh:
                raise
        else:
            if reason is None or is_fresh:
                return reason
        # The copy may be of what the user has changed since; nginx is not asked about that each time.
        await self._look_at(container)
        return await self._judge_copy(container, text=text)

    def _is_known(self, container: Container) -> bool:
        return self._program is not None and self._program.start == (container.id, container.started_ns)

    async def _look_at(self, container: Container) -> None:
        """Find out what nginx was started with in there, and begin with none of its files."""
        # A recreated container has the name of the one that it replaces, and nothing else need be the same.
        if not self._is_known(container):
            program = await self._program_in(container)
            main = self._given_main or await program.main()
            copy = await self._new_copy(container, main=main, has_pid=names_pid(program.command))
            await asyncio.to_thread(self._clear)
            self._program, self.main, self.copy = program, main, copy
        assert self.copy is not None
        if self._is_doubted:
            self.copy.clear()
        await asyncio.to_thread(self._files.start)
        self._is_doubted, self._looked_at = False, asyncio.get_running_loop().time()

    async def _judge_copy(self, container: Container, *, text: str) -> str | None:
        assert self._program is not None
        assert self.copy is not None
        try:
            await self._fetch(container)
            return await judged(self.copy, text, program=self._program, outputs=self._outputs)
        except NotSeenError as error:
            raise NotTestedError(
                f"nginx's container {container.name} does not see {self._copy_folder} at {self.copy.seen_at}: set "
                f"nginx_output to where {self._outputs.http.parent} lies in there ({excerpt(str(error))})"
            ) from error
        finally:
            await asyncio.to_thread(self.copy.hide)

    async def _fetch(self, container: Container) -> None:
        """Copy what nginx reads out of the container, as far as it is not here yet."""
        assert self.copy is not None
        assert self.main is not None
        missing = self._files.not_asked((str(self.main),))
        # What links and includes lead to is only known once what names them is here, so that it takes several rounds.
        for _ in range(_MAX_ROUNDS):
            for path in sorted(missing):
                if not await self._files.fetch(container, path) and path == str(self.main):
                    self._is_doubted = True
                    raise NotTestedError(f"nginx's container {container.name} has no {path}: see nginx_conf")
            if not (missing := self._files.not_asked((str(self.main),))):
                await asyncio.to_thread(self.copy.read)
                missing = self._files.not_asked(self.copy.included())
            if not missing:
                return
        raise NoCopyError("its files include one another without an end")

    async def _program_in(self, container: Container) -> ContainerProgram:
        """Return the program of a container, the same one as long as that is not started anew."""
        if self._found is not None and self._found.start == (container.id, container.started_ns):
            return self._found
        return await self._new_program(container)

    async def _new_program(self, container: Container) -> ContainerProgram:
        main = None if self._given_main is None else str(self._given_main)
        master = chosen_master(await self._engine.processes(container.id), main=main)
        flags = {} if master is None else running_flags(master.title)
        program = ContainerProgram(self._engine, container=container, command=self._command, flags=flags)
        self._found = None if master is None else program  # without one, its flags are not known yet
        return program

    async def _new_copy(self, container: Container, *, main: Path, has_pid: bool) -> ConfigCopy:
        output, stream = self._outputs.http, self._outputs.stream
        there = await self._shared.path_in(container)
        return ConfigCopy(
            self._copy_folder,
            main=main,
            output=there / output.name,
            stream=None if stream is None else await self._shared_stream.path_in(container) / stream.name,
            seen_at=there / self._copy_folder.relative_to(output.parent),
            seen_from=self._files.root,
            has_pid=has_pid,
        )

    def _warn_once(self, event: str, *, reason: str) -> None:
        self.remark = reason
        if reason not in self._warned:
            _log.warning(event, reason=reason)
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

    async def program_version(self) -> Version | None:
        """See `Tester`."""
        return None if self._tester is None else await self._tester.program_version()

    async def refresh(self) -> None:
        """See `Tester`."""
        if self._tester is not None:
            await self._tester.refresh()

    def doubt(self) -> None:
        """See `Tester`."""
        if self._tester is not None:
            self._tester.doubt()
