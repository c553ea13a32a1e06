"""`check`: tests everything that the daemon needs, a line each."""

from pathlib import Path

from command import ESCAPE, lbwatch, on_a_terminal, plain
from realnginx import RealNginx

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


async def test_check_is_red_and_green_on_a_terminal(tmp_path: Path) -> None:
    """One look must do."""
    code, seen = await on_a_terminal("check", docker_host=f"unix://{tmp_path}/none", output=tmp_path / "x.conf")
    assert code == 1
    lines = {plain(line).split()[1]: line for line in seen.splitlines()}
    assert f"{ESCAPE}32m" in lines["template"]
    assert f"{ESCAPE}1;31mFAILED" in lines["engine"]
