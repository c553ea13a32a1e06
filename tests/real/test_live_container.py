"""nginx in a container whose workers follow, by a socket in the folder that they share with lbwatch."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from containernginx import ContainerNginx
from faultproxy import FaultProxy
from luacontainer import LuaContainerNginx
from needs import obtained
from realengine import RealEngine
from sidecar import SetSidecar, Sidecar
from watcher import WEB


@pytest.fixture
def proxy(real_engine: RealEngine) -> Iterator[FaultProxy]:
    """Stands before the engine."""
    with FaultProxy(real_engine.socket, real_engine.folder / "live.sock") as proxy:
        yield proxy


@pytest.fixture
def nginx(engine: RealEngine, tmp_path: Path) -> Iterator[LuaContainerNginx]:
    """One that is not started yet."""
    engine.clear()
    with obtained(lambda _: LuaContainerNginx(tmp_path / "nginx", engine), "1.22 with Lua") as nginx:
        yield nginx


def served(stage: Sidecar, *who: str, within: float = 20) -> None:
    stage.wait_in_step({"web": set(who)}, within=within)


def follows(nginx: LuaContainerNginx) -> bool:
    return "init_worker_by_lua_block" in nginx.output.read_text()


def test_changes_of_servers_reload_nothing(
    nginx: LuaContainerNginx, set_sidecar: SetSidecar, engine: RealEngine, proxy: FaultProxy
) -> None:
    """Each exec takes the engine 50 ms, and each reload leaves old workers; the socket takes neither."""
    nginx.start()
    stage = set_sidecar(nginx, docker_host=proxy.url)
    engine.run("web0", labels=WEB)
    served(stage, "web0")
    pids, asked = nginx.worker_pids(), proxy.asked.copy()
    for number in range(1, 6):
        engine.run(f"web{number}", labels=WEB)
        served(stage, f"web{number - 1}", f"web{number}")
        engine.remove(f"web{number - 1}")
        served(stage, f"web{number}")
    more = proxy.asked - asked
    print(more); print(stage.lbwatch.log.read_text()); print("\n".join(l for l in nginx.errors().splitlines() if "notice" in l))
    assert more["GET /containers/ID/top"] == more["GET /containers/ID/archive"] == 0
    assert nginx.worker_pids() == pids


def test_a_restarted_nginx_serves_at_once_and_follows_again(
    nginx: LuaContainerNginx, set_sidecar: SetSidecar, engine: RealEngine
) -> None:
    """It starts from the file, and asks for what came since then."""
    nginx.start()
    stage = set_sidecar(nginx)
    engine.run("web1", labels=WEB)
    served(stage, "web1")
    engine.run("web2", labels=WEB)
    engine.remove("web1")
    served(stage, "web2")
    engine.docker("restart", "--time", "1", "nginx")
    nginx.wait_up()
    assert nginx.answers("web") == {"web2"}
    pids = nginx.worker_pids()
    engine.run("web3", labels=WEB)
    served(stage, "web2", "web3")
    print(stage.lbwatch.tail())
    assert nginx.worker_pids() == pids


def test_an_nginx_that_lost_its_lua_is_served_by_reloads(
    nginx: LuaContainerNginx, set_sidecar: SetSidecar, engine: RealEngine
) -> None:
    """It cannot start from a file with the lines: while it tries, they have to go."""
    nginx.start()
    stage = set_sidecar(nginx)
    engine.run("web1", labels=WEB)
    served(stage, "web1")
    assert follows(nginx)
    engine.remove("nginx")
    ContainerNginx.rewrite(nginx, main="user www-data;")
    nginx.launch()
    try:
        nginx.wait_up(within=30)
    finally:
        print(stage.lbwatch.tail())
        print(engine.log_of("nginx"))
    assert not follows(nginx)
    engine.run("web2", labels=WEB)
    served(stage, "web1", "web2")
    print(stage.lbwatch.tail())
    engine.remove("nginx")
    nginx.rewrite()
    nginx.start()
    engine.run("web3", labels=WEB)
    served(stage, "web1", "web2", "web3")
    assert follows(nginx)


def test_lbwatch_may_be_made_anew_and_nginx_never_notices(
    nginx: LuaContainerNginx, set_sidecar: SetSidecar, engine: RealEngine
) -> None:
    """An upgrade of lbwatch should cost no reload; what happened meanwhile is in force soon after."""
    nginx.start()
    stage = set_sidecar(nginx)
    engine.run("web1", labels=WEB)
    served(stage, "web1")
    engine.run("web2", labels=WEB)
    served(stage, "web1", "web2")
    pids = nginx.worker_pids()
    stage.lbwatch.kill9()
    engine.remove("web1")
    assert nginx.is_up()
    stage.lbwatch.start()
    served(stage, "web2")
    assert nginx.worker_pids() == pids
    stage.lbwatch.terminate()
    stage.lbwatch.start()
    engine.run("web3", labels=WEB)
    served(stage, "web2", "web3")
    assert nginx.worker_pids() == pids


def test_by_a_signal_it_is_live_where_that_is_asked_for(
    nginx: LuaContainerNginx, set_sidecar: SetSidecar, engine: RealEngine, proxy: FaultProxy
) -> None:
    """Without exec nothing can test, so that the operator has to say that nginx has the module."""
    nginx.options = ("--label", "role=edge")
    nginx.start()
    stage = set_sidecar(nginx, docker_host=proxy.url, nginx_reload="signal", live="on")
    engine.run("web1", labels=WEB)
    served(stage, "web1")
    pids, asked = nginx.worker_pids(), proxy.asked.copy()
    engine.run("web2", labels=WEB)
    served(stage, "web1", "web2")
    engine.remove("web1")
    served(stage, "web2")
    assert nginx.worker_pids() == pids
    print(proxy.asked - asked)
    assert set(proxy.asked - asked) == {"GET /containers/ID/json"}


def test_by_a_signal_an_nginx_without_lua_takes_nothing_back_but_the_lines(
    nginx: LuaContainerNginx, set_sidecar: SetSidecar, engine: RealEngine
) -> None:
    """Nothing could test them: that nginx brings no new workers tells, and no upstream is to blame for it."""
    ContainerNginx.rewrite(nginx, main="user www-data;")
    nginx.options = ("--label", "role=edge")
    nginx.start()
    stage = set_sidecar(nginx, nginx_reload="signal", live="on")
    engine.run("web1", labels=WEB)
    try:
        served(stage, "web1")
        engine.run("web2", labels=WEB)
        served(stage, "web1", "web2")
    finally:
        print(stage.lbwatch.log.read_text())
        print(nginx.output.read_text())
