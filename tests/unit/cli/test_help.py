"""The text of `--help`, as people see it."""

import pytest
from command import ESCAPE, lbwatch, on_a_terminal, plain
from usersettings import setting_names

COMMANDS = [
    "run",
    "check",
    "explain",
    "render",
    "events",
    "drain",
    "undrain",
    "pause",
    "resume",
    "health",
    "demo",
    "completion",
]


async def test_the_overview_names_each_command_and_where_the_settings_are() -> None:
    """It is the first thing that a user sees of it, with or without the flag."""
    code, out, err = await lbwatch("--help")
    assert (code, err) == (0, "")
    assert [
        line.split()[0] for line in out.splitlines() if line.startswith("  ") and line[2] in "abcdefghprux"
    ] == COMMANDS
    assert "lbwatch run --help" in out
    assert await lbwatch() == (0, out, "")


async def test_all_settings_stand_in_the_help_of_run_as_users_write_them() -> None:
    """Types and defaults were the code's: FLOAT, `()`."""
    _, out, _ = await lbwatch("run", "--help")
    for name in setting_names():
        assert f"  --{name.replace('_', '-')} " in out
    flat = " ".join(out.split())
    assert "--reload-interval DURATION" in flat
    assert "(default: 1s)" in flat
    assert "--networks LIST" in flat
    assert "--expose labelled|all" in flat
    assert not {"FLOAT", "()", "None", "STR", "PATH"} & {*flat.split()}


@pytest.mark.parametrize("command", COMMANDS[1:])
async def test_elsewhere_a_commands_own_flags_come_first_and_few_settings_follow(command: str) -> None:
    """`drain` has one argument, which nobody finds below two dozen settings."""
    code, out, err = await lbwatch(command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: lbwatch {command} ")
    assert out.count("\n  --") <= 8
    assert len(out.splitlines()) <= 40
    assert "lbwatch run --help" in " ".join(out.split())


@pytest.mark.parametrize(("columns", "widest"), [(60, 59), (80, 79), (200, 100), (0, 79)])
async def test_help_fits_the_terminal(columns: int, widest: int) -> None:
    """A line that the terminal breaks is one that nobody reads; one that does not know its width has 80 columns."""
    _, out = await on_a_terminal("run", "--help", columns=columns)
    assert ESCAPE not in out
    assert widest - 10 < max(map(len, plain(out).splitlines())) <= widest


async def test_help_is_given_whatever_the_settings_are() -> None:
    """Who has a wrong setting asks for help."""
    code, out, _ = await lbwatch("run", "--help", "--log-level", "loud", environ={"LBWATCH_CONFIG": "/nowhere"})
    assert code == 0
    assert out.startswith("Usage: lbwatch run")
