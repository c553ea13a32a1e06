"""`drain`, `undrain` and `explain` as the running daemon carries them out: over a real socket, on the fake engine."""

import asyncio
import threading
from pathlib import Path

import pytest
from fakedaemon import WEB, DrainStage, FixedLoop, drain_stage, fixed_service, listening, unasked, warned
from simulation import SimulatedNginx
from strategies import container
from waiting import eventually, never

from lbwatch.api import control
from lbwatch.api.client import request
from lbwatch.api.control import ControlService, find_container
from lbwatch.balancers.nginx.version import version_in
from lbwatch.core.errors import RequestError, SourceError
from lbwatch.core.model import Container, Engine, Task
from lbwatch.engines.fake import FakeEngine
from lbwatch.system.state import State


async def test_a_drained_container_is_out_of_the_file_when_the_answer_comes_and_back_after_undrain(
    stage: DrainStage,
) -> None:
    """`lbwatch drain web-1 && docker stop web-1` is what it is for: nginx must run it by then."""
    said = await stage.drain("web-1")
    assert stage.servers() == ["172.17.0.3"]
    assert said == "web-1 is drained; `lbwatch undrain web-1` ends that"
    said = await stage.undrain("web-1")
    assert stage.servers() == ["172.17.0.2", "172.17.0.3"]
    assert said == "web-1 is not drained any more; it serves upstream web at 172.17.0.2:80"


async def test_to_drain_twice_or_to_undrain_for_nothing_does_no_harm_and_is_said(stage: DrainStage) -> None:
    """Scripts are run again after they failed half-way."""
    await stage.drain("web-1")
    assert (await stage.drain("web-1")).startswith("web-1 is drained already; `lbwatch undrain")
    assert stage.servers() == ["172.17.0.3"]
    said = await stage.undrain("web-2")
    assert said == "web-2 was not drained by hand; it serves upstream web at 172.17.0.3:80"
    assert list(stage.state.drained.values()) == ["web-1"]


async def test_the_last_servers_stay_until_they_die(stage: DrainStage, engine: FakeEngine) -> None:
    """A drain never empties an upstream; whoever drains the last one must read that it serves on."""
    await stage.drain("web-1")
    said = await stage.drain("web-2")
    assert stage.servers() == ["172.17.0.2", "172.17.0.3"], "a class of two, as none is ready"
    assert said == (
        "web-2 is drained, but still gets requests, since no other server is ready; "
        "it serves upstream web at 172.17.0.3:80; `lbwatch undrain web-2` ends that"
    )
    engine.containers.die("web-1")
    await eventually(lambda: stage.servers() == ["172.17.0.3"])
    engine.containers.run(name="web-3", labels=WEB)
    await eventually(lambda: stage.servers() == ["172.17.0.2"], what="the new one alone, at the address that was freed")


async def test_a_drain_holds_over_a_restart_of_lbwatch_and_of_the_container(
    tmp_path: Path, engine: FakeEngine, nginx: SimulatedNginx
) -> None:
    """Work on a container does not end because somebody updates lbwatch."""
    for name in ("web-1", "web-2"):
        engine.containers.run(name=name, labels=WEB)
    async with drain_stage(tmp_path, engine, nginx) as stage:
        await stage.drain("web-1")
    async with drain_stage(tmp_path, engine, nginx) as stage:
        assert stage.servers() == ["172.17.0.3"]
        engine.containers.restart("web-1")
        assert "drained already" in await stage.drain("web-1")
        assert stage.servers() == ["172.17.0.3"]
        await stage.undrain("web-1")
    async with drain_stage(tmp_path, engine, nginx) as stage:
        assert stage.servers() == ["172.17.0.2", "172.17.0.3"]


async def test_a_container_is_named_by_its_name_with_or_without_slash_or_by_the_beginning_of_its_id(
    stage: DrainStage, engine: FakeEngine
) -> None:
    """As the docker client takes it."""
    whole = engine.containers.find("web-1").id
    for ref in ("/web-1", whole, whole[:12], whole[:4]):
        assert (await stage.drain(ref)).startswith("web-1 is drained")
        assert stage.servers() == ["172.17.0.3"]
        await stage.undrain(ref)


@pytest.mark.parametrize(
    "ref", ["nobody", "", "/", "web", "WEB-1", "web-1/", "../web-1", "a&container=web-1", "x" * 5000]
)
async def test_an_unknown_container_is_an_error_in_one_line_and_changes_nothing(stage: DrainStage, ref: str) -> None:
    """A typing error in a deploy script must stop it before it stops the container."""
    for give in (stage.drain, stage.undrain):
        with pytest.raises(RequestError, match="the engine has no container '") as caught:
            await give(ref)
        assert len(str(caught.value)) < 400
        assert str(caught.value).isprintable()
    assert stage.state.drained == {}
    assert stage.servers() == ["172.17.0.2", "172.17.0.3"]


async def test_drains_of_containers_that_are_gone_are_forgotten_with_the_next_order(
    stage: DrainStage, engine: FakeEngine
) -> None:
    """The file would grow with each deploy for ever."""
    await stage.drain("web-1")
    engine.containers.remove("web-1", force=True)
    await eventually(lambda: stage.servers() == ["172.17.0.3"])
    engine.containers.run(name="web-3", labels=WEB)
    await eventually(lambda: len(stage.servers()) == 2)
    await stage.drain("web-3")
    kept = State(stage.state.path.parent)
    kept.load()
    assert list(kept.drained.values()) == ["web-3"]


async def test_drains_of_an_engine_that_was_not_read_yet_are_kept(tmp_path: Path) -> None:
    """It is away at a start, and somebody drains a container elsewhere: its own would serve again once it is back."""
    state, whole = State(tmp_path), [False]
    state.drain("b" * 64, "away")
    service = ControlService(state, loop=FixedLoop(container("web")), explain=unasked, knows_all=lambda: whole[0])
    await service.drain("web")
    assert list(state.drained.values()) == ["away", "web"]
    whole[0] = True
    await service.undrain("web")
    assert not state.drained


async def test_orders_at_once_are_all_carried_out(stage: DrainStage, engine: FakeEngine) -> None:
    """`for each in ...; do lbwatch drain $each & done`."""
    for number in range(3, 8):
        engine.containers.run(name=f"web-{number}", labels=WEB)
    await eventually(lambda: len(stage.servers()) == 7)
    await asyncio.gather(*(stage.drain(f"web-{number}") for number in range(1, 6)))
    assert stage.servers() == ["172.17.0.7", "172.17.0.8"]
    kept = State(stage.state.path.parent)
    kept.load()
    assert sorted(kept.drained.values()) == [f"web-{number}" for number in range(1, 6)]


async def test_the_state_is_written_by_one_order_at_a_time(tmp_path: Path) -> None:
    """Two would write one scratch file in two threads, and the drains of both would be gone."""
    inside: list[str] = []
    gate = threading.Event()

    class Slow(State):
        def drain(self, id: str, name: str) -> None:
            inside.append(name)
            assert gate.wait(10.0)
            super().drain(id, name)

    service = fixed_service(Slow(tmp_path), container("web-1"), container("web-2"))
    async with asyncio.TaskGroup() as group:
        for name in ("web-1", "web-2"):
            group.create_task(service.drain(name))
        await eventually(lambda: inside, what="the first one writes")
        await never(lambda: len(inside) > 1, during=0.1, what="both write at once")
        gate.set()
    kept = State(tmp_path)
    kept.load()
    assert sorted(kept.drained.values()) == ["web-1", "web-2"]


def test_a_beginning_that_two_ids_share_is_refused_and_a_name_comes_first() -> None:
    """The wrong one of two would be drained."""
    one, two = container("a", id="abcd1" + "0" * 59), container("b", id="abcd2" + "0" * 59)
    named = container("abcd", id="f" * 64)
    assert find_container("abcd1", containers=[one, two]) is one
    with pytest.raises(RequestError, match="'abcd' is the beginning of 2 ids: give more of it"):
        find_container("abcd", containers=[one, two])
    assert find_container("abcd", containers=[one, two, named]) is named
    with pytest.raises(RequestError, match="no container 'abc'"):
        find_container("abc", containers=[one])


def test_a_task_is_asked_for_by_its_service_and_slot() -> None:
    """That is what `docker service ps` calls it; 25 letters more are nobody's to type."""
    task = Task(service="web", service_id="s" * 25, slot="3")
    old = Container(id="o" * 25, name="web.3.old", created_ns=1, task=task)
    new = Container(id="n" * 25, name="web.3.new", created_ns=2, task=task)
    assert find_container("web.3", containers=[new, old]) is new
    with pytest.raises(RequestError, match=r"no container 'web\.4'"):
        find_container("web.4", containers=[new, old])


def test_a_name_that_two_engines_have_is_asked_for_by_that_of_the_engine() -> None:
    """To drain the wrong one of two would be worse than to ask again; what stands on the page must be taken."""
    left = Container(id="a" * 64, name="a/web", engine=Engine(name="a"))
    right = Container(id="b" * 64, name="b/web", engine=Engine(name="b", order=1))
    alone = Container(id="c" * 64, name="app", engine=Engine(name="b", order=1))
    there = [left, right, alone]
    assert [find_container(ref, containers=there) for ref in ("a/web", "b/web", "app", "b/app")] == [*there, alone]
    with pytest.raises(RequestError, match="2 engines have a container 'web': name one of a/web, b/web"):
        find_container("web", containers=there)
    with pytest.raises(RequestError, match="no engine has a container 'a/app'"):
        find_container("a/app", containers=there)


async def test_an_order_before_the_engine_was_read_says_so(tmp_path: Path) -> None:
    """`no such container` would be a lie then."""
    loop = FixedLoop()
    loop.known = None
    service = ControlService(State(tmp_path), loop=loop, explain=unasked)
    async with listening(tmp_path / "s", service=service):
        with pytest.raises(RequestError, match="has not read the engine yet"):
            await request(tmp_path / "s", verb="drain", container="web-1")


async def test_an_order_that_is_not_in_force_in_time_fails_and_says_what_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`drain && stop` must not stop what nginx still sends to; the drain itself stands, and comes when nginx does."""
    monkeypatch.setattr(control, "IN_FORCE_TIMEOUT_S", 0.05)
    state = State(tmp_path / "state")
    async with listening(tmp_path / "s", service=fixed_service(state, container("web-1"), settles=False)):
        with pytest.raises(RequestError, match=r"web-1 is drained; nginx does not run that after 0\.05 s: .* log"):
            await request(tmp_path / "s", verb="drain", container="web-1")
    assert list(state.drained.values()) == ["web-1"]


async def test_nginx_that_refuses_makes_an_order_fail(stage: DrainStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with all rooms in place."""
    # Until then the old file must have been refused too, or nobody tries again for half a minute.
    monkeypatch.setattr(control, "IN_FORCE_TIMEOUT_S", 3.0)
    monkeypatch.setattr("simulation.VERIFY_TIMEOUT_S", 0.1)
    stage.nginx.takes_back = True
    with pytest.raises(RequestError, match="nginx does not run that"):
        await stage.drain("web-1")
    assert stage.servers() == ["172.17.0.2", "172.17.0.3"]
    stage.nginx.takes_back = False
    await eventually(lambda: stage.servers() == ["172.17.0.3"], within=15.0, what="it is owed, and comes")


async def test_a_drain_that_cannot_be_kept_is_carried_out_and_says_so(tmp_path: Path) -> None:
    """In a read-only container it holds until the next restart, and the operator knows."""
    (tmp_path / "state").write_text("in the place of the folder")
    state = State(tmp_path / "state")
    with warned() as warnings:
        async with listening(tmp_path / "s", service=fixed_service(state, container("web-1"))):
            said = await request(tmp_path / "s", verb="drain", container="web-1")
            assert list(state.drained.values()) == ["web-1"]
            undone = await request(tmp_path / "s", verb="undrain", container="web-1")
            assert state.drained == {}
    assert said.startswith("web-1 is drained (but a restart of lbwatch undoes that: state_dir: ")
    assert str(tmp_path / "state") in said
    assert "but a restart of lbwatch undoes that" in undone
    assert warnings == ["state.failed"] * 2


async def test_an_order_for_an_upstream_that_nginx_refuses_says_so(stage: DrainStage, engine: FakeEngine) -> None:
    """It must not say that a container serves which is in nobody's file."""
    engine.containers.run(labels={"lbwatch.upstream": "api"})
    await stage.drain("web-1")
    stage.nginx.refused.add("web")
    said = await stage.undrain("web-1")
    assert "it is not routed (upstream-refused)" in said
    assert "serves" not in said


async def test_who_is_drained_keeps_its_clients_where_nginx_can_have_them_stay(
    tmp_path: Path, engine: FakeEngine, nginx: SimulatedNginx
) -> None:
    """Whoever waits for the sessions to end must be told that they are there."""
    nginx.said = version_in("nginx version: nginx/1.30.6")
    for name in ("web-1", "web-2"):
        engine.containers.run(name=name, labels=WEB | {"lbwatch.sticky": "cookie sid"})
    async with drain_stage(tmp_path, engine, nginx) as stage:
        said = await stage.drain("web-1")
        assert said.startswith("web-1 is drained: clients that it has stay with it, new ones go to others;")
        assert "note that" not in said
        assert "server 172.17.0.2:80 drain;" in (nginx.runs or "")
        assert "server 172.17.0.3:80 max_fails=0;" in (nginx.runs or "")
        said = await stage.drain("web-2")
        assert "but still gets requests, since no other server is ready" in said
        assert " drain;" not in (nginx.runs or ""), "new clients need one, too"
        await stage.undrain("web-2")
        assert "server 172.17.0.2:80 drain;" in (nginx.runs or "")


async def test_an_nginx_of_another_version_gets_what_it_takes(
    tmp_path: Path, engine: FakeEngine, nginx: SimulatedNginx
) -> None:
    """It is upgraded, or put back, beside a daemon that runs for months; what it refuses would cost the whole file."""
    labels = WEB | {"lbwatch.sticky": "cookie sid", "lbwatch.keepalive": "0"}
    engine.containers.run(name="web-1", labels=labels)
    async with drain_stage(tmp_path, engine, nginx):
        assert "keepalive" not in (nginx.runs or "")
        assert "sticky" not in (nginx.runs or "")
        for version, takes in (("1.30.6", (True, True)), ("1.29.6", (True, False)), ("1.26.3", (False, False))):
            nginx.stop()
            nginx.said = version_in(f"nginx version: nginx/{version}")
            nginx.start()
            await eventually(
                lambda takes=takes: (
                    ("sticky cookie sid" in (nginx.runs or ""), "keepalive 0;" in (nginx.runs or "")) == takes
                ),
                what=f"{version} has what it takes",
            )


@pytest.mark.parametrize("error", [None, SourceError("no answer"), TimeoutError()])
async def test_whoever_is_undrained_is_looked_at_first(tmp_path: Path, error: Exception | None) -> None:
    """It may have another address since a restart; where it cannot be looked at, what is known has to do."""
    state, looked = State(tmp_path / "state"), []

    async def refresh(id: str) -> None:
        looked.append((id, id in state.drained))
        if error is not None:
            raise error

    web = container("web-1")
    service = ControlService(state, loop=FixedLoop(web), explain=unasked, refresh=refresh)
    await service.drain("web-1")
    assert looked == []
    assert "web-1 is not drained any more" in await service.undrain("web-1")
    assert looked == [(web.id, True)], "before it gets requests"
    assert web.id not in state.drained
