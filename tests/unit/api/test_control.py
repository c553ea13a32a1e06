"""`drain` and `undrain`: the daemon and its command line over a real socket, on the fake engine."""

import asyncio
import errno
import os
import re
import socket
import stat
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import structlog
from command import command, environment, lbwatch
from simulation import SimulatedNginx
from strategies import container
from waiting import eventually, never

from lbwatch import daemon as lbwatch_daemon
from lbwatch.api import control as remote
from lbwatch.api.client import request, suspended
from lbwatch.api.control import ControlService, find_container, listening
from lbwatch.build import build_daemon
from lbwatch.core.draining import BY_HAND, TOLD_TO_STOP
from lbwatch.core.errors import OutputError, RequestError
from lbwatch.core.model import Container, Plan, SettledPlan, Suspended
from lbwatch.core.story import Explanation
from lbwatch.daemon import keep_going
from lbwatch.engines.fake import FakeEngine
from lbwatch.settings import Settings
from lbwatch.system.lock import FileLock
from lbwatch.system.state import State

WEB = {"lbwatch.port": "80", "lbwatch.upstream": "web"}


@dataclass(kw_only=True)
class Stage:
    """A daemon that takes orders, and what it keeps in step."""

    socket: Path
    nginx: SimulatedNginx
    state: State

    def servers(self) -> list[str]:
        return re.findall(r"server ([0-9.]+):", self.nginx.runs or "")

    async def drain(self, container: str) -> str:
        return await request(self.socket, verb="drain", container=container)

    async def undrain(self, container: str) -> str:
        return await request(self.socket, verb="undrain", container=container)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[FakeEngine]:
    async with FakeEngine(socket=tmp_path / "docker.sock", lag_s=0.0) as engine:
        yield engine


@pytest.fixture
def nginx(tmp_path: Path) -> SimulatedNginx:
    nginx = SimulatedNginx(tmp_path / "lbwatch.conf")
    nginx.start()
    return nginx


@asynccontextmanager
async def running(folder: Path, engine: FakeEngine, nginx: SimulatedNginx) -> AsyncIterator[Stage]:
    """The daemon as `daemon.run` builds it, until the end of the context."""
    settings = Settings(
        docker_host=engine.url,
        output=nginx.output,
        host_network="false",
        state_dir=folder / "state",
        control_socket=folder / "run" / "lbwatch.sock",
        reload_interval=0.1,
    )
    async with (
        build_daemon(settings, tester=nginx, control=nginx) as daemon,
        listening(
            settings.control_socket,
            service=ControlService(daemon.state, loop=daemon.reconciler, explain=daemon.explain),
        ),
    ):
        stopped = asyncio.Event()
        task = asyncio.create_task(keep_going(daemon, until=stopped))
        try:
            async with asyncio.timeout(10.0):
                await daemon.reconciler.settled()
            yield Stage(socket=settings.control_socket, nginx=nginx, state=daemon.state)
        finally:
            stopped.set()
            await task


@pytest.fixture
async def stage(tmp_path: Path, engine: FakeEngine, nginx: SimulatedNginx) -> AsyncIterator[Stage]:
    """Two containers serve upstream web: web-1 at .2 and web-2 at .3."""
    for name in ("web-1", "web-2"):
        engine.containers.run(name=name, labels=WEB)
    async with running(tmp_path, engine, nginx) as stage:
        assert stage.servers() == ["172.17.0.2", "172.17.0.3"]
        yield stage


async def unasked(container: Container | None) -> Explanation:
    raise AssertionError(f"nobody asks for {container}")


class Loop:
    """Knows its containers, and is settled or never will be."""

    def __init__(self, *containers: Container, settles: bool = True) -> None:
        self.known: tuple[Container, ...] | None = containers
        self.settles = settles
        self.suspended = Suspended()

    def containers(self) -> tuple[Container, ...] | None:
        return self.known

    async def settled(self) -> SettledPlan:
        if not self.settles:
            await asyncio.Event().wait()
        return SettledPlan(plan=Plan())


@contextmanager
def logged() -> Iterator[list[str]]:
    """The names of the warnings and errors that are logged."""
    names: list[str] = []
    with structlog.testing.capture_logs() as logs:
        yield names
    names += [log["event"] for log in logs if log["log_level"] in ("warning", "error")]


# -- the orders


async def test_a_drained_container_is_out_of_the_file_when_the_answer_comes_and_back_after_undrain(
    stage: Stage,
) -> None:
    """`lbwatch drain web-1 && docker stop web-1` is what it is for: nginx must run it by then."""
    said = await stage.drain("web-1")
    assert stage.servers() == ["172.17.0.3"]
    assert said == ("web-1 is drained; it is not routed (draining): it is drained by hand (lbwatch undrain ends that)")
    said = await stage.undrain("web-1")
    assert stage.servers() == ["172.17.0.2", "172.17.0.3"]
    assert said == "web-1 is not drained any more; it serves upstream web at 172.17.0.2:80"


async def test_to_drain_twice_or_to_undrain_for_nothing_does_no_harm_and_is_said(stage: Stage) -> None:
    """Scripts are run again after they failed half-way."""
    await stage.drain("web-1")
    assert (await stage.drain("web-1")).startswith("web-1 is drained already; it is not routed")
    assert stage.servers() == ["172.17.0.3"]
    said = await stage.undrain("web-2")
    assert said == "web-2 was not drained by hand; it serves upstream web at 172.17.0.3:80"
    assert list(stage.state.drained.values()) == ["web-1"]


async def test_the_last_servers_stay_until_they_die(stage: Stage, engine: FakeEngine) -> None:
    """A drain never empties an upstream; whoever drains the last one must read that it serves on."""
    await stage.drain("web-1")
    said = await stage.drain("web-2")
    assert stage.servers() == ["172.17.0.2", "172.17.0.3"], "a class of two, as none is ready"
    assert "it serves upstream web at 172.17.0.3:80; note that" in said
    assert "nobody is ready" in said
    engine.containers.die("web-1")
    await eventually(lambda: stage.servers() == ["172.17.0.3"])
    engine.containers.run(name="web-3", labels=WEB)
    await eventually(lambda: stage.servers() == ["172.17.0.2"], what="the new one alone, at the address that was freed")


async def test_a_drain_holds_over_a_restart_of_lbwatch_and_of_the_container(
    tmp_path: Path, engine: FakeEngine, nginx: SimulatedNginx
) -> None:
    """Work on a container does not end because somebody updates lbwatch."""
    for name in ("web-1", "web-2"):
        engine.containers.run(name=name, labels=WEB)
    async with running(tmp_path, engine, nginx) as stage:
        await stage.drain("web-1")
    async with running(tmp_path, engine, nginx) as stage:
        assert stage.servers() == ["172.17.0.3"]
        engine.containers.restart("web-1")
        assert "drained already" in await stage.drain("web-1")
        assert stage.servers() == ["172.17.0.3"]
        await stage.undrain("web-1")
    async with running(tmp_path, engine, nginx) as stage:
        assert stage.servers() == ["172.17.0.2", "172.17.0.3"]


async def test_a_container_is_named_by_its_name_with_or_without_slash_or_by_the_beginning_of_its_id(
    stage: Stage, engine: FakeEngine
) -> None:
    """As the docker client takes it."""
    whole = engine.containers.find("web-1").id
    for ref in ("/web-1", whole, whole[:12], whole[:4]):
        assert (await stage.drain(ref)).startswith("web-1 is drained")
        assert stage.servers() == ["172.17.0.3"]
        await stage.undrain(ref)


@pytest.mark.parametrize(
    "ref", ["nobody", "", "/", "web", "WEB-1", "web-1/", "../web-1", "a&container=web-1", "x" * 5000]
)
async def test_an_unknown_container_is_an_error_in_one_line_and_changes_nothing(stage: Stage, ref: str) -> None:
    """A typing error in a deploy script must stop it before it stops the container."""
    for give in (stage.drain, stage.undrain):
        with pytest.raises(RequestError, match="the engine has no container '") as caught:
            await give(ref)
        assert len(str(caught.value)) < 400
        assert str(caught.value).isprintable()
    assert stage.state.drained == {}
    assert stage.servers() == ["172.17.0.2", "172.17.0.3"]


async def test_drains_of_containers_that_are_gone_are_forgotten_with_the_next_order(
    stage: Stage, engine: FakeEngine
) -> None:
    """The file would grow with each deploy for ever."""
    await stage.drain("web-1")
    engine.containers.remove("web-1", force=True)
    await eventually(lambda: stage.servers() == ["172.17.0.3"])
    engine.containers.run(name="web-3", labels=WEB)
    await eventually(lambda: len(stage.servers()) == 2)
    await stage.drain("web-3")
    kept = State(stage.state.path.parent)
    kept.load()
    assert list(kept.drained.values()) == ["web-3"]


async def test_orders_at_once_are_all_carried_out(stage: Stage, engine: FakeEngine) -> None:
    """`for each in ...; do lbwatch drain $each & done`."""
    for number in range(3, 8):
        engine.containers.run(name=f"web-{number}", labels=WEB)
    await eventually(lambda: len(stage.servers()) == 7)
    await asyncio.gather(*(stage.drain(f"web-{number}") for number in range(1, 6)))
    assert stage.servers() == ["172.17.0.7", "172.17.0.8"]
    kept = State(stage.state.path.parent)
    kept.load()
    assert sorted(kept.drained.values()) == [f"web-{number}" for number in range(1, 6)]


async def test_the_state_is_written_by_one_order_at_a_time(tmp_path: Path) -> None:
    """Two would write one scratch file in two threads, and the drains of both would be gone."""
    inside: list[str] = []
    gate = threading.Event()

    class Slow(State):
        def drain(self, id: str, name: str) -> None:
            inside.append(name)
            assert gate.wait(10.0)
            super().drain(id, name)

    service = ControlService(Slow(tmp_path), loop=Loop(container("web-1"), container("web-2")), explain=unasked)
    async with asyncio.TaskGroup() as group:
        for name in ("web-1", "web-2"):
            group.create_task(service.drain(name))
        await eventually(lambda: inside, what="the first one writes")
        await never(lambda: len(inside) > 1, during=0.1, what="both write at once")
        gate.set()
    kept = State(tmp_path)
    kept.load()
    assert sorted(kept.drained.values()) == ["web-1", "web-2"]


def test_a_beginning_that_two_ids_share_is_refused_and_a_name_comes_first() -> None:
    """The wrong one of two would be drained."""
    one, two = container("a", id="abcd1" + "0" * 59), container("b", id="abcd2" + "0" * 59)
    named = container("abcd", id="f" * 64)
    assert find_container("abcd1", containers=[one, two]) is one
    with pytest.raises(RequestError, match="'abcd' is the beginning of 2 ids: give more of it"):
        find_container("abcd", containers=[one, two])
    assert find_container("abcd", containers=[one, two, named]) is named
    with pytest.raises(RequestError, match="no container 'abc'"):
        find_container("abc", containers=[one])


async def test_an_order_before_the_engine_was_read_says_so(tmp_path: Path) -> None:
    """`no such container` would be a lie then."""
    loop = Loop()
    loop.known = None
    async with listening(tmp_path / "s", service=ControlService(State(tmp_path), loop=loop, explain=unasked)):
        with pytest.raises(RequestError, match="has not read the engine yet"):
            await request(tmp_path / "s", verb="drain", container="web-1")


async def test_an_order_that_is_not_in_force_in_time_fails_and_says_what_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`drain && stop` must not stop what nginx still sends to; the drain itself stands, and comes when nginx does."""
    monkeypatch.setattr(remote, "IN_FORCE_TIMEOUT_S", 0.05)
    state = State(tmp_path / "state")
    async with listening(
        tmp_path / "s", service=ControlService(state, loop=Loop(container("web-1"), settles=False), explain=unasked)
    ):
        with pytest.raises(RequestError, match=r"web-1 is drained; nginx does not run that after 0\.05 s: .* log"):
            await request(tmp_path / "s", verb="drain", container="web-1")
    assert list(state.drained.values()) == ["web-1"]


async def test_nginx_that_refuses_makes_an_order_fail(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with all rooms in place."""
    monkeypatch.setattr(remote, "IN_FORCE_TIMEOUT_S", 0.3)
    monkeypatch.setattr("simulation.VERIFY_TIMEOUT_S", 0.1)
    stage.nginx.takes_back = True
    with pytest.raises(RequestError, match="nginx does not run that"):
        await stage.drain("web-1")
    assert stage.servers() == ["172.17.0.2", "172.17.0.3"]
    stage.nginx.takes_back = False
    await eventually(lambda: stage.servers() == ["172.17.0.3"], within=15.0, what="it is owed, and comes")


async def test_a_drain_that_cannot_be_kept_is_carried_out_and_says_so(tmp_path: Path) -> None:
    """In a read-only container it holds until the next restart, and the operator knows."""
    (tmp_path / "state").write_text("in the place of the folder")
    state = State(tmp_path / "state")
    with logged() as warnings:
        async with listening(
            tmp_path / "s", service=ControlService(state, loop=Loop(container("web-1")), explain=unasked)
        ):
            said = await request(tmp_path / "s", verb="drain", container="web-1")
            assert list(state.drained.values()) == ["web-1"]
            undone = await request(tmp_path / "s", verb="undrain", container="web-1")
            assert state.drained == {}
    assert said.startswith("web-1 is drained (but a restart of lbwatch undoes that: state_dir: ")
    assert str(tmp_path / "state") in said
    assert "but a restart of lbwatch undoes that" in undone
    assert warnings == ["state.failed"] * 2


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/drain", 405),
        ("GET", "/undrain", 405),
        ("PUT", "/drain", 405),
        ("POST", "/", 404),
        ("POST", "/drain/web-1", 404),
        ("POST", "/drain", 409),
    ],
)
async def test_only_the_two_orders_are_taken_and_only_by_post(
    stage: Stage, method: str, path: str, status: int
) -> None:
    """A look must be harmless, and an order without a container is none."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(stage.socket))) as session,
        session.request(
            method, f"http://lbwatch{path}", params={"container": "web-1"} if status != 409 else {}
        ) as said,
    ):
        assert said.status == status
    assert stage.state.drained == {}


# -- the socket


def idle_desk(folder: Path) -> ControlService:
    return ControlService(State(folder / "state"), loop=Loop(container("web-1")), explain=unasked)


async def test_the_socket_is_its_owner_s_alone_and_gone_at_the_end(tmp_path: Path) -> None:
    """Whoever may write there decides over traffic."""
    path = tmp_path / "run" / "lbwatch.sock"
    before = os.umask(0)
    try:
        async with listening(path, service=idle_desk(tmp_path)):
            assert stat.S_ISSOCK(path.stat().st_mode)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
            assert [each.name for each in path.parent.iterdir()] == ["lbwatch.sock"]
    finally:
        os.umask(before)
    assert list(path.parent.iterdir()) == []


async def test_what_a_dead_process_left_is_replaced(tmp_path: Path) -> None:
    """After a kill -9 the file is still there, and nobody behind it."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    (tmp_path / f".s.{os.getpid()}").write_text("of a crash in between, by one of the same pid")
    with logged() as warnings:
        async with listening(path, service=idle_desk(tmp_path)):
            assert (await request(path, verb="drain", container="web-1")).startswith("web-1 is drained")
    assert warnings == []
    assert not path.exists()


async def test_a_socket_at_which_another_one_answers_is_left_alone(tmp_path: Path) -> None:
    """Two daemons of one machine need two sockets; the second must not take the first one's orders away."""
    path, first, second = tmp_path / "s", State(tmp_path / "one"), State(tmp_path / "two")
    async with listening(path, service=ControlService(first, loop=Loop(container("web-1")), explain=unasked)):
        with logged() as warnings:
            async with listening(path, service=ControlService(second, loop=Loop(container("web-1")), explain=unasked)):
                await request(path, verb="drain", container="web-1")
        assert warnings == ["control.unavailable"]
        assert (first.drained != {}, second.drained != {}) == (True, False)
        assert await request(path, verb="undrain", container="web-1"), "after the second one's end too"


async def test_a_socket_that_another_one_put_there_meanwhile_is_not_removed(tmp_path: Path) -> None:
    """The next container of a deployment is up before this one is down."""
    path = tmp_path / "s"
    async with listening(path, service=idle_desk(tmp_path)):
        path.rename(tmp_path / "moved")  # its inode must not be given out again
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
    assert path.is_socket()


async def test_a_socket_that_is_gone_already_is_no_error_at_the_end(tmp_path: Path) -> None:
    """Somebody cleaned up /run."""
    async with listening(tmp_path / "s", service=idle_desk(tmp_path)):
        (tmp_path / "s").unlink()


def _file(path: Path) -> None:
    path.write_text("precious")


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "precious").write_text("")


def _link(path: Path) -> None:
    (path.parent / "target").write_text("precious")
    path.symlink_to(path.parent / "target")


@pytest.mark.parametrize("put", [_file, _folder, _link, os.mkfifo])
async def test_what_is_no_socket_is_never_removed(tmp_path: Path, put: Callable[[Path], None]) -> None:
    """`control_socket = /etc/passwd` is a mistake that must cost nothing but the orders."""
    path = tmp_path / "s"
    put(path)
    before = path.lstat()
    with structlog.testing.capture_logs() as logs:
        async with listening(path, service=idle_desk(tmp_path)):
            pass
    assert [(log["event"], log["control_socket"]) for log in logs] == [("control.unavailable", str(path))]
    assert "drain and undrain are not possible" in logs[0]["reason"]
    after = path.lstat()
    assert (after.st_ino, after.st_mode, after.st_mtime_ns) == (before.st_ino, before.st_mode, before.st_mtime_ns)


@pytest.mark.parametrize("where", ["no/such/folder/s", "file/s", "x" * 200])
async def test_where_no_socket_can_be_routing_goes_on_without(tmp_path: Path, where: str) -> None:
    """A read-only /run must not keep the daemon from its work."""
    (tmp_path / "file").write_text("")
    with logged() as warnings:
        async with listening(tmp_path / where, service=idle_desk(tmp_path)):
            pass
    assert warnings == ["control.unavailable"]
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


async def test_without_a_daemon_it_is_said_what_to_look_at(tmp_path: Path) -> None:
    """Nothing there, nobody behind it, no socket at all: each is `no daemon` to an operator."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead"))
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "none", tmp_path / "dead", tmp_path / "file", tmp_path / "no" / "folder"):
        with pytest.raises(RequestError, match=r"no lbwatch takes orders at .* is `lbwatch run` running") as caught:
            await request(path, verb="drain", container="web-1")
        assert str(path) in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
async def test_another_user_is_told_that_it_is_not_theirs(tmp_path: Path) -> None:
    """And not asked whether lbwatch is running."""
    folder = Path("/tmp") / f"lbw-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        async with listening(folder / "s", service=idle_desk(tmp_path)):
            os.seteuid(65534)
            try:
                with pytest.raises(
                    RequestError, match="may not be used by this user: be the one that lbwatch runs as, or root"
                ):
                    await request(folder / "s", verb="drain", container="web-1")
            finally:
                os.seteuid(0)
    finally:
        folder.rmdir()


async def test_an_order_for_an_upstream_that_nginx_refuses_says_so(stage: Stage, engine: FakeEngine) -> None:
    """It must not say that a container serves which is in nobody's file."""
    engine.containers.run(labels={"lbwatch.upstream": "api"})
    await stage.drain("web-1")
    stage.nginx.refused.add("web")
    said = await stage.undrain("web-1")
    assert "it is not routed (upstream-refused)" in said
    assert "serves" not in said


async def test_who_is_held_back_can_be_asked_for(stage: Stage, engine: FakeEngine) -> None:
    """`explain` asks: the engine does not remember for long who was told to stop."""
    await stage.drain("web-1")
    engine.containers.send_stop_signal("web-2")
    ids = [engine.containers.find(name).id for name in ("web-1", "web-2")]

    async def told() -> bool:
        known = await suspended(stage.socket)
        return known is not None and known.draining == dict(zip(ids, (BY_HAND, TOLD_TO_STOP), strict=True))

    await eventually(lambda: stage.servers() == ["172.17.0.2", "172.17.0.3"], what="nobody is left but those two")
    assert await told()
    assert await suspended(stage.socket.with_name("none")) is None


async def test_a_path_too_long_for_a_socket_is_an_error_of_the_order(tmp_path: Path) -> None:
    """And no traceback: the kernel takes 107 bytes."""
    with pytest.raises(RequestError):
        await request(tmp_path / ("x" * 200), verb="drain", container="web-1")


async def test_a_daemon_that_hangs_up_or_says_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped process (SIGSTOP) accepts by the kernel's hand and never answers."""
    monkeypatch.setattr("lbwatch.api.client.ANSWER_TIMEOUT_S", 0.1)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent"))
        silent.listen()
        with pytest.raises(RequestError, match=r"does not answer within 0\.1 s"):
            await request(tmp_path / "silent", verb="drain", container="web-1")

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_unix_server(hang_up, tmp_path / "rude"):
        with pytest.raises(RequestError, match="ended before it answered: `lbwatch explain web-1` tells what holds"):
            await request(tmp_path / "rude", verb="drain", container="web-1")


# -- the command line


@pytest.mark.parametrize("verb", ["drain", "undrain"])
async def test_the_command_without_a_daemon_exits_1_with_one_line(tmp_path: Path, verb: str) -> None:
    """A script goes by the code, its owner by the line."""
    code, out, err = await lbwatch(verb, "nobody", control_socket=tmp_path / "none")
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert err.startswith(f"lbwatch: no lbwatch takes orders at {tmp_path}/none (No such file or directory): is")


async def test_the_command_without_a_container_is_a_wrong_call(tmp_path: Path) -> None:
    """It must never mean all."""
    code, out, err = await lbwatch("drain", control_socket=tmp_path / "none")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1


async def test_the_commands_print_what_came_of_it(stage: Stage) -> None:
    """Standard output is for the answer, standard error for what went wrong."""
    code, out, err = await lbwatch("drain", "web-1", control_socket=stage.socket)
    assert (code, err) == (0, "")
    assert out.startswith("web-1 is drained; it is not routed (draining): ")
    assert len(out.splitlines()) == 1
    assert stage.servers() == ["172.17.0.3"]
    code, out, err = await lbwatch("drain", "nobody", control_socket=stage.socket)
    assert (code, out, err) == (1, "", "lbwatch: the engine has no container 'nobody'\n")
    code, out, err = await lbwatch("undrain", "web-1", control_socket=stage.socket)
    assert (code, out, err) == (0, "web-1 is not drained any more; it serves upstream web at 172.17.0.2:80\n", "")


async def test_the_whole_daemon_takes_orders_keeps_them_and_removes_its_socket(
    tmp_path: Path, engine: FakeEngine
) -> None:
    """What `daemon.run` puts together: the socket, the state and the loop, over a restart."""
    for name in ("web-1", "web-2"):
        engine.containers.run(name=name, labels=WEB)
    output, path, log_file = tmp_path / "out.conf", tmp_path / "control.sock", tmp_path / "log"
    words = command(
        "run",
        docker_host=engine.url,
        output=output,
        test_command="true",
        reload_command="true",
        nginx_pidfile=tmp_path / "none.pid",
        control_socket=path,
        state_dir=tmp_path / "state",
        log_format="json",
    )

    def servers() -> list[str]:
        return re.findall(r"server ([0-9.]+):", output.read_text() if output.exists() else "")

    async def while_it_runs(deed: Callable[[], Awaitable[None]]) -> None:
        with log_file.open("wb") as log:
            daemon = await asyncio.create_subprocess_exec(*words, env=environment(), stderr=log)
        try:
            await eventually(lambda: "source.synced" in log_file.read_text(), within=20.0, what="orders are taken")
            await deed()
            daemon.terminate()
            async with asyncio.timeout(20.0):
                assert await daemon.wait() == 0
        finally:
            if daemon.returncode is None:
                daemon.kill()
                await daemon.wait()
        assert not path.exists()

    async def drain_one() -> None:
        await eventually(lambda: servers() == ["172.17.0.2", "172.17.0.3"])
        code, _, err = await lbwatch("drain", "web-1", control_socket=path)
        assert code == 0, err
        assert servers() == ["172.17.0.3"]

    async def undrain_it() -> None:
        code, out, err = await lbwatch("undrain", "web-1", control_socket=path)
        assert (code, err) == (0, "")
        assert out.startswith("web-1 is not drained any more"), "the new daemon knew of the drain"
        assert servers() == ["172.17.0.2", "172.17.0.3"]

    await while_it_runs(drain_one)
    assert servers() == ["172.17.0.3"]
    await while_it_runs(undrain_it)


def test_a_state_that_cannot_be_kept_or_is_another_s_is_told_and_hinders_nothing(tmp_path: Path) -> None:
    """Routing needs no state: neither a full disk nor a second lbwatch may keep the daemon from its start."""

    class Full(FileLock):
        def acquire(self) -> bool:
            raise OutputError(tmp_path, error=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    state = State(tmp_path / "state")
    with (
        structlog.testing.capture_logs() as logs,
        FileLock(state.path) as first,
        FileLock(state.path) as second,
    ):
        lbwatch_daemon._keep_state(state, lock=first)
        assert logs == []
        lbwatch_daemon._keep_state(state, lock=second)
        lbwatch_daemon._keep_state(state, lock=Full(state.path))
    assert [log["event"] for log in logs] == ["state.not_kept"] * 2
    assert "give this one its own" in logs[0]["reason"]
    assert "No space left on device: drains by hand will not survive a restart" in logs[1]["reason"]
