"""Engines that are reached by ssh, through a real sshd on loopback and a real ssh."""

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from command import DEADLINE_S, WEB, command, environment, lbwatch, running, upstreams
from needs import need
from sshserver import SSHD, SshServer, descendants
from waiting import eventually

from lbwatch.core.errors import SourceError
from lbwatch.engines.docker import ssh
from lbwatch.engines.docker.address import engine_address
from lbwatch.engines.docker.client import EngineClient
from lbwatch.engines.fake import FakeEngine

FIRST, SECOND = "172.17.0.2:80", "172.17.0.3:80"
"""Of the first two containers of a fake engine."""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the test's own for temporary ones; pytest's, which must be there before, is too long for a socket."""
    assert tmp_path
    with tempfile.TemporaryDirectory(prefix="lbw-ssh-") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshServer]:
    """An sshd that runs and is known, and its ssh on PATH."""
    need(SSHD, "ssh", "ssh-keygen")
    with SshServer(tmp_path / "sshd") as server:
        monkeypatch.setenv("PATH", str(server.bin), prepend=os.pathsep)
        yield server.start()


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[FakeEngine]:
    """The engine over there."""
    async with FakeEngine(socket=tmp_path / "far.sock", lag_s=0) as engine:
        yield engine


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[EngineClient]:
    """A client of the engine at that URL, which is closed at the end."""
    client = EngineClient(engine_address(url, environ={}))
    try:
        yield client
    finally:
        await client.close()


async def refusal(client: EngineClient) -> str:
    """Return the words of the error of a client that nothing answers."""
    with pytest.raises(SourceError) as caught:
        await client.ping()
    return str(caught.value)


def tunnels() -> list[int]:
    """Return the processes of the ssh that this test started."""
    return [each for each in descendants(os.getpid()) if is_ssh(each)]


def is_ssh(pid: int) -> bool:
    """Return whether a process is an ssh that forwards a socket."""
    return b"-nNT" in words_of(pid)


def words_of(pid: int) -> bytes:
    """Return the words that a process was started by; none once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


async def test_an_engine_is_followed_through_one_ssh(
    server: SshServer, engine: FakeEngine, tmp_path: Path, temporary: Path
) -> None:
    """Stream, lists and looks each have connections of their own, and all of them one log-in."""
    async with running(engine, tmp_path, docker_host=server.url(engine.socket)):
        engine.containers.run(name="web-1", labels=WEB)
        await eventually(lambda: FIRST in upstreams(tmp_path / "out.conf"), what="the server in the file")
        assert len(tunnels()) == 1
        engine.containers.stop("web-1")
        await eventually(lambda: FIRST not in upstreams(tmp_path / "out.conf"), what="its end in the file")
    assert not tunnels()
    assert not list(temporary.iterdir())


async def test_commands_look_by_ssh_too_and_leave_nothing(
    server: SshServer, engine: FakeEngine, tmp_path: Path, temporary: Path
) -> None:
    """Whoever sets a machine up tries `check` and `render` first."""
    engine.containers.run(name="web-1", labels=WEB)
    environ = {"PATH": os.environ["PATH"]}
    flags = {"docker_host": server.url(engine.socket), "control_socket": tmp_path / "none", "test_command": "true"}
    code, out, err = await lbwatch("render", environ=environ, **flags)
    assert (code, FIRST in out) == (0, True), err
    _, out, _ = await lbwatch("check", environ=environ, **flags)
    assert f"{server.url(engine.socket)}: API" in out
    assert not list(temporary.iterdir())
    await eventually(lambda: not server.sessions(), what="the end of all sessions")


@pytest.mark.parametrize("setting", ["ask", "no", "accept-new"])
async def test_an_unknown_host_is_not_connected_to(server: SshServer, engine: FakeEngine, setting: str) -> None:
    """It may be anybody's; the words say how it becomes known."""
    (server.folder / "known_hosts").write_text("")
    with (server.folder / "ssh_config").open("a") as config:
        config.write(f"StrictHostKeyChecking {setting}\n")
    async with connected(server.url(engine.socket)) as client:
        words = await refusal(client)
    assert "its host key is not known" in words
    assert f"`ssh -p {server.port} {server.user}@127.0.0.1`" in words
    assert not engine.requests.total()


@pytest.mark.parametrize("setting", ["no", "accept-new"])
async def test_a_changed_host_key_is_refused_whatever_is_configured(
    server: SshServer, engine: FakeEngine, setting: str
) -> None:
    """Whoever took its address would decide what nginx serves."""
    with (server.folder / "ssh_config").open("a") as config:
        config.write(f"StrictHostKeyChecking {setting}\n")
    server.stop()
    server.make_key("host_key")
    server.start()
    async with connected(server.url(engine.socket)) as client:
        words = await refusal(client)
    assert "its host key is another one than is known" in words
    assert "ssh-keygen -R" in words
    assert not engine.requests.total()


async def test_a_key_that_is_not_taken_is_said(server: SshServer, engine: FakeEngine) -> None:
    """The daemon is another user than who tried it by hand, and has other keys."""
    (server.folder / "authorized_keys").write_text("")
    async with connected(server.url(engine.socket)) as client:
        assert "Permission denied" in await refusal(client)


async def test_a_key_that_may_only_forward_is_enough(server: SshServer, engine: FakeEngine) -> None:
    """No shell is needed over there, so none should be given away."""
    key = (server.folder / "id.pub").read_text()
    (server.folder / "authorized_keys").write_text(f"restrict,port-forwarding {key}")
    async with connected(server.url(engine.socket)) as client:
        assert await client.list_containers() == ()


async def test_a_machine_without_an_engine_is_said(server: SshServer, tmp_path: Path) -> None:
    """That the log-in worked is half of what one wants to know."""
    async with connected(server.url(tmp_path / "none.sock")) as client:
        words = await refusal(client)
        assert "no connection to the engine's socket there: is the engine up" in words
        assert await refusal(client) == words


async def test_an_sshd_that_forwards_no_sockets_is_said(
    tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hardened machines do not."""
    need(SSHD, "ssh", "ssh-keygen")
    with SshServer(tmp_path / "hard", options="AllowStreamLocalForwarding no") as server:
        monkeypatch.setenv("PATH", str(server.bin), prepend=os.pathsep)
        server.start()
        async with connected(server.url(engine.socket)) as client:
            assert "AllowStreamLocalForwarding" in await refusal(client)


async def test_the_pid_of_ssh_is_not_taken_for_the_engine_s(server: SshServer, engine: FakeEngine) -> None:
    """By the engine's pid it is decided whether nginx shares its host's network."""
    async with connected(server.url(engine.socket)) as client:
        assert (await client.ping()).pid is None
    async with connected(engine.url) as client:
        assert (await client.ping()).pid == os.getpid()


async def test_what_was_known_stays_while_the_sshd_is_away_and_it_comes_back(
    server: SshServer, engine: FakeEngine, tmp_path: Path
) -> None:
    """A machine whose link broke still serves; and what happened meanwhile is found."""
    url, out = server.url(engine.socket), tmp_path / "out.conf"
    engine.containers.run(name="web-1", labels=WEB)
    async with running(engine, tmp_path, docker_host=url) as flags:
        await eventually(lambda: FIRST in upstreams(out))
        server.stop()
        engine.containers.run(name="web-2", labels=WEB)

        async def error() -> str:
            return (await lbwatch("check", **flags | {"docker_host": url}, environ={"PATH": os.environ["PATH"]}))[1]

        async with asyncio.timeout(DEADLINE_S):
            while "Connection refused" not in (said := await error()):
                assert url in said
        assert FIRST in upstreams(out)
        assert SECOND not in upstreams(out)
        server.start()
        await eventually(lambda: SECOND in upstreams(out), what="what happened meanwhile")
        assert len(tunnels()) == 1


async def test_a_link_that_is_silent_is_given_up(
    server: SshServer, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A firewall that forgot the connection says nothing, and events have no heartbeat."""
    monkeypatch.setattr(ssh, "OPTIONS", (*(each for each in ssh.OPTIONS if "Alive" not in each), *_QUICK))
    async with connected(server.url(engine.socket)) as client:
        await client.ping()
        sessions = server.sessions()
        for pid in sessions:
            os.kill(pid, signal.SIGSTOP)
        try:
            async with client.events(since_s=None) as stream:
                pytest.fail(f"something answered: {stream}")
        except SourceError as error:
            assert "not responding" in str(error)
        finally:
            for pid in sessions:
                os.kill(pid, signal.SIGCONT)


_QUICK = ("ServerAliveInterval=1", "ServerAliveCountMax=1")


async def test_two_engines_are_followed_each_by_its_own_ssh(
    server: SshServer, engine: FakeEngine, tmp_path: Path
) -> None:
    """They are two machines, of which one's link may break."""
    out = tmp_path / "out.conf"
    async with FakeEngine(socket=tmp_path / "other.sock", lag_s=0, seed=1) as other:
        engine.containers.run(name="web", labels=WEB)
        other.containers.run(name="web", labels=WEB | {"lbwatch.address": "192.0.2.7"})
        urls = (f"a={server.url(engine.socket)}", f"b={server.url(other.socket)}")
        async with running(engine, tmp_path, docker_host=urls):
            await eventually(lambda: FIRST in upstreams(out) and "192.0.2.7:80" in upstreams(out), what="both")
            assert len(tunnels()) == 2
            (gone,) = [each for each in tunnels() if str(other.socket).encode() in words_of(each)]
            os.kill(gone, signal.SIGKILL)
            other.containers.stop("web")
            await eventually(lambda: "192.0.2.7" not in upstreams(out), what="the end of the one, by a new ssh")
            assert FIRST in upstreams(out)
        assert not tunnels()


async def test_a_killed_lbwatch_leaves_no_ssh_behind(server: SshServer, engine: FakeEngine, tmp_path: Path) -> None:
    """It would hold its log-in for good, and each restart would add one."""
    settings = {
        "docker_host": server.url(engine.socket),
        "output": tmp_path / "out.conf",
        "test_command": "true",
        "reload_command": "true",
        "nginx_pidfile": tmp_path / "pid",
        "control_socket": tmp_path / "control",
        "state_dir": tmp_path / "state",
    }
    process = await asyncio.create_subprocess_exec(
        *command("run", **settings), env=environment(PATH=os.environ["PATH"]), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await eventually(lambda: upstreams(tmp_path / "out.conf"), within=DEADLINE_S, what="the first file")
        (left,) = tunnels()
    finally:
        process.kill()
        await process.wait()
    await eventually(lambda: not is_ssh(left), what="the end of ssh")
    await eventually(lambda: not server.sessions(), what="the end of its session")
