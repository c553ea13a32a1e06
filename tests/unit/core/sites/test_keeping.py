"""Hosts that live on for a moment without a container."""

from dataclasses import replace

from siteworlds import SERVED, files, hosting, hosts_of, location, site
from strategies import container, snapshot, upstream_of

from lbwatch.core.draining import Drains
from lbwatch.core.model import Container, Plan
from lbwatch.core.plan import Planner
from lbwatch.core.rules import Rules
from lbwatch.core.site import SiteAsk, SiteWish
from lbwatch.core.sites import keeping
from lbwatch.core.sites.keeping import KEEP_S, KeptSites

RULES = replace(SERVED, site_files=files("a.example"))


def planner(rules: Rules = RULES) -> Planner:
    return Planner(rules=lambda: rules, drains=Drains(timeout_s=60.0), drained_by_hand=tuple)


def planned(by: Planner, *containers: Container, now: float) -> Plan:
    return by.plan((snapshot(containers),), now=now)


def test_a_host_outlives_its_last_container_for_a_minute() -> None:
    """While it is created anew, clients must not see another site, or a wrong certificate."""
    by, one = planner(), hosting("one", "a.example", redirect_from="www.a.example")
    before = planned(by, one, now=0.0)
    gone = planned(by, now=10.0)
    assert gone.sites == before.sites
    assert upstream_of(gone, "a.example").servers == ()
    assert by.changes_at() == 10.0 + KEEP_S
    assert planned(by, now=10.0 + KEEP_S - 0.1).sites == before.sites
    after = planned(by, now=10.0 + KEEP_S)
    assert hosts_of(after) == [""]
    assert after.upstreams == ()
    assert by.changes_at() is None


def test_whoever_comes_next_has_the_host_at_once() -> None:
    """The new container may be in another upstream, by another certificate."""
    by = planner()
    planned(by, hosting("one", "a.example"), now=0.0)
    planned(by, now=1.0)
    plan = planned(by, hosting("two", "a.example", upstream="other", https="off"), now=2.0)
    assert location(plan, "a.example").upstream == "other"
    assert site(plan, "a.example").certificate is None
    assert [each.name for each in planned(by, hosting("two", "a.example", upstream="other"), now=62.0).upstreams] == [
        "other"
    ]


def test_a_host_lives_on_although_its_upstream_is_another_ones_too() -> None:
    by = planner()
    joins = container("joins", labels={"lbwatch.upstream": "web"})
    planned(by, hosting("one", "a.example", upstream="web"), joins, now=0.0)
    plan = planned(by, joins, now=1.0)
    assert location(plan, "a.example").upstream == "web"
    assert [each.container for each in upstream_of(plan, "web").servers] == ["joins"]


def test_a_path_that_goes_alone_is_not_kept() -> None:
    """The rest of the host answers for it, as nginx-proxy has it."""
    by, web = planner(), hosting("web", "a.example")
    planned(by, web, hosting("api", "a.example", path="/api/"), now=0.0)
    assert [str(each.path) for each in site(planned(by, web, now=1.0), "a.example").locations] == ["/"]


def test_a_renewed_certificate_counts_for_a_host_that_is_kept() -> None:
    by, rules = planner(), [RULES]
    by._rules = lambda: rules[0]
    planned(by, hosting("one", "a.example"), now=0.0)
    planned(by, now=1.0)
    rules[0] = replace(SERVED, site_files=files())
    assert site(planned(by, now=2.0), "a.example").certificate is None


def test_so_many_hosts_are_kept_at_most(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """An engine that loses everything at once costs no more than this."""
    monkeypatch.setattr(keeping, "MAX_KEPT", 2)
    kept = KeptSites()
    asks = {
        host: (SiteAsk(container="c", rank=(0, 0, "id", 0), upstream=host, wish=SiteWish(host=host)),)
        for host in ("a", "b", "c")
    }
    kept.lose(asks, emptied={}, now=0.0)
    assert len(kept.kept(now=1.0)) == 2
