"""What is said of containers, put together: by source, each time whole, and only where something else is said."""

from hypothesis import given
from hypothesis import strategies as st

from lbwatch.core.model import Notice, NoticeKind, Reason, Route
from lbwatch.core.routerows import RouteRows, Row

NOTE = Notice(kind=NoticeKind.DEGRADED, detail="nginx refuses it")


def row(container: str, upstream: str, *notices: Notice) -> Row:
    return (Route(container=container, upstream=upstream, reason=Reason.PAUSED, detail=""),), notices


def test_a_notice_of_one_source_stands_in_all_routes_of_its_container() -> None:
    """Its owner reads one of them."""
    rows = RouteRows()
    rows.say("web", {"a": row("a", "web"), "b": row("b", "web")})
    rows.say("api", {"a": row("a", "api", NOTE)})
    assert sorted(rows.settle()) == ["a", "b"]
    found = rows.all((), changed=(), anew=True)
    assert [(each.container, each.upstream, each.notices) for each in found] == [
        ("a", "api", (NOTE,)),
        ("a", "web", (NOTE,)),
        ("b", "web", ()),
    ]


def test_what_is_said_again_changes_nothing_and_what_is_no_longer_said_is_gone() -> None:
    """Of thousands of containers nobody looks at those of which the same is said."""
    rows = RouteRows()
    rows.say("web", {"a": row("a", "web")})
    rows.settle()
    before = rows.all((), changed=(), anew=True)
    rows.say("web", {"a": row("a", "web")})
    assert rows.settle() == []
    rows.say("web", {})
    assert rows.settle() == ["a"]
    assert rows.all(before, changed=["a"], anew=False) == ()


sources = st.sampled_from(["web", "api", "db"])
said = st.dictionaries(st.sampled_from("abc"), st.booleans(), max_size=3)


@given(st.lists(st.tuples(sources, said), max_size=8))
def test_pass_by_pass_it_is_the_same_as_at_once(says: list[tuple[str, dict[str, bool]]]) -> None:
    """Whoever said what before is of no matter."""
    passes, latest = RouteRows(), dict[str, dict[str, Row]]()
    routes: tuple[Route, ...] = ()
    for source, named in says:
        latest[source] = {name: row(name, source, *([NOTE] if noted else [])) for name, noted in named.items()}
        passes.say(source, latest[source])
        routes = passes.all(routes, changed=passes.settle(), anew=False)
    once = RouteRows()
    for source, each in latest.items():
        once.say(source, each)
    once.settle()
    assert routes == once.all((), changed=(), anew=True)
