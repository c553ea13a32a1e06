"""`explain --host`: the first question of whoever gets a 503, from the daemon and from the engine."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import lbwatch, on_a_terminal, plain, running
from sitecerts import made
from waiting import eventually

from lbwatch.engines.fake import FakeEngine

SHOP = {"lbwatch.host": "shop.example.org", "lbwatch.upstream": "shop"}


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The flags of a daemon that writes sites, and its folders of files."""
    names = {"cert_dir": "certs", "vhost_dir": "vhost.d", "htpasswd_dir": "htpasswd"}
    for each in names.values():
        (tmp_path / each).mkdir()
    yield {name: str(tmp_path / each) for name, each in names.items()} | {"template": "nginx/sites.conf.j2"}


async def test_the_daemon_says_who_serves_a_host_and_how(
    engine: FakeEngine, tmp_path: Path, folders: dict[str, str]
) -> None:
    """The daemon's own answer, which knows what nginx runs; the engine is not asked again."""
    made("shop.example.org", days=5.5).write(tmp_path / "certs", "shop.example.org")
    (tmp_path / "vhost.d" / "shop.example.org.conf").write_text("# misnamed\n")
    engine.containers.run(name="shop-1", labels=SHOP)
    engine.containers.run(name="thief", labels=SHOP | {"lbwatch.upstream": "thief"})
    typed = {name: Path(each) if name.endswith("_dir") else each for name, each in folders.items()}
    async with running(engine, tmp_path, **typed) as flags:
        await eventually(lambda: "server_name shop.example.org" in (tmp_path / "out.conf").read_text())
        asked = engine.requests.copy()
        code, out, err = await lbwatch("explain", "--host", "https://shop.example.org/cart", **flags)
        assert engine.requests == asked
    assert code == 0, err
    lines = [line.strip() for line in out.splitlines()]
    assert lines[0] == "host      shop.example.org: it is served by this name"
    assert "answers   http (port 80): redirects to https" in lines
    assert "path      /: upstream shop" in lines
    assert "shop-1: 172.17.0.2:80 (port 80, the only one that it exposes)" in lines
    assert any(line.startswith("warning: certificate shop.example.org expires in 5 days") for line in lines)
    assert any(line.startswith("out       thief: not routed for shop.example.org/ (host-taken)") for line in lines)


async def test_without_a_daemon_the_engine_is_looked_at(
    engine: FakeEngine, tmp_path: Path, folders: dict[str, str]
) -> None:
    (tmp_path / "vhost.d" / "shop.example.org.conf").write_text("# misnamed\n")
    engine.containers.run(name="shop-1", labels=SHOP | {"lbwatch.port": "many"})
    engine.containers.run(name="other", labels=SHOP | {"lbwatch.host": "shop2.example.org"})
    flags = folders | {"docker_host": engine.url, "test_command": "true", "control_socket": "/nowhere"}
    code, out, err = await lbwatch("explain", "--host", "shop.example.org", **flags)
    assert code == 0, err
    assert "below: what it would do now" in err
    assert "host      shop.example.org: nobody serves it: it gets 503" in out
    assert "named by  shop-1: not routed (bad-label): label lbwatch.port='many'" in out
    assert "did you mean shop2.example.org?" in out
    assert f"file {folders['vhost_dir']}/shop.example.org.conf is of no site" in out
    code, out, _ = await lbwatch("explain", "--host", "shop2.example.org", "--json", **flags)
    found = json.loads(out)
    assert (found["site"], found["closed"], found["locations"][0]["containers"][0]["container"]) == (
        "shop2.example.org",
        None,
        "other",
    )


async def test_a_container_and_a_host_at_once_are_refused(engine: FakeEngine) -> None:
    code, out, err = await lbwatch("explain", "web", "--host", "a.example", docker_host=engine.url)
    assert (code, out) == (2, "")
    assert "explain takes a CONTAINER or --host, but 'web' and --host are given" in err


async def test_without_sites_it_says_what_to_set(engine: FakeEngine) -> None:
    engine.containers.run(name="shop-1", labels=SHOP)
    flags = {"docker_host": engine.url, "test_command": "true", "control_socket": "/nowhere"}
    code, out, _ = await lbwatch("explain", "--host", "shop.example.org", **flags)
    assert code == 0
    assert "template = nginx/sites.conf.j2" in out


async def test_it_fits_a_terminal_of_80_columns(engine: FakeEngine, folders: dict[str, str]) -> None:
    """Long words of nginx stay in their column."""
    engine.containers.run(name="shop-1", labels=SHOP | {"lbwatch.https": "only"})
    flags = folders | {"docker_host": engine.url, "test_command": "true", "control_socket": "/nowhere"}
    code, out = await on_a_terminal("explain", "--host", "shop.example.org", columns=80, **flags)
    assert code == 0
    assert all(len(line) <= 80 for line in plain(out).splitlines()), plain(out)
    assert "no certificate" in plain(out)


async def test_the_variables_of_a_container_are_never_shown(
    engine: FakeEngine, tmp_path: Path, folders: dict[str, str]
) -> None:
    """Its environment has passwords; only the names that are listed are kept at all."""
    env = ("VIRTUAL_HOST=np.example.org", "DB_PASSWORD=hunter2")
    engine.containers.run(name="np", env=env, exposed=("80/tcp", "443/tcp"))
    flags = folders | {
        "docker_host": engine.url,
        "test_command": "true",
        "control_socket": "/nowhere",
        "compat": "nginx-proxy",
    }
    code, out, err = await lbwatch("explain", "--host", "np.example.org", **flags)
    assert code == 0, err
    assert "np: 172.17.0.2:80 (it exposes 80, 443: took 80; VIRTUAL_PORT says otherwise)" in out
    assert "hunter2" not in out + err
    _, out, _ = await lbwatch("explain", "--host", "np.example.org", "--json", **flags)
    assert "hunter2" not in out
