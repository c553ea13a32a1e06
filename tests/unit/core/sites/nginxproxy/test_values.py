"""The values of one container: what cannot be used is left out, with words, and nothing else suffers."""

from lbwatch.core.sites import grammar
from lbwatch.core.sites.nginxproxy.values import Values

TABLE = {"A": ("a", grammar.boolean), "B": ("b", grammar.port), "C": ("c", grammar.hsts)}


def test_blank_values_say_nothing() -> None:
    """Compose files pass variables on that are not set, as empty text."""
    values = Values(said={"A": "", "B": "  \t"})
    assert not values.has("A")
    assert not values.has("B")
    assert values.all(TABLE) == {}
    assert values.dropped == []


def test_a_wrong_value_is_left_out_and_named() -> None:
    """One wrong value of three must not cost the other two."""
    values = Values(said={"A": "true", "B": "http", "C": "off"})
    assert values.all(TABLE) == {"a": True, "c": ""}
    assert values.dropped == ["variable B='http': it takes a whole number from 1 to 65535; it is not used"]


def test_what_says_nothing_has_the_default() -> None:
    """Likewise what cannot be used."""
    values = Values(said={"B": "http"})
    assert values.read("A", grammar.boolean, default=True) is True
    assert values.read("B", grammar.port, default=80) == 80
    assert values.read("C", grammar.hsts) is None
