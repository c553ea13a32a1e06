"""
lbwatch from its image, beside an nginx in a container, as `docker run` and deploy/compose*.yaml have it.

With `docker compose` as people type it; the stacks come up with the docker-compose of old, too.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import images
import pasting
import pytest
import readme
import yaml
from compose import NEEDS as COMPOSE_NEEDS
from compose import compose as compose_of
from daemon import wait_until
from needs import ENGINE_NEEDS, need
from realengine import RealEngine, in_namespace

pytestmark = pytest.mark.timeout(600)  # the first test waits for all images

MB = 1_000_000
WEB = {"lbwatch.upstream": "web", "lbwatch.port": "80"}
LOCKED_DOWN = ("--read-only", "--tmpfs", "/tmp", "--tmpfs", "/run/lbwatch", "--cap-drop", "ALL")
NO_SHELL = ("--volume", "/dev/null:/usr/bin/dash:ro", "--volume", "/dev/null:/usr/bin/bash:ro")
DEPLOY = images.REPOSITORY / "deploy"
HTTP_PORT = 18080
PAGE = "http://127.0.0.1:9180/"
TAKEN = "upstream taken { server 192.0.2.9:80; }"
ALLOWED = ("GET /_ping", "GET /events", "GET /containers/json", "GET /containers/ID/json")


@pytest.fixture(scope="module")
def stocked(real_engine: RealEngine, tmp_path_factory: pytest.TempPathFactory) -> RealEngine:
    """An engine that has all images."""
    need(*ENGINE_NEEDS, *images.NEEDS, *COMPOSE_NEEDS, "curl")
    real_engine.folder.chmod(0o755)  # as /var/run is: whoever is not root must find the socket in it
    images.load(real_engine, images.shared_folder(tmp_path_factory.getbasetemp()))
    return real_engine


def socket_group(engine: RealEngine) -> str:
    return str(engine.socket.stat().st_gid)


ASK = """\
import json, sys, urllib.request
said = []
for _ in range(int(sys.argv[2])):
    try:
        said.append(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode().strip())
    except Exception as error:
        said.append(str(error))
print(json.dumps(said))
"""


def asked(engine: RealEngine, url: str) -> str:
    """What a server says to one request from the engine's network: its body, or why there is none."""
    (said,) = all_asked(engine, url, 1)
    return said


def all_asked(engine: RealEngine, url: str, n: int) -> list[str]:
    """What it says to so many, one after the other."""
    argv = in_namespace(engine.name, [sys.executable, "-I", "-c", ASK, url, str(n)])
    said = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=10 + 6 * n).stdout
    answers: list[str] = json.loads(said)
    return answers


def address(engine: RealEngine, name: str) -> str:
    (network,) = engine.inspect(name)["NetworkSettings"]["Networks"].values()
    return str(network["IPAddress"])


def wait_served(engine: RealEngine, url: str, who: set[str], *, notes: str = "") -> None:
    """Wait until all of them answer, and nobody else."""

    def seen() -> set[str]:
        if asked(engine, url) not in who:
            return set()
        return set(all_asked(engine, url, 8 * len(who)))

    def told() -> str:
        return engine.log_of(notes)[-4000:] if notes else ""

    wait_until(seen, holds=lambda found: found == who, within=60, what=f"{sorted(who)} answer at {url}", notes=told)


def wait_health(engine: RealEngine, name: str, health: str, *, within: float = 30) -> None:
    wait_until(
        lambda: engine.inspect(name)["State"]["Health"],
        holds=lambda state: state["Status"] == health,
        within=within,
        what=f"{name} is {health}",
        notes=lambda: engine.log_of(name),
    )


# -- the image


def test_the_image_is_small_and_has_all_that_users_look_for(stocked: RealEngine) -> None:
    """It is fetched on each machine, and read by scanners before anyone reads the code."""
    size = {name: stocked.api("GET", f"/images/{name}/json")[1]["Size"] for name in (images.PYTHON, images.LBWATCH)}
    assert size[images.LBWATCH] - size[images.PYTHON] < 80 * MB
    config = stocked.api("GET", f"/images/{images.LBWATCH}/json")[1]["Config"]
    user, _, group = config["User"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert config["Entrypoint"] == ["lbwatch"]
    assert config["Cmd"] == ["run"]
    assert config["Healthcheck"]["Test"] == ["CMD", "lbwatch", "health"]
    labels = {key.rpartition(".")[2]: value for key, value in config["Labels"].items() if "opencontainers" in key}
    assert labels.keys() >= {"title", "description", "licenses", "source", "documentation", "version"}
    assert labels["version"] == stocked.docker("run", "--rm", images.LBWATCH, "--version"), "see ARG VERSION"


def test_the_image_can_reach_an_engine_by_ssh(stocked: RealEngine) -> None:
    """An ssh that is there may still refuse to run: it wants a name for its user, and lbwatch a place for the socket."""
    said = stocked.docker(
        *("run", "--rm", "--network=none", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL"),
        *(
            "--entrypoint=sh",
            images.LBWATCH,
            "-c",
            "lbwatch render --docker-host ssh://me@127.0.0.1:1 2>&1; test $? = 1",
        ),
    )
    assert "ssh: connect to host 127.0.0.1 port 1: Connection refused" in said


def test_its_commands_need_neither_a_network_nor_a_shell_nor_a_file_to_write(stocked: RealEngine) -> None:
    """What is not there cannot be abused."""
    bare = ("run", "--rm", "--read-only", "--network", "none", "--cap-drop", "ALL", *NO_SHELL, images.LBWATCH)
    assert stocked.docker(*bare, "--version").count(".") == 2
    assert "nginx_container" in stocked.docker(*bare, "run", "--help").replace("-", "_")
    with pytest.raises(RuntimeError, match="settings"):  # it ends with 1, since there is no engine and no nginx
        stocked.docker(*bare, "check")


def test_no_start_compiles_anything(stocked: RealEngine) -> None:
    """On a read-only file system each health check would do so anew, for half a second of a processor."""
    bare = ("--read-only", "--network", "none", "--env", "PYTHONVERBOSE=1", images.LBWATCH, "health")
    said = run_and_see(stocked, *bare)
    loaded = [line for line in said.splitlines() if line.startswith("# code object from")]
    assert loaded, "Python says something else now"
    assert [line for line in loaded if ".pyc" not in line] == []


def run_and_see(engine: RealEngine, *words: str) -> str:
    """Both outputs of a container that ends, however it ends."""
    argv = ["docker", "--host", engine.url, "run", "--rm", *words]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=30)
    return done.stdout + done.stderr


# -- beside an nginx in a container, by exec


@pytest.fixture
def nginx(stocked: RealEngine, engine: RealEngine) -> Iterator[str]:
    """An nginx in a container with what deploy/nginx ships, and a volume for what lbwatch writes."""
    name = "nginx"
    stocked.docker("volume", "create", "conf")
    stocked.docker("volume", "create", "state")
    try:
        stocked.docker(
            *("run", "--detach", "--name", name, "--restart", "unless-stopped", "--label", "role=edge"),
            *("--volume", f"{DEPLOY}/nginx/nginx.conf:/etc/nginx/nginx.conf:ro"),
            *("--volume", f"{DEPLOY}/nginx/site.conf:/etc/nginx/sites-enabled/site.conf:ro"),
            *("--volume", "conf:/etc/nginx/conf.d:ro,nocopy", images.NGINX),
        )
        yield name
    finally:
        stocked.clear()
        stocked.docker("volume", "rm", "conf", "state")


def start_lbwatch(engine: RealEngine, *options: str) -> str:
    return engine.docker(
        *("run", "--detach", "--name", "lbwatch", *LOCKED_DOWN, *NO_SHELL, "--group-add", socket_group(engine)),
        *("--volume", f"{engine.folder}:/host/run:ro", "--volume", "conf:/etc/nginx/conf.d"),
        *("--volume", "state:/var/lib/lbwatch", "--env", "LBWATCH_DOCKER_HOST=unix:///host/run/docker.sock"),
        *("--health-interval", "1s", "--health-retries", "1", "--security-opt", "no-new-privileges"),
        *(*options, images.LBWATCH),
    )


def test_from_its_image_it_drives_an_nginx_in_another_container(engine: RealEngine, nginx: str) -> None:
    """This is what most users will run: two containers, one volume, and the engine's socket."""
    engine.run("web1", labels=WEB)
    start_lbwatch(engine, "--env", "LBWATCH_NGINX_CONTAINER=label=role=edge")
    url = f"http://{address(engine, nginx)}/"
    wait_served(engine, url, {"web1"}, notes="lbwatch")
    wait_health(engine, "lbwatch", "healthy")
    engine.run("web2", labels=WEB)
    wait_served(engine, url, {"web1", "web2"}, notes="lbwatch")
    engine.docker("exec", "lbwatch", "lbwatch", "drain", "web1")
    wait_served(engine, url, {"web2"}, notes="lbwatch")
    engine.remove("web1")
    assert "FAILED" not in engine.docker("exec", "lbwatch", "lbwatch", "check")
    assert "web2" in engine.docker("exec", "lbwatch", "lbwatch", "explain")
    engine.docker("stop", "--time", "2", nginx)
    wait_health(engine, "lbwatch", "unhealthy")
    engine.docker("start", nginx)
    url = f"http://{address(engine, nginx)}/"
    wait_served(engine, url, {"web2"}, notes="lbwatch")
    wait_health(engine, "lbwatch", "healthy")
    engine.docker("stop", "--time", "5", "lbwatch")
    state = engine.inspect("lbwatch")["State"]
    assert (state["ExitCode"], state["OOMKilled"]) == (0, False)
    for line in engine.log_of("lbwatch").splitlines():
        json.loads(line)
    wait_served(engine, url, {"web2"})


def test_a_socket_of_another_group_and_a_volume_that_is_read_only_are_told(engine: RealEngine, nginx: str) -> None:
    """The two commonest mistakes with a user that is not root."""
    options = ("--env", "LBWATCH_NGINX_CONTAINER=nginx", "--env", "LBWATCH_DOCKER_HOST=unix:///host/run/docker.sock")
    mounts = ("--volume", f"{engine.folder}:/host/run:ro", "--volume", "conf:/etc/nginx/conf.d:ro")
    with pytest.raises(RuntimeError) as raised:
        engine.docker("run", "--rm", *LOCKED_DOWN, *mounts, *options, images.LBWATCH, "check")
    said = str(raised.value)
    assert "Permission denied" in said
    assert f"gid {socket_group(engine)}" in said
    assert "/etc/nginx/conf.d/lbwatch.conf' cannot be used" in said


# -- Compose


class Compose:
    """One project of a file in deploy/; `close` it last."""

    def __init__(self, engine: RealEngine, file: str, *, folder: Path = DEPLOY) -> None:
        self.engine = engine
        self.file = file
        self.folder = folder
        self.kind = compose_of("2")

    def __call__(self, *words: str, within: float = 120) -> str:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.engine.folder),
            "DOCKER_HOST": self.engine.url,
            "DOCKER_SOCKET_DIR": str(self.engine.folder),
            "DOCKER_GID": socket_group(self.engine),
            "HTTP_PORT": str(HTTP_PORT),
            **self.kind.environment,
        }
        argv = [*self.kind.command, "--project-name", "demo", "--file", str(self.folder / self.file), *words]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, env=environment, timeout=within)
        assert done.returncode == 0, f"{' '.join(argv)}: {done.stdout[-1000:]}{done.stderr[-2000:]}"
        return done.stdout

    def up(self, apps: int) -> None:
        self("up", "--no-build", "--detach", "--scale", f"app={apps}")

    def close(self) -> None:
        with contextlib.suppress(AssertionError):
            self("down", "--volumes", "--timeout", "1")

    def containers(self, service: str) -> list[str]:
        return sorted(self("ps", "--quiet", service).split())

    def hosts(self) -> set[str]:
        """What the apps answer: the names of their hosts, which are the beginnings of their ids."""
        return {container[:12] for container in self.containers("app")}

    def wait_served(self) -> None:
        wait_served(self.engine, f"http://127.0.0.1:{HTTP_PORT}/", self.hosts(), notes=self.containers("lbwatch")[0])


@pytest.mark.parametrize("file", ["compose.yaml", "compose.proxy.yaml"])
def test_a_file_has_nothing_that_newer_versions_of_compose_dropped(file: str) -> None:
    """The versions that the rest is tried with are some years old."""
    read = yaml.safe_load((DEPLOY / file).read_text())
    assert read.keys() == {"services", "networks", "volumes"} & read.keys(), "`version` is warned of"
    for name, service in read["services"].items():
        assert not service.keys() & {"links", "external_links", "volumes_from", "volume_driver", "cpuset"}, name
        assert not re.search(r"_", name), "names of containers have - now"


def config(*files: str) -> tuple[int, str]:
    """Return what Compose 2 says of files: its exit code, and what it warns or complains of."""
    need(*COMPOSE_NEEDS, "docker")
    kind = compose_of("2")
    argv = [*kind.command, *(word for file in files for word in ("--file", str(DEPLOY / file))), "config", "--quiet"]
    environment = {"PATH": os.environ["PATH"], **kind.environment}
    done = subprocess.run(argv, check=False, capture_output=True, text=True, env=environment, timeout=60)
    return done.returncode, done.stderr


def test_compose_takes_each_file_without_a_word_and_refuses_both() -> None:
    """As the head of the second says: they are alternatives, and nobody shall find out by a stack of both."""
    for file in ("compose.yaml", "compose.proxy.yaml"):
        assert config(file) == (0, "")
    code, said = config("compose.yaml", "compose.proxy.yaml")
    assert code != 0
    assert "must be unique" in said
    assert "Compose refuses the two files together" in (DEPLOY / "compose.proxy.yaml").read_text().splitlines()[0]


@pytest.fixture(params=["compose.yaml", "compose.proxy.yaml"])
def compose(request: pytest.FixtureRequest, stocked: RealEngine, engine: RealEngine) -> Iterator[Compose]:
    project = Compose(stocked, request.param)
    try:
        yield project
    finally:
        project.close()


@pytest.mark.parametrize("version", ["2", "1"])
def test_a_stack_comes_up_scales_and_comes_up_again(engine: RealEngine, compose: Compose, version: str) -> None:
    """It is the first thing that a user of Compose tries."""
    compose.kind = compose_of(version)
    compose.up(apps=2)
    compose.wait_served()
    compose.up(apps=5)
    assert len(compose.hosts()) == 5
    compose.wait_served()
    assert "<title>" in asked(engine, PAGE)
    shown = json.loads(engine.docker("exec", "lbwatch", "lbwatch", "explain", "--json"))
    assert sum(row["upstream"] == "web" and row["address"] is not None for row in shown) == 5
    compose("down", "--timeout", "2")
    compose.up(apps=1)
    compose.wait_served()
    assert engine.inspect(compose.containers("lbwatch")[0])["State"]["Running"]


def test_nginx_may_be_restarted_and_made_anew(engine: RealEngine, compose: Compose) -> None:
    """
    An nginx that is updated must not need a person to have its servers again.

    By version 2 alone: what the one of old makes anew, it cannot on Engine 26 (KeyError: 'ContainerConfig').
    """
    compose.up(apps=2)
    compose.wait_served()
    compose("restart", "--timeout", "2", "nginx")
    compose.up(apps=3)  # starts lbwatch too where it ended with nginx, and else leaves it alone
    compose.wait_served()
    if compose.file == "compose.proxy.yaml":
        compose("stop", "lbwatch")  # else it ends with nginx while Compose is about to stop it: docs/deployment.md
    compose("up", "--no-build", "--detach", "--force-recreate", "--timeout", "2", "--scale", "app=2")
    assert len(compose.hosts()) == 2
    compose.wait_served()


@pytest.mark.parametrize("file", ["compose.yaml", "compose.proxy.yaml"])
def test_with_the_commented_lines_a_stack_needs_no_reload_for_servers(
    stocked: RealEngine, engine: RealEngine, tmp_path: Path, file: str
) -> None:
    """Two lines to change; that of the second file may do nothing to nginx but send it HUP, and cannot see what it has."""
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    stack = tmp_path / "deploy" / file
    text = stack.read_text()
    for comment, instead in {
        "    image: nginx:stable\n    # Instead of that line": "    # Instead of that line",
        "    # build: ./nginx": f"    image: {images.NGINX_LUA}",  # the same, built without an index to ask
        '# LBWATCH_LIVE: "on"': 'LBWATCH_LIVE: "on"',
    }.items():
        assert comment in text or (file == "compose.yaml" and "LIVE" in comment)
        text = text.replace(comment, instead)
    stack.write_text(text)
    compose = Compose(stocked, file, folder=tmp_path / "deploy")
    compose.kind = compose_of("2")
    try:
        compose.up(apps=2)
        compose.wait_served()
        wait_until(
            lambda: engine.docker("exec", "lbwatch", "lbwatch", "check"),
            holds=lambda said: "go out without a reload" in " ".join(said.split()),
            within=20,
            what="its workers ask",
            notes=lambda: engine.log_of("lbwatch"),
        )
        (nginx,) = compose.containers("nginx")
        before = workers_of(engine, nginx)
        compose.up(apps=4)
        compose.wait_served()
        compose.up(apps=1)
        compose.wait_served()
        assert workers_of(engine, nginx) == before
        assert "nginx.pushed" in engine.log_of("lbwatch")
    finally:
        compose.close()


def workers_of(engine: RealEngine, container: str) -> set[str]:
    """Return the pids of nginx's workers that serve."""
    rows = engine.docker("top", container, "-eo", "pid,args").splitlines()[1:]
    return {row.split()[0] for row in rows if row.endswith("nginx: worker process")}


def test_without_write_access_nothing_else_is_asked_and_nothing_else_passes(
    stocked: RealEngine, engine: RealEngine
) -> None:
    """Four requests are all that stands between lbwatch and the machine."""
    compose = Compose(stocked, "compose.proxy.yaml")
    try:
        compose.up(apps=1)
        compose.wait_served()
        (lbwatch,) = compose.containers("lbwatch")
        (proxy,) = compose.containers("socket-proxy")
        said = engine.docker("exec", lbwatch, "lbwatch", "check")
        assert f"asked for {', '.join(ALLOWED)}" in said.replace("\n", " ")
        front = f"http://{address(engine, proxy)}:2375"
        (app,) = compose.containers("app")
        assert json.loads(asked(engine, f"{front}/v1.41/containers/{app}/json"))["Id"] == app
        for path in ("/info", f"/containers/{app}/logs", "/images/json", f"/v1.41/containers/{app}/archive?path=/etc"):
            assert "HTTP Error 403" in asked(engine, front + path), path
        # Another request of Docker's, written so that it looks like an allowed one: what is passed on is what was looked at.
        assert '"Id"' in raw(engine, proxy, f"/containers/{app}/json#/export")
        assert "200 OK" in raw(engine, proxy, f"/containers/{app}/export/../json")
        host = front.replace("http", "tcp")
        for words in (("stop", app), ("run", "--rm", "app"), ("exec", app, "true"), ("rm", "--force", app)):
            assert "403 Forbidden" in refusal(engine, host, words), words
        errors = [json.loads(line).get("error", "") for line in engine.log_of(lbwatch).splitlines()]
        assert [error for error in errors if "(403)" in error] == []  # the log's times and ids may have these digits
        compose.wait_served()
        # What nginx does not take is taken back: nothing could test it.
        engine.docker("exec", lbwatch, "python3", "-c", f"open('/etc/nginx/conf.d/taken.conf', 'w').write('{TAKEN}')")
        (network,) = engine.inspect(app)["NetworkSettings"]["Networks"]
        engine.run("bad", "--network", network, labels={"lbwatch.upstream": "taken", "lbwatch.port": "80"})
        wait_until(
            lambda: "upstream.degraded" in engine.log_of(lbwatch),
            within=20,
            what="it is taken back",
            notes=lambda: engine.log_of(lbwatch),
        )
        wait_until(
            lambda: "taken" not in engine.docker("exec", lbwatch, "cat", "/etc/nginx/conf.d/lbwatch.conf"),
            within=20,
            what="it is off the disk",
        )
        compose.wait_served()
    finally:
        engine.remove("bad")  # its network can be removed no sooner
        compose.close()


def raw(engine: RealEngine, proxy: str, target: str) -> str:
    """The answer to a request whose target no client would write like this."""
    script = (
        "import socket, sys\n"
        "peer = socket.create_connection((sys.argv[1], 2375), 5)\n"
        "peer.sendall(f'GET {sys.argv[2]} HTTP/1.0\\r\\nHost: docker\\r\\n\\r\\n'.encode())\n"
        "print(peer.makefile().read())"
    )
    argv = in_namespace(engine.name, [sys.executable, "-c", script, address(engine, proxy), target])
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=20).stdout


def refusal(engine: RealEngine, host: str, words: Sequence[str]) -> str:
    argv = in_namespace(engine.name, ["docker", "--host", host, *words])
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode != 0, f"{words} passed"
    return done.stderr


# -- what the README has to paste


def pasted(engine: RealEngine, text: str) -> str:
    """
    Run a block of the README, where this engine's socket and network are.

    The images are there already: built by the same Dockerfile, but without an index to ask.
    """
    instead = {
        "docker build --tag lbwatch .": "docker image inspect lbwatch > image.json",
        "up --build": "--project-name readme up --no-build",
        " down": " --project-name readme down",
        "$PWD/deploy": str(DEPLOY),
        "--file deploy": f"--file {DEPLOY}",
    }
    environment = {"DOCKER_SOCKET_DIR": str(engine.folder), **compose_of("2").environment}
    return pasting.pasted(engine, text, folder=engine.folder, instead=instead, environment=environment)


@pytest.fixture
def pristine(stocked: RealEngine, engine: RealEngine) -> Iterator[RealEngine]:
    """An engine with nothing but images, before and after."""
    try:
        yield stocked
    finally:
        stocked.clear()
        stocked.clear_volumes()
        stocked.docker("network", "prune", "--force")


def left(engine: RealEngine, *words: str) -> list[str]:
    return engine.docker(*words, "ls", "--quiet").split()


def test_the_readmes_container_beside_nginx_works_and_can_be_removed(pristine: RealEngine) -> None:
    """What is pasted from a README that is wrong costs an evening, and the user."""
    install, remove = readme.under("A container beside nginx's")
    (app,) = readme.under("Use it")
    assert len(install.splitlines()) <= 10
    engine = pristine

    def checked() -> bool:
        with contextlib.suppress(RuntimeError):
            return "FAILED" not in engine.docker("exec", "lbwatch", "lbwatch", "check")
        return False

    check = "docker exec lbwatch lbwatch check"
    assert install.endswith(f"{check}\n")
    pasted(engine, install.replace(check, f"{check} || true"))  # it may come a second too early
    wait_until(checked, within=30, what="all is well", notes=lambda: engine.log_of("lbwatch"))
    assert "<title>" in asked(engine, PAGE)
    pasted(engine, app)
    (host,) = (
        each[:12] for each in left(engine, "container") if engine.inspect(each)["Name"] not in ("/nginx", "/lbwatch")
    )
    wait_served(engine, "http://127.0.0.1:8080/", {host}, notes="lbwatch")
    pasted(engine, remove)
    assert "lbwatch" not in engine.docker("container", "ls", "--all")
    assert engine.docker("volume", "ls", "--quiet") == "lbwatch-conf"
    assert asked(engine, "http://127.0.0.1:8080/") == host


@pytest.mark.parametrize(
    ("document", "heading"),
    [
        ("README.md", "A Compose stack"),
        ("docs/deployment.md", "No write access to the engine: a shared pid namespace"),
    ],
)
def test_the_stacks_work_and_can_be_removed(pristine: RealEngine, document: str, heading: str) -> None:
    """Three lines, and an answer: that is what a stack is for."""
    install, remove = readme.under(heading, document=document)
    pasted(pristine, install)
    pasted(pristine, remove)
    assert left(pristine, "container") == []
    assert left(pristine, "volume") == []
