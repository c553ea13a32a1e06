"""Whose network others use: those are followed for as long as that lasts."""

from lbwatch.core.model import Container
from lbwatch.engines.docker.owners import NetworkOwners
from lbwatch.engines.docker.scope import Scope

OWNER = "f" * 64
OURS = (("lbwatch.port", "80"),)


def owners() -> NetworkOwners:
    return NetworkOwners(Scope(prefix="lbwatch", expose_all=False))


def by_id(*containers: Container) -> dict[str, Container]:
    return {each.id: each for each in containers}


def test_an_owner_is_followed_as_long_as_it_has_a_user() -> None:
    """When it dies its user is unreachable, and that is the only event."""
    known, user = owners(), Container(id="u", name="u", labels=OURS, network_of=OWNER)
    assert known.update(by_id(user, Container(id=OWNER, name="vpn"))) == (OWNER,)
    assert known.ids == {OWNER}
    assert known.update(by_id(user, Container(id=OWNER, name="vpn"))) == ()
    known.update(by_id(Container(id=OWNER, name="vpn")))
    assert known.ids == set()


def test_the_user_must_ask_for_something() -> None:
    """Else whoever shares a network costs a look at each of its events."""
    known = owners()
    assert known.update(by_id(Container(id="u", name="u", network_of=OWNER), Container(id=OWNER, name="vpn"))) == ()


def test_an_owner_that_is_not_known_yet_is_followed_by_its_id() -> None:
    """A list may have the one before the other; a name alone takes no look."""
    known = owners()
    user = Container(id="u", name="u", labels=OURS, network_of=OWNER)
    named = Container(id="n", name="n", labels=OURS, network_of="vpn")
    assert known.among([user, named], known={}) == {OWNER}
    assert known.among([named], known=by_id(Container(id="p", name="vpn"))) == {"p"}


def test_whom_it_concerns_is_seen_without_counting_all_anew() -> None:
    """At each look; there may be thousands."""
    known = owners()
    known.update(by_id(Container(id="u", name="u", labels=OURS, network_of="vpn")))
    assert known.concern(Container(id="p", name="vpn"))
    assert known.concern(Container(id="x", name="x", network_of="y"))
    assert not known.concern(Container(id="x", name="x"))
    assert not known.concern(None)
