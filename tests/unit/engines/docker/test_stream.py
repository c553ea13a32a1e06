"""How streams follow each other, and what is said of them; on the fake engine."""

from typing import Any

import pytest
import structlog
from sources import WEB, Follow, is_running
from waiting import eventually

from lbwatch.engines.docker import stream as stream_room
from lbwatch.engines.fake import FakeEngine


async def test_each_step_of_the_back_off_is_one_log_line(engine: FakeEngine, follow: Follow) -> None:
    """An operator must see that lbwatch tries, and not drown in it."""
    await engine.go_down("live")
    with structlog.testing.capture_logs() as logs:
        async with follow(synced=False, resync_interval_s=0.1) as source:
            said = await eventually(lambda: seen if len(seen := loud(logs)) >= 4 else None, what="four log lines")
            assert source.snapshot() is None
    assert [log["event"] for log in said] == ["source.disconnected"] * 4
    assert [log["attempt"] for log in said] == [1, 2, 3, 4]
    steps = [log["retry_in_s"] for log in said]
    assert steps == pytest.approx([0.075, 0.15, 0.3, 0.6], abs=0.006)  # jitter 0.5: three quarters of each step
    assert all("docker.sock" in log["error"] for log in said)


async def test_a_stream_that_is_cut_is_followed_on(engine: FakeEngine, follow: Follow) -> None:
    """Socket proxies cut streams every ten minutes."""
    async with follow() as source:
        streams = engine.requests["GET /events"]
        engine.cut_streams()
        engine.containers.run(name="web-1", labels=WEB)
        await eventually(lambda: is_running(source, "web-1"))
        await eventually(lambda: engine.requests["GET /events"] == streams + 1)


async def test_a_stream_that_grew_old_is_replaced(
    engine: FakeEngine, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A half-open connection says nothing for ever; nobody would notice."""
    monkeypatch.setattr(stream_room, "MAX_STREAM_AGE_S", 0.1)
    monkeypatch.setattr(stream_room, "SHORT_LIFE_S", 0.05)
    async with follow() as source:
        await eventually(lambda: engine.requests["GET /events"] >= 4, what="new streams")
        engine.containers.run(name="web-1", labels=WEB)
        await eventually(lambda: is_running(source, "web-1"))


async def test_what_a_new_stream_tells_again_is_counted_once(engine: FakeEngine, follow: Follow) -> None:
    """Each stream begins with a minute of the one before: the last events of a container would be copies of one."""
    async with follow() as source:
        engine.containers.run(name="web-1", labels=WEB)
        await eventually(lambda: is_running(source, "web-1"))
        await eventually(lambda: source.status().events.get("start") == 1)
        told = source.recent()
        for number in range(2, 4):
            connections = engine.requests["GET /events"]
            engine.cut_streams()
            await eventually(lambda connections=connections: engine.requests["GET /events"] > connections)
            engine.containers.run(name=f"web-{number}", labels=WEB)
            await eventually(lambda name=f"web-{number}": is_running(source, name))
            assert source.status().events["start"] == number
        assert source.recent()[: len(told)] == told
        assert len(set(source.recent())) == len(source.recent())


async def test_a_renewal_is_no_interruption(
    engine: FakeEngine, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads `connected for 5 minutes` each day looks for a fault that is none."""
    monkeypatch.setattr(stream_room, "SHORT_LIFE_S", 0.0)
    async with follow() as source:
        await eventually(lambda: source.status().connected)
        since, connections = source.status().since, engine.requests["GET /events"]
        engine.cut_streams()
        await eventually(lambda: engine.requests["GET /events"] > connections and source.status().connected)
        assert source.status().since == since
        await engine.close()
        await eventually(lambda: source.status().error and not source.status().connected)
        lost = source.status()
        assert lost.since > since
        await engine.start()
        await eventually(lambda: source.status().connected)
        assert source.status().since > lost.since
        await eventually(lambda: source.status().error is None)  # a list may have failed meanwhile


def loud(logs: list[Any]) -> list[Any]:
    return [log for log in logs if log["log_level"] != "debug"]
