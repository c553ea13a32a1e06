"""The program as a process: from its first instant to its end, whatever its signals, its outputs and its threads do."""

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command import DEADLINE_S, WEB, command, environment, lbwatch, upstreams
from waiting import eventually

from lbwatch.engines.fake import FakeEngine
from lbwatch.system.signals import STOPPING

IN_TIME_S = 3.0
"""A stop takes no longer, whatever hangs; the rest that is allowed below is the machine's."""

Start = Callable[..., Awaitable[Process]]


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[FakeEngine]:
    async with FakeEngine(socket=tmp_path / "docker.sock", lag_s=0.0) as engine:
        yield engine


@pytest.fixture
async def start(tmp_path: Path, engine: FakeEngine) -> AsyncIterator[Start]:
    """Starts a daemon before an nginx that believes all, with these outputs."""
    processes: list[Process] = []

    async def started(
        *, inside: tuple[str, ...] = (), stderr: Any = None, environ: dict[str, str] | None = None, **more: object
    ) -> Process:
        settings = {
            "docker_host": engine.url,
            "output": tmp_path / "out.conf",
            "test_command": "true",
            "reload_command": "true",
            "nginx_pidfile": tmp_path / "none.pid",
            "control_socket": tmp_path / "control",
            "state_dir": tmp_path / "state",
            "log_format": "json",
        }
        words = (*inside, *command("run", **(settings | more)))
        processes.append(
            await asyncio.create_subprocess_exec(*words, env=environment(**(environ or {})), stderr=stderr)
        )
        return processes[-1]

    yield started
    for each in processes:
        if each.returncode is None:
            each.kill()
            await each.wait()


async def ends(process: Process, *, within: float = DEADLINE_S) -> int:
    async with asyncio.timeout(within):
        return await process.wait()


async def is_stopped_in_time(process: Process) -> None:
    began = time.monotonic()
    process.terminate()
    assert await ends(process) == 0
    assert time.monotonic() - began < IN_TIME_S + 2.0


async def routes(folder: Path, engine: FakeEngine, *, many: int = 1) -> None:
    """Make sure that what is started now gets into the file."""
    for number in range(many):
        engine.containers.run(name=f"web-{number}", labels=WEB)
    await eventually(
        lambda: upstreams(folder / "out.conf").count(":80;") == many, within=DEADLINE_S, what="all are routed"
    )


def catches(process: Process) -> bool:
    """Return whether a process has a handler for SIGTERM: before that it is not ours but Python's own start."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    (mask,) = [int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:")]
    return bool(mask & 1 << signal.SIGTERM - 1)


# -- signals


FIRST = """
import signal, sys, types
from lbwatch.__main__ import main
print(*{"asyncio", "dataclasses", "msgspec", "rich", "structlog"} & {*sys.modules}, flush=True)
command = lambda _: print(signal.getsignal(signal.SIGTERM).__module__) or 0
sys.modules["lbwatch.cli.main"] = types.SimpleNamespace(main=command)
main()
"""


def test_signals_are_handled_before_anything_else_is_imported() -> None:
    """All of it takes half a second, more on a machine that boots: a stop comes in that time, too."""
    answer = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["lbwatch.system.signals"]


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.8])
async def test_a_stop_at_any_instant_is_a_quiet_success(start: Start, after_s: float) -> None:
    """A service manager that changes its mind must not find a failed unit."""
    process = await start(stderr=PIPE)
    await eventually(lambda: catches(process), within=DEADLINE_S, what="our own first line")
    await asyncio.sleep(after_s)
    process.send_signal(STOPPING[int(after_s * 100) % 3])
    assert process.stderr is not None
    log = (await process.stderr.read()).decode()
    assert await ends(process) == 0
    assert [json.loads(line)["level"] for line in log.splitlines() if json.loads(line)["level"] != "info"] == []


async def test_all_signals_that_mean_no_stop_are_borne_from_the_start_on(
    start: Start, tmp_path: Path, engine: FakeEngine
) -> None:
    """A package's hook sends HUP as soon as there is a process; logrotate sends nginx's USR1 to the wrong one."""
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = await start(stderr=file)
    await eventually(lambda: catches(process), within=DEADLINE_S)
    while "daemon.started" not in log.read_text():
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            process.send_signal(number)
        await asyncio.sleep(0.01)
    await routes(tmp_path, engine)
    await is_stopped_in_time(process)


async def test_a_thousand_reloads_asked_for_at_once_are_one_or_two(
    start: Start, tmp_path: Path, engine: FakeEngine
) -> None:
    """A script in a loop costs as much as one that is not."""
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = await start(stderr=file)
    await routes(tmp_path, engine)
    await eventually(lambda: '"joined"' in log.read_text(), within=DEADLINE_S)  # that one is over
    before = log.read_text().count("nginx.reloaded")
    began = time.monotonic()
    for _ in range(1000):
        process.send_signal(signal.SIGHUP)
        await asyncio.sleep(0)
    took_s = time.monotonic() - began
    await eventually(lambda: "template.loaded" in log.read_text(), within=DEADLINE_S)
    await is_stopped_in_time(process)
    loads = log.read_text().count("template.loaded")
    assert 1 <= loads <= 2 + took_s
    assert log.read_text().count("nginx.reloaded") == before, "the text is as it was"


async def test_a_second_stop_while_it_stops_changes_nothing(start: Start, tmp_path: Path, engine: FakeEngine) -> None:
    """People press Ctrl-C twice."""
    process = await start()
    await routes(tmp_path, engine)
    end = asyncio.create_task(ends(process))
    while not end.done():
        for number in STOPPING:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)  # the loop's own way would take its exit code away
        await asyncio.sleep(0.001)
    assert await end == 0


# -- standard error


@pytest.fixture
def pipe() -> Iterator[int]:
    """A pipe of one page, which is full, and which nobody reads."""
    ours, theirs = os.pipe()
    os.write(theirs, bytes(fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 4096)))
    yield theirs
    os.close(ours)
    os.close(theirs)


@pytest.fixture
def stopped_terminal() -> Iterator[int]:
    """A terminal on which somebody pressed Ctrl-S."""
    ours, theirs = pty.openpty()
    os.write(ours, b"\x13")
    yield theirs
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("kind", ["pipe", "stopped_terminal"])
async def test_a_log_that_nobody_reads_holds_up_neither_routing_nor_the_end(
    kind: str, request: pytest.FixtureRequest, start: Start, tmp_path: Path, engine: FakeEngine
) -> None:
    """4 KiB of log are eight containers; a dead server would stay for good."""
    wrong = {"LBWATCH_NO_SUCH": "1"}  # which is logged before anything else
    process = await start(stderr=request.getfixturevalue(kind), log_level="debug", environ=wrong)
    await routes(tmp_path, engine, many=30)
    for number in range(30):
        engine.containers.kill(f"web-{number}", "SIGKILL")
    await eventually(lambda: ":80;" not in upstreams(tmp_path / "out.conf"), within=DEADLINE_S, what="all are gone")
    code, out, err = await lbwatch("explain", control_socket=tmp_path / "control", docker_host=engine.url)
    assert (code, err) == (0, "")
    assert "web-29" in out
    await is_stopped_in_time(process)


@pytest.mark.parametrize("shut", ["2>&-", "<&- >&- 2>&-"])
async def test_closed_outputs_change_nothing(shut: str, start: Start, tmp_path: Path, engine: FakeEngine) -> None:
    """A daemon's starter closes them by tradition; no file of ours may get their numbers."""
    process = await start(inside=("sh", "-c", f'exec "$@" {shut}', "sh"))
    await routes(tmp_path, engine)
    assert os.readlink(f"/proc/{process.pid}/fd/2") == os.devnull
    await is_stopped_in_time(process)


@pytest.mark.parametrize(("more", "code"), [({"log_level": "loud"}, 2), ({"output": "/no/such/folder/x"}, 2)])
async def test_exit_codes_are_the_same_without_standard_error(start: Start, more: dict[str, object], code: int) -> None:
    """A script asks for the code and not for the words."""
    assert await ends(await start(inside=("sh", "-c", 'exec "$@" 2>&-', "sh"), **more)) == code


async def test_an_answer_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    """`lbwatch completion bash > file` on a full disk must not say that all went well."""
    with open("/dev/full", "wb") as full:
        process = await asyncio.create_subprocess_exec(
            *command("completion", "bash"), env=environment(), stdout=full, stderr=PIPE
        )
        _, err = await process.communicate()
    assert process.returncode == 1
    assert err.decode() == "lbwatch: standard output cannot be written: No space left on device\n"


# -- what hangs, and what is a bug


async def with_patch(start: Start, patch: str, **more: object) -> Process:
    """Start a daemon whose code is another one first."""
    script = f"import sys\nfrom lbwatch.__main__ import main\n{patch}\nsys.argv[1:4] = []\nmain()"
    return await start(inside=(sys.executable, "-c", script), **more)


HANGS = {
    "a thread of a pass": "files.replace",
    "the loop itself": "files.stamp",
    "a program": "",
}


@pytest.mark.parametrize("what", HANGS)
async def test_a_stop_comes_in_time_whatever_hangs(what: str, start: Start, tmp_path: Path, engine: FakeEngine) -> None:
    """A dead file server keeps whoever touches it for ever, and the service manager waits."""
    engine.containers.run(name="web-1", labels=WEB)
    marker, program = tmp_path / "hangs", tmp_path / "sleeps"
    program.write_text(f"#!/bin/sh\necho $$ > {marker}\nsleep 600 & wait\n")
    program.chmod(0o755)
    patch = f"""
import time
from lbwatch.system import files
def hang(*_, **__):
    open({str(marker)!r}, "w").write("it does")
    time.sleep(600)
{HANGS[what]} = hang
"""
    if what == "a program":
        process = await start(test_command=program)
    else:
        process = await with_patch(start, patch)
    await eventually(lambda: marker.exists() and marker.read_text().strip(), within=DEADLINE_S, what="it hangs")
    await is_stopped_in_time(process)
    if what == "a program":
        pid = marker.read_text().strip()
        await eventually(lambda: not Path(f"/proc/{pid}").exists(), what="the program was ended, too")


async def test_a_bug_in_one_task_is_exit_code_1_and_one_line_that_says_where(start: Start, tmp_path: Path) -> None:
    """A supervisor starts it anew, and whoever reads the log can report it."""
    log = tmp_path / "log"
    patch = "from lbwatch.reconciler import Reconciler\ndef wrong(*_, **__): raise KeyError('oops')\nReconciler._pass = wrong"
    with log.open("wb") as file:
        process = await with_patch(start, patch, stderr=file)
    assert await ends(process) == 1
    (line,) = [each for each in map(json.loads, log.read_text().splitlines()) if each["event"] == "daemon.failed"]
    assert "oops" in line["error"]
    assert "in wrong" in line["traceback"]


NO_THREAD = """
import threading
begin = threading.Thread.start
def start(self):
    refuse(RuntimeError("can't start new thread"))
    begin(self)
threading.Thread.start = start
"""

NO_PROCESS = """
import subprocess
begin = subprocess.Popen.__init__
def start(self, *args, **kwargs):
    refuse(BlockingIOError(11, "Resource temporarily unavailable"))
    begin(self, *args, **kwargs)
subprocess.Popen.__init__ = start
"""


@pytest.mark.parametrize(("limit", "event"), [(NO_THREAD, "thread.refused"), (NO_PROCESS, "nginx.rejected")])
async def test_where_no_thread_or_process_can_be_had_the_daemon_goes_on_and_tries_again(
    limit: str, event: str, start: Start, tmp_path: Path, engine: FakeEngine
) -> None:
    """`pids.max` counts both: a neighbour's fork bomb must not end routing."""
    engine.containers.run(name="web-1", labels=WEB)
    log, full, refused = tmp_path / "log", tmp_path / "full", tmp_path / "refused"
    full.touch()
    refused.touch()
    patch = f"""
import os
def refuse(error):
    if os.path.exists({str(full)!r}):
        with open({str(refused)!r}, "a") as file:
            file.write("no\\n")
        raise error
{limit}
"""
    with log.open("wb") as file:
        process = await with_patch(start, patch, stderr=file)
    # The log needs a thread as well, and waits for it likewise.
    await eventually(lambda: refused.read_text().count("no") >= 4, within=DEADLINE_S, what="it tries again")
    full.unlink()
    await eventually(lambda: ":80;" in upstreams(tmp_path / "out.conf"), within=DEADLINE_S)
    await eventually(lambda: event in log.read_text(), within=DEADLINE_S, what="it is told")
    await is_stopped_in_time(process)
