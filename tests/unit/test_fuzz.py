"""Whatever comes from outside is used within its bounds or refused as documented: each target is drawn anything for a second."""

import pytest
from fuzztargets import SEEDS, TARGETS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

_EXAMPLES = {"settings": 60, "requests": 150, "includes": 200, "kept": 200, "truths": 200}
_OTHERS = 400

_PIECES = st.one_of(
    st.binary(max_size=8),
    st.sampled_from(
        [
            *(
                b'"',
                b"'",
                b"\\",
                b"{",
                b"}",
                b";",
                b"\n",
                b"\0",
                b"\x1e",
                b"$",
                b"${",
                b"#",
                b"[",
                b"]",
                b",",
                b"null",
                b"-1",
            ),
            *(
                b"9" * 400,
                b"9" * 19,
                b"\xff",
                "\u0661".encode(),
                "\u2028".encode(),
                b"\xed\xa0\x80",
                b"a" * 300,
                b"{" * 300,
            ),
        ]
    ),
)


def changed(seed: bytes) -> st.SearchStrategy[bytes]:
    """Draw the seed with some bytes of it replaced."""
    places = st.tuples(st.integers(0, len(seed)), st.integers(0, 12), _PIECES)
    return st.lists(places, max_size=4).map(lambda edits: _edited(seed, edits))


def _edited(seed: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for at, size, piece in edits:
        seed = seed[:at] + piece + seed[at + size :]
    return seed


def anything(name: str) -> st.SearchStrategy[bytes]:
    return st.one_of(st.binary(max_size=100), *map(changed, SEEDS[name]))


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_promised_holds_whatever_is_read(name: str) -> None:
    """A parser is where strangers' bytes meet the daemon: none may end it, fill it, or come out as something else."""

    @settings(max_examples=_EXAMPLES.get(name, _OTHERS), suppress_health_check=list(HealthCheck))
    @given(anything(name))
    def holds(data: bytes) -> None:
        TARGETS[name](data)

    holds()


@pytest.mark.parametrize("name", TARGETS)
def test_each_target_begins_with_what_is_really_said(name: str) -> None:
    """From bytes that are refused at once nothing behind the first check is ever reached."""
    assert SEEDS[name]
    for seed in SEEDS[name]:
        TARGETS[name](seed)
