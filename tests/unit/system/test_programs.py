"""Programs of the user's: found, cut into words, and run to their end."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from waiting import eventually

from lbwatch.system.programs import find_program, run_program, split_command, start_error, unusable_reason


async def test_a_program_s_exit_code_and_both_its_outputs_are_returned() -> None:
    """nginx prints its errors on the one, wrappers on the other."""
    code, printed = await run_program(("sh", "-c", "echo out; echo err >&2; printf '\\377'; exit 3"), timeout_s=10)
    assert code == 3
    assert printed == "out\nerr\n\N{REPLACEMENT CHARACTER}"


async def test_a_program_that_takes_too_long_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    """What it started would hold its output open, and whatever it locks."""
    marker = tmp_path / "pid"
    with pytest.raises(TimeoutError):
        await run_program(("sh", "-c", f"sleep 600 & echo $! > {marker}; wait"), timeout_s=1)
    sleeper = Path(f"/proc/{marker.read_text().strip()}/cmdline")
    await eventually(lambda: not sleeper.exists() or not sleeper.read_bytes(), what="the end of what it started")


async def test_a_stop_ends_a_program_and_all_that_it_started(tmp_path: Path) -> None:
    """Whoever stops lbwatch does not want its programs to go on."""
    marker = tmp_path / "pids"
    task = asyncio.create_task(run_program(("sh", "-c", f"sleep 600 & echo $$ $! > {marker}; wait"), timeout_s=600))
    pids = await eventually(lambda: marker.exists() and marker.read_text().split())
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    for pid in pids:
        await eventually(lambda pid=pid: not is_alive(int(pid)), what="its end")


def is_alive(pid: int) -> bool:
    """Return whether a process runs: one that nobody has reaped yet has no command line."""
    path = Path(f"/proc/{pid}/cmdline")
    return path.exists() and path.read_bytes() != b""


async def test_what_a_program_leaves_in_the_background_is_not_waited_for_and_goes_on(tmp_path: Path) -> None:
    """A reload command may start nginx, which keeps the output that it was given for as long as it lives."""
    marker = tmp_path / "pid"
    began = time.monotonic()
    code, printed = await run_program(
        ("sh", "-c", f"sleep 60 & echo $! > {marker}; echo started; exit 4"), timeout_s=20
    )
    pid = int(marker.read_text())
    try:
        assert (code, printed) == (4, "started\n")
        assert is_alive(pid)
        assert time.monotonic() - began < 10.0
    finally:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("printed", ["x" * 9, "x" * 10, "a" * 5 + "b" * 5, "a" * 5 + "m" * 200_000 + "b" * 5])
async def test_of_what_a_program_prints_the_beginning_and_the_end_are_kept(printed: str) -> None:
    """One that prints without end must not fill the memory; what is wrong stands at either end."""
    script = (
        f"import sys; sys.stdout.write({printed!r})"
        if len(printed) < 20
        else ("import sys; sys.stdout.write('a' * 5 + 'm' * 200_000 + 'b' * 5)")
    )
    _, kept = await run_program((sys.executable, "-c", script), timeout_s=20, max_bytes=10)
    assert kept == (printed if len(printed) <= 10 else "aaaaa\n...\nbbbbb")


async def test_endless_output_is_ended_by_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """And costs no memory until then."""
    with pytest.raises(TimeoutError):
        await run_program(("yes", "endless"), timeout_s=0.3)


async def test_it_leaves_no_descriptor_behind() -> None:
    """It is run at each change, for years."""
    before = set(os.listdir("/proc/self/fd"))
    await run_program(("true",), timeout_s=20)
    with pytest.raises(OSError, match="No such file"):
        await run_program(("/no/such/program",), timeout_s=20)
    with pytest.raises(TimeoutError):
        await run_program(("sleep", "60"), timeout_s=0.05)
    assert set(os.listdir("/proc/self/fd")) == before


async def test_a_program_is_apart_from_our_terminal() -> None:
    """Ctrl-C is for us, and a program that asks a question must not wait for its answer."""
    code, printed = await run_program(
        (sys.executable, "-c", "import os, sys; print(os.getsid(0), repr(sys.stdin.read()))"), timeout_s=10
    )
    session, asked = printed.split()
    assert (code, asked) == (0, "''")
    assert int(session) != os.getsid(0)


def test_a_program_is_found_by_path_or_name_and_where_debian_has_nginx(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ordinary user's PATH has no /usr/sbin; one that cannot be run says so itself when it is."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program("sh") is None
    assert find_program("no/such") is None
    assert find_program("ldconfig") in ("/usr/sbin/ldconfig", "/sbin/ldconfig")
    there = tmp_path / "there"
    there.write_text("no program")
    assert find_program(str(there)) == str(there)


def test_why_a_program_cannot_be_started_says_what_to_mend(tmp_path: Path) -> None:
    """A typo, a wrong path, a right that is missing and an interpreter that is: each is mended elsewhere."""
    absent = FileNotFoundError(2, "No such file or directory")
    assert unusable_reason("sh") is None
    assert start_error("ngnix", absent) == "there is no program ngnix here: mend its name, or give its whole path"
    script = tmp_path / "script"
    assert start_error(str(script), absent) == f"{script}: No such file or directory: mend its path"
    script.write_text("#!/no/such/interpreter\n")
    assert unusable_reason(str(script)) == f"{script}: it may not be run: make it executable"
    script.chmod(0o755)
    assert start_error(str(script), absent) == f"{script}: No such file or directory"


def test_a_command_is_cut_as_a_shell_would() -> None:
    """No shell ever runs it: only its quotes mean something."""
    assert split_command("docker exec 'my nginx' nginx -s reload; $x") == (
        *("docker", "exec", "my nginx", "nginx", "-s", "reload;", "$x"),
    )
    for text in ("", "  ", "'open"):
        with pytest.raises(ValueError, match=r"empty|quotation"):
            split_command(text)
