"""
Reloads an nginx in a container, by the engine that runs it: by exec or by a signal, verified by its processes.

Which container it is follows from the engine's events: it may be restarted, recreated, renamed and connected to
networks at any time. What is asked of the engine goes through `Engine`; nothing here knows how.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from lbwatch.balancers.nginx.engine import Engine
from lbwatch.balancers.nginx.locate import NginxContainer
from lbwatch.balancers.nginx.process import (
    Process,
    Workers,
    chosen_master,
    running_flags,
    with_flags,
    workers_by_title,
)
from lbwatch.balancers.nginx.verify import RELOAD_COMMAND_TIMEOUT_S, ReloadVerifier
from lbwatch.balancers.nginx.version import Version
from lbwatch.core.errors import ReloadError, ReloadRefusedError, SourceError, excerpt
from lbwatch.core.model import Container, ContainerConfig, ContainerProcess

_POLL_S = 0.05

_FIRST_LOOK_S = 0.12
"""nginx retires its old workers 100 ms after the new ones are there: an earlier look would be a call for nothing."""

_HARMLESS = ("[notice]", "[warn]")

_log = structlog.get_logger()


class ContainerControl:
    """
    Reloads the nginx in the container.

    Args:
        engine: Runs the container.
        nginx_container: Knows which it is.
        command: The nginx program in there and what it always needs; `None` for HUP by the engine.
        main: The main file of the nginx that is meant; `None`: any.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        nginx_container: NginxContainer,
        command: tuple[str, ...] | None,
        main: Path | None = None,
    ) -> None:
        self._engine = engine
        self._nginx_container = nginx_container
        self._command = command
        self._container_config: dict[str, ContainerConfig] = {}  # of the container that is signalled, by its id
        self._main = None if main is None else str(main)
        self._verifier = ReloadVerifier(poll_s=_POLL_S, first_s=_FIRST_LOOK_S)
        self._known: _Known | None = None  # at the latest look

    @property
    def remark(self) -> str | None:
        """Return what is odd about the container, or what a signal does to it; `None`: nothing."""
        odd = [each for each in (self._nginx_container.remark(), self._restart_warning()) if each is not None]
        return "; ".join(odd) or None

    async def reload(self) -> None:
        """Run the command or send HUP, and remember which workers are the old ones."""
        container = self._nginx_container.running()
        known = self._known
        # What nginx's own program was asked for is proven by new workers even if an old one was replaced meanwhile.
        if known is None or known.start != _start(container) or self._command is None:
            known = await self._look(container)
        self._verifier.begin(known.workers, look=lambda: self._workers(container))
        try:
            await self._reload(container)
        except SourceError as error:
            raise ReloadError(f"nginx's container {container.name}: {error}") from error

    async def wait_live(self) -> None:
        """Wait for new workers, or raise `ReloadError`."""
        await self._verifier.wait_live()

    async def wait_retired(self) -> None:
        """Wait for the end of the old workers, or raise `ReloadError`."""
        await self._verifier.wait_retired()

    def running(self) -> object:
        """Return the container's id and its latest start; `None` if it does not run."""
        try:
            container = self._nginx_container.running()
        except ReloadError:
            return None
        # A restarted container keeps its id, and nginx in it may have read an older file.
        return container.id, container.started_ns

    def latest_start(self) -> object:
        """Return the container's id and its latest start, whether it runs or not; `None` if there is none."""
        found = self._nginx_container.found()
        return (found[0].id, found[0].started_ns) if found else None

    def program(self) -> object:
        """Return the container's id, whether it runs or not: another one may be of another image."""
        found = self._nginx_container.found()
        return found[0].id if found else None

    async def version(self, tested: Version | None) -> Version | None:
        """Return the version of the program in there: nginx runs from it, since an image does not change."""
        return tested

    async def workers(self) -> tuple[int, int] | None:
        """Return how many workers of the container serve and how many retire; `None` if none can be seen."""
        with suppress(ReloadError):
            workers = await self._workers(self._nginx_container.running())
            return len(workers.serving), len(workers.retiring)
        return None

    def serving_pids(self) -> frozenset[int] | None:
        """Return `None`: to see them takes a call of the engine's, and their pids may be those of another namespace."""
        return None

    async def checked(self) -> Workers:
        """Return its workers, having found out what there is to remark before any reload; or raise `ReloadError`."""
        container = self._nginx_container.running()
        workers = await self._workers(container)
        if self._command is None:
            with suppress(SourceError):
                await self._read_config(container)
        return workers

    async def _reload(self, container: Container) -> None:
        if self._command is None:
            await self._read_config(container)
            await self._engine.send_hup(container.id)
            return
        assert self._known is not None
        command = (*with_flags(self._command, flags=running_flags(self._known.title)), "-s", "reload")
        # Without a complaint it did as it was told, which new workers prove in any case: no call for its exit code.
        code, printed = await self._engine.execute(
            container.id, command, timeout_s=RELOAD_COMMAND_TIMEOUT_S, proves=_is_content
        )
        if code != 0:
            words = " ".join(command)
            raise ReloadRefusedError(
                f"{words} in container {container.name} ended with exit code {code}: {excerpt(printed)}"
            )

    async def _read_config(self, container: Container) -> None:
        """Read how the engine keeps the container, and log once what a signal by the engine costs it."""
        if container.id in self._container_config:
            return
        self._container_config = {container.id: await self._engine.container_config(container.id)}
        if (reason := self._restart_warning()) is not None:
            _log.warning("nginx.restart_disarmed", reason=reason)

    def _restart_warning(self) -> str | None:
        # The engine takes a container for stopped by hand that it sent a signal, and no longer starts it again: always
        # under `unless-stopped`, else where the container has no stop signal of its own (facts, nginx 6).
        for container_config in self._container_config.values():
            policy = container_config.restart_policy
            if policy == "unless-stopped" or (policy in ("always", "on-failure") and not container_config.stop_signal):
                return (
                    "nginx_reload is signal: the engine takes nginx's container for stopped by hand, so that its "
                    f"restart policy {policy} no longer brings it back"
                )
        return None

    async def _workers(self, container: Container) -> Workers:
        return (await self._look(container)).workers

    async def _look(self, container: Container) -> "_Known":
        try:
            processes = await self._engine.processes(container.id)
        except SourceError as error:
            raise ReloadError(f"nginx's container {container.name}: {error}") from error
        master, workers = nginx_among(processes, main=self._main)
        self._known = _Known(start=_start(container), title=master.title, workers=workers)
        return self._known


def _is_content(printed: str) -> bool:
    """Return whether nginx complains of nothing in what it printed."""
    return all(any(level in line for level in _HARMLESS) for line in printed.splitlines() if line.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What was seen of nginx at one look, in the container as it was started then."""

    start: object
    title: str
    workers: Workers


def _start(container: Container) -> object:
    return container.id, container.started_ns


def nginx_among(processes: Sequence[ContainerProcess], *, main: str | None) -> tuple[ContainerProcess, Workers]:
    """
    Return the nginx master that is meant among a container's processes, and its own workers, by their titles.

    Args:
        processes: All of them.
        main: See `chosen_master`.

    Raises:
        ReloadError: There is no master.
    """
    if (master := chosen_master(processes, main=main)) is None:
        titles = excerpt(", ".join(each.title for each in processes))
        raise ReloadError(f"no nginx master runs in nginx's container, but: {titles}")
    # The engine does not say when a process began: a pid that is taken again within one reload is not noticed.
    own = ((Process(pid=each.pid, started=0), each.title) for each in processes if each.parent == master.pid)
    return master, workers_by_title(own)
