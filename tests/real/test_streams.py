"""
Ports that go to upstreams as they are: TCP and UDP through real nginxes, and two files that are as one.

Servers are of the tests, on loopback, but for what needs containers.
"""

import contextlib
import itertools
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from daemon import Stage, ending, flags_of, wait_until
from debian import NEEDS
from luanginx import LuaNginx, lua_program
from needs import ENGINE_NEEDS, NGINX_NEEDS, SetStage, need, obtained
from realengine import RealEngine, in_namespace
from streamnginx import StreamNginx, stream_module
from versions import STREAM_NGINXES

from lbwatch.balancers.nginx import limits
from lbwatch.balancers.nginx.balancer import Nginx
from lbwatch.balancers.nginx.config_test.local import CopyTester
from lbwatch.balancers.nginx.local import LocalControl
from lbwatch.balancers.nginx.outputs import Locks
from lbwatch.balancers.nginx.quoting import settled
from lbwatch.balancers.nginx.streams import BothRenderer, StreamLimits, StreamRenderer
from lbwatch.balancers.template import shipped_templates
from lbwatch.core.errors import ConfigRejectedError, ReloadError
from lbwatch.core.model import Applied, Level, Method, Plan, Server, Stream, Upstream
from lbwatch.core.parts import Parts
from lbwatch.core.schedule import ReloadPace
from lbwatch.system.lock import FileLock

# -- servers


class _Echo(socketserver.BaseRequestHandler):
    """Answers each line with the server's port before it, for as long as the connection stands."""

    def handle(self) -> None:
        port = self.server.server_address[1]
        if isinstance(self.request, tuple):
            said, connection = self.request
            connection.sendto(b"%d %s" % (port, said), self.client_address)
            return
        while said := self.request.recv(4096):
            self.request.sendall(b"%d %s" % (port, said))


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False


@contextlib.contextmanager
def echo(protocol: str) -> Iterator[Server]:
    """A server of the protocol, and where it is."""
    kind = _Tcp if protocol == "tcp" else socketserver.UDPServer
    with kind(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        port = server.server_address[1]
        try:
            yield Server(address="127.0.0.1", port=port, container=f"c{port}")
        finally:
            server.shutdown()
            thread.join()


def free_port(protocol: str = "tcp") -> int:
    """A port that nobody listens at now."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def asked(port: int, protocol: str = "tcp", *, host: str = "127.0.0.1") -> str:
    """Who answers there, by its port; `nobody` if nobody does."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, kind) as one:
        one.settimeout(2.0)
        one.connect((host, port))
        one.sendall(b"hello")
        who, _, said = one.recv(4096).partition(b" ")
        if said == b"hello":
            return who.decode()
    return "nobody"


def askers(port: int, protocol: str = "tcp", *, times: int = 12) -> set[str]:
    return {asked(port, protocol) for _ in range(times)}


# -- nginx, and a load balancer for it


@dataclass(kw_only=True)
class Both:
    """An nginx, and the load balancer that writes both of its files."""

    nginx: StreamNginx
    balancer: Nginx
    tester: CopyTester

    async def apply(self, *parts: Stream | Upstream) -> Applied:
        limited = StreamLimits().limited(Plan(streams=tuple(each for each in parts if isinstance(each, Stream))))
        every: Parts = (*(each for each in parts if isinstance(each, Upstream)), *limited.streams)
        return await self.balancer.apply(tuple(sorted(every, key=lambda each: each.name)))

    @property
    def stream_text(self) -> str:
        return self.nginx.stream_output.read_text()


def renderer() -> BothRenderer:
    return BothRenderer(
        "nginx/upstreams.conf.j2",
        stream=StreamRenderer(
            "nginx/streams.conf.j2",
            folders=[shipped_templates()],
            block=limits.block,
            filters=limits.FILTERS,
            settled=settled,
        ),
        folders=[shipped_templates()],
        block=limits.block,
        filters=limits.FILTERS,
        settled=settled,
    )


@contextlib.contextmanager
def both_of(nginx: StreamNginx, folder: Path) -> Iterator[Both]:
    (folder / "test").mkdir()
    output, stream = nginx.output, nginx.stream_output
    control = LocalControl(pidfile=nginx.pidfile, output=output, stream=stream, command=None)
    tester = CopyTester(
        (nginx.program,),
        main=nginx.conf,
        output=output,
        stream=stream,
        folder=folder / "test",
        is_running=lambda: control.running() is not None,
    )
    with FileLock(output) as first, FileLock(stream) as second:
        balancer = Nginx(
            renderer(),
            output=output,
            stream=stream,
            tester=tester,
            control=control,
            lock=Locks(first, second),
            pace=ReloadPace(interval_s=0.1),
        )
        yield Both(nginx=nginx, balancer=balancer, tester=tester)


@pytest.fixture(params=list(STREAM_NGINXES))
def every(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Both]:
    """Each nginx that has the module, running."""
    need(*NGINX_NEEDS, *NEEDS)
    obtained(stream_module, request.param)
    with StreamNginx(tmp_path / "nginx", version=request.param) as nginx, both_of(nginx.start(), tmp_path) as both:
        yield both


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Both]:
    """One of them."""
    need(*NGINX_NEEDS, *NEEDS)
    obtained(stream_module, "1.26")
    with StreamNginx(tmp_path / "nginx", version="1.26") as nginx, both_of(nginx.start(), tmp_path) as both:
        yield both


def stream(port: int, *servers: Server, protocol: str = "tcp", name: str = "db", **words: object) -> Stream:
    ordered = tuple(sorted(servers, key=lambda each: each.port))
    return Stream(port=port, protocol=protocol, upstream=Upstream(name=name, servers=ordered, **words))  # type: ignore[arg-type]


# -- what nginx does


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
async def test_a_port_goes_to_its_servers_and_on_with_those_that_are_left(every: Both, protocol: str) -> None:
    """What the label promises, by both protocols, on every nginx."""
    port = free_port(protocol)
    with echo(protocol) as one, echo(protocol) as two:
        applied = await every.apply(stream(port, one, two, protocol=protocol))
        assert (applied.reloaded, applied.degraded) == (True, ())
        assert askers(port, protocol) == {str(one.port), str(two.port)}
        await every.apply(stream(port, two, protocol=protocol))
        assert askers(port, protocol) == {str(two.port)}
    await every.apply(stream(port, protocol=protocol))
    assert asked(port, protocol) == "nobody"
    with echo(protocol) as three:
        await every.apply(stream(port, three, protocol=protocol))
        assert asked(port, protocol) == str(three.port)
    await every.apply()
    assert "listen" not in every.stream_text


async def test_a_connection_stays_where_it_is_while_its_server_drains(every: Both) -> None:
    """As a websocket does: an old worker keeps it, and whoever connects now comes to others."""
    port = free_port()
    with echo("tcp") as one, echo("tcp") as two, socket.socket() as client:
        await every.apply(stream(port, one))
        client.settimeout(5.0)
        client.connect(("127.0.0.1", port))
        client.sendall(b"first")
        assert client.recv(100) == b"%d first" % one.port
        await every.apply(stream(port, two))
        assert askers(port) == {str(two.port)}
        client.sendall(b"second")
        assert client.recv(100) == b"%d second" % one.port


async def test_nginx_takes_every_combination_of_labels(every: Both) -> None:
    """Also those that it has for requests alone; what it would refuse is found before it is asked."""
    methods = [None, *(Method(name=name) for name in ("least_conn", "random", "ip_hash"))]
    keys = ("$remote_addr", "$host", "$http_x_y", "a$arg_b", "$remote_port-$server_addr", "${time_local}$msec$pid")
    methods += [Method(name="hash", key=key, consistent=is_so) for key in keys for is_so in (False, True)]
    servers = [Server(address="127.0.0.1", port=port, container="c") for port in (1, 2)]
    shapes = [
        servers,
        [replace(each, backup=True) for each in servers],
        [servers[0], replace(servers[1], backup=True, max_conns=4, weight=9, max_fails=0, fail_timeout_s=7)],
        [],
    ]
    streams = [
        stream(20_000 + number, *servers, protocol=protocol, method=method, keepalive=4)
        for number, (method, servers) in enumerate((method, servers) for method in methods for servers in shapes)
        for protocol in ("tcp", "udp")
    ]
    plan = StreamLimits().limited(Plan(streams=tuple(sorted(streams, key=lambda each: each.name))))
    every.nginx.rewrite()
    assert await every.tester.test(renderer().text(plan.streams))


# -- ports that cannot be had


HTTP = "server {{ listen {port}; return 200 nginx; }}"


@pytest.mark.parametrize("where", ["stream", "http", "http, at one address"])
async def test_a_port_that_is_taken_is_left_to_whoever_has_it_and_harms_nobody(both: Both, where: str) -> None:
    """A port of `http {}` passes nginx's own test, and the next start would fail for it."""
    taken, free = free_port(), free_port()
    if where == "stream":
        both.nginx.rewrite(stream=f"server {{ listen {taken}; return theirs; }} include conf.d/*.stream;")
    else:
        both.nginx.rewrite(http=HTTP.format(port=f"127.0.0.1:{taken}" if where == "http, at one address" else taken))
    both.nginx.stop()
    both.nginx.start()
    with echo("tcp") as server:
        parts = stream(taken, server, name="bad"), stream(free, server), Upstream(name="web", servers=(server,))
        applied = await both.apply(*parts)
        assert [(each.upstream, each.level) for each in applied.degraded] == [(f"~port {taken}/tcp", Level.OUT)]
        assert (
            f"port {taken}/tcp is taken already by {both.nginx.conf}:" in applied.degraded[0].error or where == "stream"
        )
        assert asked(free) == str(server.port)
        assert "upstream web " in both.nginx.output.read_text()
        assert f"listen {taken} " not in both.stream_text
        both.nginx.stop()
        both.nginx.start()  # as after a power failure
        assert asked(free) == str(server.port)


async def test_a_port_of_another_program_is_found_by_the_reload_that_nginx_refuses(both: Both) -> None:
    """No test sees it. All others go on, and once the port is free it is served."""
    free = free_port()
    with echo("tcp") as server, socket.socket() as holder:
        good = stream(free, server), Upstream(name="web", servers=(server,))
        await both.apply(*good)
        holder.bind(("0.0.0.0", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        applied = await both.apply(stream(taken, server, name="bad"), *good)
        assert [(each.upstream, each.level) for each in applied.degraded] == [(f"~port {taken}/tcp", Level.OUT)]
        assert f"listen {taken} " not in both.stream_text
        assert asked(free) == str(server.port)
        assert applied.again_s is not None


async def test_while_nginx_is_down_a_port_of_another_program_is_not_written(both: Both) -> None:
    """No reload would tell, and nginx could not start any more."""
    free, free_udp = free_port(), free_port("udp")
    with echo("tcp") as server, socket.socket() as holder, socket.socket(type=socket.SOCK_DGRAM) as other:
        good = stream(free, server), stream(free_udp, server, protocol="udp")
        await both.apply(*good)
        for each in (holder, other):
            each.bind(("0.0.0.0", 0))
        holder.listen()
        taken, taken_udp = holder.getsockname()[1], other.getsockname()[1]
        both.nginx.stop()
        with pytest.raises(ReloadError, match=r"not running|no such process|nginx\.pid"):
            await both.apply(*good, stream(taken, server), stream(taken_udp, server, protocol="udp"))
        for port, is_there in ((free, True), (free_udp, True), (taken, False), (taken_udp, False)):
            assert (f"listen {port} " in both.stream_text) == is_there
        both.nginx.start()
        assert asked(free) == str(server.port)


async def test_a_port_that_nginx_itself_has_by_now_is_found_although_it_passed_before(both: Both) -> None:
    """The user's own files may come to listen there later."""
    port = free_port()
    with echo("tcp") as server:
        await both.apply(stream(port, server))
        both.nginx.rewrite(http=HTTP.format(port=port))
        applied = await both.apply(stream(port, server), Upstream(name="web"))
        assert [each.level for each in applied.degraded] == [Level.OUT]


async def test_what_is_wrong_in_stream_harms_nothing_in_http(both: Both) -> None:
    """Not even where the whole file is not for there: its module is missing, say."""
    both.nginx.rewrite(stream="", http="include conf.d/*.stream;")  # for what is no http at all
    with echo("tcp") as server:
        applied = await both.apply(stream(free_port(), server), Upstream(name="web", servers=(server,)))
        assert [each.level for each in applied.degraded] == [Level.OUT]
        assert f"server 127.0.0.1:{server.port};" in both.nginx.output.read_text()


async def test_an_error_in_the_second_file_is_told_by_its_own_line(both: Both) -> None:
    """As an operator sees it; the search for the one to blame counts lines of the whole text."""
    text = renderer().text((stream(5432, name="one"), stream(5433, name="two")))
    bad = text.replace("    proxy_pass two@5433-tcp;", "    nonsense;")
    with pytest.raises(ConfigRejectedError) as caught:
        await both.tester.test(bad)
    assert bad.splitlines()[caught.value.line - 1] == "    nonsense;"  # type: ignore[operator]
    assert 'unknown directive "nonsense"' in str(caught.value)
    line = bad.partition("in a file of its own\n")[2].splitlines().index("    nonsense;") + 1
    assert f"{both.nginx.stream_output}:{line}" in str(caught.value)


async def test_a_second_file_that_nginx_does_not_read_is_seen(both: Both) -> None:
    """Then no port is served, whatever lies on disk."""
    assert await both.tester.test(renderer().text(()))
    assert both.tester.remark is None
    both.nginx.rewrite(stream="")
    assert await both.tester.test(renderer().text(()))
    assert both.tester.remark is not None
    assert f"does not include {both.nginx.stream_output}" in both.tester.remark


async def test_what_nginx_refuses_a_reload_of_takes_both_files_back(both: Both) -> None:
    """A test may be of another nginx than the one that runs."""
    port = free_port()
    with echo("tcp") as server:
        await both.apply(stream(port, server), Upstream(name="web", servers=(server,)))
        before = both.nginx.output.read_text(), both.stream_text
        with socket.socket() as holder:
            holder.bind(("0.0.0.0", 0))
            holder.listen()
            taken = holder.getsockname()[1]
            # The http file changes too, which by itself nothing speaks against.
            await both.apply(stream(port, server), stream(taken, server, name="bad"), Upstream(name="web"))
        now = both.nginx.output.read_text(), both.stream_text
        assert now[0] != before[0]
        assert now[1] == before[1]
        assert asked(port) == str(server.port)
        assert not [each for each in both.nginx.output.parent.iterdir() if each.name.endswith(".old")]


# -- all of it


LISTENS = {"lbwatch.upstream": "db", "lbwatch.listen": "5432/tcp", "lbwatch.port": "80"}


@pytest.fixture
def stage(engine: RealEngine, tmp_path: Path) -> Iterator[Stage]:
    """An lbwatch between the engine and an nginx that has the module."""
    need(*ENGINE_NEEDS, *NGINX_NEEDS, *NEEDS)
    obtained(stream_module, "1.26")
    engine.prepare()
    nginx = StreamNginx(tmp_path / "nginx", engine.name, version="1.26")
    settings = {"nginx_command": nginx.program, "stream_output": str(nginx.stream_output)}
    stage = Stage(engine, nginx, folder=tmp_path, settings=flags_of(settings))
    with ending([stage]):
        nginx.start()
        stage.lbwatch.start()
        yield stage


def get(stage: Stage, port: int) -> str:
    """What a web server behind a port answers, asked from within the engine's network."""
    words = ("curl", "--silent", "--max-time", "2", f"http://127.0.0.1:{port}/")
    done = subprocess.run(in_namespace(stage.engine.name, words), check=False, capture_output=True, text=True)
    return done.stdout.strip()


def wait_for(stage: Stage, port: int, who: set[str]) -> None:
    def answers() -> set[str]:
        return {get(stage, port) for _ in range(8)}

    wait_until(answers, holds=lambda found: found == who, within=30, what=f"{who} behind {port}", notes=stage.notes)


def test_a_label_gives_a_port_to_containers_for_as_long_as_they_are_there(stage: Stage, engine: RealEngine) -> None:
    """From the first container to the last, also one that is only stopped."""
    engine.run("db1", labels=LISTENS)
    engine.run("db2", labels=LISTENS)
    wait_for(stage, 5432, {"db1", "db2"})
    engine.docker("stop", "--time", "0", "db1")
    wait_for(stage, 5432, {"db2"})
    engine.run("other", labels={"lbwatch.upstream": "other", "lbwatch.listen": "5432/tcp, 5433/tcp"})
    wait_for(stage, 5433, {"other"})
    assert get(stage, 5432) == "db2"
    _, said, _ = stage.lbwatch.command("explain", "other")
    assert "port-taken" in said
    assert "port 5432/tcp goes to upstream db of container db1, which is older" in said
    code, said, _ = stage.lbwatch.command("check")
    assert code == 0, said
    code, said, _ = stage.lbwatch.command("render", "--diff", "--exit-code")
    assert (code, said) == (0, ""), said
    engine.docker("stop", "--time", "0", "db2")
    wait_for(stage, 5432, {""})
    engine.remove("db1", "db2")
    wait_for(stage, 5432, {"other"})


class LiveNginx(LuaNginx):
    """An nginx whose workers follow lbwatch, and that has the stream module too."""

    def rewrite(self, *, main: str = "", http: str = "") -> None:
        module = stream_module(self.version)
        super().rewrite(main=f"load_module {module};\n{main}\nstream {{ include conf.d/*.stream; }}\n", http=http)


def joined_of(stage: Stage) -> set[str]:
    """Who joined an upstream of nginx's, however it was told."""
    every = (*stage.lbwatch.logged("nginx.reloaded"), *stage.lbwatch.logged("nginx.pushed"))
    return {name for each in every for name in str(each.get("joined", "")).split(", ")}


def test_ports_are_reloaded(engine: RealEngine, tmp_path: Path) -> None:
    """What nginx's workers are told holds in `http {}` alone."""
    need(*ENGINE_NEEDS, *NGINX_NEEDS, *NEEDS)
    obtained(stream_module, "1.26")
    obtained(lua_program, "1.26")
    engine.prepare()
    nginx = LiveNginx(tmp_path / "nginx", engine.name, version="1.26")
    output = nginx.output.with_name("lbwatch.stream")
    settings = {"nginx_command": nginx.program, "stream_output": str(output), "live": "auto"}
    stage = Stage(engine, nginx, folder=tmp_path, settings=flags_of(settings))
    with ending([stage]):
        nginx.start()
        stage.lbwatch.start()
        engine.run("db1", labels=LISTENS)
        wait_for(stage, 5432, {"db1"})
        engine.run("web1", labels={"lbwatch.upstream": "web"})
        stage.lbwatch.wait_for_log("nginx.reloaded", count=2, within=30)
        deadline = time.monotonic() + 60
        for number in itertools.count(2):  # the first may come while the new workers do not ask yet
            engine.run(f"web{number}", labels={"lbwatch.upstream": "web"})
            wait_until(lambda: f"web{number}" in joined_of(stage), within=30, what="it joined", notes=stage.notes)  # noqa: B023
            if stage.lbwatch.logged("nginx.pushed"):
                break
            assert time.monotonic() < deadline, stage.notes()
        reloads = len(stage.lbwatch.logged("nginx.reloaded"))
        engine.run("db2", labels=LISTENS)
        wait_for(stage, 5432, {"db1", "db2"})
        assert len(stage.lbwatch.logged("nginx.reloaded")) > reloads
        assert "lua" not in output.read_text()
        engine.remove("db1")
        wait_for(stage, 5432, {"db2"})


def test_without_a_file_for_them_a_container_is_told_that_its_port_is_not_served(
    engine: RealEngine, set_stage: SetStage
) -> None:
    """And all else of it is as ever."""
    stage = set_stage(engine)
    engine.run("db1", labels=LISTENS)
    stage.wait_in_step({"db": {"db1"}})
    _, said, _ = stage.lbwatch.command("explain", "db1")
    assert "lbwatch.listen is not used: the setting stream_output is not set" in said
