"""How streams follow each other, and what is said of them; on the fake engine."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from sources import LIST, WEB, Follow, followed, is_running, quiet, renew_stream
from waiting import eventually

from lbwatch.engines.docker import replay
from lbwatch.engines.docker import stream as stream_room
from lbwatch.engines.docker.decode import UNREADABLE
from lbwatch.engines.docker.stream import Outage
from lbwatch.engines.fake import FakeEngine, kinds


async def test_an_engine_that_is_away_is_one_line(engine: FakeEngine, follow: Follow) -> None:
    """An operator must see that, and not drown in it; each step of the back-off is there for who looks closer."""
    await engine.go_down("live")
    with structlog.testing.capture_logs() as logs:
        async with follow(synced=False, resync_interval_s=0.1) as source:
            said = await eventually(lambda: seen if len(seen := of_streams(logs)) >= 4 else None, what="four tries")
            assert source.snapshot() is None
    assert [log["log_level"] for log in said] == ["warning", *["debug"] * 3]
    assert [log["attempt"] for log in said] == [1, 2, 3, 4]
    steps = [log["retry_in_s"] for log in said]
    assert steps == pytest.approx([0.075, 0.15, 0.3, 0.6], abs=0.006)  # jitter 0.5: three quarters of each step
    assert all("docker.sock" in log["error"] for log in said)
    assert loud(logs) == said[:1]


async def test_an_engine_that_speaks_none_of_our_versions_is_one_line_with_what_to_do(
    engine: FakeEngine, follow: Follow
) -> None:
    """Stream, list and look all fail of it, and each says so; `_ping` does not, and looks like a good sign."""
    engine.api_version, engine.min_api_version = "1.99", "1.60"
    with structlog.testing.capture_logs() as logs:
        async with follow(synced=False, resync_interval_s=0.1) as source:
            await eventually(lambda: engine.requests["GET /events"] >= 3 and engine.requests[LIST] >= 3)
            assert source.status().error == loud(logs)[0]["error"]
    assert [log["event"] for log in loud(logs)] == ["source.disconnected"]
    assert "API 1.60 or later" in loud(logs)[0]["error"]
    assert "install a newer lbwatch" in loud(logs)[0]["error"]


@pytest.mark.parametrize("offers", [(kinds.JSONL,), (kinds.JSON_SEQ,)])
async def test_events_are_followed_in_the_framing_that_the_engine_has(tmp_path: Path, offers: tuple[str, ...]) -> None:
    """From API 1.52 on it may be another one than the lines that have always been."""
    kind = replace(kinds.DOCKER_29, http=replace(kinds.DOCKER_29.http, stream_types=offers))
    async with FakeEngine(socket=tmp_path / "framed.sock", kind=kind, lag_s=30.0) as framed, followed(framed) as source:
        await eventually(lambda: source.snapshot() is not None and source.status().connected)
        framed.containers.run(name="web-1", labels=WEB)
        await eventually(lambda: is_running(source, "web-1"))
        assert source.status().events["start"] == 1
        assert UNREADABLE.action not in source.status().events


@pytest.mark.parametrize("kind", [kinds.DOCKER_20, kinds.DOCKER_26], ids=str)
async def test_each_death_is_followed_of_an_engine_that_is_told_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: kinds.Kind
) -> None:
    """Its containers end one by one; 26 ends the connections that were kept for that, so that `die` must do."""
    monkeypatch.setattr(replay, "REPLAY_S", 0.0)  # the stream has held for a while
    async with FakeEngine(socket=tmp_path / "ends.sock", kind=kind, lag_s=0.0) as ending, followed(ending) as source:
        for number in range(3):
            ending.containers.run(name=f"web-{number}", labels=WEB)
        await eventually(lambda: all(is_running(source, f"web-{number}") for number in range(3)))
        await quiet(ending)
        await ending.begin_to_stop()
        ending.containers.stop("web-0")
        ending.containers.stop("web-1")
        await eventually(lambda: not is_running(source, "web-0") and not is_running(source, "web-1"))
        assert is_running(source, "web-2")


async def test_a_proxy_that_ends_every_stream_is_one_line(
    engine: FakeEngine, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a limit of its own; the next stream holds, and nothing is lost by it."""
    monkeypatch.setattr(stream_room, "SHORT_LIFE_S", 0.0)
    with structlog.testing.capture_logs() as logs:
        async with follow() as source:
            for _ in range(4):
                await renew_stream(engine, cleanly=False)
                await eventually(lambda: source.status().connected)
    assert [log["event"] for log in loud(logs) if log["event"] == "source.disconnected"] == ["source.disconnected"]
    assert sum(log["event"] == "source.disconnected" for log in logs) >= 4
    assert sum(log["event"] == "source.connected" for log in loud(logs)) == 2, "at first, and after the warning"


@pytest.mark.parametrize(
    ("course", "expected"),
    [
        # what ended the stream (`+` if it had lived), and when
        ([("+eof", 0), ("+eof", 0), ("+eof", 0)], [True, False, False]),
        ([("+eof", 0), ("+reset", 0), ("+eof", 0)], [True, True, True]),
        ([("+eof", 0), ("refused", 0), ("no file", 1), ("refused", 2)], [True, False, False, False]),
        ([("+eof", 0), ("+eof", 0), ("refused", 0), ("no file", 1)], [True, False, True, False]),
        ([("refused", 0), ("certificate", 4), ("refused", 5), ("certificate", 11)], [True, False, True, True]),
        ([("+eof", 0), ("refused", 6), ("refused", 7), ("refused", 17)], [True, True, False, True]),
        ([("at once", 0), ("at once", 0), ("at once", 0)], [True, False, False]),
    ],
    ids=["habit", "something else", "restart", "restart behind a habit", "another error in the end", "long", "no life"],
)
def test_each_interruption_is_news_and_again_while_it_lasts(
    course: list[tuple[str, float]], expected: list[bool]
) -> None:
    """A restart of the engine is one line each time, the habit of a proxy one line in all."""
    outage = Outage()
    news = [outage.is_news(error.lstrip("+"), lived=error[0] == "+", now=now) for error, now in course]
    assert news == expected


def test_the_end_of_an_interruption_is_news_if_its_beginning_was() -> None:
    """Whoever reads `disconnected` wants to read `connected`, and each once."""
    outage = Outage()
    assert [outage.ends(), outage.ends()] == [True, False]
    outage.is_news("eof", lived=True, now=0.0)
    assert [outage.ends(), outage.ends()] == [True, False]
    outage.is_news("eof", lived=True, now=0.0)
    assert not outage.ends()


async def test_an_engine_that_is_back_is_one_line_with_how_long_it_was_away(engine: FakeEngine, follow: Follow) -> None:
    """It is the first question, and the answer need not be computed from two times."""
    await engine.go_down("live")
    with structlog.testing.capture_logs() as logs:
        async with follow(synced=False) as source:
            await eventually(lambda: len(of_streams(logs)) >= 3)
            await engine.come_back()
            await eventually(lambda: source.status().connected)
    (back,) = [log for log in logs if log["event"] == "source.connected"]
    assert back["log_level"] == "info"
    assert 0.1 < back["outage_s"] < 5
    assert [("outage_s" in log) for log in of_streams(logs)][:3] == [False, True, True]


async def test_a_stream_that_is_cut_is_followed_on(engine: FakeEngine, follow: Follow) -> None:
    """Socket proxies cut streams every ten minutes."""
    async with follow() as source:
        await eventually(lambda: engine.events.listeners)
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


async def test_a_stream_that_is_not_wanted_any_more_is_replaced_at_once(engine: FakeEngine, follow: Follow) -> None:
    """It may be another engine's; and whoever says so may say it at any time."""
    async with follow() as source:
        for number in range(2, 5):
            # One that only begins is new already, and not replaced.
            await eventually(lambda: source.status().connected, what="the stream holds")
            for _ in range(3):
                source._stream.renew()
            await eventually(lambda number=number: engine.requests["GET /events"] >= number, what="a new stream")
            source._stream.renew()
        engine.containers.run(name="web-1", labels=WEB)
        await eventually(lambda: is_running(source, "web-1"))
    source._stream.renew()


async def test_what_a_new_stream_tells_again_is_counted_once(engine: FakeEngine, follow: Follow) -> None:
    """Each stream begins with a minute of the one before: the last events of a container would be copies of one."""
    async with follow() as source:
        engine.containers.run(name="web-1", labels=WEB)
        await eventually(lambda: is_running(source, "web-1"))
        await eventually(lambda: source.status().events.get("start") == 1)
        told = source.recent()
        for number in range(2, 4):
            await renew_stream(engine)
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
        since = source.status().since
        await renew_stream(engine)
        await eventually(lambda: source.status().connected)
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


def of_streams(logs: list[Any]) -> list[Any]:
    return [log for log in logs if log["event"] == "source.disconnected"]
