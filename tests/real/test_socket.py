"""An engine's socket that is mounted as a file, as in most examples of the web: it is dead after the engine restarts."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon import Lbwatch, wait_until
from faultproxy import FaultProxy
from needs import ENGINE_NEEDS, need
from oracle import file_blocks
from realengine import RealEngine

WEB = {"lbwatch.upstream": "web"}
MOUNTED = 'mount --bind "$0" "$1" && shift && exec "$@"'


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """Where the socket is mounted, in a mount namespace of lbwatch's own."""
    path = tmp_path / "docker.sock"
    path.touch()
    return path


def test_a_socket_that_is_dead_for_ever_is_said_and_ends_the_daemon(
    engine: RealEngine, mounted: Path, tmp_path: Path
) -> None:
    """Nobody would ever listen there again: whoever supervises it can start it anew, and it cannot do so itself."""
    need(*ENGINE_NEEDS)
    output, socket = tmp_path / "lbwatch.conf", engine.folder / "front.sock"
    flags = ("--docker-host", f"unix://{mounted}", "--output", str(output), "--test-command", "true")
    more = ("--reload-command", "true", "--status-listen", "", "--log-format", "json")
    inside = ("unshare", "--mount", "--propagation", "private", "sh", "-c", MOUNTED, str(socket), str(mounted))
    engine.run("web1", labels=WEB)
    with Lbwatch(*flags, *more, folder=tmp_path, inside=inside) as lbwatch:
        with FaultProxy(engine.socket, socket):
            lbwatch.start()
            lbwatch.wait_for_log("nginx.reloaded")
            suspended = output.read_bytes()
            assert dict(file_blocks(output)).keys() == {"web"}
        with FaultProxy(engine.socket, socket):  # another socket of the same name, as after a restart
            lost = lbwatch.wait_for_log("source.disconnected", within=5)
            said = lbwatch.wait_for_log("source.socket_dead", within=20)
            wait_until(lambda: not lbwatch.runs, within=5, what="it ends", notes=lbwatch.tail)
        assert lbwatch.process.returncode == 1
        assert "the socket is mounted as a file" in said["error"]
        assert "mount its folder" in said["error"]
        assert lost["level"] == "warning"
        assert output.read_bytes() == suspended


@pytest.fixture
def of_nginx_proxy() -> Iterator[Path]:
    """Where nginx-proxy's users mount it: a place for a mount, which is nothing as long as none is there."""
    path = Path("/tmp/docker.sock")
    path.touch()
    yield path
    path.unlink(missing_ok=True)


def test_where_nginx_proxy_has_it_the_socket_is_found_and_its_death_ends_the_daemon(
    engine: RealEngine, of_nginx_proxy: Path, tmp_path: Path
) -> None:
    """Nothing says where the engine is, and none is at the usual place; a restart policy then heals the rest."""
    need(*ENGINE_NEEDS)
    output, socket = tmp_path / "lbwatch.conf", engine.folder / "front.sock"
    flags = ("--output", str(output), "--test-command", "true", "--reload-command", "true", "--status-listen", "")
    script = f"mount -t tmpfs tmpfs /run; {MOUNTED}"
    inside = ("unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(socket), str(of_nginx_proxy))
    engine.run("web1", labels=WEB)
    with Lbwatch(*flags, "--log-format", "json", folder=tmp_path, inside=inside) as lbwatch:
        with FaultProxy(engine.socket, socket):
            lbwatch.start()
            lbwatch.wait_for_log("nginx.reloaded")
            assert lbwatch.wait_for_log("daemon.started")["source"] == f"unix://{of_nginx_proxy}"
        with FaultProxy(engine.socket, socket):
            lbwatch.wait_for_log("source.socket_dead", within=20)
            wait_until(lambda: not lbwatch.runs, within=5, what="it ends", notes=lbwatch.tail)
        assert lbwatch.process.returncode == 1


def test_a_mounted_socket_whose_engine_is_only_down_is_waited_for(
    engine: RealEngine, mounted: Path, tmp_path: Path
) -> None:
    """Systemd keeps the socket while the engine restarts: that one comes back."""
    need(*ENGINE_NEEDS)
    output = tmp_path / "lbwatch.conf"
    flags = ("--docker-host", f"unix://{mounted}/docker.sock", "--output", str(output), "--test-command", "true")
    more = ("--reload-command", "true", "--status-listen", "", "--log-format", "json", "--log-level", "debug")
    folder = tmp_path / "run"
    folder.mkdir()
    mounted.unlink()
    mounted.mkdir()
    inside = ("unshare", "--mount", "--propagation", "private", "sh", "-c", MOUNTED, str(folder), str(mounted))
    with Lbwatch(*flags, *more, folder=tmp_path, inside=inside) as lbwatch:
        with FaultProxy(engine.socket, folder / "docker.sock"):
            lbwatch.start()
            lbwatch.wait_for_log("source.synced")
        lbwatch.wait_for_log("source.disconnected", count=2, within=10)
        engine.run("web1", labels=WEB)
        with FaultProxy(engine.socket, folder / "docker.sock"):
            wait_until(
                lambda: "web" in dict(file_blocks(output)), within=10, what="the new socket is used", notes=lbwatch.tail
            )
            lbwatch.terminate()
