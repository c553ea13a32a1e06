"""What was verified is believed at the next start, as far as it is proof and no further."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from command import DEADLINE_S, WEB, command, environment, upstreams
from realnginx import RealNginx
from waiting import eventually

from lbwatch.balancers.nginx import evidence as module
from lbwatch.balancers.nginx.evidence import FILE, Evidence
from lbwatch.balancers.nginx.process import Process
from lbwatch.engines.fake import FakeEngine

TEXT = "# a file\n"
NGINX = Process(pid=4711, started=123456)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    path = tmp_path / "out.conf"
    path.write_text(TEXT)
    return path


async def kept(tmp_path: Path, output: Path, *, running: object = NGINX) -> Evidence:
    """Return the evidence as the next start finds it."""
    first = Evidence(tmp_path / FILE)
    first.keep(TEXT, running=running, outputs=(output,))
    await eventually(lambda: first._writing is None or first._writing.done(), what="it is written")
    return Evidence(tmp_path / FILE)


@pytest.mark.parametrize("running", [NGINX, ("c" * 64, 1_700_000_000_000_000_000)], ids=["process", "container"])
async def test_what_is_as_it_was_holds(running: object, tmp_path: Path, output: Path) -> None:
    """Or each restart of lbwatch costs long connections a reload."""
    evidence = await kept(tmp_path, output, running=running)
    assert await evidence.holds(TEXT, running=running, outputs=(output,))


def _put_back(output: Path) -> None:
    """As a backup is, once nginx did not take what came after it: the same file, but for the time of change."""
    os.link(output, output.with_name("backup"))
    _replace(output)
    os.replace(output.with_name("backup"), output)


def _replace(output: Path) -> None:
    output.with_name("new").write_text(TEXT)
    os.replace(output.with_name("new"), output)


CHANGED: dict[str, Callable[[Path], None]] = {
    "gone": Path.unlink,
    "replaced by an equal one": _replace,
    "put back": _put_back,
    "written again": lambda output: output.write_text(TEXT) and None,
}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED.keys())
async def test_a_file_that_was_touched_proves_nothing(
    change: Callable[[Path], None], tmp_path: Path, output: Path
) -> None:
    """nginx may have read it in between."""
    evidence = await kept(tmp_path, output)
    await asyncio.sleep(0.02)  # the kernel's clock for files has steps of 4 or 10 ms
    change(output)
    assert not await evidence.holds(TEXT, running=NGINX, outputs=(output,))


@pytest.mark.parametrize(
    "running",
    [None, Process(pid=4711, started=123457), Process(pid=4712, started=123456), ("c", 1), ("true",), (NGINX, NGINX)],
    ids=str,
)
async def test_another_nginx_proves_nothing(running: object, tmp_path: Path, output: Path) -> None:
    """Nor one that cannot be told from the next: where a command reloads it unseen, or while it is upgraded."""
    evidence = await kept(tmp_path, output)
    assert not await evidence.holds(TEXT, running=running, outputs=(output,))
    evidence = await kept(tmp_path, output, running=running)
    if running is None or (isinstance(running, tuple) and running != ("c", 1)):
        assert not (tmp_path / FILE).exists()
        assert not await evidence.holds(TEXT, running=running, outputs=(output,))


async def test_another_boot_another_text_and_another_output_prove_nothing(
    tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pid and its start come again after a boot; two lbwatch may share a folder by mistake."""
    evidence = await kept(tmp_path, output)
    assert not await evidence.holds("# another\n", running=NGINX, outputs=(output,))
    os.link(output, tmp_path / "other.conf")
    assert not await evidence.holds(TEXT, running=NGINX, outputs=(tmp_path / "other.conf",))
    evidence = await kept(tmp_path, output)
    boot = tmp_path / "boot"
    boot.write_text("another\n")
    monkeypatch.setattr(module, "_BOOT", boot)
    assert not await evidence.holds(TEXT, running=NGINX, outputs=(output,))


PLANTED: dict[str, Callable[[Path], None]] = {
    "nothing": lambda path: None,
    "no JSON": lambda path: path.write_text("{") and None,
    "no text": lambda path: path.write_bytes(b"\xff\xfe") and None,
    "something else": lambda path: path.write_text('{"nginx": 1}') and None,
    "much": lambda path: path.write_text('{"nginx": "' + "x" * 100_000) and None,
    "nested": lambda path: path.write_text("[" * 4_000) and None,
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "a link": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED.keys())
async def test_whatever_lies_in_its_place_is_no_proof_and_holds_nothing_up(
    plant: Callable[[Path], None], tmp_path: Path, output: Path
) -> None:
    """It is one reload that it costs."""
    plant(tmp_path / FILE)
    assert not await Evidence(tmp_path / FILE).holds(TEXT, running=NGINX, outputs=(output,))
    evidence = await kept(tmp_path, output)
    assert await evidence.holds(TEXT, running=NGINX, outputs=(output,)) == (not (tmp_path / FILE).is_dir())


async def test_what_is_dropped_is_gone_and_the_latest_counts(tmp_path: Path, output: Path) -> None:
    """Changes may come faster than a slow disk takes them."""
    evidence = Evidence(tmp_path / FILE)
    for _ in range(20):
        evidence.keep(TEXT, running=NGINX, outputs=(output,))
        evidence.drop()
    await eventually(lambda: evidence._next is None and evidence._writing is not None and evidence._writing.done())
    assert not (tmp_path / FILE).exists()
    for _ in range(20):
        evidence.drop()
        evidence.keep(TEXT, running=NGINX, outputs=(output,))
    await eventually((tmp_path / FILE).exists)
    assert await evidence.holds(TEXT, running=NGINX, outputs=(output,))


async def test_nowhere_and_where_nothing_can_be_kept_is_no_error(tmp_path: Path, output: Path) -> None:
    """Routing needs it not."""
    for path in (None, tmp_path / "no" / "such" / FILE):
        evidence = Evidence(path)
        evidence.keep(TEXT, running=NGINX, outputs=(output,))
        evidence.drop()
        assert not await evidence.holds(TEXT, running=NGINX, outputs=(output,))


async def test_a_restart_of_lbwatch_reloads_only_what_is_not_as_it_was(tmp_path: Path, real_nginx: RealNginx) -> None:
    """Each reload ends what clients keep open for long; a package's upgrade restarts lbwatch and changes nothing."""
    log = tmp_path / "log"
    async with FakeEngine(socket=tmp_path / "docker.sock", lag_s=0.0) as engine:
        engine.containers.run(name="web-1", labels=WEB)
        words = command(
            "run",
            docker_host=engine.url,
            output=real_nginx.output,
            nginx_pidfile=real_nginx.pidfile,
            nginx_conf=real_nginx.conf,
            control_socket=tmp_path / "control",
            state_dir=tmp_path / "state",
            log_format="json",
            log_level="debug",
        )

        async def run_once() -> list[str]:
            """Return what became of nginx until all was in step."""
            with log.open("wb") as file:
                process = await asyncio.create_subprocess_exec(*words, env=environment(), stderr=file)
            try:
                done = ("nginx.reloaded", "nginx.recalled")
                await eventually(lambda: "reconcile.finished" in log.read_text(), within=DEADLINE_S)
                return [each for each in done for _ in range(log.read_text().count(each))]
            finally:
                process.terminate()
                assert await process.wait() == 0

        assert await run_once() == ["nginx.reloaded"]
        workers = real_nginx.worker_pids()
        assert await run_once() == ["nginx.recalled"]
        assert await run_once() == ["nginx.recalled"]
        assert real_nginx.worker_pids() == workers
        engine.containers.run(name="web-2", labels=WEB)
        assert await run_once() == ["nginx.reloaded"]
        assert upstreams(real_nginx.output).count(":80;") == 2
        real_nginx.output.write_text(real_nginx.output.read_text())
        assert await run_once() == ["nginx.reloaded"]
        real_nginx.stop()
        real_nginx.start()
        assert await run_once() == ["nginx.reloaded"]
        assert await run_once() == ["nginx.recalled"]


async def test_of_two_files_each_counts(tmp_path: Path, output: Path) -> None:
    """What nginx was seen to run is both."""
    stream = tmp_path / "out.stream"
    stream.write_text("# stream\n")
    first = Evidence(tmp_path / FILE)
    first.keep(TEXT, running=NGINX, outputs=(output, stream))
    await eventually(lambda: first._writing is None or first._writing.done(), what="it is written")
    evidence = Evidence(tmp_path / FILE)
    assert await evidence.holds(TEXT, running=NGINX, outputs=(output, stream))
    assert not await evidence.holds(TEXT, running=NGINX, outputs=(output,))
    assert not await evidence.holds(TEXT, running=NGINX, outputs=(stream, output))
    _replace(stream)
    assert not await evidence.holds(TEXT, running=NGINX, outputs=(output, stream))
