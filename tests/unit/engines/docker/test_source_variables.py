"""The source where variables of the environment ask: it is in no list and in no event, so that each look is counted."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from sources import INSPECT, LIST, WEB, container, followed, is_in, is_running, quiet, renew_stream
from waiting import eventually

from lbwatch.core.model import ContainerStatus
from lbwatch.engines.docker.source import DockerSource
from lbwatch.engines.fake import FakeEngine
from lbwatch.engines.fake.faults import respond_with

HOST = "VIRTUAL_HOST=foo.tld"
SECRET = "s3cret"
MANY = 1000

Follow = Callable[..., AbstractAsyncContextManager[DockerSource]]


@pytest.fixture
def follow(engine: FakeEngine) -> Follow:
    engine.replica.lag_s = 0

    @asynccontextmanager
    async def following(*, resync_interval_s: float = 300.0) -> AsyncIterator[DockerSource]:
        variables = frozenset(("VIRTUAL_HOST", "VIRTUAL_PORT"))
        async with followed(engine, variables=variables, resync_interval_s=resync_interval_s) as source:
            await eventually(source.snapshot, what="the first full look")
            yield source

    return following


def env_of(source: DockerSource, name: str) -> tuple[tuple[str, str], ...]:
    found = container(source, name)
    return () if found is None else found.env


async def test_of_an_environment_only_what_is_asked_for_is_known(engine: FakeEngine, follow: Follow) -> None:
    """All else may be a secret: it is in nothing that could be logged or shown."""
    engine.containers.run(name="app", env=[HOST, f"PASSWORD={SECRET}"])
    engine.containers.run(name="db", env=[f"PASSWORD={SECRET}"])
    async with follow() as source:
        assert env_of(source, "app") == (("VIRTUAL_HOST", "foo.tld"),)
        assert env_of(source, "db") == ()
        assert SECRET not in repr(source.snapshot())
        found = await source.look(engine.containers.find("app").id)
        assert found is not None
        assert SECRET not in repr(found)


async def test_without_variables_no_environment_is_known(engine: FakeEngine) -> None:
    """Nobody asked for it, and unlabelled containers cost no look."""
    engine.replica.lag_s = 0
    engine.containers.run(name="app", env=[HOST])
    engine.containers.run(name="web-1", labels=WEB, env=[HOST])
    async with followed(engine) as source:
        await eventually(lambda: is_running(source, "web-1"))
        assert env_of(source, "web-1") == ()
        await quiet(engine)
        found = container(source, "app")
        assert found is not None
        assert found.started_ns == 0, "that is in no list: nobody looked at it"


async def test_what_has_a_variable_is_followed_as_what_has_a_label(engine: FakeEngine, follow: Follow) -> None:
    """Its start adds it, a network that it joins is one it is reached by, its stop signal drains, and its death ends it."""
    async with follow() as source:
        id = engine.containers.run(name="app", env=[HOST])
        await eventually(lambda: is_running(source, "app"), within=1)
        engine.networks.create("front")
        engine.networks.connect("app", "front")
        await eventually(lambda: len(getattr(container(source, "app"), "endpoints", ())) == 2, within=1)
        engine.networks.disconnect("app", "bridge")
        await eventually(lambda: len(getattr(container(source, "app"), "endpoints", ())) == 1, within=1)
        engine.containers.pause("app")
        await eventually(lambda: is_in(source, "app", ContainerStatus.PAUSED), within=1)
        engine.containers.unpause("app")
        engine.containers.rename("app", "app-2")
        await eventually(lambda: is_running(source, "app-2"), within=1)
        engine.containers.kill("app-2", signal="TERM")
        await eventually(lambda: id in source.snapshot().stopping or not is_running(source, "app-2"), within=1)
        await eventually(lambda: is_in(source, "app-2", ContainerStatus.EXITED), within=1)
        engine.containers.remove("app-2")
        await eventually(lambda: container(source, "app-2") is None, within=1)


async def test_what_asks_for_nothing_costs_one_look_at_each_start(engine: FakeEngine, follow: Follow) -> None:
    """A CI host starts thousands of jobs: what was learned of one is kept for all that happens in its life."""
    async with follow() as source:
        await quiet(engine)
        before = engine.requests[INSPECT]

        async def looks(*, after: str) -> int:
            await eventually(lambda: source.status().events.get(after), what=f"{after} was heard")
            await quiet(engine)
            return engine.requests[INSPECT] - before

        engine.containers.run(name="job", env=["CI=true"])
        await eventually(lambda: engine.requests[INSPECT] > before, what="the look")
        assert await looks(after="start") == 1
        listed = engine.requests[LIST]
        await renew_stream(engine)  # which tells of the start again
        await eventually(lambda: engine.requests[LIST] > listed, what="the list")
        await eventually(lambda: source.status().connected, what="the stream")
        assert await looks(after="start") == 1
        engine.networks.create("front")
        engine.networks.connect("job", "front")
        engine.containers.exec_probe("job")
        engine.containers.pause("job")
        engine.containers.unpause("job")
        engine.containers.kill("job", signal="HUP")
        engine.containers.stop("job")
        assert await looks(after="stop") == 1
        engine.containers.start("job")
        await eventually(lambda: engine.requests[INSPECT] > before + 1, what="the look")
        engine.containers.remove("job", force=True)
        assert await looks(after="destroy") == 2
        assert container(source, "job") is None


async def test_the_environment_of_the_next_start_counts(engine: FakeEngine, follow: Follow) -> None:
    """An engine may let it be changed for that."""
    engine.containers.run(name="app", env=["VIRTUAL_HOST=old.tld"])
    async with follow() as source:
        engine.containers.stop("app")
        engine.containers.find("app").env = ("VIRTUAL_HOST=new.tld",)
        engine.containers.start("app")
        await eventually(lambda: env_of(source, "app") == (("VIRTUAL_HOST", "new.tld"),))


async def test_a_start_that_no_event_told_is_found_by_the_resync(engine: FakeEngine, follow: Follow) -> None:
    """In step whatever was lost, within the interval."""
    async with follow(resync_interval_s=0.2) as source:
        engine.lose_events(lambda event: True)
        engine.containers.run(name="app", env=[HOST])
        engine.containers.run(name="job")
        await eventually(lambda: is_running(source, "app"))
        await eventually(lambda: source.status().drift == 1, what="of what asks for nothing no drift is said")


async def test_a_look_that_fails_is_tried_again(engine: FakeEngine, follow: Follow) -> None:
    """Unknown is not the same as nothing asked for."""
    async with follow() as source:
        engine.fault = lambda request: respond_with(500, b"") if request == INSPECT else None
        engine.containers.run(name="app", env=[HOST])
        await eventually(lambda: engine.requests[INSPECT] >= 2, what="two looks that failed")
        engine.fault = None
        await eventually(lambda: env_of(source, "app") != ())


async def test_what_a_thousand_unlabelled_containers_cost(
    engine: FakeEngine, follow: Follow, capsys: pytest.CaptureFixture[str]
) -> None:
    """One look each at the first start, and none at a reconnection or a resync."""
    for number in range(MANY):
        engine.containers.run(name=f"job-{number}")
    engine.containers.run(name="app", env=[HOST])
    engine.events.forget()  # what is told again is looked at again, whenever that comes
    costs = []
    async with follow() as source:
        await quiet(engine)
        costs.append(("the first full look", engine.requests[INSPECT]))
        for why, cause in (("a reconnection", lambda: renew_stream(engine)), ("a resync", source.resync)):
            before = engine.requests[INSPECT]
            lists = engine.requests[LIST]
            if (awaited := cause()) is not None:
                await awaited
            await eventually(lambda lists=lists: engine.requests[LIST] > lists, what="the list")
            await eventually(lambda before=before: engine.requests[INSPECT] > before, what="the look at the one")
            await quiet(engine)
            costs.append((why, engine.requests[INSPECT] - before))
        before = engine.requests[INSPECT]
        for number in range(MANY):
            engine.containers.exec_probe(f"job-{number}")
            engine.containers.stop(f"job-{number}")
        await quiet(engine)
        costs.append((f"{MANY} execs and stops", engine.requests[INSPECT] - before))
    with capsys.disabled():
        print("\nlooks, of", MANY, "unlabelled containers and one with a host:", dict(costs))
    first, reconnection, resync, stops = (looks for _, looks in costs)
    assert first == MANY + 1
    assert (reconnection, resync) == (1, 1), "that with a host, and none of the others"
    assert stops == 0
