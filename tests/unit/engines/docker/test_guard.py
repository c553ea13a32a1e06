"""Two engines in turn behind one address: what was known stays, it is told, and all goes on by itself."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import structlog
from answers import connected
from relay import Relay
from sources import WEB, renew_stream
from waiting import eventually, never

from lbwatch.core.errors import EngineChangedError
from lbwatch.core.model import Engine
from lbwatch.engines.docker.address import engine_address
from lbwatch.engines.docker.client import EngineClient
from lbwatch.engines.docker.guard import Guard
from lbwatch.engines.docker.source import DockerSource
from lbwatch.engines.fake import FakeEngine
from lbwatch.engines.fake.faults import respond_with

HOUR_NS = 3600 * 10**9
INFO = "GET /info"


@dataclass
class Pair:
    """A source at a relay with two engines; the containers of both were created an hour ago."""

    relay: Relay
    ours: FakeEngine
    theirs: FakeEngine
    source: DockerSource
    seen: list[frozenset[str]] = field(default_factory=list)  # who ran, at each change

    def running(self) -> frozenset[str]:
        snapshot = self.source.snapshot()
        containers = snapshot.containers.values() if snapshot else ()
        return frozenset(each.name for each in containers if each.status == "running" and each.endpoints)


@asynccontextmanager
async def pair_of(
    folder: Path,
    *,
    asks_identity: bool,
    created_ago_ns: int = HOUR_NS,
    resync_interval_s: float = 0.3,
    prepare: Callable[[FakeEngine, FakeEngine], None] = lambda ours, theirs: None,
) -> AsyncIterator[Pair]:
    ago_ns = created_ago_ns

    def clock_ns() -> int:
        return time.time_ns() - ago_ns

    ours = FakeEngine(socket=folder / "a.sock", seed=1, clock_ns=clock_ns)
    theirs = FakeEngine(socket=folder / "b.sock", seed=2, clock_ns=clock_ns)
    for name in ("web-1", "web-2"):
        ours.containers.run(name=name, labels=WEB)
    theirs.containers.run(name="other", labels=WEB)
    ago_ns = 0
    prepare(ours, theirs)
    async with ours, theirs, Relay(folder / "front.sock", ours.socket) as relay:
        client = EngineClient(engine_address(relay.url, environ={}))
        source = DockerSource(
            client,
            engine=Engine(name="engine"),
            prefix="lbwatch",
            expose_all=False,
            resync_interval_s=resync_interval_s,
            drain_timeout_s=60.0,
            random=lambda: 0.5,
            asks_identity=asks_identity,
        )
        pair = Pair(relay=relay, ours=ours, theirs=theirs, source=source)
        task = asyncio.create_task(source.run(lambda *, heard_at=None: pair.seen.append(pair.running())))
        try:
            await eventually(lambda: pair.running() == {"web-1", "web-2"}, what="the first engine is followed")
            pair.seen.clear()
            yield pair
        finally:
            task.cancel()
            await asyncio.wait([task])
            await client.close()


def error_of(pair: Pair) -> str:
    return pair.source.status().error or ""


ADDRESS = "another engine answers at engine: "


@pytest.mark.parametrize("asks_identity", [False, True])
async def test_two_engines_in_turn_never_shrink_what_is_known(tmp_path: Path, asks_identity: bool) -> None:
    """It gave servers 2, 1, 2, 1 and a reload each time, while all was said to be ready."""
    with structlog.testing.capture_logs() as logs:
        async with pair_of(tmp_path, asks_identity=asks_identity) as pair:
            for turn in range(2):
                pair.relay.move(pair.theirs.socket)
                await eventually(lambda: ADDRESS in error_of(pair), what="it is told")
                await never(lambda: ADDRESS not in error_of(pair), during=0.5, what="it was taken back")
                pair.relay.move(pair.ours.socket)
                await eventually(lambda: not error_of(pair), what="it is followed again")
                pair.ours.containers.run(name=f"new-{turn}", labels=WEB)
                await eventually(lambda turn=turn: f"new-{turn}" in pair.running(), what="its events are heard")
            assert all(names >= {"web-1", "web-2"} for names in pair.seen), pair.seen
            assert not any("other" in names for names in pair.seen), "its own were taken in"
    told = [line for line in logs if line["event"] == "source.engine_changed"]
    assert len(told) == 2, "once each"
    assert all("restart lbwatch if that is right" in line["error"] for line in told)


async def test_an_engine_that_came_with_the_wrong_connection_alone_is_found_out(tmp_path: Path) -> None:
    """A balancer gives each connection to another engine, and the stream that is there holds."""
    async with pair_of(tmp_path, asks_identity=False) as pair:
        pair.relay.target = pair.theirs.socket
        await pair.source._client._reach.close()
        await eventually(lambda: ADDRESS in error_of(pair), what="it is told")
        pair.relay.move(pair.ours.socket)
        await eventually(lambda: not error_of(pair), what="it is followed again")
        assert all(names >= {"web-1", "web-2"} for names in pair.seen), pair.seen


def answers_info(engine: FakeEngine, info: Callable[[], str], *, status: int = 200) -> None:
    engine.fault = lambda request: respond_with(info(), status=status) if request == INFO else None


async def test_an_engine_without_containers_is_told_by_its_id(tmp_path: Path) -> None:
    """Nothing in its list says that it is another one; on the first one they were all removed, as far as that shows."""
    async with pair_of(tmp_path, asks_identity=True, prepare=ids) as pair:
        pair.theirs.containers.remove("other", force=True)
        pair.theirs.containers.run(name="young", labels=WEB)
        pair.relay.move(pair.theirs.socket)
        await eventually(lambda: f"{ADDRESS}its id is B, and was A" in error_of(pair), what="it is told")
        answers_info(pair.theirs, lambda: "{}", status=500)  # it says no more
        await never(lambda: ADDRESS not in error_of(pair), during=1.0, what="it was taken back")
        assert pair.running() == {"web-1", "web-2"}
        pair.relay.move(pair.ours.socket)
        await eventually(lambda: not error_of(pair), what="it is followed again")
        assert all(names == {"web-1", "web-2"} for names in pair.seen), pair.seen


def ids(ours: FakeEngine, theirs: FakeEngine) -> None:
    answers_info(ours, lambda: '{"ID": "A"}')
    answers_info(theirs, lambda: '{"ID": "B"}')


SHAPES = [
    "",
    "null",
    "[]",
    "{",
    '{"ID": 5}',
    '{"ID": null}',
    '{"Name": {}}',
    "[" * 100_000,
    '{"ID": "%s"}' % ("x" * 10**6),
]


@pytest.mark.parametrize("body", SHAPES, ids=lambda body: body[:12])
async def test_info_of_any_shape_spoils_nothing(tmp_path: Path, body: str) -> None:
    """It says who the engine is, and all else goes on without it."""
    async with pair_of(
        tmp_path, asks_identity=True, prepare=lambda ours, theirs: answers_info(ours, lambda: body)
    ) as pair:
        pair.ours.containers.run(name="new", labels=WEB)
        await eventually(lambda: "new" in pair.running())
        assert not error_of(pair)


@pytest.mark.parametrize("status", [403, 404, 500])
async def test_who_keeps_info_to_himself_is_asked_once(tmp_path: Path, status: int) -> None:
    """A proxy that allows four requests logs each other one."""
    async with pair_of(
        tmp_path, asks_identity=True, prepare=lambda ours, theirs: answers_info(ours, lambda: "no", status=status)
    ) as pair:
        for _ in range(3):
            await renew_stream(pair.ours)
        assert pair.ours.requests[INFO] == 1


async def test_ids_that_are_made_up_for_each_answer_are_no_other_engine(tmp_path: Path) -> None:
    """Podman's compatible API makes up a new one each time."""
    numbers = itertools.count()
    async with pair_of(
        tmp_path,
        asks_identity=True,
        prepare=lambda ours, theirs: answers_info(ours, lambda: json.dumps({"ID": str(next(numbers)), "Name": "host"})),
    ) as pair:
        for _ in range(3):
            await renew_stream(pair.ours)
        pair.ours.containers.run(name="new", labels=WEB)
        await eventually(lambda: "new" in pair.running())
        assert not error_of(pair)


@pytest.mark.parametrize("asks_identity", [False, True])
async def test_a_deploy_while_the_engine_is_away_is_no_other_engine(tmp_path: Path, asks_identity: bool) -> None:
    """`docker compose down` and `up` leave not one container that was there."""
    with structlog.testing.capture_logs() as logs:
        async with pair_of(tmp_path, asks_identity=asks_identity, created_ago_ns=0) as pair:
            for turn in range(3):
                await pair.ours.go_down("live")
                for each in list(pair.ours.state.containers.values()):
                    pair.ours.containers.remove(each.id, force=True)
                pair.ours.containers.run(name=f"new-{turn}", labels=WEB)
                pair.relay.cut()
                await pair.ours.come_back()
                await eventually(lambda turn=turn: pair.running() == {f"new-{turn}"}, what="the new one is followed")
                await eventually(lambda: not error_of(pair), what="the stream is back")
    assert "source.engine_changed" not in {line["event"] for line in logs}


@asynccontextmanager
async def guard_of(folder: Path) -> AsyncIterator[tuple[Guard, Relay, FakeEngine, FakeEngine]]:
    """A guard alone, that knows our engine's containers; both engines' are an hour old."""
    ago_ns = HOUR_NS

    def clock_ns() -> int:
        return time.time_ns() - ago_ns

    ours = FakeEngine(socket=folder / "a.sock", seed=1, clock_ns=clock_ns, lag_s=0.0)
    theirs = FakeEngine(socket=folder / "b.sock", seed=2, clock_ns=clock_ns, lag_s=0.0)
    ours.containers.run(name="web", labels=WEB)
    theirs.containers.run(name="other", labels=WEB)
    ago_ns = 0
    async with ours, theirs, Relay(folder / "front.sock", ours.socket) as relay, connected(relay.url) as client:
        await client.ping()
        listed = await client.list_containers()
        known = {each.id: each for each in listed}
        guard = Guard(
            client,
            name="engine",
            asks_info=False,
            known=lambda: known,
            routed=lambda each: True,
            changed=lambda: None,
        )
        guard.judge(listed, asked_at=asyncio.get_running_loop().time())
        yield guard, relay, ours, theirs


async def test_an_absence_between_two_streams_is_not_believed_before_the_engine_is(tmp_path: Path) -> None:
    """Another engine has none of our containers: each look would take one out."""
    async with guard_of(tmp_path) as (guard, relay, ours, theirs):
        (id,) = ours.state.containers
        relay.move(theirs.socket)
        with pytest.raises(EngineChangedError):
            await guard.inspect(id, connected=False)
        relay.move(ours.socket)
        await guard.verify()
        found = await guard.inspect(id, connected=False)
        assert found is not None
        assert found.name == "web"
        ours.containers.remove(id, force=True)
        assert await guard.inspect(id, connected=False) is None


async def test_while_another_engine_answers_it_is_asked_for_no_container(tmp_path: Path) -> None:
    """Its containers would be taken in beside ours."""
    async with guard_of(tmp_path) as (guard, relay, _, theirs):
        (id,) = theirs.state.containers
        relay.move(theirs.socket)
        for _ in range(2):
            with pytest.raises(EngineChangedError):
                await guard.verify()
        with pytest.raises(EngineChangedError):
            await guard.inspect(id, connected=True)
        assert theirs.requests["GET /containers/ID/json"] == 0


async def test_what_only_looks_never_asks(tmp_path: Path) -> None:
    """It ends before there could be another engine."""
    async with pair_of(tmp_path, asks_identity=False) as pair:
        assert pair.ours.requests[INFO] == 0
