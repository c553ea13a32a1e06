"""Each operation has the events of the table, in its order, and refuses what Docker refuses."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from fakeclient import UP, Docker, networks_of, words

from lbwatch.engines.fake import FakeEngine
from lbwatch.engines.fake.state import ConflictError, ForbiddenError, InvalidError, NotFoundError

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
