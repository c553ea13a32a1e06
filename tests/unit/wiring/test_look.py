"""The parts of a command that only looks: nothing is locked, written or reloaded."""

import asyncio
import json
import time
from pathlib import Path

import pytest
import structlog
from command import command, environment
from needs import need
from wirings import OLD, WAYS, WEB, Made

from lbwatch.cli.look import looked
from lbwatch.core.errors import (
    ConfigRejectedError,
    OutputError,
    ReloadError,
    SourceError,
)
from lbwatch.engines.fake import FakeEngine
from lbwatch.engines.fake.faults import stall
from lbwatch.engines.pool import PATIENCE_S
from lbwatch.engines.recorded import RecordedSource
from lbwatch.system.lock import FileLock
from lbwatch.wiring.daemon import build_daemon
from lbwatch.wiring.look import build_look, build_tester


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
        assert (look.balancer.text or look.renderer.text(look.balancer.parts)).count("server 172.17.0.2:80;") == 1
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


async def test_a_look_waits_for_no_engine_that_has_failed_to_answer_already(
    engine: FakeEngine, made: Made, tmp_path: Path
) -> None:
    """Whoever looks during an outage sat before an empty terminal for 10 s, and for 20 where the engine hangs."""
    hosts = (f"a={engine.url}", f"b=unix://{tmp_path}/none")
    began = time.monotonic()
    with structlog.testing.capture_logs() as logs:
        async with looked(made(docker_host=hosts, **WAYS["commands"])) as look:
            assert "server 172.17.0.2:80;" in (look.balancer.text or "")
    assert time.monotonic() - began < PATIENCE_S / 2
    (line,) = [each for each in logs if each["event"] == "source.not_awaited"]
    assert (line["source"], "No such file or directory" in line["reason"]) == ("b", True)


async def test_an_engine_that_hangs_is_waited_for_once(
    engine: FakeEngine, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers a ping and nothing else, so that it was waited for by the first question and by the look as well."""
    monkeypatch.setattr("lbwatch.wiring.look.PATIENCE_S", 0.3)
    async with FakeEngine(socket=tmp_path / "b.sock", seed=2) as other:
        other.fault = lambda request: None if "_ping" in request else stall(asyncio.Event())
        hosts = (f"a={engine.url}", f"b={other.url}")
        began = time.monotonic()
        async with looked(made(docker_host=hosts, **WAYS["commands"])) as look:
            assert "server 172.17.0.2:80;" in (look.balancer.text or "")
        assert time.monotonic() - began < PATIENCE_S / 2


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


async def test_of_a_recorded_engine_the_same_variables_are_read(made: Made, tmp_path: Path) -> None:
    """A recording is the output of `docker inspect`, with all secrets of all containers."""
    path = recording(tmp_path / "engine.json", "app")
    answers = json.loads(path.read_text())
    answers[0]["Config"]["Env"] = ["VIRTUAL_HOST=foo.tld", "PASSWORD=s3cret"]
    path.write_text(json.dumps(answers))
    for compat, env in (("", ()), ("nginx-proxy", (("VIRTUAL_HOST", "foo.tld"),))):
        async with build_look(made(compat=compat, test_command="true"), recorded=path) as look:
            assert isinstance(look.source, RecordedSource)
            (found,) = look.source.containers().values()
            assert found.env == env


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


async def test_a_look_does_not_warn_of_an_engine_that_anyone_may_command(made: Made, tmp_path: Path) -> None:
    """The daemon does, and `check`: a line on standard error at each command is in the way of its answer."""
    settings = made(docker_host="tcp://192.0.2.1:2375", test_command="true")
    with structlog.testing.capture_logs() as logs:
        async with build_look(settings, recorded=recording(tmp_path / "engine.json", "web-1")), build_tester(settings):
            pass
    assert logs == []


async def test_what_tests_alone_is_what_a_look_has(made: Made) -> None:
    """`check` tests although it cannot know what should be written."""
    async with build_tester(made(test_command="grep -q good {candidate}")) as tester:
        assert await tester.test("good")
        with pytest.raises(ConfigRejectedError):
            await tester.test("bad")
