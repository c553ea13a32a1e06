"""Fifty texts that try to be more than a host, a path or a file's name, on a real nginx that serves another host meanwhile."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import replace

import pytest
from needs import NGINX_NEEDS, need, obtained
from sitestage import NEEDS, SiteStage, location, site, site_stage
from versions import NGINXES, nginx_program

from lbwatch.core.site import Match, OnHttp, Site, SitePath
from lbwatch.core.sites import grammar

LEAK = "return 299"
BODY = f"location /leak {{ {LEAK}; }}"
TEXTS = (
    *(f"a;{LEAK};", f"a; {LEAK};#", f'a"; {LEAK}; #', f"a'; {LEAK}; #", f"a }} {BODY} #", f"a; {BODY}", f'a" ; {BODY} #'),
    *(f"a}} server {{ listen 80; {LEAK}; }}", f"a;}} server {{ listen 81; {BODY} }} #", f'a";}} {BODY} "', f"a\\; {LEAK};"),
    *(f'a\\"; {LEAK}; #', f"a\\\\; {LEAK}; #", f'a\\\\"; {LEAK}; #', f'a\\\\\\"; {LEAK}; #', "a\\", "a\\\\", "a\\\\\\", 'a\\"'),
    *('"', '""', '" "', "'", "''", "a'b\"c", "{", "}", "a{2}", "a{", "{}", ";", ";;", "#", "# a", "a#b;", "a #"),
    *("$", "$host", "${host}", "$(x)", "a$", "^a$", "a$;b", "$1", "${", "include /etc/passwd;", "/etc/passwd"),
    *(" ", "a b", "a\u00a0b", "é", "日本", "a|b;c", "(?i)A", "[;]", "[\"']", r"\d+\.\w*", r"\x22; return 299; \x23", r"\n", r"\t"),
    *("(a", "a)", "[a", "*", "+", "?", "(?P<name>a)", "(?<name>a)", "a" * 512, 'a"' * 256, "\\" * 512, "a\nb", "a\x00b", "a\rb"),
)  # fmt: skip


@pytest.fixture(scope="module", params=list(NGINXES))
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteStage]:
    """Each version of nginx in turn, with its programs."""
    need(*NGINX_NEEDS, *NEEDS)
    program = obtained(nginx_program, request.param)
    with site_stage(tmp_path_factory.mktemp("s"), program=program) as stage:
        yield stage


def hostile(text: str) -> list[Site]:
    """Sites with a text in every place that the grammar has it in."""
    sites = []
    with contextlib.suppress(grammar.GrammarError):
        sites.append(site(grammar.host(f"~{text}"), location(realm=text, password_file="/dev/null")))
    with contextlib.suppress(grammar.GrammarError):
        path = grammar.site_path(f"~ {text}")
        any_case = SitePath(text=path.text, match=Match.REGEXP_ANY_CASE)
        sites.append(site("evil.test", location("web", path), location("web", any_case)))
    return sites


def test_no_text_publishes_anything_or_harms_another_host(stage: SiteStage) -> None:
    """What nginx cannot compile it refuses, and that costs its own site alone; all else is the one word that it is."""
    assert len(TEXTS) >= 50
    good = site("good.test", location("shop"))
    stage.serve(good)
    assert stage.nginx is not None
    before = stage.nginx.output.read_text()
    taken: dict[str, Site] = {}
    for text in TEXTS:
        for one in hostile(text):
            stage.nginx.output.write_text(stage.text(good, one))
            done = stage.test()
            if done.returncode == 0:
                taken[one.host if one.host != "evil.test" else f"evil {text}"] = one
            else:
                assert "pcre" in done.stderr or "regular expression" in done.stderr, (text, done.stderr)
        assert stage.ask("good.test").said["name"] == "shop"
    stage.nginx.output.write_text(before)
    assert len(taken) > 60
    paths = [location(each.locations[0].upstream, each.locations[0].path) for each in taken.values() if each.host == "evil.test"]  # fmt: skip
    hosts = [each for each in taken.values() if each.host != "evil.test"]
    stage.serve(good, site("evil.test", *dict.fromkeys(paths)), *hosts)
    for host in ("good.test", "evil.test", "a", "x.test"):
        for path in ("/", "/leak", "/etc/passwd", "/a;"):
            answer = stage.ask(host, path)
            assert answer.status != 299, (host, path)
            assert "root:" not in answer.body
    assert stage.ask("good.test").said["name"] == "shop"
    assert stage.ask("good.test", port=81).status == 0


@pytest.mark.parametrize("text", ["a;b", 'a"b', "a{b", "a b", "a#b", "a\\b", "a'b", "*", "a[1]", "a?", "é", "a\\*b"])
def test_a_file_is_read_whatever_it_is_named(stage: SiteStage, text: str) -> None:
    """By the very name that it has, and no other one."""
    folder = f"own {text}"
    snippet = stage.write(f"{folder}/{text}", "add_header X-Own yes always;\n")
    stage.write(f"{folder}/a1", "nonsense;\n")
    passwords = stage.write(f"{folder}/pass{text}", "u:{PLAIN}p\n")
    made = stage.certificate("a.test")
    own = replace(made, path=f"{made.path} {text}.crt", key=f"{made.key} {text}.key")
    shutil.copy(made.path, own.path)
    shutil.copy(made.key, own.key)
    stage.serve(
        site("a.test", location(password_file=passwords), snippet=snippet, certificate=own, on_http=OnHttp.REFUSES)
    )
    answer = stage.ask("a.test", tls=True, more=("--user", "u:p"))
    assert (answer.status, answer.headers["x-own"]) == (200, "yes")
