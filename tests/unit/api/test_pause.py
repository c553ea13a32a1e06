"""`pause` and `resume` as the running daemon carries them out: over a real socket, on the fake engine."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from command import lbwatch
from fakedaemon import WEB, DrainStage, FixedLoop, drain_stage, fixed_service, listening, unasked, warned
from simulation import SimulatedNginx
from strategies import container
from waiting import eventually

from lbwatch.api import client, control
from lbwatch.api.client import request
from lbwatch.api.control import ControlService
from lbwatch.core.errors import RequestError
from lbwatch.core.model import Upstream
from lbwatch.engines.fake import FakeEngine
from lbwatch.system.state import State
from lbwatch.wiring.access import NOT_LIVE

WAITS = (
    "new requests wait where nginx's location has `set $lbwatch_hold web;`, for 60 s at most each, and then fail; "
    "`lbwatch resume web` ends that"
)
"""What whoever pauses reads."""


def no_refusal() -> None:
    """Return no refusal: of a load balancer whose requests can wait."""


@pytest.fixture
async def live(tmp_path: Path, engine: FakeEngine, nginx: SimulatedNginx) -> AsyncIterator[DrainStage]:
    """Two containers serve upstream web, and one api; requests can wait."""
    for name, upstream in (("web-1", "web"), ("web-2", "web"), ("api-1", "api")):
        engine.containers.run(name=name, labels=WEB | {"lbwatch.upstream": upstream})
    async with drain_stage(tmp_path, engine, nginx, hold_refusal=no_refusal) as stage:
        yield stage


async def test_a_paused_upstream_is_in_force_when_the_answer_comes_and_is_resumed_likewise(live: DrainStage) -> None:
    """`lbwatch pause web && migrate; lbwatch resume web` is what it is for: the first word must be true by then."""
    said = await live.pause("web")
    assert live.waits() == {"api": (False, 0.0), "web": (True, 60.0)}
    assert said == f"upstream web is paused: {WAITS}"
    assert len(live.servers()) == 3, "the file is the same: without lbwatch nginx serves on"
    said = await live.resume("web")
    assert live.waits() == {"api": (False, 0.0), "web": (False, 0.0)}
    assert said == "upstream web is not paused any more; it has 2 servers"


async def test_to_pause_twice_or_to_resume_for_nothing_does_no_harm_and_is_said(live: DrainStage) -> None:
    """Scripts are run again after they failed half-way."""
    await live.pause("web")
    assert (await live.pause("WEB")).startswith("upstream web is paused already: new requests wait")
    assert await live.resume("api") == "upstream api was not paused; it has 1 server"
    assert live.waits() == {"api": (False, 0.0), "web": (True, 60.0)}
    assert live.state.paused == {"web"}


async def test_a_pause_holds_over_a_restart_and_over_the_last_container(
    tmp_path: Path, engine: FakeEngine, nginx: SimulatedNginx
) -> None:
    """A migration does not end because somebody updates lbwatch, nor because the old version is removed first."""
    engine.containers.run(name="web-1", labels=WEB)
    async with drain_stage(tmp_path, engine, nginx, hold_refusal=no_refusal) as stage:
        await stage.pause("web")
    async with drain_stage(tmp_path, engine, nginx, hold_refusal=no_refusal) as stage:
        assert stage.waits() == {"web": (True, 60.0)}
        engine.containers.remove("web-1", force=True)
        await eventually(lambda: stage.servers() == ["127.0.0.1"], what="the placeholder alone")
        assert stage.waits() == {"web": (True, 60.0)}
        assert "paused already" in await stage.pause("web")
        assert await stage.resume("web") == "upstream web is not paused any more; it has no container, and is gone"
        assert stage.waits() == {}
    async with drain_stage(tmp_path, engine, nginx, hold_refusal=no_refusal) as stage:
        assert stage.state.paused == frozenset()


async def test_a_resumed_upstream_without_a_server_says_what_becomes_of_its_requests(
    live: DrainStage, engine: FakeEngine
) -> None:
    """Whoever resumes too early must read it at once."""
    engine.containers.run(name="one", labels=WEB | {"lbwatch.upstream": "one", "lbwatch.hold": "15s"})
    await eventually(lambda: "one" in live.waits())
    for name in ("one", "api-1"):
        engine.containers.stop(name)
    await eventually(lambda: live.nginx.runs is not None and live.nginx.runs.count("down") == 2)
    await live.pause("one")
    assert (
        await live.resume("one") == "upstream one is not paused any more; it has no server: requests wait 15 s for one"
    )
    assert await live.resume("api") == "upstream api was not paused; it has no server"


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("wob", "there is no upstream 'wob': did you mean web? (there are: api, web)"),
        ("web-1", "there is no upstream 'web-1': the container of that name is in web"),
        ("", "there is no upstream '' (there are: api, web)"),
        ("nobody", "there is no upstream 'nobody' (there are: api, web)"),
        ("../web", "there is no upstream '../web'"),
        ("a&upstream=web", "there is no upstream 'a&upstream=web'"),
        ("x" * 5000, "there is no upstream 'xxx"),
        ("we\nb", "there is no upstream 'we b'"),
    ],
)
async def test_an_unknown_upstream_is_an_error_that_says_which_there_are(
    live: DrainStage, ref: str, words: str
) -> None:
    """A typing error in a deploy script must stop it before it stops the container."""
    for give in (live.pause, live.resume):
        with pytest.raises(RequestError) as caught:
            await give(ref)
        assert str(caught.value).startswith(words)
        assert len(str(caught.value)) < 400
        assert str(caught.value).isprintable()
    assert live.state.paused == frozenset()


async def test_of_many_upstreams_a_few_are_named(tmp_path: Path) -> None:
    """Ten thousand names are no answer."""
    upstreams = tuple(Upstream(name=f"u{number:04}") for number in range(2000))
    async with listening(tmp_path / "s", service=fixed_service(State(tmp_path), upstreams=upstreams)):
        with pytest.raises(RequestError, match=r"\(there are: u0000, .*u0007 and 1992 more\)$"):
            await request(tmp_path / "s", verb="pause", upstream="nobody")
    async with listening(tmp_path / "s", service=fixed_service(State(tmp_path))):
        with pytest.raises(RequestError, match=r"there is no upstream 'nobody', and no other$"):
            await request(tmp_path / "s", verb="pause", upstream="nobody")


async def test_where_no_request_can_wait_a_pause_is_refused_and_a_resume_is_not(stage: DrainStage) -> None:
    """A pause that lets everything through would be worse than none; what was kept from before must have an end."""
    with pytest.raises(RequestError, match=r"^upstream web cannot be paused: requests can wait only where") as caught:
        await stage.pause("web")
    assert str(caught.value).endswith(NOT_LIVE)
    assert stage.state.paused == frozenset()
    stage.state.pause("web")
    assert await stage.resume("web") == "upstream web is not paused any more; it has 2 servers"


async def test_a_pause_before_the_engine_was_read_says_so(tmp_path: Path) -> None:
    """`no such upstream` would be a lie then."""
    loop = FixedLoop()
    loop.known = None
    async with listening(tmp_path / "s", service=ControlService(State(tmp_path), loop=loop, explain=unasked)):
        for verb in ("pause", "resume"):
            with pytest.raises(RequestError, match="has not read the engine yet"):
                await request(tmp_path / "s", verb=verb, upstream="web")


async def test_a_pause_that_is_not_in_force_in_time_fails_and_says_what_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pause && migrate` must not migrate under requests."""
    monkeypatch.setattr(control, "IN_FORCE_TIMEOUT_S", 0.05)
    state = State(tmp_path / "state")
    service = fixed_service(state, container("web-1"), settles=False, upstreams=(Upstream(name="web"),))
    async with listening(tmp_path / "s", service=service):
        with pytest.raises(
            RequestError, match=r"upstream web is paused; nginx does not run that after 0\.05 s: .* log"
        ):
            await request(tmp_path / "s", verb="pause", upstream="web")
    assert state.paused == {"web"}


async def test_a_pause_that_cannot_be_kept_is_carried_out_and_says_so(tmp_path: Path) -> None:
    """In a read-only container it holds until the next restart, and the operator knows."""
    (tmp_path / "state").write_text("in the place of the folder")
    state = State(tmp_path / "state")
    with warned() as warnings:
        async with listening(tmp_path / "s", service=fixed_service(state, upstreams=(Upstream(name="web"),))):
            said = await request(tmp_path / "s", verb="pause", upstream="web")
            assert state.paused == {"web"}
            undone = await request(tmp_path / "s", verb="resume", upstream="web")
            assert state.paused == frozenset()
    assert said.startswith("upstream web is paused (but a restart of lbwatch undoes that: state_dir: ")
    assert "but a restart of lbwatch undoes that" in undone
    assert warnings == ["state.failed"] * 2


async def test_commands_that_look_know_of_pauses_and_of_what_cannot_be(live: DrainStage) -> None:
    """`lbwatch render` beside a daemon must come to the same."""
    await live.pause("api")
    known = await client.suspended(live.socket)
    assert known is not None
    assert (known.paused, known.hold_refusal) == ({"api"}, None)


async def test_an_upstream_whose_last_container_went_is_known_to_commands_too(
    live: DrainStage, engine: FakeEngine
) -> None:
    """Its name is in the file for as long as requests wait for the next."""
    engine.containers.run(name="one", labels=WEB | {"lbwatch.upstream": "one", "lbwatch.hold": "60s"})
    await eventually(lambda: "one" in live.waits())
    engine.containers.remove("one", force=True)
    await eventually(lambda: "127.0.0.1" in live.servers())
    known = await client.suspended(live.socket)
    assert known is not None
    assert known.kept == {"one": Upstream(name="one", hold_s=60.0)}


async def test_a_pause_that_was_kept_and_cannot_be_is_told_everywhere(
    tmp_path: Path, engine: FakeEngine, nginx: SimulatedNginx
) -> None:
    """After a restart without what it takes requests go through; nobody must believe that they wait."""
    engine.containers.run(name="web-1", labels=WEB)
    async with drain_stage(tmp_path, engine, nginx, hold_refusal=no_refusal) as stage:
        await stage.pause("web")
    with warned() as warnings:
        async with drain_stage(tmp_path, engine, nginx) as stage:
            assert stage.waits() == {"web": (True, 60.0)}, "it holds as soon as it can"
            told = await client.explanation(stage.socket, container=None)
    assert "upstream.not_paused" in warnings
    assert [each for each in told.remarks if "paused" in each] == [
        f"upstream web is paused by hand, and yet no request waits: {NOT_LIVE}; `lbwatch resume web` ends that"
    ]


async def test_explain_tells_of_pauses_and_of_how_long_requests_wait(live: DrainStage, engine: FakeEngine) -> None:
    """A row is about a container; why its upstream answers nobody must stand there too."""
    engine.containers.run(name="one", labels=WEB | {"lbwatch.upstream": "one", "lbwatch.hold": "15s"})
    await eventually(lambda: "one" in live.waits())
    await live.pause("web")
    engine_url = live.daemon.settings.engine.docker_host[0]
    code, out, err = await lbwatch("explain", "--json", control_socket=live.socket, docker_host=engine_url)
    rows = {each["container"]: (each["hold_s"], each["paused"], each["waiting"]) for each in json.loads(out)}
    assert rows == {
        "api-1": (0.0, False, 0),
        "one": (15.0, False, 0),
        "web-1": (60.0, True, 0),
        "web-2": (60.0, True, 0),
    }
    assert code == 0
    assert "lbwatch: upstream web is paused by hand: no request waits; `lbwatch resume web` ends that\n" in err
    told = await client.explanation(live.socket, container="one")
    assert [(each.upstream, each.hold_s) for each in told.waits] == [("one", 15.0)]


async def test_who_drains_the_only_one_where_requests_wait_is_told_so(live: DrainStage, engine: FakeEngine) -> None:
    """Before that it would have served on; whoever drains it must know that nobody does now."""
    labels = WEB | {"lbwatch.upstream": "one", "lbwatch.hold": "15s"}
    for name in ("one-1", "one-2"):
        engine.containers.run(name=name, labels=labels)
    await eventually(lambda: len(live.servers()) == 5)
    assert await live.drain("one-1") == "one-1 is drained; `lbwatch undrain one-1` ends that"
    assert await live.drain("one-2") == (
        "one-2 is drained, and no other server is ready: requests wait for one, for 15 s at most; "
        "`lbwatch undrain one-2` ends that"
    )
    assert "127.0.0.1" in live.servers()
    assert (await live.undrain("one-2")).startswith("one-2 is not drained any more; it serves upstream one")


async def test_render_beside_a_daemon_comes_to_the_same(live: DrainStage, engine: FakeEngine, tmp_path: Path) -> None:
    """Whether requests wait only the daemon knows; without it nobody is left out, and a paused name stays."""
    engine.containers.run(name="one", labels=WEB | {"lbwatch.upstream": "one", "lbwatch.hold": "60s"})
    await eventually(lambda: "one" in live.waits())
    await live.drain("one")
    await live.pause("api")
    engine.containers.remove("api-1", force=True)
    await eventually(lambda: live.servers().count("127.0.0.1") == 2)
    settings = live.daemon.settings
    given = {"docker_host": settings.engine.docker_host[0], "test_command": "true", "output": tmp_path / "other.conf"}
    given["state_dir"] = settings.routing.state_dir
    code, out, err = await lbwatch("render", control_socket=live.socket, **given)
    assert (code, out) == (0, live.nginx.runs), err
    code, out, err = await lbwatch("render", control_socket=tmp_path / "none", **given)
    assert code == 0, err
    assert out.count("127.0.0.1:1 down") == 1, "that of the paused one alone"
