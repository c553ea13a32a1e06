"""When lists are asked for, and what becomes of those that fail or hang; on the fake engine."""

import asyncio

import structlog
from sources import LIST, WEB, Follow, is_running
from waiting import eventually

from lbwatch.engines.fake import FakeEngine
from lbwatch.engines.fake.faults import respond_with, stall


async def test_a_list_that_hangs_is_given_up_for_the_next_stream_s(engine: FakeEngine, follow: Follow) -> None:
    """An answer that got lost with its connection would hold up the truth for 10 s after everything is well again."""
    over = asyncio.Event()
    async with follow() as source:
        engine.fault = lambda request: stall(over) if request == LIST else None
        source.resync()
        await eventually(lambda: engine.requests[LIST] == 2, what="the list that hangs")
        engine.fault = None
        engine.lose_events(lambda event: True)
        engine.replica.lag_s = 0
        engine.containers.run(name="web-1", labels=WEB)
        engine.cut_streams()
        await eventually(lambda: is_running(source, "web-1"), within=5.0)
        over.set()


async def test_a_list_that_is_refused_is_told_although_events_come(engine: FakeEngine, follow: Follow) -> None:
    """A socket proxy may allow the one and not the other; `not read yet` alone helps nobody."""
    engine.fault = lambda request: (
        respond_with("<h1>403</h1>", status=403, content_type="text/html") if request == LIST else None
    )
    async with follow(synced=False) as source:
        await eventually(lambda: source.status().error)
        assert source.status().connected
        assert "/containers/json: refused by what stands before the engine" in str(source.status().error)
        engine.fault = None
        await eventually(lambda: source.status().error is None)


async def test_lists_that_fail_are_a_line_and_their_end_another(engine: FakeEngine, follow: Follow) -> None:
    """Else nobody knows from the log whether it is over."""
    engine.fault = lambda request: respond_with("no", status=500) if request == LIST else None
    with structlog.testing.capture_logs() as logs:
        async with follow(synced=False) as source:
            await eventually(lambda: sum(log["event"] == "source.list_failed" for log in logs) >= 3, what="three tries")
            engine.fault = None
            await eventually(lambda: source.status().error is None)
    loud = [log for log in logs if log["event"].startswith("source.list") and log["log_level"] != "debug"]
    assert [log["event"] for log in loud] == ["source.list_failed", "source.listed"]
    assert loud[-1]["outage_s"] > 0
