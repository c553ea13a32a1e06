"""All hosts and what becomes of each: laws for any containers, then who has a host, and what stays as it is."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from siteworlds import (
    NO_FILES,
    PASSWORDS,
    certificate,
    files,
    hosting,
    hosts_of,
    location,
    served,
    site,
    site_files,
    site_rules,
    site_worlds,
    without_sites,
)
from strategies import container, decide, notices, snapshot, upstream_of

from lbwatch.core.changes import changed_ids
from lbwatch.core.model import Container, ContainerStatus, Plan, Reason, Suspended
from lbwatch.core.plan import Rules, desired_state
from lbwatch.core.site import SiteFiles, SiteRules
from lbwatch.core.table import Table


def decided(world: tuple[Container, ...], rules: Rules, *, suspended: Suspended | None = None) -> Plan:
    return desired_state([snapshot(world)], rules=rules, suspended=suspended or Suspended())


class Passes:
    """A table with one engine's containers, pass by pass."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.table = Table()
        self._containers: dict[str, Container] = {}

    def plan(self, *containers: Container, suspended: Suspended | None = None) -> Plan:
        now = {each.id: each for each in containers}
        changed = changed_ids(self._containers, now)
        self._containers = now
        return self.table.plan(now, changed=changed, rules=self.rules, suspended=suspended or Suspended())


# -- laws


@given(site_worlds, site_rules)
def test_each_host_and_path_is_there_once_and_points_to_an_upstream(world: tuple[Container, ...], rules: Rules) -> None:
    """nginx refuses a location that is there twice, and a name of an upstream that is not there."""
    plan = decided(world, rules)
    assert hosts_of(plan) == sorted(set(hosts_of(plan)))
    assert plan.sites[0].host == ""
    upstreams = {each.name for each in plan.upstreams}
    for each in plan.sites:
        paths = [one.path for one in each.locations]
        assert paths == sorted(set(paths))
        assert bool(paths) == (each.host != "" and each.redirect_to is None)
        assert {one.upstream for one in each.locations} <= upstreams
    assert {each.redirect_to for each in plan.sites if each.redirect_to} <= set(hosts_of(plan))


@given(site_worlds, site_rules, st.randoms(use_true_random=False))
def test_the_order_of_containers_means_nothing(
    world: tuple[Container, ...], rules: Rules, random: st.DataObject
) -> None:
    """Engines answer in any order, and the file must not change for it."""
    shuffled = list(world)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert decided(tuple(shuffled), rules) == decided(world, rules)


@given(site_worlds, site_rules)
def test_no_container_changes_a_host_that_it_does_not_name(world: tuple[Container, ...], rules: Rules) -> None:
    """One container never harms another; the unit is the host."""
    whole = decided(world, rules)
    for each in world:
        said = ",".join(value for key, value in each.labels if key.endswith((".host", ".redirect_from")))
        named = set(said.split(","))
        # A redirect follows its host, so that who names that one has a say in it.
        named |= {one.host for one in whole.sites if one.redirect_to in named}
        alone = decided(tuple(one for one in world if one is not each), rules)
        named |= {one.host for one in alone.sites if one.redirect_to in named}
        assert [one for one in whole.sites if one.host not in named] == [
            one for one in alone.sites if one.host not in named
        ]


@given(site_worlds, site_rules)
def test_what_a_missing_file_should_close_is_closed(world: tuple[Container, ...], rules: Rules) -> None:
    """Never weaker: a password file that is not there, or cannot be used, lets in nobody."""
    for each in decided(world, rules).sites:
        for one in each.locations:
            asked = one.wish.auth
            if asked is not None and asked not in rules.site_files.passwords:
                assert one.closed is not None
            if one.password_file in rules.site_files.errors:
                assert one.closed is not None
        if each.certificate is not None:
            assert each.certificate.error is None


steps = st.lists(
    st.tuples(
        st.sampled_from(["gone", "new", "status", "files", "name", "default", "draining", "kept"]),
        st.integers(0, 30),
        st.integers(0, 30),
    ),
    max_size=10,
)


@given(site_worlds, site_worlds, site_rules, steps, site_files())
def test_pass_by_pass_comes_to_the_same_as_from_nothing(
    world: tuple[Container, ...],
    later: tuple[Container, ...],
    rules: Rules,
    taken_steps: list[tuple[str, int, int]],
    other_files: SiteFiles,
) -> None:
    """Whatever is kept only saves time: a host that stays by mistake would be served for ever."""
    passes = Passes(rules)
    there = {each.id: each for each in world}
    suspended = Suspended()
    for what, which, number in [("status", 0, 1), *taken_steps]:
        id = list(there)[which % len(there)] if there else ""
        if what == "new" and later:
            there |= {each.id: each for each in [later[which % len(later)]]}
        elif what == "files":
            passes.rules = replace(passes.rules, site_files=(other_files, NO_FILES, rules.site_files)[number % 3])
        elif what == "default":
            default = (None, "a.example", "localhost")[number % 3]
            passes.rules = replace(passes.rules, sites=SiteRules(default_host=default))
        elif what == "kept":
            asks = {host: tuple(lost) for host, lost in passes.table.lost_sites.items()}
            suspended = replace(suspended, kept_sites=asks)
        elif what == "draining":
            suspended = replace(suspended, draining={id: "it drains"})
        elif id and what == "gone":
            there.pop(id)
        elif id and what == "status":
            there[id] = replace(there[id], status=list(ContainerStatus)[number % len(ContainerStatus)])
        elif id and what == "name":
            there[id] = replace(there[id], name=f"unused{number}")
        plan = passes.plan(*there.values(), suspended=suspended)
        assert plan == decided(tuple(there.values()), passes.rules, suspended=suspended)


# -- what stays as it is


def test_a_pass_that_changes_no_wish_keeps_the_very_same_sites() -> None:
    """A restart of a container is no change of its host, and 1,000 hosts need not be compared for it."""
    passes = Passes(Rules(**served()))
    one, two = hosting("one", "a.example"), hosting("two", "b.example")
    before = passes.plan(one, two)
    built = dict(passes.table._hosts._served)
    after = passes.plan(replace(one, status=ContainerStatus.EXITED), two)
    assert after is not before
    assert after.sites is before.sites
    assert all(passes.table._hosts._served[host] is each for host, each in built.items())


def test_a_host_that_is_another_one_leaves_the_others_the_same_objects() -> None:
    passes = Passes(Rules(**served()))
    one, two = hosting("one", "a.example"), hosting("two", "b.example")
    before = passes.plan(one, two)
    after = passes.plan(one, two, hosting("three", "a.example", path="/x"))
    assert len(site(after, "a.example").locations) == 2
    assert site(after, "b.example") is site(before, "b.example")


def test_a_file_that_changes_rebuilds_its_hosts_and_no_upstream() -> None:
    """A certificate is renewed once in a while, and no container has anything to do with it."""
    passes = Passes(Rules(**served(site_files=files("a.example"))))
    world = hosting("one", "a.example"), hosting("two", "b.example")
    before = passes.plan(*world)
    renewed = replace(passes.rules.site_files, digests={"/etc/nginx/certs/a.example.crt": "new"})
    passes.rules = replace(passes.rules, site_files=renewed)
    after = passes.plan(*world)
    assert site(after, "a.example") != site(before, "a.example")
    assert ("/etc/nginx/certs/a.example.crt", "new") in site(after, "a.example").files
    assert site(after, "b.example") is site(before, "b.example")
    assert all(a is b for a, b in zip(after.upstreams, before.upstreams, strict=True))


def test_equal_files_change_nothing() -> None:
    """The folders are looked at again and again."""
    passes = Passes(Rules(**served(site_files=files("a.example"))))
    world = hosting("one", "a.example")
    before = passes.plan(world)
    passes.rules = replace(passes.rules, site_files=files("a.example"))
    assert passes.plan(world) is before


def test_a_table_without_hosts_keeps_nothing_of_them() -> None:
    """Memory stays flat however many come and go."""
    passes = Passes(Rules(**served(site_files=files("default"))))
    passes.plan(hosting("one", "a.example", redirect_from="b.example"), hosting("two", "a.example", upstream="x"))
    passes.plan()
    passes.plan()
    hosts = passes.table._hosts
    assert [each.host for each in hosts.sites] == [""]
    for name in ("_asks", "_of", "_gone", "_merged", "_served", "_redirects"):
        assert not getattr(hosts, name), name


def test_where_the_template_writes_no_sites_hosts_are_reported_and_not_served() -> None:
    """Who copied a label from somewhere must learn why nothing answers."""
    plan = decide(hosting("one", "a.example"))
    assert plan.sites == ()
    assert [(each.container, each.kind) for each in notices(plan)] == [("one", "site-not-used")]
    assert [each.name for each in plan.upstreams] == ["one"]


def test_where_no_host_is_served_nothing_is_kept_of_them() -> None:
    passes = Passes(Rules())
    for number in range(3):
        passes.plan(hosting(f"web{number}", "a.example"))
    hosts = passes.table._hosts
    assert not (hosts._gone or hosts._dirty or hosts._asks)


# -- who has a host


def test_containers_of_one_host_and_path_are_one_pool() -> None:
    """Two `docker run` lines with one host are two replicas."""
    plan = decide(hosting("one", "a.example"), hosting("two", "A.EXAMPLE, b.example", created_ns=1), **served())
    assert location(plan, "a.example").upstream == "a.example"
    assert {each.container for each in upstream_of(plan, "a.example").servers} == {"one", "two"}
    assert {each.container for each in upstream_of(plan, "b.example").servers} == {"two"}


def test_a_service_or_a_label_names_the_upstream_of_a_host() -> None:
    shop = {"com.docker.compose.project": "shop", "com.docker.compose.service": "web", "lbwatch.host": "a.example"}
    plan = decide(container("shop-web-1", labels=shop), hosting("two", "b.example", upstream="named"), **served())
    assert location(plan, "a.example").upstream == "shop-web"
    assert location(plan, "b.example").upstream == "named"


def test_of_two_named_upstreams_the_older_container_has_the_path() -> None:
    """Requests must not go to either by turns, and who came later must learn why it gets none."""
    older = hosting("old", "a.example", upstream="old")
    younger = hosting("new", "a.example, b.example", upstream="new", created_ns=1)
    plan = decide(younger, older, **served())
    assert location(plan, "a.example").upstream == "old"
    assert location(plan, "b.example").upstream == "new"
    (row,) = without_sites(plan)
    assert (row.container, row.upstream, row.site, row.reason) == ("new", "new", "a.example/", Reason.HOST_TAKEN)
    assert "old" in (row.detail or "")
    # In its upstream it is routed as ever, for whoever else points there.
    assert [each.address for each in plan.routes if each.container == "new" and each.site is None] != [None]


def test_two_spellings_of_one_path_are_one() -> None:
    """To nginx they are, which refuses the second: who comes later must not have the older one's host closed."""
    older = hosting("old", "a.example", path="/x", upstream="old")
    younger = hosting("new", "a.example", path="^~ /%78", upstream="new", created_ns=1)
    plan = decide(older, younger, **served())
    assert [(str(each.path), each.upstream) for each in site(plan, "a.example").locations] == [("/x", "old")]
    assert [(row.container, row.reason) for row in without_sites(plan)] == [("new", Reason.HOST_TAKEN)]


def test_other_paths_of_a_host_may_be_another_upstreams() -> None:
    plan = decide(
        hosting("web", "a.example", upstream="web"),
        hosting("api", "a.example", path="/api/", upstream="api"),
        **served(),
    )
    assert [(str(each.path), each.upstream) for each in site(plan, "a.example").locations] == [
        ("/", "web"),
        ("/api/", "api"),
    ]
    assert without_sites(plan) == []


def test_a_pool_is_an_application_of_its_own() -> None:
    """A container that is by chance called as a host gets none of its requests."""
    by_chance = container("a.example", labels={"lbwatch.enable": "true"}, created_ns=5)
    plan = decide(hosting("one", "a.example"), by_chance, **served())
    assert [each.container for each in upstream_of(plan, "a.example").servers] == ["one"]
    # The older one has the name, and then the younger one has no host either.
    plan = decide(hosting("one", "a.example", created_ns=6), by_chance, **served())
    assert hosts_of(plan) == [""]
    assert [each.reason for each in plan.routes if each.container == "one"] == [Reason.NAME_TAKEN]


def test_where_containers_of_a_host_differ_the_oldest_ones_word_counts() -> None:
    """One that comes cannot change what is served already."""
    plan = decide(
        hosting("old", "a.example", https="off", body_size="1m"),
        hosting("new", "a.example", https="both", body_size="2m", created_ns=1),
        **served(site_files=files("a.example")),
    )
    assert site(plan, "a.example").certificate is None
    assert location(plan, "a.example").wish.body_size == "1m"
    assert {(each.container, each.kind) for each in notices(plan)} == {("new", "site-differs")}
    assert len(notices(plan)) == 2


def test_a_redirect_gives_way_to_whoever_serves_the_host() -> None:
    """A site that is there is worth more than a redirect away from it."""
    redirecting = hosting("one", "a.example", redirect_from="www.a.example, b.example")
    plan = decide(redirecting, **served())
    assert site(plan, "www.a.example").redirect_to == "a.example"
    assert site(plan, "b.example").locations == ()
    plan = decide(redirecting, hosting("two", "b.example", created_ns=1), **served())
    assert site(plan, "b.example").redirect_to is None
    assert [(each.container, each.kind) for each in notices(plan)] == [("one", "value-not-used")]


def test_of_two_redirects_from_one_host_the_older_counts() -> None:
    plan = decide(
        hosting("young", "a.example", redirect_from="x.example", created_ns=1),
        hosting("old", "b.example", redirect_from="x.example"),
        **served(),
    )
    assert site(plan, "x.example").redirect_to == "b.example"
    assert [(each.container, each.kind) for each in notices(plan)] == [("young", "value-not-used")]


def test_a_stopped_container_keeps_its_host() -> None:
    """502 by its own host, not another site under another certificate."""
    stopped = replace(hosting("one", "a.example"), status=ContainerStatus.EXITED)
    plan = decide(stopped, **served(site_files=files("a.example")))
    assert site(plan, "a.example").certificate == certificate("a.example")
    assert upstream_of(plan, location(plan, "a.example").upstream).servers == ()


def test_a_container_that_drains_leaves_its_pool_and_keeps_its_host() -> None:
    one, two = hosting("one", "a.example"), hosting("two", "a.example", created_ns=1)
    plan = decided((one, two), Rules(**served()), suspended=Suspended(draining={one.id: "it drains"}))
    assert [each.container for each in upstream_of(plan, "a.example").servers] == ["two"]
    assert hosts_of(plan) == ["", "a.example"]


def test_a_container_that_is_switched_off_names_no_host() -> None:
    plan = decide(hosting("one", "a.example", enable="false"), **served())
    assert hosts_of(plan) == [""]


def test_a_closed_location_is_told_to_its_container_in_words() -> None:
    plan = decide(hosting("one", "a.example", auth="staff"), **served())
    (row,) = without_sites(plan)
    assert row.reason is Reason.HOST_REFUSED
    assert f"{PASSWORDS}/staff is not there" in (row.detail or "")


def test_a_path_that_a_younger_container_closes_is_closed_for_the_older_one_too() -> None:
    """They share a pool: what the younger one has behind a password would be reached without it."""
    older = hosting("old", "a.example", created_ns=1)
    younger = hosting("new", "a.example", created_ns=2, auth="team", allow="10.0.0.0/8")
    third = hosting("third", "a.example", created_ns=3, auth="others", body_size="9m")
    plan = decide(older, younger, third, **served(site_files=files(passwords=("team",))))
    found = location(plan, "a.example")
    assert (found.wish.auth, found.wish.allow, found.wish.body_size) == ("team", ("10.0.0.0/8",), None)
    told = {each.container: each.detail for each in notices(plan) if each.kind == "site-differs"}
    assert set(told) == {"old", "third"}
    assert "auth, allow" in told["old"]
