"""
An nginx in a container, reached by the engine that runs it: tested and reloaded by exec, proven by its processes.

Which container it is, the engine's events tell: it may be restarted, recreated, renamed and connected to networks at
any time. What is asked of the engine goes through `Engine`; nothing here knows how.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import structlog

from lbwatch.balancers.nginx.config_test.copy import ConfigCopy
from lbwatch.balancers.nginx.config_test.mirror import Mirror
from lbwatch.balancers.nginx.local import RELOAD_COMMAND_TIMEOUT_S, TEST_TIMEOUT_S, Tester, main_of, refusal
from lbwatch.balancers.nginx.locate import NginxContainer, seen_at
from lbwatch.balancers.nginx.process import Process, Workers
from lbwatch.balancers.nginx.verify import ProvenControl, ReloadVerifier
from lbwatch.core.errors import (
    NotTestedError,
    ReloadError,
    ReloadRefusedError,
    SourceError,
    SourceTimeoutError,
    excerpt,
)
from lbwatch.core.model import Container, ContainerConfig, ContainerProcess, ContainerStatus

TEST_FOLDER = ".lbwatch-test"
"""In the folder of the output, which nginx sees too; hidden, so that no `include` takes it."""

TEST_LIMIT_S = 60.0
"""For all that a test takes: copies of the user's files by the engine, and `TEST_TIMEOUT_S` for nginx itself."""

_POLL_S = 0.02
_MAX_ROUNDS = 32  # in which links and includes lead to further files
_FOR_PEOPLE = (
    200,
    400,
    401,
    403,
    405,
)  # HTTP statuses of what no further try mends; else something just ends
_NOT_STARTED = (126, 127)  # exit codes of a program that is not there, or cannot be run
_MASTER_TITLE = "nginx: master process"
_WORKER_TITLE = "nginx: worker process"
_RETIRING_TITLE = "is shutting down"

_log = structlog.get_logger()


class Engine(Protocol):
    """What is asked of an engine about one container, by its id; each raises `SourceError`."""

    async def container_config(self, container: str) -> ContainerConfig:
        """Ask where it is and how it is kept."""

    async def execute(self, container: str, command: Sequence[str], *, timeout_s: float) -> tuple[int, str]:
        """Run a program in it, and give its exit code and what it said; 127: there is none."""

    async def processes(self, container: str) -> tuple[ContainerProcess, ...]:
        """List what runs in it."""

    async def archive(self, container: str, path: str) -> bytes | None:
        """Copy a file or a folder out of it, as a tar whose first name is its own; `None`: it has none such."""

    async def hang_up(self, container: str) -> None:
        """Send HUP to its first process."""


class ContainerTester:
    """
    Tests a candidate together with the user's real configuration, by the nginx in the container.

    The test tree lies in a hidden folder beside the output, which the container sees; the user's files come out of it
    as the engine packs them.

    Args:
        engine: Runs it.
        nginx_container: Tells which it is.
        command: The nginx program in there, and what it always needs.
        main: The user's main file in there; `None`: the one that the program was built for.
        output: The file that the candidate stands for, on this side.
        output_there: Where the folder of the output lies in there; `None`: found from the mounts.
        folder: An empty folder for the copy of the user's files.
        copy: Where the test tree is made; in the folder of the output, or below.
        mountinfo: Gives our own mounts, as /proc/self/mountinfo has them.
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
        self.copy: ConfigCopy | None = None  # none before the first test
        self.remark: str | None = None
        self._engine = engine
        self._nginx_container = nginx_container
        self._command = command
        self._asked_main = main
        self._output = output
        self._output_there = output_there
        self._mirror = Mirror(folder / "mirror")
        self._copy_folder = copy
        self._mountinfo = mountinfo
        self._tested: str | None = None  # id of the container that the tree is for
        self._copied: frozenset[str] = frozenset()  # files and folders of the user's, in there
        self._said: set[str] = set()  # warnings

    async def test(self, text: str) -> bool:
        """
        Run `nginx -t` on the test tree; a container that does not run cannot test.

        Raises:
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
                copy, code, said = await self._tried(container, text=text)
        except (TimeoutError, SourceTimeoutError) as error:
            why = str(error) or f"the test did not end within {TEST_LIMIT_S:g} s"
            raise NotTestedError(f"nginx's container {container.name}: {why}") from error
        except SourceError as error:
            kind = NotTestedError if error.status in _FOR_PEOPLE else ReloadError
            raise kind(f"nginx's container {container.name}: {error}") from error
        if code != 0:
            raise self._refusal(said, code=code, container=container, copy=copy)
        if not copy.includes_output:
            self._say_once(
                f"{self.main} in container {container.name} does not include {copy.output}: nginx never reads it"
            )
        return True

    async def _tried(self, container: Container, *, text: str) -> tuple[ConfigCopy, int, str]:
        """Run the test, and leave no copy of the user's files behind."""
        try:
            copy = await self._prepared(container, text=text)
            command = (*self._command, "-t", "-q", "-c", str(copy.main))
            return copy, *await self._engine.execute(container.id, command, timeout_s=TEST_TIMEOUT_S)
        finally:
            await asyncio.to_thread(self._put_away)

    def _put_away(self) -> None:
        self._mirror.clear()
        if self.copy is not None:
            self.copy.clear()

    async def _prepared(self, container: Container, *, text: str) -> ConfigCopy:
        """Copy the user's files as they are now, and make the test tree of them."""
        if self._tested != container.id or self.copy is None:
            self.copy, self._tested = await self._made(container), container.id
        copy = self.copy
        missing = self._copied = frozenset(self._main_places()[:1])
        for _ in range(_MAX_ROUNDS):
            for path in sorted(missing):
                await self._copy(container, path)
            if not (missing := self._missing(self._main_places())):
                await asyncio.to_thread(copy.write, text)
                missing = self._missing(copy.included())
            if not missing:
                return copy
            self._copied |= missing
        raise NotTestedError(f"nginx's container {container.name}: its files include one another without an end")

    def _main_places(self) -> tuple[str, ...]:
        return (str(self.main.parent), str(self.main)) if self.main is not None else ()

    def _missing(self, places: Iterable[str]) -> frozenset[str]:
        """Tell where some of the user's files really are, as far as that is not copied yet."""
        real = map(self._mirror.real, places)
        return frozenset(each for each in real if not _is_below(each, self._copied))

    async def _copy(self, container: Container, path: str) -> None:
        """Copy some of the user's files out of the container."""
        try:
            packed = await self._engine.archive(container.id, path)
        except SourceError as error:
            raise SourceError(f"{path} cannot be copied out of it: {error}", status=error.status) from error
        try:
            await asyncio.to_thread(self._mirror.renew, path, packed)
        except OSError as error:
            raise NotTestedError(f"the copy of {path}: {error.strerror or error}") from error
        if packed is None and path in self._main_places():
            raise NotTestedError(f"nginx's container {container.name} has no {path}: see nginx_conf")

    async def _made(self, container: Container) -> ConfigCopy:
        self.main = self._asked_main or await self._built_in_main(container)
        there = self._output_there or await self._found(container)
        below = self._copy_folder.relative_to(self._output.parent)
        return ConfigCopy(
            self._copy_folder,
            main=self.main,
            output=there / self._output.name,
            seen_at=there / below,
            seen_from=self._mirror.root,
        )

    async def _built_in_main(self, container: Container) -> Path:
        code, said = await self._engine.execute(container.id, (*self._command, "-V"), timeout_s=TEST_TIMEOUT_S)
        if code in _NOT_STARTED:
            raise NotTestedError(self._no_program(container))
        return main_of(said)

    async def _found(self, container: Container) -> Path:
        """Find the output's folder in there."""
        container_config = await self._engine.container_config(container.id)
        folder = str(self._output.parent.resolve())
        try:
            found = seen_at(folder, mountinfo=self._mountinfo(), theirs=container_config.mounts)
        except OSError as error:
            raise NotTestedError(f"our own mounts cannot be read: {error.strerror}; set nginx_output") from error
        if found is None:
            places = ", ".join(destination for _, destination in container_config.mounts) or "none"
            raise NotTestedError(
                f"nginx's container {container.name} shares no mount with {folder} (it has {places}): mount one folder "
                "in both, or set nginx_output to where it lies in there"
            )
        return Path(found)

    def _refusal(self, said: str, *, code: int, container: Container, copy: ConfigCopy) -> Exception:
        if code in _NOT_STARTED:
            return NotTestedError(self._no_program(container))
        if f'"{copy.main}" failed (2:' in said:  # ENOENT, of what was written a moment ago
            return NotTestedError(
                f"nginx's container {container.name} does not see {self._copy_folder} at {copy.main.parent}: set "
                f"nginx_output to where {self._output.parent} lies in there ({excerpt(said)})"
            )
        return refusal(said, candidate=copy.candidate, stands_for=self._output)

    def _no_program(self, container: Container) -> str:
        return (
            f"nginx's container {container.name} has no program {self._command[0]}: see nginx_container, nginx_command"
        )

    def _say_once(self, reason: str) -> None:
        self.remark = reason
        if reason not in self._said:
            _log.warning("nginx.not_included", reason=reason)
        self._said.add(reason)


class ElsewhereTester:
    """
    Tests without nginx's container, and only while it is there: else nothing is to be written.

    Args:
        nginx_container: Tells where it is.
        tester: Tests; `None`: nothing may be run in the container, and nothing else can tell.
    """

    def __init__(self, nginx_container: NginxContainer, *, tester: Tester | None) -> None:
        self.remark = None if tester else "nginx_reload is signal: nothing tests a new file before nginx reads it"
        self._nginx_container = nginx_container
        self._tester = tester

    async def test(self, text: str) -> bool:
        """Have it tested, or raise `ReloadError` if there is no container."""
        self._nginx_container.container()
        return self._tester is not None and await self._tester.test(text)


class ContainerControl(ProvenControl):
    """
    Reloads the nginx in the container.

    Args:
        engine: Runs it.
        nginx_container: Tells which it is.
        command: The words of the program that reloads, in there; `None` for HUP by the engine.
    """

    def __init__(self, engine: Engine, *, nginx_container: NginxContainer, command: tuple[str, ...] | None) -> None:
        super().__init__()
        self._engine = engine
        self._nginx_container = nginx_container
        self._command = command
        self._container_config: dict[str, ContainerConfig] = {}  # of the container that is signalled, by its id

    @property
    def remark(self) -> str | None:
        """Say what is odd about the container, or what a signal does to it."""
        odd = [each for each in (self._nginx_container.remark(), self._disarmed()) if each is not None]
        return "; ".join(odd) or None

    def _disarmed(self) -> str | None:
        """Say what a signal by the engine costs the container (facts, nginx 6)."""
        for container_config in self._container_config.values():
            policy = container_config.restart_policy
            if policy == "unless-stopped" or (policy in ("always", "on-failure") and not container_config.stop_signal):
                return (
                    "nginx_reload is signal: the engine takes nginx's container for stopped by hand, so that its "
                    f"restart policy {policy} no longer brings it back"
                )
        return None

    async def reload(self) -> None:
        """Run the command or send HUP, and remember which workers are the old ones."""
        container = self._nginx_container.running()
        before = await self._workers(container)
        self._verifier = ReloadVerifier(before, look=lambda: self._workers(container), poll_s=_POLL_S)
        try:
            await self._reload(container)
        except SourceError as error:
            raise ReloadError(f"nginx's container {container.name}: {error}") from error

    async def _reload(self, container: Container) -> None:
        if self._command is None:
            await self._learn(container)
            await self._engine.hang_up(container.id)
            return
        code, said = await self._engine.execute(container.id, self._command, timeout_s=RELOAD_COMMAND_TIMEOUT_S)
        if code != 0:
            words = " ".join(self._command)
            raise ReloadRefusedError(
                f"{words} in container {container.name} ended with exit code {code}: {excerpt(said)}"
            )

    async def _learn(self, container: Container) -> None:
        """Find out how the container is kept, and say once what a signal by the engine costs it."""
        if container.id in self._container_config:
            return
        self._container_config = {container.id: await self._engine.container_config(container.id)}
        if (reason := self._disarmed()) is not None:
            _log.warning("nginx.restart_disarmed", reason=reason)

    def running(self) -> object:
        """Name the container and its latest start."""
        try:
            container = self._nginx_container.running()
        except ReloadError:
            return None
        return container.id, container.started_ns

    def latest_start(self) -> object:
        """Name the latest start of the container, whether it runs or not."""
        found = self._nginx_container.found()
        return (found[0].id, found[0].started_ns) if found else None

    async def workers(self) -> tuple[int, int] | None:
        """Count those of the container."""
        with suppress(ReloadError):
            workers = await self._workers(self._nginx_container.running())
            return len(workers.serving), len(workers.retiring)
        return None

    async def checked(self) -> Workers:
        """Give its workers, and find out what there is to remark, before any reload; or raise `ReloadError`."""
        container = self._nginx_container.running()
        workers = await self._workers(container)
        if self._command is None:
            with suppress(SourceError):
                await self._learn(container)
        return workers

    async def _workers(self, container: Container) -> Workers:
        try:
            return workers_among(await self._engine.processes(container.id))
        except SourceError as error:
            raise ReloadError(f"nginx's container {container.name}: {error}") from error


def workers_among(processes: Sequence[ContainerProcess]) -> Workers:
    """
    Find the workers of an nginx master among a container's processes, by their titles.

    Raises:
        ReloadError: There is no master.
    """
    masters = {each.pid for each in processes if each.title.startswith(_MASTER_TITLE)}
    if not masters:
        titles = excerpt(", ".join(each.title for each in processes))
        raise ReloadError(f"no nginx master runs in nginx's container, but: {titles}")
    workers = [each for each in processes if each.parent in masters and each.title.startswith(_WORKER_TITLE)]
    retiring = {each.pid for each in workers if _RETIRING_TITLE in each.title}
    return Workers(
        serving=frozenset(Process(pid=each.pid, started=0) for each in workers if each.pid not in retiring),
        retiring=frozenset(Process(pid=pid, started=0) for pid in retiring),
    )


def _is_below(path: str, copied: frozenset[str]) -> bool:
    return any(f"{path}/".startswith(f"{each}/") for each in copied)
