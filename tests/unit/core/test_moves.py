"""What became of each server between two states of upstreams."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from lbwatch.core.changes import changed_upstreams
from lbwatch.core.model import Method, Reason, Route, Server, ServerState, Sticky, Upstream
from lbwatch.core.moves import Move, MoveKind, moves, reasoned


def server(container: str, last: int = 2, **more: int) -> Server:
    return Server(address=f"172.17.0.{last}", port=80, container=container, **more)  # type: ignore[arg-type]


def web(*servers: Server, **more: object) -> Upstream:
    return Upstream(name="web", servers=servers, **more)  # type: ignore[arg-type]


def moved(before: Upstream | None, after: Upstream | None) -> list[tuple[str, str | None, str | None, str | None]]:
    return [(str(each.change), each.container, each.server, each.was) for each in moves([(before, after)])]


ONE, TWO = server("web-1"), server("web-2", 3)


def test_who_came_and_who_left_is_named_with_its_address() -> None:
    """It is what an operator reads first."""
    assert moved(web(ONE), web(ONE, TWO)) == [("joined", "web-2", "172.17.0.3:80", None)]
    assert moved(web(ONE, TWO), web(TWO)) == [("left", "web-1", "172.17.0.2:80", None)]
    assert moved(None, web(ONE)) == [("joined", "web-1", "172.17.0.2:80", None)]


def test_another_address_of_the_same_container_is_a_move() -> None:
    """Nobody has come or gone."""
    assert moved(web(ONE), web(server("web-1", 9))) == [("moved", "web-1", "172.17.0.9:80", "172.17.0.2:80")]


def test_another_container_at_the_same_address_came_and_the_first_one_left() -> None:
    """The engine gives an address that became free to whoever is next."""
    assert moved(web(ONE), web(server("web-9", 2))) == [
        ("joined", "web-9", "172.17.0.2:80", None),
        ("left", "web-1", "172.17.0.2:80", None),
    ]


def test_a_server_whose_name_is_only_shown_otherwise_did_not_move() -> None:
    """Another engine's container of the same name joined; the log had this one leave and join at its own address."""
    shown, other = server("a/web-1"), server("b/web-1", 7)
    assert moved(web(ONE), web(shown, other)) == [("joined", "b/web-1", "172.17.0.7:80", None)]
    assert moved(web(shown, other), web(ONE)) == [("left", "b/web-1", "172.17.0.7:80", None)]
    assert [each[0] for each in moved(web(ONE), web(server("a/web-1", weight=3)))] == ["changed"]


def test_a_server_that_stays_may_be_another_one() -> None:
    """A reload for a weight, or for a new life, looks like one for nothing otherwise."""
    assert moved(web(ONE), web(replace(ONE, weight=3))) == [("changed", "web-1", "172.17.0.2:80", None)]
    assert moved(web(ONE), web(replace(ONE, started_ns=3))) == [("restarted", "web-1", "172.17.0.2:80", None)]
    assert moved(web(ONE), web(replace(ONE))) == []


def test_an_upstream_without_a_server_is_named() -> None:
    """Its users get errors from then on."""
    empty = ("empty", None, None, None)
    assert moved(None, web()) == [empty]
    assert moved(web(ONE), web()) == [("left", "web-1", "172.17.0.2:80", None), empty]
    assert moved(web(), web()) == []
    assert moved(web(), None) == []


def test_what_changes_of_an_upstream_itself_is_named() -> None:
    """Such as how it chooses."""
    assert moved(web(ONE), web(ONE, method=Method(name="least_conn"))) == [("changed", None, None, None)]
    assert moved(web(ONE), web(ONE, keepalive=8)) == [("changed", None, None, None)]
    assert moved(web(ONE), web(ONE, hold_s=8.0)) == [("changed", None, None, None)]
    assert moved(web(ONE), web(ONE, sticky=Sticky(cookie="sid"))) == [("changed", None, None, None)]
    assert moved(web(ONE, TWO), web(ONE, replace(TWO, draining=True))) == [("changed", "web-2", "172.17.0.3:80", None)]


def test_a_container_may_have_several_servers_in_one_upstream() -> None:
    """Each of them counts."""
    before, after = web(server("a", 2), server("a", 3)), web(server("a", 4))
    assert sorted(change for change, *_ in moved(before, after)) == ["left", "moved"]
    assert sorted(change for change, *_ in moved(after, before)) == ["joined", "moved"]


def test_a_move_has_its_reason() -> None:
    """Whether it was stopped or sick is the next question."""
    left = Move(upstream="web", change=MoveKind.LEFT, container="web-1")
    joined = replace(left, change=MoveKind.JOINED)
    empty = Move(upstream="web", change=MoveKind.EMPTY)

    def reason(move: Move, *routes: Route) -> str | None:
        (answer,) = reasoned([move], routes=routes)
        return answer.reason

    row = Route(container="web-1", upstream="web", reason=Reason.UNHEALTHY)
    assert reason(left, row) == "unhealthy"
    assert reason(left, replace(row, upstream=None, reason=Reason.PAUSED)) == "paused"
    assert reason(left, replace(row, upstream="api")) is None
    assert reason(left) is None, "its container is gone"
    serving = Route(container="web-1", upstream="web", server=ONE, state=ServerState.UP)
    assert reason(joined, serving) is None
    assert reason(joined, replace(serving, state=ServerState.DRAINING)) == "draining"
    assert reasoned([empty], routes=(row,)) == (empty,)


servers = st.builds(
    Server,
    address=st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3"]),
    port=st.just(80),
    container=st.sampled_from("abc"),
    weight=st.integers(1, 2),
)
worlds = st.dictionaries(
    st.sampled_from(["api", "web"]), st.lists(servers, max_size=4, unique_by=lambda each: each.address)
)


@given(worlds, worlds)
def test_moves_are_the_whole_difference(first: dict[str, list[Server]], second: dict[str, list[Server]]) -> None:
    """What is not in the log did not happen."""
    before, after = (
        tuple(Upstream(name=name, servers=tuple(world[name])) for name in sorted(world)) for world in (first, second)
    )
    places = {(each.name, one.container, one.host_port) for each in before for one in each.servers}
    for move in moves(changed_upstreams(before, after)):
        where = (move.upstream, move.container, move.server)
        if move.change in (MoveKind.JOINED, MoveKind.MOVED):
            assert where not in places
            places.add(where)  # type: ignore[arg-type]
        if move.change is MoveKind.LEFT:
            places.remove(where)  # type: ignore[arg-type]
        if move.change is MoveKind.MOVED:
            places.remove((move.upstream, move.container, move.was))  # type: ignore[arg-type]
    assert places == {(each.name, one.container, one.host_port) for each in after for one in each.servers}
