"""Which containers are followed, and that what can never matter of them is not kept."""

from lbwatch.core.model import Container
from lbwatch.core.selector import Selector
from lbwatch.engines.docker.scope import Scope, described


def container(**labels: str) -> Container:
    return Container(id="a", name="a", labels=tuple(sorted(labels.items())))


def scope(*, expose_all: bool = False, follows: Selector | None = None) -> Scope:
    return Scope(prefix="lbwatch", expose_all=expose_all, follows=follows)


def test_a_container_asks_by_a_label_or_because_all_do() -> None:
    """What `expose` says."""
    assert scope().asks(Container(id="a", name="a", labels=(("lbwatch.port", "80"),)))
    assert not scope().asks(container(other="80"))
    assert scope(expose_all=True).asks(container())


def test_a_container_asks_by_a_variable_too() -> None:
    """Of an environment nothing else is kept than what was asked for."""
    assert scope().asks(Container(id="a", name="a", env=(("VIRTUAL_HOST", "foo.tld"),)))


def test_nginx_s_own_container_is_followed() -> None:
    """Where it is and whether it runs decides how it is reloaded."""
    assert scope(follows=Selector(named="a")).asks(container())
    assert not scope(follows=Selector(named="b")).asks(container())


def test_labels_that_cannot_matter_are_dropped() -> None:
    """They may be megabytes long, and thousands of containers are kept."""
    kept = scope().trimmed(Container(id="a", name="a", labels=(("lbwatch.port", "80"), ("readme", "x" * 1000))))
    assert kept.labels == (("lbwatch.port", "80"),)
    also = Scope(prefix="lbwatch", expose_all=False, also_labels=frozenset(("readme",)), follows=Selector(key="role"))
    labels = (("lbwatch.port", "80"), ("readme", "x"), ("role", "nginx"), ("team", "red"))
    assert also.trimmed(Container(id="a", name="a", labels=labels)).labels == labels[:3]


def test_an_event_describes_a_container_by_name_and_labels() -> None:
    """That is all an event has; without a name the id does, as the engine shortens it."""
    assert described("a" * 64, {"name": "web", "x": "1"}) == Container(
        id="a" * 64, name="web", labels=(("name", "web"), ("x", "1"))
    )
    assert described("a" * 64, {}).name == "a" * 12
