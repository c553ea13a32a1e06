"""What lbwatch and nginx's workers say to each other."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbwatch.balancers.nginx.live.protocol import ProtocolError, have_in, line_of, set_of
from lbwatch.core.model import Method, Server, Upstream, Waiting

ONE = Server(address="192.0.2.1", port=80, container="one", started_ns=5)


def test_a_worker_says_what_it_has() -> None:
    """Each word of it counts: by them it is known who serves what."""
    have = have_in(b"have 1 0123456789ab 1 4 abcd.7 web=3:1500,api=1:20\n")
    assert (have.shape, have.worker, have.workers, have.version) == ("0123456789ab", 1, 4, "abcd.7")
    assert have.waiting == (
        Waiting(upstream="web", requests=3, longest_s=1.5),
        Waiting(upstream="api", requests=1, longest_s=0.02),
    )
    assert have_in(b"have 1 0123456789ab 0 1 - -\n").version is None


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"keep\n",
        b"have 2 0123456789ab 0 1 - -\n",
        b"have 1 0123456789ab 1 1 - -\n",
        b"have 1 0123456789ab 0 0 - -\n",
        b"have 1 0123456789ab 0 1 7 -\n",
        b"have 1 0123456789ab 0 1 abcd.7\n",
        b"have 1 0123456789ab 0 1 - - -\n",
        b"have 1 0123456789ab 0 1 - web=3\n",
        b"have 1 0123456789ab 0 1 - web=3:4,\n",
        b"have 1 0123456789ab 0 1 - WEB=3:4\n",
        b"have 1 \xff 0 1 - -\n",
    ],
)
def test_whoever_says_anything_else_is_no_worker(line: bytes) -> None:
    """Any user of the machine may connect."""
    with pytest.raises(ProtocolError):
        have_in(line)


@given(st.binary(max_size=200))
def test_whatever_comes_is_understood_or_refused(line: bytes) -> None:
    """Nothing that a peer says may end the daemon."""
    try:
        have = have_in(b"have 1 " + line + b"\n")
    except ProtocolError:
        return
    assert 0 <= have.worker < have.workers


def test_a_line_has_all_that_nginx_would_read_of_a_server_with_its_defaults() -> None:
    """The worker knows none of nginx's defaults, so that there is one place for them."""
    six = replace(ONE, address="2001:db8::1", port=81, weight=3, max_fails=0, fail_timeout_s=30, backup=True)
    upstream = Upstream(name="web", servers=(ONE, six), method=Method(name="least_conn"), hold_s=1.5, paused=True)
    name, digest, *words = line_of(upstream).split(" ")
    assert (name, len(digest)) == ("web", 12)
    assert words == ["least_conn", "1500", "1", "192.0.2.1:80,1,1,10,0,5", "[2001:db8::1]:81,3,0,30,1,5"]
    assert line_of(Upstream(name="web")).split(" ")[2:] == ["round_robin", "0", "0"]


@pytest.mark.parametrize(
    "other",
    [
        Upstream(name="web", servers=(replace(ONE, port=81),)),
        Upstream(name="web", servers=(replace(ONE, started_ns=6),)),
        Upstream(name="web", servers=(replace(ONE, weight=2),)),
        Upstream(name="web", servers=(ONE,), hold_s=1.0),
        Upstream(name="web", servers=(ONE,), paused=True),
        Upstream(name="web"),
    ],
)
def test_a_digest_tells_one_state_of_an_upstream_from_another(other: Upstream) -> None:
    """By it a worker keeps all that it knows of an upstream that did not change."""
    digests = {line_of(each).split(" ")[1] for each in (Upstream(name="web", servers=(ONE,)), other)}
    assert len(digests) == 2


def test_a_set_says_how_many_lines_follow() -> None:
    """A worker puts them in force together, or none of them."""
    assert set_of(["a", "b"], version="abcd.2", is_whole=True) == b"set abcd.2 whole 2\na\nb\n"
    assert set_of([], version="abcd.2", is_whole=False) == b"set abcd.2 delta 0\n"
