"""
All hosts and what becomes of each, kept from pass to pass: a host of which nobody says anything new stays as it is.

Pure bookkeeping around `merging` and `build`: what was asked, by whom, and which hosts have to be built anew for it.
"""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Mapping
from operator import is_not

from lbwatch.core.errors import excerpt
from lbwatch.core.model import Notice, NoticeKind, Route
from lbwatch.core.site import Site, SiteAsk, SiteFiles, SiteRules
from lbwatch.core.sites.build import Served, catch_all, redirect, served
from lbwatch.core.sites.concerned import Changed
from lbwatch.core.sites.merging import Merged, merged
from lbwatch.core.sites.ports import PortClaims

CATCH_ALL = ""
"""The host of all that nobody serves."""

Rows = Mapping[str, tuple[tuple[Route, ...], tuple[Notice, ...]]]
"""What is said of containers, by their name."""


class Hosts:
    """
    What was decided of all hosts in the latest pass.

    Attributes:
        sites: All of them, sorted by host.
        lost: The hosts whose last container went in that pass, with what was asked of them.
    """

    def __init__(self) -> None:
        self.sites: tuple[Site, ...] = ()
        self.lost: dict[str, tuple[SiteAsk, ...]] = {}
        self._rules: SiteRules | None = None
        self._files = SiteFiles()
        self._kept: Mapping[str, tuple[SiteAsk, ...]] = {}
        self._asks: dict[str, dict[str, tuple[SiteAsk, ...]]] = {}  # by host and by the container's id
        self._of: dict[str, frozenset[str]] = {}  # hosts, by the container's id
        self._gone: dict[str, list[SiteAsk]] = {}  # of this pass, by host
        self._dirty: set[str] = set()
        self._merged: dict[str, Merged] = {}  # by host, as are all below
        self._served: dict[str, Served] = {}
        self._redirects: dict[str, dict[str, tuple[int, int, str]]] = {}  # to which hosts, each with its age
        self._ports = PortClaims()
        self._sites: dict[str, Site] = {}
        self._names: list[str] = []  # of the same, sorted
        self._is_other = False  # whether any of them is another than in `sites`

    def put(self, id: str, asks: Iterable[SiteAsk]) -> None:
        """Take all that a container asks of hosts now."""
        by_host: dict[str, list[SiteAsk]] = {}
        for ask in asks:
            by_host.setdefault(ask.wish.host, []).append(ask)
        for host in self._of.pop(id, frozenset()) | by_host.keys():
            self._put(host, id, tuple(by_host.get(host, ())))
        if by_host:
            self._of[id] = frozenset(by_host)

    def _put(self, host: str, id: str, asks: tuple[SiteAsk, ...]) -> None:
        of_host = self._asks.setdefault(host, {})
        before = of_host.pop(id, ())
        if asks:
            of_host[id] = asks
        elif before:
            self._gone.setdefault(host, []).extend(before)
        if not of_host:
            del self._asks[host]
        if asks != before:
            self._dirty.add(host)

    def settle(
        self, *, rules: SiteRules, files: SiteFiles, kept: Mapping[str, tuple[SiteAsk, ...]]
    ) -> Mapping[str, Rows]:
        """
        Build what has to be built anew, and return what each host of it says of containers now, by a name of its own.

        Args:
            rules: What holds for all sites.
            files: What there is.
            kept: What is asked of hosts whose last container went just now.
        """
        dirty, self._dirty = self._dirty, set()
        gone, self._gone = self._gone, {}
        self.lost = {host: tuple(asks) for host, asks in gone.items() if host not in self._asks}
        dirty |= {host for host in self._kept.keys() | kept.keys() if self._kept.get(host) != kept.get(host)}
        self._kept = kept
        if rules != self._rules:
            dirty |= {CATCH_ALL, *self._asks, *kept} | self._ports.put_rules(rules)
        elif files is not self._files:
            dirty |= self._concerned(files, rules=rules)
        self._rules, self._files = rules, files
        return self._build(dirty, rules=rules, files=files) if dirty else {}

    def _concerned(self, files: SiteFiles, *, rules: SiteRules) -> set[str]:
        """Return the hosts that may have to be built anew for files that are not what they were."""
        changed = Changed(self._files, files, fixed=(rules.network_internal, rules.proxy_conf))
        if not changed.any:
            return set()
        hosts = {CATCH_ALL}
        for host, each in self._served.items():
            auths = [one.wish.auth for one in each.site.locations]
            sources = (host, *each.wish.redirect_from)
            if changed.concerns(host, wish=each.wish, auths=auths) or any(map(changed.concerns, sources)):
                hosts.add(host)
        return hosts

    def _build(self, dirty: set[str], *, rules: SiteRules, files: SiteFiles) -> Mapping[str, Rows]:
        judged: set[str] = set()
        for host in dirty - {CATCH_ALL}:
            judged |= self._merge(host)
        redirected = set().union(*(self._serve(host, rules=rules, files=files) for host in dirty | judged))
        rows = {f"~host {host}": self._rows_of(host) for host in (dirty | judged) - {CATCH_ALL}}
        others = (redirected | dirty) - {CATCH_ALL}
        rows |= {f"~from {host}": self._redirect(host, rules=rules, files=files) for host in others}
        if CATCH_ALL in dirty:
            self._set(CATCH_ALL, catch_all(rules=rules, files=files))
        self._order()
        return rows

    def _merge(self, host: str) -> set[str]:
        """Put together what is asked of a host, and return the hosts whose ports must be judged anew for it."""
        asks = [ask for each in self._asks.get(host, {}).values() for ask in each] or list(self._kept.get(host, ()))
        if not asks:
            before = self._merged.pop(host, None)
            return set() if before is None else self._ports.put(host, Merged(host=host).wish, rank=(0, 0, ""))
        self._merged[host] = found = merged(host, asks)
        return self._ports.put(host, found.wish, rank=found.asks[0].age)

    def _serve(self, host: str, *, rules: SiteRules, files: SiteFiles) -> set[str]:
        """Build a host, and return the hosts from which it redirects, or did."""
        if host == CATCH_ALL:
            return set()
        before = self._served.pop(host, None)
        touched = set() if before is None else set(before.wish.redirect_from)
        for each in touched:
            self._redirects[each].pop(host, None)
        if (found := self._merged.get(host)) is None:
            self._set(host, None)
            return touched
        ports = self._ports.of(found.wish, rules=rules)
        self._served[host] = now = served(found, rules=rules, files=files, ports=ports)
        self._set(host, now.site)
        for each in now.wish.redirect_from:
            self._redirects.setdefault(each, {})[host] = found.asks[0].age
        return touched | set(now.wish.redirect_from)

    def _redirect(self, host: str, *, rules: SiteRules, files: SiteFiles) -> Rows:
        """Build a host whose requests are redirected, if nobody serves it, and return notices for those who lose."""
        claims = self._redirects.get(host, {})
        if not claims:
            self._redirects.pop(host, None)
            if host not in self._served:
                self._set(host, None)
            return {}
        if host in self._served:
            winner, words = None, "a container serves it"
        else:
            winner = min(claims, key=lambda each: (claims[each], each))
            words = f"it is redirected to {excerpt(winner)}, which is older"
            self._set(host, redirect(host, to=self._served[winner], rules=rules, files=files))
        notice = Notice(kind=NoticeKind.VALUE_NOT_USED, detail=f"redirect_from {excerpt(host)} is not used: {words}")
        losers = {
            ask.container
            for each in claims
            if each != winner
            for ask in self._merged[each].asks
            if host in ask.wish.of_host.redirect_from
        }
        return dict.fromkeys(losers, ((), (notice,)))

    def _set(self, host: str, site: Site | None) -> None:
        """Have a host served in a way; the object of before is kept where it is equal."""
        before = self._sites.get(host)
        if site == before:
            return
        if site is None:
            del self._sites[host], self._names[bisect_left(self._names, host)]
        else:
            if before is None:
                insort(self._names, host)
            self._sites[host] = site
        self._is_other = True

    def _order(self) -> None:
        if self._is_other:
            now = tuple([self._sites[host] for host in self._names])
            # One may have gone and come back meanwhile.
            if len(now) != len(self.sites) or any(map(is_not, now, self.sites)):
                self.sites = now
            self._is_other = False

    def _rows_of(self, host: str) -> Rows:
        if (found := self._served.get(host)) is None:
            return {}
        routes: dict[str, list[Route]] = defaultdict(list)
        notices: dict[str, list[Notice]] = defaultdict(list)
        for route in found.routes:
            routes[route.container].append(route)
        for name, notice in found.notices:
            notices[name].append(notice)
        return {name: (tuple(routes[name]), tuple(notices[name])) for name in {*routes, *notices}}
