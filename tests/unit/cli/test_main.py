"""lbwatch as its users type it, on the fake engine: what it answers, and with which exit code."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from command import DEADLINE_S, WEB, Running, command, environment, lbwatch, upstreams
from needs import need
from realnginx import RealNginx
from waiting import eventually

from lbwatch.engines.fake import FakeEngine

Lbwatch = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[FakeEngine]:
    async with FakeEngine(socket=tmp_path / "docker.sock") as engine:
        yield engine


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Running]]]:
    started: list[Running] = []

    async def start(**settings: object) -> Running:
        log = tmp_path / f"log-{len(started)}"
        with log.open("wb") as file:
            process = await asyncio.create_subprocess_exec(*command("run", **settings), env=environment(), stderr=file)
        started.append(Running(process, log))
        return started[-1]

    yield start
    for each in started:
        if each.process.returncode is None:
            each.process.terminate()
            await each.ends()
        print(each.log.read_text())  # shown if the test fails


async def test_render_prints_and_writes_nothing(engine: FakeEngine, tmp_path: Path) -> None:
    """A look must be harmless."""
    engine.world.run(name="web-1", labels=WEB)
    code, out, err = await lbwatch("render", docker_host=engine.url, output=tmp_path / "out.conf")
    assert code == 0, err
    assert "upstream web {\n    server 172.17.0.2:80;\n}\n" in out
    assert not (tmp_path / "out.conf").exists()
    assert err == ""


async def test_render_diff_shows_what_would_change(engine: FakeEngine, tmp_path: Path) -> None:
    """Before the first start on a live site one wants to know."""
    output = tmp_path / "out.conf"
    _, text, _ = await lbwatch("render", docker_host=engine.url)
    output.write_text(text)
    assert await lbwatch("render", "--diff", docker_host=engine.url, output=output) == (0, "", "")
    engine.world.run(name="web-1", labels=WEB)
    _, out, _ = await lbwatch("render", "--diff", docker_host=engine.url, output=output)
    assert "+    server 172.17.0.2:80;" in out.splitlines()
    assert str(output) in out.splitlines()[0]


async def test_explain_says_of_each_container_why(engine: FakeEngine) -> None:
    """The most asked question of this field."""
    engine.world.run(name="web-1", labels=WEB | {"lbwatch.colour": "red"})
    engine.world.run(name="bad", labels={"lbwatch.port": "many"})
    engine.world.run(name="plain")
    engine.world.run(name="two", labels={"lbwatch.enable": "true"}, exposed=("80/tcp", "443/tcp"))
    code, out, err = await lbwatch("explain", docker_host=engine.url)
    assert code == 0, err
    lines = {line.split()[0]: line for line in out.splitlines() if not line.startswith(" ")}
    assert "web" in lines["web-1"].split()
    assert "172.17.0.2:80" in lines["web-1"]
    assert "lbwatch.colour" in out
    assert "bad-label" in lines["bad"]
    assert "'many'" in lines["bad"]
    assert "lbwatch.enable=true" in lines["plain"]
    assert "80, 443" in lines["two"]
    code, out, _ = await lbwatch("explain", "bad", "--json", docker_host=engine.url)
    (row,) = json.loads(out)
    assert (row["container"], row["reason"], row["address"]) == ("bad", "bad-label", None)
    code, out, err = await lbwatch("explain", "nobody", docker_host=engine.url)
    assert (code, out) == (1, "")
    assert "nobody" in err


async def test_check_names_each_part_and_fails_if_one_does(
    engine: FakeEngine, real_nginx: RealNginx, tmp_path: Path
) -> None:
    """One command after the installation, and one at three in the morning."""
    settings: dict[str, object] = {
        "docker_host": engine.url,
        "output": real_nginx.output,
        "nginx_pidfile": real_nginx.pidfile,
        "nginx_conf": real_nginx.conf,
    }
    code, out, _ = await lbwatch("check", **settings)
    assert code == 0, out
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["ok", part] for part in ("settings", "template", "engine", "output", "config", "nginx")
    ]
    real_nginx.rewrite(http="nonsense on;")
    real_nginx.stop()
    wrong = settings | {"docker_host": f"unix://{tmp_path}/nowhere", "template": "none.j2", "output": "/nowhere/x.conf"}
    code, out, _ = await lbwatch("check", **wrong)
    assert code == 1
    verdicts = {line.split()[1]: line for line in out.splitlines()}
    assert {part: line.split()[0] for part, line in verdicts.items()} == {
        "settings": "ok",
        "template": "FAILED",
        "engine": "FAILED",
        "output": "FAILED",
        "config": "FAILED",
        "nginx": "FAILED",
    }
    assert "nonsense" in verdicts["config"]
    assert "/nowhere does not exist" in verdicts["output"]


async def test_an_output_that_nginx_never_reads_is_told(
    engine: FakeEngine, real_nginx: RealNginx, tmp_path: Path
) -> None:
    """The commonest mistake of a first set-up, and nothing else would show it."""
    settings = {"nginx_pidfile": real_nginx.pidfile, "nginx_conf": real_nginx.conf, "docker_host": engine.url}
    code, out, _ = await lbwatch("check", output=tmp_path / "elsewhere.conf", **settings)
    assert code == 1
    assert "does not include" in out


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
    engine.world.run(name="web-1", labels=WEB)
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


async def test_a_relative_output_is_tested_as_any_other(
    engine: FakeEngine, real_nginx: RealNginx, tmp_path: Path, run: Callable[..., Awaitable[Running]]
) -> None:
    """What nginx refuses must not be published, however the file is named."""
    (tmp_path / "bad.conf.j2").write_text("# bad\nnonsense on;\n")
    daemon = await run(
        docker_host=engine.url,
        output=os.path.relpath(real_nginx.output),
        nginx_pidfile=real_nginx.pidfile,
        nginx_conf=real_nginx.conf,
        template=tmp_path / "bad.conf.j2",
        log_format="json",
    )
    await eventually(lambda: daemon.logged("nginx.rejected"))
    assert not real_nginx.output.exists()


async def test_a_log_that_cannot_be_written_ends_nothing(
    engine: FakeEngine, real_nginx: RealNginx, tmp_path: Path
) -> None:
    """The disk with the log file is the one that fills up."""
    words = command(
        "run",
        docker_host=engine.url,
        output=real_nginx.output,
        nginx_pidfile=real_nginx.pidfile,
        nginx_conf=real_nginx.conf,
    )
    with open("/dev/full", "wb") as full:
        process = await asyncio.create_subprocess_exec(*words, env=environment(), stderr=full)
    try:
        engine.world.run(name="web-1", labels=WEB)
        await eventually(lambda: "server 172.17.0.2:80;" in upstreams(real_nginx.output))
        process.terminate()
        async with asyncio.timeout(DEADLINE_S):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_mounted_file_is_refused_at_the_start(tmp_path: Path, engine: FakeEngine) -> None:
    """It cannot be replaced in one step, and after a rename outside nginx would read the old one for ever."""
    need("mount", "unshare")
    (tmp_path / "real.conf").write_text("")
    output = tmp_path / "out.conf"
    output.write_text("")
    words = " ".join(command("run", docker_host=engine.url, output=output))
    script = f"mount --bind {tmp_path}/real.conf {output} && exec {words}"
    process = await asyncio.create_subprocess_exec(
        "unshare", "-m", "sh", "-c", script, stderr=asyncio.subprocess.PIPE, env=environment()
    )
    _, err = await process.communicate()
    assert process.returncode == 2
    assert "mount its folder instead" in err.decode()


async def test_a_template_that_goes_wrong_later_is_logged_and_its_mending_seen(
    engine: FakeEngine, real_nginx: RealNginx, tmp_path: Path, run: Callable[..., Awaitable[Running]]
) -> None:
    """The old config serves on; a daemon that dies of a typing error takes the next deploy with it."""
    template = tmp_path / "mine.conf.j2"
    good = (
        "# mine\n{% for upstream in upstreams %}upstream {{ upstream.name }} { server 127.0.0.1:1 down; }\n{% endfor %}"
    )
    template.write_text(good)
    engine.world.run(name="web-1", labels=WEB)
    daemon = await run(
        docker_host=engine.url,
        output=real_nginx.output,
        nginx_pidfile=real_nginx.pidfile,
        nginx_conf=real_nginx.conf,
        template=template,
        log_format="json",
    )
    await eventually(lambda: "upstream web" in upstreams(real_nginx.output))
    before = real_nginx.output.read_text()
    template.write_text("{{ nonsense }}\n")
    daemon.process.send_signal(signal.SIGHUP)
    (error,) = await eventually(lambda: daemon.logged("template.failed"))
    assert str(template) in error["error"]
    assert "nonsense" in error["error"]
    assert real_nginx.output.read_text() == before
    template.write_text(good.replace("mine", "mended"))
    daemon.process.send_signal(signal.SIGHUP)
    await eventually(lambda: upstreams(real_nginx.output).startswith("# mended"))
    daemon.process.terminate()
    assert await daemon.ends() == 0


async def test_what_is_no_http_leaves_no_traceback_in_the_log(
    engine: FakeEngine, real_nginx: RealNginx, run: Callable[..., Awaitable[Running]]
) -> None:
    """Scanners come to every port; a log in JSON must stay one, and must not grow by their words."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    daemon = await run(
        docker_host=engine.url,
        output=real_nginx.output,
        nginx_pidfile=real_nginx.pidfile,
        nginx_conf=real_nginx.conf,
        status_listen=f"127.0.0.1:{port}",
        log_format="json",
        log_level="debug",
    )
    await eventually(lambda: daemon.log.exists() and daemon.logged("reconcile.finished"))
    for said in (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"\x16\x03\x01\x00\xa5",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        writer.write_eof()
        await reader.read()
        writer.close()
    await eventually(lambda: daemon.logged("http.request_refused"))
    assert not daemon.logged("http.request_failed")
    assert "Traceback" not in daemon.log.read_text()


async def test_an_engine_that_is_not_there_leaves_the_file_alone(
    real_nginx: RealNginx, tmp_path: Path, run: Callable[..., Awaitable[Running]]
) -> None:
    """A host that boots starts lbwatch before its engine."""
    real_nginx.output.write_text("# of yesterday\n")
    daemon = await run(
        docker_host=f"unix://{tmp_path}/docker.sock",
        output=real_nginx.output,
        nginx_pidfile=real_nginx.pidfile,
        nginx_conf=real_nginx.conf,
        log_format="json",
    )
    lines = await eventually(lambda: seen if len(seen := daemon.logged("source.disconnected")) >= 3 else None)
    assert all("docker.sock" in line["error"] and line["retry_in_s"] <= 2 for line in lines)
    assert real_nginx.output.read_text() == "# of yesterday\n"
    async with FakeEngine(socket=tmp_path / "docker.sock") as engine:
        engine.world.run(name="web-1", labels=WEB)
        await eventually(lambda: "server 172.17.0.2:80;" in upstreams(real_nginx.output))
        daemon.process.send_signal(signal.SIGINT)
        assert await daemon.ends() == 0


async def test_an_unknown_variable_is_only_a_warning(engine: FakeEngine) -> None:
    """Docker's links inject variables of any name."""
    code, _, err = await lbwatch("render", docker_host=engine.url, environ={"LBWATCH_PORT_80_TCP": "x"})
    assert code == 0
    assert json.loads(err)["variable"] == "LBWATCH_PORT_80_TCP"


async def test_the_demo_ends_by_itself_and_leaves_nothing(tmp_path: Path) -> None:
    """It is the first thing that a newcomer runs."""
    need("nginx", root=False)
    settings = {"LBWATCH_DECLARE": "shop", "LBWATCH_NETWORKS": "front"}  # the user's own do not concern it
    code, out, err = await lbwatch("demo", environ={"TMPDIR": str(tmp_path)} | settings)
    assert (code, err) == (0, "")
    assert "server 172.17.0.2:8080;" in out
    assert "new workers after" in out
    assert "event  die web-2" in out
    assert "answers  web: no server" in out
    assert "that was all" in out
    assert list(tmp_path.iterdir()) == []


async def test_the_demo_needs_no_nginx(tmp_path: Path) -> None:
    """A laptop may have neither Docker nor nginx."""
    hide = "import lbwatch.cli.demo.stage as stage; stage.find_program = lambda name: None"
    script = f"import sys; {hide}; from lbwatch.cli.main import main; sys.exit(main(['demo']))"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        env=environment(TMPDIR=str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert b"only the file is shown" in out
    assert b"that was all" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_demo_ends_on_ctrl_c_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """Who has seen enough must not have to clean up."""
    process = await asyncio.create_subprocess_exec(
        *command("demo"), env=environment(TMPDIR=str(tmp_path)), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        while line := await process.stdout.readline():
            if b"event" in line:
                break
        process.send_signal(number)
        await process.stdout.read()
        assert await process.wait() == 0
    assert list(tmp_path.iterdir()) == []


_HEAVY = frozenset({"aiohttp", "asyncio", "crossplane", "jinja2", "msgspec", "prometheus_client", "structlog"})


@pytest.mark.parametrize(
    ("words", "most", "without"),
    [
        (("--version",), 190, {*_HEAVY, "rich", "lbwatch.build"}),
        (("health", "--status-listen", "127.0.0.1:1"), 190, {*_HEAVY, "rich", "http", "email", "lbwatch.build"}),
        (("--help",), 370, {*_HEAVY, "lbwatch.build"}),
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
