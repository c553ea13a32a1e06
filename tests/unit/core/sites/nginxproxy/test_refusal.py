"""A value that cannot be used is named in one line that people can read, whatever it holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import hostile_text

from lbwatch.core.model import Reason
from lbwatch.core.sites import grammar
from lbwatch.core.sites.nginxproxy.refusal import RefusedError, judged, words


def test_the_words_say_which_which_value_and_what_it_takes() -> None:
    """Nobody should have to look for the container's variables to see which of them is wrong."""
    with pytest.raises(RefusedError) as refused:
        judged("VIRTUAL_PORT", "http", grammar.port)
    assert str(refused.value) == "variable VIRTUAL_PORT='http': it takes a whole number from 1 to 65535"
    assert refused.value.reason is Reason.BAD_VARIABLE
    assert str(refused.value).endswith(refused.value.takes)


def test_a_label_is_called_a_label() -> None:
    """It stands in another place of a Compose file."""
    assert words("com.github.nginx-proxy.nginx-proxy.keepalive", "x", "why").startswith("label com.github.")


def test_a_value_that_passes_is_returned() -> None:
    """Nothing is refused that the grammar takes."""
    assert judged("VIRTUAL_PORT", " 8080 ", grammar.port) == 8080


@given(st.one_of(hostile_text, st.text(max_size=5000)))
def test_any_value_makes_one_short_line(value: str) -> None:
    """A terminal and a log line must bear it."""
    line = words("VIRTUAL_HOST", value, "it takes a host")
    assert line.isprintable()
    assert len(line) < 350
    assert line.endswith(": it takes a host")
