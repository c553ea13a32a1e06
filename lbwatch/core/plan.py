"""
From what engines say to what the load balancer should have: a pure function of its arguments.

Every container gets a `Route` for each upstream that it asks for, with a server or with the reason why it has none; one
container never harms another.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain

from lbwatch.core.changes import changed_ids
from lbwatch.core.crashloop import CrashLoops
from lbwatch.core.draining import Drains
from lbwatch.core.flapping import Flapping
from lbwatch.core.holds import Holds
from lbwatch.core.model import Container, Notice, Plan, Route, Snapshot, Suspended, Upstream
from lbwatch.core.probes import NotAccepted, PortProbe, Probes
from lbwatch.core.renames import Renames, shown_otherwise
from lbwatch.core.rules import Rules
from lbwatch.core.sites.keeping import KeptSites
from lbwatch.core.table import Table

__all__ = ["Planner", "Rules", "desired_state", "noted"]


class Planner:
    """
    Plans one pass after the other, and remembers between them what is in no engine's state.

    Args:
        rules: Returns what holds about routing now.
        drains: Knows which containers drain.
        drained_by_hand: Returns the ids of those that an operator drains now.
        paused_by_hand: Returns the names of the upstreams that an operator paused.
        known: Which are suspended, as a running daemon knows it; `None`: it is found out here.
        tries_ports: Whether the ports of those that wait for that are tried, see `probes`.

    Attributes:
        suspended: Which containers were suspended in the latest plan, and which upstreams are paused or kept.
        shown_otherwise: What containers were called in the plan before, and what the same name is shown as now; see
            `renames`.
    """

    def __init__(
        self,
        *,
        rules: Callable[[], Rules],
        drains: Drains,
        drained_by_hand: Callable[[], Collection[str]],
        paused_by_hand: Callable[[], Collection[str]] = tuple,
        known: Suspended | None = None,
        tries_ports: bool = False,
    ) -> None:
        self.suspended = Suspended()
        self.shown_otherwise: Mapping[str, str] = {}
        self._known = known
        self._rules = rules
        self._drains = drains
        self._drained_by_hand = drained_by_hand
        self._paused_by_hand = paused_by_hand
        self._crash_loops = CrashLoops()
        self._flapping = Flapping()
        self._renames = Renames()
        self._holds = Holds()
        self._kept_sites = KeptSites()
        self._probes = Probes(tries=tries_ports)
        self._table = Table()
        self._containers: Mapping[str, Container] = {}  # as of the latest plan

    @property
    def outlived_drain(self) -> frozenset[str]:
        """Return the ids of those that still run although their time to drain is over, as of the latest plan."""
        return self._drains.outlived

    def plan(self, snapshots: tuple[Snapshot, ...], *, now: float) -> Plan:
        """
        Return the plan for what there is now; the same object as before if it is the same plan.

        Args:
            snapshots: Of every engine.
            now: Loop time, in seconds; never less than at the call before.
        """
        before, self._containers = self._containers, _together(snapshots)
        changed = changed_ids(before, self._containers)
        others = [self._containers[id] for id in changed if id in self._containers]
        gone = [id for id in changed if id not in self._containers]
        self.shown_otherwise = shown_otherwise(before, others)
        rules = self._rules()
        self.suspended = self._known or Suspended(
            crash_looping=self._crash_loops.crash_looping(self._containers, changed=changed, now=now),
            draining=self._drains.draining(snapshots, by_hand=self._drained_by_hand(), now=now),
            flapping=self._flapping.flapping(others, gone=gone, now=now),
            former_names=self._renames.former_names(others, gone=gone, now=now),
            paused=frozenset(self._paused_by_hand()),
            kept=self._kept(rules, now=now),
            kept_sites=self._kept_sites.kept(now=now),
            probed=self._probes.probed(self._containers, changed=changed),
            hold_refusal=rules.hold_refusal,
        )
        plan = self._table.plan(self._containers, changed=changed, rules=rules, suspended=self.suspended)
        lost, lost_sites = self._table.lost, self._table.lost_sites
        if self._known is None and (lost or lost_sites):
            # Only now is it known which upstreams and hosts have lost their last container.
            self._holds.lose(lost, now=now)
            self._kept_sites.lose(lost_sites, emptied=self._table.emptied, now=now)
            kept_sites = self._kept_sites.kept(now=now)
            self.suspended = replace(self.suspended, kept=self._kept(rules, now=now), kept_sites=kept_sites)
            plan = self._table.plan(self._containers, changed=(), rules=rules, suspended=self.suspended)
        self._probes.keep(self._waited_for())
        return plan

    def _kept(self, rules: Rules, *, now: float) -> Mapping[str, Upstream]:
        """Return the upstreams that outlive their last container, for requests that wait or for hosts that do too."""
        held = self._holds.kept(now=now) if rules.hold_refusal is None else {}
        return {**self._kept_sites.upstreams(now=now), **held}

    @property
    def probes(self) -> tuple[PortProbe, ...]:
        """Return which ports are to be tried, as of the latest plan, until they have accepted a connection."""
        return self._probes.unanswered(self._waited_for())

    def tried(self, probe: PortProbe, failure: NotAccepted | None, *, now: float) -> str | None:
        """Note what came of a try, see `Probes.tried`; the next plan is made with it."""
        # It may be over meanwhile: whoever is gone must not be remembered.
        if probe not in self._table.waiting.get(probe.id, ()):
            return None
        return self._probes.tried(probe, failure, now=now)

    def firm_at(self, *, now: float) -> float:
        """Return the loop time before which the latest plan should not be brought into force; see `Probes`."""
        return self._probes.firm_at(self._waited_for(), now=now)

    def _waited_for(self) -> Iterator[PortProbe]:
        return chain.from_iterable(self._table.waiting.values())

    def changes_at(self) -> float | None:
        """Return the loop time at which the plan changes although nothing happens; `None`: it does not."""
        timers = (self._crash_loops, self._drains, self._flapping, self._renames, self._holds, self._kept_sites)
        due = (timer.changes_at() for timer in timers)
        return min((at for at in due if at is not None), default=None)


def desired_state(
    snapshots: Iterable[Snapshot],
    *,
    rules: Rules,
    suspended: Suspended = Suspended(),  # noqa: B008 - frozen, and empty
) -> Plan:
    """
    Return the upstreams, and a route for every container in each upstream that it asks for.

    The same arguments give the same result, whatever the order of anything in them. `Planner` comes to the same, pass
    by pass.

    Args:
        snapshots: Of every engine.
        rules: What holds for all.
        suspended: Which containers are left out although they run, or serve only as a last resort.
    """
    containers = _together(snapshots)
    return Table().plan(containers, changed=containers, rules=rules, suspended=suspended)


def _together(snapshots: Iterable[Snapshot]) -> Mapping[str, Container]:
    every = [snapshot.containers for snapshot in snapshots]
    if len(every) == 1:  # the same object for as long as nothing changed
        return every[0]
    return {id: container for containers in every for id, container in containers.items()}


def noted(plan: Plan, notices: Collection[tuple[str, Notice]]) -> Plan:
    """
    Return a plan with more notices, and with the servers that its upstreams have now.

    Args:
        plan: Any one; its upstreams may have been changed since its routes were made.
        notices: Each with the name of the container that it is for; it then stands in all routes of that one. A
            container whose server was changed has one.
    """
    if not notices:  # the rule: thousands of routes need not be looked at
        return plan
    told: dict[str, list[Notice]] = defaultdict(list)
    for container, notice in notices:
        told[container].append(notice)
    servers = {
        (each.name, server.address, server.port): server
        for each in plan.upstreams
        for server in each.servers
        if server.container in told
    }

    def renewed(route: Route) -> Route:
        old = route.server
        server = None if old is None else servers.get((route.upstream or "", old.address, old.port), old)
        together = sorted((*route.notices, *told[route.container]), key=lambda each: (each.kind, each.detail))
        return replace(route, notices=tuple(together), server=server)

    return replace(plan, routes=tuple([renewed(each) if each.container in told else each for each in plan.routes]))
