"""What signals do, in processes of their own: a stop ends each of them in time, whatever it is busy with."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lbwatch.system import signals

DEADLINE_S = 30.0


def started(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Return a process of Python, once it has said that it is ready."""
    words = [
        sys.executable,
        "-c",
        f"from lbwatch.system import signals\nimport os, time\n{script}",
        *map(str, arguments),
    ]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Return its exit code and what it said last."""
    try:
        said, _ = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
    return process.returncode, said


READY = "print('ready', flush=True)\n"
BUSY = {
    "sleeps": "time.sleep(60)",
    "waits for a lock": "import threading; lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "waits for a thread": "import threading; t = threading.Thread(target=time.sleep, args=(60,)); t.start(); t.join()",
    "opens a pipe": "import sys; os.mkfifo(sys.argv[1]); open(sys.argv[1])",
    "reckons": "while True: pass",
}


@pytest.mark.parametrize("number", signals.STOPPING)
def test_before_anything_has_begun_a_stop_is_an_end(number: signal.Signals) -> None:
    """To be told to stop is no failure, however early."""
    process = started(f"signals.end_at_once()\n{READY}time.sleep(60)")
    process.send_signal(number)
    assert ended(process) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGHUP, *signals.MEANINGLESS])
def test_before_anything_has_begun_all_others_are_nothing(number: signal.Signals) -> None:
    """A reload that is asked for while it starts must not end it; nginx's own signals never."""
    process = started(f"signals.end_at_once()\n{READY}time.sleep(0.2)\nprint('there', flush=True)")
    process.send_signal(number)
    assert ended(process) == (0, "there\n")


@pytest.mark.parametrize("busy", BUSY.values(), ids=BUSY.keys())
def test_an_end_within_a_time_waits_for_nothing(busy: str, tmp_path: Path) -> None:
    """A thread or a file may hang for ever, and the service manager waits."""
    late = "lambda: print('late', flush=True)"
    process = started(f"signals.end_within(0.1, code=7, late={late})\n{READY}{busy}", tmp_path / "pipe")
    began = time.monotonic()
    assert ended(process) == (7, "late\n")
    assert time.monotonic() - began < 5.0


def test_the_earliest_end_that_was_asked_for_counts() -> None:
    """A stop that began may not begin again with whatever comes next; the code is the latest."""
    process = started(f"signals.end_within(0.1, code=1)\nsignals.end_within(60, code=3)\n{READY}time.sleep(60)")
    assert ended(process) == (3, "")


def test_last_words_that_hang_hold_up_nothing() -> None:
    """They go to a log that may be what hangs."""
    process = started(f"signals.end_within(0.1, code=5, late=lambda: time.sleep(60))\n{READY}time.sleep(60)")
    assert ended(process) == (5, "")


LOOP = """
import asyncio
async def run():
    stopped = asyncio.Event()
    def stop():
        print("stop", flush=True)
        stopped.set()
    with signals.caught(asyncio.get_running_loop(), stop=stop, others={1: lambda: print("again", flush=True)}):
        print("ready", flush=True)
        WAIT
signals.STOP_LIMIT_S = 0.3
asyncio.run(run())
"""


def test_in_a_loop_each_signal_calls_what_it_is_for() -> None:
    """Also while the loop waits for nothing else, for as long as it likes."""
    process = started(LOOP.replace("WAIT", "await stopped.wait()"))
    process.send_signal(signal.SIGHUP)
    assert process.stdout is not None
    assert process.stdout.readline() == "again\n"
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (0, "stop\n")


@pytest.mark.parametrize("wait", ["time.sleep(60)", "await asyncio.Event().wait()", "os.read(os.pipe()[0], 1)"])
def test_a_loop_that_does_not_obey_a_stop_is_ended(wait: str) -> None:
    """Blocked, or busy with something that never comes: exit code 0 all the same, it was told to stop."""
    process = started(LOOP.replace("WAIT", wait))
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    code, said = ended(process)
    assert code == 0
    assert set(said.split()) <= {"stop"}


def test_a_command_is_ended_by_term_as_by_ctrl_c_also_where_nobody_reads_its_answer() -> None:
    """`timeout 5 lbwatch explain | less`: it puts its things away, unless what it prints to hangs."""
    command = "signals.end_at_once()\nsignals.interrupt()\nsignals.STOP_LIMIT_S = 0.3\n"
    process = started(f"{command}try:\n    {READY}    time.sleep(60)\nexcept KeyboardInterrupt:\n    print('put away')")
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (0, "put away\n")
    hangs = "async def hangs():\n    print('ready', flush=True)\n    while True: os.write(1, bytes(65536))"
    # Where SIGINT is ignored, as in the background of a script, asyncio does not catch it.
    process = started(f"import asyncio\n{command}{hangs}\ntry: asyncio.run(hangs())\nexcept KeyboardInterrupt: pass")
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE_S) == 0
    assert process.stdout is not None
    process.stdout.close()


async def test_afterwards_all_is_as_before() -> None:
    """Tests, and commands in one process, must not inherit a loop that is closed."""
    numbers = (*signals.STOPPING, signal.SIGHUP)
    before, descriptors = [signal.getsignal(number) for number in numbers], set(os.listdir("/proc/self/fd"))
    with signals.caught(asyncio.get_running_loop(), stop=lambda: None, others={signal.SIGHUP: lambda: None}):
        assert [signal.getsignal(number) for number in numbers] != before
    assert [signal.getsignal(number) for number in numbers] == before
    assert set(os.listdir("/proc/self/fd")) == descriptors
