"""The command line: settings, exit codes, and what a start costs."""

import json
import os
import sys
from pathlib import Path

import pytest
from command import WEB, lbwatch
from cputime import start_cpu_s

from lbwatch.engines.fake import FakeEngine

_HEAVY = frozenset(
    {
        *("aiohttp", "asyncio", "crossplane", "jinja2", "msgspec", "prometheus_client", "rich", "structlog"),
        *("argparse", "email", "http", "tomllib", "lbwatch.core.model", "lbwatch.wiring"),
    }
)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"template": "{folder}/wrong.j2"}, ["wrong.j2:2", "Expected an expression"]),
        ({"template": "{folder}/undefined.j2"}, ["undefined.j2:3", "colour"]),
        ({"template": "nowhere.j2"}, ["nowhere.j2", "no such template"]),
        ({"output": "/nowhere/lbwatch.conf"}, ["output", "/nowhere", "does not exist"]),
        ({"output": "/proc/lbwatch.conf"}, ["output", "/proc", "cannot be written"]),
        ({"docker_host": "ftp://engine"}, ["docker_host", "ftp://engine", "unix://"]),
        ({"label_prefix": "Übel"}, ["label_prefix", "Übel"]),
        ({"nginx_command": "'"}, ["nginx_command"]),
        ({"output": "/tmp/" + "x" * 300}, ["output", "too long"]),
        ({"template": "./none.j2"}, ["none.j2", "looked in {here}"]),
    ],
)
async def test_what_is_wrong_at_the_start_ends_it_with_one_line(
    engine: FakeEngine, tmp_path: Path, settings: dict[str, str], words: list[str]
) -> None:
    """Exit code 2 tells a supervisor that trying again is of no use; the line tells a person why."""
    (tmp_path / "wrong.j2").write_text("# fine\n{% for %}\n")
    (tmp_path / "undefined.j2").write_text(
        "# fine\n{% for upstream in upstreams %}\n{{ upstream.colour }}\n{% endfor %}\n"
    )
    given = {name: value.format(folder=tmp_path) for name, value in settings.items()}
    defaults = {"docker_host": engine.url, "output": str(tmp_path / "out.conf")}
    code, out, err = await lbwatch("run", **(defaults | given))
    assert (code, out) == (2, "")
    line, *quoted = err.splitlines()
    assert [word for word in words if word.format(here=Path.cwd()) not in line] == []
    assert not quoted or settings.get("template", "").endswith(("wrong.j2", "undefined.j2")), err


@pytest.mark.parametrize("command", [("run",), ("render",), ("check",), ("explain",)])
async def test_a_template_error_quotes_the_lines_around_it(
    engine: FakeEngine, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """Nobody should have to open the file to see what is meant."""
    engine.containers.run(name="web-1", labels=WEB)
    template = tmp_path / "mine.j2"
    template.write_text(
        "# 1\n# 2\n{% for upstream in upstreams %}\n    {{ upstream.colour }}\n{% endfor %}\n# 6\n# 7\n"
    )
    settings = {"docker_host": engine.url, "output": tmp_path / "out.conf", "template": template}
    code, out, err = await lbwatch(*command, **settings)
    assert code == (1 if command == ("check",) else 2), out + err
    assert f"{template}:4: UndefinedError" in out + err
    column = " " * 18  # of the words of `check`
    quoted = [line.removeprefix(column) for line in (out + err).splitlines() if " | " in line]
    assert quoted == [
        "  2 | # 2",
        "  3 | {% for upstream in upstreams %}",
        "> 4 |     {{ upstream.colour }}",
        "  5 | {% endfor %}",
        "  6 | # 6",
    ]


@pytest.mark.parametrize(
    ("toml", "word"),
    [
        ("[run]\nreload_interval = 1", "run"),
        ("config = 'x'", "config"),
        ("render = 5", "render"),
        ("networks = [1, true]", "networks"),
        ("output = true", "output"),
        ("reload_interval = true", "reload_interval"),
        ("expose = 1", "expose"),
    ],
)
async def test_what_is_no_setting_in_the_file_is_an_error(tmp_path: Path, toml: str, word: str) -> None:
    """A key that is passed over in silence is a setting that somebody believes in."""
    (tmp_path / "lbwatch.toml").write_text(toml)
    code, _, err = await lbwatch("render", config=tmp_path / "lbwatch.toml")
    assert code == 2
    assert len(err.splitlines()) == 1
    assert word in err


async def test_a_name_that_is_no_utf8_ends_no_command(engine: FakeEngine, tmp_path: Path) -> None:
    """A traceback in the middle of the answer would hide the rest of it."""
    output = tmp_path / os.fsdecode(b"\xff.conf")
    strict = {"PYTHONIOENCODING": "utf-8:strict"}  # as in most people's language; C.UTF-8 is lenient
    _, out, err = await lbwatch("check", docker_host=engine.url, output=output, environ=strict)
    assert "\\udcff.conf can be replaced" in out
    assert "  daemon  " in out, "the last part"
    assert "Traceback" not in err


async def test_a_shell_is_completed_whatever_is_set() -> None:
    """It asks at each of its starts, and would complain at each."""
    code, out, err = await lbwatch("completion", "bash", environ={"LBWATCH_CONFIG": "/nowhere", "LBWATCH_EXPOSE": "?"})
    assert (code, err) == (0, "")
    assert out.startswith("# Completion")


async def test_an_unknown_variable_is_only_a_warning(engine: FakeEngine) -> None:
    """Docker's links inject variables of any name."""
    injected = {"LBWATCH_PORT_80_TCP": "x", "LBWATCH_RELOD_INTERVAL": "1s"}
    code, _, err = await lbwatch("render", docker_host=engine.url, environ=injected)
    assert code == 0
    port, misspelt = map(json.loads, err.splitlines())
    assert port["variable"] == "LBWATCH_PORT_80_TCP"
    assert "advice" not in port
    assert misspelt["variable"] == "LBWATCH_RELOD_INTERVAL"
    assert misspelt["advice"] == "did you mean LBWATCH_RELOAD_INTERVAL?"


@pytest.mark.parametrize(
    ("words", "most", "without"),
    [
        (("--version",), 100, _HEAVY),
        (("health", "--status-listen", "127.0.0.1:1"), 120, _HEAVY),
        (("--help",), 105, _HEAVY),
        (("run", "--help"), 105, _HEAVY),
        (("drain", "x", "--control-socket", "/nowhere"), 530, {"jinja2", "crossplane", "lbwatch.engines"}),
        (("render", "--docker-host", "unix:///nowhere"), 750, {"lbwatch.engines.fake", "lbwatch.daemon"}),
        (("explain", "--docker-host", "unix:///nowhere"), 750, {"lbwatch.engines.fake", "lbwatch.daemon"}),
        (("run", "--docker-host", "nonsense"), 800, {"lbwatch.engines.fake", "lbwatch.cli.output"}),
    ],
)
async def test_a_command_imports_what_it_needs_and_no_more(
    words: tuple[str, ...], most: int, without: set[str]
) -> None:
    """
    Imports are what a start costs, and a HEALTHCHECK starts every few seconds.

    They are counted, since the time that they take says more about the machine.
    """
    _, _, err = await lbwatch(*words, environ={"PYTHONPROFILEIMPORTTIME": "1"})
    names = [line.rpartition("|")[2].strip() for line in err.splitlines() if line.startswith("import time:")]
    assert len(names) <= most
    assert {name for name in names if name in without or name.split(".")[0] in without} == set()


@pytest.mark.parametrize("words", [("--version",), ("run", "--help"), ("health", "--status-listen", "127.0.0.1:1")])
def test_a_command_that_is_started_often_costs_little_more_than_python_itself(words: tuple[str, ...]) -> None:
    """Five times as much, where importing an HTTP client alone costs fifteen; each image's HEALTHCHECK runs one."""
    bare_s = start_cpu_s(sys.executable, "-c", "pass", times=3)
    assert start_cpu_s(sys.executable, "-m", "lbwatch", *words, times=3) < 12 * bare_s
