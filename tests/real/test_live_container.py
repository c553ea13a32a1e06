"""
nginx in a container whose workers follow: by a socket in the folder that they share with lbwatch, and may not write.

It has the Lua module, and its workers are another user than lbwatch.
"""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from containernginx import ContainerNginx
from daemon import wait_until
from faultproxy import FaultProxy
from luacontainer import LUA_VERSION, LuaContainerNginx
from needs import obtained
from realengine import RealEngine
from realnginx import asked
from sidecar import SetSidecar, Sidecar
from watcher import WEB

SITE = Path(__file__).resolve().parents[2] / "deploy" / "nginx" / "site.conf"
WITHOUT_LUA = "user www-data;"
UNSUPERVISED = ("--label", "role=edge")


@pytest.fixture
def proxy(real_engine: RealEngine) -> Iterator[FaultProxy]:
    """Stands before the engine, and counts."""
    with FaultProxy(real_engine.socket, real_engine.folder / "live.sock") as proxy:
        yield proxy


@pytest.fixture
def nginx(engine: RealEngine) -> Iterator[LuaContainerNginx]:
    """One that is not started yet; in a folder whose path is short, for the socket in it."""
    engine.clear()
    with tempfile.TemporaryDirectory(prefix="lb", dir="/tmp") as folder:
        made = obtained(lambda _: LuaContainerNginx(Path(folder) / "nginx", engine), f"{LUA_VERSION} with Lua")
        with made as nginx:
            yield nginx


def wait_served(stage: Sidecar, *who: str) -> None:
    stage.wait_in_step({"web": set(who)}, within=30)


def settled_pids(stage: Sidecar, nginx: ContainerNginx) -> set[int]:
    """Return nginx's workers once the reload is over that has them follow."""
    stage.lbwatch.wait_for_log("nginx.reloaded")
    return nginx.worker_pids()


def has_lines(nginx: ContainerNginx) -> bool:
    return "init_worker_by_lua_block" in nginx.output.read_text()


def test_for_changes_of_servers_the_engine_is_asked_for_nothing_but_the_containers(
    nginx: LuaContainerNginx, set_sidecar: SetSidecar, engine: RealEngine, proxy: FaultProxy
) -> None:
    """Each exec takes it 50 ms or more, and each reload leaves old workers: the socket takes neither."""
    nginx.start()
    stage = set_sidecar(nginx, docker_host=proxy.url)
    engine.run("web0", labels=WEB)
    wait_served(stage, "web0")
    pids, before = settled_pids(stage, nginx), proxy.asked.copy()
    for number in range(1, 6):
        engine.run(f"web{number}", labels=WEB)
        wait_served(stage, f"web{number - 1}", f"web{number}")
        engine.remove(f"web{number - 1}")
        wait_served(stage, f"web{number}")
    assert set(proxy.asked - before) == {"GET /containers/ID/json"}
    assert nginx.worker_pids() == pids
    stage.lbwatch.hang_up()
    engine.run("web9", labels=WEB)
    wait_served(stage, "web5", "web9")


def test_a_restarted_nginx_serves_at_once_and_follows_again(
    nginx: LuaContainerNginx, set_sidecar: SetSidecar, engine: RealEngine
) -> None:
    """It starts from the file, which needs nobody, and asks for what comes after that."""
    nginx.start()
    stage = set_sidecar(nginx)
    engine.run("web1", labels=WEB)
    wait_served(stage, "web1")
    engine.run("web2", labels=WEB)
    engine.remove("web1")
    wait_served(stage, "web2")
    engine.docker("restart", "--time", "1", nginx.container)
    nginx.wait_up()
    assert nginx.answers("web") == {"web2"}
    pids = nginx.worker_pids()
    engine.run("web3", labels=WEB)
    wait_served(stage, "web2", "web3")
    assert nginx.worker_pids() == pids


@pytest.mark.parametrize("live", ["auto", "on"])
def test_an_nginx_that_is_made_anew_without_lua_is_served_by_reloads(
    nginx: LuaContainerNginx, set_sidecar: SetSidecar, engine: RealEngine, live: str
) -> None:
    """It cannot even start from a file with the lines: they have to go while it tries, or nobody serves any more."""
    if live == "on":
        nginx.options = ("--label", "role=edge", "--restart", "always")
    nginx.start()
    stage = set_sidecar(nginx, live=live, nginx_reload="exec" if live == "auto" else "signal")
    engine.run("web1", labels=WEB)
    wait_served(stage, "web1")
    engine.run("web2", labels=WEB)
    wait_served(stage, "web1", "web2")
    assert has_lines(nginx)
    engine.remove(nginx.container)
    ContainerNginx.rewrite(nginx, main=WITHOUT_LUA)
    nginx.launch()
    nginx.wait_up(within=30)
    engine.remove("web1")
    wait_served(stage, "web2")
    wait_until(lambda: not has_lines(nginx), within=20, what="they are tried no more", notes=stage.notes)
    engine.remove(nginx.container)
    nginx.rewrite()
    nginx.start()
    engine.run("web3", labels=WEB)
    wait_served(stage, "web2", "web3")
    wait_until(lambda: has_lines(nginx), within=20, what="it follows again", notes=stage.notes)


def test_lbwatch_may_be_made_anew_and_nginx_does_not_notice(
    nginx: LuaContainerNginx, set_sidecar: SetSidecar, engine: RealEngine
) -> None:
    """An upgrade of it, or its crash, costs no reload; what happened meanwhile is in force soon after."""
    nginx.start()
    stage = set_sidecar(nginx)
    engine.run("web1", labels=WEB)
    wait_served(stage, "web1")
    pids = settled_pids(stage, nginx)
    engine.run("web2", labels=WEB)
    wait_served(stage, "web1", "web2")
    evidence = stage.lbwatch.state_dir / "verified.json"  # without it a start cannot know what nginx has read
    wait_until(
        lambda: evidence.exists() and evidence.stat().st_mtime_ns > nginx.output.stat().st_mtime_ns,
        within=20,
        what="what was pushed is known to the next start",
    )
    stage.lbwatch.kill9()
    engine.remove("web1")
    stage.lbwatch.start()
    wait_served(stage, "web2")
    stage.lbwatch.terminate()
    stage.lbwatch.start()
    engine.run("web3", labels=WEB)
    wait_served(stage, "web2", "web3")
    assert nginx.worker_pids() == pids


def test_in_the_shipped_site_requests_wait_for_a_container_that_is_made_anew(
    nginx: LuaContainerNginx, set_sidecar: SetSidecar, engine: RealEngine
) -> None:
    """Whoever takes deploy/nginx as it is has but to add the label."""
    labels = WEB | {"lbwatch.hold": "20s"}
    nginx.rewrite(http=SITE.read_text().replace("listen 80;", "listen unix:/shared/site.sock;"))
    nginx.start()
    stage = set_sidecar(nginx)
    engine.run("old", labels=labels)
    wait_until(lambda: nginx.answers("web") == {"old"}, within=20, what="old serves", notes=stage.notes)
    settled_pids(stage, nginx)
    for name, former in (("new", "old"), ("newer", "new")):
        engine.remove(former)
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(asked, nginx.shared / "site.sock", "/")
            wait_until(
                lambda: stage.lbwatch.command("check")[1],
                holds=lambda said: "1 request waits" in said,
                within=20,
                what="it waits",
                notes=stage.notes,
            )
            engine.run(name, labels=labels)
            assert waiting.result(40) == name


def test_where_nothing_can_test_it_is_live_on_demand_and_needs_no_signal(
    nginx: LuaContainerNginx, set_sidecar: SetSidecar, engine: RealEngine, proxy: FaultProxy
) -> None:
    """Without exec the operator has to say that nginx has the module; then four requests that read are all."""
    nginx.options = UNSUPERVISED
    nginx.start()
    stage = set_sidecar(nginx, docker_host=proxy.url, nginx_reload="signal", live="on")
    engine.run("web1", labels=WEB)
    wait_served(stage, "web1")
    pids, before = settled_pids(stage, nginx), proxy.asked.copy()
    engine.run("web2", labels=WEB)
    wait_served(stage, "web1", "web2")
    engine.remove("web1")
    wait_served(stage, "web2")
    assert set(proxy.asked - before) == {"GET /containers/ID/json"}
    assert nginx.worker_pids() == pids


def test_live_on_demand_on_an_nginx_without_lua_blames_no_upstream(
    nginx: LuaContainerNginx, set_sidecar: SetSidecar, engine: RealEngine
) -> None:
    """Nothing could test it, and that nginx brings no new workers does not say why."""
    ContainerNginx.rewrite(nginx, main=WITHOUT_LUA)
    nginx.options = UNSUPERVISED
    nginx.start()
    stage = set_sidecar(nginx, nginx_reload="signal", live="on")
    engine.run("web1", labels=WEB)
    wait_served(stage, "web1")
    engine.run("web2", labels=WEB)
    wait_served(stage, "web1", "web2")
    assert not has_lines(nginx)
    assert not stage.lbwatch.logged("upstream.degraded")
