"""`explain`: why each container is or is not routed, from the daemon and from the engine."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from command import WEB, WEB_AS_EXPOSED, lbwatch, on_a_terminal, plain, running
from fleets import Fleet
from waiting import eventually

from lbwatch.api.client import explanation
from lbwatch.engines.fake import FakeEngine


async def test_explain_says_of_each_container_why(engine: FakeEngine) -> None:
    """The most asked question of this field."""
    engine.containers.run(name="web-1", labels=WEB | {"lbwatch.colour": "red"})
    engine.containers.run(name="bad", labels={"lbwatch.port": "many"})
    engine.containers.run(name="plain")
    engine.containers.run(name="two", labels={"lbwatch.enable": "true"}, exposed=("80/tcp", "443/tcp"))
    code, out, err = await lbwatch("explain", docker_host=engine.url)
    assert code == 0, err
    lines = {line.split()[0]: line for line in out.splitlines() if not line.startswith(" ")}
    assert "web" in lines["web-1"].split()
    assert "172.17.0.2:80" in lines["web-1"]
    assert "lbwatch.colour" in out
    assert "bad-label" in lines["bad"]
    assert "'many'" in lines["bad"]
    assert "lbwatch.enable=true" in lines["plain"]
    assert "80, 443" in lines["two"]
    code, out, _ = await lbwatch("explain", "bad", "--json", docker_host=engine.url)
    (row,) = json.loads(out)
    assert (row["container"], row["reason"], row["address"]) == ("bad", "bad-label", None)
    code, out, err = await lbwatch("explain", "nobody", docker_host=engine.url)
    assert (code, out) == (1, "")
    assert "nobody" in err


async def test_the_daemon_itself_is_asked_why(engine: FakeEngine, tmp_path: Path) -> None:
    """It alone knows since when, and what nginx runs; a second look would guess."""
    engine.containers.run(name="web-1", labels=WEB_AS_EXPOSED)
    async with running(engine, tmp_path) as flags:
        await eventually(lambda: "172.17.0.2" in (tmp_path / "out.conf").read_text())
        asked = engine.requests.copy()
        code, out, err = await lbwatch("explain", "--json", **flags)
        assert engine.requests == asked, "the engine was asked, although the daemon knows"
    assert (code, err) == (0, "")
    (row,) = json.loads(out)
    assert (row["container"], row["address"], row["state"]) == ("web-1", "172.17.0.2:80", "up")
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", row["since"])


async def test_a_container_whose_inspect_hangs_is_explained_as_it_was(engine: FakeEngine, tmp_path: Path) -> None:
    """That is when somebody asks (moby#46782); the command gave up before the daemon did, and blamed the daemon."""
    id = engine.containers.run(name="web-1", labels=WEB_AS_EXPOSED)
    async with running(engine, tmp_path) as flags:
        await eventually(lambda: "172.17.0.2" in (tmp_path / "out.conf").read_text())
        engine.inspect_delay_s[id] = 60.0
        code, out, err = await lbwatch("explain", "web-1", **flags)
    assert (code, err) == (0, "")
    assert "172.17.0.2:80" in out
    assert "server 172.17.0.2:80;" in out, "its story"


async def test_a_container_that_asks_for_nothing_is_explained_at_once(engine: FakeEngine, tmp_path: Path) -> None:
    """The newcomer forgot the label, starts the container and asks: the next full look is half a minute away."""
    async with running(engine, tmp_path, resync_interval=600.0) as flags:
        asked = engine.requests.total()
        engine.containers.run(name="forgotten")
        await asyncio.sleep(0)
        assert engine.requests.total() == asked
        for _ in range(3):
            _, out, _ = await lbwatch("explain", **flags)
            if "forgotten" in out:
                break
        assert "not routed (not-labelled): it has no lbwatch.* label: add lbwatch.enable=true" in out
        engine.containers.remove("forgotten", force=True)
        for _ in range(3):
            _, out, _ = await lbwatch("explain", **flags)
        assert out == "The engine has no containers.\n"


@pytest.mark.parametrize("daemon", [True, False])
async def test_the_story_of_a_container_without_labels_is_true_too(
    engine: FakeEngine, tmp_path: Path, *, daemon: bool
) -> None:
    """Little is read of those; who asks for one by its name wants to know all."""
    engine.containers.run(name="old", exposed=("81/tcp",))
    engine.containers.create(name="idle")
    async with running(engine, tmp_path) as flags:
        engine.containers.run(name="late", exposed=("82/tcp",))
        if not daemon:
            flags["control_socket"] = str(tmp_path / "none")
        stories = {}
        for name in ("old", "idle", "late"):
            code, out, _ = await lbwatch("explain", name, "--json", **flags)
            assert code == 0
            (row,) = json.loads(out)
            assert row["reason"] == "not-labelled"
            stories[name] = row["story"]
    assert {name: story["status"] for name, story in stories.items()} == {
        "old": "running",
        "idle": "created",
        "late": "running",
    }
    assert stories["late"]["exposed"] == [82]
    assert stories["old"]["exposed"] == [81]
    assert stories["late"]["started"] is not None
    assert stories["idle"]["started"] is None
    assert stories["old"]["networks"][0]["address"].startswith("172.17.0.")


async def test_a_container_of_several_upstreams_has_each_network_weighed(engine: FakeEngine, tmp_path: Path) -> None:
    """Each upstream may ask for another one."""
    for name in ("front", "back", "other"):
        engine.networks.create(name)
    labels = {"lbwatch.upstreams.a.network": "front", "lbwatch.upstreams.b.network": "back"}
    engine.containers.run(name="both", labels=labels, networks=("front", "back", "other"))
    settings = {"docker_host": engine.url, "control_socket": tmp_path / "none"}
    _, out, _ = await lbwatch("explain", "both", "--json", **settings)
    verdicts = {each["network"]: each["verdict"] for each in json.loads(out)[0]["story"]["networks"]}
    assert verdicts == {"back": "used", "front": "used", "other": "the label asks for front"}


async def test_the_line_in_the_file_is_shown_although_nginx_does_not_run_it(engine: FakeEngine, tmp_path: Path) -> None:
    """It is one of the first things that one looks for."""
    engine.containers.run(name="web-1", labels=WEB_AS_EXPOSED)
    async with running(engine, tmp_path, reload_command="false") as flags:
        await eventually(lambda: "172.17.0.2" in (tmp_path / "out.conf").read_text())
        for _ in range(5):
            _, out, _ = await lbwatch("explain", "web-1", "--json", **flags)
            if json.loads(out)[0]["reason"] is not None:
                break
    (row,) = json.loads(out)
    assert row["reason"] == "not-in-force"
    assert row["story"]["lines"] == ["server 172.17.0.2:80;"]


async def test_a_reload_command_that_is_gone_takes_nobody_out(engine: FakeEngine, tmp_path: Path) -> None:
    """nginx serves on with what it has: only what is new is not in force."""
    script = tmp_path / "reload"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    engine.containers.run(name="web-1", labels=WEB_AS_EXPOSED)
    async with running(engine, tmp_path, reload_command=str(script)) as flags:
        async with asyncio.timeout(10):  # its first reload must be over
            while [row.reason for row in (await explanation(tmp_path / "control", container=None)).routes] != [None]:
                await asyncio.sleep(0.01)
        script.unlink()
        engine.containers.run(name="web-2", labels=WEB_AS_EXPOSED)
        await eventually(lambda: "172.17.0.3" in (tmp_path / "out.conf").read_text())
        for _ in range(5):
            _, out, _ = await lbwatch("explain", "--json", **flags)
            rows = {row["container"]: row for row in json.loads(out)}
            if rows["web-2"]["reason"] is not None:
                break
    assert (rows["web-1"]["reason"], rows["web-1"]["address"]) == (None, "172.17.0.2:80")
    assert rows["web-2"]["reason"] == "not-in-force"
    assert "No such file or directory" in rows["web-2"]["detail"]
    assert rows["web-2"]["since"] >= rows["web-1"]["since"]


async def test_an_engine_that_is_not_the_daemons_is_looked_at_itself(engine: FakeEngine, tmp_path: Path) -> None:
    """An answer about another engine would be wrong in every row."""
    async with FakeEngine(socket=tmp_path / "other.sock") as other, running(engine, tmp_path) as flags:
        other.containers.run(name="elsewhere", labels=WEB_AS_EXPOSED)
        code, out, err = await lbwatch("explain", **(flags | {"docker_host": other.url}))
        assert code == 0
        assert out.startswith("elsewhere")
        assert f"follows {engine.url} (below: what it would do with {other.url} now)" in err


async def test_an_engine_that_was_never_reached_is_said_by_the_daemon(engine: FakeEngine, tmp_path: Path) -> None:
    """No rows and exit code 0 would look as if there were no containers."""
    await engine.close()
    (tmp_path / "out.conf").write_text("# old\n")
    async with running(engine, tmp_path) as flags:
        await asyncio.sleep(0)
        code, out, err = await lbwatch("explain", **flags)
    assert (code, out) == (1, "")
    assert f"cannot connect to {engine.url}" in err


async def test_a_row_has_the_hosts_and_ports_that_its_container_serves(engine: FakeEngine) -> None:
    """Who asks for a container wants to know which site it is; a closed one has a row of its own, which names it."""
    web = {"lbwatch.upstream": "web", "lbwatch.host": "a.example, b.example", "lbwatch.listen": "5432/tcp"}
    engine.containers.run(name="web-1", labels=web)
    engine.containers.run(name="late", labels={"lbwatch.upstream": "late", "lbwatch.host": "a.example"})
    flags = {
        "docker_host": engine.url,
        "template": "nginx/sites.conf.j2",
        "stream_output": "/nowhere/s.conf",
        "test_command": "true",
        "control_socket": "/nowhere",
    }
    _, out, err = await lbwatch("explain", **flags)
    assert "       for a.example/, b.example/, port 5432/tcp" in out.splitlines(), err
    assert "not routed for a.example/ (host-taken)" in out
    _, out, _ = await lbwatch("explain", "--json", **flags)
    rows = {(each["container"], each["site"]): each for each in json.loads(out)}
    assert rows["web-1", None]["serves"] == ["a.example/", "b.example/", "port 5432/tcp"]
    assert rows["late", "a.example/"]["reason"] == "host-taken"
    assert rows["late", "a.example/"]["serves"] == []
    _, shown = await on_a_terminal("explain", **flags)
    assert "for a.example/, b.example/, port 5432/tcp" in plain(shown)


async def test_the_daemon_names_the_hosts_too(engine: FakeEngine, tmp_path: Path) -> None:
    engine.containers.run(name="web-1", labels={"lbwatch.host": "a.example", "lbwatch.upstream": "web"})
    folders = {name: tmp_path / name for name in ("cert_dir", "vhost_dir", "htpasswd_dir")}
    async with running(engine, tmp_path, template="nginx/sites.conf.j2", **folders) as flags:
        await eventually(lambda: "172.17.0.2" in (tmp_path / "out.conf").read_text())
        _, out, _ = await lbwatch("explain", "web-1", **flags)
    assert "  for a.example/\n" in out


# -- of several engines


async def test_each_row_says_which_engine_or_which_task_it_is_of(fleet: Fleet) -> None:
    """Whoever reads that `web-2` is not routed has to know where to go."""
    fleet.a.containers.run(name="web-2", labels=WEB_AS_EXPOSED)
    _, out, _ = await lbwatch("explain", **fleet.settings)
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert lines["web-2"].endswith("[engine a]")
    assert "engine b]" not in lines["b/web-1"], "its name says so"
    tasks = [line for name, line in lines.items() if name.startswith("api.")]
    assert sorted(line.partition(" [")[2] for line in tasks) == ["task api.1 on node m1]", "task api.2 on node w1]"]
    _, out, _ = await lbwatch("explain", "--json", **fleet.settings)
    rows = {row["container"]: row for row in json.loads(out)}
    assert (rows["b/web-1"]["engine"], rows["b/web-1"]["service"]) == ("b", None)
    task = next(row for name, row in rows.items() if name.startswith("api.2"))
    assert [task[key] for key in ("engine", "service", "task", "node")] == ["swarm", "api", "api.2", "w1"]
    _, seen = await on_a_terminal("explain", columns=80, **fleet.settings)
    assert "engine a" in plain(seen)
    assert "task api.1 on node m1" in plain(seen)
    assert max(map(len, plain(seen).splitlines())) <= 80


async def test_a_story_says_the_engine_and_each_way_that_was_tried(fleet: Fleet) -> None:
    """A bridge of another machine looks as good as one's own, and `docker logs b/web-1` finds nothing."""
    _, seen = await on_a_terminal("explain", "b/web-1", columns=80, **fleet.settings)
    story = " ".join(plain(seen).split())
    assert "engine b, which calls it web-1 id" in story
    assert "networks bridge 172.17.0.2 (it is one of engine b, where nginx is not) reached network (" in story
    assert "published port (it publishes no port: docker run --publish 80 does it) host network (" in story
    assert max(map(len, plain(seen).splitlines())) <= 80
    _, out, _ = await lbwatch("explain", "b/web-1", "--json", **fleet.settings)
    story = json.loads(out)[0]["story"]
    assert [each["way"] for each in story["ways"]] == ["network", "published port", "host network"]
    assert (story["engine"], story["own_name"], story["swarm"]) == ("b", "web-1", None)


async def test_a_story_of_a_task_has_its_service_its_node_and_both_states(fleet: Fleet) -> None:
    """They are what `docker service ps` shows; where both states differ its stop is on its way."""
    _, out, _ = await lbwatch("explain", "api.2", **fleet.settings)
    assert "Swarm     service api, task api.2, node w1\n          state running, desired state running\n" in out
    assert "reached" not in out, "by a network, of which all is said already"
    _, out, _ = await lbwatch("explain", "api.2", "--json", **fleet.settings)
    assert json.loads(out)[0]["story"]["swarm"] == {
        "service": "api",
        "task": "api.2",
        "node": "w1",
        "state": "running",
        "desired": "running",
    }


async def test_of_one_engine_no_row_and_no_story_says_which(engine: FakeEngine, tmp_path: Path) -> None:
    """It would stand at every container, and tell nobody anything."""
    engine.containers.run(name="web-1", labels=WEB_AS_EXPOSED)
    for words in (("explain",), ("explain", "web-1")):
        _, out, _ = await lbwatch(*words, docker_host=engine.url, control_socket=tmp_path / "none")
        assert "engine" not in out
        assert "reached" not in out
