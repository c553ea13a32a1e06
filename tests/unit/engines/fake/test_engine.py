"""
The fake engine lies only where the real one lies: every row of the table of events, and each trap of the stream.

Over real HTTP on the unix socket, as lbwatch meets it; what the real engine did is in the facts these tests name.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest

from lbwatch.engines.fake import FakeEngine
from lbwatch.engines.fake.state import ConflictError, ForbiddenError, InvalidError, NotFoundError

DEADLINE_S = 10.0
FOREVER_S = 30.0  # a lag or a hang that no test outlasts


async def until(claim: Callable[[], object]) -> None:
    """Give the loop turns until *claim* holds, but not for ever."""
    async with asyncio.timeout(DEADLINE_S):
        while not claim():
            await asyncio.sleep(0.001)


class Docker:
    """A client of the engine; `listen` collects what the stream says."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine

    async def __aenter__(self) -> Self:
        connector = aiohttp.UnixConnector(path=str(self.engine.socket), force_close=True)
        self.session = aiohttp.ClientSession("http://docker", connector=connector)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def ask(self, method: str, path: str, *, body: object = None, **query: str) -> tuple[int, Any]:
        """Give status and JSON, `None` for an empty body."""
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        async with self.session.request(method, path, data=data, params=query) as response:
            text = await response.text()
            return response.status, json.loads(text) if text else None

    async def inspect(self, ref: str) -> Any:
        status, answer = await self.ask("GET", f"/containers/{ref}/json")
        assert status == 200
        return answer

    async def listed(self, **filters: list[str]) -> dict[str, Any]:
        """Give all containers of the list by name."""
        status, answer = await self.ask("GET", "/containers/json", all="1", filters=json.dumps(filters))
        assert status == 200
        return {entry["Names"][0].removeprefix("/"): entry for entry in answer}

    @asynccontextmanager
    async def listen(self, **query: str) -> AsyncIterator["Stream"]:
        before = self.engine.listeners
        async with self.session.get("/events", params=query) as response:
            assert response.status == 200
            await until(lambda: self.engine.listeners > before)
            yield Stream(response)

    async def past(self, **query: str) -> list[dict[str, Any]]:
        """Give what a stream replays that ends at once."""
        until_now = repr_s(self.engine.state.clock_ns())
        async with self.session.get("/events", params={"until": until_now} | query) as response:
            return [json.loads(line) for line in (await response.read()).splitlines()]


class Stream:
    """The lines of one open stream."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE_S):
            line = await self.response.content.readline()
        assert line.endswith(b"\n")
        return dict(json.loads(line))

    async def take(self, count: int) -> list[dict[str, Any]]:
        return [await self.next() for _ in range(count)]

    async def rest(self) -> list[dict[str, Any]]:
        """Give what comes until the stream ends cleanly."""
        async with asyncio.timeout(DEADLINE_S):
            return [json.loads(line) for line in (await self.response.content.read()).splitlines()]


def repr_s(nanoseconds: int) -> str:
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09d}"


def words(events: list[dict[str, Any]]) -> list[str]:
    """Say each event in a word or two, as the table of the facts does."""
    said = []
    for event in events:
        signal = event["Actor"]["Attributes"].get("signal") if event["Action"] == "kill" else None
        kind = "network " if event["Type"] == "network" else ""
        said.append(f"{kind}{event['Action']}" + (f" {signal}" if signal else ""))
    return said


def networks_of(inspected: Any) -> dict[str, Any]:
    return dict(inspected["NetworkSettings"]["Networks"])


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[FakeEngine]:
    async with FakeEngine(socket=tmp_path / "docker.sock", lag_s=0.0) as engine:
        yield engine


@pytest.fixture
async def docker(engine: FakeEngine) -> AsyncIterator[Docker]:
    async with Docker(engine) as docker:
        yield docker


# The table of event sequences.

UP = ["create", "network connect", "start"]
ROWS: dict[str, tuple[Callable[[Any, str], object], list[str]]] = {
    "run": (lambda engine, _: engine.containers.run(name="other"), UP),
    "stop": (lambda engine, c: engine.containers.stop(c), ["kill 15", "die", "network disconnect", "stop"]),
    "kill from the API": (lambda engine, c: engine.containers.kill(c), ["kill 9", "die", "network disconnect"]),
    "killed from the host": (lambda engine, c: engine.containers.die(c), ["die", "network disconnect"]),
    "out of memory": (lambda engine, c: engine.containers.die(c, oom=True), ["oom", "die", "network disconnect"]),
    "restart": (
        lambda engine, c: engine.containers.restart(c),
        ["kill 15", "die", "network disconnect", "stop", "network connect", "start", "restart"],
    ),
    "rm -f": (
        lambda engine, c: engine.containers.remove(c, force=True),
        ["kill 9", "die", "network disconnect", "destroy"],
    ),
    "pause and unpause": (
        lambda engine, c: (engine.containers.pause(c), engine.containers.unpause(c)),
        ["pause", "unpause"],
    ),
    "stop of a paused one": (
        lambda engine, c: (engine.containers.pause(c), engine.containers.stop(c)),
        ["pause", "kill 15", "unpause", "die", "network disconnect", "stop"],
    ),
    "rename": (lambda engine, c: engine.containers.rename(c, "renamed"), ["rename"]),
    "update": (lambda engine, c: engine.containers.update(c), ["update"]),
    "live network disconnect": (
        lambda engine, c: engine.networks.disconnect(c, "bridge"),
        ["network disconnect", "network disconnect"],
    ),
    "live network connect": (lambda engine, c: engine.networks.connect(c, "back"), ["network connect"]),
    "health": (
        lambda engine, c: [
            engine.containers.set_health(c, s) for s in ("starting", "healthy", "healthy", "unhealthy", "starting")
        ],
        ["health_status: healthy", "health_status: unhealthy"],
    ),
    "a signal that ends nothing": (lambda engine, c: engine.containers.kill(c, "SIGHUP"), ["kill 1"]),
    "a stop that takes all its time": (
        lambda engine, c: (engine.containers.send_stop_signal(c), engine.containers.stop(c)),
        ["kill 15", "kill 9", "die", "network disconnect", "stop"],
    ),
    "a stop that is obeyed late": (
        lambda engine, c: (engine.containers.send_stop_signal(c), engine.containers.die(c, code=0)),
        ["kill 15", "die", "network disconnect", "stop"],
    ),
    "a health probe": (
        lambda engine, c: engine.containers.exec_probe(c),
        ["exec_create: /bin/sh -c probe", "exec_start: /bin/sh -c probe", "exec_die"],
    ),
    "network create and remove": (
        lambda engine, _: engine.networks.remove(engine.networks.create("front")),
        ["network create", "network destroy"],
    ),
}


@pytest.mark.parametrize("row", ROWS)
async def test_each_operation_makes_the_events_of_the_table_in_its_order(
    row: str, engine: FakeEngine, docker: Docker
) -> None:
    # A follower tried on another order than the real one is tried on nothing.
    engine.networks.create("back")
    container = engine.containers.run(name="web")
    operation, expected = ROWS[row]
    async with docker.listen() as stream:
        operation(engine, container)
        engine.cut_streams()
        assert words(await stream.rest()) == expected


async def test_a_restart_policy_brings_back_what_was_killed_from_the_host(engine: FakeEngine, docker: Docker) -> None:
    # No kill and no stop: whoever waits for them keeps a dead address for the time between.
    container = engine.containers.run(restart="always")
    async with docker.listen() as stream:
        engine.containers.die(container)
        events = await stream.take(4)
    assert words(events) == ["die", "network disconnect", "network connect", "start"]
    assert (await docker.inspect(container))["RestartCount"] == 1


async def test_the_count_of_restarts_grows_by_the_policy_and_is_reset_by_a_start_by_hand(
    engine: FakeEngine, docker: Docker
) -> None:
    # A loop of restarts is told by it; measured on the real engine (facts, stream 19).
    container = engine.containers.run(restart="always")
    counts = []
    for operation in (engine.containers.die, engine.containers.die, engine.containers.restart, engine.containers.die):
        operation(container)
        counts.append((await docker.inspect(container))["RestartCount"])
    engine.containers.stop(container)
    counts.append((await docker.inspect(container))["RestartCount"])
    engine.containers.start(container)
    counts.append((await docker.inspect(container))["RestartCount"])
    assert counts == [1, 2, 0, 1, 1, 0]


async def test_a_restart_policy_brings_nothing_back_that_was_stopped_or_killed_by_the_api(
    engine: FakeEngine, docker: Docker
) -> None:
    # Else a removed server would come back in tests and not in life.
    stopped, killed = (engine.containers.run(restart="always") for _ in range(2))
    engine.containers.stop(stopped)
    engine.containers.kill(killed)
    assert [(await docker.inspect(c))["State"]["Status"] for c in (stopped, killed)] == ["exited", "exited"]


@pytest.mark.parametrize(
    ("policy", "stop_signal", "returns"),
    [
        ("unless-stopped", None, False),
        ("unless-stopped", "SIGQUIT", False),
        ("always", None, False),
        ("always", "SIGQUIT", True),
        ("always", "SIGHUP", False),
    ],
)
async def test_a_hup_through_the_api_disarms_the_restart_policy(
    *, policy: str, stop_signal: str | None, returns: bool, engine: FakeEngine
) -> None:
    # moby#41302, the reason why lbwatch reloads by exec; `always` survives where the image names a stop signal.
    containers = engine.containers
    container = containers.run(restart=policy, stop_signal=stop_signal)
    containers.kill(container, "HUP")
    if containers.find(container).running:
        containers.die(container)
    assert containers.find(container).running is returns


async def test_on_failure_counts_its_retries_and_lets_a_clean_exit_be(engine: FakeEngine) -> None:
    # Else a container that finished its work would serve again.
    containers = engine.containers
    clean, failing = containers.run(restart="on-failure"), containers.run(restart="on-failure:1")
    containers.die(clean, code=0)
    containers.die(failing)
    assert [containers.find(c).running for c in (clean, failing)] == [False, True]
    containers.die(failing)
    assert not containers.find(failing).running


async def test_a_container_in_anothers_network_is_listed_although_it_has_none(
    engine: FakeEngine, docker: Docker
) -> None:
    # A list without it would hide it from whoever lost its events.
    owner = engine.containers.run()
    member = engine.containers.run(network_mode=f"container:{owner}")
    engine.replica.catch_up_all()
    assert {entry["Id"] for entry in (await docker.listed()).values()} == {owner, member}


async def test_a_container_in_anothers_network_makes_no_network_events(engine: FakeEngine, docker: Docker) -> None:
    # `die` is the only sign there will ever be (facts, stream 4).
    engine.containers.run(name="owner")
    async with docker.listen() as stream:
        guest = engine.containers.run(name="guest", network_mode="container:owner")
        engine.containers.die(guest)
        assert words(await stream.take(3)) == ["create", "start", "die"]
    answer = await docker.inspect(guest)
    owner = (await docker.inspect("owner"))["Id"]
    assert (answer["HostConfig"]["NetworkMode"], networks_of(answer)) == (f"container:{owner}", {})


@pytest.mark.parametrize(("mode", "driver"), [("host", "host"), ("none", "null")])
async def test_host_and_none_are_networks_with_events_and_without_addresses(
    mode: str, driver: str, engine: FakeEngine, docker: Docker
) -> None:
    # Their network events look as if an address had come.
    async with docker.listen() as stream:
        container = engine.containers.run(network_mode=mode)
        events = await stream.take(3)
    assert words(events) == UP
    assert events[1]["Actor"]["Attributes"] == {"container": container, "name": mode, "type": driver}
    assert networks_of(await docker.inspect(container))[mode]["IPAddress"] == ""


async def test_stop_sends_the_containers_own_signal(engine: FakeEngine, docker: Docker) -> None:
    # nginx stops by QUIT, httpd by WINCH: whoever waits for 15 drains neither.
    async with docker.listen(filters=json.dumps({"event": ["kill"]})) as stream:
        for stop_signal in ("SIGQUIT", "SIGWINCH"):
            engine.containers.stop(engine.containers.run(stop_signal=stop_signal))
        assert words(await stream.take(2)) == ["kill 3", "kill 28"]


async def test_connecting_a_stopped_container_is_told_to_nobody(engine: FakeEngine, docker: Docker) -> None:
    # Only a resync sees it (facts, stream 6).
    engine.networks.create("back")
    container = engine.containers.create(name="web")
    async with docker.listen() as stream:
        engine.networks.connect(container, "back")
        engine.cut_streams()
        assert await stream.rest() == []
    assert list(networks_of(await docker.inspect(container))) == ["back", "bridge"]


async def test_pausing_leaves_a_checked_container_unhealthy_without_a_word(engine: FakeEngine, docker: Docker) -> None:
    # No probe runs then, and moby calls that unhealthy; after unpause only the next probe says otherwise.
    container = engine.containers.run(health="healthy")
    async with docker.listen() as stream:
        engine.containers.pause(container)
        engine.containers.unpause(container)
        assert (await docker.inspect(container))["State"]["Health"]["Status"] == "unhealthy"
        engine.containers.set_health(container, "healthy")
        assert words(await stream.take(3)) == ["pause", "unpause", "health_status: healthy"]


# What an event says.


async def test_container_events_have_the_shape_of_the_real_ones(engine: FakeEngine, docker: Docker) -> None:
    # Templates and decoders are written against these keys.
    async with docker.listen() as stream:
        container = engine.containers.run(name="web", labels={"tier": "front"})
        engine.containers.die(container, code=3)
        create, connect, _, die, _ = await stream.take(5)
    attributes = {"image": "app", "name": "web", "tier": "front"}
    legacy = {"status": "create", "id": container, "from": "app"}
    actor = {"ID": container, "Attributes": attributes}
    nanoseconds = create["timeNano"]
    assert create == {
        **legacy,
        "Type": "container",
        "Action": "create",
        "Actor": actor,
        "scope": "local",
        "time": nanoseconds // 10**9,
        "timeNano": nanoseconds,
    }
    assert set(connect) == {"Type", "Action", "Actor", "scope", "time", "timeNano"}
    assert connect["Actor"]["Attributes"] == {"container": container, "name": "bridge", "type": "bridge"}
    assert die["Actor"]["Attributes"] == attributes | {"exitCode": "3"}


async def test_labels_overwrite_what_an_event_says(engine: FakeEngine, docker: Docker) -> None:
    # A label can feign a clean exit or another signal (facts, stream 10); image and name it cannot (moby).
    labels = {"exitCode": "0", "signal": "1", "name": "liar", "image": "liar"}
    async with docker.listen() as stream:
        engine.containers.kill(engine.containers.run(name="web", labels=labels))
        *_, kill, die, _ = await stream.take(6)
    told = [(event["Actor"]["Attributes"]["signal"], event["Actor"]["Attributes"]["exitCode"]) for event in (kill, die)]
    assert told == [("1", "0"), ("1", "0")]
    assert (die["Actor"]["Attributes"]["name"], die["Actor"]["Attributes"]["image"]) == ("web", "app")


# Filters.


async def test_values_of_one_key_are_alternatives_and_keys_add_up(engine: FakeEngine, docker: Docker) -> None:
    # The stream is narrowed by them; a value too few loses a death.
    filters = {"type": {"container": True}, "event": {"start": True, "die": True}}  # the older form
    async with docker.listen(filters=json.dumps(filters)) as stream:
        engine.containers.stop(engine.containers.run())
        engine.cut_streams()
        assert words(await stream.rest()) == ["start", "die"]


async def test_a_label_filter_removes_every_network_event(engine: FakeEngine, docker: Docker) -> None:
    # The trap of facts 9: addresses then change unheard.
    async with docker.listen(filters=json.dumps({"label": ["tier"]})) as stream:
        engine.containers.run(labels={"tier": "front"})
        engine.containers.run(labels={"other": ""})
        engine.cut_streams()
        assert words(await stream.rest()) == ["create", "start"]


async def test_all_wanted_labels_must_be_there(engine: FakeEngine, docker: Docker) -> None:
    # Labels are the one key whose values add up (moby, filters.Args.MatchKVList).
    filters = json.dumps({"label": ["tier=front", "blue"], "event": ["create"]})
    async with docker.listen(filters=filters) as stream:
        engine.containers.create(name="half", labels={"tier": "front"})
        engine.containers.create(name="wrong", labels={"tier": "back", "blue": ""})
        engine.containers.create(name="right", labels={"tier": "front", "blue": ""})
        engine.cut_streams()
        assert [event["Actor"]["Attributes"]["name"] for event in await stream.rest()] == ["right"]


@pytest.mark.parametrize("key", ["health_status", "exec_create"])
async def test_one_health_or_exec_value_turns_every_value_into_a_prefix(
    key: str, engine: FakeEngine, docker: Docker
) -> None:
    # `re` is no event, but then takes restart and rename; without the trap it takes nothing.
    container = engine.containers.run(name="web")
    async with (
        docker.listen(filters=json.dumps({"event": ["re"]})) as plain,
        docker.listen(filters=json.dumps({"event": ["re", key]})) as trapped,
    ):
        engine.containers.set_health(container, "healthy")
        engine.containers.exec_probe(container)
        engine.containers.rename(container, "renamed")
        engine.cut_streams()
        assert await plain.rest() == []
        heard = words(await trapped.rest())
    assert [word.partition(":")[0] for word in heard] == [key, "rename"]


async def test_a_container_filter_takes_names_by_their_beginning_and_no_network_events(
    engine: FakeEngine, docker: Docker
) -> None:
    # Following one container by this filter misses its addresses and hears its namesakes.
    async with docker.listen(filters=json.dumps({"container": ["web"], "event": ["start", "connect"]})) as stream:
        for name in ("web", "web-2", "db"):
            engine.containers.run(name=name)
        engine.cut_streams()
        heard = await stream.rest()
    assert [(e["Action"], e["Actor"]["Attributes"]["name"]) for e in heard] == [("start", "web"), ("start", "web-2")]


async def test_filters_know_network_image_and_scope_and_ignore_other_keys(engine: FakeEngine, docker: Docker) -> None:
    # Docker ignores an unknown key in the stream, Podman refuses it (facts, stream 9).
    engine.networks.create("back")
    async with (
        docker.listen(filters=json.dumps({"network": ["back"]})) as of_network,
        docker.listen(filters=json.dumps({"image": ["shop"], "nonsense": ["x"]})) as of_image,
        docker.listen(filters=json.dumps({"scope": ["swarm"]})) as of_swarm,
    ):
        engine.containers.run(image="shop:1", networks=("bridge", "back"))
        engine.cut_streams()
        heard = [words(await stream.rest()) for stream in (of_network, of_image, of_swarm)]
    assert heard == [["network connect"], ["create", "start"], []]


# since, until, and what is lost.


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
        assert engine.listeners == 0
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
    await until(lambda: engine.listeners == 0)


async def test_a_listener_that_leaves_is_forgotten(engine: FakeEngine, docker: Docker) -> None:
    # A demo runs for hours and is reloaded often.
    async with docker.listen():
        assert engine.listeners == 1
    await until(lambda: engine.listeners == 0)


# The list lags, inspect tells the truth.


async def test_the_list_is_stale_after_a_death_until_somebody_inspects(engine: FakeEngine, docker: Docker) -> None:
    # 60 of 60 lists after a death were stale, 275 of 275 after an inspect were fresh (facts, stream 4 and 5).
    container = engine.containers.run(name="web")
    assert (await docker.listed())["web"]["State"] == "running"
    engine.lag_s = FOREVER_S
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
    engine.lag_s = FOREVER_S
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
    engine.lag_s = FOREVER_S
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
    engine.lag_s = FOREVER_S
    engine.containers.pause(container)
    assert (await docker.listed())["web"]["State"] == "running"
    engine.lag_s = 0.0
    assert (await docker.listed())["web"]["State"] == "paused"


async def test_an_inspect_that_hangs_holds_up_nothing_else(engine: FakeEngine, docker: Docker) -> None:
    # moby#46782: without a timeout a follower stands still.
    hanging, other = engine.containers.run(name="hanging"), engine.containers.run(name="other")
    engine.inspect_delay_s[hanging] = FOREVER_S
    waiting = asyncio.create_task(docker.inspect(hanging))
    await until(lambda: engine.requests["GET /containers/ID/json"] == 1)
    assert (await docker.inspect(other))["Name"] == "/other"
    assert not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


# The shapes of list and inspect.


async def test_a_stopped_container_keeps_its_networks_without_addresses(engine: FakeEngine, docker: Docker) -> None:
    # Whoever reads the address without looking at the state gets an empty one.
    container = engine.containers.run()
    running = await docker.inspect(container)
    assert networks_of(running)["bridge"]["IPAddress"] == running["NetworkSettings"]["IPAddress"] == "172.17.0.2"
    engine.containers.stop(container)
    stopped = networks_of(await docker.inspect(container))["bridge"]
    assert (stopped["IPAddress"], stopped["EndpointID"], stopped["NetworkID"]) == (
        "",
        "",
        networks_of(running)["bridge"]["NetworkID"],
    )


async def test_a_container_never_started_is_created_since_the_year_one(engine: FakeEngine, docker: Docker) -> None:
    # Go's zero time breaks parsers.
    answer = await docker.inspect(engine.containers.create(name="web"))
    assert (answer["State"]["Status"], answer["State"]["StartedAt"]) == ("created", "0001-01-01T00:00:00Z")
    assert (await docker.listed())["web"]["Status"] == "Created"


async def test_health_is_there_only_with_a_check(engine: FakeEngine, docker: Docker) -> None:
    # An absent key, not an empty one, is what most containers have.
    engine.containers.run(name="plain")
    engine.containers.run(name="off", health="none")
    engine.containers.run(name="checked", health="starting")
    healths = [
        (await docker.inspect(name))["State"].get("Health", {}).get("Status") for name in ("plain", "off", "checked")
    ]
    assert healths == [None, None, "starting"]
    assert "Healthcheck" not in (await docker.inspect("plain"))["Config"]
    assert (await docker.inspect("off"))["Config"]["Healthcheck"] == {"Test": ["NONE"]}


async def test_the_lists_words_tell_the_health(engine: FakeEngine, docker: Docker) -> None:
    # The list has no other field for it before API 1.52.
    container = engine.containers.run(name="web", health="starting")
    said = [(await docker.listed())["web"]["Status"]]
    for status in ("healthy", "unhealthy"):
        engine.containers.set_health(container, status)
        said.append((await docker.listed())["web"]["Status"])
    engine.containers.pause(container)
    said.append((await docker.listed())["web"]["Status"])
    assert [words.partition("(")[2] for words in said] == ["health: starting)", "healthy)", "unhealthy)", "Paused)"]


async def test_addresses_come_back_to_the_next_container(engine: FakeEngine, docker: Docker) -> None:
    # The address of a dead container is soon another's: the very mistake a stale upstream makes.
    containers = engine.containers
    first, second = containers.run(), containers.run()
    containers.stop(first)
    third = containers.run()
    containers.start(first)
    addresses = [networks_of(await docker.inspect(c))["bridge"]["IPAddress"] for c in (first, second, third)]
    assert addresses == ["172.17.0.4", "172.17.0.3", "172.17.0.2"]


async def test_the_lowest_free_address_is_given_first(engine: FakeEngine, docker: Docker) -> None:
    # Else two runs of the same test see other addresses.
    ids = [engine.containers.run() for _ in range(3)]
    for number in (0, 2, 1):
        engine.containers.stop(ids[number])
    assert networks_of(await docker.inspect(engine.containers.run()))["bridge"]["IPAddress"] == "172.17.0.2"


async def test_each_network_has_its_own_range_and_may_have_ipv6(engine: FakeEngine, docker: Docker) -> None:
    # Addresses of several networks must never be mixed up.
    engine.networks.create("both", ipv6=True)
    engine.networks.create("six", ipv4=False, ipv6=True)
    networks = networks_of(await docker.inspect(engine.containers.run(networks=("bridge", "both", "six"))))
    ends = {name: (end["IPAddress"], end["GlobalIPv6Address"]) for name, end in networks.items()}
    assert ends["bridge"] == ("172.17.0.2", "")
    assert ends["both"][0] == "172.18.0.2"
    assert ends["both"][1]
    assert ends["six"][0] == ""
    assert ends["six"][1] not in ("", ends["both"][1])


async def test_a_list_shows_running_ones_unless_asked_for_all(engine: FakeEngine, docker: Docker) -> None:
    # Paused counts as running; stopped ones keep an upstream's name alive only if they are asked for.
    for name in ("up", "frozen", "ended"):
        engine.containers.run(name=name)
    engine.containers.pause("frozen")
    engine.containers.stop("ended")
    _, running = await docker.ask("GET", "/containers/json")
    assert [entry["Names"] for entry in running] == [["/frozen"], ["/up"]]
    _, exited = await docker.ask("GET", "/containers/json", filters='{"status":["exited"]}')  # implies all
    assert [entry["Names"] for entry in exited] == [["/ended"]]


async def test_a_list_can_be_filtered(engine: FakeEngine, docker: Docker) -> None:
    # As `docker ps --filter` does; an unknown key is refused here, unlike in the stream.
    engine.networks.create("back")
    web = engine.containers.run(name="web", labels={"tier": "front"}, networks=("back",))
    engine.containers.run(name="webby")
    assert list(await docker.listed(name=["^web$"])) == ["web"]
    assert sorted(await docker.listed(name=["web"])) == ["web", "webby"]
    assert list(await docker.listed(label=["tier=front"])) == ["web"]
    assert list(await docker.listed(network=["back"])) == ["web"]
    assert list(await docker.listed(id=[f"^{web[:12]}"])) == ["web"]
    assert (await docker.ask("GET", "/containers/json", filters='{"colour":["red"]}'))[0] == 400


# The API's manners.


async def test_ping_tells_the_version_and_the_engines_clock(tmp_path: Path) -> None:
    # lbwatch negotiates by these headers and takes the engine's time from them.
    def clock_ns() -> int:
        return 1_000_000_000 * 10**9

    async with FakeEngine(socket=tmp_path / "s", clock_ns=clock_ns) as engine, Docker(engine) as docker:
        for method in ("GET", "HEAD"):
            async with docker.session.request(method, "/_ping") as response:
                assert response.headers["Api-Version"] == "1.41"
                assert response.headers["Date"] == "Sun, 09 Sep 2001 01:46:40 GMT"
                assert await response.text() == ("OK" if method == "GET" else "")
        _, info = await docker.ask("GET", "/info")
        _, version = await docker.ask("GET", "/version")
    assert (info["SystemTime"], version["MinAPIVersion"]) == ("2001-09-09T01:46:40Z", "1.12")


@pytest.mark.parametrize(
    ("version", "status", "words"),
    [("1.11", 400, "too old"), ("1.12", 200, ""), ("1.41", 200, ""), ("1.42", 400, "too new"), ("1.5", 400, "too old")],
)
async def test_versions_outside_its_range_are_refused(version: str, status: int, words: str, docker: Docker) -> None:
    # Versions compare by number: 1.5 is older than 1.12.
    answered, answer = await docker.ask("GET", f"/v{version}/containers/json")
    assert answered == status
    assert words in (answer["message"] if status == 400 else "")


async def test_requests_are_counted_without_version_and_id(engine: FakeEngine, docker: Docker) -> None:
    # One event costs one request: this count is how that law is watched.
    engine.containers.run(name="web")
    await docker.ask("GET", "/v1.41/containers/web/json")
    await docker.ask("GET", "/containers/nobody/json")
    await docker.ask("POST", "/containers/web/pause")
    await docker.ask("GET", "/v1.99/containers/json")
    assert engine.requests == {
        "GET /containers/ID/json": 2,
        "POST /containers/ID/pause": 1,
        "GET /containers/json": 1,
    }


async def test_containers_answer_to_id_beginning_of_id_and_name(engine: FakeEngine, docker: Docker) -> None:
    # People type what `docker ps` shows.
    container = engine.containers.run(name="web")
    assert {(await docker.inspect(ref))["Id"] for ref in (container, container[:12], "web")} == {container}
    status, answer = await docker.ask("GET", "/containers/nobody/json")
    assert (status, answer) == (404, {"message": "No such container: nobody"})


async def test_the_whole_life_of_a_container_over_http(engine: FakeEngine, docker: Docker) -> None:
    # The same operations stand behind the endpoints; statuses are those that docker and compose act on.
    body = {
        "Image": "app",
        "Labels": {"tier": "front"},
        "ExposedPorts": {"8080/tcp": {}},
        "Healthcheck": {"Test": ["CMD", "true"]},
        "StopSignal": "SIGQUIT",
        "HostConfig": {"NetworkMode": "back", "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2}},
        "NetworkingConfig": {"EndpointsConfig": {"back": {}}},
    }
    assert (await docker.ask("POST", "/networks/create", body={"Name": "back"}))[0] == 201
    status, made = await docker.ask("POST", "/containers/create", body=body, name="web")
    assert (status, made["Warnings"]) == (201, [])
    asked = [
        *("start", "start", "pause", "start", "pause", "unpause", "restart", "stop", "stop", "kill"),
        *("start", "kill?signal=SIGHUP", "rename?name=shop", "update"),
    ]
    statuses = [(await docker.ask("POST", f"/containers/{made['Id']}/{operation}"))[0] for operation in asked]
    assert statuses == [204, 304, 204, 409, 409, 204, 204, 204, 304, 409, 204, 204, 204, 200]
    answer = await docker.inspect("shop")
    assert (answer["Config"]["Labels"], answer["Config"]["StopSignal"]) == ({"tier": "front"}, "SIGQUIT")
    assert answer["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}
    assert (answer["HostConfig"]["NetworkMode"], list(networks_of(answer))) == ("back", ["back"])
    assert (answer["Config"]["ExposedPorts"], answer["State"]["Health"]["Status"]) == ({"8080/tcp": {}}, "starting")
    assert (await docker.ask("DELETE", "/containers/shop"))[0] == 409
    assert (await docker.ask("DELETE", "/containers/shop", force="1"))[0] == 204
    assert (await docker.ask("DELETE", "/containers/shop"))[0] == 404


async def test_what_an_image_says_holds_unless_the_body_says_otherwise(docker: Docker) -> None:
    # `docker run app` names no port, and `--no-healthcheck` sends NONE.
    body = {"Image": "app", "Healthcheck": {"Test": ["NONE"]}, "HostConfig": None}
    assert (await docker.ask("POST", "/containers/create", body=body, name="web"))[0] == 201
    assert (await docker.ask("POST", "/containers/web/start"))[0] == 204
    answer = await docker.inspect("web")
    assert (answer["Config"]["ExposedPorts"], "Health" in answer["State"]) == ({"80/tcp": {}}, False)
    assert (answer["HostConfig"]["NetworkMode"], list(networks_of(answer))) == ("default", ["bridge"])


async def test_networks_over_http(engine: FakeEngine, docker: Docker) -> None:
    # Compose makes its networks so.
    engine.containers.run(name="web")
    _, made = await docker.ask("POST", "/networks/create", body={"Name": "back", "EnableIPv6": True})
    assert (await docker.ask("POST", "/networks/create", body={"Name": "back"}))[0] == 409
    assert (await docker.ask("POST", "/networks/back/connect", body={"Container": "web"}))[0] == 200
    _, network = await docker.ask("GET", f"/networks/{made['Id']}")
    assert [member["IPv4Address"] for member in network["Containers"].values()] == ["172.18.0.2/16"]
    assert (await docker.ask("DELETE", "/networks/back"))[0] == 403
    assert (await docker.ask("POST", "/networks/back/disconnect", body={"Container": "web"}))[0] == 200
    assert (await docker.ask("DELETE", "/networks/back"))[0] == 204
    assert (await docker.ask("DELETE", "/networks/host"))[0] == 403
    assert (await docker.ask("GET", "/networks/back"))[0] == 404
    _, networks = await docker.ask("GET", "/networks")
    assert [network["Name"] for network in networks] == ["bridge", "host", "none"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/containers/create?name=web", {"Image": "app"}, 409),
        ("POST", "/containers/create?name=-", {"Image": "app"}, 400),
        ("POST", "/containers/create", b"{", 400),
        ("POST", "/containers/create", {"Image": "app", "Labels": "none"}, 400),
        ("POST", "/containers/create", {}, 400),
        ("POST", "/containers/lost/start", None, 404),
        ("POST", "/containers/web/unpause", None, 500),
        ("POST", "/networks/host/disconnect", {"Container": "web"}, 500),
        ("POST", "/networks/host/connect", {"Container": "web"}, 400),
        (
            "POST",
            "/containers/create",
            {"Image": "app", "ExposedPorts": {"80/tcp": {}}, "HostConfig": {"NetworkMode": "container:web"}},
            400,
        ),
        ("POST", "/containers/db/rename?name=web", None, 409),
        ("POST", "/containers/web/kill?signal=LOUD", None, 400),
        ("POST", "/containers/nobody/start", None, 404),
        ("POST", "/networks/nowhere/connect", {"Container": "web"}, 404),
        ("POST", "/networks/bridge/connect", {"Container": "web"}, 403),
        ("GET", "/events?filters=x", None, 500),
        ("GET", "/events?since=yesterday", None, 500),
        ("GET", "/events?since=2&until=1", None, 400),
        ("GET", "/nonsense", None, 404),
    ],
)
async def test_refusals_are_a_status_and_a_message(
    *, method: str, path: str, body: object, status: int, engine: FakeEngine, docker: Docker
) -> None:
    # Clients show `message` to people.
    engine.containers.run(name="web")
    engine.containers.run(name="db")
    engine.containers.create(name="lost", network_mode="container:nobody")
    answered, answer = await docker.ask(method, path, body=body)
    assert answered == status
    assert answer["message"]


async def test_in_process_refusals_are_errors(engine: FakeEngine) -> None:
    # A test that does the impossible should fail there, not later.
    containers = engine.containers
    container = containers.create(name="web")
    with pytest.raises(NotFoundError):
        containers.stop("nobody")
    with pytest.raises(ConflictError):
        containers.die(container)
    with pytest.raises(ConflictError):
        containers.start(containers.create(network_mode=f"container:{container}"))
    with pytest.raises(NotFoundError):
        containers.start(containers.create(networks=("nowhere",)))
    with pytest.raises(ForbiddenError):
        engine.networks.connect(container, "bridge")
    with pytest.raises(InvalidError):
        containers.create(restart="sometimes")


# The engine comes and goes.


async def test_streams_can_be_cut_cleanly_and_taken_up_again(engine: FakeEngine, docker: Docker) -> None:
    # A socket proxy does so every ten minutes: it is no error (facts, stream 8).
    async with docker.listen() as first, docker.listen() as second:
        engine.cut_streams()
        assert (await first.rest(), await second.rest()) == ([], [])
    async with docker.listen() as stream:
        engine.containers.create()
        assert words([await stream.next()]) == ["create"]


@pytest.mark.parametrize(("containers", "status"), [("live", "running"), ("end", "exited")])
async def test_an_engine_that_went_down_comes_back_on_its_socket(
    containers: Any, status: str, engine: FakeEngine, docker: Docker
) -> None:
    # What ended meanwhile was heard by nobody, and the default bridge has another id (facts, stream 6 and 7).
    engine.containers.run(name="web", restart="always")
    bridge = (await docker.ask("GET", "/networks/bridge"))[1]["Id"]
    async with docker.listen() as stream:
        await engine.go_down(containers)
        with pytest.raises(aiohttp.ClientPayloadError):  # no end, a break
            await stream.rest()
    assert not engine.socket.exists()
    with pytest.raises(aiohttp.ClientConnectorError):
        await docker.ask("GET", "/_ping")
    await engine.come_back()
    assert await docker.past() == []
    assert (await docker.listed())["web"]["State"] == status
    assert (await docker.ask("GET", "/networks/bridge"))[1]["Id"] != bridge
    async with docker.listen() as stream:
        engine.containers.create()
        assert words([await stream.next()]) == ["create"]


async def test_a_death_while_the_engine_is_down_is_found_afterwards(engine: FakeEngine, docker: Docker) -> None:
    # Under live-restore no event tells of it, and no policy acts meanwhile; the list is fresh after the boot.
    container = engine.containers.run(name="web", restart="always")
    engine.lag_s = FOREVER_S
    await engine.go_down()
    engine.containers.die(container)
    await engine.come_back()
    assert (await docker.listed())["web"]["State"] == "exited"
    assert await docker.past() == []


async def test_ids_are_the_same_in_each_run(tmp_path: Path) -> None:
    # A failure that depends on an id can be seen again.
    ids = []
    for seed in (0, 0, 1):
        engine = FakeEngine(socket=tmp_path / "s", seed=seed)
        ids.append((engine.networks.create("back"), engine.containers.create()))
    assert ids[0] == ids[1] != ids[2]
    assert all(len(made) == 64 for made in ids[0])
