"""`render`: what would be written, and how it differs from what is there."""

from pathlib import Path

import pytest
from command import ESCAPE, WEB, WEB_AS_EXPOSED, lbwatch, on_a_terminal, plain
from needs import need
from patches import patched

from lbwatch.balancers.nginx.outputs import split
from lbwatch.engines.fake import FakeEngine


async def test_render_prints_and_writes_nothing(engine: FakeEngine, tmp_path: Path) -> None:
    """A look must be harmless."""
    engine.containers.run(name="web-1", labels=WEB)
    code, out, err = await lbwatch("render", docker_host=engine.url, output=tmp_path / "out.conf", live="off")
    assert code == 0, err
    assert "upstream web {\n    server 172.17.0.2:80;\n}\n" in out
    assert not (tmp_path / "out.conf").exists()
    assert err == ""


async def test_render_diff_shows_what_would_change(engine: FakeEngine, tmp_path: Path) -> None:
    """Before the first start on a live site one wants to know."""
    output = tmp_path / "out.conf"
    _, text, _ = await lbwatch("render", docker_host=engine.url, output=output)
    output.write_text(text)
    assert await lbwatch("render", "--diff", docker_host=engine.url, output=output) == (0, "", "")
    engine.containers.run(name="web-1", labels=WEB)
    _, out, _ = await lbwatch("render", "--diff", docker_host=engine.url, output=output)
    assert "+    server 172.17.0.2:80;" in out.splitlines()
    assert str(output) in out.splitlines()[0]


async def test_the_file_for_ports_is_shown_and_compared_beside_the_other(engine: FakeEngine, tmp_path: Path) -> None:
    """Each by its own name, and one that differs is enough."""
    output, stream = tmp_path / "out.conf", tmp_path / "out.stream"
    settings = {"docker_host": engine.url, "output": output, "stream_output": stream, "live": "off"}
    engine.containers.run(name="db-1", labels=WEB | {"lbwatch.listen": "5432/tcp"})
    _, text, _ = await lbwatch("render", **settings)
    http, ports = split(text)
    assert "listen 5432 " not in http
    assert ports is not None
    assert "    listen 5432 " in ports
    output.write_text(http)
    code, out, _ = await lbwatch("render", "--diff", "--exit-code", **settings)
    assert code == 1
    assert out.splitlines()[0] == f"--- {stream}"
    assert str(output) not in out
    stream.write_text(ports)
    assert await lbwatch("render", "--diff", "--exit-code", **settings) == (0, "", "")


async def test_render_tells_scripts_by_its_exit_code_whether_there_is_a_difference(
    engine: FakeEngine, tmp_path: Path
) -> None:
    """A deploy script asks before it goes on; without the flag it only looks."""
    settings = {"docker_host": engine.url, "output": tmp_path / "out.conf", "control_socket": tmp_path / "none"}
    engine.containers.run(name="web-1", labels=WEB_AS_EXPOSED)
    _, text, _ = await lbwatch("render", **settings)
    (tmp_path / "out.conf").write_text(text)
    for words, code in ((("--diff", "--exit-code"), 0), (("--exit-code",), 0)):
        assert (await lbwatch("render", *words, **settings))[0] == code
    engine.containers.run(name="web-2", labels=WEB_AS_EXPOSED)
    for words, code in ((("--diff", "--exit-code"), 1), (("--exit-code",), 1), (("--diff",), 0), ((), 0)):
        assert (await lbwatch("render", *words, **settings))[0] == code


async def test_the_difference_is_one_that_patch_takes(engine: FakeEngine, tmp_path: Path) -> None:
    """What is shown is exactly what would happen."""
    settings = {"docker_host": engine.url, "output": tmp_path / "out.conf", "control_socket": tmp_path / "none"}
    engine.containers.run(name="web-1", labels=WEB_AS_EXPOSED)
    _, text, _ = await lbwatch("render", **settings)
    (tmp_path / "out.conf").write_text(text)
    engine.containers.run(name="web-2", labels=WEB_AS_EXPOSED)
    engine.containers.run(name="api", labels={"lbwatch.port": "80"})
    _, out, _ = await lbwatch("render", "--diff", **settings)
    _, wanted, _ = await lbwatch("render", **settings)
    assert patched(text, out.splitlines(keepends=True)[2:]) == wanted
    code, seen = await on_a_terminal("render", "--diff", **settings)
    assert code == 0
    assert f"{ESCAPE}32m+    server 172.17.0.3:80;" in seen
    assert plain(seen) == out


BROKEN = "# {{ upstreams | length }}\nnonsense on;\n"


@pytest.mark.parametrize("words", [(), ("--diff",), ("--diff", "--exit-code")])
async def test_where_nothing_would_be_written_render_says_why_and_fails(
    engine: FakeEngine, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """A script that pipes it somewhere must not go on with a text that nginx refuses, nor with none."""
    need("nginx")
    output = tmp_path / "conf.d" / "lbwatch.conf"
    output.parent.mkdir()
    output.write_text("# of yesterday\n")
    main = f"pid {tmp_path}/pid;\nevents {{}}\nhttp {{ access_log off; include {output.parent}/*.conf; }}\n"
    (tmp_path / "nginx.conf").write_text(main)
    (tmp_path / "broken.j2").write_text(BROKEN)
    settings = {"docker_host": engine.url, "output": output, "nginx_conf": tmp_path / "nginx.conf"}
    code, out, err = await lbwatch("render", *words, template=tmp_path / "broken.j2", **settings)
    assert (code, out) == (1, "")
    assert err == f'lbwatch: nothing would be written now: unknown directive "nonsense" in {output}:2\n'
