"""The history: what the daemon remembers of its own work, and that it is bounded."""

from collections import Counter
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from statuses import AT, DIGEST, applied, made_plan, made_status, server

from lbwatch.api.metrics import OUTCOMES, exposition
from lbwatch.api.report import report_of
from lbwatch.core.history import BUCKETS_S, KEPT_CHANGES, KEPT_LINES, Distribution, History
from lbwatch.core.model import Plan, Reason, Route, ServerState, Upstream

DURATIONS = st.floats(0.0, 100.0) | st.sampled_from(BUCKETS_S)
OUTCOME = st.sampled_from(OUTCOMES[3:])
DEEDS = st.lists(st.tuples(OUTCOME, st.sampled_from(["one", "two"])) | st.none(), max_size=40)
SEATS = st.dictionaries(st.sampled_from("abc"), st.sampled_from([None, Reason.PAUSED, Reason.STARTING]))


def test_the_history_keeps_the_latest_changes_and_no_more() -> None:
    """A daemon runs for months."""
    history = History()
    for number in range(KEPT_CHANGES * 3):
        history.applied(applied(digest=f"{number:012}"), at=number, took_s=0.1, heard_s=None)
    changes = history.copy().changes
    assert KEPT_CHANGES == 50
    assert [change.at for change in changes] == list(range(100, 150)), "oldest first"
    assert history.copy().passes == {"verified": 150}
    told = [each.at for each in report_of(made_status(history=history)).changes]
    assert told == sorted(told, reverse=True), "the status has the latest first"
    assert told[0].startswith("1970-01-01T00:02:29")


@given(st.integers(0, 3 * KEPT_LINES))
@example(KEPT_LINES)
@example(KEPT_LINES + 1)
def test_a_difference_is_cut_to_its_first_lines_and_says_how_many_are_missing(lines: int) -> None:
    """A stack of 1,000 containers at once must not stay in memory 50 times."""
    text = "".join(f"+line {number}\n" for number in range(lines))
    history = History()
    history.applied(applied(difference=text), at=AT, took_s=0.1, heard_s=None)
    (change,) = history.copy().changes
    kept = change.difference.splitlines()
    assert KEPT_LINES == 200
    if lines <= KEPT_LINES:
        assert change.difference == text
    else:
        assert kept[:-1] == text.splitlines()[:KEPT_LINES]
        assert kept[-1] == f"... {lines - KEPT_LINES} more lines"


def test_a_change_tells_all_that_came_of_it() -> None:
    """It is what people look at after an incident."""
    history = History()
    done = applied(difference="+ server 1;\n", live_s=0.02, verified_s=0.13)
    history.applied(done, at=AT, took_s=0.14, heard_s=0.5)
    (change,) = history.copy().changes
    assert (change.at, change.outcome, change.digest, change.error) == (AT, "verified", DIGEST, None)
    assert (change.live_s, change.verified_s, change.heard_s) == (0.02, 0.13, 0.5)
    assert (change.difference, change.times) == ("+ server 1;\n", 1)


def test_what_was_pushed_is_a_change_and_no_reload() -> None:
    """How long it took from the event counts as that of a reload does; the file's difference is kept, too."""
    history = History()
    history.applied(
        applied(reloaded=False, event="nginx.pushed", live_s=0.003, difference="+one\n"), at=AT, took_s=0.1, heard_s=0.5
    )
    (change,) = history.changes
    assert (change.outcome, change.live_s, change.heard_s, change.difference) == ("pushed", 0.003, 0.5, "+one\n")
    assert (history.passes, sum(history.heard.counts)) == ({"pushed": 1}, 1)
    history.applied(applied(reloaded=False), at=AT, took_s=0.1, heard_s=0.5)
    assert (len(history.changes), sum(history.heard.counts)) == (1, 1), "nothing was to be done"


def test_the_same_failure_in_a_row_is_one_change_with_a_count_and_the_latest_time() -> None:
    """An nginx that is down for a night would push everything else out."""
    history = History()
    history.applied(applied(), at=1.0, took_s=0.1, heard_s=None)
    for number in range(1000):
        history.failed("nginx.reload_failed", error="nginx is not running here", at=10.0 + number, took_s=0.1)
    first, second = history.copy().changes
    assert first.outcome == "verified"
    assert (second.outcome, second.error) == ("nginx.reload_failed", "nginx is not running here")
    assert (second.times, second.at) == (1000, 1009.0)
    assert history.copy().passes["nginx.reload_failed"] == 1000, "each of them counts"


@given(DEEDS)
def test_what_failed_the_same_way_is_put_together_until_something_succeeds(
    deeds: list[tuple[str, str] | None],
) -> None:
    """Two reasons that take turns must not push all others out; a success between them is what somebody looks for."""
    history = History()
    wanted: list[tuple[Any, int, int]] = []
    failures: dict[tuple[str, str], tuple[int, int]] = {}  # since the latest success, the latest last
    for number, deed in enumerate(deeds):
        if deed is None:
            history.applied(applied(), at=number, took_s=0.1, heard_s=None)
            wanted += [(what, at, times) for what, (at, times) in failures.items()]
            wanted.append((("verified", None), number, 1))
            failures.clear()
        else:
            history.failed(deed[0], error=deed[1], at=number, took_s=0.1)
            _, times = failures.pop(deed, (0, 0))
            failures[deed] = (number, times + 1)
    wanted += [(what, at, times) for what, (at, times) in failures.items()]
    found = history.copy()
    assert [((each.outcome, each.error), each.at, each.times) for each in found.changes] == wanted[-KEPT_CHANGES:]
    assert found.passes == Counter("verified" if deed is None else deed[0] for deed in deeds)
    assert sum(found.durations.counts) == len(deeds)


def routed(*names: str, upstream: str = "web") -> Plan:
    return made_plan([Upstream(name=upstream, servers=tuple(server(name) for name in names))])


def test_since_keeps_its_time_while_nothing_changes_and_renews_it_when_something_does() -> None:
    """`for 3 days` must not begin anew because another container came."""
    history = History()
    history.noted(routed("a").routes, at=1.0)
    history.noted(routed("a").routes, at=2.0)
    history.noted(routed("a", "b").routes, at=3.0)
    assert history.copy().since == {("a", "web", None): 1.0, ("b", "web", None): 3.0}
    out = made_plan(unrouted=(Route(container="a", reason=Reason.PAUSED, detail="", upstream="web"),))
    history.noted(out.routes, at=4.0)
    assert history.copy().since == {("a", "web", None): 4.0}, "and who is gone is forgotten"
    history.noted(routed("a", "b").routes, at=5.0)
    assert history.copy().since == {("a", "web", None): 5.0, ("b", "web", None): 5.0}


def test_since_renews_with_the_state_and_the_reason_and_not_with_the_words() -> None:
    """The words may count seconds; each upstream of a container has its own time."""
    history = History()

    def skip(reason: Reason, detail: str) -> Plan:
        return made_plan(unrouted=(Route(container="a", reason=reason, detail=detail),))

    history.noted(skip(Reason.RESTART_LOOP, "for 5 s").routes, at=1.0)
    history.noted(skip(Reason.RESTART_LOOP, "for 4 s").routes, at=2.0)
    assert history.copy().since == {("a", None, None): 1.0}
    history.noted(skip(Reason.NOT_RUNNING, "for 4 s").routes, at=3.0)
    assert history.copy().since == {("a", None, None): 3.0}
    both = made_plan([*routed("a").upstreams, *routed("a", upstream="api").upstreams])
    history.noted(both.routes, at=4.0)
    makeshift = made_plan(both.upstreams, last_resort={"api": ServerState.DRAINING})
    history.noted(makeshift.routes, at=5.0)
    assert history.copy().since == {("a", "web", None): 4.0, ("a", "api", None): 5.0}


@given(st.lists(SEATS, max_size=12))
def test_since_is_the_beginning_of_the_latest_run_of_the_same(passes: list[dict[str, Reason | None]]) -> None:
    """The law behind the examples above: `None` is routed here."""
    history = History()
    for at, seats in enumerate(passes):
        names = [name for name, reason in seats.items() if reason is None]
        skipped = tuple(
            Route(container=name, reason=reason, detail="", upstream="web")
            for name, reason in seats.items()
            if reason is not None
        )
        history.noted(made_plan(routed(*names).upstreams, unrouted=skipped).routes, at=float(at))
    wanted = {}
    for name, reason in (passes[-1] if passes else {}).items():
        began = len(passes) - 1
        while began and passes[began - 1].get(name, "absent") == reason:
            began -= 1
        wanted[name, "web", None] = float(began)
    assert history.copy().since == wanted


def test_a_copy_does_not_change_with_the_history() -> None:
    """It is read in another thread while the loop goes on."""
    history = History()
    history.applied(applied(), at=AT, took_s=0.1, heard_s=0.1)
    history.noted(routed("a").routes, at=1.0)
    copy = history.copy()
    before = exposition(made_status(history=copy)), copy.changes, dict(copy.since)
    history.applied(applied(), at=AT, took_s=7.0, heard_s=7.0)
    history.failed("nginx.rejected", error="no", at=AT, took_s=7.0)
    history.noted(routed("b").routes, at=2.0)
    assert (exposition(made_status(history=copy)), copy.changes, dict(copy.since)) == before


@given(st.lists(DURATIONS))
def test_a_distribution_counts_each_once(durations: list[float]) -> None:
    """Its counts are not cumulative, one for each bucket and one for what is longer."""
    distribution = Distribution()
    for seconds in durations:
        distribution.add(seconds)
    assert len(distribution.counts) == len(BUCKETS_S) + 1
    assert sum(distribution.counts) == len(durations)
    assert distribution.counts[-1] == sum(seconds > BUCKETS_S[-1] for seconds in durations)
    assert list(BUCKETS_S) == sorted(set(BUCKETS_S))


def test_since_stays_with_a_container_whose_name_is_shown_otherwise() -> None:
    """It stands as it did, whatever another engine calls its own."""
    history = History()
    history.noted(routed("plain", "b").routes, at=1.0)
    copied = history.copy()
    history.show_otherwise({"plain": "a/plain"})
    history.noted(routed("a/plain", "b/plain", "b").routes, at=2.0)
    key = ("web", None)
    assert history.since == {("a/plain", *key): 1.0, ("b/plain", *key): 2.0, ("b", *key): 1.0}
    assert copied.since == {("plain", *key): 1.0, ("b", *key): 1.0}
    history.show_otherwise({"b/plain": "plain"})
    history.noted(routed("plain", "b").routes, at=3.0)
    assert history.since == {("plain", *key): 2.0, ("b", *key): 1.0}


def test_a_row_about_a_host_has_a_time_of_its_own() -> None:
    """Beside it the same container serves the same upstream as ever."""
    history = History()
    server = routed("a").routes
    lost = Route(container="a", upstream="web", site="a.example/", reason=Reason.HOST_TAKEN, detail="")
    history.noted(server, at=1.0)
    history.noted((*server, lost), at=2.0)
    assert history.copy().since == {("a", "web", None): 1.0, ("a", "web", "a.example/"): 2.0}
