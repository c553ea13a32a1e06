"""
An nginx in a container of the engine, and lbwatch outside: tested and reloaded by exec, or by a signal.

Which container it is, what it reaches and what its configuration holds is found out from the engine alone. The first
tests share one nginx; the others have one each, since they stop, remove and connect it.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from containernginx import ContainerNginx
from daemon import IN_STEP_S, Lbwatch, flags_of, wait_until
from faultproxy import Broken, Canned, FaultProxy, Then, byte
from needs import ENGINE_NEEDS, NGINX_NEEDS, need
from oracle import ANY_NETWORK, PLACEHOLDER, Reach, file_blocks
from realengine import RealEngine, in_namespace
from sidecar import SetSidecar, Sidecar, explained, row_of
from watcher import unchanged

from lbwatch.balancers.nginx.config_test.container import ContainerTester
from lbwatch.balancers.nginx.locate import NginxContainer
from lbwatch.core.errors import ConfigRejectedError
from lbwatch.core.selector import selected
from lbwatch.engines.docker.address import engine_address
from lbwatch.engines.docker.client import EngineClient
from lbwatch.engines.docker.exec import ContainerExec

WEB = {"lbwatch.upstream": "web"}
API = {"lbwatch.upstream": "api"}
TAKEN = {"lbwatch.upstream": "taken"}
FRONT = Reach(networks=("front",), host_shared=False)
STATUS = "127.0.0.1:9180"
"""Inside the engine's network, where one lbwatch runs at a time."""

OWN = "upstream taken { server 192.0.2.9:80; }"
"""What the user has too."""

HELD = "# by lbwatch\n\nupstream web {\n    server 192.0.2.1:80;\n}\n"
FORBIDDEN = Canned(status=403, body="<html><body><h1>403 Forbidden</h1></body></html>", type="text/html")


@pytest.fixture
def proxy(real_engine: RealEngine) -> Iterator[FaultProxy]:
    """Stands before the engine."""
    with FaultProxy(real_engine.socket, real_engine.folder / "side.sock") as proxy:
        yield proxy


def wait_for_words(lbwatch: Lbwatch, *words: str, say: Callable[[], str], within: float = 10) -> str:
    """Wait until somebody says all these."""
    return wait_until(
        say,
        holds=lambda said: all(each in said for each in words),
        within=within,
        what=f"it says {words}",
        notes=lbwatch.tail,
    )


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# -- one nginx for all: what its configuration holds, and what can be wrong with the settings


@pytest.fixture(scope="module")
def edge(real_engine: RealEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerNginx]:
    """An nginx, a container `web1` for upstream web, and `taken`, whose upstream the user may have too; no lbwatch."""
    need(*ENGINE_NEEDS, *NGINX_NEEDS)
    with ContainerNginx(tmp_path_factory.mktemp("edge") / "nginx", real_engine) as nginx:
        try:
            (nginx.folder / "more").mkdir()
            nginx.volumes |= {nginx.folder / "more": "/srv/more"}
            nginx.start()
            real_engine.run("web1", labels=WEB)
            real_engine.run("taken", labels=TAKEN)
            yield nginx
        finally:
            real_engine.clear()


@contextmanager
def beside(nginx: ContainerNginx, *, folder: Path, **settings: str) -> Iterator[Lbwatch]:
    """An lbwatch for it, not started; nginx and its output are as ever before and after."""
    nginx.rewrite()
    nginx.run("rm -rf /opt /srv/more/* /etc/nginx/sites/* /etc/nginx/*d.conf /etc/nginx/linked /etc/lead.conf /linked")
    nginx.output.write_text(HELD)
    with Sidecar(nginx, folder=folder, settings=flags_of(settings)).lbwatch as lbwatch:
        yield lbwatch


LEAD = f"{OWN} include /etc/nginx/conf.d/*.conf;"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """
    How a user's configuration leads to the output.

    Attributes:
        script: Makes its files, in the container; LEAD is what a file holds that includes the output.
        includes: What the main file includes.
        main: The main file, where it is not the one that the program was built for.
    """

    script: str
    includes: str = "include sites/*;"
    main: str | None = None


WAYS = {
    "a file of the container's": Way(script="echo LEAD > /etc/nginx/sites/lead.conf"),
    "a file elsewhere": Way(script="mkdir /opt; echo LEAD > /opt/lead.conf", includes="include /opt/lead.conf;"),
    "a mounted folder": Way(script="echo LEAD > /srv/more/lead.conf", includes="include /srv/more/*.conf;"),
    "file by file": Way(
        script='mkdir /opt; echo "include /srv/more/*.conf;" > /opt/one; echo LEAD > /srv/more/lead.conf',
        includes="include /opt/one;",
    ),
    "a link within": Way(
        script="mkdir /etc/nginx/linked; echo LEAD > /etc/nginx/linked/lead; ln -s ../linked/lead /etc/nginx/sites/lead"
    ),
    "a link to elsewhere": Way(script="mkdir /opt; echo LEAD > /opt/lead; ln -s /opt/lead /etc/nginx/sites/lead"),
    "a folder that is a link": Way(
        script="mkdir /opt; echo LEAD > /opt/lead; ln -s /opt /etc/nginx/linked", includes="include linked/*;"
    ),
    "a file of two names": Way(
        script="echo LEAD > /etc/nginx/lead.conf; ln /etc/nginx/lead.conf /etc/nginx/sites/lead"
    ),
    "a file above": Way(script="echo LEAD > /etc/lead.conf", includes="include ../lead.conf;"),
    "a main file that is a link": Way(
        script="mkdir /opt; cp /etc/nginx/nginx.conf /opt; ln -s /opt/nginx.conf /etc/nginx/linked.conf; "
        "echo LEAD > /etc/nginx/sites/lead",
        main="/etc/nginx/linked.conf",
    ),
    "a main folder that is a link": Way(
        script="ln -s /etc/nginx /linked; echo LEAD > /etc/nginx/sites/lead", main="/linked/nginx.conf"
    ),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_a_candidate_is_tested_however_the_users_files_lead_to_it(
    edge: ContainerNginx, tmp_path: Path, way: Way
) -> None:
    """A file that is not found is a candidate that is not tested, and the reload is the first to know."""
    with beside(edge, folder=tmp_path):
        edge.rewrite(includes=way.includes)
        edge.run(way.script.replace("LEAD", f"'{LEAD}'"))
        async with trying(edge, folder=tmp_path, main=way.main) as tester:
            assert await tester.test(HELD)
            assert tester.remark is None
            with pytest.raises(ConfigRejectedError, match='duplicate upstream "taken"'):
                await tester.test(f"{OWN}\n")
            edge.run("rm -f /etc/nginx/lead.conf /opt/lead* /srv/more/lead* /etc/nginx/sites/lead* /etc/lead.conf")
            edge.rewrite(includes="include /etc/nginx/conf.d/*.conf;")
            edge.run("if test -e /opt/nginx.conf; then cp /etc/nginx/nginx.conf /opt; fi")
            await eventually_taken(tester, f"{OWN}\n", what="what the user changed is seen")


async def eventually_taken(tester: ContainerTester, text: str, *, what: str) -> None:
    """Test a candidate until it is taken: files in the container are looked at again soon, and not each time."""
    async with asyncio.timeout(IN_STEP_S + 10):
        while True:
            with suppress(ConfigRejectedError):
                assert await tester.test(text), f"{what}: {tester.remark}"
                return
            await asyncio.sleep(0.1)


@asynccontextmanager
async def trying(nginx: ContainerNginx, *, folder: Path, main: str | None) -> AsyncIterator[ContainerTester]:
    """What tests a candidate for it, without a daemon around."""
    client = EngineClient(engine_address(nginx.engine.url, environ={}))
    try:
        await client.ping()
        container = await client.inspect(nginx.engine.inspect(nginx.container)["Id"])
        assert container is not None
        with tempfile.TemporaryDirectory(dir=nginx.output.parent, prefix=".test-") as copy:
            os.chmod(copy, 0o755)
            yield ContainerTester(
                ContainerExec(client),
                nginx_container=NginxContainer(
                    selected(nginx.container, setting="-"), known=lambda: {container.id: container}
                ),
                command=("nginx",),
                main=None if main is None else Path(main),
                output=nginx.output,
                output_there=None,
                folder=folder,
                copy=Path(copy),
                mountinfo=Path("/proc/self/mountinfo").read_text,
            )
    finally:
        await client.close()


def test_commands_look_through_nginxs_eyes_and_leave_nothing_behind(edge: ContainerNginx, tmp_path: Path) -> None:
    """They are asked on a live system, beside a daemon or before there is one."""
    with beside(edge, folder=tmp_path) as lbwatch:
        edge.engine.docker("network", "create", "apart")
        edge.engine.run("apart1", "--network", "apart", labels=WEB)
        try:
            address = edge.engine.inspect("web1")["NetworkSettings"]["IPAddress"]
            edge.run(f"echo '{OWN}' > /etc/nginx/sites/own.conf")
            code, out, err = lbwatch.command("render", "--networks", "apart,bridge")
            assert code == 0
            assert 'duplicate upstream "taken"' in err
            assert "upstream taken" not in out
            apart = edge.engine.inspect("apart1")["NetworkSettings"]["Networks"]["apart"]["IPAddress"]
            assert f"    server {apart}:80;\n" in out
            edge.run("rm /etc/nginx/sites/own.conf")
            code, out, _ = lbwatch.command("render", "--diff", "--exit-code")
            assert code == 1
            assert "-    server 192.0.2.1:80;" in out.splitlines()
            assert f"+    server {address}:80;" in out.splitlines()
            code, out, _ = lbwatch.command("explain", "apart1")
            assert code == 0
            assert "nginx is on bridge" in " ".join(out.split())
            code, out, _ = lbwatch.command("check")
            assert code == 0, out
            assert "/etc/nginx/nginx.conf includes the output, and nginx takes it" in out
            assert "container nginx with 2 workers, which reaches bridge" in out
            assert "ok      site      /etc/nginx/nginx.conf:" in out
            assert "servers" not in [line.split()[1] for line in out.splitlines()], (
                "what nginx reaches from in there is not seen from here"
            )
            assert "POST /containers/ID/exec, POST /exec/ID/start" in out
        finally:
            edge.engine.remove("apart1")
            edge.engine.docker("network", "rm", "apart")
        assert edge.output.read_text() == HELD
        assert left_in(edge.output.parent) == {"lbwatch.conf"}


@pytest.mark.parametrize("selector", ["nginx", "label=role=edge"])
def test_a_recorded_engine_needs_no_engine(edge: ContainerNginx, tmp_path: Path, selector: str) -> None:
    """Somebody else's trouble is looked at where there is nothing to run a program in."""
    record = tmp_path / "engine.json"
    record.write_text(json.dumps(edge.engine.inspect_all()))
    away = {"docker_host": f"unix://{tmp_path}/none", "nginx_container": selector}
    with beside(edge, folder=tmp_path, **away) as lbwatch:
        code, out, err = lbwatch.command("render", "--engine-from", str(record))
        assert code == 0
        assert "nothing would be written" not in err, err
        assert [line.split()[1] for line in out.splitlines() if line.startswith("upstream")] == ["taken", "web"]
        assert left_in(edge.output.parent) == {"lbwatch.conf"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """
    Something that is not as lbwatch needs it.

    Attributes:
        words: What the log and `check` must say, so that somebody can mend it.
        settings: What is set wrongly; {tmp} is a folder that nginx does not see.
        forbidden: Regular expression of what a proxy refuses.
    """

    words: tuple[str, ...]
    settings: dict[str, str] = field(default_factory=dict)
    forbidden: str | None = None


MISTAKES = {
    "no such container": Mistake(words=("nginx_container", "no container gone"), settings={"nginx_container": "gone"}),
    "no such label": Mistake(
        words=("nginx_container", "no container with label role=none"), settings={"nginx_container": "label=role=none"}
    ),
    "a container without nginx": Mistake(
        words=("container web1", "no program nginx", "nginx_container"), settings={"nginx_container": "web1"}
    ),
    "a wrong program": Mistake(
        words=("container nginx", "no program /opt/nginx", "nginx_command"), settings={"nginx_command": "/opt/nginx"}
    ),
    "a folder that is not shared": Mistake(
        words=("container nginx", "shares no mount with {tmp}", "/etc/nginx/conf.d", "nginx_output"),
        settings={"output": "{tmp}/lbwatch.conf"},
    ),
    "a wrong nginx_output": Mistake(
        words=("container nginx", "does not see", "nginx_output"), settings={"nginx_output": "/srv/more"}
    ),
    "a main file that is not there": Mistake(
        words=("/etc/nginx/none.conf", "nginx_conf"), settings={"nginx_conf": "/etc/nginx/none.conf"}
    ),
    "no exec": Mistake(
        words=("must allow", "POST /containers/ID/exec, POST /exec/ID/start, GET /exec/ID/json"), forbidden="/exec$"
    ),
    "no processes": Mistake(words=("must allow", "GET /containers/ID/top"), forbidden="/top$"),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_by_the_log_and_by_check_and_the_good_file_stays(
    edge: ContainerNginx, proxy: FaultProxy, tmp_path: Path, mistake: Mistake
) -> None:
    """Each of them is somebody's first attempt, and the one line must say what to do."""
    (tmp_path / "far").mkdir()
    tmp = str(tmp_path / "far")
    settings = {name: value.replace("{tmp}", tmp) for name, value in mistake.settings.items()}
    words = [each.replace("{tmp}", tmp) for each in mistake.words]
    if mistake.forbidden is not None:
        proxy.inject(FORBIDDEN, on=mistake.forbidden)
    with beside(edge, folder=tmp_path, docker_host=proxy.url, **settings) as lbwatch, kept_file(edge, mistake):
        lbwatch.start()
        code, out, _ = lbwatch.command("check")
        failed = [line for line in out.splitlines() if line.startswith("FAILED")]
        assert code == 1
        assert any(all(each in line for each in words) for line in failed), out
        wait_for_words(lbwatch, *words, say=lambda: "\n".join(errors(lbwatch)))
        lbwatch.terminate()
    assert edge.is_up()


@contextmanager
def kept_file(nginx: ContainerNginx, mistake: Mistake) -> Iterator[None]:
    """Fail if the file is touched; without the processes it may be, since it passed the test."""
    if mistake.forbidden == "/top$":
        yield
        return
    with unchanged(nginx.output):
        yield


def errors(lbwatch: Lbwatch) -> list[str]:
    return [str(line.get("error", "")) for line in lbwatch.lines() if line["level"] == "error"]


def test_an_output_that_nginx_never_reads_is_said(edge: ContainerNginx, tmp_path: Path) -> None:
    """All is written, tested and reloaded, and nothing happens: the hardest to find out."""
    with beside(edge, folder=tmp_path) as lbwatch:
        edge.rewrite(includes="include sites/*;")
        lbwatch.start()
        words = "/etc/nginx/nginx.conf in container nginx does not include /etc/nginx/conf.d/lbwatch.conf"
        assert words in lbwatch.wait_for_log("nginx.not_included")["reason"]
        code, out, _ = lbwatch.command("check")
        assert code == 1
        assert "does not include /etc/nginx/conf.d/lbwatch.conf" in out
        wait_for_words(lbwatch, words, say=lambda: explained(lbwatch)[1])
        lbwatch.terminate()


# -- which container it is


def test_containers_come_and_go_behind_an_nginx_in_a_container(
    nginx: ContainerNginx, set_sidecar: SetSidecar, engine: RealEngine
) -> None:
    """The main job, however the user names nginx's container."""
    nginx.start()
    serving: set[str] = set()
    id = engine.inspect("nginx")["Id"]
    for number, selector in enumerate(("nginx", id[:12], "label=role")):
        stage = set_sidecar(nginx, nginx_container=selector)
        engine.run(f"web{number}", labels=WEB)
        stage.wait_in_step({"web": serving | {f"web{number}"}})
        engine.remove(*serving)
        serving = {f"web{number}"}
        stage.wait_in_step({"web": serving})
        stage.lbwatch.terminate()
    assert left_in(stage.output.parent) == {"lbwatch.conf", ".lbwatch.conf.lock"}


def test_an_nginx_that_was_down_comes_back_to_what_is_right_by_then(
    nginx: ContainerNginx, set_sidecar: SetSidecar, engine: RealEngine
) -> None:
    """It reads its file once, when it starts: what that holds must not be as old as its stop."""
    nginx.start()
    stage = set_sidecar(nginx)
    engine.run("web1", labels=WEB)
    stage.wait_in_step({"web": {"web1"}})
    since = stage.lbwatch.mark()
    engine.docker("restart", "nginx")
    stage.wait_for_reload(since=since)
    stage.wait_in_step({"web": {"web1"}})
    engine.docker("stop", "nginx")
    engine.run("web2", labels=WEB)
    engine.remove("web1")
    stage.wait_in_step({})
    wait_for_words(stage.lbwatch, "container nginx is exited", "nothing tests", say=lambda: explained(stage.lbwatch)[1])
    since = stage.lbwatch.mark()
    engine.docker("start", "nginx")
    stage.wait_in_step({"web": {"web2"}})
    stage.wait_for_reload(since=since)
    engine.docker("pause", "nginx")
    engine.run("web3", labels=WEB)
    stage.wait_in_step({})
    engine.docker("unpause", "nginx")
    stage.wait_in_step({"web": {"web2", "web3"}})
    wait_until(
        lambda: left_in(stage.output.parent),
        holds=lambda left: left == {"lbwatch.conf", ".lbwatch.conf.lock"},
        within=2,
        what="no old file is kept aside",
    )


def test_while_nginxs_container_is_not_there_the_file_stays(
    nginx: ContainerNginx, set_sidecar: SetSidecar, engine: RealEngine
) -> None:
    """Without it nobody knows what it reaches: what served well serves on, and no upstream is emptied for that."""
    engine.docker("network", "create", "front")
    nginx.options += ("--network", "front")
    stage = set_sidecar(nginx, lbwatch_runs=False, nginx_container="label=role=edge", status_listen=STATUS)
    stage.reach = FRONT
    stage.output.write_text(HELD)
    engine.run("web1", "--network", "front", labels=WEB)
    words = "nginx_container: the engine has no container with label role=edge"
    with unchanged(stage.output):
        stage.lbwatch.start()
        stage.lbwatch.wait_for_log("nginx.reload_failed", count=3)
        wait_for_words(stage.lbwatch, words, say=lambda: stage.lbwatch.command("health")[1])
    nginx.start()
    stage.wait_in_step({"web": {"web1"}})
    engine.run("web2", "--network", "front", labels=WEB)
    stage.wait_in_step({"web": {"web1", "web2"}})
    since = stage.lbwatch.mark()
    with unchanged(stage.output):
        engine.remove("nginx")
        engine.run("web3", "--network", "front", labels=WEB)
        engine.remove("web1")
        stage.lbwatch.wait_for_log("nginx.reload_failed", since=since, count=3)
        _, said = wait_until(
            lambda: explained(stage.lbwatch),
            holds=lambda told: {row["container"] for row in told[0]} == {"web2", "web3"},
            within=10,
            what="it knows what runs",
        )
        assert words in said
    nginx.start()
    stage.wait_in_step({"web": {"web2", "web3"}})
    since = stage.lbwatch.mark()
    nginx.recreate()
    stage.wait_for_reload(since=since)
    stage.wait_in_step({"web": {"web2", "web3"}})
    wait_until(lambda: stage.lbwatch.command("health")[0] == 0, within=5, what="ready", notes=stage.notes)


def test_a_renamed_container_is_lost_by_its_name_and_kept_by_its_label(
    nginx: ContainerNginx, set_sidecar: SetSidecar, engine: RealEngine
) -> None:
    """A label is what a generated name does not touch; a name is what the user said."""
    nginx.start()
    stage = set_sidecar(nginx, nginx_container="label=role=edge")
    engine.run("web1", labels=WEB)
    stage.wait_in_step({"web": {"web1"}})
    engine.docker("rename", "nginx", "edge")
    nginx.container = "edge"
    engine.run("web2", labels=WEB)
    stage.wait_in_step({"web": {"web1", "web2"}})
    stage.lbwatch.terminate()
    by_name = set_sidecar(nginx, nginx_container="edge")
    by_name.lbwatch.wait_for_log("nginx.reloaded")
    with unchanged(by_name.output):
        since = by_name.lbwatch.mark()
        engine.docker("rename", "edge", "nginx")
        nginx.container = "nginx"
        engine.run("web3", labels=WEB)
        by_name.lbwatch.wait_for_log("nginx.reload_failed", since=since, count=2)
    engine.docker("rename", "nginx", "edge")
    nginx.container = "edge"
    by_name.wait_in_step({"web": {"web1", "web2", "web3"}})


def test_of_two_that_are_meant_the_newest_is_driven_and_that_is_said(
    nginx: ContainerNginx, set_sidecar: SetSidecar, engine: RealEngine, tmp_path: Path
) -> None:
    """One of them serves what is old: nobody would find out why."""
    nginx.start()
    stage = set_sidecar(nginx, nginx_container="label=role=edge")
    engine.run("web1", labels=WEB)
    stage.wait_in_step({"web": {"web1"}})
    assert explained(stage.lbwatch)[1] == ""
    newer = ContainerNginx(tmp_path / "newer", engine, container="newer")
    newer.volumes = {here: there for here, there in newer.volumes.items() if there != "/etc/nginx/conf.d"}
    newer.volumes |= {nginx.output.parent: "/etc/nginx/conf.d"}
    newer.start()
    words = "2 containers are meant by nginx_container: only newer, the newest, is reloaded"
    wait_for_words(stage.lbwatch, words, say=lambda: explained(stage.lbwatch)[1])
    assert words in stage.lbwatch.command("check")[1]
    engine.run("web2", labels=WEB)
    stage.wait_in_step({})
    wait_until(
        lambda: newer.answers("web"), holds=lambda who: who == {"web1", "web2"}, within=10, what="newer is driven"
    )
    assert nginx.answers("web") == {"web1"}
    engine.docker("stop", "newer")
    stage.wait_in_step({"web": {"web1", "web2"}})
    assert "2 containers" not in explained(stage.lbwatch)[1]


# -- the user's own files, while it runs


def test_an_upstream_that_the_user_has_too_is_left_out_alone_until_the_user_mends_it(
    nginx: ContainerNginx, set_sidecar: SetSidecar, engine: RealEngine
) -> None:
    """The user's files live in the container; they are read as they are now, at each test."""
    nginx.preparation = f"echo '{OWN}' > /etc/nginx/sites/own.conf"
    nginx.start()
    stage = set_sidecar(nginx)
    engine.run("web1", labels=WEB)
    stage.wait_in_step({"web": {"web1"}})
    engine.run("taken1", labels=TAKEN)
    fell = stage.lbwatch.wait_for_log("upstream.degraded", upstream="taken")
    assert 'duplicate upstream "taken"' in fell["error"]
    engine.run("web2", labels=WEB)
    wait_until(lambda: nginx.answers("web"), holds=lambda who: who == {"web1", "web2"}, within=10, what="web goes on")
    assert [name for name, _ in file_blocks(stage.output)] == ["web"]
    assert 'duplicate upstream "taken"' in row_of(stage.lbwatch, "taken1")["detail"]
    nginx.run("echo '# mended' > /etc/nginx/sites/own.conf")
    engine.remove("web1")
    stage.wait_in_step({"web": {"web2"}, "taken": {"taken1"}})
    nginx.run("echo 'nonsense on;' > /etc/nginx/sites/own.conf")
    with unchanged(stage.output):
        engine.run("web3", labels=WEB)
        refused = stage.lbwatch.wait_for_log("nginx.config_broken", within=20)
        assert "your own nginx files" in refused["error"]
        assert "in /etc/nginx/sites/own.conf:1; nginx could not start now" in refused["error"], refused
        code, out, _ = stage.lbwatch.command("check")
        assert code == 1
        assert "FAILED  config" in out
        assert "sites/own.conf:1" in out
        assert nginx.answers("web") == {"web2"}
    nginx.run("rm /etc/nginx/sites/own.conf")
    engine.run("web4", labels=WEB)
    stage.wait_in_step({"web": {"web2", "web3", "web4"}, "taken": {"taken1"}})


@pytest.mark.parametrize("first", ["nginx", "lbwatch"])
def test_an_nginx_that_cannot_start_without_its_upstreams_gets_them(
    nginx: ContainerNginx, set_sidecar: SetSidecar, engine: RealEngine, first: str
) -> None:
    """Nothing can test then, and each waits for the other: the loop of restarts must end by itself."""
    nginx.rewrite(http="server { listen unix:/shared/own.sock; location / { proxy_pass http://web; } }")
    nginx.options += ("--dns", "127.0.0.1")  # where nobody answers, and that at once
    engine.run("web1", labels=WEB)
    stage = set_sidecar(nginx, lbwatch_runs=first == "lbwatch")
    if first == "lbwatch":
        stage.lbwatch.wait_for_log("nginx.reload_failed")
        assert not stage.output.exists()
        nginx.launch()
    else:
        nginx.launch()
        wait_until(lambda: engine.inspect("nginx")["RestartCount"] >= 2, within=20, what="it restarts in a loop")
        stage.lbwatch.start()
    stage.wait_in_step({"web": {"web1"}}, within=40)
    engine.run("web2", labels=WEB)
    stage.wait_in_step({"web": {"web1", "web2"}})


# -- restarts by the engine, and signals


def test_after_reloads_by_exec_the_engine_still_restarts_nginx(
    nginx: ContainerNginx, set_sidecar: SetSidecar, engine: RealEngine
) -> None:
    """HUP by the engine would end that, silently, until nginx dies one night."""
    nginx.start()
    stage = set_sidecar(nginx)
    engine.run("web1", labels=WEB)
    stage.wait_in_step({"web": {"web1"}})
    for policy in ("always", "unless-stopped", "on-failure"):
        engine.docker("update", "--restart", policy, "nginx")
        since = stage.lbwatch.mark()
        engine.kill_from_outside("nginx")
        stage.wait_for_reload(since=since)
        stage.wait_in_step({"web": {"web1"}})
    assert not stage.lbwatch.logged("nginx.restart_disarmed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hung:
    """What became of a container that was told HUP by the engine: whether that was said, and whether it came back."""

    warned: int
    back: bool


DISARMED, ARMED, NEVER = Hung(warned=1, back=False), Hung(warned=0, back=True), Hung(warned=0, back=False)

HANG_UPS = {
    ("unless-stopped", "QUIT"): DISARMED,
    ("unless-stopped", None): DISARMED,
    ("always", "QUIT"): ARMED,
    ("always", None): DISARMED,
    ("on-failure", "QUIT"): ARMED,
    ("on-failure", None): DISARMED,
    ("no", None): NEVER,
}
"""By restart policy and stop signal: with one of its own, HUP is not taken for a stop, but for `unless-stopped`."""


def test_what_a_reload_by_signal_costs_is_said_where_it_costs_something(
    nginx: ContainerNginx, set_sidecar: SetSidecar, engine: RealEngine
) -> None:
    """The engine may take a container that it signalled for stopped by hand, and not restart it any more."""
    stage = set_sidecar(nginx, nginx_reload="signal", lbwatch_runs=False)
    found = {}
    for policy, stop_signal in HANG_UPS:
        engine.remove("nginx")
        nginx.options = ("--restart", policy)
        nginx.stop_signal = stop_signal
        since = stage.lbwatch.mark()  # the reload may come before the start is seen here
        nginx.start()
        if not stage.lbwatch.runs:
            stage.lbwatch.start()
        stage.wait_for_reload(since=since)
        if len(found) == 0:
            engine.run("web1", labels=WEB)
            stage.wait_in_step({"web": {"web1"}})  # by another reload
        engine.kill_from_outside("nginx")
        state = wait_until(
            lambda: engine.inspect("nginx"),
            holds=lambda state: state["RestartCount"] > 0 or state["State"]["Status"] == "exited",
            within=5,
            what="it is restarted, or is down",
        )
        warned = stage.lbwatch.logged("nginx.restart_disarmed", since=since)
        assert all(f"restart policy {policy} " in line["reason"] for line in warned)
        found[policy, stop_signal] = Hung(warned=len(warned), back=state["RestartCount"] > 0)
    assert found == HANG_UPS


def test_by_signal_nothing_is_run_in_the_container_and_a_bad_file_is_taken_back(
    nginx: ContainerNginx, set_sidecar: SetSidecar, engine: RealEngine, proxy: FaultProxy
) -> None:
    """Whoever may exec is root there; HUP alone is less, and the reload is the only trial."""
    nginx.start()
    stage = set_sidecar(nginx, nginx_reload="signal", docker_host=proxy.url)
    engine.run("web1", labels=WEB)
    stage.wait_in_step({"web": {"web1"}})
    suspended = stage.output.read_text()
    own = stage.output.parent / "own.conf"
    own.write_text(OWN)
    engine.run("bad", labels=TAKEN)
    stage.lbwatch.wait_for_log("upstream.degraded", upstream="taken", within=15)
    wait_until(lambda: stage.output.read_text() == suspended, within=15, what="the last good file is back")
    assert nginx.answers("web") == {"web1"}
    engine.run("web2", labels=WEB)
    engine.remove("web1")
    wait_until(
        lambda: file_blocks(stage.output) and nginx.answers("web") == {"web2"},
        within=15,
        what="the others come and go while one is refused",
    )
    own.unlink()
    stage.wait_in_step({"web": {"web2"}, "taken": {"bad"}}, within=60)
    engine.run("web1", labels=WEB)
    stage.wait_in_step({"web": {"web1", "web2"}, "taken": {"bad"}})
    since = stage.lbwatch.mark()
    engine.docker("restart", "nginx")
    stage.wait_for_reload(since=since)
    stage.wait_in_step({"web": {"web1", "web2"}, "taken": {"bad"}})
    wait_until(
        lambda: left_in(stage.output.parent),
        holds=lambda left: left == {"lbwatch.conf", ".lbwatch.conf.lock"},
        within=2,
        what="no old file is kept aside",
    )
    assert set(proxy.asked) == {
        "GET /_ping",
        "GET /info",
        "GET /events",
        "GET /containers/json",
        "GET /containers/ID/json",
        "GET /containers/ID/top",
        "POST /containers/ID/kill",
    }
    code, out, _ = stage.lbwatch.command("check")
    assert code == 0, out
    assert "POST /containers/ID/kill, GET /containers/ID/top" in out
    assert "not tested" in out
    words = "restart policy unless-stopped no longer brings it back"
    assert words in explained(stage.lbwatch)[1]
    assert words in out


# -- networks


def test_what_nginx_shares_a_network_with_is_routed_and_nothing_else(
    nginx: ContainerNginx, set_sidecar: SetSidecar, engine: RealEngine
) -> None:
    """An address that it cannot reach costs each request a timeout."""
    engine.docker("network", "create", "front")
    engine.docker("network", "create", "back")
    nginx.options += ("--network", "front")
    nginx.start()
    stage = set_sidecar(nginx)
    stage.reach = FRONT
    engine.run("web1", "--network", "front", labels=WEB)
    engine.run("api1", "--network", "back", labels=API)
    stage.wait_in_step({"web": {"web1"}, "api": ()})
    assert dict(file_blocks(stage.output))["api"] == PLACEHOLDER
    row = row_of(stage.lbwatch, "api1")
    assert row["reason"] == "no-network"
    assert "it is on back; nginx is on front" in row["detail"]
    engine.docker("network", "connect", "back", "nginx")
    stage.reach = Reach(networks=("back", "front"), host_shared=False)
    stage.wait_in_step({"web": {"web1"}, "api": {"api1"}})
    engine.docker("network", "disconnect", "back", "nginx")
    stage.reach = FRONT
    stage.wait_in_step({"web": {"web1"}, "api": ()})
    engine.docker("stop", "nginx")
    engine.run("web2", "--network", "front", labels=WEB)
    stage.wait_in_step({})
    assert len(dict(file_blocks(stage.output))["web"]) == 2


def test_an_nginx_in_anothers_network_reaches_what_that_one_does(
    nginx: ContainerNginx, set_sidecar: SetSidecar, engine: RealEngine
) -> None:
    """A VPN's container or a pod's: nginx's own list of networks is empty then."""
    engine.docker("network", "create", "back")
    engine.run("gate", "--network", "back")
    nginx.options += ("--network", "container:gate")
    nginx.start()
    stage = set_sidecar(nginx)
    stage.reach = Reach(networks=("back",), host_shared=False)
    engine.run("api1", "--network", "back", labels=API)
    engine.run("web1", labels=WEB)
    stage.wait_in_step({"api": {"api1"}, "web": ()})
    assert "reaches back" in stage.lbwatch.command("check")[1]
    engine.docker("network", "connect", "bridge", "gate")
    stage.reach = Reach(networks=("back", "bridge"), host_shared=False)
    stage.wait_in_step({"api": {"api1"}, "web": {"web1"}})


def test_an_nginx_on_the_hosts_network_reaches_the_host_and_all_networks(
    nginx: ContainerNginx, set_sidecar: SetSidecar, engine: RealEngine
) -> None:
    """There `127.0.0.1` is where the others are that share it."""
    engine.docker("network", "create", "back")
    nginx.options += ("--network", "host")
    nginx.start()
    stage = set_sidecar(nginx)
    stage.reach = ANY_NETWORK
    engine.run("api1", "--network", "back", labels=API)
    engine.run("web1", "--network", "host", labels=WEB | {"lbwatch.port": "8089"}, port=8089)
    stage.wait_in_step({"api": {"api1"}, "web": {"web1"}})
    assert dict(file_blocks(stage.output))["web"] == ["server 127.0.0.1:8089"]
    assert "reaches all networks" in stage.lbwatch.command("check")[1]


# -- mounts and users


def test_an_nginx_of_another_user_with_another_main_file_where_mounts_do_not_tell(
    nginx: ContainerNginx, set_sidecar: SetSidecar, engine: RealEngine
) -> None:
    """The unprivileged images: it may not write what root does, nor the folder, which it has twice."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    nginx.rewrite(main="pid /shared/own.pid;", http=" ".join(f"{kind}_temp_path /shared/{kind};" for kind in kinds))
    nginx.shared.chmod(0o777)
    nginx.volumes |= {nginx.conf: "/etc/nginx/own.conf:ro", nginx.output.parent: "/etc/nginx/conf.d:ro"}
    nginx.options += ("--user", "33:33", "--volume", f"{nginx.output.parent}:/backup:ro")
    nginx.command = "nginx -c /etc/nginx/own.conf"
    nginx.start()
    engine.run("web1", labels=WEB)
    stage = set_sidecar(nginx, nginx_conf="/etc/nginx/own.conf")
    failed = stage.lbwatch.wait_for_log("nginx.rejected")
    assert "set nginx_output" in failed["error"]
    assert "/backup" in failed["error"]
    assert not stage.output.exists()
    stage.lbwatch.terminate()
    stage = set_sidecar(nginx, nginx_conf="/etc/nginx/own.conf", nginx_output="/etc/nginx/conf.d")
    stage.wait_in_step({"web": {"web1"}})
    (nginx.output.parent / "own.conf").write_text(OWN)
    engine.run("taken1", labels=TAKEN)
    stage.lbwatch.wait_for_log("upstream.degraded", upstream="taken")
    assert nginx.answers("web") == {"web1"}


# -- what is slow or gone


def test_a_program_that_hangs_in_the_container_holds_up_nothing_but_its_own_reload(
    nginx: ContainerNginx, set_sidecar: SetSidecar, engine: RealEngine, proxy: FaultProxy
) -> None:
    """A sick runtime answers everything but this: what is known must still be told, and nothing be lost."""
    nginx.start()
    stage = set_sidecar(nginx, docker_host=proxy.url)
    engine.run("web1", labels=WEB)
    stage.wait_in_step({"web": {"web1"}})
    hung = proxy.inject(Broken(at=byte(0), then=Then.HOLD), on="/exec/[0-9a-f]+/start$")
    with unchanged(stage.output):
        engine.run("web2", labels=WEB)
        wait_until(lambda: hung.strikes, within=5, what="it hangs", notes=stage.notes)
        began = time.monotonic()
        assert row_of(stage.lbwatch, "web2")["upstream"] == "web"
        assert "(below: " not in stage.lbwatch.command("explain", "web1")[2], "the daemon did not answer"
        assert time.monotonic() - began < 15
        assert nginx.answers("web") == {"web1"}
    proxy.heal(abort=True)
    stage.wait_in_step({"web": {"web1", "web2"}})
    (line,) = [line for line in stage.lbwatch.command("check")[1].splitlines() if line[:14] == "ok      engine"]
    needed, _, wished = line.partition("asked for ")[2].partition("; and, where that is allowed, for ")
    asked = set(proxy.asked)
    assert asked - set(wished.split(" and ")) == set(needed.split(", ")), "more is asked than is said, or less"


def test_while_the_engine_is_gone_all_goes_on_and_then_is_in_step_again(
    new_engine: Callable[..., RealEngine], set_sidecar: SetSidecar, tmp_path: Path
) -> None:
    """Nginx's container outlives a crashed dockerd: neither its file nor its workers are touched for that."""
    engine = new_engine(live_restore=True).start()
    with ContainerNginx(tmp_path / "nginx", engine) as nginx:
        nginx.start()
        stage = set_sidecar(nginx)
        engine.run("web1", labels=WEB)
        engine.run("web2", labels=WEB)
        stage.wait_in_step({"web": {"web1", "web2"}})
        with unchanged(stage.output):
            since = stage.lbwatch.mark()
            engine.kill9()
            stage.lbwatch.wait_for_log("source.disconnected", since=since, count=2, within=15)
            assert nginx.answers("web") == {"web1", "web2"}
        engine.start()
        engine.run("web3", labels=WEB)
        stage.wait_in_step({"web": {"web1", "web2", "web3"}})
        stage.lbwatch.terminate()


# -- what people see


def test_the_stream_that_people_read_shows_no_noise_of_lbwatchs_own_work(
    nginx: ContainerNginx, set_sidecar: SetSidecar, engine: RealEngine, tmp_path: Path
) -> None:
    """Each test and reload makes several events at the engine; whoever looks for a cause would drown."""
    nginx.start()
    stage = set_sidecar(nginx)
    stage.lbwatch.wait_for_log("nginx.reloaded")
    shown = tmp_path / "events.txt"
    argv = in_namespace(engine.name, [sys.executable, "-m", "lbwatch", "events", *stage.lbwatch.flags])
    with shown.open("w") as out, subprocess.Popen(argv, stdout=out, stderr=subprocess.DEVNULL) as events:
        try:
            wait_for_words(stage.lbwatch, "following", say=shown.read_text)
            engine.run("web1", labels=WEB)
            stage.wait_in_step({"web": {"web1"}})
            engine.remove("web1")
            stage.wait_in_step({"web": ()})
            wait_for_words(stage.lbwatch, "web1", "destroy", say=shown.read_text)
        finally:
            events.terminate()
            events.wait(10)
    lines = shown.read_text().splitlines()
    begins = next(number for number, line in enumerate(lines) if " web1 " in line and "create" in line)
    lines = lines[begins:]  # before that is what the engine remembers of other tests
    assert not [line for line in lines if " nginx " in line or "exec" in line or "archive" in line], lines


def test_files_that_may_not_be_copied_leave_the_reload_to_judge(
    nginx: ContainerNginx, set_sidecar: SetSidecar, engine: RealEngine, proxy: FaultProxy
) -> None:
    """What nothing can test is no reason to route nothing: the last good file is kept aside, and what to allow is said."""
    nginx.start()
    proxy.inject(FORBIDDEN, on="/archive$")
    stage = set_sidecar(nginx, docker_host=proxy.url)
    engine.run("web1", labels=WEB)
    stage.wait_in_step({"web": {"web1"}}, within=15)
    (untested,) = stage.lbwatch.logged("nginx.untested")
    assert "must allow" in untested["reason"]
    assert "GET /containers/ID/archive" in untested["reason"]
    (stage.output.parent / "own.conf").write_text(OWN)
    engine.run("taken1", labels=TAKEN)
    engine.run("web2", labels=WEB)
    engine.remove("web1")
    wait_until(lambda: nginx.answers("web") == {"web2"}, within=30, what="one that is refused holds up nobody")
    assert [name for name, _ in file_blocks(stage.output)] == ["web"]
    row = row_of(stage.lbwatch, "taken1")
    assert (row["reason"], "own.conf:1" in row["detail"]) == ("upstream-refused", True), row


def test_an_event_costs_six_calls_of_the_engine(
    nginx: ContainerNginx, set_sidecar: SetSidecar, engine: RealEngine, proxy: FaultProxy
) -> None:
    """Each is work of the engine's, which on Podman takes up to a second: a look, two for a test, two to reload, a proof."""
    nginx.start()
    engine.run("web1", labels=WEB)
    engine.run("web2", labels=WEB)
    stage = set_sidecar(nginx, docker_host=proxy.url)
    stage.wait_in_step({"web": {"web1", "web2"}})
    engine.docker("pause", "web2")
    stage.wait_in_step({"web": {"web1"}})
    for deed, serve in (("unpause", {"web1", "web2"}), ("pause", {"web1"})):
        since = stage.lbwatch.mark()
        proxy.asked.clear()
        engine.docker(deed, "web2")
        stage.wait_for_reload(since=since)
        stage.wait_in_step({"web": serve})
        costs = +proxy.asked
        looks = costs.pop("GET /containers/ID/top")
        assert sum(costs.values()) == 5, costs
        assert 1 <= looks <= 4, "more than one where new workers come late, as on a busy machine"
