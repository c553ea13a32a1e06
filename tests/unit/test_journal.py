"""What is logged of passes: a line for each change, and each trouble once and then ever more seldom."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from lbwatch.core.errors import ConfigRejectedError, LbwatchError, OutputError, ReloadError, RenderError
from lbwatch.core.model import (
    Applied,
    BalancerStatus,
    Degraded,
    Level,
    Notice,
    NoticeKind,
    Plan,
    Reason,
    Route,
    Server,
    ServerState,
    Suspended,
    Upstream,
    Waiting,
)
from lbwatch.journal import MAX_MOVES, MAX_NAMED, BalancerLog, PassLog, RouteLog

Logs = list[Any]


def loud(logs: Logs) -> list[str]:
    """Return the events that are seen at info."""
    return [log["event"] for log in logs if log["log_level"] != "debug"]


def server(container: str, last: int = 2) -> Server:
    return Server(address=f"172.17.0.{last}", port=80, container=container)


def web(*containers: str, name: str = "web") -> Upstream:
    return Upstream(name=name, servers=tuple(server(each, last) for last, each in enumerate(containers, start=2)))


def applied(*pairs: tuple[Upstream | None, Upstream | None], **values: Any) -> Applied:
    """Return a reload that brought these upstreams."""
    given: dict[str, Any] = {"digest": "d", "changed": True, "reloaded": True, "event": "nginx.reloaded"}
    return Applied(**given | {"upstreams": pairs, "live_s": 0.01849, "verified_s": 0.2} | values)


def succeed(log: PassLog, applied: Applied, *, routes: tuple[Route, ...] = (), now: float = 0.0) -> Logs:
    with structlog.testing.capture_logs() as logs:
        log.succeeded(applied, plan=Plan(routes=routes), took_s=0.2, now=now)
    return list(logs)


def test_a_change_is_one_line_with_who_came_and_who_left() -> None:
    """It is what an operator wants to read."""
    left = Route(container="web-1", upstream="web", reason=Reason.UNHEALTHY)
    logs = succeed(PassLog(), applied((web("web-1"), web("web-2"))), routes=(left,))
    assert loud(logs) == ["nginx.reloaded"]
    assert logs[0] == {
        "event": "nginx.reloaded",
        "log_level": "info",
        "digest": "d",
        "changed": True,
        "joined": "web-2",
        "left": "web-1",
        "moves": [
            {"upstream": "web", "change": "joined", "container": "web-2", "server": "172.17.0.2:80"},
            {
                "upstream": "web",
                "change": "left",
                "container": "web-1",
                "server": "172.17.0.2:80",
                "reason": "unhealthy",
            },
        ],
        "live_s": 0.0185,
        "verified_s": 0.2,
    }


def test_what_was_pushed_is_a_line_as_a_reload_is() -> None:
    """An operator reads who came and who left, whichever way it went; no worker ended for it."""
    pushed = applied((web("web-1"), web("web-1", "web-2")), reloaded=False, event="nginx.pushed", live_s=0.0031)
    logs = succeed(PassLog(), pushed)
    assert loud(logs) == ["nginx.pushed"]
    assert logs[0] == {
        "event": "nginx.pushed",
        "log_level": "info",
        "digest": "d",
        "changed": True,
        "joined": "web-2",
        "moves": [{"upstream": "web", "change": "joined", "container": "web-2", "server": "172.17.0.3:80"}],
        "live_s": 0.0031,
    }


def test_a_pause_and_its_end_are_moves_of_an_upstream() -> None:
    """Whoever reads why nothing went through must find it in one line."""
    plain, paused = web("web-1"), replace(web("web-1"), paused=True, hold_s=60.0)
    for pair, change in (((plain, paused), "paused"), ((paused, plain), "resumed")):
        (line, _) = succeed(PassLog(), applied(pair, reloaded=False, event="nginx.pushed"))
        assert line["moves"] == [{"upstream": "web", "change": change}]


def test_a_reload_that_moved_nothing_has_no_names() -> None:
    """nginx was restarted, say."""
    (line, _) = succeed(PassLog(), applied())
    assert not {"joined", "left", "moves", "moves_in_all", "outage_s"} & line.keys()


def test_a_line_has_a_bound() -> None:
    """A start has thousands, and a log shipper has a limit of its own."""
    names = [f"web-{number:03}" for number in range(200)]
    (line, _) = succeed(PassLog(), applied((None, web(*names))))
    assert line["joined"].count(",") == MAX_NAMED - 1
    assert line["joined"].endswith("and 192 more")
    assert len(line["moves"]) == MAX_MOVES
    assert line["moves_in_all"] == {"joined": 200}
    (line, _) = succeed(PassLog(), applied((None, web("x" * 5000))))
    assert len(str(line)) < 1500


def test_what_could_not_be_written_is_not_called_live() -> None:
    """nginx refused that upstream; `upstream.degraded` is its line."""
    bad = Degraded(upstream="bad", level=Level.EMPTY, error="no")
    plain = Degraded(upstream="plain", level=Level.PLAIN, error="no")
    pairs = ((None, web("a", name="bad")), (None, web("b", name="plain")))
    (line, _) = succeed(PassLog(), applied(*pairs, degraded=(bad, plain)))
    assert line["joined"] == "b"


def test_a_pass_that_changed_nothing_is_for_those_who_look_closer() -> None:
    """There is one each time somebody asks."""
    assert loud(succeed(PassLog(), Applied(digest="d", changed=False, reloaded=False))) == []


def fail(log: PassLog, error: LbwatchError, *, times: list[float]) -> list[float]:
    """Return the times at which an error is a line, if it comes at all of these."""
    said = []
    for attempt, now in enumerate(times, start=1):
        with structlog.testing.capture_logs() as logs:
            log.failed(error, attempt=attempt, retry_in_s=2.0, now=now)
        assert [each["event"] for each in logs] == [error.event]
        assert logs[0]["log_level"] in ("error", "debug")
        if logs[0]["log_level"] == "error":
            said.append(logs[0].get("outage_s", 0.0))
    return said


@pytest.mark.parametrize(
    "error",
    [
        ReloadError("nginx is not running"),
        ConfigRejectedError("no"),
        RenderError("no", path="/t.j2", line=3),
        OutputError(Path("/etc/x"), error=OSError(28, "No space left on device")),
    ],
    ids=lambda error: error.event,
)
def test_whatever_fails_again_and_again_is_a_line_ever_more_seldom(error: LbwatchError) -> None:
    """One every two seconds for a night is 14,000 lines that bury the one that matters."""
    times = [number * 2.0 for number in range(100)]
    assert fail(PassLog(), error, times=times) == [0.0, 6.0, 16.0, 36.0, 76.0, 136.0, 196.0]


def test_another_failure_is_a_line_at_once() -> None:
    """nginx is back, and now its configuration is broken."""
    log = PassLog()
    assert fail(log, ReloadError("nginx is not running"), times=[0.0, 1.0]) == [0.0]
    assert fail(log, ConfigRejectedError("nginx is not running"), times=[2.0, 3.0]) == [2.0]


def test_what_was_logged_where_it_arose_is_not_logged_twice() -> None:
    """There it has the command that ends it."""
    error = ReloadError("nginx is upgraded in place")
    error.is_logged = True
    assert fail(PassLog(), error, times=[0.0, 1.0, 60.0]) == []


ENDS: dict[str, Callable[[PassLog, float], Logs]] = {
    "nginx.reloaded": lambda log, now: succeed(log, applied(), now=now),
    "reconcile.finished": lambda log, now: succeed(log, Applied(digest="d", changed=False, reloaded=False), now=now),
}


@pytest.mark.parametrize("event", ENDS)
def test_the_end_of_a_trouble_is_one_line_with_how_long_it_was(event: str) -> None:
    """Whoever was woken by its beginning waits for it."""
    log = PassLog()
    fail(log, ReloadError("nginx is not running"), times=[100.0, 102.0])
    logs = ENDS[event](log, 142.04)
    assert [(each["event"], each["outage_s"]) for each in logs if each["log_level"] == "info"] == [(event, 42.0)]
    assert not [each for each in ENDS[event](log, 150.0) if "outage_s" in each], "it ended once"
    assert fail(log, ReloadError("nginx is not running"), times=[160.0]) == [0.0], "and the next one is another"


def test_a_trouble_may_end_since_nothing_is_left_to_be_done() -> None:
    """The container that nginx refused is gone, say."""
    log = PassLog()
    with structlog.testing.capture_logs() as logs:
        log.settled(digest="d", now=1.0)
        log.failed(ConfigRejectedError("no"), attempt=1, retry_in_s=2.0, now=2.0)
        log.settled(digest="d", now=7.0)
        log.settled(digest="d", now=8.0)
    assert [(each["event"], each.get("outage_s")) for each in logs] == [
        ("nginx.rejected", None),
        ("reconcile.finished", 5.0),
    ]


@pytest.mark.parametrize(
    ("route", "level"),
    [
        (Route(container="a", reason=Reason.NOT_RUNNING, detail="it is created"), "debug"),
        (Route(container="a", upstream="web", reason=Reason.STARTING), "debug"),
        (Route(container="a", upstream="web", reason=Reason.DRAINING), "debug"),
        (Route(container="a", upstream="web", reason=Reason.UNHEALTHY), "warning"),
        (Route(container="a", reason=Reason.BAD_LABEL), "warning"),
        (
            Route(container="a", upstream="web", notices=(Notice(kind=NoticeKind.SERVES_DRAINING, detail="x"),)),
            "debug",
        ),
        (
            Route(container="a", upstream="web", notices=(Notice(kind=NoticeKind.UNKNOWN_LABEL, detail="x"),)),
            "warning",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value.reason or value.notices[0].kind),
)
def test_what_passes_by_itself_is_for_those_who_look_closer(route: Route, level: str) -> None:
    """A container that starts is `created` for a moment, and one that is stopped serves for a while."""
    log = RouteLog()
    with structlog.testing.capture_logs() as logs:
        log.routes((route,))
        log.routes((route,))
    assert [each["log_level"] for each in logs] == [level], "and once for as long as it lasts"


def test_nothing_is_logged_again_of_a_container_whose_name_is_shown_otherwise() -> None:
    """Another engine's container of the same name comes and goes: this one did nothing."""
    log = RouteLog()
    with structlog.testing.capture_logs() as logs:
        for was, now in (("web", "web"), ("web", "a/web"), ("a/web", "web")):
            log.show_otherwise({was: now})
            log.routes((Route(container=now, reason=Reason.NO_PORT, detail="it exposes no TCP port"),))
    assert [each["container"] for each in logs] == ["web"]


def test_a_container_that_asks_for_nothing_is_no_line() -> None:
    """Most do."""
    with structlog.testing.capture_logs() as logs:
        RouteLog().routes(
            (
                Route(container="a", reason=Reason.NOT_LABELLED),
                Route(container="b", upstream="web", server=server("b"), state=ServerState.UP),
            )
        )
    assert logs == []


# -- what passes do not say


def seen(log: BalancerLog, *, now: float = 0.0, **status: Any) -> Logs:
    with structlog.testing.capture_logs() as logs:
        log.seen(BalancerStatus(**status), now=now)
    return list(logs)


def test_whether_changes_need_a_reload_is_logged_once_and_when_it_changes() -> None:
    """Who wonders why a reload was made must find the reason, and not each second."""
    log = BalancerLog()
    assert seen(log) == []
    why = "nginx has no Lua"
    assert seen(log, live=False, live_reason=why) == [
        {"event": "nginx.live", "log_level": "info", "live": False, "reason": why}
    ]
    assert seen(log, live=False, live_reason=why) == []
    assert seen(log, live=True) == [{"event": "nginx.live", "log_level": "info", "live": True}]
    assert seen(log, live=True) == []
    (lost,) = seen(log, live=False, live_reason="a worker does not answer")
    assert (lost["log_level"], lost["reason"]) == ("warning", "a worker does not answer")
    assert seen(log) == []


def test_requests_that_wait_are_logged_when_they_begin_to_and_when_none_does() -> None:
    """A line for each second of a deploy would bury what it was about."""
    log = BalancerLog()

    def wait(requests: int, longest_s: float = 0.0, name: str = "web") -> tuple[Waiting, ...]:
        return (Waiting(upstream=name, requests=requests, longest_s=longest_s),)

    assert seen(log, now=10.0, waiting=wait(2, 0.5)) == [
        {"event": "upstream.waiting", "log_level": "info", "upstream": "web", "requests": 2}
    ]
    assert seen(log, now=11.0, waiting=wait(7, 1.5)) == []
    assert [each["upstream"] for each in seen(log, now=12.0, waiting=(*wait(3), *wait(1, name="api")))] == ["api"]
    assert seen(log, now=13.5, waiting=(*wait(0), *wait(1, name="api"))) == [
        {"event": "upstream.waited", "log_level": "info", "upstream": "web", "requests": 7, "waited_s": 4.0}
    ]
    (line,) = seen(log, now=14.0)
    assert (line["event"], line["upstream"], line["requests"]) == ("upstream.waited", "api", 1)
    assert seen(log, now=15.0) == []


def test_a_pause_that_cannot_be_is_logged_once_for_as_long_as_it_is_so() -> None:
    """It was kept over a restart, and requests go through: nobody would know otherwise."""
    log = RouteLog()

    def paused(*names: str, refusal: str | None = "nginx has no Lua") -> Logs:
        with structlog.testing.capture_logs() as logs:
            log.paused(Suspended(paused=frozenset(names), hold_refusal=refusal))
        return list(logs)

    assert paused() == []
    wanted = {"event": "upstream.not_paused", "log_level": "warning", "upstream": "web", "reason": "nginx has no Lua"}
    assert paused("web") == [wanted]
    assert paused("web") == []
    assert paused("web", refusal=None) == []
    assert paused("web") == [wanted], "again"
