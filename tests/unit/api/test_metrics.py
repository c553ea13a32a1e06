"""The metrics and the journal: what is counted, that it is bounded, and that no container writes into it."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from statuses import AT, DIGEST, SOURCE, applied, contact, full_picture, picture, progress, samples, server
from strategies import NASTY, container, decide

from lbwatch.api.metrics import ACTIONS, CONTENT_TYPE, OUTCOMES, exposition
from lbwatch.core import errors
from lbwatch.core.history import BUCKETS_S, KEPT_CHANGES, KEPT_LINES, AppliedPlan, Distribution, History
from lbwatch.core.model import (
    UPSTREAM_NAME,
    BalancerStatus,
    Degraded,
    EngineStatus,
    Level,
    Notice,
    NoticeKind,
    Plan,
    Reason,
    ServerState,
    Skipped,
    Upstream,
)
from lbwatch.core.status import Status, report_of

Labels = Mapping[str, str]


def values(picture: Status, name: str, label: str) -> dict[str, float]:
    """A metric's values by one of its labels."""
    return {
        dict(labels)[label]: value for (each, labels), value in samples(exposition(picture)).items() if each == name
    }


def value(picture: Status, name: str, /, **labels: str) -> float | None:
    return samples(exposition(picture)).get((name, tuple(sorted(labels.items()))))


# -- the text


def test_the_text_is_what_prometheus_takes_and_all_names_are_ours() -> None:
    """The contract's prefix; a name of someone else would mix with theirs."""
    text = exposition(full_picture())
    assert text.endswith(b"\n")
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")
    for family in text_string_to_metric_families(text.decode()):
        assert family.name.startswith("lbwatch_")
        assert family.documentation.endswith(".")
        assert family.type in ("gauge", "counter", "histogram")
        assert family.samples, f"{family.name} has nothing"


def test_all_that_the_issue_asks_for_is_there() -> None:
    """Each of them is in somebody's alert or dashboard; a rename breaks those silently."""
    names = {name for name, _ in samples(exposition(full_picture()))}
    assert names == {
        "lbwatch_build_info",
        "lbwatch_ready",
        "lbwatch_source_connected",
        "lbwatch_source_stream_age_seconds",
        "lbwatch_source_last_sync_age_seconds",
        "lbwatch_source_containers",
        "lbwatch_source_drift_total",
        "lbwatch_source_events_total",
        "lbwatch_passes_total",
        "lbwatch_pass_duration_seconds_bucket",
        "lbwatch_pass_duration_seconds_count",
        "lbwatch_pass_duration_seconds_sum",
        "lbwatch_reloads_total",
        "lbwatch_reload_owed",
        "lbwatch_render_failures_total",
        "lbwatch_event_to_verified_seconds_bucket",
        "lbwatch_event_to_verified_seconds_count",
        "lbwatch_event_to_verified_seconds_sum",
        "lbwatch_behind_seconds",
        "lbwatch_servers",
        "lbwatch_containers_skipped",
        "lbwatch_upstreams_reduced",
        "lbwatch_config_info",
        "lbwatch_nginx_workers",
    }


def test_the_same_picture_gives_the_same_text() -> None:
    """It is made in a thread, of copies: nothing of it may depend on when."""
    assert exposition(full_picture()) == exposition(full_picture())


def test_a_daemon_that_knows_nothing_yet_has_metrics_too() -> None:
    """The first scrape comes at any time, and the alerts are about just such daemons."""
    nothing = picture(
        engines=(EngineStatus(source=SOURCE, connected=False, since=999.0),),
        progress=AppliedPlan(plan=None, in_force=None),
        seen=BalancerStatus(),
    )
    found = samples(exposition(nothing))
    assert found["lbwatch_ready", ()] == 0
    assert found["lbwatch_reload_owed", ()] == 0, "nothing was decided, so that nothing is owed"
    assert found["lbwatch_source_connected", (("source", SOURCE),)] == 0
    absent = ("last_sync_age", "source_containers", "config_info", "nginx_workers", "lbwatch_servers")
    assert not [name for name, _ in found if any(each in name for each in absent)]


def test_what_runs_is_told() -> None:
    """Half of all questions of support begin with it."""
    (labels,) = [dict(labels) for name, labels in samples(exposition(picture())) if name == "lbwatch_build_info"]
    assert labels["version"] == "1.2.3"
    assert re.fullmatch(r"3\.\d+\.\d+.*", labels["python"])


# -- the engine


def test_the_stream_and_the_latest_look_are_told_by_their_age() -> None:
    """An age needs no clock that two machines agree on."""
    look = picture(engines=(contact(since=940.0, synced_at=980.0, drift=7, containers=12),))
    assert value(look, "lbwatch_source_connected", source=SOURCE) == 1
    assert value(look, "lbwatch_source_stream_age_seconds", source=SOURCE) == 60
    assert value(look, "lbwatch_source_last_sync_age_seconds", source=SOURCE) == 20
    assert value(look, "lbwatch_source_drift_total", source=SOURCE) == 7
    assert value(look, "lbwatch_source_containers", source=SOURCE) == 12


def test_each_engine_has_its_own_series() -> None:
    """One that is lost must not hide behind one that is there."""
    other = "tcp://10.0.0.2:2376"
    look = picture(engines=(contact(), contact(source=other, connected=False, error="refused", containers=0)))
    assert values(look, "lbwatch_source_connected", "source") == {SOURCE: 1, other: 0}
    assert values(look, "lbwatch_source_containers", "source") == {SOURCE: 3, other: 0}
    assert value(look, "lbwatch_ready") == 0


def test_an_engine_without_containers_has_none_and_not_no_number() -> None:
    """0 is a fact; absent means that it was not read."""
    assert value(picture(engines=(contact(containers=0),)), "lbwatch_source_containers", source=SOURCE) == 0


def test_events_are_counted_by_their_names_and_unknown_ones_together() -> None:
    """A future engine's events, or a broken proxy's, must not make series without end."""
    events = {"start": 3, "health_status": 2, "exec_create": 5, "exec_start": 5, "exec_start: sh -c 'x'": 1, "\n": 1}
    look = picture(engines=(contact(events=events),))
    assert values(look, "lbwatch_source_events_total", "action") == {"start": 3, "health_status": 2, "other": 12}


@settings(max_examples=40)  # each is a whole exposition
@given(st.dictionaries(st.sampled_from(sorted(ACTIONS)) | st.text() | st.sampled_from(NASTY), st.integers(0, 10**6)))
def test_no_event_is_lost_or_names_a_series(events: dict[str, int]) -> None:
    """The sum is what came, whatever the engine calls it."""
    look = picture(engines=(contact(events=events),))
    found = values(look, "lbwatch_source_events_total", "action")
    assert sum(found.values()) == sum(events.values())
    assert found.keys() <= ACTIONS | {"other"}


# -- passes and reloads


def test_passes_are_counted_by_outcome_and_those_that_never_came_are_zero() -> None:
    """A counter that appears with its first failure has no increase, and its alert never fires."""
    assert values(picture(), "lbwatch_passes_total", "outcome") == dict.fromkeys(OUTCOMES, 0)
    history = History()
    history.applied(applied(), at=AT, took_s=0.1, heard_s=None)
    history.applied(applied(reloaded=False), at=AT, took_s=0.1, heard_s=None)
    for number, outcome in enumerate(OUTCOMES[2:], start=2):
        for _ in range(number):
            history.failed(outcome, error="no", at=AT, took_s=0.1)
    look = picture(history=history)
    wanted = {"verified": 1, "unchanged": 1} | {outcome: n for n, outcome in enumerate(OUTCOMES[2:], start=2)}
    assert values(look, "lbwatch_passes_total", "outcome") == wanted
    assert value(look, "lbwatch_pass_duration_seconds_count") == sum(wanted.values())
    assert values(look, "lbwatch_reloads_total", "outcome") == {"ok": 1, "failed": wanted["nginx.reload_failed"]}
    assert value(look, "lbwatch_render_failures_total") == wanted["template.failed"]


def test_whatever_can_end_a_pass_has_its_counter() -> None:
    """A failure that is in no metric is in no alert."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.LbwatchError)]
    assert len(kinds) > 10
    ends_no_pass = errors.StateError.event
    assert {kind.event for kind in kinds} - {ends_no_pass} <= set(OUTCOMES)


def test_an_apply_that_changed_nothing_is_no_reload_and_has_no_latency() -> None:
    """The latency is of changes; thousands of passes that do nothing would hide the slow ones."""
    history = History()
    history.applied(applied(reloaded=False, changed=False), at=AT, took_s=0.01, heard_s=5.0)
    look = picture(history=history)
    assert value(look, "lbwatch_event_to_verified_seconds_count") == 0
    assert values(look, "lbwatch_reloads_total", "outcome") == {"ok": 0, "failed": 0}
    assert history.copy().changes == ()


def test_a_change_that_no_event_told_has_no_latency() -> None:
    """At the start, and after drift, there is nothing to measure from; 0 s would be a lie."""
    history = History()
    history.applied(applied(), at=AT, took_s=0.1, heard_s=None)
    history.applied(applied(), at=AT, took_s=0.1, heard_s=0.25)
    look = picture(history=history)
    assert value(look, "lbwatch_event_to_verified_seconds_count") == 1
    assert value(look, "lbwatch_event_to_verified_seconds_sum") == 0.25


def buckets(look: Status, name: str) -> list[tuple[float, float]]:
    found = values(look, f"{name}_bucket", "le")
    return [(float(bound), count) for bound, count in found.items()]


DURATIONS = st.floats(0.0, 100.0) | st.sampled_from(BUCKETS_S)


@settings(max_examples=40)  # each is a whole exposition
@given(st.lists(DURATIONS))
@example([*BUCKETS_S])
@example([31.0])
@example([0.0])
def test_the_buckets_are_cumulative_and_end_with_all(durations: list[float]) -> None:
    """Prometheus takes any numbers and computes nonsense from wrong ones; a bound belongs to its own bucket."""
    history = History()
    for seconds in durations:
        history.applied(applied(), at=AT, took_s=seconds / 2, heard_s=seconds)
    look = picture(history=history)
    found = buckets(look, "lbwatch_event_to_verified_seconds")
    assert [bound for bound, _ in found] == [*BUCKETS_S, math.inf]
    assert found == [(bound, sum(seconds <= bound for seconds in durations)) for bound, _ in found]
    assert value(look, "lbwatch_event_to_verified_seconds_count") == len(durations)
    assert value(look, "lbwatch_event_to_verified_seconds_sum") == pytest.approx(sum(durations))
    took = buckets(look, "lbwatch_pass_duration_seconds")
    assert took == [(bound, sum(seconds / 2 <= bound for seconds in durations)) for bound, _ in took]


def test_what_is_owed_and_for_how_long_is_told() -> None:
    """The two numbers by which a nginx that does not follow is seen."""
    look = picture(progress=progress(confirmed=False, behind_since=960.0, error="nginx is not running here"))
    assert value(look, "lbwatch_reload_owed") == 1
    assert value(look, "lbwatch_behind_seconds") == 40
    assert value(look, "lbwatch_ready") == 0
    assert value(picture(), "lbwatch_reload_owed") == 0
    assert value(picture(), "lbwatch_behind_seconds") == 0


def test_a_candidate_that_nginx_refuses_owes_no_reload() -> None:
    """What was brought into force last still runs; whoever is told otherwise looks for the fault in the wrong place."""
    look = picture(progress=progress(behind_since=960.0, error="[emerg] no"))
    assert value(look, "lbwatch_reload_owed") == 0
    assert value(look, "lbwatch_ready") == 0


# -- what is in force


def test_servers_are_counted_by_upstream_and_state_and_those_that_are_none_are_zero() -> None:
    """A state that goes away must fall to 0, not vanish: an alert on `down > 0` would hang at its last value."""
    upstreams = (
        Upstream(name="api", servers=(server("a", 2), server("b", 3))),
        Upstream(name="empty"),
        Upstream(name="sick", servers=(server("c", 4),)),
    )
    look = picture(Plan(upstreams=upstreams, makeshifts={"sick": ServerState.UNHEALTHY}))
    found = {dict(labels)["upstream"]: {} for name, labels in samples(exposition(look)) if name == "lbwatch_servers"}
    for (name, labels), count in samples(exposition(look)).items():
        if name == "lbwatch_servers":
            found[dict(labels)["upstream"]][dict(labels)["state"]] = count
    zero = dict.fromkeys(("up", "draining", "unhealthy", "down"), 0)
    assert found == {"api": zero | {"up": 2}, "empty": zero | {"down": 1}, "sick": zero | {"unhealthy": 1}}


def test_servers_are_those_that_nginx_runs_and_not_those_that_it_should() -> None:
    """Else everything looks well while nothing gets through."""
    wanted = Plan(upstreams=(Upstream(name="web", servers=(server("a", 2), server("b", 3))),))
    runs = (Upstream(name="web", servers=(server("a", 2),)),)
    look = picture(progress=progress(wanted, in_force=runs, error="[emerg] no", behind_since=990.0))
    assert value(look, "lbwatch_servers", upstream="web", state="up") == 1
    assert value(look, "lbwatch_containers_skipped", reason="not-in-force") == 1


def test_skipped_containers_are_counted_by_each_reason() -> None:
    """Every reason is there from the beginning, so that an alert on one can be written before it is met."""
    skipped = tuple(Skipped(container=f"c{number}", reason=reason, detail="") for number, reason in enumerate(Reason))
    twice = (Skipped(container="twice", reason=Reason.NO_PORT, detail=""),)
    found = values(picture(Plan(skipped=skipped + twice)), "lbwatch_containers_skipped", "reason")
    assert found == dict.fromkeys(map(str, Reason), 1) | {"no-port": 2}
    assert values(picture(), "lbwatch_containers_skipped", "reason") == dict.fromkeys(map(str, Reason), 0)


def test_upstreams_that_are_not_written_as_they_should_be_are_counted_by_level() -> None:
    """The daemon is in step with the rest, so that only this number tells."""
    degraded = tuple(
        Degraded(upstream=name, level=level, error="no")
        for name, level in (("a", Level.PLAIN), ("b", Level.EMPTY), ("c", Level.EMPTY))
    )
    look = picture(progress=progress(degraded=degraded))
    assert values(look, "lbwatch_upstreams_reduced", "form") == {"plain": 1, "empty": 2, "out": 0}


def test_the_digests_on_disk_and_running_are_told_as_far_as_they_are_known() -> None:
    """Where they differ the next start of nginx takes another configuration than the one that was proven."""

    def digests(look: Status) -> dict[str, str]:
        found = [dict(labels) for name, labels in samples(exposition(look)) if name == "lbwatch_config_info"]
        return {labels["where"]: labels["digest"] for labels in found}

    assert digests(picture()) == {"disk": DIGEST, "running": DIGEST}
    assert digests(picture(seen=BalancerStatus(digest="f" * 12, running=DIGEST))) == {
        "disk": "f" * 12,
        "running": DIGEST,
    }
    assert digests(picture(seen=BalancerStatus(running=DIGEST))) == {"running": DIGEST}
    assert digests(picture(seen=BalancerStatus(digest=DIGEST))) == {"disk": DIGEST}


def test_old_workers_are_counted_where_they_can_be_seen() -> None:
    """Each costs memory; where none can be seen, 0 would be a lie."""
    assert values(picture(seen=BalancerStatus(workers=(4, 9))), "lbwatch_nginx_workers", "state") == {
        "serving": 4,
        "retiring": 9,
    }
    assert values(picture(seen=BalancerStatus(workers=None)), "lbwatch_nginx_workers", "state") == {}


# -- who may write into it

MARK = "evil"
EVIL = (*(f"{MARK}{text}" for text in NASTY), f'{MARK}"}} 1\nlbwatch_ready 1', f"{MARK}\\", f"exec_start: {MARK}")


def strings(text: bytes) -> Iterable[str]:
    """All label values of a text, and all comments."""
    for family in text_string_to_metric_families(text.decode()):
        yield family.documentation
        for sample in family.samples:
            yield from sample.labels.values()


@settings(max_examples=40)  # each is a whole exposition
@given(st.sampled_from(EVIL), st.sampled_from(EVIL), st.sampled_from(sorted(Reason)))
def test_no_text_of_a_container_gets_into_the_metrics(one: str, other: str, reason: Reason) -> None:
    """Whoever may start a container must not forge a metric, and none may make series without end."""
    degraded = Degraded(upstream="web", level=Level.PLAIN, error=one)
    plan = Plan(
        upstreams=(Upstream(name="web", servers=(server(one),), method=f"hash {MARK}"),),
        skipped=(Skipped(container=other, reason=reason, detail=one, upstream=other),),
        notices=(Notice(container=one, kind=NoticeKind.UNKNOWN_LABEL, detail=other),),
    )
    history = History()
    history.applied(applied(difference=one), at=AT, took_s=0.1, heard_s=0.1)
    history.failed("nginx.rejected", error=other, at=AT, took_s=0.1)
    history.decided(plan, at=AT)
    text = exposition(
        picture(
            engines=(contact(events={one: 1, other: 2}, connected=False, error=one),),
            progress=progress(plan, degraded=(degraded,), error=one, behind_since=1.0),
            work=history.copy(),
            seen=BalancerStatus(digest=DIGEST, workers=(1, 1), remarks=(one, other)),
        )
    )
    assert not [each for each in strings(text) if MARK in each]
    assert MARK.encode() not in text
    assert samples(text)["lbwatch_ready", ()] == 0


def test_hostile_labels_and_names_of_real_containers_do_not_get_in_either() -> None:
    """The same by the whole way that a container's words take, with the names that are accepted as the only exception."""
    hostile = [
        container(f"c{number}", name=text, labels={"lbwatch.upstream": text, f"lbwatch.{text}": text, text: text})
        for number, text in enumerate(EVIL)
    ]
    plan = decide(*hostile, container("web", labels={"lbwatch.upstream": "good"}))
    text = exposition(picture(plan))
    accepted = {upstream.name for upstream in plan.upstreams}
    assert "good" in accepted
    assert all(UPSTREAM_NAME.fullmatch(name) for name in accepted)
    assert {each for each in strings(text) if MARK in each} <= accepted


# -- the journal


def test_the_journal_keeps_the_latest_changes_and_no_more() -> None:
    """A daemon runs for months."""
    history = History()
    for number in range(KEPT_CHANGES * 3):
        history.applied(applied(digest=f"{number:012}"), at=number, took_s=0.1, heard_s=None)
    changes = history.copy().changes
    assert KEPT_CHANGES == 50
    assert [change.at for change in changes] == list(range(100, 150)), "oldest first"
    assert history.copy().passes == {"verified": 150}
    told = [each.at for each in report_of(picture(history=history)).changes]
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


OUTCOME = st.sampled_from(OUTCOMES[2:])
DEEDS = st.lists(st.tuples(OUTCOME, st.sampled_from(["one", "two"])) | st.none(), max_size=40)


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
    return Plan(upstreams=(Upstream(name=upstream, servers=tuple(server(name) for name in names)),))


def test_since_keeps_its_time_while_nothing_changes_and_renews_it_when_something_does() -> None:
    """`for 3 days` must not begin anew because another container came."""
    history = History()
    history.decided(routed("a"), at=1.0)
    history.decided(routed("a"), at=2.0)
    history.decided(routed("a", "b"), at=3.0)
    assert history.copy().since == {("a", "web"): 1.0, ("b", "web"): 3.0}
    out = Plan(skipped=(Skipped(container="a", reason=Reason.PAUSED, detail="", upstream="web"),))
    history.decided(out, at=4.0)
    assert history.copy().since == {("a", "web"): 4.0}, "and who is gone is forgotten"
    history.decided(routed("a", "b"), at=5.0)
    assert history.copy().since == {("a", "web"): 5.0, ("b", "web"): 5.0}


def test_since_renews_with_the_state_and_the_reason_and_not_with_the_words() -> None:
    """The words may count seconds; each upstream of a container has its own time."""
    history = History()

    def skip(reason: Reason, detail: str) -> Plan:
        return Plan(skipped=(Skipped(container="a", reason=reason, detail=detail),))

    history.decided(skip(Reason.RESTART_LOOP, "for 5 s"), at=1.0)
    history.decided(skip(Reason.RESTART_LOOP, "for 4 s"), at=2.0)
    assert history.copy().since == {("a", None): 1.0}
    history.decided(skip(Reason.NOT_RUNNING, "for 4 s"), at=3.0)
    assert history.copy().since == {("a", None): 3.0}
    both = Plan(upstreams=(*routed("a").upstreams, *routed("a", upstream="api").upstreams))
    history.decided(both, at=4.0)
    makeshift = Plan(upstreams=both.upstreams, makeshifts={"api": ServerState.DRAINING})
    history.decided(makeshift, at=5.0)
    assert history.copy().since == {("a", "web"): 4.0, ("a", "api"): 5.0}


SEATS = st.dictionaries(st.sampled_from("abc"), st.sampled_from([None, Reason.PAUSED, Reason.STARTING]))


@given(st.lists(SEATS, max_size=12))
def test_since_is_the_beginning_of_the_latest_run_of_the_same(passes: list[dict[str, Reason | None]]) -> None:
    """The law behind the examples above: `None` is routed here."""
    history = History()
    for at, seats in enumerate(passes):
        names = [name for name, reason in seats.items() if reason is None]
        skipped = tuple(
            Skipped(container=name, reason=reason, detail="", upstream="web")
            for name, reason in seats.items()
            if reason is not None
        )
        history.decided(Plan(upstreams=routed(*names).upstreams, skipped=skipped), at=float(at))
    wanted = {}
    for name, reason in (passes[-1] if passes else {}).items():
        began = len(passes) - 1
        while began and passes[began - 1].get(name, "absent") == reason:
            began -= 1
        wanted[name, "web"] = float(began)
    assert history.copy().since == wanted


def test_a_copy_does_not_change_with_the_journal() -> None:
    """It is read in another thread while the loop goes on."""
    history = History()
    history.applied(applied(), at=AT, took_s=0.1, heard_s=0.1)
    history.decided(routed("a"), at=1.0)
    copy = history.copy()
    before = exposition(picture(work=copy)), copy.changes, dict(copy.since)
    history.applied(applied(), at=AT, took_s=7.0, heard_s=7.0)
    history.failed("nginx.rejected", error="no", at=AT, took_s=7.0)
    history.decided(routed("b"), at=2.0)
    assert (exposition(picture(work=copy)), copy.changes, dict(copy.since)) == before


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
