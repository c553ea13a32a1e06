"""Whether nginx takes a candidate among the user's files, and if not, whose fault that is; asked of nginx itself."""

import resource
from collections.abc import Mapping
from pathlib import Path

import pytest
import structlog
from needs import need
from usersfiles import API, BAD, HEAD, INCLUDE, WEB, UsersFiles
from versions import LUA_MODULES

from lbwatch.core.errors import ConfigRejectedError, UserConfigError

Files = Mapping[bytes, bytes]
ANY = b"map $host $any { default 1; }\n"
LISTEN = b"listen 127.0.0.1:18099;"


@pytest.fixture
def theirs(tmp_path: Path) -> UsersFiles:
    need("nginx")
    return UsersFiles(tmp_path)


OWN_API = b"upstream api { server 127.0.0.1:1; }\nserver { %b location / { proxy_pass http://api; } }\n" % LISTEN

PATTERNS = [b"conf.d/[^.#]*.conf", b"conf.d/[[:alpha:]]*.conf", b"@/co[^x]f.?/*[!x].conf", b"../nginx/*/*.conf"]


@pytest.mark.parametrize("pattern", PATTERNS)
async def test_a_pattern_that_is_not_pythons_finds_the_output(theirs: UsersFiles, pattern: bytes) -> None:
    """What was not found was called "never read", and went live untested beside the user's own upstream of that name."""
    theirs.write(HEAD + b"include " + pattern + b"; access_log off; }", {b"conf.d/site.conf": OWN_API})
    tester = theirs.tester()
    with structlog.testing.capture_logs() as logs:
        assert await tester.test(WEB)
    assert (tester.remark, logs) == (None, [])
    with pytest.raises(ConfigRejectedError, match='duplicate upstream "api"') as caught:
        await tester.test(WEB + API)
    assert type(caught.value) is ConfigRejectedError, "the user's own file has that name, and it works without ours"
    with pytest.raises(ConfigRejectedError, match="unknown directive"):
        await tester.test(BAD)


@pytest.mark.parametrize("pattern", [b"leads/[^.#]*", b"@/leads/[[:lower:]]*", b"lead[!x]/le?d"])
async def test_a_file_that_such_a_pattern_leads_to_is_read(theirs: UsersFiles, pattern: bytes) -> None:
    """By what it includes in full, nginx would come to the file that the candidate stands for."""
    theirs.write(HEAD + b"include " + pattern + b"; access_log off; }", {b"leads/lead": b"include @/conf.d/*.conf;"})
    tester = theirs.tester()
    assert await tester.test(WEB)
    assert tester.remark is None
    with pytest.raises(ConfigRejectedError, match="unknown directive"):
        await tester.test(BAD)


async def test_a_bad_file_that_is_live_locks_nothing(theirs: UsersFiles) -> None:
    """Whoever put it there: the candidate that takes it away again must get through, and the same again must not."""
    theirs.write(HEAD + INCLUDE, {b"conf.d/site.conf": OWN_API})
    for live in (API, BAD, "upstream web {", "\xff"):
        theirs.output.write_text(live)
        tester = theirs.tester()
        assert await tester.test(WEB)
        with pytest.raises(ConfigRejectedError, match="duplicate upstream") as caught:
            await tester.test(API)
        assert type(caught.value) is ConfigRejectedError


TAKEN: dict[str, tuple[bytes, Files]] = {
    "# in quotes": (b'map $host $c { default "#ffffff"; }', {}),
    "# in other quotes": (b"map $host $c { default '#fff'; a \"{#\"; }", {}),
    "# at the end of a block": (b'geo $c { default "#}"; }', {}),
    "# before the include": (b"sub_filter '#000' '#fff';", {}),
    "# in a header before the include": (b'add_header A "}#{" always;', {}),
    "# in a format before the include": (b"log_format x '#$status{' ' }#';", {}),
    "# in a word": (b"sub_filter a#b c#{d}#;".replace(b"{d}", b"d"), {}),
    "keys in Latin-1": (b'map $host $c { "\xe9" 1; "\xe8" 2; }\ninclude \xe9.conf;', {b"\xe9.conf": b"\n"}),
    "keys in GBK": (b"map $host $c { \xd6\xd0 1; \xb9\xfa 2; \xd6\xd1 3; }", {}),
    "a name in GBK by a pattern": (b"include @/\xb9*/\xfa.conf;", {b"\xb9\xfa/\xfa.conf": ANY}),
    "a place in Latin-1": (b"server { %b location /\xe9 { return 200 '\xff\xfe'; } }" % LISTEN, {}),
    "a no-break space in a word": (b"map $host $c { a\xc2\xa0b 1; }", {}),
    "a wide space in a word": ("map $host $c { a\u3000b 1; \u2003 2; }".encode(), {}),
    "a vertical tab in a word": (b"map $host $c { a\x0bb 1; a\x0cb 2; a\x85b 3; a\x1cb 4; }", {}),
    "a wide space in quotes": ('map $host $c { "~^/a b\u3000" 1; }'.encode(), {}),
    "a next-line sign in quotes": ("map $host $c { '~^/a\u0085\u2028b' 1; }".encode(), {}),
    "escapes in quotes": (rb"""map $host $c { "~^/a\"b\\d\.x\t" 1; '~^\w+\'' 2; }""", {}),
    "lines in quotes": (b"log_format x '\n$status\n\"' \"\r\n'\";", {}),
    "variables in braces": (b"map $host $c { default ${host}x$uri; } map $c $d { default '${c}{'; }", {}),
    "from above": (
        b"include ../shared/a.conf; include ../maps/*.conf;",
        {b"../shared/a.conf": ANY, b"../maps/x": b"bad"},
    ),
    "from the root and up": (b"include @/../shared/a.conf;", {b"../shared/a.conf": ANY}),
    "from above by a pattern": (b"include ../*/[a-c].conf;", {b"../shared/a.conf": ANY, b"../maps/d.conf": b"bad"}),
    "a pid in another file": (b"", {b"main.d/a.conf": b"pid @/other.pid;\n"}),
    "a pid in quotes in another file": (b"", {b"main.d/a.conf": b"# pid x;\n\"pid\" '@/other.pid';\n"}),
    "a pid in a file of a file": (b"", {b"main.d/a.conf": b"include @/main.d/b;", b"main.d/b": b"pid @/other.pid;"}),
}


@pytest.mark.parametrize(("http", "files"), TAKEN.values(), ids=TAKEN)
async def test_what_nginx_takes_is_taken_and_the_output_is_read_among_it(
    theirs: UsersFiles, http: bytes, files: Files
) -> None:
    """Refused, nothing would ever be written; with the include lost, whatever is bad would go live."""
    head = HEAD if not any(name.startswith(b"main.d") for name in files) else HEAD.partition(b"\n")[2]
    theirs.write(b"include main.d/*.conf; error_log @/error.log;\n" + head + http + INCLUDE, files)
    code, printed = theirs.nginx("-t")
    assert code == 0, printed
    tester = theirs.tester()
    assert await tester.test(WEB)
    assert tester.remark is None
    with pytest.raises(ConfigRejectedError, match=rf'unknown directive "nonsense" in {theirs.output}:2') as caught:
        await tester.test(WEB + BAD)
    assert caught.value.line == 2
    site = theirs.folder / "conf.d/site.conf"
    site.write_text("server { listen 127.0.0.1:18098; location / { proxy_pass http://web; } }\n" + WEB)
    with pytest.raises(ConfigRejectedError, match="duplicate upstream"):
        await tester.test(WEB)


LUA = {
    "signs in long brackets": b"""init_by_lua_block { x = [[ it"s { ]] }""",
    "a variable at a brace": b"""server { listen 18099; set_by_lua_block $p{ return '{' } return 200 $p; }""",
    "remarks with braces": b"""init_by_lua_block {\n-- it's }\n--[==[ } ]] " ]==] x = 1 }""",
    "escaped quotes": b"""server { listen 18099; location / { content_by_lua_block { ngx.say("\\"}{" .. '\\'{') } } }""",
}


@pytest.mark.parametrize("http", LUA.values(), ids=LUA)
async def test_blocks_of_lua_are_left_alone(theirs: UsersFiles, http: bytes) -> None:
    """Lua has other strings and remarks than nginx: a brace in one of them hid all that followed."""
    need("nginx", *LUA_MODULES)
    modules = b"".join(b"load_module %b;\n" % each.encode() for each in LUA_MODULES)
    theirs.write(modules + b"error_log @/error.log;\n" + HEAD + http + INCLUDE.replace(b"conf.d", b"@/conf.d"))
    assert theirs.nginx("-t")[0] == 0
    tester = theirs.tester()
    assert await tester.test(WEB)
    assert tester.remark is None
    with pytest.raises(ConfigRejectedError, match="unknown directive"):
        await tester.test(BAD)


REFUSED: dict[str, tuple[bytes, Files, str]] = {
    "a no-break space as indent": (b"\xc2\xa0map $host $c { a 1; }", {}, 'unknown directive "\xa0map" in @/nginx.conf:5'),
    "a wide space as indent": ("\u3000gzip on;".encode(), {}, 'unknown directive "\u3000gzip" in @/nginx.conf:5'),
    "a mark of Unicode's": (b"", {b"conf.d/a.conf": b"\xef\xbb\xbfgzip on;"}, 'gzip" in @/conf.d/a.conf:1'),
    "keys that are equal": (b'map $host $c {\n"\xe9" 1;\n"\xe9" 2; }', {}, 'conflicting parameter "'),
    "a typo": (b"\n\n\n\n\nnonsense on;", {}, 'unknown directive "nonsense" in @/nginx.conf:10'),
    "a typo in a site": (b"", {b"conf.d/z.conf": b"\n\n}\n"}, 'unexpected "}" in @/conf.d/z.conf:3'),
    "a typo behind an include": (b"include ../a.conf;\n\ngzip maybe;", {b"../a.conf": ANY}, 'invalid value "maybe" in "gzip" directive, it must be "on" or "off" in @/nginx.conf:7'),
    "a typo two files down": (b"include @/b.x;", {b"b.x": b"include c.x;", b"c.x": b"\n\ngzip;\n"}, 'invalid number of arguments in "gzip" directive in @/c.x:3'),
    "a file that is not there": (b"include @/none.conf;", {}, 'open() "@/none.conf" failed (2: No such file or directory) in @/nginx.conf:5'),
    "a log's condition": (b"access_log @/a.log combined if=$nosuch;", {}, 'unknown "nosuch" variable'),
    "a log's format": (b"access_log @/a.log nosuch;", {}, 'unknown log format "nosuch" in @/nginx.conf:5'),
    "a log's level": (b"error_log @/a.log nosuch;", {}, 'invalid log level "nosuch" in @/nginx.conf:5'),
    "a log's folder": (b"access_log @/none/a.log;", {}, 'open() "@/none/a.log" failed (2: No such file or directory)'),
    "two pids": (b"", {b"main.d/a.conf": b"\npid x;"}, '"pid" directive is duplicate in @/nginx.conf:2'),
    "behind warnings": (
        b"server { %b server_name a; }\n" % LISTEN * 7 + b"proxy_pass http://a;",
        {},
        '"proxy_pass" directive is not allowed here in @/nginx.conf:12',
    ),
}  # fmt: skip


@pytest.mark.parametrize(("http", "files", "words"), REFUSED.values(), ids=REFUSED)
async def test_what_nginx_refuses_of_the_users_is_said_with_their_file_and_line(
    theirs: UsersFiles, http: bytes, files: Files, words: str
) -> None:
    """No upstream is to blame, nginx could not start, and the file of a copy nobody has."""
    theirs.write(b"include main.d/*.conf; error_log @/error.log;\n" + HEAD + http + INCLUDE, files)
    for live in (None, WEB, BAD):
        if live is not None:
            theirs.output.write_text(live)
        with pytest.raises(UserConfigError) as caught:
            await theirs.tester().test(WEB)
        assert words.replace("@", str(theirs.folder)) in caught.value.stderr
        assert str(theirs.scratch) not in str(caught.value)
        assert "; nginx could not start now: mend it" in str(caught.value)
    theirs.output.unlink()
    assert theirs.nginx("-t")[0] == 1


async def test_warnings_before_it_do_not_hide_what_is_wrong_with_a_candidate(theirs: UsersFiles) -> None:
    """A message is 256 characters, and each of them would be of a warning."""
    theirs.write(HEAD + b"server { %b gzip_types text/html; }\n" % LISTEN * 7 + INCLUDE)
    theirs.output.write_text(WEB)
    with pytest.raises(ConfigRejectedError) as caught:
        await theirs.tester().test(BAD)
    assert "[warn]" in caught.value.stderr
    assert str(caught.value) == f'unknown directive "nonsense" in {theirs.output}:1'


@pytest.mark.parametrize("given", ["pid @/own.pid; daemon on;", "daemon on; pid '@/own.pid';", "worker_processes 2;"])
async def test_directives_of_the_command_are_kept(theirs: UsersFiles, given: str) -> None:
    """A second `pid` is refused, and so would be every candidate for ever."""
    theirs.write(b"error_log @/error.log;\nevents {}\nhttp {" + INCLUDE)
    tester = theirs.tester("-g", given.replace("@", str(theirs.folder)))
    assert await tester.test(WEB)
    assert tester.remark is None
    with pytest.raises(ConfigRejectedError, match="unknown directive"):
        await tester.test(BAD)
    assert not (theirs.folder / "own.pid").exists()


async def test_a_broken_command_is_the_users(theirs: UsersFiles) -> None:
    """What is given with -g is in no file, and no upstream's fault either."""
    theirs.write(HEAD + INCLUDE)
    with pytest.raises(UserConfigError, match='unknown directive "nonsense" in command line'):
        await theirs.tester("-g", BAD).test(WEB)


TABLES = {
    "geo": (b"geo $c { include table; }", b"".join(b"10.%d.%d.%d 1;\n" % (n >> 16, n >> 8 & 255, n & 255) for n in range(300_000))),
    "map": (b"map_hash_max_size 131072; map $host $c { include @/table; }", b"".join(b"name%d 1;\n" % n for n in range(30_000))),
    "types": (b"types_hash_max_size 131072; types { include ../nginx/table; }", b"".join(b"a/b%d c%d;\n" % (n, n) for n in range(10_000))),
}  # fmt: skip


@pytest.mark.parametrize(("http", "table"), TABLES.values(), ids=TABLES)
async def test_a_large_table_costs_what_nginx_takes_for_it(theirs: UsersFiles, http: bytes, table: bytes) -> None:
    """None of its lines leads to the output; read by us as directives, 300,000 took half a minute at each change."""
    theirs.write(HEAD + http + INCLUDE, {b"table": table})
    before = resource.getrusage(resource.RUSAGE_SELF)
    assert await theirs.tester().test(WEB)
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


async def test_an_upstream_that_the_users_files_need_is_named(theirs: UsersFiles) -> None:
    """What cures it is one setting."""
    theirs.write(HEAD + b"server { %b location / { fastcgi_pass later; } }" % LISTEN + INCLUDE)
    with pytest.raises(UserConfigError, match="mend it, start a container for it, or set declare to later"):
        await theirs.tester().test(WEB)
    assert await theirs.tester().test(WEB.replace("web", "later"))


async def test_a_candidate_without_what_nginx_has_now_is_to_blame(theirs: UsersFiles) -> None:
    """The user's files are the same and were taken: what broke them is what is gone."""
    theirs.write(HEAD + b"server { %b location / { fastcgi_pass web; } }" % LISTEN + INCLUDE)
    theirs.output.write_text(WEB)
    with pytest.raises(ConfigRejectedError, match='no port in upstream "web"') as caught:
        await theirs.tester().test(API)
    assert type(caught.value) is ConfigRejectedError


async def test_an_output_that_nothing_includes_is_said_and_nothing_refused_for_it(theirs: UsersFiles) -> None:
    """nginx takes whatever is there; once the user includes it, the next test sees that."""
    theirs.write(HEAD + b"include sites/*.conf; access_log off; }")
    theirs.output.write_text("")
    tester = theirs.tester()
    with structlog.testing.capture_logs() as logs:
        assert await tester.test(WEB)
        assert await tester.test(BAD)
    assert [log["event"] for log in logs] == ["nginx.not_included"]
    assert f"{theirs.main} does not include {theirs.output}" in (tester.remark or "")
    theirs.write(HEAD + INCLUDE)
    assert await tester.test(WEB)
    assert tester.remark is None
    with pytest.raises(ConfigRejectedError):
        await tester.test(BAD)


def nested(depth: int) -> bytes:
    """Blocks within blocks, each of which nginx takes."""
    opened = b"".join(b"location /%b { " % (b"a" * number) for number in range(1, depth))
    return b"server { %b %b %b }\n" % (LISTEN, opened, b"}" * (depth - 1))


async def test_a_copy_that_is_refused_where_the_files_are_not_says_nothing(theirs: UsersFiles) -> None:
    """The mistake is ours then; the reload judges, as where nothing can test."""
    folder = theirs.folder
    while len(str(folder)) < 3800:
        folder /= "x" * 200
    folder /= "x" * (4050 - len(str(folder)))
    folder.mkdir(parents=True)
    (folder / "a.conf").write_bytes(ANY)
    theirs.write(HEAD + b"include " + str(folder).encode() + b"/a.conf;" + INCLUDE)
    assert theirs.nginx("-t")[0] == 0
    tester = theirs.tester()
    with structlog.testing.capture_logs() as logs:
        for text in (WEB, BAD):
            assert not await tester.test(text)
            assert f"the test's copy of {theirs.main} is refused (" in (tester.remark or "")
            assert "and the files themselves are not so: nothing tests" in (tester.remark or "")
    assert [log["event"] for log in logs] == ["nginx.untested"]
    theirs.write(HEAD + INCLUDE)
    assert await tester.test(WEB), "another file is judged anew"
    assert tester.remark is None


async def test_a_copy_in_which_nginx_does_not_read_what_it_reads_says_nothing(theirs: UsersFiles) -> None:
    """To call the candidate fine, or the output not included, would both be false."""
    theirs.write(HEAD + nested(140) + b"include @/conf.d/*.conf; access_log off; }")
    theirs.output.write_text("")
    tester = theirs.tester()
    for text in (WEB, BAD):
        assert not await tester.test(text)
        assert f"nginx reads {theirs.output}, and what stands for it in the test's copy it does not" in (
            tester.remark or ""
        )
    theirs.write(HEAD + nested(100) + b"include @/conf.d/*.conf; access_log off; }")
    assert await tester.test(WEB)
    with pytest.raises(ConfigRejectedError):
        await tester.test(BAD)
