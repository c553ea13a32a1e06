"""The stream loses, the ring forgets, the list lags: each trap, as it was measured."""

import asyncio
from pathlib import Path

from fakeclient import DEADLINE_S, FOREVER_S, UP, Docker, repr_s, until, words

from lbwatch.engines.fake import FakeEngine


async def test_a_container_in_anothers_network_is_listed_although_it_has_none(
    engine: FakeEngine, docker: Docker
) -> None:
    # A list without it would hide it from whoever lost its events.
    owner = engine.containers.run()
    member = engine.containers.run(network_mode=f"container:{owner}")
    engine.replica.catch_up_all()
    assert {entry["Id"] for entry in (await docker.listed()).values()} == {owner, member}


async def test_since_replays_and_then_goes_on(engine: FakeEngine, docker: Docker) -> None:
    # What happened between a list and the stream is caught so.
    engine.containers.create(name="before")
    since = repr_s(engine.state.clock_ns())
    engine.containers.create(name="between")
    async with docker.listen(since=since) as stream:
        engine.containers.create(name="after")
        names = [event["Actor"]["Attributes"]["name"] for event in await stream.take(2)]
    assert names == ["between", "after"]


async def test_without_since_nothing_is_replayed(engine: FakeEngine, docker: Docker) -> None:
    # Else a follower would look safe without `since`.
    engine.containers.create(name="before")
    async with docker.listen() as stream:
        engine.cut_streams()
        assert await stream.rest() == []


async def test_the_ring_holds_256_events_and_shares_them_with_probes(engine: FakeEngine, docker: Docker) -> None:
    # 86 probes push out a death: `since` is no resume token (facts, stream 2).
    container = engine.containers.run()
    engine.containers.die(engine.containers.run())
    for _ in range(86):
        engine.containers.exec_probe(container)
    replayed = await docker.past()  # `until` alone replays the whole ring
    assert len(replayed) == 256
    assert all(event["Action"].startswith("exec_") for event in replayed)


async def test_replay_stops_at_the_first_older_entry_going_backwards(tmp_path: Path) -> None:
    # The ring is not ordered by time, so younger events behind an older one are never found.
    now = {"ns": 0}
    async with FakeEngine(socket=tmp_path / "s", clock_ns=lambda: now["ns"]) as engine, Docker(engine) as docker:
        for second, name in ((50, "young"), (20, "old"), (60.4, "youngest")):
            now["ns"] = int(second * 10**9)
            engine.containers.create(name=name)
        now["ns"] = 100 * 10**9
        replayed = await docker.past(since="30.000000000")
        assert await docker.past(since="60.5") == []  # half a second, not five nanoseconds
    assert [event["Actor"]["Attributes"]["name"] for event in replayed] == ["youngest"]


async def test_what_happens_between_header_and_subscription_is_lost(engine: FakeEngine, docker: Docker) -> None:
    # The 200 proves nothing (facts, stream 3): list after it, and ask with `since`.
    engine.events.subscribe_gap_s = FOREVER_S
    async with docker.session.get("/events") as response:
        assert response.status == 200
        assert engine.events.listeners == 0
        engine.containers.run(name="unheard")
    engine.events.subscribe_gap_s = 0.0
    async with docker.listen() as stream:
        engine.containers.create(name="heard")
        assert (await stream.next())["Actor"]["Attributes"]["name"] == "heard"


async def test_a_full_channel_drops_events_silently(engine: FakeEngine, docker: Docker) -> None:
    # 1024 and no sign of the rest (facts, stream 1): what only listens stays wrong for ever.
    container = engine.containers.run()
    async with docker.listen() as stream:
        for _ in range(400):
            engine.containers.exec_probe(container)
        engine.cut_streams()
        assert len(await stream.rest()) == 1024


async def test_events_can_be_lost_on_purpose(engine: FakeEngine, docker: Docker) -> None:
    # Neither the stream nor `since` may know of them.
    engine.lose_events(lambda event: event["Action"] == "die")
    async with docker.listen() as stream:
        engine.containers.stop(engine.containers.run())
        engine.cut_streams()
        heard = words(await stream.rest())
    assert heard == words(await docker.past()) == [*UP, "kill 15", "network disconnect", "stop"]


async def test_until_in_the_future_ends_the_stream_cleanly(engine: FakeEngine, docker: Docker) -> None:
    # A bounded stream is one way to notice a half-open connection.
    soon = repr_s(engine.state.clock_ns() + 50_000_000)
    async with docker.session.get("/events", params={"until": soon}) as response, asyncio.timeout(DEADLINE_S):
        assert await response.read() == b""
    await until(lambda: engine.events.listeners == 0)


async def test_a_listener_that_leaves_is_forgotten(engine: FakeEngine, docker: Docker) -> None:
    # A demo runs for hours and is reloaded often.
    async with docker.listen():
        assert engine.events.listeners == 1
    await until(lambda: engine.events.listeners == 0)


async def test_the_list_is_stale_after_a_death_until_somebody_inspects(engine: FakeEngine, docker: Docker) -> None:
    # 60 of 60 lists after a death were stale, 275 of 275 after an inspect were fresh (facts, stream 4 and 5).
    container = engine.containers.run(name="web")
    assert (await docker.listed())["web"]["State"] == "running"
    engine.replica.lag_s = FOREVER_S
    engine.containers.die(container)
    stale = (await docker.listed())["web"]
    assert (stale["State"], stale["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]) == ("running", "172.17.0.2")
    assert (await docker.inspect(container))["State"]["Status"] == "exited"
    assert (await docker.listed())["web"]["State"] == "exited"


async def test_the_barrier_freshens_no_other_container(engine: FakeEngine, docker: Docker) -> None:
    # The lock is the container's own: each touched one needs its own inspect.
    for name in ("web", "db"):
        engine.containers.run(name=name)
    await docker.listed()
    engine.replica.lag_s = FOREVER_S
    engine.containers.die("web")
    engine.containers.die("db")
    await docker.inspect("web")
    assert {name: entry["State"] for name, entry in (await docker.listed()).items()} == {
        "web": "exited",
        "db": "running",
    }


async def test_what_is_new_or_gone_is_listed_late_too(engine: FakeEngine, docker: Docker) -> None:
    # Absence from a list proves no absence, presence no presence; a 404 settles it.
    gone = engine.containers.run(name="gone")
    await docker.listed()
    engine.replica.lag_s = FOREVER_S
    engine.containers.remove(gone, force=True)
    engine.containers.run(name="new")
    assert list(await docker.listed()) == ["gone"]
    assert (await docker.ask("GET", f"/containers/{gone}/json"))[0] == 404
    await docker.inspect("new")
    assert list(await docker.listed()) == ["new"]


async def test_the_list_catches_up_by_itself(engine: FakeEngine, docker: Docker) -> None:
    # It lags, it does not stick; a lesser lag holds for older changes too.
    container = engine.containers.run(name="web")
    await docker.listed()
    engine.replica.lag_s = FOREVER_S
    engine.containers.pause(container)
    assert (await docker.listed())["web"]["State"] == "running"
    engine.replica.lag_s = 0.0
    assert (await docker.listed())["web"]["State"] == "paused"
