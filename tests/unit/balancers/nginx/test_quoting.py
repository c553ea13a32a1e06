"""Texts of labels in users' templates: whatever they say and wherever they stand, nginx reads no directive out of them."""

import re
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import crossplane
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from needs import NGINX_NEEDS, need
from realnginx import RealNginx
from strategies import hostile_text, make_renderer

from lbwatch.balancers.nginx.isolate import accepted
from lbwatch.balancers.nginx.quoting import hidden, quoted, raw
from lbwatch.balancers.template import Renderer
from lbwatch.core.errors import RenderError
from lbwatch.core.model import Level, Server, Upstream

ATTACKS = tuple(
    f"{before}got_in;{after}"
    for before in (
        "\n",
        "x\n",
        "x\r\n",
        "; ",
        "x; ",
        '"; ',
        "'; ",
        "\\; ",
        '\\"; ',
        "x; } ",
        "} ",
        "{ } ",
        "#\n",
        '""; ',
    )
    for after in ("", "\n#", '"', "'", "\\")
)
PLACES = {
    "comment": "# <{{ text }}>",
    "comment's begin": "#{{ text }}",
    "argument": "return 200 {{ text }};",
    "two": "return {{ text }} {{ text }};",
    "within": "return 200 <{{ text }}>;",
    "begin": "return 200 {{ text }}>;",
    "in double quotes": 'return 200 "<{{ text }}>";',
    "all in double quotes": 'return 200 "{{ text }}";',
    "in single quotes": "return 200 '<{{ text }}>';",
    "all in single quotes": "return 200 '{{ text }}';",
    "behind quotes": 'return 200 "x"{{ text }};',
    "before quotes": 'return 200 {{ text }}"x";',
    "quoted": "return 200 {{ text | quoted }};",
    "quoted in an argument": "return 200 <{{ text | quoted }}>;",
    "quoted in quotes": 'return 200 "{{ text | quoted }}";',
    "quoted in other quotes": "return 200 '{{ text | quoted }}';",
    "in a quote that is not one": "return 200 x'{{ text }};",
    "variable": "return 200 ${{ text }};",
    "behind braces": "default_type ${{ '{{{' }}{{ text }};",
    "behind braces within": "default_type x${{ '{' }}{{ text }};",
    "behind a backslash": "return 200 \\{{ text }};",
    "directive": "{{ text }}",
    "directive with an argument": "{{ text }} x;",
    "block": "location {{ text }} { }",
    "name of a block": "{{ text }} { }",
}
ANYTHING_GOES = frozenset(PLACES) - {
    "two",
    "behind quotes",
    "before quotes",
    "quoted in quotes",
    "quoted in other quotes",
    "in a quote that is not one",
    "variable",
    "behind braces",
    "behind braces within",
    "behind a backslash",
    "directive",
    "directive with an argument",
    "block",
    "name of a block",
}
"""Where nginx takes each attack for mere text, the whole file with it."""

EXPRESSIONS = (
    "text",
    "text | upper",
    "text | title",
    "text | trim",
    "text | string",
    "text | safe",
    "text | e",
    "text | replace('a', 'b')",
    "'a' | replace('a', text)",
    "text | default('none')",
    "text | truncate(5, true)",
    "text | reverse",
    "text | indent",
    "(text | list | join) ~ '-'",
    "[text, text] | join('-')",
    "'-'.join([text, text])",
    "text.join(['a', 'b'])",
    "text.split(';') | join('-')",
    "(text.splitlines() | join('-')) ~ '-'",
    "text.partition('\\n')[2] ~ '-'",
    "text ~ 'y'",
    "'y' + text",
    "text + text",
    "text * 2",
    "'<%s>' % text",
    "'<%s>' | format(text)",
    "'<{}>'.format(text)",
    "'<{0!s:->40}>'.format(text)",
    "text.format('y') ~ '-'",
    "text.replace('x', '-')[1:] ~ '-'",
    "[text] | map('upper') | first",
    "{'a': text}.a",
    "{text: 'a'} | first",
    "macro(text)",
    "macro(text) | upper",
    "macro(text) | replace('<', '-')",
    "block",
    "block | quoted",
    "text | quoted",
    "(text | quoted) | quoted",
    "text | raw | quoted",
)

any_text = st.one_of(hostile_text, st.sampled_from(ATTACKS), st.tuples(hostile_text, hostile_text).map("".join))


def upstream(text: str, *, name: str = "web", key: str = "text", port: int = 80) -> Upstream:
    return Upstream(name=name, servers=(Server(address="192.0.2.1", port=port, container="web-1", vars={key: text}),))


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealNginx]:
    """One that does not run yet."""
    need(*NGINX_NEEDS)
    with RealNginx(tmp_path_factory.mktemp("quoting"), workers=1) as nginx:
        yield nginx


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Has templates of all examples of a test."""
    return tmp_path_factory.mktemp("templates")


@cache
def renderer(body: str, folder: Path, server: str = "") -> Renderer:
    """Make a renderer that writes *body* for each server, as `text` has it; *server* opens the block around all."""
    path = folder / f"{len(list(folder.glob('*.j2')))}.j2"
    path.write_text(
        f"{server}\n{{% macro macro(text) %}}<{{{{ text }}}}>{{% endmacro %}}\n"
        "{% for upstream in upstreams %}{% for server in upstream.servers %}\n"
        "{% set text = server.vars.text | default('none') %}{% set block %}<{{ text }}>{% endset %}\n"
        f"{body}\n{{% endfor %}}{{% endfor %}}\n{'}' if server else ''}"
    )
    return make_renderer(str(path))


def of_nginx(body: str, nginx: RealNginx) -> Renderer:
    """Likewise, in a server that answers at nginx's socket."""
    ours = f"server {{ listen unix:{nginx.socket}; server_name lbwatch.test; location = / {{ return 200 nginx; }}"
    return renderer(body, nginx.folder, ours)


def attempt(text: str, *, renderer: Renderer) -> str | None:
    """Return the output with a text; `None`: it is refused, which only what nginx has no word for may bring about."""
    try:
        return renderer.text((upstream(text),))
    except RenderError as error:
        assert re.search(r"[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029$]", text) or len(text.encode()) > 1900, error
        return None


def judged(text: str, *, nginx: RealNginx) -> subprocess.CompletedProcess[str]:
    """Have nginx test a file."""
    nginx.output.write_bytes(text.encode())
    argv = ["nginx", "-t", "-q", "-c", str(nginx.conf), "-p", str(nginx.folder)]
    return subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)


def skeleton(text: str, *, folder: Path) -> list[Any]:
    """Take a file apart as a parser of nginx's language does: directives, how many arguments each has, what is in it."""
    (folder / "rendered.conf").write_bytes(text.encode())
    answer = crossplane.parse(str(folder / "rendered.conf"))
    assert answer["status"] == "ok", answer["errors"]
    return _shape(answer["config"][0]["parsed"])


def _shape(block: Sequence[dict[str, Any]]) -> list[Any]:
    return [(each["directive"], len(each["args"]), _shape(each.get("block", []))) for each in block]


# -- what nginx reads

SERVED = """\
# {{ text }}
location = /{{ server.port }}/argument { return 200 {{ text }}; } # {{ text }}
location = /{{ server.port }}/within { return 200 <{{ text }}>; }
location = /{{ server.port }}/double { return 200 "<{{ text }}>"; }
location = /{{ server.port }}/single { return 200 '<{{ text }}>'; }
location = /{{ server.port }}/quoted { return 200 {{ text | quoted }}; }
location = /{{ server.port }}/block { return 200 {{ block }}; }
location = /{{ server.port }}/macro { return 200 {{ macro(text) }}; }
"""


@given(texts=st.lists(any_text, min_size=1, max_size=20))
@settings(max_examples=25)
def test_nginx_reads_a_text_as_the_one_argument_that_it_stands_in(texts: list[str], nginx: RealNginx) -> None:
    """Not a character is lost, added or live, as nginx itself answers: quotes that change a text would be of no use."""
    served = of_nginx(SERVED, nginx)
    good = [text for text in texts if attempt(text, renderer=served) is not None]
    upstreams = [upstream(text, name=f"u{port}", port=port) for port, text in enumerate(good, 1)]
    nginx.output.write_bytes(served.text(tuple(upstreams)).encode())
    nginx.start()
    try:
        for port, text in enumerate(good, 1):
            for place in ("argument", "quoted"):
                assert nginx.ask(f"/{port}/{place}") == text.strip()
            for place in ("within", "double", "single", "block", "macro"):
                assert nginx.ask(f"/{port}/{place}") == f"<{text}>"
    finally:
        nginx.stop()


@pytest.mark.parametrize("place", PLACES)
def test_no_directive_gets_in_wherever_a_text_stands(place: str, nginx: RealNginx) -> None:
    """Who may set a label must not be able to write nginx's configuration: it is refused, or no directive to nginx."""
    template = of_nginx(PLACES[place], nginx)
    written = {attack: output for attack in ATTACKS if (output := attempt_anywhere(attack, template)) is not None}
    everything = tuple(upstream(attack, name=f"u{number}") for number, attack in enumerate(written))
    if everything and judged(template.text(everything), nginx=nginx).returncode == 0:
        return
    assert place not in ANYTHING_GOES
    for attack, output in written.items():
        assert 'directive "got_in"' not in judged(output, nginx=nginx).stderr, (attack, output)


def attempt_anywhere(text: str, renderer: Renderer) -> str | None:
    try:
        return renderer.text((upstream(text),))
    except RenderError:
        return None


@given(expression=st.sampled_from(EXPRESSIONS), text=any_text)
@settings(max_examples=600)
def test_whatever_a_template_makes_of_a_text_is_as_safe(expression: str, text: str, folder: Path) -> None:
    """The safety must not be lost on the way from the label to the file: in a filter, a macro, a format, a method."""
    body = f"a; b {{{{ {expression} }}}}; c '{{{{ {expression} }}}}' {{ d <{{{{ {expression} }}}}>; }} # {{{{ {expression} }}}}"
    made = renderer(body, folder)
    if (output := attempt(text, renderer=made)) is not None:
        assert skeleton(output, folder=folder) == skeleton(made.text((upstream("harmless"),)), folder=folder)


@given(text=st.one_of(any_text, st.text(st.characters(exclude_categories=())), st.just("\udc3b" * 3)))
@settings(max_examples=60)
def test_a_comment_takes_any_text(text: str, nginx: RealNginx) -> None:
    """A note on a container is no reason to degrade its upstream: what nginx could not take is written as an escape."""
    comment = of_nginx("# {{ text }}", nginx)
    output = comment.text((upstream(text),))
    assert output.count("\n") == comment.text((upstream("harmless"),)).count("\n")
    assert judged(output, nginx=nginx).returncode == 0


def test_a_label_s_key_is_as_safe_as_its_text(nginx: RealNginx) -> None:
    """It is any text too."""
    listing = of_nginx("{% for key, value in server.vars.items() %}\n# {{ key }}={{ value }}\n{% endfor %}", nginx)
    output = listing.text((upstream("x", key="a\ngot_in;"),))
    assert "# a\\ngot_in;=x\n" in output
    assert judged(output, nginx=nginx).returncode == 0


def test_an_empty_text_is_an_argument_too(nginx: RealNginx) -> None:
    """Else what follows it would be taken for it."""
    assert 'return 200 "";' in of_nginx("return 200 {{ text }};", nginx).text((upstream(""),))


# -- what is refused

REFUSED = (
    ("a {{ text }};", "a$host", "would take what follows for a variable"),
    ("a '{{ text }}';", "${host}", "would take what follows for a variable"),
    ("a {{ text | quoted }};", "$", "would take what follows for a variable"),
    ("a {{ text }};", "a\0b", "has a control character"),
    ("a {{ text }};", "a\x1b[2J", "has a control character"),
    ("a {{ text }};", "a\u2028b", "has a control character"),
    ("a {{ text }};", "a\ud800b", "has a control character"),
    ("a {{ text }};", "a" * 4001, "makes more than the 4000 bytes"),
    ("a {{ text }};", "ü" * 2001, "makes more than the 4000 bytes"),
    ('a "\\{{ text }}";', '"b', "stands behind a backslash"),
    ("content_by_lua_block { say('{{ text }}') }", "')", "stands in a program in Lua"),
    ("content_by_lua_block { -- isn't\n } a {{ text }};", "b c", "or behind one"),
    ("content_by_lua_block { local n = #{{ text }} }", "(b)", "stands in a program in Lua"),
    ("content_by{{ text }}_lua_block { say() }", "", "stands in a program in Lua"),
    ("content_by_{{ text }}lua 'say()';", "", "stands in a program in Lua"),
    ("content_by_lua 'say([[{{ text }}]])';", "]]", "stands in a program in Lua"),
    ("a {{ (text ~ '')[1:] }};", "ü", "UnicodeDecodeError"),
)


@pytest.mark.parametrize(("body", "text", "why"), REFUSED)
def test_what_nginx_has_no_word_for_is_refused(body: str, text: str, why: str, tmp_path: Path) -> None:
    """And the operator reads why, with the text, since its label must be found."""
    made = renderer(body, tmp_path)
    made.text((upstream("harmless"),))
    with pytest.raises(RenderError, match=why):
        made.text((upstream(text),))


@pytest.mark.parametrize("body", ["{{ text }} b; a {{ text }};", "location {{ text }} { a {{ text }}; }"])
def test_the_word_lua_in_a_label_harms_no_other_text(body: str, tmp_path: Path) -> None:
    """One container never harms another, even where a template begins a directive with a label."""
    output = renderer(body, tmp_path).text((upstream("x_by_lua_block", name="bad"), upstream("b c", name="good")))
    assert 'a "b c";' in output


async def test_only_the_upstream_of_a_refused_text_is_degraded(tmp_path: Path) -> None:
    """One label must not hold back everybody's changes."""

    async def test(_: str) -> bool:
        return True

    made = renderer("upstream {{ upstream.name }} { }\nnote {{ text }};", tmp_path)
    upstreams = (upstream("a$b", name="bad"), upstream("a b", name="good"))
    found = await accepted(upstreams, render=made.text, test=test)
    assert [(each.upstream, each.level) for each in found.degraded] == [("bad", Level.PLAIN)]
    assert "has a $" in found.degraded[0].error
    assert 'note "a b";' in found.text


# -- what a template reads

_readable = st.one_of(any_text, st.text(st.characters(exclude_categories=()), max_size=5))


@given(text=_readable, other=_readable)
def test_a_template_reads_what_the_label_says(text: str, other: str) -> None:
    """Templates that check a text before they write it must see it, not what is written in its place."""
    seen = hidden(text)
    assert raw(seen) == text
    assert (seen == text, seen == other, seen != other, seen < other) == (
        True,
        text == other,
        text != other,
        text < other,
    )
    assert ({text: 1}.get(seen), {seen: 1}.get(text)) == (1, 1)
    assert (len(seen), bool(seen), other in seen) == (len(text), bool(text), other in text)
    assert (seen.isalnum(), seen.startswith(other), seen.find(other)) == (
        text.isalnum(),
        text.startswith(other),
        text.find(other),
    )
    assert [raw(each) for each in seen] == list(text)
    assert [raw(each) for each in seen.split()] == text.split()
    assert raw(seen.replace(";", other)) == text.replace(";", other)
    assert raw(seen[1:3]) == text[1:3]


@pytest.mark.parametrize(("text", "number"), [(" 42 ", 42), ("+5", 5), ("1;", -1), ("7", 7)])
def test_a_number_is_read_as_one(text: str, number: int, tmp_path: Path) -> None:
    """Of its characters some are stand-ins, which Python takes for no part of a number."""
    assert renderer("{{ text | int(-1) }};", tmp_path).text((upstream(text),)).endswith(f"\n{number};\n")


@given(text=st.from_regex(r"[A-Za-z0-9_.:/=,@+%*-]{1,255}", fullmatch=True))
def test_a_plain_text_is_itself(text: str) -> None:
    """Names, numbers, paths and addresses, which is most of what labels say, are written as ever."""
    assert hidden(text) is text


def test_a_template_says_that_a_text_is_configuration(nginx: RealNginx) -> None:
    """Some do mean it: whoever may set labels may write directives then."""
    output = of_nginx("{{ text | raw }}", nginx).text((upstream("location = /in { return 200 $uri; }"),))
    assert "\nlocation = /in { return 200 $uri; }\n" in output
    assert judged(output, nginx=nginx).returncode == 0


def test_a_template_s_own_text_is_left_alone(tmp_path: Path) -> None:
    """It is configuration, also where it is written as an expression."""
    body = "{{ 'a $b; c {' }} {% set own = 'd \"e\";' %}{{ own }} }"
    assert renderer(body, tmp_path).text((upstream("x y"),)).endswith('a $b; c { d "e"; }\n')


@pytest.mark.parametrize(("value", "written"), [("a", '"a"'), (8, '"8"'), ("", '""')])
def test_anything_can_be_quoted(value: object, written: str) -> None:
    """One argument even where it is plain: nothing of it has a meaning to nginx."""
    assert raw(quoted(value)) == written
