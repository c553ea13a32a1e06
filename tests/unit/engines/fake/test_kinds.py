"""Each engine that the fake one can be, by HTTP: what differs between them, a row for each fact."""

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from fakeclient import DEADLINE_S, FOREVER_S, Docker, networks_of, until, words
from simulation import in_simulated_time

from lbwatch.engines.fake import FakeEngine, kinds
from lbwatch.engines.fake.kinds import DOCKER_20, DOCKER_26, DOCKER_29, KINDS, PODMAN_4, PODMAN_5, Kind

OLD = ("docker-20",)
NEW = ("docker-26", "docker-28", "docker-29")
DOCKER = (*OLD, *NEW)
PODMAN = ("podman-4", "podman-5")
ALL = (*DOCKER, *PODMAN)

Work = Callable[[FakeEngine, str], object]


def in_no_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """What is told late takes no time here."""

    @functools.wraps(test)
    def simulated(**given: Any) -> None:
        in_simulated_time(test(**given))

    return simulated


@asynccontextmanager
async def running(kind: Kind, folder: Path, **options: Any) -> AsyncIterator[tuple[FakeEngine, Docker]]:
    async with FakeEngine(socket=folder / "docker.sock", kind=kind, **options) as engine, Docker(engine) as docker:
        yield engine, docker


def each(rows: Iterable[tuple[tuple[str, ...], Any]]) -> Any:
    """Rows of what holds for several kinds, as parameters for each of them; none may be missing."""
    table = {name: expected for names, expected in rows for name in names}
    assert table.keys() == KINDS.keys()
    return pytest.mark.parametrize(("kind", "expected"), [(KINDS[name], table[name]) for name in table], ids=[*table])


# -- what happens, and in which order it is told


def stops(engine: FakeEngine, c: str) -> None:
    engine.containers.stop(c)


def restarts(engine: FakeEngine, c: str) -> None:
    engine.containers.restart(c)


def is_killed(engine: FakeEngine, c: str) -> None:
    engine.containers.kill(c)


def is_removed(engine: FakeEngine, c: str) -> None:
    engine.containers.remove(c, force=True)


def crashes(engine: FakeEngine, c: str) -> None:
    engine.containers.update(c, restart="always")
    engine.containers.die(c)


def is_signalled(engine: FakeEngine, c: str) -> None:
    engine.containers.kill(c, "SIGHUP")


def is_told_and_ends(engine: FakeEngine, c: str) -> None:
    engine.containers.send_stop_signal(c)
    engine.containers.die(c, code=0)


def is_on_two_networks_and_ends(engine: FakeEngine, c: str) -> None:
    engine.networks.connect(c, "back")
    engine.containers.die(c)


def moves(engine: FakeEngine, c: str) -> None:
    engine.networks.connect(c, "back")
    engine.networks.disconnect(c, "back")


def moves_while_stopped(engine: FakeEngine, c: str) -> None:
    created = engine.containers.create()
    engine.networks.connect(created, "back")


def is_probed(engine: FakeEngine, c: str) -> None:
    for found in ("healthy", "healthy", "unhealthy"):
        engine.containers.set_health(c, found)


def another_is_run(engine: FakeEngine, c: str) -> None:
    engine.containers.run(name="other", networks=("bridge", "back"))


NET = "network disconnect"
UPDATE = "update"

EVENTS: list[tuple[Work, list[tuple[tuple[str, ...], list[str]]]]] = [
    (
        another_is_run,
        [
            (DOCKER, ["create", "network connect", "network connect", "start"]),
            (PODMAN, ["create", "init", "start"]),
        ],
    ),
    (
        stops,
        [
            (OLD, ["kill 15", "die", NET, "stop"]),
            (NEW, ["kill 15", NET, "stop", "die"]),
            (("podman-4",), ["die", "cleanup"]),
            (("podman-5",), ["stop", "die", "cleanup"]),
        ],
    ),
    (
        restarts,
        [
            (OLD, ["kill 15", "die", NET, "stop", "network connect", "start", "restart"]),
            (NEW, ["kill 15", NET, "stop", "die", "network connect", "start", "restart"]),
            (PODMAN, ["restart", "die", "init", "start"]),
        ],
    ),
    (
        is_killed,
        [
            (OLD, ["kill 9", "die", NET]),
            (NEW, ["kill 9", NET, "die"]),
            (PODMAN, ["kill", "die", "cleanup"]),
        ],
    ),
    (
        is_removed,
        [
            (OLD, ["kill 9", "die", NET, "destroy"]),
            (NEW, ["kill 9", NET, "die", "destroy"]),
            (PODMAN, ["die", "remove"]),
        ],
    ),
    (
        crashes,
        [
            (OLD, [UPDATE, "die", NET, "network connect", "start"]),
            (NEW, [UPDATE, NET, "die", "network connect", "start"]),
            (PODMAN, [UPDATE, "die", "restart", "init", "start"]),
        ],
    ),
    (is_signalled, [(DOCKER, ["kill 1"]), (PODMAN, ["kill"])]),
    (
        is_told_and_ends,
        [
            (OLD, ["kill 15", "die", NET, "stop"]),
            (NEW, ["kill 15", NET, "stop", "die"]),
            (("podman-4",), ["die", "cleanup"]),
            (("podman-5",), ["stop", "die", "cleanup"]),
        ],
    ),
    (
        is_on_two_networks_and_ends,
        [
            (OLD, ["network connect", "die", NET, NET]),
            (NEW, ["network connect", NET, NET, "die"]),
            (PODMAN, ["network connect", "die", "cleanup"]),
        ],
    ),
    (
        moves,
        [
            (("docker-20", "docker-26"), ["network connect", NET, NET]),
            (("docker-28", "docker-29", *PODMAN), ["network connect", NET]),
        ],
    ),
    (moves_while_stopped, [(DOCKER, ["create"]), (PODMAN, ["create", "network connect"])]),
    (
        is_probed,
        [
            (DOCKER, ["health_status: healthy", "health_status: unhealthy"]),
            (PODMAN, ["health_status", "health_status", "health_status"]),
        ],
    ),
]


@pytest.mark.parametrize(
    ("kind", "work", "expected"),
    [
        pytest.param(KINDS[name], work, expected, id=f"{work.__name__}-{name}")
        for work, rows in EVENTS
        for names, expected in rows
        for name in names
    ],
)
@in_no_time
async def test_each_engine_tells_what_happens_in_its_own_order(
    kind: Kind, work: Work, expected: list[str], tmp_path: Path
) -> None:
    # A follower that knows one order alone is deaf on the other engines.
    async with running(kind, tmp_path) as (engine, docker):
        engine.networks.create("back")
        container = engine.containers.run(name="web")
        await all_told(engine)
        async with docker.listen() as stream:
            work(engine, container)
            await all_told(engine)
            engine.cut_streams()
            assert words(await stream.rest()) == expected


async def all_told(engine: FakeEngine) -> None:
    await until(lambda: not engine.events.waiting)


def test_every_kind_is_in_each_row_of_the_table() -> None:
    # One that is left out is tested as if it were none.
    for work, rows in EVENTS:
        assert sorted(name for names, _ in rows for name in names) == sorted(KINDS), work.__name__


@each([(OLD, []), (NEW, ["stop", "die"]), (PODMAN, [])])
@in_no_time
async def test_the_end_of_a_container_is_told_bit_by_bit(kind: Kind, expected: list[str], tmp_path: Path) -> None:
    # From Engine 23 on `disconnect` comes some 60 ms before `die`, when the list is right already.
    async with running(kind, tmp_path) as (engine, docker):
        container = engine.containers.run(name="web")
        await all_told(engine)
        if kind.events.polled_s:
            return  # all of it comes late, and at once
        async with docker.listen() as stream:
            engine.containers.stop(container)
            assert engine.events.waiting == len(expected)
            (*_, first) = await stream.take(2)
            assert first["Action"] == ("disconnect" if expected else "die")
            assert words(await stream.take(2)) == (expected or [NET, "stop"])


@in_no_time
async def test_what_happens_next_is_told_after_it(tmp_path: Path) -> None:
    # A removal before the death of what was removed would be the end of no container.
    async with running(DOCKER_26, tmp_path) as (engine, docker), docker.listen() as stream:
        engine.containers.remove(engine.containers.run(), force=True)
        assert engine.events.waiting
        told = words(await stream.take(7))
    assert told == ["create", "network connect", "start", "kill 9", NET, "die", "destroy"]


@in_no_time
async def test_an_event_that_is_told_late_has_the_time_at_which_it_happened(tmp_path: Path) -> None:
    # By that time a follower knows whether it is of this life or of the one before.
    async with running(PODMAN_5, tmp_path) as (engine, docker), docker.listen() as stream:
        before = engine.state.clock_ns()
        engine.containers.run()
        after = engine.state.clock_ns()
        assert engine.events.waiting == 3
        assert all(before <= event["timeNano"] <= after for event in await stream.take(3))


@in_no_time
async def test_an_engine_that_goes_down_tells_nothing_later(tmp_path: Path) -> None:
    # What it had not told yet is known to nobody, also not to the next one.
    async with running(DOCKER_26, tmp_path) as (engine, docker):
        engine.containers.die(engine.containers.run())
        assert engine.events.waiting
        await engine.go_down()
        assert not engine.events.waiting
        await engine.come_back()
        assert await docker.past() == []


# -- events in detail


@each([(DOCKER, [None]), (("podman-4",), ["starting", "healthy"]), (("podman-5",), ["healthy", "healthy"])])
@in_no_time
async def test_podman_tells_the_health_beside_the_action(
    kind: Kind, expected: list[str | None], tmp_path: Path
) -> None:
    # Neither in the action nor among the attributes, at each probe, and 4.3 tells what the one before it found.
    async with running(kind, tmp_path) as (engine, docker):
        container = engine.containers.run(health="starting")
        await all_told(engine)
        async with docker.listen(filters=json.dumps({"event": ["health_status"]})) as stream:
            engine.containers.set_health(container, "healthy")
            engine.containers.exec_probe(container)
            await all_told(engine)
            engine.cut_streams()
            events = await stream.rest()
    assert [event.get("HealthStatus") for event in events if event["Action"].startswith("health")] == expected
    assert all("HealthStatus" not in event["Actor"]["Attributes"] for event in events)


@each([((*DOCKER, "podman-5"), ["network create", "network destroy"]), (("podman-4",), [])])
@in_no_time
async def test_whether_networks_are_told_of(kind: Kind, expected: list[str], tmp_path: Path) -> None:
    # With Podman the network is the actor then, so that it looks like a container.
    async with running(kind, tmp_path) as (engine, docker), docker.listen() as stream:
        network = engine.networks.create("back")
        engine.networks.remove("back")
        await all_told(engine)
        engine.cut_streams()
        events = await stream.rest()
    assert words(events) == expected
    assert {event["Actor"]["ID"] for event in events} <= {network}


@each(
    [
        (DOCKER, ({}, {"exitCode": "3"})),
        (
            ("podman-4",),
            ({"podId": "", "containerExitCode": "0"}, {"podId": "", "containerExitCode": "3", "exitCode": "3"}),
        ),
        (("podman-5",), ({"podId": ""}, {"podId": "", "containerExitCode": "3", "exitCode": "3"})),
    ]
)
@in_no_time
async def test_what_else_stands_among_the_attributes(
    kind: Kind, expected: tuple[dict[str, str], dict[str, str]], tmp_path: Path
) -> None:
    # By `podId` Podman's events are known, whoever they are about; labels are there in any case.
    filters = json.dumps({"event": ["create", "die", "died"]})
    async with running(kind, tmp_path) as (engine, docker), docker.listen(filters=filters) as stream:
        engine.containers.die(engine.containers.run(name="web", labels={"tier": "front"}), code=3)
        told = [event["Actor"]["Attributes"] for event in await stream.take(2)]
    plain = {"image": "app", "name": "web", "tier": "front"}
    assert told == [plain | each for each in expected]


@each(
    [
        (DOCKER, ({"container", "name", "type"}, "network")),
        (("podman-4",), ({"containerExitCode", "image", "name", "podId"}, "container")),
        (("podman-5",), ({"image", "name", "network", "podId"}, "container")),
    ]
)
@in_no_time
async def test_whom_the_event_of_a_network_is_about(kind: Kind, expected: tuple[set[str], str], tmp_path: Path) -> None:
    # Podman 4.3 does not even say which network it was.
    async with running(kind, tmp_path) as (engine, docker):
        ids = {"network": engine.networks.create("back"), "container": engine.containers.run(name="web")}
        await all_told(engine)
        async with docker.listen() as stream:
            engine.networks.connect("web", "back")
            event = await stream.next()
    assert event["Type"] == "network"
    attributes = event["Actor"]["Attributes"]
    assert (attributes.keys(), event["Actor"]["ID"]) == (expected[0], ids[expected[1]])
    if "network" in attributes:
        assert attributes["network"] == "back"


@each([(("docker-20", "docker-26", "docker-28", *PODMAN), True), (("docker-29",), False)])
@in_no_time
async def test_the_oldest_fields_of_events_went_with_api_1_52(kind: Kind, expected: bool, tmp_path: Path) -> None:
    # They stood before `Type`, and a decoder may have leant on them.
    async with running(kind, tmp_path) as (engine, docker):
        for version in ("", "/v1.44" if kind is DOCKER_29 else "/v1.41"):
            async with docker.session.get(f"{version}/events") as response:
                await until(lambda: engine.events.listeners)
                engine.containers.create()
                await all_told(engine)
                engine.cut_streams()
                event = json.loads(await response.content.readline())
            assert ("status" in event) is (expected or bool(version)), version


# -- filters


@each([(DOCKER, 200), (PODMAN, 500)])
@in_no_time
async def test_an_unknown_filter_is_ignored_or_refused(kind: Kind, expected: int, tmp_path: Path) -> None:
    # Podman's whole stream fails for one key that it does not know.
    query = {"filters": json.dumps({"foo": ["x"]})}
    async with running(kind, tmp_path) as (_engine, docker):
        async with docker.session.get("/events", params=query) as response:
            assert response.status == expected
            if expected == 500:
                assert (await response.json())["message"] == "foo is an invalid filter"
        status, answer = await docker.ask("GET", "/containers/json", **query)
        assert status == (500 if expected == 500 else 400)
        assert "foo" in answer["message"]


@pytest.mark.parametrize("wanted", [["die"], ["died"], ["die", "died"], ["re"], ["re", "health_status"]], ids=" ".join)
@pytest.mark.parametrize("name", KINDS)
@in_no_time
async def test_which_words_let_a_death_through(name: str, wanted: list[str], tmp_path: Path) -> None:
    # Podman before 4.4 takes `die`, and sends nothing; `health_status` makes prefixes of all words, but not there.
    kind = KINDS[name]
    async with running(kind, tmp_path) as (engine, docker):
        container = engine.containers.run()
        await all_told(engine)
        async with docker.listen(filters=json.dumps({"event": wanted})) as stream:
            engine.containers.die(container)
            engine.containers.rename(container, "other")
            await all_told(engine)
            engine.cut_streams()
            told = words(await stream.rest())
    deaths = {"podman-4": {"died"}, "podman-5": {"die", "died"}}.get(name, {"die"})
    prefix = "health_status" in wanted and name in DOCKER
    assert told == (["die"] if deaths & {*wanted} else ["rename"] if prefix else [])


# -- versions


@each(
    [
        (("docker-20",), ("1.41", "1.12")),
        (("docker-26",), ("1.45", "1.24")),
        (("docker-28",), ("1.51", "1.24")),
        (("docker-29",), ("1.52", "1.44")),
        (PODMAN, ("1.41", "1.24")),
    ]
)
@in_no_time
async def test_each_engine_says_which_versions_it_speaks(kind: Kind, expected: tuple[str, str], tmp_path: Path) -> None:
    # lbwatch must find one that both know.
    async with running(kind, tmp_path) as (_, docker):
        async with docker.session.get("/_ping") as response:
            assert response.headers["Api-Version"] == expected[0]
            server = "Libpod" if kind.name in PODMAN else "Docker"
            assert response.headers["Server"] == f"{server}/{kind.version} (linux)"
            assert response.headers.get("Libpod-API-Version") == (kind.version if kind.name in PODMAN else None)
        _, version = await docker.ask("GET", "/version")
    assert (version["ApiVersion"], version["MinAPIVersion"]) == expected


@each([(DOCKER, 400), (PODMAN, 200)])
@in_no_time
async def test_versions_that_it_does_not_speak_are_refused_but_by_podman(
    kind: Kind, expected: int, tmp_path: Path
) -> None:
    # Older ones and newer ones; Podman answers v1.99 as it does any.
    async with running(kind, tmp_path) as (_, docker):
        for version in ("1.11", "1.99"):
            async with docker.session.get(f"/v{version}/containers/json") as response:
                assert response.status == expected
                if expected == 400:
                    text = await response.text()
                    in_text = kind.name in ("docker-28", "docker-29")
                    assert text.startswith("client version" if in_text else '{"message":"client version')
                    assert ("too old. Minimum supported API version is" in text) is (version == "1.11")


@pytest.mark.parametrize(
    ("kind", "accept", "expected"),
    [
        ("docker-20", "application/json-seq", "application/json"),
        ("docker-28", "application/json-seq", "application/json"),
        ("podman-5", "application/json-seq", "application/json"),
        ("docker-29", "*/*", kinds.NDJSON),
        ("docker-29", "application/*", kinds.NDJSON),
        ("docker-29", "text/*", "application/json"),
        ("docker-29", "application/json", "application/json"),
        ("docker-29", kinds.JSONL, "application/json"),
        ("docker-29", kinds.JSON_SEQ, kinds.JSON_SEQ),
        ("docker-29", f"{kinds.JSON_SEQ}, {kinds.NDJSON}", kinds.NDJSON),
        ("docker-29", f"{kinds.JSON_SEQ}, {kinds.NDJSON};q=0.5", kinds.JSON_SEQ),
        ("docker-29", f"{kinds.JSON_SEQ};q=0, */*;q=0.1", kinds.NDJSON),
        ("1.53", f"{kinds.JSON_SEQ}, {kinds.JSONL}", kinds.JSONL),
        ("1.53", "*/*", kinds.JSONL),
    ],
    ids=str,
)
@in_no_time
async def test_events_come_in_the_framing_that_is_asked_for(
    kind: str, accept: str, expected: str, tmp_path: Path
) -> None:
    # Up to 28 `Accept` is not read; from 29 on a record may begin with a separator.
    later = replace(DOCKER_29.http, api="1.53", stream_types=(kinds.JSONL, kinds.NDJSON, kinds.JSON_SEQ))
    known = KINDS | {"1.53": replace(DOCKER_29, http=later)}
    async with (
        running(known[kind], tmp_path) as (engine, docker),
        docker.session.get("/events", headers={"Accept": accept}) as response,
    ):
        assert response.headers["Content-Type"] == expected
        await until(lambda: engine.events.listeners)
        engine.containers.create(name="web-1")
        engine.containers.create(name="web-2")
        await all_told(engine)
        engine.cut_streams()
        records = (await response.read()).splitlines(keepends=True)
    assert len(records) == 2
    for record in records:
        assert record.startswith(b"\x1e{" if expected == kinds.JSON_SEQ else b"{")
        assert json.loads(record.lstrip(b"\x1e"))["Action"] == "create"


# -- list and inspect


LAGS: dict[str, tuple[Work, float, float]] = {  # on 20.10, and on those after it; on Podman nothing lags
    "ended": (lambda engine, c: engine.containers.die(c), 0.06, 0.06),
    "paused": (lambda engine, c: engine.containers.pause(c), 0.06, 0.012),
    "connected": (lambda engine, c: engine.networks.connect(c, "back"), 0.06, 0.011),
    "renamed": (lambda engine, c: engine.containers.rename(c, "other"), 0.06, 0.06),
    "started": (lambda engine, c: engine.containers.start("idle"), 0.06, 0.0),
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("change", LAGS)
@in_no_time
async def test_the_list_lags_behind_what_and_for_how_long(change: str, name: str, tmp_path: Path) -> None:
    # A list at `die` was stale 60 of 60 times on 20.10 and never on 26; on Podman nothing lags.
    now = [100.0]
    act, on_old, on_new = LAGS[change]
    lag_s = on_old if name in OLD else on_new if name in NEW else 0.0
    async with running(KINDS[name], tmp_path, monotonic=lambda: now[0]) as (engine, docker):
        engine.networks.create("back")
        container = engine.containers.run(name="web")
        engine.containers.create(name="idle")
        now[0] += 1.0
        before = await docker.ask("GET", "/containers/json", all="1")
        act(engine, container)
        assert (same(before, await docker.ask("GET", "/containers/json", all="1"))) is (lag_s > 0)
        now[0] += lag_s + 1e-6
        assert not same(before, await docker.ask("GET", "/containers/json", all="1"))


def same(before: Any, after: Any) -> bool:
    """Whether two lists say the same but for the seconds in their words."""
    return [{**entry, "Status": ""} for entry in before[1]] == [{**entry, "Status": ""} for entry in after[1]]


@in_no_time
async def test_a_lag_that_is_set_holds_for_every_change(tmp_path: Path) -> None:
    # Tests that need a list that lags for good have one on any engine.
    async with running(PODMAN_5, tmp_path, lag_s=FOREVER_S) as (engine, docker):
        container = engine.containers.run(name="web")
        assert await docker.listed() == {}
        await docker.inspect(container)
        assert list(await docker.listed()) == ["web"]


@each([(DOCKER, "bridge"), (PODMAN, "podman")])
@in_no_time
async def test_what_the_default_network_is_called(kind: Kind, expected: str, tmp_path: Path) -> None:
    # Podman calls one network by two names.
    async with running(kind, tmp_path, lag_s=0.0) as (engine, docker):
        container = engine.containers.run(name="web")
        inspected = networks_of(await docker.inspect(container))
        listed = (await docker.listed())["web"]["NetworkSettings"]["Networks"]
        _, networks = await docker.ask("GET", "/networks")
    assert list(inspected) == list(listed) == [expected]
    by_id = {network["Id"]: network["Name"] for network in networks}
    if kind is PODMAN_4:
        assert inspected[expected]["NetworkID"] == "podman", "before 5 it has the name for an id"
    else:
        assert by_id[inspected[expected]["NetworkID"]] == "bridge"


@each([(DOCKER, False), (PODMAN, True)])
@in_no_time
async def test_whether_a_guest_shows_its_owners_addresses(kind: Kind, expected: bool, tmp_path: Path) -> None:
    # With Docker it shows none, so that the owner must be looked up.
    async with running(kind, tmp_path, lag_s=0.0) as (engine, docker):
        owner = engine.containers.run(name="owner")
        guest = engine.containers.run(name="guest", network_mode=f"container:{owner}")
        shown = networks_of(await docker.inspect(owner)) if expected else {}
        assert networks_of(await docker.inspect(guest)) == shown
        assert (await docker.listed())["guest"]["NetworkSettings"]["Networks"] == shown
        assert (await docker.inspect(guest))["HostConfig"]["NetworkMode"] == f"container:{owner}"
        engine.containers.remove(owner, force=True)
        assert networks_of(await docker.inspect(guest)) == {}


@each([(DOCKER, True), (("podman-4",), False), (("podman-5",), True)])
@in_no_time
async def test_whether_host_is_a_network(kind: Kind, expected: bool, tmp_path: Path) -> None:
    # Podman 4.3 names none.
    async with running(kind, tmp_path) as (engine, docker):
        container = engine.containers.run(network_mode="host")
        assert list(networks_of(await docker.inspect(container))) == (["host"] if expected else [])


@each([(DOCKER, True), (PODMAN, False)])
@in_no_time
async def test_what_podmans_list_leaves_out(kind: Kind, expected: bool, tmp_path: Path) -> None:
    # No mode, so that a guest looks like any; and no health in words.
    async with running(kind, tmp_path, lag_s=0.0) as (engine, docker):
        engine.containers.set_health(engine.containers.run(name="web"), "healthy")
        entry = (await docker.listed())["web"]
        assert (await docker.inspect("web"))["State"]["Health"]["Status"] == "healthy"
    assert ("HostConfig" in entry, "(healthy)" in entry["Status"]) == (expected, expected)


@each([(DOCKER, (None, "SIGQUIT")), (PODMAN, ("15", "3"))])
@in_no_time
async def test_how_the_stop_signal_is_said(kind: Kind, expected: tuple[str | None, str], tmp_path: Path) -> None:
    # A number as a text, and always there.
    async with running(kind, tmp_path) as (engine, docker):
        said = [
            (await docker.inspect(engine.containers.create(stop_signal=signal)))["Config"].get("StopSignal")
            for signal in (None, "SIGQUIT")
        ]
    assert tuple(said) == expected


@each([(DOCKER, "unhealthy"), (PODMAN, "healthy")])
@in_no_time
async def test_what_pausing_does_to_the_health(kind: Kind, expected: str, tmp_path: Path) -> None:
    # With Docker a pause alone makes a container unhealthy.
    async with running(kind, tmp_path) as (engine, docker):
        container = engine.containers.run(health="healthy")
        engine.containers.pause(container)
        assert (await docker.inspect(container))["State"]["Health"]["Status"] == expected


@each([(DOCKER, "No such container: nobody"), (PODMAN, "no container with name or ID")])
@in_no_time
async def test_how_it_says_that_there_is_no_container(kind: Kind, expected: str, tmp_path: Path) -> None:
    # Only these words are an absence.
    async with running(kind, tmp_path) as (_, docker):
        status, answer = await docker.ask("GET", "/containers/nobody/json")
    assert status == 404
    assert expected in answer["message"]
    assert "no such container" in answer["message"].lower()


# -- the end of the engine


@each([(OLD, ("healthy", True)), (NEW, ("starting", True)), (PODMAN, ("healthy", False))])
@in_no_time
async def test_what_a_restart_of_the_engine_changes(kind: Kind, expected: tuple[str, bool], tmp_path: Path) -> None:
    # Under live-restore 26 forgets what probes found; Podman is no daemon at all.
    async with running(kind, tmp_path) as (engine, docker):
        container = engine.containers.run(health="healthy")
        bridge = engine.networks.find("bridge").id
        await engine.go_down("live")
        await engine.come_back()
        health = (await docker.inspect(container))["State"]["Health"]["Status"]
        assert (health, engine.networks.find("bridge").id != bridge) == expected


@each([(OLD, True), ((*NEW, *PODMAN), False)])
@in_no_time
async def test_what_is_kept_open_when_it_is_told_to_stop(kind: Kind, expected: bool, tmp_path: Path) -> None:
    # The stream goes on to the end; on 20.10 questions on open connections are answered too, on 26 none is.
    async with running(kind, tmp_path) as (engine, docker):
        container = engine.containers.run(name="web")
        connector = aiohttp.UnixConnector(path=str(engine.socket))
        async with aiohttp.ClientSession("http://docker", connector=connector) as session:
            async with session.get("/_ping") as response:
                assert await response.text() == "OK"  # and the connection is kept
            async with docker.listen() as stream:
                await engine.begin_to_stop()
                assert not engine.socket.exists()
                with pytest.raises(aiohttp.ClientConnectorError):
                    await docker.ask("GET", "/_ping")
                engine.containers.die(container)
                assert await heard(stream.next) in ("die", "disconnect", "create")
                assert await is_answered(session, f"/containers/{container}/json") is expected


async def heard(ask: Callable[[], Awaitable[dict[str, Any]]]) -> str:
    return str((await ask())["Action"])


async def is_answered(session: aiohttp.ClientSession, path: str) -> bool:
    try:
        async with asyncio.timeout(DEADLINE_S), session.get(path) as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


def test_the_default_is_the_engine_that_the_demo_shows(tmp_path: Path) -> None:
    # Who says nothing gets what was there before kinds were: all at once, and the first engine's order.
    assert FakeEngine(socket=tmp_path / "s").kind is DOCKER_20
    assert (DOCKER_20.events.exit_takes_s, DOCKER_20.events.polled_s) == (0.0, 0.0)
    assert PODMAN_4.events.polled_s == 0.25
