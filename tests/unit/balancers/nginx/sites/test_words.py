"""Texts as words of nginx's: each stays the one argument that it is."""

import crossplane
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbwatch.balancers.nginx.sites import words

TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=60)


def parsed(written: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the arguments of a directive that has these words."""
    file = tmp_path_factory.getbasetemp() / "words.conf"
    file.write_text(f"some {written};\n")
    (directive,) = crossplane.parse(str(file), single=True, check_ctx=False, check_args=False)["config"][0]["parsed"]
    assert directive["directive"] == "some"
    return list(directive["args"])


def unescaped(text: str) -> str:
    """Take a word as nginx does; crossplane leaves backslashes alone."""
    return text.replace("\\\\", "\0").replace('\\"', '"').replace("\0", "\\")


@settings(deadline=None)
@given(TEXTS)
def test_any_text_is_one_word(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """A regular expression may hold every sign that means something to nginx."""
    assert [unescaped(each) for each in parsed(words.word(text), tmp_path_factory)] == [text]


@pytest.mark.parametrize("text", ["/etc/nginx/certs/a.crt", "a.example", "~^a", "*.example", "/a,b=c@d"])
def test_plain_words_are_written_as_they_are(text: str) -> None:
    """acme-companion looks for `server_name HOST;`, and people read the file."""
    assert words.word(text) == text


@settings(deadline=None)
@given(TEXTS)
def test_a_path_is_one_word_without_variables_or_none(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """nginx would look for a variable in the path of a certificate, and read it anew for each handshake."""
    path = f"/{text}"
    if "$" in path:
        assert not words.is_writable(path)
        with pytest.raises(words.UnwritableError):
            words.path(path)
        return
    assert [unescaped(each) for each in parsed(words.path(path), tmp_path_factory)] == [path]


@pytest.mark.parametrize("text", ["", "relative", "/a\nb", "/a\x7f", f"/{'x' * 1000}"])
def test_what_is_no_path_of_a_file_is_refused(text: str) -> None:
    """It would be taken from another folder, or be another directive."""
    with pytest.raises(words.UnwritableError, match="no path that nginx can be given"):
        words.path(text)
    with pytest.raises(words.UnwritableError):
        words.glob(text)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("/v/a.test", "/v/a.test"),
        ("/v/*.test", '"/v/[*].test"'),
        ("/v [1]/a?", '"/v [[]1]/a[?]"'),
        ("/v\\/a", r'"/v\\/a"'),
        ("/v\\*", r'"/v\\\\[*]"'),
    ],
)
def test_an_included_file_is_no_pattern(text: str, written: str) -> None:
    """A wildcard host's file is named as the host, and others of its domain lie beside it."""
    assert words.glob(text) == written


@settings(deadline=None)
@given(st.text(max_size=300))
def test_what_a_browser_shows_ends_nothing(text: str) -> None:
    """Neither nginx's word nor the header's, and it has no variables."""
    written = words.realm(text)
    assert (written[0], written[-1]) == ('"', '"')
    assert not set(written[1:-1]) & set('"\\$')
    assert written.isascii()
    assert written.isprintable()
    assert len(written) <= 202


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("404", "404"),
        (" 418 ", "418"),
        ("301 http://$host/web1$request_uri", '301 "http://$host/web1$request_uri"'),
        ('200 a;"b', r'200 "a;\"b"'),
        ("302 https://x${uri}", '302 "https://x${uri}"'),
    ],
)
def test_an_answer_is_a_status_and_one_word(text: str, written: str) -> None:
    """In which variables of nginx's are its own."""
    assert words.answer(text) == written


@pytest.mark.parametrize("text", ["", "none", "40", "4040", "404\n; x", "301 $nothing", "301 a$", "301 ${x}", "301 $1"])
def test_any_other_answer_is_refused(text: str) -> None:
    """nginx would refuse the whole file for it."""
    with pytest.raises(words.UnwritableError):
        words.answer(text)
