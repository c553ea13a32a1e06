"""
The metrics, in Prometheus' text format; what each means and what to do about it stands in docs/operations.md.

No label value comes from a container but the names of accepted upstreams, and of certificates that there are as files:
they are checked and few.
"""

import platform
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from lbwatch.api.report import Report, report_of
from lbwatch.core.history import BUCKETS_S, PUSHED, VERIFIED, Distribution
from lbwatch.core.model import EngineStatus, Level, Reason, ServerState
from lbwatch.core.parts import is_upstream, sites_in
from lbwatch.core.sites.expiry import certificates_of
from lbwatch.core.status import Status, stale_s

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

ACTIONS = frozenset(
    {
        *("create", "start", "restart", "die", "kill", "stop", "destroy", "remove", "pause", "unpause", "rename"),
        *("update", "health_status", "connect", "disconnect", "unreadable"),
        *("service create", "service update", "service remove", "node create", "node update", "node remove"),
    }
)
"""Events that are counted by their own name; all others are `other`."""

OUTCOMES = (
    VERIFIED,
    "unchanged",
    PUSHED,
    "template.failed",
    "nginx.rejected",
    "nginx.config_broken",
    "output.failed",
    "nginx.reload_failed",
    "reconcile.failed",
)


def exposition(status: Status) -> bytes:
    """Return the metrics of a status."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(status))
    return generate_latest(registry)


class _Collector:
    """A source of metrics, as the client library asks for them."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterable[Metric]:
        """Return all metrics of the status."""
        status = self._status
        report = report_of(status)
        build = InfoMetricFamily("lbwatch_build", "What runs: its version, and that of Python.")
        build.add_metric([], {"version": status.version, "python": platform.python_version()})
        yield build
        yield _gauge("lbwatch_ready", "Whether every engine is in step and the last apply is verified.", report.ready)
        yield CounterMetricFamily(
            "lbwatch_log_dropped", "Lines of the log that standard error did not take.", value=status.log_dropped
        )
        yield CounterMetricFamily(
            "lbwatch_status_wrong_passwords",
            "Wrong passwords that were shown to the status server.",
            value=status.wrong_passwords,
        )
        yield from _engines(status)
        yield from _passes(status)
        yield from _in_force(status, report)
        yield from _nginx(status)


def _engines(status: Status) -> Iterable[Metric]:
    engines, now = status.engines, status.now
    yield _by_source(
        "lbwatch_source_connected",
        "Whether the engine's stream of events holds.",
        {each.source: each.connected for each in engines},
    )
    yield _by_source(
        "lbwatch_source_stream_age_seconds",
        "For how long the stream has been as it is, connected or not.",
        {each.source: now - each.since for each in engines},
    )
    yield _by_source(
        "lbwatch_source_last_sync_age_seconds",
        "How long ago the latest full look at the engine ended; absent before the first.",
        {each.source: now - each.synced_at for each in engines if each.synced_at is not None},
    )
    yield _by_source(
        "lbwatch_source_containers",
        "How many containers the engine has, stopped ones too; absent before the first full look.",
        {each.source: each.containers for each in engines if each.containers is not None},
    )
    yield _by_source(
        "lbwatch_source_stale_seconds",
        "For how long nothing new is known of it, at least since the start; 0: it is. Absent while nothing is known.",
        {each.source: stale for each in engines if (stale := stale_s(each, now=now)) is not None},
    )
    yield _by_source(
        "lbwatch_source_kept",
        "Whether what is known of it is from before the latest start of lbwatch.",
        {each.source: each.kept for each in engines},
    )
    yield _kinds(engines)
    yield from _swarms([each for each in engines if each.kind == "swarm"])
    drift = CounterMetricFamily(
        "lbwatch_source_drift", "Changes that a full look found and no event reported.", labels=["source"]
    )
    events = CounterMetricFamily(
        "lbwatch_source_events", "Events that came, by the engine's name for them.", labels=["source", "action"]
    )
    for engine in engines:
        drift.add_metric([engine.source], engine.drift)
        # A series for each word that an engine may ever send would have no bound.
        counts: Counter[str] = Counter()
        for action, count in engine.events.items():
            counts[action if action in ACTIONS else "other"] += count
        for action, count in sorted(counts.items()):
            events.add_metric([engine.source, action], count)
    yield drift
    yield events


def _kinds(engines: Iterable[EngineStatus]) -> Metric:
    """Return what each of them is; a role changes as seldom as managers are promoted."""
    info = InfoMetricFamily("lbwatch_source", "What it is.", labels=["source"])
    for each in engines:
        info.add_metric([each.source], {"kind": each.kind, "role": each.role, "address": each.address})
    return info


def _swarms(swarms: Collection[EngineStatus]) -> Iterable[Metric]:
    """Return how big the Swarms are, and what they are asked; nothing where none is followed."""
    if not swarms:
        return
    for what, count in (
        ("services", {each.source: each.services for each in swarms}),
        ("tasks", {each.source: each.tasks for each in swarms}),
        ("nodes", {each.source: each.nodes for each in swarms}),
    ):
        known = {source: number for source, number in count.items() if number is not None}
        yield _by_source(f"lbwatch_swarm_{what}", f"The Swarm's {what}; absent before they were read.", known)
    looks = CounterMetricFamily("lbwatch_swarm_looks", "How often its tasks were asked for.", labels=["source"])
    for each in swarms:
        looks.add_metric([each.source], each.looks)
    yield looks


def _passes(status: Status) -> Iterable[Metric]:
    work, progress = status.history, status.applied
    passes = CounterMetricFamily(
        "lbwatch_passes", "Tries to bring something into force, by what came of them.", labels=["outcome"]
    )
    reloads = CounterMetricFamily("lbwatch_reloads", "Reloads of nginx, by what came of them.", labels=["outcome"])
    for outcome in OUTCOMES:
        passes.add_metric([outcome], work.passes.get(outcome, 0))
    reloads.add_metric(["ok"], work.passes.get(VERIFIED, 0))
    reloads.add_metric(["failed"], work.passes.get("nginx.reload_failed", 0))
    yield passes
    yield _histogram(
        "lbwatch_pass_duration_seconds", "How long such a try took, with its verification.", work.durations
    )
    yield reloads
    yield CounterMetricFamily(
        "lbwatch_pushes", "Changes that every worker took without a reload.", value=work.passes.get(PUSHED, 0)
    )
    yield CounterMetricFamily(
        "lbwatch_render_failures", "Tries that the template failed.", value=work.passes.get("template.failed", 0)
    )
    yield _histogram(
        "lbwatch_event_to_verified_seconds",
        "From the first event of a change until nginx is seen to run it.",
        work.heard,
    )
    behind_s = 0.0 if progress.behind_since is None else status.now - progress.behind_since
    yield _gauge("lbwatch_behind_seconds", "For how long what was decided is not in force; 0: it is.", behind_s)


def _in_force(status: Status, report: Report) -> Iterable[Metric]:
    progress = status.applied
    servers = GaugeMetricFamily(
        "lbwatch_servers", "Servers by upstream and state; down is the placeholder.", labels=["upstream", "state"]
    )
    # Of the report, which says what nginx runs, and not of the plan, which says what it should; zeros too, since an
    # alert cannot compare with a series that is absent.
    for upstream in report.upstreams:
        states = Counter(str(server.state) for server in upstream.servers)
        for state in ServerState:
            servers.add_metric([upstream.name, str(state)], states.get(str(state), 0))
    skipped = GaugeMetricFamily("lbwatch_containers_skipped", "Containers not routed, by reason.", labels=["reason"])
    reasons = Counter(each.reason for each in report.unrouted)
    for reason in Reason:
        skipped.add_metric([str(reason)], reasons.get(reason, 0))
    reduced = GaugeMetricFamily(
        "lbwatch_upstreams_reduced", "Upstreams that nginx or the template refuses as they should be.", labels=["form"]
    )
    levels = Counter(str(degraded.level) for degraded in progress.degraded if is_upstream(degraded.upstream))
    for level in (Level.PLAIN, Level.EMPTY, Level.OUT):
        reduced.add_metric([str(level)], levels.get(str(level), 0))
    yield servers
    yield skipped
    yield reduced
    yield from _sites(status, report)
    yield from _waits(status)


def _sites(status: Status, report: Report) -> Iterable[Metric]:
    """Return how many hosts there are, and until when their certificates are valid; of a closed one some paths are."""
    yield _gauge("lbwatch_sites", "Hosts that nginx serves.", len(report.sites))
    closed = sum(each.is_closed for each in report.sites)
    yield _gauge("lbwatch_sites_closed", "Those of them that answer 503 to everyone, in all or at a path.", closed)
    expires = GaugeMetricFamily(
        "lbwatch_certificate_expires_timestamp_seconds",
        "Until when a certificate that a host uses is valid, since the epoch.",
        labels=["certificate"],
    )
    for each in certificates_of(sites_in(status.applied.parts or ())):
        if each.expires_at is not None:
            expires.add_metric([each.name], each.expires_at)
    yield expires


def _waits(status: Status) -> Iterable[Metric]:
    """Return what there is of requests that wait; of upstreams in which none ever does nothing."""
    waiting = GaugeMetricFamily(
        "lbwatch_upstream_waiting_requests",
        "Requests that wait for a server, or for the end of a pause, where any may.",
        labels=["upstream"],
    )
    paused = GaugeMetricFamily(
        "lbwatch_upstream_paused", "Whether all new requests wait, by hand, where any may.", labels=["upstream"]
    )
    for each in status.waits:
        waiting.add_metric([each.upstream], each.requests)
        paused.add_metric([each.upstream], float(each.paused))
    yield waiting
    yield paused


def _nginx(status: Status) -> Iterable[Metric]:
    progress, seen = status.applied, status.balancer
    owed = progress.plan is not None and not progress.confirmed
    yield _gauge("lbwatch_reload_owed", "Whether nginx is not proven to run what was brought into force last.", owed)
    digests = GaugeMetricFamily(
        "lbwatch_config_info",
        "Digest of the file on disk, and of what nginx was seen to run.",
        labels=["where", "digest"],
    )
    if seen.digest is not None:
        digests.add_metric(["disk", seen.digest], 1)
    if seen.running is not None:
        digests.add_metric(["running", seen.running], 1)
    yield digests
    if seen.live is not None:
        yield _gauge(
            "lbwatch_live",
            "Whether changes of servers go out without a reload; absent where nobody asked for that.",
            seen.live,
        )
    if seen.version is not None:
        version = InfoMetricFamily("lbwatch_nginx", "The version of nginx; absent where it cannot be known.")
        version.add_metric([], {"version": seen.version})
        yield version
    if seen.workers is not None:
        workers = GaugeMetricFamily(
            "lbwatch_nginx_workers",
            "nginx's worker processes; the retiring only end old connections.",
            labels=["state"],
        )
        for state, count in zip(("serving", "retiring"), seen.workers, strict=True):
            workers.add_metric([state], count)
        yield workers


def _gauge(name: str, help: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help, value=float(value))


def _by_source(name: str, help: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help, labels=["source"])
    for source, value in values.items():
        family.add_metric([source], float(value))
    return family


def _histogram(name: str, help: str, distribution: Distribution) -> HistogramMetricFamily:
    """Return a histogram; Prometheus wants the counts added up, each bucket with those below it."""
    family = HistogramMetricFamily(name, help, labels=[])
    counts = zip((*map(str, BUCKETS_S), "+Inf"), accumulate(distribution.counts), strict=True)
    family.add_metric([], [(bound, float(count)) for bound, count in counts], distribution.total_s)
    return family
