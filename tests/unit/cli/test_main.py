"""The command line: settings, exit codes, completion, and what a start costs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command import WEB, lbwatch

from lbwatch.engines.fake import FakeEngine

_HEAVY = frozenset({"aiohttp", "asyncio", "crossplane", "jinja2", "msgspec", "prometheus_client", "structlog"})


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
    quoted = [line for line in (out + err).splitlines() if " | " in line]
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


async def test_an_unknown_variable_is_only_a_warning(engine: FakeEngine) -> None:
    """Docker's links inject variables of any name."""
    code, _, err = await lbwatch("render", docker_host=engine.url, environ={"LBWATCH_PORT_80_TCP": "x"})
    assert code == 0
    assert json.loads(err)["variable"] == "LBWATCH_PORT_80_TCP"


@pytest.mark.parametrize(
    ("words", "most", "without"),
    [
        (("--version",), 190, {*_HEAVY, "rich", "lbwatch.wiring"}),
        (("health", "--status-listen", "127.0.0.1:1"), 190, {*_HEAVY, "rich", "http", "email", "lbwatch.wiring"}),
        (("--help",), 370, {*_HEAVY, "lbwatch.wiring"}),
        (("drain", "x", "--control-socket", "/nowhere"), 490, {"jinja2", "crossplane", "lbwatch.engines"}),
        (("render", "--docker-host", "unix:///nowhere"), 620, {"lbwatch.engines.fake", "lbwatch.daemon"}),
        (("explain", "--docker-host", "unix:///nowhere"), 620, {"lbwatch.engines.fake", "lbwatch.daemon"}),
        (("run", "--docker-host", "nonsense"), 620, {"lbwatch.engines.fake", "lbwatch.cli.output"}),
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


def test_bash_completes_commands_and_flags(tmp_path: Path) -> None:
    """Nobody remembers the name of a setting."""
    script = tmp_path / "completion"
    written = subprocess.run([sys.executable, "-m", "lbwatch", "completion", "bash"], check=True, capture_output=True)
    script.write_bytes(written.stdout)

    def completed(*words: str) -> list[str]:
        line = " ".join(f"'{word}'" for word in words)
        asked = (
            f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; "
            '_lbwatch; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(["bash", "-c", asked], check=True, capture_output=True, text=True, timeout=20)
        return done.stdout.split()

    assert completed("lbwatch", "ex") == ["explain"]
    assert "undrain" in completed("lbwatch", "")
    assert completed("lbwatch", "run", "--reload-i") == ["--reload-interval"]
    assert "--engine-from" in completed("lbwatch", "render", "--")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_completion_too(shell: str) -> None:
    """Its syntax is checked where that shell is installed."""
    done = subprocess.run([sys.executable, "-m", "lbwatch", "completion", shell], check=True, capture_output=True)
    assert b"explain" in done.stdout
    assert b"reload-interval" in done.stdout
    if (program := shutil.which(shell)) is not None:
        subprocess.run([program, "-n"], input=done.stdout, check=True, timeout=20)


async def test_an_unknown_shell_is_refused(tmp_path: Path) -> None:
    """With what there is."""
    code, _, err = await lbwatch("completion", "tcsh")
    assert code == 2
    assert "bash" in err
