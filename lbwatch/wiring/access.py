"""How nginx is reached, as settings have it."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from lbwatch.balancers.nginx import limits
from lbwatch.balancers.nginx.balancer import REFRESH_INTERVAL_S, Tester
from lbwatch.balancers.nginx.config_test.container import TEST_FOLDER, ContainerRequiredTester, ContainerTester
from lbwatch.balancers.nginx.config_test.local import CommandTester, CopyTester
from lbwatch.balancers.nginx.config_test.shared import SharedFolder
from lbwatch.balancers.nginx.container import ContainerControl
from lbwatch.balancers.nginx.live import directives
from lbwatch.balancers.nginx.live.lines import LiveLines
from lbwatch.balancers.nginx.live.program import program
from lbwatch.balancers.nginx.livefile import Control
from lbwatch.balancers.nginx.local import LocalControl
from lbwatch.balancers.nginx.locate import HostNetwork, NginxContainer
from lbwatch.balancers.nginx.process import find_master
from lbwatch.balancers.nginx.version import Version, sticky_refusal
from lbwatch.core.errors import ReloadError, SettingsError
from lbwatch.core.model import Container
from lbwatch.core.plan import Rules
from lbwatch.core.selector import Selector, selected
from lbwatch.engines.docker.client import ASKED, EngineClient
from lbwatch.engines.docker.exec import EXEC_ASKED, SIGNAL_ASKED, ContainerExec
from lbwatch.settings import Settings
from lbwatch.system import mounts
from lbwatch.system.programs import split_command

NOT_LIVE = "requests can wait only where changes go out without a reload (the setting live), and here they do not"
"""Why no request waits for a server, as long as nobody knows better."""

_FIRST = 1
"""The process that everything in a pid namespace comes from."""


class NginxAccess:
    """
    How nginx is reached, as settings have it: who tests, who reloads, and what nginx reaches from where it is.

    The user's own commands come first, then an nginx in a container, then one on this side.

    Args:
        settings: What the user set.
        client: The connection to the engine that runs nginx's container, if it is in one.
        known: Returns that engine's containers as they were last seen; `None` before that.

    Attributes:
        nginx_container: The one that it is reached in; `None` if it is on this side.
    """

    def __init__(
        self, settings: Settings, *, client: EngineClient, known: Callable[[], Mapping[str, Container] | None]
    ) -> None:
        named = selector(settings)
        self.nginx_container = None if named is None else NginxContainer(named, known=known)
        around = followed(settings)
        self._container = None if around is None else NginxContainer(around, known=known)  # the same, or the one around
        self._settings = settings
        self._exec = ContainerExec(client)
        self._shared = SharedFolder(
            self._exec,
            output=settings.nginx.output,
            output_there=settings.nginx.nginx_output,
            mountinfo=mounts.mountinfo,
        )
        self._seen_at: tuple[object, Path] | None = (
            None  # the start of nginx's container, and where that sees the output
        )
        self._host = HostNetwork(pidfile=settings.nginx.nginx_pidfile)

    def tester(self, *, folder: Path, copy: Path | None = None, quiet: bool = False) -> Tester:
        """
        Return what tests a candidate.

        Args:
            folder: An empty folder for whatever that takes.
            copy: A folder that nginx's container sees too, for the same; `None`: the daemon's.
            quiet: Whether warnings are not logged, see `CopyTester`.
        """
        nginx = self._settings.nginx
        if nginx.test_command is not None:
            tester = CommandTester(_words("test_command", nginx.test_command), folder=folder)
            return (
                tester if self.nginx_container is None else ContainerRequiredTester(self.nginx_container, tester=tester)
            )
        command = _words("nginx_command", nginx.nginx_command)
        if self.nginx_container is None:
            return CopyTester(
                command,
                main=nginx.nginx_conf,
                output=nginx.output,
                stream=self._settings.sites.stream_output,
                folder=folder,
                is_running=self._runs_here,
                log_warnings=not quiet,
            )
        if nginx.nginx_reload == "signal":
            return ContainerRequiredTester(self.nginx_container, tester=None)
        return ContainerTester(
            self._exec,
            nginx_container=self.nginx_container,
            command=command,
            main=nginx.nginx_conf,
            output=nginx.output,
            output_there=nginx.nginx_output,
            stream=self._settings.sites.stream_output,
            folder=folder,
            copy=copy or nginx.output.parent / TEST_FOLDER,
            mountinfo=mounts.mountinfo,
        )

    def _runs_here(self) -> bool:
        """Return whether an nginx of this side runs; where a command reloads it, that is not known, and believed."""
        nginx = self._settings.nginx
        if nginx.reload_command is not None:
            return True
        try:
            find_master(nginx.nginx_pidfile)
        except ReloadError:
            return False
        return True

    def control(self) -> Control:
        """Return what reloads nginx."""
        nginx = self._settings.nginx
        if nginx.reload_command is not None or self.nginx_container is None:
            reload_command = nginx.reload_command
            return LocalControl(
                pidfile=nginx.nginx_pidfile,
                output=nginx.output,
                stream=self._settings.sites.stream_output,
                command=None if reload_command is None else _words("reload_command", reload_command),
                program=_words("nginx_command", nginx.nginx_command)[0],
            )
        main = () if nginx.nginx_conf is None else ("-c", str(nginx.nginx_conf))
        words = (*_words("nginx_command", nginx.nginx_command), *main)
        by_exec = nginx.nginx_reload == "exec"
        return ContainerControl(
            self._exec,
            nginx_container=self.nginx_container,
            command=words if by_exec else None,
            main=nginx.nginx_conf,
        )

    def retest_s(self) -> float:
        """Return how old a test may be of what needs no reload: in a container each costs the engine an exec."""
        return 0.0 if self.nginx_container is None else REFRESH_INTERVAL_S

    def live_lines(self) -> LiveLines | None:
        """Return the lines by which nginx's workers follow; `None`: they are not asked for."""
        nginx = self._settings.nginx
        if nginx.live == "off":
            return None
        refusal = None
        if nginx.live == "auto" and nginx.test_command is not None:
            refusal = (
                "test_command tests for nginx, and what it asks is not known: live = on has the directives written"
            )
        return LiveLines(
            program=program(), folder_there=self._output_folder, required=nginx.live == "on", refusal=refusal
        )

    async def _output_folder(self) -> Path:
        """
        Return where nginx sees the folder of the output.

        Raises:
            LbwatchError: There is no container of nginx's, or its mounts do not tell.
        """
        nginx = self._settings.nginx
        if nginx.nginx_output is not None or self.nginx_container is None:
            return nginx.nginx_output or nginx.output.parent
        container = self.nginx_container.container()
        start = container.id, container.started_ns
        if self._seen_at is None or self._seen_at[0] != start:
            self._seen_at = start, await self._shared.path_in(container)
        return self._seen_at[1]

    def rules(
        self,
        *,
        engine_pid: int | None,
        host_shared: bool | None = None,
        version: Version | None = None,
        hold_refusal: str | None = NOT_LIVE,
    ) -> Rules:
        """
        Return what holds about routing now.

        Args:
            engine_pid: Of the engine's process, where that can be seen.
            host_shared: Whether nginx shares the network of the engine's host; `None`: it is found out.
            version: Of nginx; `None`: not known.
            hold_refusal: See `Rules`.
        """
        routing, container = self._settings.routing, self._container
        stated = {"true": True, "false": False}.get(routing.host_network)
        if stated is None and container is not None and (self.nginx_container is not None or container.found()):
            stated = container.on_host()
        if stated is None:
            stated = self._host.shared(engine_pid=engine_pid) if host_shared is None else host_shared
        return Rules(
            prefix=routing.label_prefix,
            expose_all=routing.expose == "all",
            networks=routing.networks or (() if container is None else container.networks()),
            declare=routing.declare,
            host_shared=stated,
            refuses_key=limits.hash_key_refusal,
            sticky_refusal=sticky_refusal(version),
            hold_refusal=hold_refusal,
            takes_reload=directives.reload_reason,
            gateway="" if container is None else container.gateway(),
        )

    def asked(self) -> tuple[str, ...]:
        """Return what is asked of the engine, for whoever must allow it."""
        if self.nginx_container is None:
            return ASKED
        return (*ASKED, *(EXEC_ASKED if self._settings.nginx.nginx_reload == "exec" else SIGNAL_ASKED))


def not_live(reason: str | None) -> str | None:
    """Return why no request waits for a server, if changes take a reload for a reason; `None`: they take none."""
    return None if reason is None else f"{NOT_LIVE}: {reason}"


def selector(settings: Settings) -> Selector | None:
    """Return which container is nginx's; `None` if it is in none."""
    text = settings.nginx.nginx_container
    return None if text is None else selected(text, setting="nginx_container")


def followed(settings: Settings) -> Selector | None:
    """
    Return which container nginx is in: the one that is named, else the one around both; `None`: none is known.

    The latter is that of process 1, which is there before nginx is: where lbwatch only visits nginx's pid namespace
    (`pid: "service:nginx"`) that is nginx's container, and not lbwatch's own. The engine does not know it where lbwatch
    follows another engine than the one that it runs on.
    """
    named = selector(settings)
    if named is not None or settings.nginx.reload_command is not None:  # then nginx may be anywhere
        return named
    with suppress(OSError):
        if (id := mounts.container_of(mounts.mountinfo(_FIRST))) is not None:
            return Selector(named=id)
    return None


def _words(setting: str, text: str) -> tuple[str, ...]:
    try:
        return split_command(text)
    except ValueError as error:
        raise SettingsError(setting, value=text, takes=f"it takes a command ({error})") from error
