"""`check`: tests everything that the daemon needs, a line each."""

import signal
from pathlib import Path

import pytest
from command import ESCAPE, lbwatch, on_a_terminal, plain
from daemon import wait_until
from needs import NGINX_NEEDS, need
from planted import disk, immutable
from realnginx import RealNginx
from upgradednginx import UpgradedNginx
from usersettings import settings_with

from lbwatch.cli import check
from lbwatch.cli.check.finding import Finding, ok, warn
from lbwatch.engines.fake import FakeEngine


async def test_check_names_each_part_and_fails_if_one_does(
    engine: FakeEngine, real_nginx: RealNginx, tmp_path: Path
) -> None:
    """One command after the installation, and one at three in the morning."""
    settings: dict[str, object] = {
        "docker_host": engine.url,
        "output": real_nginx.output,
        "nginx_pidfile": real_nginx.pidfile,
        "nginx_conf": real_nginx.conf,
        "control_socket": tmp_path / "control",
    }
    code, out, _ = await lbwatch("check", **settings)
    assert code == 0, out
    assert [line.split()[:2] for line in out.splitlines()] == [
        *(["ok", part] for part in ("settings", "template", "engine", "output", "config", "live", "nginx")),
        ["warn", "daemon"],
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
        "daemon": "warn",
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


async def test_a_file_for_ports_that_nginx_never_reads_is_told(
    engine: FakeEngine, real_nginx: RealNginx, tmp_path: Path
) -> None:
    """With what it takes: a block beside that of http, and a module."""
    settings = {"nginx_pidfile": real_nginx.pidfile, "nginx_conf": real_nginx.conf, "docker_host": engine.url}
    stream = tmp_path / "lbwatch.stream"
    code, out, _ = await lbwatch("check", output=real_nginx.output, stream_output=stream, **settings)
    assert code == 1
    (line,) = [line for line in out.splitlines() if line.split()[1] == "config"]
    assert line.startswith("FAILED")
    assert f"does not include {stream}" in line
    assert f"add `stream {{ include {stream}; }}` beside its http block" in line
    assert "libnginx-mod-stream" in line


async def test_check_is_red_yellow_and_green_in_columns_on_a_terminal(tmp_path: Path) -> None:
    """One look must do, and words that a terminal breaks anywhere cannot be read or copied."""
    settings = {
        "docker_host": f"unix://{tmp_path}/none",
        "output": tmp_path / "x.conf",
        "control_socket": tmp_path / "c",
    }
    code, seen = await on_a_terminal("check", columns=80, **settings)
    assert code == 1
    lines = {
        words[1]: line for line in seen.splitlines() if (words := plain(line).split())[0] in ("ok", "warn", "FAILED")
    }
    assert f"{ESCAPE}32mok" in lines["template"]
    assert f"{ESCAPE}33mwarn" in lines["daemon"]
    assert f"{ESCAPE}1;31mFAILED" in lines["engine"]
    assert all(len(line) <= 80 for line in plain(seen).splitlines() if str(tmp_path) not in line)
    below = plain(seen).splitlines()[plain(seen).splitlines().index(plain(lines["daemon"])) + 1]
    assert below.startswith(" " * 18)
    assert below[18] != " "


async def test_what_two_parts_find_is_printed_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The running daemon and the look beside it find the same upstream refused."""

    async def finds(part: str) -> tuple[Finding, ...]:
        return warn(part, "upstream api is left out"), ok(part, part)

    steps = tuple((part, lambda _, part=part: finds(part)) for part in ("config", "daemon"))
    monkeypatch.setattr(check, "_STEPS", steps)
    assert await check.check(settings_with()) == 0
    assert capsys.readouterr().out.splitlines() == [
        "warn    config    upstream api is left out",
        "ok      config    config",
        "ok      daemon    daemon",
    ]


async def test_an_upgrade_of_nginx_that_is_not_finished_fails_the_check(engine: FakeEngine, tmp_path: Path) -> None:
    """Half of all requests go by an old file then, and what ends that is one command."""
    need(*NGINX_NEEDS)
    with UpgradedNginx(tmp_path / "nginx") as nginx:
        old, new = nginx.start().upgrade()
        settings = {"nginx_pidfile": nginx.pidfile, "nginx_conf": nginx.conf, "docker_host": engine.url}
        code, out, _ = await lbwatch("check", output=nginx.output, **settings)
        assert code == 1
        failed = " ".join(out.partition("FAILED")[2].split())  # the lines are as wide as a terminal
        assert f"old master {old} serves beside the new one {new}" in failed
        assert f"`kill -QUIT {old}`" in failed
        nginx.send(signal.SIGQUIT, old)
        wait_until(lambda: not nginx.serving(old), within=10, what="the old workers' end")
        code, out, _ = await lbwatch("check", output=nginx.output, **settings)
        assert code == 0, out


async def test_that_the_output_can_be_replaced_is_tried_for_real(
    engine: FakeEngine, real_nginx: RealNginx, tmp_path: Path
) -> None:
    """A full disk and an immutable file were both said to be fine, and met the first change."""
    settings = {"docker_host": engine.url, "nginx_pidfile": real_nginx.pidfile, "nginx_conf": real_nginx.conf}
    with disk(tmp_path / "disk") as folder:
        output = folder / "lbwatch.conf"
        (folder / "filler").write_bytes(bytes(65_536))
        _, out, _ = await lbwatch("check", output=output, **settings)
        assert "No space left on device" in " ".join(verdicts(out)["output"])
        assert sorted(path.name for path in folder.iterdir()) == ["filler"]
    real_nginx.output.write_text("# mine\n")
    with immutable(real_nginx.output):
        _, out, _ = await lbwatch("check", output=real_nginx.output, **settings)
        assert "cannot be replaced: Operation not permitted" in " ".join(verdicts(out)["output"])
    _, out, _ = await lbwatch("check", output=real_nginx.output, **settings)
    assert verdicts(out)["output"][0] == "ok"
    assert real_nginx.output.read_text() == "# mine\n"


def verdicts(out: str) -> dict[str, list[str]]:
    """The words of each part, whose lines are as wide as a terminal."""
    found: dict[str, list[str]] = {}
    for line in out.splitlines():
        if line.startswith(("ok", "FAILED", "warn")):
            words = found.setdefault(line.split()[1], [line.split()[0]])
        words += line.split()
    return found


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, ["changes of servers take a reload: nginx does not take the directives: unknown directive "]),
        ({"live": "off"}, []),
    ],
)
async def test_check_says_whether_changes_of_servers_need_a_reload(
    engine: FakeEngine, real_nginx: RealNginx, tmp_path: Path, settings: dict[str, str], says: list[str]
) -> None:
    """Before the first start, too: the log is read by nobody then."""
    named = {"output": real_nginx.output, "nginx_pidfile": real_nginx.pidfile, "nginx_conf": real_nginx.conf}
    _, out, _ = await lbwatch("check", docker_host=engine.url, control_socket=tmp_path / "c", **named, **settings)
    lines = [line for line in out.splitlines() if line.split()[1:2] == ["live"]]
    assert len(lines) == bool(says)
    for words in says:
        assert words in lines[0]
