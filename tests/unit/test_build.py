"""What settings choose: who tests, who reloads, what holds about routing; and what a daemon has that a look has not."""

import asyncio
import errno
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from command import command, environment
from needs import need
from nginxcontainer import CONF, NGINX, FolderEngine
from realnginx import RealNginx
from strategies import container
from usersettings import settings_with

from lbwatch import build
from lbwatch.build import NginxAccess, build_daemon, build_look, build_tester, selector
from lbwatch.cli.look import looked
from lbwatch.core.errors import (
    ConfigRejectedError,
    OutputError,
    OutputHeldError,
    ReloadError,
    RenderError,
    SettingsError,
    SourceError,
)
from lbwatch.core.model import Container, Endpoint
from lbwatch.engines.docker.address import engine_address
from lbwatch.engines.docker.client import ASKED, EngineClient
from lbwatch.engines.docker.exec import EXEC_ASKED, SIGNAL_ASKED
from lbwatch.engines.fake import FakeEngine
from lbwatch.settings import Settings
from lbwatch.system.lock import FileLock

WEB = {"lbwatch.port": "80", "lbwatch.upstream": "web"}
OLD = "# of yesterday\n"
WAYS: dict[str, dict[str, Any]] = {
    "local": {},
    "exec": {"nginx_container": "nginx"},
    "signal": {"nginx_container": "nginx", "nginx_reload": "signal"},
    "commands": {"test_command": "true", "reload_command": "true"},
}

Made = Callable[..., Settings]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder that holds all that lbwatch could write to; the engine's socket is not in it."""
    (tmp_path / "site" / "out").mkdir(parents=True)
    return tmp_path / "site"


@pytest.fixture
def made(site: Path, tmp_path: Path) -> Made:
    """Makes settings of which each path leads to the site."""

    def make(**given: Any) -> Settings:
        facts: dict[str, Any] = {
            "docker_host": f"unix://{tmp_path}/none.sock",
            "output": site / "out" / "lbwatch.conf",
            "nginx_pidfile": site / "nginx.pid",
            "state_dir": site / "state",
            "control_socket": site / "control",
        }
        return settings_with(**(facts | given))

    return make


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[FakeEngine]:
    async with FakeEngine(socket=tmp_path / "docker.sock", lag_s=0.0) as engine:
        engine.containers.run(name="web-1", labels=WEB)
        yield engine


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderEngine:
    """The engine that runs nginx's container, in the place of the one that is asked over a socket."""
    (tmp_path / "root/etc/nginx/conf.d").mkdir(parents=True)
    (tmp_path / "root/etc/nginx/nginx.conf").write_text(CONF)
    engine = FolderEngine(root=tmp_path / "root")
    monkeypatch.setattr(build, "ContainerExec", lambda client: engine)
    return engine


def access_of(settings: Settings, *containers: Container) -> NginxAccess:
    client = EngineClient(engine_address("unix:///none", environ={}))  # never asked
    return NginxAccess(settings, client=client, known=lambda: {each.id: each for each in containers})


def folder_in(path: Path, name: str = "scratch") -> Path:
    (path / name).mkdir()
    return path / name


# -- who tests


@pytest.mark.parametrize("nginx_container", [None, "nginx"])
async def test_the_users_own_test_comes_first(
    nginx_container: str | None, made: Made, tmp_path: Path, inside: FolderEngine
) -> None:
    """Whoever sets it has a reason: nothing else may be asked beside it."""
    settings = made(test_command="grep -q good {candidate}", nginx_container=nginx_container, nginx_command="/none")
    tester = access_of(settings, NGINX).tester(folder=folder_in(tmp_path))
    assert await tester.test("good")
    with pytest.raises(ConfigRejectedError):
        await tester.test("bad")
    assert inside.ran == []


@pytest.mark.parametrize(
    "way",
    [{"test_command": "true"}, {"nginx_reload": "signal"}, {"nginx_conf": Path("/etc/nginx/nginx.conf")}],
    ids=str,
)
async def test_nothing_is_tested_without_the_container_that_it_is_for(
    way: dict[str, Any], made: Made, tmp_path: Path, inside: FolderEngine
) -> None:
    """It is not known then which networks nginx reaches: the old file stays, whoever would test the new one."""
    tester = access_of(made(nginx_container="nginx", **way), container("web")).tester(folder=folder_in(tmp_path))
    with pytest.raises(ReloadError, match="no container nginx"):
        await tester.test("text")
    assert inside.ran == []


async def test_an_nginx_here_tests_by_its_program(made: Made, tmp_path: Path) -> None:
    """A copy of the user's own configuration, with the words that the program always needs."""
    program = tmp_path / "nginx"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/ran\n')
    program.chmod(0o755)
    (tmp_path / "nginx.conf").write_text(CONF)
    folder = folder_in(tmp_path)
    settings = made(nginx_command=f"{program} -p '/a b'", nginx_conf=tmp_path / "nginx.conf")
    assert await access_of(settings).tester(folder=folder).test("text")
    assert (tmp_path / "ran").read_text().startswith(f"-p /a b -t -q -c {folder}/")


@pytest.mark.parametrize(("quiet", "events"), [(False, ["nginx.untested"]), (True, [])])
async def test_only_the_daemon_warns_that_no_program_is_there(
    quiet: bool, events: list[str], made: Made, tmp_path: Path
) -> None:
    """A command prints what it has to say; a warning in between would be said twice."""
    tester = access_of(made(nginx_command="/none/nginx")).tester(folder=folder_in(tmp_path), quiet=quiet)
    with structlog.testing.capture_logs() as logs:
        assert not await tester.test("text")
    assert [log["event"] for log in logs] == events
    assert "/none/nginx is not installed here" in (tester.remark or "")


@pytest.mark.parametrize("copy", [None, ".beside"])
async def test_an_nginx_in_a_container_tests_in_there(
    copy: str | None, made: Made, tmp_path: Path, inside: FolderEngine
) -> None:
    """In the daemon's own folder beside the output, or in that of a command that must not get in its way."""
    settings = made(
        nginx_container="nginx",
        nginx_command="nginx -p /x",
        nginx_conf=Path("/etc/nginx/nginx.conf"),
        nginx_output=Path("/etc/nginx/conf.d"),
    )
    place = None if copy is None else settings.nginx.output.parent / copy
    assert await access_of(settings, NGINX).tester(folder=folder_in(tmp_path), copy=place).test("text")
    (ran,) = inside.ran
    assert ran[:6] == ("nginx", "-p", "/x", "-t", "-q", "-c")
    assert ran[6].startswith(f"/etc/nginx/conf.d/{copy or '.lbwatch-test'}/")
    assert inside.copies > 0


async def test_nothing_tests_where_only_a_signal_is_allowed(made: Made, tmp_path: Path, inside: FolderEngine) -> None:
    """The user forbade exec; that nothing tests is said, and nginx itself is the judge."""
    tester = access_of(made(**WAYS["signal"]), NGINX).tester(folder=folder_in(tmp_path))
    assert not await tester.test("text")
    assert "nginx_reload is signal" in (tester.remark or "")
    assert (inside.ran, inside.copies) == ([], 0)


# -- who reloads


@pytest.mark.parametrize("nginx_container", [None, "nginx"])
async def test_the_users_own_reload_comes_first(
    nginx_container: str | None, made: Made, tmp_path: Path, inside: FolderEngine
) -> None:
    """Likewise, wherever nginx is."""
    settings = made(reload_command=f"touch '{tmp_path}/re loaded'", nginx_container=nginx_container)
    await access_of(settings, NGINX).control().reload()
    assert (tmp_path / "re loaded").exists()
    assert inside.ran == []


async def test_an_nginx_here_is_reloaded_by_a_signal(made: Made, real_nginx: RealNginx) -> None:
    """Its pid file says which it is."""
    control = access_of(made(nginx_pidfile=real_nginx.pidfile)).control()
    await control.reload()
    await control.wait_live()
    control = access_of(made()).control()
    with pytest.raises(ReloadError):
        await control.reload()


@pytest.mark.parametrize(
    ("way", "ran"),
    [
        ({}, ("nginx", "-s", "reload")),
        ({"nginx_command": "/opt/nginx -p '/a b'"}, ("/opt/nginx", "-p", "/a b", "-s", "reload")),
        ({"nginx_conf": Path("/x.conf")}, ("nginx", "-c", "/x.conf", "-s", "reload")),
        ({"nginx_reload": "signal"}, ("HUP",)),
    ],
    ids=str,
)
async def test_an_nginx_in_a_container_is_reloaded_in_there(
    way: dict[str, Any], ran: tuple[str, ...], made: Made, inside: FolderEngine
) -> None:
    """With the main file that it was started with: another one names another pid file, and another nginx."""
    await access_of(made(nginx_container="nginx", **way), NGINX).control().reload()
    assert inside.ran == [ran]


# -- what holds about routing


def test_rules_are_those_of_the_settings(made: Made) -> None:
    """Each that is forgotten here is a setting without effect."""
    plain = access_of(made()).rules(engine_pid=None)
    assert (plain.prefix, plain.expose_all, plain.networks, plain.declare) == ("lbwatch", False, (), ())
    settings = made(label_prefix="edge", expose="all", networks=("front",), declare=("later",))
    rules = access_of(settings).rules(engine_pid=None)
    assert (rules.prefix, rules.expose_all, rules.networks, rules.declare) == ("edge", True, ("front",), ("later",))


def test_rules_know_which_hash_keys_nginx_takes(made: Made) -> None:
    """A variable that nginx does not know would refuse the whole file."""
    rules = access_of(made()).rules(engine_pid=None)
    assert rules.refuses_key("$remote_addr") is None
    assert rules.refuses_key("$nope") is not None


@pytest.mark.parametrize(
    ("given", "seen", "host_shared", "outcome"),
    [
        ("true", False, None, True),
        ("true", False, False, True),
        ("false", True, None, False),
        ("false", False, True, False),
        ("auto", True, None, True),
        ("auto", False, None, False),
        ("auto", True, False, False),
        ("auto", False, True, True),
    ],
)
def test_what_is_set_of_the_hosts_network_comes_before_what_is_known_and_that_before_what_is_seen(
    given: str, seen: bool, host_shared: bool | None, outcome: bool, made: Made
) -> None:
    """127.0.0.1 is another service where this is wrong."""
    access = access_of(made(host_network=given))
    assert access.rules(engine_pid=os.getpid() if seen else None, host_shared=host_shared).host_shared is outcome


def test_networks_are_those_of_nginxs_container_where_none_are_set(made: Made) -> None:
    """It reaches no others; without such a container all are taken for reachable."""
    nginx = container("nginx", endpoints=(Endpoint(network="edge", ipv4="10.0.0.2"),))
    assert access_of(made(nginx_container="nginx"), nginx).rules(engine_pid=os.getpid()).networks == ("edge",)
    assert access_of(made(), nginx).rules(engine_pid=None).networks == ()


def test_a_container_off_the_hosts_network_is_no_matter_of_what_is_seen_here(made: Made) -> None:
    """lbwatch may share the host's network while nginx, in its container, does not."""
    assert access_of(made(nginx_container="nginx"), NGINX).rules(engine_pid=os.getpid()).host_shared is False


@pytest.mark.parametrize(
    ("way", "more"), [("local", ()), ("commands", ()), ("exec", EXEC_ASKED), ("signal", SIGNAL_ASKED)]
)
def test_what_is_asked_of_the_engine_follows_from_the_way(way: str, more: tuple[str, ...], made: Made) -> None:
    """`check` prints it for whoever writes a socket proxy's rules: one too many is a right too many."""
    assert access_of(made(**WAYS[way])).asked() == (*ASKED, *more)


def test_the_selector_is_nginxs_container(made: Made) -> None:
    """By name or by label; none where nginx is here."""
    assert selector(made()) is None
    assert str(selector(made(nginx_container="label=role=edge"))) == "with label role=edge"


@pytest.mark.parametrize("wrong", ["nginx 'unended", ""])
@pytest.mark.parametrize(
    ("setting", "way"),
    [("test_command", "local"), ("reload_command", "local"), ("nginx_command", "local"), ("nginx_command", "exec")],
)
async def test_a_wrong_command_is_said_at_the_start_and_leaves_no_lock(
    setting: str, way: str, wrong: str, made: Made
) -> None:
    """Found out at the first change it would be an outage in the night."""
    settings = made(**(WAYS[way] | {setting: wrong}))
    with pytest.raises(SettingsError, match=f"^{setting}: .*it takes a command") as caught:
        async with build_daemon(settings):
            pass
    assert caught.value.setting == setting
    with FileLock(settings.nginx.output) as lock:
        assert lock.acquire()


# -- a daemon


async def test_a_daemon_holds_the_lock_as_long_as_it_is(made: Made) -> None:
    """Two that write one file undo each other's work for ever."""
    settings = made()
    with FileLock(settings.nginx.output) as other:
        async with build_daemon(settings):
            with pytest.raises(OutputHeldError):
                other.acquire()
        assert other.acquire()


async def test_a_second_daemon_is_refused_and_told_who_is_the_first(made: Made) -> None:
    """Its operator has to end one of the two, and must not look for long which."""
    settings = made()
    with FileLock(settings.nginx.output) as first:
        first.acquire()
        with pytest.raises(SettingsError, match=f"^output: .*process {os.getpid()} on .* writes it"):
            async with build_daemon(settings):
                pass


async def test_an_output_that_cannot_be_replaced_is_refused(made: Made, site: Path) -> None:
    """Else it would be found out at the first change."""
    with pytest.raises(SettingsError, match=r"^output: .*does not exist"):
        async with build_daemon(made(output=site / "nowhere" / "lbwatch.conf")):
            pass


@pytest.mark.parametrize(
    ("error", "logged"), [(None, ("warning", "output.not_locked")), (errno.ENOSPC, ("error", "output.failed"))]
)
async def test_a_daemon_begins_without_a_lock_where_there_can_be_none(
    error: int | None, logged: tuple[str, str], made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network file systems have none, and a full disk has no room for it: routing must begin all the same."""
    settings = made()

    def acquire(lock: FileLock) -> bool:
        if error is not None:
            raise OutputError(settings.nginx.output, error=OSError(error, os.strerror(error)))
        return False

    monkeypatch.setattr(FileLock, "acquire", acquire)
    with structlog.testing.capture_logs() as logs:
        async with build_daemon(settings) as daemon:
            assert daemon.settings is settings
    assert [(log["log_level"], log["event"]) for log in logs] == [logged]


async def test_an_engine_that_anyone_may_command_is_warned_of(made: Made) -> None:
    """Whoever reaches that port is root of the engine's host."""
    with structlog.testing.capture_logs() as logs:
        async with build_daemon(made(docker_host="tcp://192.0.2.1:2375")):
            pass
    assert [log["event"] for log in logs] == ["source.unprotected"]


async def test_a_wrong_template_is_said_before_anything_is_opened(made: Made, site: Path) -> None:
    """There is nothing to put away then."""
    for builder in (build_daemon, build_look):
        with pytest.raises(RenderError):
            async with builder(made(template=str(site / "none.j2"))):
                pass
    assert [*(site / "out").iterdir()] == []


# -- a look


def tree(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return all that is below a folder, with the time of its latest change."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in (folder, *folder.rglob("*"))
    }


@pytest.mark.parametrize("way", WAYS)
async def test_a_look_takes_no_lock_and_writes_nothing(way: str, engine: FakeEngine, made: Made, site: Path) -> None:
    """It is run beside a daemon on a live site, and on one where no daemon is to be yet."""
    settings = made(docker_host=engine.url, **WAYS[way])
    settings.nginx.output.write_text(OLD)
    before = tree(site)
    async with looked(settings) as look:
        assert (look.balancer.text or look.renderer.text(look.balancer.upstreams)).count("server 172.17.0.2:80;") == 1
    after = tree(site)
    changed = {path for path in before | after if before.get(path) != after.get(path)}
    # A test in nginx's container needs a folder that it sees too, for as long as the look takes.
    assert changed == ({"out"} if way == "exec" else set())


async def test_a_look_goes_on_beside_a_running_daemon(engine: FakeEngine, made: Made) -> None:
    """That is when one looks most."""
    settings = made(docker_host=engine.url, **WAYS["commands"])
    async with build_daemon(settings), looked(settings) as look:
        assert "server 172.17.0.2:80;" in (look.balancer.text or "")
    with FileLock(settings.nginx.output) as lock:
        lock.acquire()
        async with looked(settings) as look:
            assert "server 172.17.0.2:80;" in (look.balancer.text or "")


async def test_a_look_needs_no_right_to_write(engine: FakeEngine, made: Made, site: Path) -> None:
    """An operator who may only read asks, too, and so does a container whose root is read-only."""
    need("mount", "unshare")
    words = command(
        "render",
        docker_host=engine.url,
        output=site / "out" / "lbwatch.conf",
        state_dir=site / "state",
        control_socket=site / "control",
        test_command="true",
    )
    script = (
        f"mount --bind {site} {site} && mount -o remount,ro,bind {site} && ! touch {site}/x && exec {' '.join(words)}"
    )
    process = await asyncio.create_subprocess_exec(
        "unshare", "-m", "sh", "-c", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment()
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert "server 172.17.0.2:80;" in out.decode()
    assert "Read-only file system" in err.decode().splitlines()[0]
    assert len(err.decode().splitlines()) == 1


async def test_a_look_has_a_folder_that_nginxs_container_sees_and_takes_it_away(
    engine: FakeEngine, made: Made, site: Path
) -> None:
    """nginx in there may be another user, and the daemon's own folder may be in use just now."""
    async with build_look(made(docker_host=engine.url, **WAYS["exec"])):
        (folder,) = (site / "out").iterdir()
        assert folder.name.startswith(".lbwatch-test-")
        assert folder.stat().st_mode & 0o777 == 0o755
    assert [*(site / "out").iterdir()] == []
    with pytest.raises(OutputError):
        async with build_look(made(docker_host=engine.url, output=site / "nowhere" / "x.conf", **WAYS["exec"])):
            pass


async def test_an_engine_that_does_not_answer_is_said_at_once(made: Made) -> None:
    """A daemon waits for it; somebody at a terminal does not."""
    with pytest.raises(SourceError, match=r"none\.sock"):
        async with build_look(made()):
            pass


def recording(path: Path, *names: str) -> Path:
    """Write what `docker inspect` says of containers on the host's network that serve at port 80."""
    state = {"Status": "running", "Running": True, "StartedAt": "2024-01-01T00:00:00Z"}
    path.write_text(
        json.dumps(
            [
                {
                    "Id": name.encode().hex().ljust(64, "0"),
                    "Name": f"/{name}",
                    "Created": "2024-01-01T00:00:00Z",
                    "State": state,
                    "Config": {"Labels": WEB},
                    "HostConfig": {"NetworkMode": "host"},
                    "NetworkSettings": {"Networks": {"host": {}}},
                }
                for name in names
            ]
        )
    )
    return path


async def test_a_recorded_engine_is_not_asked_what_it_cannot_know(made: Made, tmp_path: Path) -> None:
    """It may be another machine's: whether nginx shares its network is then what is set, and else no."""
    path = recording(tmp_path / "engine.json", "web-1")
    for given, shared in (("auto", False), ("true", True)):
        async with build_look(made(host_network=given, test_command="true"), recorded=path) as look:
            assert look.source.name == str(path)
            assert look.rules().host_shared is shared


@pytest.mark.parametrize("names", [("web-1",), ("web-1", "nginx")])
async def test_nothing_is_tested_in_a_recorded_container(names: tuple[str, ...], made: Made, tmp_path: Path) -> None:
    """It is not there; but without it nothing would be written, as with the engine itself."""
    path = recording(tmp_path / "engine.json", *names)
    settings = made(**WAYS["exec"])
    async with build_look(settings, recorded=path) as look:
        assert look.tester is not None
        assert [*settings.nginx.output.parent.iterdir()] == []
        if "nginx" in names:
            assert not await look.tester.test("text")
        else:
            with pytest.raises(ReloadError, match="no container nginx"):
                await look.tester.test("text")


async def test_a_look_that_tests_nothing_needs_no_template(engine: FakeEngine, made: Made, site: Path) -> None:
    """`events` shows what happens, also while the template is being written."""
    async with build_look(made(docker_host=engine.url, template=str(site / "none.j2")), tests=False) as look:
        assert look.tester is None


async def test_what_tests_alone_is_what_a_look_has(made: Made) -> None:
    """`check` tests although it cannot know what should be written."""
    async with build_tester(made(test_command="grep -q good {candidate}")) as tester:
        assert await tester.test("good")
        with pytest.raises(ConfigRejectedError):
            await tester.test("bad")
