"""One upstream out of its candidates; what did not change is the same object. The rules are in test_plan."""

from dataclasses import replace

from strategies import container

from lbwatch.core.group import Group, grouped
from lbwatch.core.model import Container, Health, Reason, ServerState
from lbwatch.core.placement import Candidate, Rules, placement_of


def candidate(container: Container) -> Candidate:
    (only,) = placement_of(container, owner=container, rules=Rules()).candidates
    return only


ONE = candidate(container("one", labels={"lbwatch.upstream": "web"}))
TWO = candidate(container("two", labels={"lbwatch.upstream": "web"}))
SICK = candidate(container("sick", labels={"lbwatch.upstream": "web"}, health=Health.UNHEALTHY))


def web(*candidates: Candidate, draining: dict[str, str] | None = None, before: Group | None = None) -> Group:
    return grouped("web", list(candidates), draining=draining or {}, before=before)


def test_the_same_candidates_make_the_same_objects() -> None:
    """Whatever compares, renders or logs can tell by identity that nothing changed."""
    before = web(ONE, TWO, SICK)
    after = web(TWO, ONE, SICK, before=before)
    assert after.upstream is before.upstream
    served = [route for route in after.routes if route.server is not None]
    assert len(served) == 2
    assert all(any(route is old for old in before.routes) for route in served)


def test_a_route_of_before_is_not_used_for_another_state() -> None:
    """The same server, but all of them drain now."""
    before = web(ONE)
    after = web(ONE, draining={ONE.container.id: "why"}, before=before)
    assert [route.state for route in before.routes] == [ServerState.UP]
    assert [route.state for route in after.routes] == [ServerState.DRAINING]


def test_who_is_left_out_has_its_reason() -> None:
    """Each candidate has a row, whatever becomes of it."""
    reasons = {route.container: route.reason for route in web(ONE, SICK).routes}
    assert reasons == {"one": None, "sick": Reason.UNHEALTHY}
    out = replace(TWO, server=None, reason=Reason.PAUSED, detail="it is paused")
    assert [route.detail for route in web(out).routes] == ["it is paused"]
