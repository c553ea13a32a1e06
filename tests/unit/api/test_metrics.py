"""The metrics: what is counted, that it is bounded, and that no container writes into it."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from statuses import (
    AT,
    DIGEST,
    SOURCE,
    applied,
    applied_plan,
    engine_status,
    full_status,
    made_plan,
    made_status,
    samples,
    server,
)
from strategies import NASTY, OwnersNotice, container, decide

from lbwatch.api.metrics import ACTIONS, CONTENT_TYPE, OUTCOMES, exposition
from lbwatch.core import errors
from lbwatch.core.history import BUCKETS_S, AppliedPlan, History
from lbwatch.core.model import (
    UPSTREAM_NAME,
    BalancerStatus,
    Degraded,
    EngineStatus,
    Level,
    Method,
    NoticeKind,
    Plan,
    Reason,
    Route,
    ServerState,
    Upstream,
    Waiting,
)
from lbwatch.core.status import Status

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
    text = exposition(full_status())
    assert text.endswith(b"\n")
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")
    for family in text_string_to_metric_families(text.decode()):
        assert family.name.startswith("lbwatch_")
        assert family.documentation.endswith(".")
        assert family.type in ("gauge", "counter", "histogram")
        assert family.samples, f"{family.name} has nothing"


def test_all_that_the_issue_asks_for_is_there() -> None:
    """Each of them is in somebody's alert or dashboard; a rename breaks those silently."""
    names = {name for name, _ in samples(exposition(full_status()))}
    assert names == {
        "lbwatch_build_info",
        "lbwatch_log_dropped_total",
        "lbwatch_status_wrong_passwords_total",
        "lbwatch_ready",
        "lbwatch_source_connected",
        "lbwatch_source_stream_age_seconds",
        "lbwatch_source_last_sync_age_seconds",
        "lbwatch_source_containers",
        "lbwatch_source_stale_seconds",
        "lbwatch_source_kept",
        "lbwatch_source_info",
        "lbwatch_swarm_services",
        "lbwatch_swarm_tasks",
        "lbwatch_swarm_nodes",
        "lbwatch_swarm_looks_total",
        "lbwatch_source_drift_total",
        "lbwatch_source_events_total",
        "lbwatch_passes_total",
        "lbwatch_pass_duration_seconds_bucket",
        "lbwatch_pass_duration_seconds_count",
        "lbwatch_pass_duration_seconds_sum",
        "lbwatch_reloads_total",
        "lbwatch_pushes_total",
        "lbwatch_reload_owed",
        "lbwatch_render_failures_total",
        "lbwatch_event_to_verified_seconds_bucket",
        "lbwatch_event_to_verified_seconds_count",
        "lbwatch_event_to_verified_seconds_sum",
        "lbwatch_behind_seconds",
        "lbwatch_servers",
        "lbwatch_containers_skipped",
        "lbwatch_upstreams_reduced",
        "lbwatch_sites",
        "lbwatch_sites_closed",
        "lbwatch_certificate_expires_timestamp_seconds",
        "lbwatch_upstream_waiting_requests",
        "lbwatch_upstream_paused",
        "lbwatch_live",
        "lbwatch_config_info",
        "lbwatch_nginx_info",
        "lbwatch_nginx_workers",
    }


def test_the_same_picture_gives_the_same_text() -> None:
    """It is made in a thread, of copies: nothing of it may depend on when."""
    assert exposition(full_status()) == exposition(full_status())


def test_a_daemon_that_knows_nothing_yet_has_metrics_too() -> None:
    """The first scrape comes at any time, and the alerts are about just such daemons."""
    nothing = made_status(
        engines=(EngineStatus(source=SOURCE, connected=False, since=999.0),),
        applied=AppliedPlan(plan=None, in_force=None),
        balancer=BalancerStatus(),
    )
    found = samples(exposition(nothing))
    assert found["lbwatch_ready", ()] == 0
    assert found["lbwatch_reload_owed", ()] == 0, "nothing was decided, so that nothing is owed"
    assert found["lbwatch_source_connected", (("source", SOURCE),)] == 0
    absent = ("last_sync_age", "source_containers", "config_info", "nginx_workers", "lbwatch_servers")
    assert not [name for name, _ in found if any(each in name for each in absent)]


def test_lines_that_the_log_lacks_are_counted() -> None:
    """Whoever searches the log for what is not there must be able to know."""
    assert samples(exposition(made_status(log_dropped=7)))["lbwatch_log_dropped_total", ()] == 7


def test_what_runs_is_told() -> None:
    """Half of all questions of support begin with it."""
    (labels,) = [dict(labels) for name, labels in samples(exposition(made_status())) if name == "lbwatch_build_info"]
    assert labels["version"] == "1.2.3"
    assert re.fullmatch(r"3\.\d+\.\d+.*", labels["python"])


# -- the engine


def test_the_stream_and_the_latest_look_are_told_by_their_age() -> None:
    """An age needs no clock that two machines agree on."""
    look = made_status(engines=(engine_status(since=940.0, synced_at=980.0, drift=7, containers=12),))
    assert value(look, "lbwatch_source_connected", source=SOURCE) == 1
    assert value(look, "lbwatch_source_stream_age_seconds", source=SOURCE) == 60
    assert value(look, "lbwatch_source_last_sync_age_seconds", source=SOURCE) == 20
    assert value(look, "lbwatch_source_drift_total", source=SOURCE) == 7
    assert value(look, "lbwatch_source_containers", source=SOURCE) == 12


def test_each_engine_has_its_own_series() -> None:
    """One that is lost must not hide behind one that is there."""
    other = "tcp://10.0.0.2:2376"
    look = made_status(
        engines=(engine_status(), engine_status(source=other, connected=False, error="refused", containers=0))
    )
    assert values(look, "lbwatch_source_connected", "source") == {SOURCE: 1, other: 0}
    assert values(look, "lbwatch_source_containers", "source") == {SOURCE: 3, other: 0}
    assert value(look, "lbwatch_ready") == 0


def test_how_old_the_truth_about_an_engine_is_has_a_number() -> None:
    """What an alert is for: servers of a host that nobody has seen for an hour are still in nginx."""
    engines = (
        engine_status(source="followed"),
        engine_status(source="away", connected=False, since=960.0, error="refused"),
        engine_status(source="renewed", connected=False, since=999.9),
        engine_status(source="kept", connected=False, since=700.0, synced_at=None, kept=True, error="refused"),
        engine_status(source="unknown", connected=False, since=700.0, synced_at=None, error="refused"),
        engine_status(source="leaderless", kind="swarm", synced_at=950.0, error="it has no leader"),
    )
    look = made_status(engines=engines)
    stale = {"followed": 0, "away": 10, "renewed": 0, "kept": 300, "leaderless": 50}
    assert values(look, "lbwatch_source_stale_seconds", "source") == stale
    kept = values(look, "lbwatch_source_kept", "source")
    assert [source for source, is_kept in kept.items() if is_kept] == ["kept"]


def test_an_engine_that_is_away_keeps_its_series_and_no_other_one_is_like_it() -> None:
    """A series that ends looks like an engine that was taken out on purpose, and its alert ends with it."""
    engines = (
        engine_status(source="a", containers=3),
        engine_status(source="b", connected=False, since=940.0, synced_at=930.0, containers=2, error="refused"),
        engine_status(source="c", connected=False, since=940.0, synced_at=None, containers=None, error="refused"),
        engine_status(source="swarm", kind="swarm", containers=7, services=1, tasks=7, nodes=3),
    )
    look = made_status(engines=engines)
    assert values(look, "lbwatch_source_connected", "source") == {"a": 1, "b": 0, "c": 0, "swarm": 1}
    assert values(look, "lbwatch_source_stream_age_seconds", "source")["b"] == 60
    assert values(look, "lbwatch_source_last_sync_age_seconds", "source") == {"a": 10, "b": 70, "swarm": 10}
    assert values(look, "lbwatch_source_containers", "source") == {"a": 3, "b": 2, "swarm": 7}
    for source, kind in (("a", "engine"), ("b", "engine"), ("c", "engine"), ("swarm", "swarm")):
        assert value(look, "lbwatch_source_info", source=source, kind=kind, role="", address="") == 1
    assert value(look, "lbwatch_ready") == 0


def test_a_swarm_is_counted_and_an_engine_alone_is_none() -> None:
    """How big it is decides how often it can be asked; an engine would have four series that say nothing."""
    swarm = engine_status(source="swarm", kind="swarm", services=2, tasks=7, nodes=None, looks=11)
    manager = engine_status(source="m1", role="manager", address="10.0.0.1")
    look = made_status(engines=(manager, swarm))
    assert value(look, "lbwatch_swarm_services", source="swarm") == 2
    assert value(look, "lbwatch_swarm_tasks", source="swarm") == 7
    assert value(look, "lbwatch_swarm_nodes", source="swarm") is None, "they were not read yet"
    assert value(look, "lbwatch_swarm_looks_total", source="swarm") == 11
    assert value(look, "lbwatch_swarm_tasks", source="m1") is None
    assert value(look, "lbwatch_source_info", source="m1", kind="engine", role="manager", address="10.0.0.1") == 1
    assert not [name for name, _ in samples(exposition(made_status())) if "swarm" in name]


def test_an_engine_without_containers_has_none_and_not_no_number() -> None:
    """0 is a fact; absent means that it was not read."""
    assert value(made_status(engines=(engine_status(containers=0),)), "lbwatch_source_containers", source=SOURCE) == 0


def test_events_are_counted_by_their_names_and_unknown_ones_together() -> None:
    """A future engine's events, or a broken proxy's, must not make series without end."""
    events = {"start": 3, "health_status": 2, "exec_create": 5, "exec_start": 5, "exec_start: sh -c 'x'": 1, "\n": 1}
    look = made_status(engines=(engine_status(events=events),))
    assert values(look, "lbwatch_source_events_total", "action") == {"start": 3, "health_status": 2, "other": 12}


@settings(max_examples=40)  # each is a whole exposition
@given(st.dictionaries(st.sampled_from(sorted(ACTIONS)) | st.text() | st.sampled_from(NASTY), st.integers(0, 10**6)))
def test_no_event_is_lost_or_names_a_series(events: dict[str, int]) -> None:
    """The sum is what came, whatever the engine calls it."""
    look = made_status(engines=(engine_status(events=events),))
    found = values(look, "lbwatch_source_events_total", "action")
    assert sum(found.values()) == sum(events.values())
    assert found.keys() <= ACTIONS | {"other"}


# -- passes and reloads


def test_passes_are_counted_by_outcome_and_those_that_never_came_are_zero() -> None:
    """A counter that appears with its first failure has no increase, and its alert never fires."""
    assert values(made_status(), "lbwatch_passes_total", "outcome") == dict.fromkeys(OUTCOMES, 0)
    history = History()
    history.applied(applied(), at=AT, took_s=0.1, heard_s=None)
    history.applied(applied(reloaded=False), at=AT, took_s=0.1, heard_s=None)
    history.applied(applied(reloaded=False, event="nginx.pushed"), at=AT, took_s=0.1, heard_s=None)
    for number, outcome in enumerate(OUTCOMES[3:], start=2):
        for _ in range(number):
            history.failed(outcome, error="no", at=AT, took_s=0.1)
    look = made_status(history=history)
    wanted = {"verified": 1, "unchanged": 1, "pushed": 1}
    wanted |= {outcome: n for n, outcome in enumerate(OUTCOMES[3:], start=2)}
    assert values(look, "lbwatch_passes_total", "outcome") == wanted
    assert value(look, "lbwatch_pass_duration_seconds_count") == sum(wanted.values())
    assert values(look, "lbwatch_reloads_total", "outcome") == {"ok": 1, "failed": wanted["nginx.reload_failed"]}
    assert value(look, "lbwatch_pushes_total") == 1
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
    look = made_status(history=history)
    assert value(look, "lbwatch_event_to_verified_seconds_count") == 0
    assert values(look, "lbwatch_reloads_total", "outcome") == {"ok": 0, "failed": 0}
    assert not history.copy().changes


def test_a_change_that_no_event_told_has_no_latency() -> None:
    """At the start, and after drift, there is nothing to measure from; 0 s would be a lie."""
    history = History()
    history.applied(applied(), at=AT, took_s=0.1, heard_s=None)
    history.applied(applied(), at=AT, took_s=0.1, heard_s=0.25)
    look = made_status(history=history)
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
    look = made_status(history=history)
    found = buckets(look, "lbwatch_event_to_verified_seconds")
    assert [bound for bound, _ in found] == [*BUCKETS_S, math.inf]
    assert found == [(bound, sum(seconds <= bound for seconds in durations)) for bound, _ in found]
    assert value(look, "lbwatch_event_to_verified_seconds_count") == len(durations)
    assert value(look, "lbwatch_event_to_verified_seconds_sum") == pytest.approx(sum(durations))
    took = buckets(look, "lbwatch_pass_duration_seconds")
    assert took == [(bound, sum(seconds / 2 <= bound for seconds in durations)) for bound, _ in took]


def test_what_is_owed_and_for_how_long_is_told() -> None:
    """The two numbers by which a nginx that does not follow is seen."""
    look = made_status(applied=applied_plan(confirmed=False, behind_since=960.0, error="nginx is not running here"))
    assert value(look, "lbwatch_reload_owed") == 1
    assert value(look, "lbwatch_behind_seconds") == 40
    assert value(look, "lbwatch_ready") == 0
    assert value(made_status(), "lbwatch_reload_owed") == 0
    assert value(made_status(), "lbwatch_behind_seconds") == 0


def test_a_candidate_that_nginx_refuses_owes_no_reload() -> None:
    """What was brought into force last still runs; whoever is told otherwise looks for the fault in the wrong place."""
    look = made_status(applied=applied_plan(behind_since=960.0, error="[emerg] no"))
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
    look = made_status(made_plan(upstreams, last_resort={"sick": ServerState.UNHEALTHY}))
    found = {dict(labels)["upstream"]: {} for name, labels in samples(exposition(look)) if name == "lbwatch_servers"}
    for (name, labels), count in samples(exposition(look)).items():
        if name == "lbwatch_servers":
            found[dict(labels)["upstream"]][dict(labels)["state"]] = count
    zero = dict.fromkeys(("up", "draining", "unhealthy", "down"), 0)
    assert found == {"api": zero | {"up": 2}, "empty": zero | {"down": 1}, "sick": zero | {"unhealthy": 1}}


def test_servers_are_those_that_nginx_runs_and_not_those_that_it_should() -> None:
    """Else everything looks well while nothing gets through."""
    wanted = made_plan([Upstream(name="web", servers=(server("a", 2), server("b", 3)))])
    runs = (Upstream(name="web", servers=(server("a", 2),)),)
    look = made_status(applied=applied_plan(wanted, in_force=runs, error="[emerg] no", behind_since=990.0))
    assert value(look, "lbwatch_servers", upstream="web", state="up") == 1
    assert value(look, "lbwatch_containers_skipped", reason="not-in-force") == 1


def test_skipped_containers_are_counted_by_each_reason() -> None:
    """Every reason is there from the beginning, so that an alert on one can be written before it is met."""
    skipped = tuple(Route(container=f"c{number}", reason=reason, detail="") for number, reason in enumerate(Reason))
    twice = (Route(container="twice", reason=Reason.NO_PORT, detail=""),)
    found = values(made_status(made_plan(unrouted=skipped + twice)), "lbwatch_containers_skipped", "reason")
    assert found == dict.fromkeys(map(str, Reason), 1) | {"no-port": 2}
    assert values(made_status(), "lbwatch_containers_skipped", "reason") == dict.fromkeys(map(str, Reason), 0)


def test_upstreams_that_are_not_written_as_they_should_be_are_counted_by_level() -> None:
    """The daemon is in step with the rest, so that only this number tells."""
    degraded = tuple(
        Degraded(upstream=name, level=level, error="no")
        for name, level in (("a", Level.PLAIN), ("b", Level.EMPTY), ("c", Level.EMPTY))
    )
    look = made_status(applied=applied_plan(degraded=degraded))
    assert values(look, "lbwatch_upstreams_reduced", "form") == {"plain": 1, "empty": 2, "out": 0}


def test_the_digests_on_disk_and_running_are_told_as_far_as_they_are_known() -> None:
    """Where they differ the next start of nginx takes another configuration than the one that was proven."""

    def digests(look: Status) -> dict[str, str]:
        found = [dict(labels) for name, labels in samples(exposition(look)) if name == "lbwatch_config_info"]
        return {labels["where"]: labels["digest"] for labels in found}

    assert digests(made_status()) == {"disk": DIGEST, "running": DIGEST}
    assert digests(made_status(balancer=BalancerStatus(digest="f" * 12, running=DIGEST))) == {
        "disk": "f" * 12,
        "running": DIGEST,
    }
    assert digests(made_status(balancer=BalancerStatus(running=DIGEST))) == {"running": DIGEST}
    assert digests(made_status(balancer=BalancerStatus(digest=DIGEST))) == {"disk": DIGEST}


def test_old_workers_are_counted_where_they_can_be_seen() -> None:
    """Each costs memory; where none can be seen, 0 would be a lie."""
    assert values(made_status(balancer=BalancerStatus(workers=(4, 9))), "lbwatch_nginx_workers", "state") == {
        "serving": 4,
        "retiring": 9,
    }
    assert values(made_status(balancer=BalancerStatus(workers=None)), "lbwatch_nginx_workers", "state") == {}


def test_the_version_of_nginx_is_a_label_and_absent_where_it_is_not_known() -> None:
    """Whoever looks after a fleet wants to know who is behind."""
    told = made_status(balancer=BalancerStatus(version="1.30.6"))
    assert values(told, "lbwatch_nginx_info", "version") == {"1.30.6": 1}
    assert values(made_status(balancer=BalancerStatus()), "lbwatch_nginx_info", "version") == {}


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
    plan = made_plan(
        [Upstream(name="web", servers=(server(one),), method=Method(name="hash", key=MARK))],
        unrouted=(Route(container=other, reason=reason, detail=one, upstream=other),),
        notices=(OwnersNotice(container=one, kind=NoticeKind.UNKNOWN_LABEL, detail=other),),
    )
    history = History()
    history.applied(applied(difference=one), at=AT, took_s=0.1, heard_s=0.1)
    history.failed("nginx.rejected", error=other, at=AT, took_s=0.1)
    history.noted(plan.routes, at=AT)
    text = exposition(
        made_status(
            engines=(engine_status(events={one: 1, other: 2}, connected=False, error=one),),
            applied=applied_plan(plan, degraded=(degraded,), error=one, behind_since=1.0),
            history=history.copy(),
            balancer=BalancerStatus(digest=DIGEST, workers=(1, 1), remarks=(one, other)),
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
    text = exposition(made_status(plan))
    accepted = {upstream.name for upstream in plan.upstreams}
    assert "good" in accepted
    assert all(UPSTREAM_NAME.fullmatch(name) for name in accepted)
    assert {each for each in strings(text) if MARK in each} <= accepted


def test_requests_that_wait_are_counted_where_any_may() -> None:
    """Zeros too, since an alert cannot compare with a series that is absent; of all other upstreams nothing."""
    upstreams = (
        Upstream(name="api", hold_s=60.0, paused=True),
        Upstream(name="plain"),
        Upstream(name="web", hold_s=15.0),
    )
    waiting = (Waiting(upstream="web", requests=3, longest_s=1.2),)
    look = made_status(Plan(upstreams=upstreams), balancer=BalancerStatus(waiting=waiting))
    assert values(look, "lbwatch_upstream_waiting_requests", "upstream") == {"api": 0, "web": 3}
    assert values(look, "lbwatch_upstream_paused", "upstream") == {"api": 1, "web": 0}


def test_whether_changes_need_a_reload_is_a_number_where_anybody_asked() -> None:
    """An alert for those who rely on it must not wake those who never did."""
    for live, wanted in ((True, 1.0), (False, 0.0), (None, None)):
        assert value(made_status(balancer=BalancerStatus(live=live)), "lbwatch_live") == wanted


def test_hosts_and_the_end_of_their_certificates_are_counted_of_what_is_in_force() -> None:
    """A certificate that ends takes its sites down, weeks after whoever renews it failed."""
    found = samples(exposition(full_status()))
    assert found["lbwatch_sites", ()] == 3
    assert found["lbwatch_sites_closed", ()] == 1
    ends = {key: value for key, value in found.items() if key[0] == "lbwatch_certificate_expires_timestamp_seconds"}
    expires = ("lbwatch_certificate_expires_timestamp_seconds", (("certificate", "a.example"),))
    assert ends == {expires: AT + 86400}


def test_a_host_that_nginx_refuses_is_no_upstream() -> None:
    status = full_status()
    refused = Degraded(upstream="~host a.example", level=Level.PLAIN, error="no")
    found = samples(exposition(replace(status, applied=replace(status.applied, degraded=(refused,)))))
    assert {key: value for key, value in found.items() if key[0] == "lbwatch_upstreams_reduced" and value} == {}
    assert found["lbwatch_sites_closed", ()] == 2
