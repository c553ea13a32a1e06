"""The way back: nginx without lbwatch, an older lbwatch after this one, and what has to go where nothing shall be left."""

import io
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import Certificates
from daemon import Stage, ending, flags_of, wait_until
from debian import NEEDS
from livedaemon import LiveDaemon, live_daemon
from luanginx import lua_program
from needs import ENGINE_NEEDS, NGINX_NEEDS, need, obtained
from realengine import RealEngine, in_namespace
from streamnginx import StreamNginx, stream_module

VERSION = "1.26"
HOST = "shop.example.org"

OLDER = "e7d7108850076a75f41399d260a529fa1a7cc16e"
"""The last lbwatch that knew no sites and no streams."""

SOON_S = 15.0
_RUN_OLDER = (
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); "
    "runpy.run_module('lbwatch', run_name='__main__', alter_sys=True)"
)
_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def stage(engine: RealEngine, tmp_path: Path) -> Iterator[Stage]:
    """An lbwatch that has written all that it can: upstreams, a site with a certificate and a password, and a port."""
    need(*ENGINE_NEEDS, *NGINX_NEEDS, *NEEDS)
    obtained(stream_module, VERSION)
    engine.prepare()
    nginx = StreamNginx(tmp_path / "nginx", engine.name, version=VERSION)
    folders = {name: tmp_path / name for name in ("certs", "vhost.d", "htpasswd")}
    for folder in folders.values():
        folder.mkdir()
    made = Certificates(tmp_path / "tls", names=f"DNS:{HOST}").folder
    (folders["certs"] / f"{HOST}.key").write_bytes((made / "server-key.pem").read_bytes())
    (folders["certs"] / f"{HOST}.crt").write_bytes((made / "server.pem").read_bytes())
    (folders["htpasswd"] / HOST).write_text("me:{PLAIN}secret\n")
    settings = {
        "nginx_command": nginx.program,
        "template": "nginx/sites.conf.j2",
        "stream_output": str(nginx.stream_output),
        "cert_dir": str(folders["certs"]),
        "vhost_dir": str(folders["vhost.d"]),
        "htpasswd_dir": str(folders["htpasswd"]),
    }
    stage = Stage(engine, nginx, folder=tmp_path, settings=flags_of(settings))
    with ending([stage]):
        nginx.start()
        stage.lbwatch.start()
        labels = {"lbwatch.upstream": "web", "lbwatch.host": HOST, "lbwatch.listen": "5432/tcp", "lbwatch.port": "80"}
        for name in ("web1", "web2"):
            engine.run(name, labels=labels)
        serves(stage, {"web1", "web2"})
        yield stage


def curl(stage: Stage, *words: str) -> str:
    """What curl prints, or the status if it is not 200, asked from within the engine's network."""
    argv = ("curl", "--silent", "--max-time", "3", "--write-out", "\n%{http_code}", *words)
    done = subprocess.run(in_namespace(stage.engine.name, argv), check=False, capture_output=True, text=True)
    said, _, status = done.stdout.rpartition("\n")
    return said.strip() if status == "200" else f"status {status}"


def by_host(stage: Stage, *words: str) -> str:
    certificate = stage.lbwatch.log.parent / "tls" / "ca.pem"
    where = ("--resolve", f"{HOST}:443:127.0.0.1", "--cacert", str(certificate))
    return curl(stage, *where, *words, f"https://{HOST}/")


def seen(stage: Stage) -> tuple[set[str], set[str], str, str]:
    """Who answers by host, who by port, what one without the password gets, and what a host that nobody serves gets."""
    return (
        {by_host(stage, "--user", "me:secret") for _ in range(8)},
        {curl(stage, "http://127.0.0.1:5432/") for _ in range(8)},
        by_host(stage),
        curl(stage, "--header", "Host: other.example", "http://127.0.0.1/"),
    )


def serves(stage: Stage, who: set[str]) -> None:
    wait_until(
        lambda: seen(stage),
        holds=lambda found: found == (who, who, "status 401", "status 503"),
        within=SOON_S,
        what=f"{who} answer by host and port, and nobody else gets anything",
        notes=stage.notes,
    )


@pytest.mark.parametrize("way", ["terminate", "kill9"])
def test_nginx_serves_on_without_lbwatch_also_after_a_restart(stage: Stage, way: str) -> None:
    """Whoever takes lbwatch away, or loses it at night, keeps what was there, passwords and certificates included."""
    getattr(stage.lbwatch, way)()
    files = sorted(path.name for path in stage.output.parent.iterdir())
    serves(stage, {"web1", "web2"})
    stage.nginx.stop()
    stage.nginx.start()
    serves(stage, {"web1", "web2"})
    assert sorted(path.name for path in stage.output.parent.iterdir()) == files


def test_what_render_prints_is_the_file_without_lbwatch(stage: Stage, engine: RealEngine, tmp_path: Path) -> None:
    """Whoever leaves for good takes a last look with him, as a file of his own, and removes all of lbwatch's."""
    code, said, _ = stage.lbwatch.command("render", "--live", "off")
    assert code == 0
    stage.lbwatch.terminate()
    folder = stage.output.parent
    http, line, stream = said.partition("# lbwatch: all below is for stream {}, in a file of its own\n")
    assert line
    kept = folder / "mine.conf", folder / "mine.stream"
    kept[0].write_text(http)
    kept[1].write_text(stream)
    for path in folder.iterdir():
        if path not in kept:
            path.unlink() if path.is_file() else subprocess.run(["rm", "-r", str(path)], check=True)
    stage.nginx.stop()
    stage.nginx.start()
    serves(stage, {"web1", "web2"})


def test_without_its_files_nginx_knows_none_of_it(stage: Stage) -> None:
    """What the recipe removes is all that there is: nginx starts, and nobody answers."""
    stage.lbwatch.terminate()
    subprocess.run("rm -rf .lbwatch* lbwatch.conf* lbwatch.stream*", shell=True, check=True, cwd=stage.output.parent)
    stage.nginx.stop()
    stage.nginx.start()
    assert stage.nginx.is_up()
    assert [path.name for path in stage.output.parent.iterdir()] == []
    assert seen(stage) == ({"status 000"}, {"status 000"}, "status 000", "status 000")


def test_an_older_lbwatch_takes_over_and_a_newer_one_again(stage: Stage, engine: RealEngine, tmp_path: Path) -> None:
    """An upgrade that went wrong must have a way back, with the state and the files as they are."""
    old = older(tmp_path / "older")
    stage.lbwatch.command("drain", "web1")
    serves(stage, {"web2"})
    stage.lbwatch.terminate()
    new, flags = stage.lbwatch, stage.lbwatch.flags
    pairs = zip(flags[::2], flags[1::2], strict=True)
    new.flags = tuple(word for pair in pairs if pair[0] not in NEW_FLAGS for word in pair)
    new.program = ("-c", _RUN_OLDER, str(old))
    helped = subprocess.run([sys.executable, *new.program, "run", "--help"], check=True, capture_output=True, text=True)
    assert "--output" in helped.stdout
    assert "--stream-output" not in helped.stdout
    mark = new.mark()
    new.start()
    new.wait_for_log("nginx.reloaded", since=mark, within=30)
    wait_until(
        lambda: stage.nginx.answers("web"), holds=lambda found: found == {"web2"}, within=SOON_S, what="web2 by name"
    )
    assert by_host(stage, "--user", "me:secret") == "status 000"  # it knows no sites
    assert not new.logged("daemon.failed", since=mark)
    engine.run("web3", labels={"lbwatch.upstream": "web", "lbwatch.port": "80"})
    wait_until(
        lambda: stage.nginx.answers("web"),
        holds=lambda found: found == {"web2", "web3"},
        within=SOON_S,
        what="it follows",
    )
    engine.remove("web3")
    new.terminate()
    new.flags, new.program = flags, ("-m", "lbwatch")
    new.start()
    serves(stage, {"web2"})


# -- nginx's workers that follow


def test_nginx_with_the_lines_for_its_workers_serves_on_without_lbwatch() -> None:
    """They ask for what is not there any more, and go by the file."""
    need(*NGINX_NEEDS)
    obtained(lua_program, VERSION)
    with live_daemon(VERSION) as stage:
        live_stage(stage)
        stage.lbwatch.terminate()
        stage.wait_answers("one", "two")
        stage.nginx.stop()
        stage.nginx.start()
        stage.wait_answers("one", "two")


def live_stage(stage: LiveDaemon) -> None:
    stage.nginx.start()
    stage.lbwatch.start()
    stage.run("one")
    stage.wait_answers("one")
    stage.run("two")
    stage.wait_answers("one", "two")
    assert "balancer_by_lua_block" in stage.nginx.output.read_text()


# -- an older lbwatch


NEW_FLAGS = {"--stream-output", "--cert-dir", "--vhost-dir", "--htpasswd-dir", "--template"}


def older(folder: Path) -> Path:
    """Return where the older lbwatch is; skips where the checkout has not all of its history."""
    packed = subprocess.run(
        ["git", "archive", OLDER, "lbwatch", "templates"], check=False, capture_output=True, cwd=_ROOT
    )
    if packed.returncode:
        pytest.skip("this checkout does not have the older lbwatch")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as tar:
        tar.extractall(folder, filter="data")
    return folder
