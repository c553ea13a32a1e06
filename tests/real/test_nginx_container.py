"""nginx in a container as people run it: other main files, pid files and masters, large folders, kinds of mounts."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from containernginx import ContainerNginx
from daemon import IN_STEP_S, wait_until
from faultproxy import FaultProxy
from oracle import file_blocks
from realengine import RealEngine
from sidecar import SetSidecar
from watcher import WEB, watched

TAKEN = {"lbwatch.upstream": "taken"}
OWN = "upstream taken { server 192.0.2.9:80; }"


@pytest.fixture
def proxy(real_engine: RealEngine) -> Iterator[FaultProxy]:
    """Stands before the engine."""
    with FaultProxy(real_engine.socket, real_engine.folder / "kinds.sock") as proxy:
        yield proxy


STARTS = {
    "another main file": ("cp /etc/nginx/nginx.conf /opt/my.conf", "nginx -c /opt/my.conf"),
    "a main file that is named from the prefix": (
        "mkdir /opt/conf; cp /etc/nginx/nginx.conf /etc/nginx/mime.types /opt/conf; mkdir /opt/conf/sites",
        "nginx -p /opt -c conf/nginx.conf",
    ),
    "another pid file": ("true", "nginx -g 'pid /run/other.pid;'"),
    "both": ("cp /etc/nginx/nginx.conf /opt/my.conf", "nginx -c /opt/my.conf -g 'pid /run/other.pid;'"),
}


@pytest.mark.parametrize(("preparation", "command"), STARTS.values(), ids=STARTS)
def test_nginx_is_tested_and_reloaded_as_it_was_started(
    nginx: ContainerNginx, set_sidecar: SetSidecar, engine: RealEngine, preparation: str, command: str
) -> None:
    """The image's own nginx.conf and pid file lie there still: what is tested and signalled must be what runs."""
    nginx.rewrite(http=OWN)
    own = nginx.conf.read_text()
    nginx.preparation = f"mkdir -p /opt; {preparation}; cp /etc/nginx/mime.types /opt 2>/dev/null; mkdir -p /opt/sites"
    # The words of `-g` beside the tests' own: nginx takes one alone.
    pid = " pid /run/other.pid;" if "other.pid" in command else ""
    nginx.command = command.partition(" -g")[0]
    nginx.extra_directives = pid
    nginx.start()
    assert own == nginx.conf.read_text()
    stage = set_sidecar(nginx)
    engine.run("web1", labels=WEB)
    stage.wait_in_step({"web": {"web1"}}, within=20)
    with watched(stage.output) as watcher:
        engine.run("taken1", labels=TAKEN)
        degraded = stage.lbwatch.wait_for_log("upstream.degraded", upstream="taken", within=20)
        engine.run("web2", labels=WEB)
        wait_until(lambda: nginx.answers("web") == {"web1", "web2"}, within=20, what="the others go on")
    assert 'duplicate upstream "taken"' in degraded["error"]
    assert not [sight for sight in watcher.sights if sight and b"upstream taken" in sight[0]], "it went live"


def test_what_no_configuration_names_is_not_copied(
    nginx: ContainerNginx, set_sidecar: SetSidecar, engine: RealEngine, proxy: FaultProxy
) -> None:
    """A database of places beside the configuration has 70 MB, and keys are nobody's business."""
    nginx.preparation = (
        "cp -r /etc/nginx /keep 2>/dev/null; mkdir -p /etc/nginx/geo /etc/nginx/ssl; "
        "head -c 73400320 /dev/zero > /etc/nginx/geo/city.mmdb; echo secret > /etc/nginx/ssl/key.pem"
    )
    nginx.start(within=30)
    stage = set_sidecar(nginx, docker_host=proxy.url)
    engine.run("web1", labels=WEB)
    stage.wait_in_step({"web": {"web1"}}, within=20)
    assert not stage.lbwatch.logged("nginx.untested")
    copied = [path for path in stage.lbwatch.log.parent.rglob("*") if path.is_file() and not path.is_symlink()]
    assert sum(path.stat().st_size for path in copied if path != stage.lbwatch.log) < 1 << 20
    assert not [path for path in copied if path.suffix in {".pem", ".mmdb"}]


def test_a_folder_that_is_too_large_to_copy_leaves_the_reload_to_judge(
    nginx: ContainerNginx, set_sidecar: SetSidecar, engine: RealEngine
) -> None:
    """Where the configuration itself names such a folder nothing can be tested; routing goes on."""
    nginx.rewrite(includes="include /etc/nginx/conf.d/*.conf; include big/*.conf;")
    nginx.preparation = "mkdir -p /etc/nginx/big; head -c 73400320 /dev/zero > /etc/nginx/big/city.mmdb"
    nginx.start(within=30)
    stage = set_sidecar(nginx)
    engine.run("web1", labels=WEB)
    stage.wait_in_step({"web": {"web1"}}, within=30)
    (untested,) = stage.lbwatch.logged("nginx.untested")
    assert "/etc/nginx/big cannot be copied" in untested["reason"]


def test_of_two_nginxes_in_one_container_the_workers_of_the_other_do_not_count(
    nginx: ContainerNginx, set_sidecar: SetSidecar, engine: RealEngine
) -> None:
    """Those of the second never change, and no reload would ever count as taken."""
    nginx.preparation = (
        "echo 'pid /run/second.pid; events {} http { access_log off; server { listen 127.0.0.1:9; } }' > /second.conf; "
        "nginx -c /second.conf"
    )
    nginx.command = "nginx -c /etc/nginx/nginx.conf"
    nginx.start()
    stage = set_sidecar(nginx, nginx_conf="/etc/nginx/nginx.conf")
    engine.run("web1", labels=WEB)
    stage.wait_in_step({"web": {"web1"}}, within=20)
    engine.run("web2", labels=WEB)
    stage.wait_in_step({"web": {"web1", "web2"}}, within=20)
    assert not stage.lbwatch.logged("nginx.reload_failed")


def test_a_volume_that_is_a_bind_is_the_folder_that_it_is_of(
    nginx: ContainerNginx, set_sidecar: SetSidecar, engine: RealEngine, tmp_path: Path
) -> None:
    """`docker volume create -o type=none -o o=bind -o device=...`: the engine names its own place for it."""
    folder = nginx.output.parent
    options = ("--opt", "type=none", "--opt", "o=bind", "--opt", f"device={folder}")
    engine.docker("volume", "create", *options, "conf")
    try:
        del nginx.volumes[folder]
        nginx.options += ("--volume", "conf:/etc/nginx/conf.d")
        nginx.start()
        stage = set_sidecar(nginx)
        engine.run("web1", labels=WEB)
        stage.wait_in_step({"web": {"web1"}}, within=20)
        assert not stage.lbwatch.logged("nginx.untested")
        assert file_blocks(stage.output)
    finally:
        engine.remove(nginx.container)
        engine.docker("volume", "rm", "conf")


def test_a_paused_nginx_is_said_to_be_paused(
    nginx: ContainerNginx, set_sidecar: SetSidecar, engine: RealEngine
) -> None:
    """`not running` would send the operator to its log, where there is nothing."""
    nginx.start()
    stage = set_sidecar(nginx)
    engine.run("web1", labels=WEB)
    stage.wait_in_step({"web": {"web1"}}, within=20)
    engine.docker("pause", nginx.container)
    try:
        engine.run("web2", labels=WEB)
        failed = stage.lbwatch.wait_for_log("nginx.reload_failed", within=20)
        assert "is paused" in failed["error"]
        assert "docker unpause nginx" in failed["error"]
    finally:
        engine.docker("unpause", nginx.container)
    stage.wait_in_step({"web": {"web1", "web2"}}, within=20 + IN_STEP_S)
