"""What nginx's workers should have."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from lbwatch.balancers.nginx.live.protocol import line_of
from lbwatch.balancers.nginx.live.versions import Versions
from lbwatch.core.model import Method, Server, Upstream


def server(number: int) -> Server:
    return Server(address=f"192.0.2.{number}", port=80, container=f"c{number}", started_ns=1)


WEB, API = Upstream(name="web", servers=(server(1),)), Upstream(name="api", servers=(server(2),))


def said(answer: bytes | None) -> tuple[str, list[str]]:
    """The first line of an answer, and the names of the others."""
    assert answer is not None
    head, *lines = answer.decode().splitlines()
    return head, [line.split(" ")[0] for line in lines]


def test_who_has_nothing_or_another_runs_version_is_told_all() -> None:
    """After a start of lbwatch nobody knows what a worker was told before."""
    versions = Versions(epoch="aa")
    assert versions.answer(None) is None, "there is nothing to tell yet"
    assert versions.update((API, WEB)) == "aa.1"
    assert said(versions.answer(None)) == ("set aa.1 whole 2", ["api", "web"])
    assert said(versions.answer("bb.1")) == ("set aa.1 whole 2", ["api", "web"])
    assert versions.answer("aa.1") is None


def test_only_what_changed_since_is_told() -> None:
    """One of 10,000 upstreams changes with each event."""
    versions = Versions(epoch="aa")
    versions.update((API, WEB))
    assert versions.update((API, replace(WEB, servers=()))) == "aa.2"
    assert said(versions.answer("aa.1")) == ("set aa.2 delta 1", ["web"])
    versions.update((replace(API, servers=()), replace(WEB, servers=())))
    assert said(versions.answer("aa.2")) == ("set aa.3 delta 1", ["api"])
    assert said(versions.answer("aa.1")) == ("set aa.3 delta 2", ["api", "web"])


def test_what_workers_are_not_told_makes_no_version() -> None:
    """Labels for a template, or the name of a container, are nothing to them."""
    versions = Versions(epoch="aa")
    versions.update((WEB,))
    renamed = replace(WEB, servers=(replace(server(1), container="other", vars={"a": "b"}),))
    assert versions.update((renamed,)) == "aa.1"


def test_an_upstream_that_went_has_no_server_any_more_and_holds_no_request() -> None:
    """Its block may be in nginx for long."""
    versions = Versions(epoch="aa")
    versions.update((API, replace(WEB, servers=(), hold_s=9.0)))
    versions.update((API,))
    answer = versions.answer("aa.1")
    assert answer is not None
    assert answer.decode().splitlines()[1:] == [line_of(Upstream(name="web"))]
    assert said(versions.answer(None))[1] == ["api", "web"]
    assert versions.update((API,), is_reload=True) == "aa.2"
    assert said(versions.answer(None))[1] == ["api"], "new workers never had it"


def test_an_upstream_that_takes_reloads_is_nginx_own() -> None:
    """What a worker is told it does by itself, and nginx's own servers of that upstream would count for nothing."""
    versions = Versions(epoch="aa")
    versions.update((API, WEB))
    versions.update((API, replace(WEB, method=Method(name="ip_hash"))), is_reload=True)
    assert said(versions.answer(None)) == ("set aa.2 whole 1", ["api"])


def test_requests_may_wait_where_nobody_serves_or_nobody_should() -> None:
    """Then workers are asked more often how many do."""
    versions = Versions(epoch="aa")
    for upstream, waits in (
        (WEB, False),
        (replace(WEB, hold_s=1.0), False),
        (replace(WEB, hold_s=1.0, servers=()), True),
        (replace(WEB, servers=()), False),
        (replace(WEB, paused=True), True),
    ):
        versions.update((upstream,))
        assert versions.any_waits is waits, upstream


_NAMES = ("a", "b", "c")
_STATES = st.dictionaries(st.sampled_from(_NAMES), st.sets(st.integers(1, 3), max_size=2))


@given(st.lists(_STATES, max_size=8), st.data())
def test_whoever_does_as_it_is_told_has_the_latest_state(
    states: list[dict[str, set[int]]], data: st.DataObject
) -> None:
    """Whichever version it had, and whichever it missed."""
    versions, has, version = Versions(epoch="aa"), dict[str, str](), None
    upstreams: tuple[Upstream, ...] = ()
    for state in states:
        upstreams = tuple(
            Upstream(name=name, servers=tuple(map(server, sorted(numbers)))) for name, numbers in sorted(state.items())
        )
        versions.update(upstreams)
        if data.draw(st.booleans()) and (answer := versions.answer(version)) is not None:
            head, *lines = answer.decode().splitlines()
            has = {} if "whole" in head else has
            has |= {line.split(" ")[0]: line for line in lines}
            version = head.split(" ")[1]
            assert versions.answer(version) is None
            assert {name: line for name, line in has.items() if line != line_of(Upstream(name=name))} == {
                each.name: line_of(each) for each in upstreams if each.servers
            }
