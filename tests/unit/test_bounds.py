"""What stays bounded however much happens: the reader's lag, reloads, memory."""

import asyncio
import gc
import logging
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from simulation import SimulatedNginx, following, in_simulated_time
from waiting import eventually

CHANNEL = 1024  # events that the engine keeps for a slow reader before it loses some, silently
WEB = {"lbwatch.upstream": "web"}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The log is neither what is tested nor free."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


def servers(nginx: SimulatedNginx) -> int:
    return (nginx.runs or "").count("server 172.")


async def every(interval_s: float, times: int, deed: Callable[[int], object]) -> None:
    """Do something so often, catching up where the loop was late."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(times):
        deed(number)
        await asyncio.sleep(max(0.0, began + (number + 1) * interval_s - loop.time()))


async def test_the_reader_keeps_up_with_a_thousand_events_a_second(tmp_path: Path) -> None:
    """A channel that fills loses events without a word, and slows every call to the engine; here in real time."""
    async with following(tmp_path) as (engine, nginx):
        ids = [engine.containers.run(labels=WEB) for _ in range(100)]
        await eventually(lambda: servers(nginx) == 100, what="all are there")
        deepest = sent = 0

        def burst(number: int) -> None:
            nonlocal deepest, sent
            for each in range(10):
                engine.containers.update(ids[(number * 10 + each) % len(ids)])
                sent += 1
            deepest = max(deepest, *(each.channel.qsize() for each in engine.events._subscriptions))

        asked = engine.requests["GET /containers/ID/json"]
        began = asyncio.get_running_loop().time()
        await every(0.01, 300, burst)
        took_s = asyncio.get_running_loop().time() - began
        engine.containers.run(labels=WEB)
        await eventually(lambda: servers(nginx) == 101, what="what happened after the flood is seen")
        assert sent == 3000
        assert took_s < 9.0, "the reader held up the loop that it shares with the engine"
        assert deepest < CHANNEL / 4, f"{deepest} events were waiting"
        assert engine.requests["GET /containers/ID/json"] - asked <= sent + 1
        assert engine.requests["GET /containers/json"] == 1, "nothing was lost, so nothing had to be listed"


def test_additions_reload_once_an_interval_and_removals_ten_times_a_second_at_most(tmp_path: Path) -> None:
    """Each reload keeps a set of old workers until their last connection ends."""

    async def churn() -> None:
        async with following(tmp_path, reload_interval=1.0) as (engine, nginx):
            await asyncio.sleep(5.0)
            del nginx.reloads[:]
            await every(0.01, 1000, lambda _: engine.containers.run(labels=WEB))
            await asyncio.sleep(5.0)
            gaps = [later - sooner for sooner, later in zip(nginx.reloads, nginx.reloads[1:], strict=False)]
            assert servers(nginx) == 1000
            assert 10 <= len(nginx.reloads) <= 12
            assert min(gaps) >= 0.99
            del nginx.reloads[:]
            ids = [each.id for each in engine.containers]
            await every(0.01, 500, lambda number: engine.containers.remove(ids[number], force=True))
            await asyncio.sleep(5.0)
            gaps = [later - sooner for sooner, later in zip(nginx.reloads, nginx.reloads[1:], strict=False)]
            assert servers(nginx) == 500
            assert min(gaps) >= 0.099

    in_simulated_time(churn())


def test_an_hour_in_which_nothing_changes_costs_no_reload_and_few_requests(tmp_path: Path) -> None:
    """Health probes, resyncs, new streams, events that change nothing: each would be a set of old workers."""

    async def idle() -> None:
        async with following(tmp_path) as (engine, nginx):
            ids = [engine.containers.run(labels=WEB, health="healthy") for _ in range(20)]
            await asyncio.sleep(10.0)
            del nginx.reloads[:]
            engine.requests.clear()
            for number in range(360):
                engine.containers.exec_probe(ids[number % 20])
                engine.containers.update(ids[number % 20])
                engine.containers.run()
                await asyncio.sleep(10.0)
            assert nginx.reloads == []
            lists, looks = (engine.requests[f"GET /containers/{what}json"] for what in ("", "ID/"))
            assert lists <= 3600 / 30 + 2 * 3600 / 300 + 2, "one for each resync and each new stream"
            assert looks <= 20 * lists + 360 + 256 * 12, "each list, each event that may matter, each replay"

    in_simulated_time(idle())


@pytest.mark.timeout(400)  # 22 s on a quiet machine
def test_memory_is_flat_however_many_containers_come_and_go(tmp_path: Path) -> None:
    """A daemon runs for months; each of these containers is another id, name and address."""

    async def churn() -> None:
        async with following(tmp_path) as (engine, nginx):

            async def generations(number: int) -> int:
                for _ in range(number):
                    made = [engine.containers.run(labels=WEB, restart="always"), engine.containers.run()]
                    await asyncio.sleep(1.0)
                    for _ in range(3):
                        engine.containers.die(made[0])
                    await asyncio.sleep(1.0)
                    for each in made:
                        engine.containers.remove(each, force=True)
                    await asyncio.sleep(1.0)
                engine.events.forget()  # it remembers 256, and each stream what was replayed to it
                engine.cut_streams()
                await asyncio.sleep(120.0)
                nginx.accepted.clear()
                nginx.reloads.clear()
                gc.collect()
                return tracemalloc.get_traced_memory()[0]

            tracemalloc.start()
            try:
                early = await generations(100)
                later = await generations(300)
            finally:
                tracemalloc.stop()
            assert later - early < 120 * 1024, f"{later - early} bytes more for 600 containers that are gone"

    in_simulated_time(churn())
