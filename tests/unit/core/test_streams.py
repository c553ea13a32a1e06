"""Which port goes to which upstream, through the whole plan: who is older has it, and it outlives whoever stopped."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from strategies import container, snapshot

from lbwatch.core.model import (
    Container,
    ContainerStatus,
    Degraded,
    Level,
    NoticeKind,
    Plan,
    Reason,
    Snapshot,
    Suspended,
)
from lbwatch.core.plan import desired_state
from lbwatch.core.rows import stamped
from lbwatch.core.rules import Rules
from lbwatch.core.site import SiteRules
from lbwatch.core.table import Table

RULES = Rules()


def listening(name: str, *, listen: str = "5432/tcp", upstream: str = "", **more: Any) -> Container:
    labels = {"lbwatch.upstream": upstream or name, "lbwatch.listen": listen}
    return container(name, labels=labels | more.pop("labels", {}), **more)


def planned(*containers: Container, rules: Rules = RULES) -> Plan:
    return desired_state([snapshot(containers)], rules=rules)


def ports(plan: Plan) -> dict[str, tuple[str, list[str]]]:
    """Each port with its upstream, and the containers that serve it."""
    return {
        f"{each.port}/{each.protocol}": (each.upstream.name, [server.container for server in each.upstream.servers])
        for each in plan.streams
    }


def refused(plan: Plan) -> dict[str, str]:
    return {route.container: route.detail or "" for route in plan.routes if route.reason is Reason.PORT_TAKEN}


def test_a_port_goes_to_the_upstream_of_the_containers_that_ask_for_it() -> None:
    """All replicas serve it, as they serve the upstream."""
    plan = planned(listening("db1", upstream="db"), listening("db2", upstream="db"), container("web"))
    assert ports(plan) == {"5432/tcp": ("db", ["db1", "db2"])}
    assert not refused(plan)


def test_one_container_can_have_several_ports_by_both_protocols() -> None:
    """And one upstream may be at several."""
    plan = planned(listening("dns", listen="53/udp, 53/tcp, 5353/udp"))
    assert list(ports(plan)) == ["53/tcp", "53/udp", "5353/udp"]


def test_of_two_applications_the_older_one_has_the_port() -> None:
    """The other one says why it has not, and serves its upstream all the same."""
    old, new = listening("old", created_ns=1), listening("new", created_ns=2, listen="5432/tcp,5433/tcp")
    plan = planned(new, old)
    assert ports(plan) == {"5432/tcp": ("old", ["old"]), "5433/tcp": ("new", ["new"])}
    (detail,) = refused(plan).values()
    assert detail == (
        "port 5432/tcp goes to upstream old of container old, which is older: listen on another, or end that one"
    )
    assert {each.upstream for each in plan.routes if each.server is not None} == {"old", "new"}


def test_a_port_outlives_its_containers_until_they_are_removed() -> None:
    """A restart must not hand it to somebody else."""
    old, new = listening("old", created_ns=1), listening("new", created_ns=2)
    stopped = replace(old, status=ContainerStatus.EXITED)
    assert ports(planned(stopped, new)) == {"5432/tcp": ("old", [])}
    assert ports(planned(new)) == {"5432/tcp": ("new", ["new"])}


def test_ports_of_sites_are_never_given_away() -> None:
    """One container would have all requests."""
    rules = Rules(sites=SiteRules(http_port=80, https_port=8443))
    plan = planned(listening("thief", listen="80/tcp,8443/tcp,443/tcp,80/udp"), rules=rules)
    assert list(ports(plan)) == ["443/tcp", "80/udp"]
    details = [route.detail or "" for route in plan.routes if route.reason is Reason.PORT_TAKEN]
    assert len(details) == 2
    assert any("or set http_port to another" in each for each in details)
    assert any("or set https_port to another" in each for each in details)


def test_the_port_of_lbwatchs_own_page_is_never_given_away() -> None:
    """nginx could not be reloaded with it, and all that is new would wait until it is known why."""
    plan = planned(listening("thief", listen="9180/tcp,9180/udp"), rules=Rules(own_port=9180))
    assert list(ports(plan)) == ["9180/udp"]
    (detail,) = [route.detail or "" for route in plan.routes if route.reason is Reason.PORT_TAKEN]
    assert "set status_listen to another" in detail


def test_where_no_file_is_written_for_them_a_container_is_told_so() -> None:
    """It is no reason against its upstream."""
    rules = Rules(streams_refusal="the setting stream_output is not set")
    plan = planned(listening("db"), rules=rules)
    assert plan.streams == ()
    (route,) = plan.routes
    assert route.server is not None
    assert [(each.kind, each.detail) for each in route.notices] == [
        (NoticeKind.SITE_NOT_USED, "lbwatch.listen is not used: the setting stream_output is not set")
    ]


def test_who_has_no_right_to_its_upstreams_name_has_none_to_its_port() -> None:
    """Its default name is another application's."""
    labels = {"lbwatch.enable": "true", "lbwatch.listen": "1/tcp", "com.docker.swarm.service.name": "b"}
    plan = planned(container("b", created_ns=1), container("a", labels=labels, created_ns=2))
    assert plan.streams == ()


def test_what_did_not_change_is_the_same_object() -> None:
    """Nobody has to compare it."""
    table, one, two = Table(), listening("one"), listening("two", listen="1/udp")
    first = table.plan({"1": one, "2": two}, changed=["1", "2"], rules=RULES, suspended=Suspended())
    paused = replace(two, status=ContainerStatus.PAUSED)
    second = table.plan({"1": one, "2": paused}, changed=["2"], rules=RULES, suspended=Suspended())
    assert [each.name for each in second.streams] == ["~port 1/udp", "~port 5432/tcp"]
    assert second.streams[1] is first.streams[1]
    assert second.streams[0] != first.streams[0]


_worlds = st.lists(
    st.dictionaries(
        st.integers(0, 4),
        st.tuples(
            st.sampled_from(["a", "b", "c"]),
            st.lists(st.sampled_from(["1/tcp", "1/udp", "80/tcp", "2/tcp"]), min_size=0, max_size=3, unique=True),
            st.integers(0, 3),
            st.sampled_from([ContainerStatus.RUNNING, ContainerStatus.EXITED]),
        ),
        max_size=5,
    ),
    min_size=1,
    max_size=5,
)


@given(_worlds)
def test_passes_come_to_what_a_single_look_comes_to(worlds: list[dict[int, Any]]) -> None:
    """Whatever came and went: each port once, of the oldest, and each row that is told is of now."""
    table, before = Table(), dict[str, Container]()
    for world in worlds:
        now = {}
        for number, (upstream, listen, created, status) in world.items():
            labels = {"lbwatch.upstream": upstream} | ({"lbwatch.listen": ",".join(listen)} if listen else {})
            one = container(f"c{number}", labels=labels, created_ns=created, status=status)
            now[one.id] = before[one.id] if before.get(one.id) == one else one
        changed = [id for id in before.keys() | now.keys() if before.get(id) is not now.get(id)]
        plan = table.plan(now, changed=changed, rules=RULES, suspended=Suspended())
        assert plan == desired_state([Snapshot(source="local", containers=now)], rules=RULES)
        assert [each.name for each in plan.streams] == sorted({each.name for each in plan.streams})
        asked = {(port, labels["lbwatch.upstream"]) for labels, port in _asked(now)}
        won = {(f"{each.port}/{each.protocol}", each.upstream.name) for each in plan.streams}
        assert won <= asked
        assert {port for port, _ in won} == {port for port, _ in asked} - {"80/tcp"}
        before = now


def _asked(now: dict[str, Container]) -> list[tuple[dict[str, str], str]]:
    every = (dict(each.labels) for each in now.values())
    return [(labels, port) for labels in every for port in labels.get("lbwatch.listen", "").split(",") if port]


def test_who_is_behind_a_port_that_is_not_written_is_told_so() -> None:
    """Its upstream serves requests all the same."""
    plan = planned(listening("db", listen="1/tcp,2/tcp"), container("web"))
    degraded = Degraded(upstream="~port 2/tcp", level=Level.OUT, error="it is taken")
    table = stamped(plan.routes, degraded=[degraded], streams=plan.streams)
    assert {each.container: [one.detail for one in each.notices] for each in table} == {
        "db": ["port 2/tcp is left out: it is taken"],
        "web": [],
    }
