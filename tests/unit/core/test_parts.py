"""The parts of a plan: found by kind and by name, and the same objects for as long as nothing changed."""

from hypothesis import given
from hypothesis import strategies as st

from lbwatch.core.model import Plan, Stream, Upstream
from lbwatch.core.parts import (
    PlanParts,
    changed_parts,
    other_names,
    others_in,
    part_words,
    parts_of,
    sites_in,
    streams_in,
    upstreams_in,
)
from lbwatch.core.site import Site

WEB, API = Upstream(name="web"), Upstream(name="api")
CATCH_ALL, SITE = Site(host=""), Site(host="a.example")
PORT = Stream(port=5432, protocol="tcp", upstream=WEB)

names = st.from_regex(r"[a-z0-9_.-]{1,12}", fullmatch=True)
hosts = st.one_of(names, names.map("*.{}".format), names.map("~^{}$".format), st.just(""))


def plans() -> st.SearchStrategy[Plan]:
    """Draw plans of any parts, each sorted as a plan's are."""
    return st.builds(
        lambda upstreams, sites, ports: Plan(
            upstreams=tuple(Upstream(name=name) for name in sorted(upstreams)),
            sites=tuple(Site(host=host) for host in sorted(sites)),
            streams=tuple(
                sorted((Stream(port=each, protocol="tcp", upstream=WEB) for each in ports), key=lambda one: one.name)
            ),
        ),
        st.sets(names, max_size=6),
        st.sets(hosts, max_size=6),
        st.sets(st.integers(1, 65535), max_size=3),
    )


@given(plan=plans())
def test_each_kind_is_found_again(plan: Plan) -> None:
    """One that is taken for another is told to nginx's workers, or is not."""
    parts = plan.parts
    assert [each.name for each in parts] == sorted(each.name for each in parts)
    assert upstreams_in(parts) == plan.upstreams
    assert sites_in(parts) == plan.sites
    assert streams_in(parts) == plan.streams
    assert others_in(parts) == (*plan.sites, *plan.streams)


@given(plan=plans(), wanted=st.sets(names))
def test_parts_are_found_by_name(plan: Plan, wanted: set[str]) -> None:
    """Who is blamed has a name, and nothing else."""
    asked = wanted | {each.name for each in plan.sites}
    assert parts_of(plan.parts, asked) == [each for each in plan.parts if each.name in asked]


def test_the_same_parts_have_the_same_upstreams() -> None:
    """By identity it is known that of thousands none changed."""
    parts = (API, WEB, SITE)
    assert upstreams_in(parts) is upstreams_in(parts)
    alone = (API, WEB)
    assert upstreams_in(alone) is alone


def test_a_plan_that_is_made_anew_of_the_same_has_the_same_parts() -> None:
    """What is in force is known by the identity of its parts."""
    together = PlanParts()
    first = together.of(Plan(upstreams=(WEB,), sites=(CATCH_ALL, SITE)))
    assert together.of(Plan(upstreams=(WEB,), sites=(CATCH_ALL, SITE))) is first
    other = Site(host="b.example")
    assert together.of(Plan(upstreams=(WEB,), sites=(CATCH_ALL, other))) == (WEB, CATCH_ALL, other)


def test_of_sites_those_are_named_that_are_others() -> None:
    """The log says which hosts a reload was about."""
    new = Site(host="a.example", http2=False)
    assert other_names((WEB, CATCH_ALL, SITE), (API, WEB, CATCH_ALL, new, PORT)) == (new.name, PORT.name)
    assert changed_parts((WEB,), (API,)) == ((None, API), (WEB, None))


def test_each_kind_has_its_word() -> None:
    """An operator reads them in one list."""
    words = [part_words(each.name) for each in (WEB, CATCH_ALL, SITE, PORT)]
    assert words == ["upstream web", "the site of unknown hosts", "host a.example", "port 5432/tcp"]
