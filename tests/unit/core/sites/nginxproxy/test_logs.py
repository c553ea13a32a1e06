"""How requests are logged: nginx refuses every file for a format with a variable that it does not have."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import hostile_text

from lbwatch.core.sites.grammar import GrammarError
from lbwatch.core.sites.nginxproxy.logs import ESCAPES, JSON_FORMAT, MAX_FORMAT_BYTES, log_escape, log_format


@pytest.mark.parametrize(
    "text",
    [
        '$host $remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent',
        "${host}x $http_x_forwarded_for $sent_http_content_type $upstream_addr",
        "$REMOTE_ADDR",
        "it's {plain}; # text",
        "",
    ],
)
def test_a_format_of_nginxs_variables_is_taken_as_it_is(text: str) -> None:
    """Programs read these lines, which the operator chose."""
    assert log_format(text) == text


def test_lines_are_joined() -> None:
    """In a Compose file a long format has several."""
    assert log_format("$host\n  $status\n") == "$host $status"


@pytest.mark.parametrize("text", ["$", "$$", "a $ b", "$nosuch", "${host", "${}", "$http_", "\x00", "\x1b[0m", "$é"])
def test_what_nginx_would_refuse_is_refused_here(text: str) -> None:
    """There it would stop all hosts, and not this format alone."""
    with pytest.raises(GrammarError):
        log_format(text)


def test_a_format_has_a_bound() -> None:
    """nginx reads no longer word than its buffer."""
    assert log_format("x" * MAX_FORMAT_BYTES)
    with pytest.raises(GrammarError, match="at most 1900"):
        log_format("é" * (MAX_FORMAT_BYTES // 2 + 1))
    with pytest.raises(GrammarError, match="at most 1900"):
        log_format("x" * (MAX_FORMAT_BYTES + 1))


@given(st.one_of(hostile_text, st.text(max_size=80)))
def test_any_text_is_a_format_or_refused(text: str) -> None:
    """Whatever passes is printable, and each $ in it begins a variable."""
    try:
        line = log_format(text)
    except GrammarError as error:
        assert error.takes.isprintable()
    else:
        assert line.isprintable()
        assert re.fullmatch(r"(?:[^$]|\$\w+|\$\{\w+\})*", line)


def test_the_json_format_is_json_of_known_variables() -> None:
    """By the names that nginx-proxy gives its fields: others' programs read them."""
    assert log_format(JSON_FORMAT) == JSON_FORMAT
    fields = json.loads(JSON_FORMAT)
    assert list(fields) == [
        "time_local",
        "client_ip",
        "remote_addr",
        "request",
        "status",
        "body_bytes_sent",
        "request_time",
        "upstream_response_time",
        "upstream_addr",
        "http_referrer",
        "http_user_agent",
        "request_id",
    ]


def test_nginx_escapes_in_three_ways() -> None:
    """Its own words."""
    assert [log_escape(f" {word.upper()} ") for word in ESCAPES] == ["default", "json", "none"]
    with pytest.raises(GrammarError, match="default, json or none"):
        log_escape("xml")
