"""The source on the fake engine, whose lists lag for half a minute: only inspect can tell the truth in time."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from simulation import in_simulated_time
from sources import DRAIN_S, INSPECT, LIST, WEB, Follow, container, followed, is_in, is_running, quiet, renew_stream
from waiting import eventually, never

from lbwatch.core.errors import SourceError, SourceTimeoutError
from lbwatch.core.model import Container, ContainerStatus, Event
from lbwatch.engines.docker import queue as queue_room
from lbwatch.engines.docker import source as source_room
from lbwatch.engines.docker.client import EngineClient
from lbwatch.engines.docker.queue import Priority
from lbwatch.engines.docker.source import DockerSource
from lbwatch.engines.fake import FakeEngine
from lbwatch.engines.fake.faults import disconnect, respond_with


async def test_what_runs_already_is_in_the_first_snapshot(engine: FakeEngine, follow: Follow) -> None:
    """A start of lbwatch must find the world as it is."""
    engine.replica.lag_s = 0
    for name in ("web-1", "web-2"):
        engine.containers.run(name=name, labels=WEB)
    async with follow() as source:
        assert is_running(source, "web-1")
        assert is_running(source, "web-2")


async def test_events_before_the_first_list_are_not_taken_for_the_whole(
    engine: FakeEngine, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A config with the few containers that happened to have events would take all others out of service."""
    engine.replica.lag_s = 0
    engine.lose_events(lambda event: True)
    engine.containers.run(name="old", labels=WEB)
    engine.lose_events(None)
    engine.containers.run(name="new", labels=WEB)  # its events are replayed to whoever subscribes
    listed, list_containers = asyncio.Event(), EngineClient.list_containers

    async def list_late(client: EngineClient) -> tuple[Container, ...]:
        await listed.wait()
        return await list_containers(client)

    monkeypatch.setattr(EngineClient, "list_containers", list_late)
    async with follow(synced=False) as source:
        await eventually(lambda: engine.requests[INSPECT], what="the look at what events touched")
        await quiet(engine)
        assert source.snapshot() is None
        listed.set()
        await eventually(source.snapshot)
        assert is_running(source, "old")
        assert is_running(source, "new")


async def test_a_started_container_is_known_although_lists_are_stale(engine: FakeEngine, follow: Follow) -> None:
    """Lists come from a replica: who believes them routes to yesterday."""
    async with follow() as source:
        engine.containers.run(name="web-1", labels=WEB)
        await eventually(lambda: is_running(source, "web-1"))


@pytest.mark.parametrize(
    ("deed", "status"),
    [("stop", ContainerStatus.EXITED), ("die", ContainerStatus.EXITED), ("pause", ContainerStatus.PAUSED)],
)
async def test_a_container_that_leaves_is_known_although_lists_are_stale(
    engine: FakeEngine, follow: Follow, deed: str, status: ContainerStatus
) -> None:
    """Each request to a dead server is an error for somebody."""
    async with follow() as source:
        engine.containers.run(name="web-1", labels=WEB)
        await eventually(lambda: is_running(source, "web-1"))
        getattr(engine.containers, deed)("web-1")
        await eventually(lambda: is_in(source, "web-1", status))


async def test_a_removed_container_is_forgotten(engine: FakeEngine, follow: Follow) -> None:
    """Its address is given out again."""
    async with follow() as source:
        engine.containers.run(name="web-1", labels=WEB)
        await eventually(lambda: is_running(source, "web-1"))
        engine.containers.remove("web-1", force=True)
        await eventually(lambda: container(source, "web-1") is None)


async def test_one_event_costs_one_inspect(engine: FakeEngine, follow: Follow) -> None:
    """On a host with many containers anything else is a storm for each deploy."""
    engine.replica.lag_s = 0
    for number in range(30):
        engine.containers.run(name=f"web-{number}", labels=WEB)
    async with follow() as source:
        await eventually(lambda: is_running(source, "web-29"))
        await quiet(engine)
        inspects, lists = engine.requests[INSPECT], engine.requests[LIST]
        engine.containers.pause("web-7")
        await eventually(lambda: is_in(source, "web-7", ContainerStatus.PAUSED))
        engine.containers.unpause("web-7")
        await eventually(lambda: is_running(source, "web-7"))
        assert engine.requests[INSPECT] == inspects + 2
        assert engine.requests[LIST] == lists


async def test_a_container_that_asks_for_nothing_costs_nothing(engine: FakeEngine, follow: Follow) -> None:
    """A CI host starts thousands of containers that are none of our business."""
    async with follow() as source:
        inspects = engine.requests[INSPECT]
        engine.containers.run(name="job", labels={"other": "label"})
        engine.networks.create("front")
        engine.networks.connect("job", "front")
        engine.containers.exec_probe("job")
        engine.containers.restart("job")
        engine.containers.remove("job", force=True)
        engine.containers.run(name="web-1", labels=WEB)  # its events come last
        await eventually(lambda: is_running(source, "web-1"))
        assert engine.requests[INSPECT] - inspects <= 3  # those of web-1: create, connect, start


async def test_with_expose_all_every_container_is_looked_at(engine: FakeEngine, follow: Follow) -> None:
    """`expose=all` routes containers without labels."""
    async with follow(expose_all=True) as source:
        engine.containers.run(name="plain")
        await eventually(lambda: is_running(source, "plain"))


async def test_a_resync_finds_what_no_event_told_and_counts_it(
    engine: FakeEngine, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine drops events silently; that it happened must show."""
    monkeypatch.setattr(source_room, "DRIFT_GRACE_S", 0.05)
    engine.replica.lag_s = 0
    engine.containers.run(name="web-1", labels=WEB)
    async with follow(resync_interval_s=0.5) as source:
        await quiet(engine)
        engine.lose_events(lambda event: True)
        engine.containers.die("web-1")
        await eventually(lambda: is_in(source, "web-1", ContainerStatus.EXITED))
        await eventually(lambda: source.status().drift == 1)


async def test_what_is_found_while_the_stream_is_down_is_no_drift(
    engine: FakeEngine, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That gap is known; the alarm is for the gaps that nobody knows of."""
    monkeypatch.setattr(source_room, "DRIFT_GRACE_S", 0.05)
    monkeypatch.setattr(source_room, "BACKOFF_FIRST_S", 60.0)
    monkeypatch.setattr(source_room, "BACKOFF_LIMIT_S", 60.0)
    engine.replica.lag_s = 0
    engine.containers.run(name="web-1", labels=WEB)
    async with follow(resync_interval_s=0.5) as source:
        await quiet(engine)
        engine.cut_streams()  # it lived under a second or so: no new stream for a minute
        await eventually(lambda: not source.status().connected, what="the stream is down")
        engine.containers.die("web-1")
        await eventually(lambda: is_in(source, "web-1", ContainerStatus.EXITED))
        await never(lambda: source.status().drift, during=0.2, what="a known gap was counted as drift")


async def test_what_events_told_is_no_drift(
    engine: FakeEngine, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drift alarm that rings for nothing is switched off."""
    monkeypatch.setattr(source_room, "DRIFT_GRACE_S", 0.05)
    async with follow(resync_interval_s=0.02) as source:
        for number in range(10):
            engine.containers.run(name=f"web-{number}", labels=WEB)
            await eventually(lambda number=number: is_running(source, f"web-{number}"))
            engine.containers.pause(f"web-{number}")
        lists = engine.requests[LIST]
        await eventually(lambda: engine.requests[LIST] > lists + 10, what="more resyncs")
        assert source.status().drift == 0


async def test_an_engine_that_vanishes_takes_nothing_away(engine: FakeEngine, follow: Follow) -> None:
    """A crashed engine's containers serve on; an empty config would take the site down for nothing."""
    async with follow(resync_interval_s=0.1) as source:
        engine.containers.run(name="web-1", labels=WEB)
        await eventually(lambda: is_running(source, "web-1"))
        before = source.snapshot()
        await engine.go_down("live")
        await never(lambda: source.snapshot() != before, during=0.5, what="the snapshot changed")
        await engine.come_back()
        engine.containers.run(name="web-2", labels=WEB)
        await eventually(lambda: is_running(source, "web-2"))
        assert is_running(source, "web-1")


async def test_containers_that_ended_with_their_engine_are_found_after_its_return(
    engine: FakeEngine, follow: Follow
) -> None:
    """A host that boots tells no events of what died with it."""
    engine.replica.lag_s = 0
    async with follow() as source:
        engine.containers.run(name="web-1", labels=WEB)
        await eventually(lambda: is_running(source, "web-1"))
        await engine.go_down("end")
        await engine.come_back()
        await eventually(lambda: is_in(source, "web-1", ContainerStatus.EXITED))


async def test_one_container_that_hangs_holds_nobody_back(
    engine: FakeEngine, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inspect can hang with a container's lock for good (moby#46782)."""
    monkeypatch.setattr("lbwatch.engines.docker.client.INSPECT_TIMEOUT_S", 0.2)
    async with follow() as source:
        engine.inspect_delay_s[engine.containers.run(name="stuck", labels=WEB)] = 60.0
        engine.containers.run(name="web-1", labels=WEB)
        await eventually(lambda: is_running(source, "web-1"))


async def test_one_container_that_hangs_does_not_hold_back_the_start(
    engine: FakeEngine, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one sick container would keep every other one unrouted after a restart of lbwatch."""
    monkeypatch.setattr("lbwatch.engines.docker.client.INSPECT_TIMEOUT_S", 0.2)
    engine.replica.lag_s = 0
    engine.inspect_delay_s[engine.containers.run(name="stuck", labels=WEB)] = 60.0
    engine.containers.run(name="web-1", labels=WEB)
    async with follow() as source:
        assert is_running(source, "web-1")
        assert is_running(source, "stuck")  # by its list entry


async def test_an_engine_that_answers_no_look_at_all_is_not_believed(engine: FakeEngine, follow: Follow) -> None:
    """Its list may be from before the crash; what the last lbwatch wrote serves until there is a truth."""
    engine.replica.lag_s = 0
    engine.containers.run(name="web-1", labels=WEB)
    engine.containers.run(name="web-2", labels=WEB)
    engine.fault = lambda request: respond_with(status=500, body="{}") if request == INSPECT else None
    async with follow(synced=False) as source:
        await eventually(lambda: engine.requests[INSPECT] >= 8, what="each was looked at several times")
        assert source.snapshot() is None
        engine.fault = None
        await eventually(source.snapshot)
        assert is_running(source, "web-1")


async def test_what_cannot_be_looked_at_is_as_the_latest_list_says(
    engine: FakeEngine, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First seen before its start it would stay out for as long as it cannot be looked at."""
    monkeypatch.setattr("lbwatch.engines.docker.client.INSPECT_TIMEOUT_S", 0.2)
    engine.replica.lag_s = 0
    stuck = engine.containers.create(name="stuck", labels=WEB)
    engine.containers.run(name="web-1", labels=WEB)
    engine.inspect_delay_s[stuck] = 60.0
    engine.lose_events(lambda event: True)
    async with follow(resync_interval_s=1.0) as source:
        assert is_in(source, "stuck", ContainerStatus.CREATED)
        engine.containers.start("stuck")
        await eventually(lambda: is_running(source, "stuck"), within=20.0)


@pytest.mark.parametrize("error", [SourceError("500"), SourceError("null"), SourceTimeoutError("nothing")])
async def test_one_container_that_cannot_be_read_does_not_hold_back_the_start(
    engine: FakeEngine, follow: Follow, monkeypatch: pytest.MonkeyPatch, error: SourceError
) -> None:
    """An engine may answer 500 for one broken container for ever."""
    engine.replica.lag_s = 0
    broken = engine.containers.run(name="broken", labels=WEB)
    engine.containers.run(name="web-1", labels=WEB)
    inspect = EngineClient.inspect

    async def refusing(client: EngineClient, id: str, **given: Any) -> Container | None:
        if id == broken:
            raise error
        return await inspect(client, id, **given)

    monkeypatch.setattr(EngineClient, "inspect", refusing)
    async with follow() as source:
        assert is_running(source, "web-1")


async def test_looks_that_are_owed_do_not_multiply(
    engine: FakeEngine, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each resync would add one more for ever, and a log line for each."""
    monkeypatch.setattr(source_room, "BACKOFF_FIRST_S", 0.4)
    engine.replica.lag_s = 0
    engine.containers.run(name="broken", labels=WEB)
    failing, looks = False, 0
    inspect = EngineClient.inspect

    async def refusing(client: EngineClient, id: str, **given: Any) -> Container | None:
        nonlocal looks
        if failing:
            looks += 1
            raise SourceError("no")
        return await inspect(client, id, **given)

    monkeypatch.setattr(EngineClient, "inspect", refusing)
    async with follow(resync_interval_s=0.02) as source:
        await quiet_but_lists(engine)
        failing = True
        with structlog.testing.capture_logs() as logs:
            lists = engine.requests[LIST]
            await eventually(lambda: engine.requests[LIST] >= lists + 40, what="many resyncs")
            warned = [log for log in logs if log["event"] == "source.look_failed"]
        assert len(warned) <= 4, "one for each step of the back-off, not one for each resync"
        assert looks <= 45, "each resync may look, and each step of the back-off"
        failing = False
        await eventually(lambda: not source._retries and not source._cache.failed._backoffs, what="the debts are paid")


async def quiet_but_lists(engine: FakeEngine) -> None:
    """Wait until the replay of the engine's memory is dealt with, while lists go on."""
    lists = engine.requests[LIST]
    await eventually(lambda: engine.requests[LIST] >= lists + 3)


async def test_the_owner_of_a_shared_network_is_followed_although_it_asks_for_nothing(
    engine: FakeEngine, follow: Follow
) -> None:
    """When it dies, the container that uses its network is unreachable, and `die` is the only event."""
    async with follow() as source:
        engine.containers.run(name="vpn")
        engine.containers.run(name="web-1", labels=WEB, network_mode="container:vpn")
        await eventually(lambda: is_running(source, "vpn"))
        found = await eventually(lambda: container(source, "web-1"))
        vpn = container(source, "vpn")
        assert vpn is not None
        assert found.network_of == vpn.id
        engine.containers.die("vpn")
        await eventually(lambda: is_in(source, "vpn", ContainerStatus.EXITED))


async def test_labels_of_others_are_not_kept(engine: FakeEngine, follow: Follow) -> None:
    """They may be megabytes long, and thousands of containers are remembered."""
    engine.replica.lag_s = 0
    compose = {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}
    engine.containers.run(name="asks", labels=WEB | compose | {"readme": "x" * 100_000})
    engine.containers.run(name="bystander", labels={"readme": "x" * 100_000})
    async with follow() as source:
        asks, unlabelled = container(source, "asks"), container(source, "bystander")
        assert asks is not None
        assert dict(asks.labels) == WEB | compose
        assert unlabelled is not None
        assert unlabelled.labels == ()


async def test_a_burst_of_events_about_one_container_costs_few_inspects(engine: FakeEngine, follow: Follow) -> None:
    """A mark is a mark, however often the container was touched."""
    async with follow() as source:
        engine.containers.run(name="web-1", labels=WEB)
        await eventually(lambda: is_running(source, "web-1"))
        inspects = engine.requests[INSPECT]
        for _ in range(100):
            engine.containers.pause("web-1")
            engine.containers.unpause("web-1")
        engine.containers.pause("web-1")
        await eventually(lambda: is_in(source, "web-1", ContainerStatus.PAUSED))
        assert engine.requests[INSPECT] - inspects < 50


async def test_the_owner_of_a_network_may_be_known_by_its_name_alone(engine: FakeEngine, follow: Follow) -> None:
    """So it is where the other was created first; a look by name would be answered for another id, again and again."""
    engine.replica.lag_s = 0
    async with follow() as source:
        engine.containers.create(name="user", labels=WEB, network_mode="container:owner")
        owner = engine.containers.run(name="owner")
        engine.containers.start("user")
        await eventually(lambda: is_in(source, "user", ContainerStatus.RUNNING))
        await eventually(lambda: is_running(source, "owner"), what="the owner is followed")
        await quiet(engine)
        asked = engine.requests.total()
        engine.containers.restart(owner)
        await eventually(lambda: engine.requests.total() > asked, what="it is looked at, although it asks for nothing")


async def test_what_a_failed_look_owed_is_no_drift(engine: FakeEngine, follow: Follow) -> None:
    """Its event was heard: a resync that comes before the next try finds nothing that was lost."""
    engine.replica.lag_s = 0
    engine.containers.run(name="other", labels=WEB)
    engine.containers.run(name="web-1", labels=WEB)
    async with follow() as source:
        await quiet(engine)
        engine.fault = lambda request: respond_with(status=500, body="{}") if request == INSPECT else None
        asked = engine.requests[INSPECT]
        engine.containers.die("web-1")
        await eventually(lambda: engine.requests[INSPECT] >= asked + 5, what="looks that fail, each later")
        await eventually(lambda: source._retries, what="one that is owed")
        engine.fault = None
        source._queue.add(next(iter(source._retries)), Priority.RESYNC)
        await eventually(lambda: is_in(source, "web-1", ContainerStatus.EXITED))
        await asyncio.sleep(source_room.DRIFT_GRACE_S + 0.1)
        assert source.status().drift == 0


# -- signals: the one thing that is believed of an event


def stopping(source: DockerSource) -> dict[str, float]:
    """Loop times at which containers were told to stop, by name."""
    snapshot = source.snapshot()
    assert snapshot is not None
    return {snapshot.containers[id].name: at for id, at in snapshot.stopping.items()}


@pytest.mark.parametrize("stop_signal", [None, "SIGQUIT", "SIGRTMIN+3"])
async def test_a_container_that_was_told_to_stop_is_stopping_while_it_still_runs(
    engine: FakeEngine, follow: Follow, stop_signal: str | None
) -> None:
    """It takes no more requests, or none for long: no state of the engine's tells that, whatever its stop signal."""
    engine.containers.run(name="web-1", labels=WEB, stop_signal=stop_signal)
    async with follow() as source:
        await eventually(lambda: is_running(source, "web-1"))
        assert stopping(source) == {}
        now = asyncio.get_running_loop().time()
        engine.containers.send_stop_signal("web-1")
        await eventually(lambda: stopping(source))
        assert now <= stopping(source)["web-1"] <= asyncio.get_running_loop().time()
        await quiet(engine)
        assert list(stopping(source)) == ["web-1"], "the look that the event asked for does not forget it"
        assert is_running(source, "web-1")


@pytest.mark.parametrize("signal", ["SIGHUP", "SIGUSR1", "SIGWINCH"])
async def test_a_signal_that_ends_nothing_changes_nothing(engine: FakeEngine, follow: Follow, signal: str) -> None:
    """`docker kill -s HUP` has a service read its files again; it must not lose its traffic for a minute."""
    engine.containers.run(name="web-1", labels=WEB)
    engine.containers.run(name="httpd", labels=WEB, stop_signal="SIGWINCH")
    async with follow() as source:
        await eventually(lambda: is_running(source, "httpd"))
        engine.containers.kill("web-1", signal)
        engine.containers.send_stop_signal("httpd")  # its event comes later
        await eventually(lambda: "httpd" in stopping(source))
        assert list(stopping(source)) == ["httpd"]


async def test_a_label_named_signal_makes_any_signal_count(engine: FakeEngine, follow: Follow) -> None:
    """It overwrites the attribute: rather a drain for nothing than requests to a container that ends."""
    engine.containers.run(name="odd", labels=WEB | {"signal": "SIGHUP"})
    async with follow() as source:
        await eventually(lambda: is_running(source, "odd"))
        found = container(source, "odd")
        assert found is not None
        assert found.stop_signal is None
        engine.containers.send_stop_signal("odd")
        await eventually(lambda: "odd" in stopping(source))


async def test_a_restart_clears_it(engine: FakeEngine, follow: Follow) -> None:
    """The signal was for the process of before."""
    engine.containers.run(name="web-1", labels=WEB)
    async with follow() as source:
        await eventually(lambda: is_running(source, "web-1"))
        before = container(source, "web-1")
        assert before is not None
        engine.containers.send_stop_signal("web-1")
        await eventually(lambda: stopping(source))
        engine.containers.restart("web-1")

        def restarted() -> bool:
            found = container(source, "web-1")
            return found is not None and found.started_ns > before.started_ns

        await eventually(lambda: restarted() and is_running(source, "web-1"))
        assert stopping(source) == {}
        await renew_stream(engine)  # and again by the replay
        await quiet(engine)
        assert stopping(source) == {}


async def test_nothing_is_kept_of_signals_to_containers_that_are_gone(engine: FakeEngine, follow: Follow) -> None:
    """Each deploy kills some, for months."""
    async with follow() as source:
        for number in range(20):
            engine.containers.run(name=f"web-{number}", labels=WEB)
        await eventually(lambda: is_running(source, "web-19"))
        for number in range(20):
            engine.containers.send_stop_signal(f"web-{number}")
            engine.containers.remove(f"web-{number}", force=True)
        await eventually(lambda: container(source, "web-19") is None)
        await quiet(engine)
        assert stopping(source) == {}
        assert not source._cache._signals._heard


BOOT_NS = 1_772_600_767_300_000_000  # the engine's clock when simulated time began, not at a whole second


def with_simulated_engine(folder: Path, body: Callable[[FakeEngine], Any]) -> None:
    """Run a test's body in simulated time, the engine's clock included."""

    async def run() -> None:
        clock = asyncio.get_running_loop().time
        async with FakeEngine(
            socket=folder / "s", monotonic=clock, clock_ns=lambda: BOOT_NS + int(clock() * 1e9)
        ) as engine:
            await body(engine)

    in_simulated_time(run())


def now() -> float:
    return asyncio.get_running_loop().time()


def test_a_signal_that_is_told_again_keeps_its_time(tmp_path: Path) -> None:
    """Streams overlap: were each a new beginning, a container that survived would never have traffic again."""

    async def body(engine: FakeEngine) -> None:
        engine.containers.run(name="web-1", labels=WEB)
        async with followed(engine) as source:
            await asyncio.sleep(10.0)
            engine.containers.send_stop_signal("web-1")
            told_at = now()
            await asyncio.sleep(3.5)
            before = stopping(source)
            assert before["web-1"] == pytest.approx(told_at, abs=0.1)
            for wait_s in (1.4, 3.2):  # within the overlap, and beyond it
                streams, looks = engine.requests["GET /events"], engine.requests[INSPECT]
                engine.cut_streams()
                await asyncio.sleep(wait_s)
                assert engine.requests["GET /events"] == streams + 1
                assert engine.requests[INSPECT] > looks
                assert stopping(source) == before

    with_simulated_engine(tmp_path, body)


def test_a_signal_that_was_missed_is_heard_after_the_next_connection_with_its_age(tmp_path: Path) -> None:
    """For as long as a drain lasts a stream that was down asks back; the minute counts from the signal."""

    async def body(engine: FakeEngine) -> None:
        for name in ("web-1", "web-2"):
            engine.containers.run(name=name, labels=WEB)
        async with followed(engine) as source:
            await asyncio.sleep(10.0)
            engine.fault = lambda request: respond_with(status=500, body="{}") if request == "GET /events" else None
            engine.cut_streams()
            await asyncio.sleep(1.0)
            engine.containers.send_stop_signal("web-1")
            engine.containers.kill("web-2", "SIGHUP")
            told_at = now()
            await asyncio.sleep(DRAIN_S / 2)
            assert stopping(source) == {}
            engine.fault = None
            await asyncio.sleep(5.0)
            assert list(stopping(source)) == ["web-1"], "and not the one that got a HUP"
            assert stopping(source)["web-1"] == pytest.approx(told_at, abs=1.5)  # the Date header's whole seconds

    with_simulated_engine(tmp_path, body)


def test_a_signal_that_a_deaf_stream_missed_is_heard_from_the_next_one(tmp_path: Path) -> None:
    """A flow that died half-open looks well for minutes: when it ended says nothing of since when it was deaf."""

    async def body(engine: FakeEngine) -> None:
        engine.containers.run(name="web-1", labels=WEB)
        async with followed(engine) as source:
            await asyncio.sleep(10.0)
            subscriptions, engine.events._subscriptions = engine.events._subscriptions, []
            engine.containers.send_stop_signal("web-1")
            told_at = now()
            await asyncio.sleep(DRAIN_S / 2)
            assert stopping(source) == {}
            engine.events._subscriptions = subscriptions
            engine.cut_streams()
            await asyncio.sleep(5.0)
            assert stopping(source)["web-1"] == pytest.approx(told_at, abs=1.5)

    with_simulated_engine(tmp_path, body)


def test_a_signal_from_before_the_start_of_lbwatch_is_heard_with_its_age(tmp_path: Path) -> None:
    """An update of lbwatch in the middle of a deployment must not bring dying containers back."""

    async def body(engine: FakeEngine) -> None:
        for name in ("old", "restarted", "web-1"):
            engine.containers.run(name=name, labels=WEB)
        await asyncio.sleep(100.0)
        engine.containers.send_stop_signal("old")
        await asyncio.sleep(DRAIN_S + 20.0)  # longer ago than any drain lasts
        engine.containers.restart("restarted")
        engine.containers.send_stop_signal("web-1")
        told_at = now()
        await asyncio.sleep(DRAIN_S / 2)
        async with followed(engine) as source:
            await asyncio.sleep(5.0)
            assert list(stopping(source)) == ["web-1"]
            assert stopping(source)["web-1"] == pytest.approx(told_at, abs=1.5)

    with_simulated_engine(tmp_path, body)


def test_a_signal_counts_from_now_where_the_engine_s_clock_was_set_back(tmp_path: Path) -> None:
    """Long after its beginning a stream tells nothing old: what looks so is new by another clock."""

    async def body(engine: FakeEngine) -> None:
        engine.containers.run(name="web-1", labels=WEB)
        true_ns = engine.state.clock_ns
        async with followed(engine) as source:
            await asyncio.sleep(100.0)
            engine.state.clock_ns = lambda: true_ns() - 50 * 10**9
            engine.containers.send_stop_signal("web-1")
            await asyncio.sleep(0.5)
            assert stopping(source)["web-1"] == pytest.approx(now() - 0.5, abs=0.1)

    with_simulated_engine(tmp_path, body)


def test_what_comes_together_is_told_together(tmp_path: Path) -> None:
    """A new container is in before the old one is out: told one by one the last would leave for an empty upstream."""

    async def body(engine: FakeEngine) -> None:
        told: list[tuple[float, bool, bool]] = []  # when, whether the new one is there, whether the old one is stopping

        def changed(source: DockerSource) -> None:
            if source.snapshot() is not None:
                told.append((now(), is_running(source, "new"), "old" in stopping(source)))

        engine.containers.run(name="old", labels=WEB)
        async with followed(engine, changed=changed):
            await asyncio.sleep(10.0)
            told.clear()
            engine.inspect_delay_s[engine.containers.run(name="new", labels=WEB)] = 0.6 * source_room.DEBOUNCE_S
            engine.containers.send_stop_signal("old")
            began = now()
            await asyncio.sleep(1.0)
            assert told, "both were told"
            at, *both = told[0]
            assert both == [True, True]
            assert at - began <= 0.1, "at once"
            assert {tuple(rest) for _, *rest in told} == {(True, True)}

    with_simulated_engine(tmp_path, body)


@pytest.mark.parametrize("new_first", [True, False])
def test_a_look_that_hangs_holds_a_stop_back_for_a_moment_only(tmp_path: Path, new_first: bool) -> None:
    """Inspect may hang for seconds (moby#46782), and each is one of requests to a dying server."""

    async def body(engine: FakeEngine) -> None:
        told: list[float] = []

        def changed(source: DockerSource) -> None:
            if source.snapshot() is not None and "old" in stopping(source):
                told.append(now())

        engine.containers.run(name="old", labels=WEB)
        async with followed(engine, changed=changed):
            await asyncio.sleep(10.0)
            new = engine.containers.create(name="new", labels=WEB)
            await asyncio.sleep(1.0)
            engine.inspect_delay_s[new] = 2.5
            began = now()
            for deed, name in sorted([("start", "new"), ("send_stop_signal", "old")], reverse=not new_first):
                getattr(engine.containers, deed)(name)
            await asyncio.sleep(1.0)
            assert told
            assert told[0] - began <= 0.1, "at once"

    with_simulated_engine(tmp_path, body)


def test_a_stop_of_a_container_that_cannot_be_looked_at_is_told_all_the_same(tmp_path: Path) -> None:
    """The event says all that there is to know; the look would hang with the lock that the stop holds."""

    async def body(engine: FakeEngine) -> None:
        told: list[float] = []

        def changed(source: DockerSource) -> None:
            if source.snapshot() is not None and "old" in stopping(source):
                told.append(now())

        old = engine.containers.run(name="old", labels=WEB)
        async with followed(engine, changed=changed):
            await asyncio.sleep(10.0)
            engine.inspect_delay_s[old] = 60.0
            began = now()
            engine.containers.send_stop_signal("old")
            await asyncio.sleep(1.0)
            assert told
            assert told[0] - began <= 0.1, "at once"

    with_simulated_engine(tmp_path, body)


# -- deaths: believed for a moment


def test_a_death_does_not_wait_for_the_lock_that_its_look_waits_for(tmp_path: Path) -> None:
    """On Engine 20.10 that takes a tenth of a second, and each request of that time is an error for somebody."""

    async def body(engine: FakeEngine) -> None:
        gone: list[float] = []

        def changed(source: DockerSource) -> None:
            if source.snapshot() is not None and not is_running(source, "web-1"):
                gone.append(now())

        id = engine.containers.run(name="web-1", labels=WEB)
        async with followed(engine, changed=changed) as source:
            await asyncio.sleep(10.0)
            engine.inspect_delay_s[id] = 0.3
            began = now()
            engine.containers.die("web-1")
            await asyncio.sleep(0.1)
            assert gone
            assert gone[0] - began <= 0.01
            engine.containers.start("web-1")
            await asyncio.sleep(1.0)
            assert is_running(source, "web-1"), "what inspect says is what is"
            assert not source._cache.dead

    with_simulated_engine(tmp_path, body)


def test_deaths_that_come_one_by_one_go_out_together(tmp_path: Path) -> None:
    """The next reload is a tenth of a second off: whoever dies a millisecond later would be served that long."""

    async def body(engine: FakeEngine) -> None:
        told: list[int] = []

        def changed(source: DockerSource) -> None:
            if source.snapshot() is not None:
                told.append(sum(is_running(source, f"web-{number}") for number in range(4)))

        ids = [engine.containers.run(name=f"web-{number}", labels=WEB) for number in range(4)]
        async with followed(engine, changed=changed):
            await asyncio.sleep(10.0)
            told.clear()
            for id in ids:
                engine.inspect_delay_s[id] = 0.3
            for id in ids:
                engine.containers.die(id)
                await asyncio.sleep(source_room.DEATH_DEBOUNCE_S / 5)
            await asyncio.sleep(0.1)
            assert told == [0]

    with_simulated_engine(tmp_path, body)


def test_a_death_from_before_the_known_start_takes_nothing_out(tmp_path: Path) -> None:
    """An event that comes late is about a life that is over."""

    async def body(engine: FakeEngine) -> None:
        engine.containers.run(name="web-1", labels=WEB)
        async with followed(engine) as source:
            await asyncio.sleep(10.0)
            engine.events.delivery = lambda event: (0.5,) if event["Action"] == "die" else (0.0,)
            engine.containers.restart("web-1")
            await asyncio.sleep(0.4)
            assert is_running(source, "web-1")
            source._cache.handle_event = _never_dead(source)  # type: ignore[method-assign]
            await asyncio.sleep(0.5)
            assert is_running(source, "web-1")

    def _never_dead(source: DockerSource) -> Callable[..., Any]:
        handle_event = source._cache.handle_event

        def handle(event: Any, **given: Any) -> Any:
            todo = handle_event(event, **given)
            assert not todo.died
            return todo

        return handle

    with_simulated_engine(tmp_path, body)


# -- what the engine forgets


async def test_an_engine_that_forgot_what_is_healthy_takes_nothing_down(engine: FakeEngine, follow: Follow) -> None:
    """Under live-restore nothing stopped; else every upstream with a health check would be down at once."""
    engine.replica.lag_s = 0
    for name, health in (("well", "healthy"), ("sick", "unhealthy"), ("new", "starting")):
        engine.containers.run(name=name, labels=WEB, health="starting")
        engine.containers.set_health(name, health)
    async with follow() as source:
        before = {name: container(source, name) for name in ("well", "sick", "new")}
        for _ in range(2):
            looks = engine.requests[INSPECT]
            await engine.go_down("live")
            await engine.come_back(forgets_health=True)
            await eventually(lambda looks=looks: engine.requests[INSPECT] >= looks + 3, what="a full look")
            await quiet(engine)
            assert {name: container(source, name) for name in before} == before
        engine.containers.set_health("well", "unhealthy")
        engine.containers.set_health("sick", "healthy")

        def health(name: str) -> str | None:
            found = container(source, name)
            return found and str(found.health)

        await eventually(lambda: (health("well"), health("sick")) == ("unhealthy", "healthy"), what="a probe's word")


# -- floods


async def test_a_start_behind_a_flood_of_strangers_is_seen(
    engine: FakeEngine, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may start containers must not be able to keep those of others out."""
    monkeypatch.setattr(source_room, "FLOOD_LIST_S", 0.3)
    monkeypatch.setattr(queue_room, "MAX_UNKNOWN", 50)
    engine.replica.lag_s = 0.06
    engine.containers.run(name="known", labels=WEB)
    async with follow() as source:
        await eventually(lambda: is_running(source, "known"))
        for number in range(20_000):
            source._handle_event(Event(action="start", container=f"{number:064x}", labels=WEB, at_ns=number), None)
        assert len(source._queue._unknown) == 50
        engine.containers.die("known")
        engine.containers.run(name="new", labels=WEB)
        await eventually(lambda: is_in(source, "known", ContainerStatus.EXITED), what="what is known goes first")
        await eventually(lambda: is_running(source, "new"))
        assert engine.requests[INSPECT] < 500, "a list tells which are real"


# -- an engine that goes away


async def test_looks_that_fail_with_the_engine_s_end_are_no_news(engine: FakeEngine, follow: Follow) -> None:
    """Dozens of lines by hex id hide the one that counts: the stream's end."""
    engine.replica.lag_s = 0
    for number in range(20):
        engine.containers.run(name=f"web-{number}", labels=WEB)
    with structlog.testing.capture_logs() as logs:
        async with follow() as source:
            await quiet(engine)
            engine.fault = lambda request: disconnect() if request == INSPECT else None
            for number in range(20):
                engine.containers.die(f"web-{number}")
            await eventually(lambda: len(failed(logs)) >= 40, what="tries again")
            await engine.go_down("live")
            await eventually(lambda: [log for log in logs if log["event"] == "source.disconnected"])
            engine.fault = None
            await engine.come_back()
            await eventually(lambda: all(is_in(source, f"web-{n}", ContainerStatus.EXITED) for n in range(20)))
            await eventually(lambda: not source._cache.dead, what="nothing is lost")
            await eventually(lambda: source.status().connected, what="looks may succeed before the stream does")
    loud = [log["event"] for log in logs if log["log_level"] != "debug"]
    assert loud == ["source.connected", "source.synced", "source.disconnected", "source.connected"]


async def test_a_look_that_fails_alone_is_news_once_and_by_name_and_so_is_its_end(
    engine: FakeEngine, follow: Follow
) -> None:
    """An operator knows containers by their names."""
    engine.replica.lag_s = 0
    engine.containers.run(name="broken", labels=WEB)
    with structlog.testing.capture_logs() as logs:
        async with follow():
            await quiet(engine)
            engine.fault = lambda request: respond_with(status=500, body="{}") if request == INSPECT else None
            engine.containers.pause("broken")
            await eventually(lambda: len(failed(logs)) >= 3, what="tries again")
            engine.fault = None
            await eventually(lambda: [log for log in logs if log["event"] == "source.looked"], what="the end")
    assert [log["log_level"] for log in failed(logs)][:3] == ["warning", "debug", "debug"]
    assert {log["container"] for log in failed(logs)} == {"broken"}
    (end,) = [log for log in logs if log["event"] == "source.looked"]
    assert 0.1 <= end["outage_s"] < 5


async def test_an_engine_that_fails_every_look_is_a_few_lines(engine: FakeEngine, follow: Follow) -> None:
    """It is one fault, however many containers there are."""
    engine.replica.lag_s = 0
    for number in range(20):
        engine.containers.run(name=f"web-{number}", labels=WEB)
    with structlog.testing.capture_logs() as logs:
        async with follow():
            await quiet(engine)
            engine.fault = lambda request: respond_with(status=500, body="{}") if request == INSPECT else None
            for number in range(20):
                engine.containers.pause(f"web-{number}")
            await eventually(lambda: len(failed(logs)) >= 25, what="tries again")
    assert sum(log["log_level"] == "warning" for log in failed(logs)) == 2


def failed(logs: list[Any]) -> list[Any]:
    return [log for log in logs if log["event"] == "source.look_failed"]
