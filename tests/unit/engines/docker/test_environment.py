"""What is kept of an environment: by name, bounded, and nothing of the rest."""

from hypothesis import given
from hypothesis import strategies as st

from lbwatch.engines.docker.environment import MAX_CHARS, MAX_VALUE_CHARS, kept

NAMES = frozenset(("HOST", "PATHS", "PORT"))
names = st.sampled_from([*sorted(NAMES), "PASSWORD", "HOSTS", "host", ""])


@given(st.lists(st.tuples(names, st.text(max_size=10))))
def test_nothing_is_kept_that_was_not_asked_for_by_name(pairs: list[tuple[str, str]]) -> None:
    """An environment holds secrets: what is never kept is never shown."""
    found = kept([f"{name}={value}" for name, value in pairs], names=NAMES)
    assert dict(found) == {name: value for name, value in pairs if name in NAMES}, "of two the last holds"
    assert list(found) == sorted(found)


def test_a_value_may_hold_anything_and_a_variable_without_one_is_unset() -> None:
    """As the engine has it."""
    assert kept(["HOST=a=b\nc", "PORT=", "PATHS=/", "PATHS"], names=NAMES) == (("HOST", "a=b\nc"), ("PORT", ""))


def test_a_value_that_is_too_long_is_replaced_by_one_that_nobody_takes() -> None:
    """Cut, it would be another host; left out, the container would be served as if it had never been said."""
    at_most = "a" * MAX_VALUE_CHARS
    found = dict(kept([f"HOST={at_most}", f"PORT={at_most}a"], names=NAMES))
    assert found["HOST"] == at_most
    assert found["PORT"] == f"\0 {MAX_VALUE_CHARS + 1} characters are too many"


def test_all_that_is_kept_of_one_container_has_a_bound() -> None:
    """Thousands of containers may each say all they can."""
    wanted = frozenset(f"V{number:02}" for number in range(30))
    found = dict(kept([*(f"{name}={'a' * 60_000}" for name in wanted), "V29=internal"], names=wanted))
    assert found.keys() == wanted
    assert sum(map(len, found.values())) <= MAX_CHARS + 30 * 40
    assert found["V29"] == "internal", "what is short, and meant, stays"
    assert sum(value.startswith("\0") for value in found.values()) == 25
