"""nginx's language on bytes: where each directive stands, by the rules of nginx's own reader."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lbwatch.balancers.nginx.config_test.grammar import (
    MAX_DEPTH,
    Directive,
    Edit,
    directives,
    edited,
    quoted,
)


def lines_of(content: bytes) -> list[bytes]:
    """Each directive with its arguments, between bars, behind the blocks around it."""
    return [b"|".join((*each.within, each.name, *(word.text for word in each.args))) for each in directives(content)]


READ = {
    "one": (b"a b c;", [b"a|b|c"]),
    "spaces of four kinds": (b"\ta\r\nb \t c ;", [b"a|b|c"]),
    "blocks": (b"a { b c; d { e; } } f;", [b"a", b"a|b|c", b"a|d", b"a|d|e", b"f"]),
    "a remark": (b"# a;\nb#c # d;\n e;", [b"b#c|e"]),
    "a remark without an end": (b"a; # b;", [b"a"]),
    "signs of a colour": (
        b"map $h $c { default '#fff'; x \"#;{}\"; }",
        [b"map|$h|$c", b"map|default|#fff", b"map|x|#;{}"],
    ),
    "quotes within a word": (b"a b\"c'd e};", [b"a|b\"c'd|e}"]),
    "a brace behind a dollar": (b"a ${b}c $d{e};", [b"a|${b}c|$d", b"a|e}"]),
    "a brace behind a dollar within a word": (b"a b${c}$${d}e f;", [b"a|b${c}$${d}e|f"]),
    "many braces behind a dollar": (b"a ${{{b};", [b"a|${{{b}"]),
    "an escaped sign": (rb"a b\;c\{d\ e\#;", [rb"a|b\;c\{d\ e\#"]),
    "escapes": (rb"""a "b\"c\\d\te\qf" 'g\'h';""", [b"a|b\"c\\d\te\\qf|g'h"]),
    "an escaped name": (rb"a\tb c;", [b"a\tb|c"]),
    "a word in quotes": (b"\"include\" 'x';", [b"include|x"]),
    "lines in quotes": (b"a 'b\nc;\n' d;", [b"a|b\nc;\n|d"]),
    "nothing in quotes": (b"a '' \"\";", [b"a||"]),
    "a bracket behind a quote": (b'if ($a = "b") { c; }', [b"if|($a|=|b|)", b"if|c"]),
    "a space of Unicode": ("a b\u00a0c \u3000d;".encode(), ["a|b\u00a0c|\u3000d".encode()]),
    "a mark of Unicode's": (b"\xef\xbb\xbfa b;", [b"\xef\xbb\xbfa|b"]),
    "bytes of any kind": (b"a \xe9\xff\x00\x01 b;", [b"a|\xe9\xff\x00\x01|b"]),
    "a backslash at the end of a line": (b"a b\\\nc;", [b"a|b\\\nc"]),
    "Lua": (
        b"init_by_lua_block { x = [[ it\"s { ]] -- }\n y = '}' --[==[ } ]] ]==] if a then b = {} end }\nc d;",
        [b"init_by_lua_block", b"c|d"],
    ),
    "Lua with a variable": (b"set_by_lua_block $p{ return '{' } c;", [b"set_by_lua_block|$p", b"c"]),
}

CUT = {
    "no end": (b"a; b c", [b"a"]),
    "no end of a quote": (b"a; b 'c;\nd;", [b"a"]),
    "a word behind a quote": (b"a; 'b'c; d;", [b"a"]),
    "a remark behind a quote": (b"a; 'b'#c\n; d;", [b"a"]),
    "nothing before its end": (b"a; ; b;", [b"a"]),
    "nothing before a block": (b"a; { b; }", [b"a"]),
    "no end before a brace": (b"a { b } c;", [b"a"]),
    "a brace too many": (b"a; } b;", [b"a"]),
    "no brace": (b"a { b;", [b"a", b"a|b"]),
}


@pytest.mark.parametrize(("content", "lines"), (READ | CUT).values(), ids=READ | CUT)
def test_it_is_read_as_nginx_reads_it(content: bytes, lines: list[bytes]) -> None:
    """What is seen where nginx sees nothing is replaced where it must not be, and what is not seen stays."""
    assert lines_of(content) == lines


def test_a_directive_knows_where_it_stands() -> None:
    """What must be another one in a test is replaced there, and all else stays what the user wrote."""
    content = b"# \xe9\n a 'b' { c d; }\n"
    block, inner = directives(content)
    assert content[block.start : block.body] == b"a 'b' {"
    assert content[block.start : block.end] == b"a 'b' { c d; }"
    assert content[inner.start : inner.end] == b"c d;"
    (word,) = block.args
    assert content[word.start : word.end] == b"'b'"
    (last,) = directives(b"a { b")
    assert (last.opens, last.end) == (True, 5)


def test_blocks_within_blocks_have_an_end() -> None:
    """Whoever writes a million braces must not have the daemon's memory."""
    assert len(directives(b"a {" * 100_000)) == MAX_DEPTH
    assert len(directives(b"a {" * 100 + b"b;" + b"}" * 100 + b"c;")) == 102


@pytest.mark.parametrize(
    "unit", [b"\\", b"${", b"'a' ", b"a b ", b"#\n", b"a{b;}", b"--[[", b"init_by_lua_block {", b'"']
)
def test_a_large_file_takes_no_more_than_its_share(unit: bytes) -> None:
    """Looked at from each of its bytes anew, a file would hold the daemon up for hours; the test's limit notices that."""
    directives(unit * (400_000 // len(unit)))


@given(
    st.lists(st.sampled_from([b"\\", b'"', b"'", b"t", b"n", b"$", b"{", b"\xe9", b" "]) | st.binary(max_size=3)).map(
        b"".join
    ),
    st.binary(max_size=10),
)
def test_a_quoted_text_is_read_again_as_that_text(text: bytes, behind: bytes) -> None:
    """A path is a name of the user's, and may hold anything but a NUL."""
    content = b"a " + quoted(text) + b" ;" + behind
    first: Directive = directives(content)[0]
    assert [word.text for word in first.args] == [text]


tokens = st.lists(
    st.sampled_from(
        [
            b"a",
            b" ",
            b"\n",
            b";",
            b"{",
            b"}",
            b"#",
            b'"',
            b"'",
            b"\\",
            b"$",
            b"\xe9",
            b"t",
            b")",
            b"[[",
            b"_by_lua_block ",
        ]
    ),
    max_size=24,
).map(b"".join)


@given(tokens)
def test_whatever_a_file_holds_its_directives_lie_in_one_another_and_in_order(content: bytes) -> None:
    """An edit beyond its directive would change what follows it."""
    found = directives(content)
    starts = [each.start for each in found]
    assert starts == sorted(set(starts))
    for each in found:
        assert each.start < each.body <= each.end <= len(content)
        assert content[each.body - 1 : each.body] == (b"{" if each.opens else b";")
        places = [each.start, *(place for word in each.args for place in (word.start, word.end)), each.body]
        assert places == sorted(places)
    for outer, inner in pairwise(found):
        assert inner.start >= outer.body
        assert inner.end <= outer.end or inner.start >= outer.end


@example(b"a\nb;\nc;", [(0, 4, b"x")])
@given(
    tokens, st.lists(st.tuples(st.integers(0, 24), st.integers(0, 6), st.sampled_from([b"", b"x", b"\n"])), max_size=4)
)
def test_an_edited_file_keeps_the_numbers_of_its_lines(content: bytes, spans: list[tuple[int, int, bytes]]) -> None:
    """nginx names lines, and people look there."""
    edits = [Edit(min(at, len(content)), min(at + size, len(content)), text) for at, size, text in spans]
    edits = [each for each in edits if each.text.count(b"\n") <= content.count(b"\n", each.start, each.end)]
    made = edited(content, edits)
    assert made.count(b"\n") == content.count(b"\n")
    assert edited(content, ()) == content


@pytest.mark.parametrize("name", [b"/a\\nb", b'"/a\nb"', b"'/a\\n\\n'", b"'/a\n\\nb\n'", b"/a\\\nb"])
def test_a_word_of_several_lines_is_replaced_by_as_many(name: bytes) -> None:
    """Or each line behind it has another number in the copy, and nginx's error names the wrong one."""
    content = b"include " + name + b";\nthree;"
    word = directives(content)[0].args[0]
    made = edited(content, [Edit(word.start, word.end, quoted(b"/top" + word.text))])
    assert made.count(b"\n") == content.count(b"\n")
    assert directives(made)[0].args[0].text == b"/top" + word.text


def test_edits_replace_their_spans_and_one_within_another_is_lost() -> None:
    """Two reasons to change one directive must not make a third of both."""
    content = b"one { two; }\nthree;"
    assert edited(content, [Edit(13, 18, b"3"), Edit(0, 3, b"1")]) == b"1 { two; }\n3;"
    assert edited(content, [Edit(6, 9, b"2"), Edit(0, 12, b"x")]) == b"x\nthree;"
    assert edited(content, [Edit(5, 5, b" log off;")]) == b"one { log off; two; }\nthree;"
