"""What the commands that look answer: on a terminal and to scripts, from the daemon, the engine and a recorded one."""

import asyncio
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from command import command, environment, lbwatch
from patches import patched
from waiting import eventually

from lbwatch import daemon as lbwatch_daemon
from lbwatch.api.client import explanation
from lbwatch.engines.fake import FakeEngine
from lbwatch.settings import Settings

WEB = {"lbwatch.upstream": "web"}
ESCAPE = "\x1b["


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[FakeEngine]:
    async with FakeEngine(socket=tmp_path / "docker.sock") as engine:
        engine.replica.lag_s = 0
        yield engine


@asynccontextmanager
async def running(engine: FakeEngine, folder: Path, **settings: Any) -> AsyncIterator[dict[str, str]]:
    """The daemon on this engine, before an nginx that believes all; gives the flags that lead commands to it."""
    flags = {
        "docker_host": engine.url,
        "output": str(folder / "out.conf"),
        "test_command": "true",
        "reload_command": "true",
        "nginx_pidfile": str(folder / "pid"),
        "control_socket": str(folder / "control"),
        "state_dir": str(folder / "state"),
    }
    paths = {"output", "nginx_pidfile", "control_socket", "state_dir"}
    typed: dict[str, Any] = {name: Path(value) if name in paths else value for name, value in flags.items()}
    made = Settings(**(typed | {"status_listen": ""} | settings))
    task = asyncio.create_task(lbwatch_daemon.run(made))
    try:
        await eventually(lambda: (folder / "out.conf").exists() or task.done(), what="the first file")
        yield flags
    finally:
        task.cancel()
        await asyncio.wait([task])


async def on_a_terminal(*words: object, columns: int = 200, **settings: object) -> tuple[int, str]:
    """Run a command on a pseudo-terminal of that width; gives its exit code and all that it wrote."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *command(*words, **settings),
        env=environment(TERM="xterm-256color", COLUMNS=str(columns)),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            part = await asyncio.to_thread(os.read, ours, 65536)
        except OSError:  # the other end is closed
            break
        written += part
    os.close(ours)
    return await process.wait(), written.decode()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text).replace("\r\n", "\n")


# -- explain


async def test_the_daemon_itself_is_asked_why(engine: FakeEngine, tmp_path: Path) -> None:
    """It alone knows since when, and what nginx runs; a second look would guess."""
    engine.containers.run(name="web-1", labels=WEB)
    async with running(engine, tmp_path) as flags:
        await eventually(lambda: "172.17.0.2" in (tmp_path / "out.conf").read_text())
        asked = engine.requests.copy()
        code, out, err = await lbwatch("explain", "--json", **flags)
        assert engine.requests == asked, "the engine was asked, although the daemon knows"
    assert (code, err) == (0, "")
    (row,) = json.loads(out)
    assert (row["container"], row["address"], row["state"]) == ("web-1", "172.17.0.2:80", "up")
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", row["since"])


async def test_a_container_that_asks_for_nothing_is_explained_at_once(engine: FakeEngine, tmp_path: Path) -> None:
    """The newcomer forgot the label, starts the container and asks: the next full look is half a minute away."""
    async with running(engine, tmp_path, resync_interval=600.0) as flags:
        asked = engine.requests.total()
        engine.containers.run(name="forgotten")
        await asyncio.sleep(0)
        assert engine.requests.total() == asked
        for _ in range(3):
            _, out, _ = await lbwatch("explain", **flags)
            if "forgotten" in out:
                break
        assert "not routed (not-labelled): it has no lbwatch.* label: add lbwatch.enable=true" in out
        engine.containers.remove("forgotten", force=True)
        for _ in range(3):
            _, out, _ = await lbwatch("explain", **flags)
        assert out == "The engine has no containers.\n"


@pytest.mark.parametrize("daemon", [True, False])
async def test_the_story_of_a_container_without_labels_is_true_too(
    engine: FakeEngine, tmp_path: Path, *, daemon: bool
) -> None:
    """Little is read of those; who asks for one by its name wants to know all."""
    engine.containers.run(name="old", exposed=("81/tcp",))
    engine.containers.create(name="idle")
    async with running(engine, tmp_path) as flags:
        engine.containers.run(name="late", exposed=("82/tcp",))
        if not daemon:
            flags["control_socket"] = str(tmp_path / "none")
        stories = {}
        for name in ("old", "idle", "late"):
            code, out, _ = await lbwatch("explain", name, "--json", **flags)
            assert code == 0
            (row,) = json.loads(out)
            assert row["reason"] == "not-labelled"
            stories[name] = row["story"]
    assert {name: story["status"] for name, story in stories.items()} == {
        "old": "running",
        "idle": "created",
        "late": "running",
    }
    assert stories["late"]["exposed"] == [82]
    assert stories["old"]["exposed"] == [81]
    assert stories["late"]["started"] is not None
    assert stories["idle"]["started"] is None
    assert stories["old"]["networks"][0]["address"].startswith("172.17.0.")


async def test_a_container_of_several_upstreams_has_each_network_weighed(engine: FakeEngine, tmp_path: Path) -> None:
    """Each upstream may ask for another one."""
    for name in ("front", "back", "other"):
        engine.networks.create(name)
    labels = {"lbwatch.upstreams.a.network": "front", "lbwatch.upstreams.b.network": "back"}
    engine.containers.run(name="both", labels=labels, networks=("front", "back", "other"))
    settings = {"docker_host": engine.url, "control_socket": tmp_path / "none"}
    _, out, _ = await lbwatch("explain", "both", "--json", **settings)
    verdicts = {each["network"]: each["verdict"] for each in json.loads(out)[0]["story"]["networks"]}
    assert verdicts == {"back": "taken", "front": "taken", "other": "the label asks for front"}


async def test_the_line_in_the_file_is_shown_although_nginx_does_not_run_it(engine: FakeEngine, tmp_path: Path) -> None:
    """It is one of the first things that one looks for."""
    engine.containers.run(name="web-1", labels=WEB)
    async with running(engine, tmp_path, reload_command="false") as flags:
        await eventually(lambda: "172.17.0.2" in (tmp_path / "out.conf").read_text())
        for _ in range(5):
            _, out, _ = await lbwatch("explain", "web-1", "--json", **flags)
            if json.loads(out)[0]["reason"] is not None:
                break
    (row,) = json.loads(out)
    assert row["reason"] == "not-in-force"
    assert row["story"]["lines"] == ["server 172.17.0.2:80;"]


async def test_a_reload_command_that_is_gone_takes_nobody_out(engine: FakeEngine, tmp_path: Path) -> None:
    """nginx serves on with what it has: only what is new is not in force."""
    script = tmp_path / "reload"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    engine.containers.run(name="web-1", labels=WEB)
    async with running(engine, tmp_path, reload_command=str(script)) as flags:
        async with asyncio.timeout(10):  # its first reload must be over
            while [row.reason for row in (await explanation(tmp_path / "control", container=None)).rows] != [None]:
                await asyncio.sleep(0.01)
        script.unlink()
        engine.containers.run(name="web-2", labels=WEB)
        await eventually(lambda: "172.17.0.3" in (tmp_path / "out.conf").read_text())
        for _ in range(5):
            _, out, _ = await lbwatch("explain", "--json", **flags)
            rows = {row["container"]: row for row in json.loads(out)}
            if rows["web-2"]["reason"] is not None:
                break
    assert (rows["web-1"]["reason"], rows["web-1"]["address"]) == (None, "172.17.0.2:80")
    assert rows["web-2"]["reason"] == "not-in-force"
    assert "No such file or directory" in rows["web-2"]["detail"]
    assert rows["web-2"]["since"] >= rows["web-1"]["since"]


async def test_an_engine_that_is_not_the_daemons_is_looked_at_itself(engine: FakeEngine, tmp_path: Path) -> None:
    """An answer about another engine would be wrong in every row."""
    async with FakeEngine(socket=tmp_path / "other.sock") as other, running(engine, tmp_path) as flags:
        other.containers.run(name="elsewhere", labels=WEB)
        code, out, err = await lbwatch("explain", **(flags | {"docker_host": other.url}))
        assert code == 0
        assert out.startswith("elsewhere")
        assert f"follows {engine.url}: this is what one would make of {other.url}" in err


async def test_an_engine_that_was_never_reached_is_said_by_the_daemon(engine: FakeEngine, tmp_path: Path) -> None:
    """No rows and exit code 0 would look as if there were no containers."""
    await engine.close()
    (tmp_path / "out.conf").write_text("# old\n")
    async with running(engine, tmp_path) as flags:
        await asyncio.sleep(0)
        code, out, err = await lbwatch("explain", **flags)
    assert (code, out) == (1, "")
    assert f"cannot connect to {engine.url}" in err


async def test_a_terminal_gets_a_table_in_colours_and_a_pipe_plain_lines(engine: FakeEngine, tmp_path: Path) -> None:
    """People scan; scripts cut columns, and logs must not fill with escape sequences."""
    engine.containers.run(name="web-1", labels=WEB | {"lbwatch.prot": "1"})
    engine.containers.run(name="bad", labels={"lbwatch.port": "[red]x[/red]"})
    settings = {"docker_host": engine.url, "control_socket": tmp_path / "none"}
    code, seen = await on_a_terminal("explain", **settings)
    assert code == 0
    lines = {words[0]: words for line in plain(seen).splitlines() if (words := line.split())}
    assert lines["container"][:2] == ["container", "upstream"]
    assert lines["web-1"][1:4] == ["web", "up", "172.17.0.2:80"]
    assert lines["bad"][2] == "bad-label"
    assert "warning: label lbwatch.prot means nothing to lbwatch: did you mean lbwatch.port?" in plain(seen)
    assert "[red]x[/red]" in plain(seen), "what a label says was taken for markup"
    assert f"{ESCAPE}31m" in seen
    assert f"{ESCAPE}32m" in seen
    _, out, _ = await lbwatch("explain", **settings)
    assert ESCAPE not in out
    assert max(map(len, out.splitlines())) > 100, "a line was broken"


async def test_a_narrow_terminal_hides_nothing(engine: FakeEngine, tmp_path: Path) -> None:
    """The reason must not be cut where the window ends."""
    engine.containers.run(name="a-container-with-a-long-name", labels=WEB, exposed=("80/tcp", "443/tcp"))
    settings = {"docker_host": engine.url, "control_socket": tmp_path / "none"}
    _, seen = await on_a_terminal("explain", columns=70, **settings)
    assert all(len(line) <= 70 for line in plain(seen).splitlines())
    words = plain(seen).split()
    assert [word for word in ("exposes", "80,", "443:", "label", "lbwatch.port") if word not in words] == []
    assert "…" not in seen


async def test_what_a_container_says_never_reaches_the_terminal_raw(engine: FakeEngine, tmp_path: Path) -> None:
    """A label may hold the sequence that clears the screen, or worse."""
    engine.containers.run(name="evil", labels=WEB | {"lbwatch.port": f"{ESCAPE}2J\x07", f"lbwatch.{ESCAPE}2J": "x"})
    settings = {"docker_host": engine.url, "control_socket": tmp_path / "none"}
    for words in (("explain",), ("explain", "evil")):
        _, seen = await on_a_terminal(*words, **settings)
        assert "evil" in seen
        assert f"{ESCAPE}2J" not in seen
        assert "\x07" not in seen
        _, out, _ = await lbwatch(*words, **settings)
        assert "\x1b" not in out


# -- a recorded engine


@pytest.mark.parametrize("words", [("render",), ("explain",), ("render", "--diff")])
async def test_a_recorded_engine_gives_the_answer_of_the_real_one(
    engine: FakeEngine, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Templates are written where no engine is, and bugs are told with what the engine said."""
    engine.containers.run(name="web-1", labels=WEB | {"lbwatch.weight": "3"})
    engine.containers.run(name="two", labels=WEB, exposed=("80/tcp", "443/tcp"))
    engine.containers.run(name="plain", labels={"other": "x"})
    engine.containers.stop("plain")
    settings = {"control_socket": tmp_path / "none", "output": tmp_path / "out.conf"}
    names = ("web-1", "two", "plain")
    record = json.dumps([await _inspect(engine, name) for name in names])
    (tmp_path / "engine.json").write_text(record)
    live = await lbwatch(*words, docker_host=engine.url, **settings)
    await engine.close()
    recorded = await lbwatch(*words, "--engine-from", tmp_path / "engine.json", docker_host=engine.url, **settings)
    assert (recorded[0], recorded[1]) == (live[0], live[1])
    assert recorded[0] == 0
    assert len(recorded[1]) > 60


async def _inspect(engine: FakeEngine, name: str) -> Any:
    import aiohttp

    connector = aiohttp.UnixConnector(str(engine.socket))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(f"http://docker/containers/{name}/json") as answer,
    ):
        return await answer.json()


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (None, 2, "engine_from: '{file}' cannot be used: it takes a file with the output of docker inspect"),
        ("", 1, "{file}: it is no output of docker inspect"),
        ('{"Id": "x"}', 1, "{file}: it is no output of docker inspect"),
        ('[{"Id": "x"}]', 1, "{file}: it is no output of docker inspect"),
        ('[{"Id": "x", "Name": "/x", "State": {"Status": "dancing"}, "Config": {}}]', 1, "no output of docker inspect"),
    ],
)
async def test_a_recording_that_cannot_be_read_is_named(
    tmp_path: Path, content: str | None, code: int, words: str
) -> None:
    """Half an engine would render half a config."""
    file = tmp_path / "engine.json"
    if content is not None:
        file.write_text(content)
    found, out, err = await lbwatch("render", "--engine-from", file)
    assert (found, out) == (code, "")
    assert words.format(file=file) in err
    assert len(err.splitlines()) == 1


# -- render --diff and check


async def test_render_tells_scripts_by_its_exit_code_whether_there_is_a_difference(
    engine: FakeEngine, tmp_path: Path
) -> None:
    """A deploy script asks before it goes on; without the flag it only looks."""
    settings = {"docker_host": engine.url, "output": tmp_path / "out.conf", "control_socket": tmp_path / "none"}
    engine.containers.run(name="web-1", labels=WEB)
    _, text, _ = await lbwatch("render", **settings)
    (tmp_path / "out.conf").write_text(text)
    for words, code in ((("--diff", "--exit-code"), 0), (("--exit-code",), 0)):
        assert (await lbwatch("render", *words, **settings))[0] == code
    engine.containers.run(name="web-2", labels=WEB)
    for words, code in ((("--diff", "--exit-code"), 1), (("--exit-code",), 1), (("--diff",), 0), ((), 0)):
        assert (await lbwatch("render", *words, **settings))[0] == code


async def test_the_difference_is_one_that_patch_takes(engine: FakeEngine, tmp_path: Path) -> None:
    """What is shown is exactly what would happen."""
    settings = {"docker_host": engine.url, "output": tmp_path / "out.conf", "control_socket": tmp_path / "none"}
    engine.containers.run(name="web-1", labels=WEB)
    _, text, _ = await lbwatch("render", **settings)
    (tmp_path / "out.conf").write_text(text)
    engine.containers.run(name="web-2", labels=WEB)
    engine.containers.run(name="api", labels={"lbwatch.port": "80"})
    _, out, _ = await lbwatch("render", "--diff", **settings)
    _, wanted, _ = await lbwatch("render", **settings)
    assert patched(text, out.splitlines(keepends=True)[2:]) == wanted
    code, seen = await on_a_terminal("render", "--diff", **settings)
    assert code == 0
    assert f"{ESCAPE}32m+    server 172.17.0.3:80;" in seen
    assert plain(seen) == out


async def test_check_is_red_and_green_on_a_terminal(tmp_path: Path) -> None:
    """One look must do."""
    code, seen = await on_a_terminal("check", docker_host=f"unix://{tmp_path}/none", output=tmp_path / "x.conf")
    assert code == 1
    lines = {plain(line).split()[1]: line for line in seen.splitlines()}
    assert f"{ESCAPE}32m" in lines["template"]
    assert f"{ESCAPE}1;31mFAILED" in lines["engine"]


# -- health


async def test_health_answers_as_readyz_does(engine: FakeEngine, tmp_path: Path, free_port: int) -> None:
    """It is a container's HEALTHCHECK: only its exit code is read."""
    listen = f"127.0.0.1:{free_port}"
    async with running(engine, tmp_path, status_listen=listen):
        assert await lbwatch("health", status_listen=listen) == (0, "ready\n", "")
        assert await lbwatch("health", status_listen=f"0.0.0.0:{free_port}") == (0, "ready\n", "")
        await engine.close()
        for _ in range(20):
            code, out, _ = await lbwatch("health", status_listen=listen)
            if code:
                break
        assert code == 1
        assert f"not ready: engine {engine.url}: not followed for" in out
    code, out, _ = await lbwatch("health", status_listen=listen)
    assert (code, out) == (1, f"not ready: no lbwatch answers at http://{listen}/readyz: Connection refused\n")
    code, out, err = await lbwatch("health", status_listen="")
    assert (code, out) == (2, "")
    assert "status_listen" in err


@pytest.fixture
def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# -- events


@asynccontextmanager
async def telling(**settings: object) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *command("events", **settings), env=environment(), stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_events_are_told_with_what_lbwatch_makes_of_each(engine: FakeEngine, tmp_path: Path) -> None:
    """`docker events` shows what happened; who operates a load balancer asks what came of it."""
    engine.containers.run(name="old", labels=WEB)
    async with telling(docker_host=engine.url, control_socket=tmp_path / "none") as process:
        await _tell(engine, process)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await process.wait() == 0


async def _tell(engine: FakeEngine, process: asyncio.subprocess.Process) -> None:
    lines: list[str] = []

    async def until(words: str) -> None:
        assert process.stdout is not None
        async with asyncio.timeout(15):
            while not lines or words not in lines[-1]:
                line = await process.stdout.readline()
                assert line, f"it ended before {words!r}: {lines}"
                lines.append(" ".join(line.decode().split()[1:]))

    await until(f"following {engine.url}: 1 containers")
    engine.containers.run(name="db")
    await until("db start ignored: it has no lbwatch.* label")
    engine.containers.run(name="web-1", labels=WEB)
    await until("web-1 -> serves upstream web at 172.17.0.4:80")
    engine.containers.run(name="bad", labels={"lbwatch.port": "no"})
    await until("bad -> not routed (bad-label): label lbwatch.port='no'")
    engine.containers.stop("web-1")
    await until("web-1 -> not routed (not-running): it is exited [upstream web]")
    engine.containers.remove("web-1")
    await until("web-1 -> gone")
    told = [line.split(" ", 1)[1] for line in lines if line.startswith("web-1") and "->" not in line]
    assert told == ["create", "connect", "start", "kill (signal 15)", "die", "disconnect", "stop", "destroy"]
    assert not any(line.startswith("old") for line in lines), "what was there before is no event"


async def test_events_that_nobody_reads_any_more_end(engine: FakeEngine, tmp_path: Path) -> None:
    """`lbwatch events | head` is how people look at a stream."""
    words = " ".join(map(str, command("events", docker_host=engine.url, control_socket=tmp_path / "none")))
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", f"set -o pipefail; {words} | head -n 1"),
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(15):
        assert b"following" in await process.stdout.readline()
        ending = asyncio.create_task(process.communicate())
        while not ending.done():
            engine.containers.run(labels=WEB)
            await asyncio.sleep(0.05)
        _, err = await ending
    assert (process.returncode, err) == (0, b"")


async def test_events_of_an_engine_that_is_not_there_say_so(tmp_path: Path) -> None:
    """A silent wait would look like a quiet engine."""
    code, out, err = await lbwatch("events", docker_host=f"unix://{tmp_path}/none")
    assert (code, out) == (1, "")
    assert "cannot connect to" in err


# -- completion


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
