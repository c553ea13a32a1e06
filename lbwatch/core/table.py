"""
All containers and what becomes of each, kept from pass to pass: one that changed costs what hangs together with it.

Pure bookkeeping, in stages: each container by itself (`placement`), those that claim the same name or address
(`claims`, `rivals`), the candidates of each upstream (`group`), hosts (`sites`), ports (`streams`), and the rows of
each container (`routerows`). A stage looks at what the one before it touched, and hands on the very same objects for
all else.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from itertools import chain

from lbwatch.core.claims import Claim, Claims
from lbwatch.core.fields import MAX_HOLD_S
from lbwatch.core.group import Group, grouped, unrouted
from lbwatch.core.model import STREAM_MARK, Container, Notice, Plan, Reason, Route, Suspended, Upstream
from lbwatch.core.origins import at_hand
from lbwatch.core.placement import (
    Candidate,
    Placement,
    age,
    marked_flapping,
    network_owner,
    placement_of,
    site_asks,
    under_former_names,
)
from lbwatch.core.probes import PortProbe, id_of, until_accepted, waiting
from lbwatch.core.rivals import address_taken, claimed_addresses, claimed_names, name_taken
from lbwatch.core.routerows import MANY, Names, RouteRows, Row
from lbwatch.core.rules import Rules
from lbwatch.core.site import Site, SiteAsk, SiteFiles
from lbwatch.core.sites.hosts import Hosts
from lbwatch.core.streams import Streams

_NO_FILES = SiteFiles()


class Table:
    """
    What was decided of all containers in the latest pass.

    Attributes:
        emptied: The upstreams that lost their last container in that pass, by name: as they were, with how long their
            containers had requests wait.
        waiting: By the container's id, which of its ports have to accept a connection before it serves, and have not.
    """

    def __init__(self) -> None:
        self.emptied: dict[str, Upstream] = {}
        self._rules: Rules | None = None
        self._suspended = Suspended()
        self._plan = Plan()
        self._clear()

    def _clear(self) -> None:
        self.waiting: dict[str, tuple[PortProbe, ...]] = {}
        self._placements: dict[str, Placement] = {}  # by the container's id, as are the next two
        self._attached: dict[str, None] = {}  # those that use another's network
        self._candidates: dict[str, tuple[Candidate, ...]] = {}  # as they come out of the claims
        self._named: dict[tuple[str, str], set[str]] = defaultdict(set)  # ids by engine and the container's own name
        self._applications = Claims()  # to default names of upstreams
        self._addresses = Claims()
        self._members: dict[str, dict[str, tuple[Candidate, ...]]] = defaultdict(dict)  # by upstream and id
        self._groups: dict[str, Group] = {}  # by upstream
        self._streams = Streams(self._rules or Rules())
        self._upstreams = Names()
        self._rows = RouteRows()
        self._hosts = Hosts()

    @property
    def lost(self) -> tuple[Upstream, ...]:
        """Return the upstreams whose requests wait for a server, of those that lost their last container."""
        return tuple(each for each in self.emptied.values() if each.hold_s)

    @property
    def lost_sites(self) -> Mapping[str, tuple[SiteAsk, ...]]:
        """Return the hosts that lost their last container in the latest pass, with what was asked of them."""
        return self._hosts.lost

    def plan(
        self, containers: Mapping[str, Container], *, changed: Iterable[str], rules: Rules, suspended: Suspended
    ) -> Plan:
        """
        Return the plan for what there is now; the same object as before if it is the same plan.

        Args:
            containers: All, by id.
            changed: Ids of those that are another object than at the call before, those that are gone included.
            rules: What holds for all; where they are others than before everything is decided anew.
            suspended: Which containers are left out although they run, or serve only as a last resort, and which
                upstreams are there although no container is.
        """
        touched, dirty, self.emptied = set(changed), set[str](), {}
        before, self._suspended = self._suspended, suspended
        # The files of sites change by themselves, and no container is placed by them.
        placing = replace(rules, site_files=_NO_FILES) if rules.site_files is not _NO_FILES else rules
        if anew := placing != self._rules:
            self._rules = placing
            self._clear()
            touched, dirty = set(containers), {name.lower() for name in rules.declare}
            dirty |= suspended.paused | suspended.kept.keys()
        dirty |= (before.paused ^ suspended.paused) | _differing(before.kept, suspended.kept)
        touched |= _otherwise_suspended(before, suspended) & containers.keys()
        touched = self._place(containers, touched, rules=placing)
        touched |= self._claim(touched, claims=self._applications, claimed=self._claimed_names)
        touched |= self._claim(touched, claims=self._addresses, claimed=self._claimed_addresses)
        for id in touched:
            dirty |= self._settle(id)
        for id in _differing(before.draining, suspended.draining) & self._candidates.keys():
            dirty |= {each.upstream for each in self._candidates[id] if each.upstream is not None}
        others = [self._regroup(name, declared=rules.declare) for name in dirty]
        self._put_streams(dirty)
        sites = self._settle_sites(rules)
        rows = self._rows.settle()
        if anew or dirty or rows or sites is not self._plan.sites:
            upstreams = self._all_upstreams(dirty, anew=anew or any(others))
            streams = self._streams.streams(lambda name: self._groups[name].upstream)
            routes = self._rows.all(self._plan.routes, changed=rows, anew=anew)
            self._plan = Plan(upstreams=upstreams, routes=routes, sites=sites, streams=streams)
        return self._plan

    # Each container by itself.

    def _place(self, containers: Mapping[str, Container], touched: set[str], *, rules: Rules) -> set[str]:
        """Return the ids of the containers of which something else is decided now, of those *touched* and of others."""
        for id in touched:
            self._rename(id, containers.get(id))
        placed: set[str] = set()
        for id in touched | self._attached.keys():
            container, known = containers.get(id), self._placements.get(id)
            if container is None:
                placed.add(id)
                self._placements.pop(id, None)
                continue
            named = self._container_named(containers, engine=container.engine.name)
            owner = network_owner(container, containers=containers, named=named)
            if id in touched or known is None or known.owner is not owner:
                placed.add(id)
            if known is None or known.container is not container or known.owner is not owner:
                self._placements[id] = placement_of(container, owner=owner, rules=rules)
        return placed

    def _rename(self, id: str, container: Container | None) -> None:
        """Keep up who has which name, and who uses another's network."""
        if (known := self._placements.get(id)) is not None:
            whose = known.container.engine.name, known.container.own_name
            ids = self._named[whose]
            ids.discard(id)
            if not ids:
                del self._named[whose]
        self._attached.pop(id, None)
        if container is not None:
            self._named[container.engine.name, container.own_name].add(id)
            if container.network_of is not None:
                self._attached[id] = None

    def _container_named(
        self, containers: Mapping[str, Container], *, engine: str
    ) -> Callable[[str], Container | None]:
        def named(name: str) -> Container | None:
            ids = self._named.get((engine, name), ())
            return max((containers[id] for id in ids), key=age, default=None)

        return named

    # Those that claim the same.

    def _claim(
        self, touched: Collection[str], *, claims: Claims, claimed: Callable[[str], Mapping[str, Claim]]
    ) -> set[str]:
        """Return the ids of the containers that must be judged anew for what the *touched* ones claim now."""
        return set().union(*(claims.put(id, claimed(id)) for id in touched))

    def _claimed_names(self, id: str) -> Mapping[str, Claim]:
        return claimed_names(self._placed_candidates(id))

    def _claimed_addresses(self, id: str) -> Mapping[str, Claim]:
        return claimed_addresses(self._named_candidates(id))

    def _placed_candidates(self, id: str) -> Iterable[Candidate]:
        """Return the candidates of one container, as it is suspended now."""
        if (placement := self._placements.get(id)) is None:
            return ()
        candidates: Iterable[Candidate] = placement.candidates
        if id in self._suspended.former_names:
            names, prefix = self._suspended.former_names, placement.rules.prefix
            candidates = under_former_names(candidates, former_names=names, prefix=prefix)
        if id in self._suspended.flapping:
            candidates = marked_flapping(candidates, stay_healthy_s=self._suspended.flapping)
        candidates = until_accepted(candidates, probed=self._suspended.probed, prefix=placement.rules.prefix)
        if (stay_up_s := self._suspended.crash_looping.get(id)) is not None:
            candidates = [_crash_looping(each, stay_up_s=stay_up_s) for each in candidates]
        return candidates

    def _named_candidates(self, id: str) -> Iterable[Candidate]:
        """Return the same, without a server where their upstream's default name is another application's."""
        prefix = "" if self._rules is None else self._rules.prefix
        for each in self._placed_candidates(id):
            yield name_taken(each, self._applications.first(each.upstream or ""), prefix=prefix)

    def _settled_candidates(self, id: str) -> Iterable[Candidate]:
        """Return the same, without a server where another container has their address."""
        for each in self._named_candidates(id):
            yield address_taken(each, self._addresses.first(each.claim))

    # The candidates of each upstream.

    def _settle(self, id: str) -> set[str]:
        """Return the upstreams that a container's candidates were or are in."""
        before = self._candidates.pop(id, ())
        now = tuple(self._settled_candidates(id))
        placement = self._placements.get(id)
        self._wait_for_ports(id, () if placement is None else placement.candidates)
        if self._rules is not None and self._rules.sites_refusal is None:
            self._hosts.put(id, site_asks(now))
        own: dict[str, Row] = {}
        if placement is not None:
            self._candidates[id] = now
            alone = tuple(unrouted(each, each.reason, each.detail) for each in now if not each.upstream and each.reason)
            if alone or placement.notices:
                own[placement.container.name] = alone, placement.notices
        self._rows.say(f"/{id}", own)  # no upstream's name has a slash
        upstreams = {each.upstream for each in (*before, *now) if each.upstream is not None}
        for upstream in upstreams:
            if joining := tuple(each for each in now if each.upstream == upstream):
                self._members[upstream][id] = joining
            else:
                self._members[upstream].pop(id, None)
        return upstreams

    def _wait_for_ports(self, id: str, candidates: Iterable[Candidate]) -> None:
        self.waiting.pop(id, None)
        if probes := waiting(candidates, probed=self._suspended.probed):
            self.waiting[id] = probes

    def _regroup(self, name: str, *, declared: Iterable[str]) -> bool:
        """
        Make an upstream anew, and return whether it is a new one, or one that is gone.

        Args:
            name: Of the upstream.
            declared: Those that exist even with no container.
        """
        known, members = self._groups.pop(name, None), self._members.get(name)
        kept, is_paused = self._suspended.kept.get(name), name in self._suspended.paused
        exists = bool(members) or is_paused or kept is not None or any(name == each.lower() for each in declared)
        is_other = self._upstreams.set(name, there=exists)
        if not members:
            self._members.pop(name, None)
            if known is not None and known.routes:
                self.emptied[name] = replace(known.upstream, hold_s=known.hold_s)
        if exists:
            group = self._group(name, members or {}, kept=kept, is_paused=is_paused, before=known)
            self._groups[name] = group
        self._rows.say(name, _rows_of(self._groups[name]) if exists else {})
        return is_other

    def _group(
        self,
        name: str,
        members: Mapping[str, tuple[Candidate, ...]],
        *,
        kept: Upstream | None,
        is_paused: bool,
        before: Group | None,
    ) -> Group:
        """
        Return an upstream as it is now.

        Args:
            name: Of the upstream.
            members: Its candidates, by id; none: it is there all the same.
            kept: What it goes on as for a moment without them.
            is_paused: Whether an operator paused it.
            before: As it was made last.
        """
        if kept is not None and not members:
            upstream = replace(kept, hold_s=MAX_HOLD_S, paused=True) if is_paused else kept
            return Group(upstream=before.upstream if before is not None and before.upstream == upstream else upstream)
        rules = self._rules or Rules()
        return grouped(
            name,
            list(chain.from_iterable(members.values())),
            draining=self._suspended.draining,
            sticky_refusal=rules.sticky_refusal,
            hold_refusal=rules.hold_refusal,
            takes_reload=rules.takes_reload,
            is_paused=is_paused,
            before=before,
        )

    # The hosts.

    def _settle_sites(self, rules: Rules) -> tuple[Site, ...]:
        """Return all sites as they are now."""
        if rules.sites_refusal is not None:
            return ()
        kept = self._suspended.kept_sites
        for source, rows in self._hosts.settle(rules=rules.sites, files=rules.site_files, kept=kept).items():
            self._rows.say(source, rows)
        return self._hosts.sites

    # The ports that go to an upstream as they are.

    def _put_streams(self, dirty: set[str]) -> None:
        """Decide anew which ports go to some upstreams; *dirty*: their names."""
        touched: set[str] = set()
        for name in dirty:
            touched |= self._streams.put(name, chain.from_iterable(self._members.get(name, {}).values()))
        for name in touched:
            self._rows.say(f"{STREAM_MARK}{name}", self._streams.rows(name))

    def _all_upstreams(self, dirty: set[str], *, anew: bool) -> tuple[Upstream, ...]:
        """
        Return all upstreams.

        Args:
            dirty: The names of those that may be others than in the latest plan.
            anew: Whether any came or went since then: all others may stand elsewhere.
        """
        names = self._upstreams.names
        if anew or len(dirty) > MANY:
            return tuple([self._groups[name].upstream for name in names])
        changed = list(self._plan.upstreams)
        for name in dirty & self._groups.keys():
            changed[bisect_left(names, name)] = self._groups[name].upstream
        return tuple(changed)


def _differing(before: Mapping[str, object], now: Mapping[str, object]) -> set[str]:
    """Return the keys of what is in one of them alone, or is another value."""
    return {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}


def _otherwise_suspended(before: Suspended, now: Suspended) -> set[str]:
    """Return the ids of the containers whose candidates are others for it; drains are `group`'s."""
    loops = _differing(before.crash_looping, now.crash_looping) | _differing(before.flapping, now.flapping)
    ports = set() if before.probed is now.probed else set(map(id_of, _differing(before.probed, now.probed)))
    return loops | ports | _differing(before.former_names, now.former_names)


def _crash_looping(candidate: Candidate, *, stay_up_s: float) -> Candidate:
    if candidate.upstream is None:  # its own reason comes first
        return candidate
    begun = "is started by hand" if candidate.container.task is None else "its service is updated"
    until = f"it is left out until it stayed up for {stay_up_s:g} s, or {begun}"
    detail = f"it restarts in a loop: {until}; docker logs {at_hand(candidate.container)} may tell why"
    return replace(candidate, server=None, reason=Reason.RESTART_LOOP, detail=detail)


def _rows_of(group: Group) -> Mapping[str, Row]:
    """Return what a group says of each container, by its name."""
    routes: dict[str, list[Route]] = defaultdict(list)
    notices: dict[str, list[Notice]] = defaultdict(list)
    for route in group.routes:
        routes[route.container].append(route)
    for name, notice in group.notices:
        notices[name].append(notice)
    return {name: (tuple(each), tuple(notices.get(name, ()))) for name, each in routes.items()}
