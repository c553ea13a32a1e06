"""Whether the engine answers what is asked, and has the networks that are set."""

from dataclasses import replace
from pathlib import Path

import pytest
from usersettings import settings_with

from lbwatch.cli.check.engine import engine_findings, network_findings
from lbwatch.cli.check.finding import Verdict
from lbwatch.core.errors import SourceError
from lbwatch.engines.docker.client import EngineClient, Ping
from lbwatch.engines.fake import FakeEngine
from lbwatch.engines.fake.faults import respond_with

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
    away, found = await engine_findings(settings_with(docker_host=hosts))
    assert (away.verdict, found.verdict) == (Verdict.FAILED, Verdict.OK)
    assert away.words.startswith("a: cannot connect to unix://")
    assert found.words.startswith("b: unix://")


async def test_an_engine_that_is_followed_by_two_ways_is_a_warning(engine: FakeEngine, tmp_path: Path) -> None:
    """Only its containers tell: a socket may have two names, and a proxy stands before another one."""
    (tmp_path / "other.sock").symlink_to(engine.socket)
    hosts = (f"a={engine.url}", f"b=unix://{tmp_path}/other.sock")
    assert [each.verdict for each in await engine_findings(settings_with(docker_host=hosts))] == [Verdict.OK] * 2
    engine.containers.run(name="web-1")
    *_, last = await engine_findings(settings_with(docker_host=hosts))
    assert (last.verdict, "a and b are one and the same engine" in last.words) == (Verdict.WARN, True)


async def test_what_is_asked_beside_nginx_is_asked_of_its_own_engine(engine: FakeEngine, tmp_path: Path) -> None:
    """A proxy before any other one need not allow that; and the networks are those of nginx's machine."""
    async with FakeEngine(socket=tmp_path / "b.sock", seed=2) as other:
        other.networks.create("edge")
        hosts = (f"a={engine.url}", f"b={other.url}")
        settings = settings_with(docker_host=hosts, nginx_engine="b", nginx_container="nginx", networks=("edge",))
        one, two = await engine_findings(settings)
        assert ("POST" in one.words, "POST" in two.words) == (False, True)
        assert [each.verdict for each in await network_findings(settings)] == [Verdict.OK]


async def test_a_network_that_the_engine_lacks_is_a_failure_with_the_nearest_one(engine: FakeEngine) -> None:
    """With it nothing is routed, and nothing else says why."""
    for name in ("shop_front", "backend"):
        engine.networks.create(name)
    settings = settings_with(docker_host=engine.url, networks=("front", "bakend", "bridge", "nope"))
    front, backend, nope = await network_findings(settings)
    assert {each.verdict for each in (front, backend, nope)} == {Verdict.FAILED}
    assert "no network 'front'" in front.words
    assert "did you mean shop_front?" in front.words
    assert "did you mean backend?" in backend.words
    assert "it has backend, bridge, host, none, shop_front" in nope.words, "on none there is never an address"


async def test_networks_that_are_there_are_fine_and_none_is_no_line(engine: FakeEngine) -> None:
    """And where no network is set nothing is asked that a proxy may refuse."""
    (found,) = await network_findings(settings_with(docker_host=engine.url, networks=("bridge",)))
    assert (found.verdict, found.words) == (Verdict.OK, "the engine has bridge")
    before = engine.requests.copy()
    assert await network_findings(settings_with(docker_host=engine.url)) == ()
    assert engine.requests == before


async def test_a_proxy_that_refuses_the_list_of_networks_is_a_warning(engine: FakeEngine, tmp_path: Path) -> None:
    """It need not be allowed; and an engine that is away has its own line already."""
    engine.fault = lambda request: respond_with("no", status=403) if request == "GET /networks" else None
    (found,) = await network_findings(settings_with(docker_host=engine.url, networks=("front",)))
    assert found.verdict is Verdict.WARN
    assert "not known whether the engine has front" in found.words
    assert "GET /networks" in found.words
    away = settings_with(docker_host=f"unix://{tmp_path}/none", networks=("front",))
    assert await network_findings(away) == ()
