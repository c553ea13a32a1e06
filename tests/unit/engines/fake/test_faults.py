"""Wrong answers are wrong in just the way that was asked for, and over when a test says so."""

import asyncio

import aiohttp
import pytest
from fakeclient import DEADLINE_S, Docker, until

from lbwatch.engines.fake import FakeEngine
from lbwatch.engines.fake.faults import disconnect, respond_with, stall, truncate

LIST = "GET /containers/json"


async def test_only_the_request_that_a_test_names_goes_wrong(engine: FakeEngine, docker: Docker) -> None:
    # A fault everywhere would hide which request a follower cannot do without.
    engine.fault = lambda request: respond_with("{}", status=503) if request == LIST else None
    assert await docker.ask("GET", "/containers/json") == (503, {})
    assert (await docker.ask("GET", "/networks"))[0] == 200
    engine.fault = None
    assert await docker.ask("GET", "/containers/json") == (200, [])


async def test_a_proxys_page_has_its_own_type(engine: FakeEngine, docker: Docker) -> None:
    # What is no JSON must be known by more than a failing decoder.
    engine.fault = lambda _: respond_with("<h1>no</h1>", content_type="text/html")
    async with docker.session.get("/containers/json") as response:
        assert (response.status, response.content_type, await response.text()) == (200, "text/html", "<h1>no</h1>")


async def test_a_truncated_answer_is_an_error_and_not_a_short_list(engine: FakeEngine, docker: Docker) -> None:
    # Whole or nothing: half a list would take half the containers out.
    engine.containers.run(name="web")
    engine.fault = lambda _: truncate(after_bytes=10)
    with pytest.raises(aiohttp.ClientPayloadError):
        await docker.ask("GET", "/containers/json")


async def test_a_connection_may_end_without_an_answer(engine: FakeEngine, docker: Docker) -> None:
    # So does Engine 26 from the first moment of its end on, while its stream of events lives on.
    engine.fault = lambda _: disconnect()
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await docker.ask("GET", "/containers/json")


@pytest.mark.parametrize("header", [False, True])
async def test_a_stalled_answer_comes_when_the_fault_is_over(header: bool, engine: FakeEngine, docker: Docker) -> None:
    # A header alone is no sign of life; without one the truth of that later moment is answered.
    over = asyncio.Event()
    engine.fault = lambda _: stall(over, header=header)
    asking = asyncio.create_task(docker.ask("GET", "/containers/json"))
    await until(lambda: engine.requests[LIST] == 1)
    engine.containers.run(name="later")
    assert not asking.done()
    over.set()
    status, answer = await asyncio.wait_for(asking, DEADLINE_S)
    assert status == 200
    if header:
        assert answer is None
    else:
        assert [entry["Names"] for entry in answer] == [["/later"]]
