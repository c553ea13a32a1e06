"""
How nginx is reached, as settings have it: who tests, who reloads, and what nginx reaches from where it is.

The user's own commands come first, then an nginx in a container, then one on this side.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from lbwatch import files
from lbwatch.desired import Rules
from lbwatch.docker.client import ASKED, EngineClient
from lbwatch.docker.inside import EXEC_ASKED, SIGNAL_ASKED, ContainerExec
from lbwatch.errors import ReloadError, SettingsError
from lbwatch.model import Container
from lbwatch.nginx.container import TEST_FOLDER, ContainerControl, ContainerTester, ElsewhereTester
from lbwatch.nginx.control import CommandTester, Control, CopyTester, LocalControl, Tester, split_command
from lbwatch.nginx.process import find_master
from lbwatch.nginx.whereabouts import NginxContainer
from lbwatch.selector import Selector, selected
from lbwatch.settings import Settings


class Reach:
    """
    All that settings say of one nginx.

    Args:
        settings: What the user set.
        client: The connection to the engine that runs nginx's container, if it is in one.
        known: Gives that engine's containers as they were last seen; `None` before that.

    Attributes:
        nginx_container: Of nginx's container; `None` if it is in none.
    """

    def __init__(
        self, settings: Settings, *, client: EngineClient, known: Callable[[], Mapping[str, Container] | None]
    ) -> None:
        self.nginx_container = nginx_container(settings, known=known)
        self._settings = settings
        self._exec = ContainerExec(client)
        self._host = HostNetwork(settings)

    def tester(self, *, folder: Path, copy: Path | None = None, quiet: bool = False) -> Tester:
        """
        Choose how a candidate is tested.

        Args:
            folder: An empty folder for whatever that takes.
            copy: A folder that nginx's container sees too, for the same; `None`: the daemon's.
            quiet: See `CopyTester`.
        """
        settings = self._settings
        if settings.test_command is not None:
            tester = CommandTester(_words("test_command", settings.test_command), folder=folder)
            return tester if self.nginx_container is None else ElsewhereTester(self.nginx_container, tester=tester)
        command = _words("nginx_command", settings.nginx_command)
        if self.nginx_container is None:
            return CopyTester(command, main=settings.nginx_conf, output=settings.output, folder=folder, quiet=quiet)
        if settings.nginx_reload == "signal":
            return ElsewhereTester(self.nginx_container, tester=None)
        return ContainerTester(
            self._exec,
            nginx_container=self.nginx_container,
            command=command,
            main=settings.nginx_conf,
            output=settings.output,
            output_there=settings.nginx_output,
            folder=folder,
            copy=copy or settings.output.parent / TEST_FOLDER,
            mountinfo=files.mountinfo,
        )

    def control(self) -> Control:
        """Choose how nginx is reloaded."""
        settings = self._settings
        if settings.reload_command is not None:
            words = _words("reload_command", settings.reload_command)
            return LocalControl(pidfile=settings.nginx_pidfile, command=words)
        if self.nginx_container is None:
            return LocalControl(pidfile=settings.nginx_pidfile, command=None)
        main = () if settings.nginx_conf is None else ("-c", str(settings.nginx_conf))
        words = (*_words("nginx_command", settings.nginx_command), *main, "-s", "reload")
        by_exec = settings.nginx_reload == "exec"
        return ContainerControl(self._exec, nginx_container=self.nginx_container, command=words if by_exec else None)

    def rules(self, *, engine_pid: int | None) -> Rules:
        """Gather what holds about routing now."""
        return rules(self._settings, self.nginx_container, host_shared=lambda: self._host.shared(engine_pid=engine_pid))

    def asked(self) -> tuple[str, ...]:
        """List what is asked of the engine, for whoever must allow it."""
        if self.nginx_container is None:
            return ASKED
        return (*ASKED, *(EXEC_ASKED if self._settings.nginx_reload == "exec" else SIGNAL_ASKED))


def selector(settings: Settings) -> Selector | None:
    """Tell which container is nginx's; `None` if it is in none."""
    text = settings.nginx_container
    return None if text is None else selected(text, setting="nginx_container")


def nginx_container(
    settings: Settings, *, known: Callable[[], Mapping[str, Container] | None]
) -> NginxContainer | None:
    """Follow nginx's container among those that are known; `None` if it is in none."""
    followed = selector(settings)
    return None if followed is None else NginxContainer(followed, known=known)


def rules(settings: Settings, found: NginxContainer | None, *, host_shared: Callable[[], bool]) -> Rules:
    """
    Gather what holds about routing.

    Args:
        settings: What the user set.
        found: Nginx's container, if it is in one.
        host_shared: Tells, where that is `auto` and nginx is in none, whether it shares the host's network.
    """
    stated = {"true": True, "false": False}.get(settings.host_network)
    auto = host_shared if found is None else found.on_host
    return Rules(
        prefix=settings.label_prefix,
        expose_all=settings.expose == "all",
        networks=settings.networks or (() if found is None else found.networks()),
        declare=settings.declare,
        host_shared=auto() if stated is None else stated,
    )


class HostNetwork:
    """
    Whether nginx shares the network of the engine's host.

    What was seen of a running nginx holds while it is down: its servers must not go when it is restarted.
    """

    def __init__(self, settings: Settings) -> None:
        self._pidfile = settings.nginx_pidfile
        self._seen: bool | None = None

    def shared(self, *, engine_pid: int | None) -> bool:
        """Tell by the network namespaces of the engine's process and of nginx."""
        try:
            self._seen = _same_network(engine_pid, find_master(self._pidfile).pid)
        except ReloadError:
            return _same_network(engine_pid, os.getpid()) if self._seen is None else self._seen
        return self._seen


def _same_network(one: int | None, other: int) -> bool:
    try:
        return os.readlink(f"/proc/{one}/ns/net") == os.readlink(f"/proc/{other}/ns/net")
    except OSError:  # not root, or another pid namespace
        return False


def _words(setting: str, text: str) -> tuple[str, ...]:
    try:
        return split_command(text)
    except ValueError as error:
        raise SettingsError(setting, value=text, takes=f"it takes a command ({error})") from error
