"""Programs of the user's: found, cut into words, and run to their end."""

import os
import sys
from pathlib import Path

import pytest
from waiting import eventually

from lbwatch.system.programs import find_program, run_program, split_command


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


def test_a_command_is_cut_as_a_shell_would() -> None:
    """No shell ever runs it: only its quotes mean something."""
    assert split_command("docker exec 'my nginx' nginx -s reload; $x") == (
        *("docker", "exec", "my nginx", "nginx", "-s", "reload;", "$x"),
    )
    for text in ("", "  ", "'open"):
        with pytest.raises(ValueError, match=r"empty|quotation"):
            split_command(text)
