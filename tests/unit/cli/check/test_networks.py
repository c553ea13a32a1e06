"""Whether the networks that are set are there, where nginx may be on them."""

import json
from pathlib import Path

from usersettings import settings_with

from lbwatch.cli.check.finding import Verdict
from lbwatch.cli.check.networks import network_findings
from lbwatch.engines.fake import FakeEngine
from lbwatch.engines.fake.faults import respond_with


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


async def test_of_several_engines_the_networks_are_those_of_nginx_and_overlays(
    engine: FakeEngine, tmp_path: Path
) -> None:
    """A bridge of another machine has the right name, and no address there is reached."""
    async with FakeEngine(socket=tmp_path / "b.sock", seed=2) as other:
        engine.networks.create("front")
        there = [
            {"Id": "e" * 64, "Name": "edge", "Driver": "bridge"},
            {"Id": "o" * 25, "Name": "ov", "Driver": "overlay"},
        ]
        other.fault = lambda request: respond_with(json.dumps(there)) if request == "GET /networks" else None
        hosts = (f"a={engine.url}", f"b={other.url}")

        async def found(*networks: str, nginx: str) -> list[tuple[Verdict, str]]:
            settings = settings_with(docker_host=hosts, nginx_engine=nginx, networks=networks)
            return [(each.verdict, each.words) for each in await network_findings(settings)]

        assert await found("front", "ov", nginx="a") == [(Verdict.OK, "engine a, or an overlay network, has front, ov")]
        ((verdict, words),) = await found("edge", "ov", nginx="a")
        assert verdict is Verdict.FAILED
        assert "nginx's engine a has no network 'edge', and no engine such an overlay" in words
        assert [verdict for verdict, _ in await found("edge", nginx="b")] == [Verdict.OK]
        assert await found("ov", nginx="none") == [(Verdict.OK, "there are the overlay networks ov")]
        ((verdict, words),) = await found("front", nginx="none")
        assert verdict is Verdict.FAILED
        assert "no engine has an overlay network 'front', and nginx is on no other" in words
        assert words.endswith("there is ov")


async def test_what_an_engine_that_is_away_may_have_is_not_called_missing(engine: FakeEngine, tmp_path: Path) -> None:
    """That it is away has its own line, which fails; the overlay may be there all the same."""
    hosts = (f"a={engine.url}", f"b=unix://{tmp_path}/none")
    settings = settings_with(docker_host=hosts, networks=("bridge", "ov"))
    (found,) = await network_findings(settings)
    assert (found.verdict, found.words) == (
        Verdict.WARN,
        "not known whether there are overlay networks ov: no answer of b",
    )
    assert await network_findings(settings_with(docker_host=hosts, nginx_engine="b", networks=("ov",))) == ()
    (found,) = await network_findings(settings_with(docker_host=hosts, networks=("bridge",)))
    assert found.verdict is Verdict.OK
