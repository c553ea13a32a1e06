"""
Each way in which a container can fail to be routed, on a real engine and a real nginx: `explain` has the reason in one
command, and the status server in one look.

Two ways that a real engine does not let happen on demand (two networks that share addresses, an address where nobody
can be) are tried on the fake one.
"""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from daemon import Stage, wait_until
from needs import ENGINE_NEEDS, NGINX_NEEDS, SetStage, need
from oracle import Reach
from realengine import RealEngine, _image_tar, in_namespace
from realnginx import RealNginx

from lbwatch.core.model import Reason

ON = {"lbwatch.enable": "true"}
WEB = {"lbwatch.upstream": "web"}
FRONT = ("--network", "front")
SICK = ("--health-cmd", "busybox false", "--health-interval", "200ms", "--health-retries", "1")
FLIPS = (*SICK[:1], "if [ -e /f ]; then busybox rm /f; else busybox touch /f; busybox false; fi", *SICK[2:])
STARTING = ("--health-cmd", "busybox false", "--health-interval", "10m")
PORT = 9180
ABOUT_HOSTS = {*(Reason.BAD_VARIABLE, Reason.HOST_TAKEN, Reason.HOST_REFUSED, Reason.NO_CERTIFICATE, Reason.PORT_TAKEN)}
"""Their way is in test_sites_daemon: they take other settings, and most of these containers are routed for another host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """
    A container that is not routed.

    Attributes:
        reason: Its code.
        words: What `explain` must say, so that its owner knows what to do.
        make: Brings it about.
    """

    reason: Reason
    words: tuple[str, ...]
    labels: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = FRONT
    then: Callable[[RealEngine, str], object] = lambda engine, name: None
    make: Callable[[RealEngine, str], object] | None = None


def run_image(engine: RealEngine, name: str, *words: str) -> None:
    engine.docker("run", "--detach", "--name", name, *words)


def looping(engine: RealEngine, name: str) -> None:
    """Its program ends at once, and the engine starts it again and again."""
    run_image(engine, name, "--restart", "always", *FRONT, "--label", "lbwatch.upstream=web", "app", "busybox", "false")


def alike(engine: RealEngine, name: str) -> None:
    """Its project and service read as those of an older one do."""
    for who, project, service in (("elder", "shop", "api-v2"), (name, "shop-api", "v2")):
        names = {"com.docker.compose.project": project, "com.docker.compose.service": service}
        engine.run(who, *FRONT, labels=ON | names)


def orphan(engine: RealEngine, name: str) -> None:
    """What it shares the network of was started anew, and it sits in the old one."""
    engine.run("owner", *FRONT, labels=WEB)
    engine.run(name, "--network", "container:owner", labels=WEB | {"lbwatch.port": "80"}, port=81)
    engine.docker("restart", "-t", "0", "owner")


WAYS = {
    "plain": Way(reason=Reason.NOT_LABELLED, words=("no lbwatch.* label", "add lbwatch.enable=true")),
    "slipped": Way(
        reason=Reason.NOT_LABELLED,
        words=("lbwtach.upstream", "did you mean lbwatch.upstream?"),
        labels={"lbwtach.upstream": "web"},
    ),
    "off": Way(reason=Reason.DISABLED, words=("lbwatch.enable is false",), labels={"lbwatch.enable": "false"}),
    "badport": Way(
        reason=Reason.BAD_LABEL,
        words=("lbwatch.port='http'", "whole number from 1 to 65535"),
        labels={"lbwatch.port": "http"},
    ),
    "badhost": Way(
        reason=Reason.BAD_HOST,
        words=("lbwatch.host='a.example;'", "a host is a name"),
        labels=WEB | {"lbwatch.host": "a.example;"},
    ),
    "badpath": Way(
        reason=Reason.BAD_PATH,
        words=("lbwatch.path='x'", "a path"),
        labels=WEB | {"lbwatch.host": "a.example", "lbwatch.path": "x"},
    ),
    "badname": Way(
        reason=Reason.BAD_NAME,
        words=("my project-web", "add the label lbwatch.upstream"),
        labels=ON | {"com.docker.compose.project": "my project", "com.docker.compose.service": "web"},
    ),
    "alike": Way(
        reason=Reason.NAME_TAKEN,
        words=("service api-v2 of Compose project shop", "label lbwatch.upstream"),
        make=alike,
    ),
    "oneoff": Way(
        reason=Reason.ONE_OFF, words=("docker compose run",), labels=ON | {"com.docker.compose.oneoff": "True"}
    ),
    "created": Way(
        reason=Reason.NOT_RUNNING,
        words=("created but never started",),
        make=lambda engine, name: engine.create(name, *FRONT, labels=WEB),
    ),
    "stopped": Way(
        reason=Reason.NOT_RUNNING,
        words=("exited",),
        labels=WEB,
        then=lambda engine, name: engine.docker("stop", "-t", "0", name),
    ),
    "frozen": Way(
        reason=Reason.PAUSED,
        words=("paused", "docker unpause"),
        labels=WEB,
        then=lambda engine, name: engine.docker("pause", name),
    ),
    "starting": Way(
        reason=Reason.STARTING, words=("health check", "not passed yet"), labels=WEB, options=(*FRONT, *STARTING)
    ),
    "sick": Way(
        reason=Reason.UNHEALTHY, words=("health check fails", "docker inspect"), labels=WEB, options=(*FRONT, *SICK)
    ),
    "flips": Way(
        reason=Reason.FLAPPING,
        words=("flips between passing and failing", "others serve", "docker inspect flips"),
        labels=WEB,
        options=(*FRONT, *FLIPS),
    ),
    "leaving": Way(
        reason=Reason.DRAINING,
        words=("it got its stop signal",),
        labels=WEB,
        options=(*FRONT, "--env", "DEAF=1"),
        then=lambda engine, name: engine.docker("kill", "--signal", "TERM", name),
    ),
    "noport": Way(
        reason=Reason.NO_PORT,
        words=("exposes no TCP port", "add the label lbwatch.port"),
        make=lambda engine, name: run_image(engine, name, *FRONT, "--label", "lbwatch.upstream=web", "mute"),
    ),
    "twoports": Way(
        reason=Reason.SEVERAL_PORTS,
        words=("80, 443", "add the label lbwatch.port"),
        labels=WEB,
        options=(*FRONT, "--expose", "443"),
    ),
    "misspelt": Way(
        reason=Reason.SEVERAL_PORTS,
        words=("lbwatch.prot means nothing", "did you mean lbwatch.port?"),
        labels=WEB | {"lbwatch.prot": "80"},
        options=(*FRONT, "--expose", "443"),
    ),
    "elsewhere": Way(
        reason=Reason.NO_NETWORK,
        words=("on bridge", "nginx is on front", "docker network connect front elsewhere"),
        labels=WEB,
        options=(),
    ),
    "wrongnet": Way(
        reason=Reason.NO_NETWORK,
        words=("not on network back, but on front",),
        labels=WEB | {"lbwatch.network": "back"},
    ),
    "netless": Way(
        reason=Reason.NO_NETWORK,
        words=("docker network disconnect none netless, then", "connect front"),
        labels=WEB,
        options=("--network", "none"),
    ),
    "hosted": Way(
        reason=Reason.HOST_NETWORK,
        words=("host's network, which nginx does not share", "host_network"),
        labels=WEB | {"lbwatch.port": "8080"},
        options=("--network", "host", "--env", "PORT=8089"),
    ),
    "orphan": Way(reason=Reason.OWNER_GONE, words=("owner", "restart this too"), make=orphan),
    "twin": Way(
        reason=Reason.SAME_ADDRESS,
        words=("good", "same address and port"),
        labels=WEB | {"lbwatch.port": "80"},
        options=("--network", "container:good", "--env", "PORT=82"),
    ),
    "shaky": Way(reason=Reason.RESTART_LOOP, words=("restarts in a loop", "docker logs"), make=looping),
    "named": Way(
        reason=Reason.UPSTREAM_REFUSED,
        words=('duplicate upstream "taken"',),
        labels={"lbwatch.upstream": "taken"},
    ),
}


@pytest.fixture(scope="module")
def crowd(real_engine: RealEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """All of them at once, beside a good one; lbwatch is told that nginx reaches network front alone."""
    need(*ENGINE_NEEDS, *NGINX_NEEDS)
    folder = tmp_path_factory.mktemp("reasons")
    engine = real_engine
    engine.prepare()
    (folder / "mute.tar").write_bytes(_image_tar())
    engine.docker("import", "--change", 'CMD ["/bin/sh", "/serve"]', str(folder / "mute.tar"), "mute")
    engine.docker("network", "create", "front")
    settings = {"host-network": "false", "status-listen": f"127.0.0.1:{PORT}", "drain-timeout": "10m"}
    stage = Stage(
        engine,
        RealNginx(folder / "nginx", engine.name),
        folder=folder,
        reach=Reach(networks=("front",)),
        settings=settings,
    )
    try:
        stage.nginx.start()
        (stage.output.parent / "taken.conf").write_text("upstream taken { server 192.0.2.9:80; }\n")
        engine.run("good", *FRONT, labels=WEB)
        stage.lbwatch.start()
        stage.lbwatch.wait_for_log("nginx.reloaded", joined="good")
        for name, way in WAYS.items():
            if way.make is not None:
                way.make(engine, name)
            else:
                engine.run(name, *way.options, labels=way.labels)
            way.then(engine, name)
        yield stage
        stage.lbwatch.terminate()
    finally:
        stage.close()
        engine.clear()


def explained(stage: Stage, *words: str) -> list[dict[str, Any]]:
    """What `explain` says, once the daemon has seen the engine and nginx for the first time."""
    _, out, _ = wait_until(
        lambda: stage.lbwatch.command("explain", "--json", *words),
        holds=lambda answer: answer[0] == 0,
        within=10,
        what="explain answers",
        notes=stage.lbwatch.tail,
    )
    rows: list[dict[str, Any]] = json.loads(out)
    return rows


def timeless(text: str) -> str:
    """What restarts in a loop, or flips, must be well for longer each time."""
    return re.sub(r"\d+ s\b", "N s", text)


def reasons_of(stage: Stage, name: str) -> dict[str, dict[str, Any]]:
    return {row["reason"]: row for row in explained(stage) if row["container"] == name}


def state_of(stage: Stage) -> dict[str, Any]:
    """What the status server says, asked from where it listens."""
    script = (
        f"import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:{PORT}/api/state').read().decode())"
    )
    done = subprocess.run(
        in_namespace(stage.engine.name, ["python3", "-c", script]), check=True, capture_output=True, timeout=30
    )
    state: dict[str, Any] = json.loads(done.stdout)
    return state


def test_each_way_of_not_being_routed_has_its_reason_in_one_command_and_in_one_look(crowd: Stage) -> None:
    """It is the question that all users of such tools ask, and no tool answers."""

    def missing() -> list[str]:
        rows = [(row["container"], row["reason"]) for row in explained(crowd)]
        return [name for name, way in WAYS.items() if (name, way.reason) not in rows]

    wait_until(
        missing,
        holds=lambda names: not names,
        within=20,
        what="each is explained",
        notes=lambda: f"{explained(crowd)}\n{crowd.lbwatch.tail()}",
    )
    rows = {row["container"]: row for row in explained(crowd)}
    shown = {(each["container"], each["reason"]): each for each in state_of(crowd)["unrouted"]}
    _, plain, _ = crowd.lbwatch.command("explain")
    for name, way in WAYS.items():
        row = rows[name]
        said = " ".join((row["detail"], *row["notices"]))
        assert [word for word in way.words if word not in said] == [], f"{name}: {said}"
        assert row["address"] is None, name
        assert row["since"] is not None, name
        assert timeless(shown[(name, way.reason)]["detail"]) == timeless(row["detail"]), name
        assert timeless(f"not routed ({way.reason}): {row['detail']}") in timeless(plain), name


def test_the_good_one_is_routed_beside_all_of_them(crowd: Stage) -> None:
    """Else all their reasons would prove nothing."""
    (row,) = explained(crowd, "good")
    assert (row["upstream"], row["state"], row["reason"]) == ("web", "up", None)
    assert row["address"].endswith(":80")
    assert crowd.nginx.answers("web") == {"good", "owner"}


def test_the_story_of_one_container_tells_all_that_was_weighed(crowd: Stage) -> None:
    """Where the reason alone does not help, its owner must see what lbwatch saw."""
    crowd.engine.docker("network", "create", "back")
    crowd.engine.run("torn", "--network", "back", labels=WEB | {"lbwatch.wieght": "5", "lbwatch.weight": "2"})
    crowd.engine.docker("network", "connect", "front", "torn")
    address = crowd.engine.inspect("torn")["NetworkSettings"]["Networks"]["front"]["IPAddress"]
    other = crowd.engine.inspect("torn")["NetworkSettings"]["Networks"]["back"]["IPAddress"]
    wait_until(lambda: f"server {address}:80 weight=2;" in crowd.output.read_text(), within=10, what="torn is rendered")
    code, out, err = crowd.lbwatch.command("explain", "torn")
    assert (code, err) == (0, "")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0].startswith(f"torn web {address}:80")
    assert "lbwatch.wieght=5 (means nothing: did you mean lbwatch.weight?)" in out
    assert any(f"back {other} (nginx reaches front only)" in line for line in lines)
    assert any(f"front {address} (used)" in line for line in lines)
    assert any(line.startswith("state running, no health check, started 20") for line in lines)
    told = [line.split()[-1] for line in lines if line.split()[-1] in ("create", "connect", "start")]
    assert told[:2] == ["create", "connect"]
    assert "start" in told
    assert f"rendered server {address}:80 weight=2;" in lines
    crowd.engine.remove("torn")


def test_every_reason_that_there_is_has_its_way_here() -> None:
    """A new reason must come with a container that shows it."""
    shown = {way.reason for way in WAYS.values()} | {Reason.ADDRESS_CONFLICT, Reason.NO_ADDRESS, Reason.BAD_ADDRESS}
    assert shown | {Reason.NOT_IN_FORCE} | ABOUT_HOSTS == set(Reason)


# -- what an engine of ours must do for it


@pytest.mark.parametrize(
    ("networks", "labels", "reason", "words"),
    [
        ({"old": "10.0.0.2", "new": "10.0.0.2"}, WEB, Reason.ADDRESS_CONFLICT, "new, which was started later"),
        ({"old": "169.254.0.9"}, WEB, Reason.BAD_ADDRESS, "'169.254.0.9', where no server can be"),
        ({"old": ""}, WEB, Reason.NO_ADDRESS, "no address on network n-old"),
    ],
)
async def test_addresses_that_no_server_can_have_are_told(
    tmp_path: Path, networks: dict[str, str], labels: dict[str, str], reason: Reason, words: str
) -> None:
    """Nobody looks for the fault in the engine's own answer."""
    recorded = [
        {
            "Id": f"{number:064x}",
            "Name": f"/{name}",
            "Created": "2026-01-01T00:00:00Z",
            "State": {"Status": "running", "StartedAt": f"2026-01-01T00:00:0{number}Z"},
            "Config": {"Labels": labels, "ExposedPorts": {"80/tcp": {}}},
            "HostConfig": {"NetworkMode": f"n-{name}"},
            "NetworkSettings": {"Networks": {f"n-{name}": {"IPAddress": address}}},
        }
        for number, (name, address) in enumerate(networks.items(), start=1)
    ]
    file = tmp_path / "engine.json"
    file.write_text(json.dumps(recorded))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lbwatch", "explain", "old", "--json", "--engine-from", str(file)),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    (row,) = json.loads(out)
    assert (row["reason"], row["address"]) == (reason, None)
    assert words in row["detail"]


# -- ways that are about all of them


def test_an_nginx_that_is_down_is_the_reason(engine: RealEngine, set_stage: SetStage) -> None:
    """All labels may be right, and still nothing is served."""
    stage = set_stage(engine, nginx_runs=False)
    engine.run("web1", labels=WEB)
    words = f"nginx is not running here: {stage.nginx.pidfile}"
    wait_until(
        lambda: reasons_of(stage, "web1").get("not-in-force", {"detail": ""})["detail"],
        holds=lambda detail: words in detail,  # at first nothing was tried
        within=10,
        what="it is explained",
    )
    stage.nginx.start()
    wait_until(lambda: reasons_of(stage, "web1").get(None), within=10, what="it is routed")


def test_a_configuration_that_nginx_refuses_is_the_reason_for_what_is_new(
    engine: RealEngine, set_stage: SetStage
) -> None:
    """What ran before goes on; what came since waits for whoever broke nginx's own files."""
    stage = set_stage(engine)
    engine.run("before", labels=WEB)
    stage.wait_in_step({"web": {"before"}})
    stage.nginx.rewrite(http="nonsense on;")
    engine.run("since", labels=WEB)
    row = wait_until(lambda: reasons_of(stage, "since").get("not-in-force"), within=10, what="it is explained")
    assert 'unknown directive "nonsense"' in row["detail"]
    assert None in reasons_of(stage, "before")
    code, _, err = stage.lbwatch.command("explain")
    assert code == 0
    assert "not in step, so that this may be old: nginx is not in step" in err


def test_an_output_that_nginx_never_reads_is_said(engine: RealEngine, set_stage: SetStage, tmp_path: Path) -> None:
    """Everything looks well, and nothing is served: the commonest mistake of a first set-up."""
    stage = set_stage(engine, output=str(tmp_path / "elsewhere.conf"))
    engine.run("web1", labels=WEB)
    stage.lbwatch.wait_for_log("nginx.not_included")
    wait_until(lambda: reasons_of(stage, "web1"), within=10, what="it is known")
    _, _, err = stage.lbwatch.command("explain", "web1")
    assert f"does not include {tmp_path}/elsewhere.conf: nginx never reads it" in err


def test_a_daemon_that_does_not_run_is_said(engine: RealEngine, set_stage: SetStage) -> None:
    """The labels are right, and nobody follows them."""
    stage = set_stage(engine, lbwatch_runs=False)
    engine.run("web1", labels=WEB)
    code, out, err = stage.lbwatch.command("explain", "web1")
    assert code == 0
    assert out.startswith("web1")
    assert f"no lbwatch answers at {stage.lbwatch.control_socket}" in err
    assert "is `lbwatch run` running" in err


def test_an_engine_that_is_gone_is_said_with_what_was_known_last(
    new_engine: Callable[..., RealEngine], set_stage: SetStage
) -> None:
    """At three in the morning the last truth and its age are worth more than an error."""
    engine = new_engine(live_restore=True).start()
    stage = set_stage(engine)
    engine.run("web1", labels=WEB)
    stage.wait_in_step({"web": {"web1"}})
    engine.kill9()
    stage.lbwatch.wait_for_log("source.disconnected", count=2, within=15)
    code, out, err = stage.lbwatch.command("explain", "web1")
    assert code == 0
    assert out.split()[:2] == ["web1", "web"]
    assert "engine local: not followed for" in err
    stage.lbwatch.terminate()
    code, out, err = stage.lbwatch.command("explain", "web1")
    assert (code, out) == (1, "")
    assert f"cannot connect to {engine.url}" in err
    engine.start()
