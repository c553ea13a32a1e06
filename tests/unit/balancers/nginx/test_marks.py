"""When nginx may remember an error of a server whose life is over."""

from dataclasses import replace

import pytest

from lbwatch.balancers.nginx.marks import is_outlived
from lbwatch.core.model import Server, Upstream


def server(number: int, *, started_ns: int = 1, max_fails: int | None = None) -> Server:
    return Server(
        address=f"192.0.2.{number}", port=80, container=f"c{number}", started_ns=started_ns, max_fails=max_fails
    )


def upstream(*servers: Server) -> tuple[Upstream, ...]:
    return (Upstream(name="web", servers=servers),)


BEFORE = upstream(server(1), server(2))


def test_a_server_that_was_started_anew_may_be_taken_for_failed() -> None:
    """Its former life had the errors, and for 10 s nobody would ask it again."""
    assert is_outlived(BEFORE, upstream(server(1, started_ns=2), server(2)))
    assert is_outlived(BEFORE, upstream(server(1, started_ns=2), server(2, started_ns=3)))


def test_the_same_lives_are_worth_no_reload() -> None:
    """Each leaves old workers behind until their last connection ends."""
    assert not is_outlived(BEFORE, BEFORE)
    assert not is_outlived((), BEFORE), "nor is a start of lbwatch"


@pytest.mark.parametrize("max_fails", [0, 3])
def test_what_nginx_never_gives_up_it_need_not_forget(max_fails: int) -> None:
    """`max_fails=0` switches its memory off."""
    before = upstream(server(1, max_fails=max_fails), server(2))
    after = upstream(server(1, max_fails=max_fails, started_ns=2), server(2))
    assert is_outlived(before, after) is bool(max_fails)


def test_an_only_server_is_never_given_up() -> None:
    """nginx asks it each time, since there is no other."""
    assert not is_outlived(upstream(server(1)), upstream(server(1, started_ns=2)))


def test_what_is_new_was_never_remembered() -> None:
    """A server that comes, comes with a reload."""
    assert not is_outlived(BEFORE, upstream(server(1), server(2), server(3)))
    assert not is_outlived(BEFORE, (replace(upstream(server(1, started_ns=2), server(2))[0], name="api"),))
