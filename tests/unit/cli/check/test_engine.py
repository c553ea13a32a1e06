"""Whether each engine answers what is asked, and nginx reaches what it has."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from usersettings import settings_with

from lbwatch.cli.check import engine as enginecheck
from lbwatch.cli.check.engine import engine_findings
from lbwatch.cli.check.finding import Verdict
from lbwatch.core.errors import SourceError
from lbwatch.core.selector import Selector
from lbwatch.engines.docker.client import ASKED_OF_MANAGER, EngineClient, Ping
from lbwatch.engines.fake import FakeEngine
from lbwatch.engines.fake.faults import Fault, Handler, respond_with, stall
from lbwatch.engines.fake.swarm.swarm import FakeSwarm

_ping = EngineClient.ping


async def podman_ping(client: EngineClient) -> Ping:
    return replace(await _ping(client), podman="5.4.2")


async def test_an_engine_that_answers_is_named_with_what_is_asked_of_it(engine: FakeEngine) -> None:
    """Whoever puts a proxy before it must know what to allow."""
    engine.containers.run(name="web-1")
    (found,) = await engine_findings(settings_with(docker_host=engine.url))
    assert found.verdict is Verdict.OK
    assert "API 1.41, 1 container; asked for GET /_ping, GET /events" in found.words


async def test_podman_is_a_warning_with_what_to_do(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else says why no container drains there when it is stopped."""
    monkeypatch.setattr(EngineClient, "ping", podman_ping)
    answers, podman = await engine_findings(settings_with(docker_host=engine.url))
    assert (answers.verdict, podman.verdict) == (Verdict.OK, Verdict.WARN)
    assert "Podman 5.4.2, which reports no stop signal" in podman.words
    assert "lbwatch drain NAME" in podman.words


async def test_what_podman_keeps_of_each_exec_is_a_warning(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """They pile up where containers come and go all day, and only a file of Podman's own can shorten that."""
    monkeypatch.setattr(EngineClient, "ping", podman_ping)
    by_exec = settings_with(docker_host=engine.url, nginx_container="nginx")
    *_, last = await engine_findings(by_exec)
    assert (last.verdict, "exit_command_delay = 5" in last.words) == (Verdict.WARN, True)
    by_signal = settings_with(docker_host=engine.url, nginx_container="nginx", nginx_reload="signal")
    assert len([*await engine_findings(by_signal)]) == 2


async def test_a_socket_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    """The first thing a newcomer meets: Docker is not started, or listens elsewhere."""
    with pytest.raises(SourceError, match="start the engine, or set docker_host"):
        await engine_findings(settings_with(docker_host=f"unix://{tmp_path}/none"))


async def test_of_several_engines_each_has_its_line_and_one_that_is_away_fails(
    engine: FakeEngine, tmp_path: Path
) -> None:
    """`check` was content with the first one, whatever the others were."""
    engine.containers.run(name="web-1")
    hosts = (f"a=unix://{tmp_path}/none", f"b={engine.url}")
    away, found = await engine_findings(settings_with(docker_host=hosts, engine_address=("b=10.0.0.2",)))
    assert (away.verdict, found.verdict) == (Verdict.FAILED, Verdict.OK)
    assert away.words.startswith("a: cannot connect to unix://")
    assert found.words.startswith("b: unix://")
    assert "1 container, published ports at 10.0.0.2; asked for" in found.words


async def test_an_engine_that_is_followed_by_two_ways_is_a_warning(engine: FakeEngine, tmp_path: Path) -> None:
    """Only its containers tell: a socket may have two names, and a proxy stands before another one."""
    (tmp_path / "other.sock").symlink_to(engine.socket)
    hosts = (f"a={engine.url}", f"b=unix://{tmp_path}/other.sock")
    settings = settings_with(docker_host=hosts, engine_address=("b=10.0.0.2",))
    assert [each.verdict for each in await engine_findings(settings)] == [Verdict.OK] * 2
    engine.containers.run(name="web-1")
    *_, last = await engine_findings(settings)
    assert (last.verdict, "a and b are one and the same engine" in last.words) == (Verdict.WARN, True)


async def test_what_is_asked_beside_nginx_is_asked_of_its_own_engine(engine: FakeEngine, tmp_path: Path) -> None:
    """A proxy before any other one need not allow that."""
    async with FakeEngine(socket=tmp_path / "b.sock", seed=2) as other:
        hosts = (f"a={engine.url}", f"b={other.url}")
        settings = settings_with(
            docker_host=hosts,
            nginx_engine="b",
            nginx_container="nginx",
            engine_address=("a=10.0.0.1",),
        )
        one, two = await engine_findings(settings)
        assert ("POST" in one.words, "POST" in two.words) == (False, True)


def info(**said: object) -> Callable[[str], Fault | None]:
    """A fault by which an engine says more of itself."""
    body = json.dumps({"Name": "host", "Swarm": {"LocalNodeState": "inactive"}} | said)
    return lambda request: respond_with(body) if request == "GET /info" else None


async def test_two_names_of_one_engine_without_a_container_have_its_id_alone(
    engine: FakeEngine, tmp_path: Path
) -> None:
    """A first set-up has no container yet."""
    async with FakeEngine(socket=tmp_path / "b.sock", seed=2) as other:
        hosts = (f"a={engine.url}", f"b={other.url}")
        settings = settings_with(docker_host=hosts, engine_address=("b=10.0.0.2",))
        engine.fault, other.fault = info(ID="AAAA"), info(ID="AAAA")
        *_, last = await engine_findings(settings)
        assert (last.verdict, "one and the same engine" in last.words) == (Verdict.WARN, True)
        other.fault = info(ID="BBBB")
        assert {each.verdict for each in await engine_findings(settings)} == {Verdict.OK}


async def test_engines_that_hang_take_no_longer_together_than_one(engine: FakeEngine, tmp_path: Path) -> None:
    """Twelve hosts behind a link that is down: `check` would take a minute."""
    over, asked = asyncio.Event(), asyncio.Barrier(2)

    def hang(request: str) -> Fault | None:
        return meeting if request == "GET /_ping" else None

    async def meeting(request: web.Request, handler: Handler) -> web.StreamResponse:
        await asked.wait()  # until the other one is asked, too
        return await stall(over)(request, handler)

    async with FakeEngine(socket=tmp_path / "b.sock", seed=2) as other:
        engine.fault = other.fault = hang
        over.set()
        hosts = (f"a={engine.url}", f"b={other.url}")
        found = await engine_findings(settings_with(docker_host=hosts, engine_address=("b=10.0.0.2",)))
    assert [each.verdict for each in found] == [Verdict.OK, Verdict.OK]


async def test_an_engine_whose_published_ports_are_nowhere_is_a_warning_with_the_setting(
    engine: FakeEngine, tmp_path: Path
) -> None:
    """All its containers would be out, for a reason that each of them has alone."""
    async with FakeEngine(socket=tmp_path / "b.sock", seed=2) as other:
        hosts = (f"a={engine.url}", f"b={other.url}")
        a, b, warned = await engine_findings(settings_with(docker_host=hosts))
        assert (a.verdict, b.verdict, warned.verdict) == (Verdict.OK, Verdict.OK, Verdict.WARN)
        assert warned.words.startswith("b: nginx is not on its machine")
        assert warned.words.endswith("set engine_address=b=ADDRESS")
        unknown = settings_with(docker_host=hosts, engine_address=("b=no-such-host.invalid",))
        *_, warned = await engine_findings(unknown)
        assert warned.words.startswith("b: its published ports are not reached: no-such-host.invalid: ")
    elsewhere = settings_with(docker_host=engine.url, nginx_engine="none")
    _, warned = await engine_findings(elsewhere)
    assert "engine_address=local=ADDRESS" in warned.words
    said = settings_with(docker_host=engine.url, nginx_engine="none", engine_address=("local=10.0.0.1",))
    assert [each.verdict for each in await engine_findings(said)] == [Verdict.OK]


async def test_a_rootless_engine_beside_nginx_is_a_warning_with_what_to_set(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bridges are in a network namespace of their own: each request would end in a timeout."""
    monkeypatch.setattr(enginecheck, "followed", lambda settings: None)
    engine.fault = info(SecurityOptions=["name=seccomp,profile=default", "name=rootless", "name=cgroupns"])
    _, warned = await engine_findings(settings_with(docker_host=engine.url))
    assert warned.verdict is Verdict.WARN
    assert "it is rootless" in warned.words
    assert warned.words.endswith("set nginx_engine=none and engine_address=local=ADDRESS")
    said = settings_with(docker_host=engine.url, nginx_engine="none", engine_address=("local=10.0.0.1",))
    assert [each.verdict for each in await engine_findings(said)] == [Verdict.OK]
    engine.fault = info(SecurityOptions=5)
    assert [each.verdict for each in await engine_findings(settings_with(docker_host=engine.url))] == [Verdict.OK]


async def test_nginx_in_a_container_of_a_rootless_engine_reaches_the_others(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in the same namespace as they are."""
    monkeypatch.setattr(enginecheck, "followed", lambda settings: Selector(named="nginx"))
    engine.fault = info(SecurityOptions=["name=rootless"])
    found = await engine_findings(settings_with(docker_host=engine.url, nginx_container="nginx"))
    assert [each.verdict for each in found] == [Verdict.OK]


async def test_a_manager_is_asked_for_its_swarm_and_says_what_it_is(tmp_path: Path) -> None:
    """A proxy that refuses one of the lists is found out before the first start, and not by missing tasks."""
    async with FakeSwarm() as swarm, AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(FakeEngine(socket=tmp_path / f"{name}.sock", seed=seed))
            for seed, name in enumerate("mw")
        ]
        swarm.add_node("m", manager=True, engine=one)
        swarm.add_node("w", engine=two)
        hosts = (f"m={one.url}", f"w={two.url}")
        settings = settings_with(docker_host=hosts, engine_address=("w=10.0.0.2",))
        manager, worker = await engine_findings(settings)
        assert ", manager of Swarm " in manager.words
        assert "GET /services, GET /tasks, GET /nodes; and, where" in manager.words
        assert ", worker in a Swarm, published ports at 10.0.0.2; asked for" in worker.words
        assert "GET /services" not in worker.words
        one.fault = lambda request: respond_with("no", status=403) if request == "GET /tasks" else None
        _, warned, _ = await engine_findings(settings)
        assert warned.verdict is Verdict.WARN
        assert warned.words.startswith("m: its Swarm's tasks cannot be read by it: /tasks: refused")
        assert f"it must allow {', '.join(ASKED_OF_MANAGER)}" in warned.words
        off = settings_with(docker_host=hosts, engine_address=("w=10.0.0.2",), swarm="off")
        before = one.requests.copy()
        assert [each.verdict for each in await engine_findings(off)] == [Verdict.OK, Verdict.OK]
        assert not (one.requests - before).keys() & {"GET /services", "GET /tasks", "GET /nodes"}
