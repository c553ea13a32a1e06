"""Configurations of nginx as people and accidents write them, drawn by chance: whole ones, and ones with a mistake."""

import os
import random
from dataclasses import dataclass, field
from pathlib import Path

from versions import LUA_MODULES

_GOOD = (
    b"upstream web { server 192.0.2.1:80; }\n",
    b"upstream web { server 192.0.2.1:80; }\nupstream u1 { server 192.0.2.2:80; }\n",
    b"upstream u0 { server 192.0.2.1:80; }",
    b"map $host $of_ours { default '#{'; }\n",
    b"# nothing\n",
    b"",
)
_BAD = (
    b"nonsense on;\n",
    b"upstream web {\n",
    b"}\n",
    b"upstream web { }\n",
    b"# \xc3\xa9\n\nupstream web { server 192.0.2.1:80; } 'x",
    b"{",
)


def candidate(seed: int) -> bytes:
    """What stands in the output's place; most nginx would take, if all around it is as it should be."""
    draw = random.Random(seed)
    return draw.choice(_GOOD if draw.random() < 0.8 else _BAD)


_TEXTS = (
    *(b"#ffffff", b"{", b"}", b"};", b"a b", b"$host", b"${host}", b"${host}{#}", b"it's", b'say "x"', b"\xe9", b"\xff\xfe;"),
    *("a\u00a0b".encode(), "\u3000".encode(), b"", b"#", b"--[[", b"]]", b"content_by_lua_block {", b"a\\b", b"\\", b"\t", b"a\nb", b"\r\n"),
    *(b"include", b"include conf.d/*.conf;", b"~^/x(?<y>\\d+)$", b")", b"(", b"x" * 300),
)  # fmt: skip

_REMARKS = (b"# it's { a 'remark\"\n", b"#}\n", b"#\r\n", b"# \xe9 ${\n", b"#include x;\n", b"# \\\n")

_MUTATED = b"{};#\"'\\$ \n\r\t\x00\xc2\xa0)(=~*[.]/a"

_LUA = (
    b"""init_by_lua_block { x = [[ it"s { ]] y = '}' -- { " '\n}""",
    b"""init_worker_by_lua_block { --[==[ } ' ]==] local a = {b = "}\\"{"} if a then a = nil end }""",
    b"""init_by_lua_block{\n-- a remark: }\nlocal s = '\\'}' .. [=[ ]] } ]=]\n}""",
)
_LUA_SERVER = (
    b"""set_by_lua_block $p{ return "{" }""",
    b"""location /lua%d { content_by_lua_block { ngx.say("}") -- }\n ngx.say([[ { ' ]]) } }""",
    b"""rewrite_by_lua_block {\n for _, each in ipairs({1, 2}) do x = '{#;' end }""",
)


@dataclass
class AnyConfig:
    """
    One configuration, written into a folder.

    Args:
        folder: An empty one.
        seed: Another configuration for each.
        lua: Whether there may be blocks of Lua in it.

    Attributes:
        main: The main file.
        output: The file that a candidate stands for, perhaps in a folder that is a link.
        prefix: What names begin at that do not begin at the main file's folder.
        words: What nginx is started with besides, such as `-g`.
    """

    folder: Path
    seed: int
    lua: bool = False
    words: tuple[str, ...] = ()
    files: dict[str, list[str]] = field(default_factory=dict)  # paths from the main file's folder, by context

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._etc = self.folder / "etc/nginx"
        self.prefix = self.folder / "prefix"
        self.output = self._etc / "conf.d/lbwatch.conf"
        self.main = self._etc / "nginx.conf"
        self._numbers = iter(range(10**6))
        self._written: list[Path] = []
        self._end = b"\n"
        for name in ("conf.d", "sites", "maps/deep", "../shared", "temp"):
            (self._etc / name).mkdir(parents=True)
        self.prefix.mkdir()
        self._write_all()

    # -- files

    def _write_all(self) -> None:
        draw = self._random
        self.lua = self.lua and draw.random() < 0.3
        self._end = draw.choice((b"\n", b"\n", b"\r\n"))
        leaves = [("map", name) for name in ("maps/a.map", "maps/deep/b.map", os.fsdecode(b"maps/\xe9.map"))]
        leaves += [
            ("geo", "maps/c.geo"),
            ("types", "t.types"),
            ("location", "snippets/l.conf"),
            ("server", "snippets/s.conf"),
        ]
        leaves += [
            ("http", name)
            for name in (
                "conf.d/a.conf",
                "sites/b.conf",
                "conf.d/.c.conf",
                "../shared/d.conf",
                "sites/x y.conf",
                "sites/[e].conf",
            )
        ]
        for context, name in draw.sample(leaves, k=draw.randint(2, len(leaves))):
            self._write(name, self._body(context, size=draw.randint(0, 4)), context=context)
        self._links()
        self._way_to_output()
        for name in ("sites/outer.conf", "outer.inc"):
            if draw.random() < 0.4:
                self._write(name, self._body("http", size=3), context="http")
        self._write_main()
        if draw.random() < 0.4:
            self._spoil(draw.choice(self._written))
        if draw.random() < 0.15:
            self.main.rename(self.folder / "real.conf")
            self.main.symlink_to(draw.choice((self.folder / "real.conf", Path("../../real.conf"))))

    def _write(self, name: str, content: bytes, *, context: str) -> None:
        path = self._etc / name
        path.parent.mkdir(exist_ok=True)
        if self._random.random() < 0.3:
            content = content.rstrip(b"\r\n")
        path.write_bytes(content)
        self.files.setdefault(context, []).append(name)
        self._written.append(path)

    def _links(self) -> None:
        draw = self._random
        places = {
            "enabled": draw.choice((Path("sites"), self._etc / "sites")),
            "deeper": Path("maps/deep"),
            "sites/link.conf": Path("../conf.d/a.conf"),
            "nowhere": Path("/no/such/file"),
            "loop": Path("loop"),
            "up": Path(".."),
            "conf.2": Path("conf.d"),
        }
        for name, target in places.items():
            if draw.random() < 0.5:
                (self._etc / name).symlink_to(target)

    def _way_to_output(self) -> None:
        draw = self._random
        self.is_led_to = draw.random() < 0.85
        if draw.random() < 0.2:
            self.output = self._etc / "conf.2/lbwatch.conf" if (self._etc / "conf.2").is_symlink() else self.output
        if draw.random() < 0.1:
            self.output = self._etc / "new/lbwatch.conf"
            (self._etc / "new").mkdir()
        if self.is_led_to and draw.random() < 0.3:
            self._write("sites/lead.conf", self._include_of_output(), context="http")
        elif self.is_led_to and draw.random() < 0.1:
            (self._etc / "sites/lead").symlink_to(os.path.relpath(self.output, self._etc / "sites"))

    def _include_of_output(self) -> bytes:
        draw = self._random
        folder, name = os.path.relpath(self.output.parent, self._etc), self.output.name
        ways = [f"{folder}/*.conf", f"{folder}/{name}", f"{self._etc}/{folder}/l*", f"../nginx/{folder}/[^.#]*.conf"]
        ways += [f"{folder}/./{name}", f"{folder}//{name}", f"{self._etc}/../nginx/{folder}/*.conf", f"*/{name}"]
        if (self._etc / "up").is_symlink():
            ways += [f"up/nginx/{folder}/*.conf"]
        if (self._etc / "deeper").is_symlink():
            ways += [f"deeper/../../{folder}/*.conf", f"{self._etc}/deeper/../../{folder}/{name}"]
        return b"include " + self._quoted(os.fsencode(draw.choice(ways))) + b";" + self._end

    def _write_main(self) -> None:
        draw = self._random
        parts = []
        pid = b"pid %b/nginx.pid;" % os.fsencode(self._etc)
        if draw.random() < 0.2:
            self._write("main.d/pid.conf", pid, context="pid")
            pid = b"include %b;" % draw.choice(
                (b"main.d/*.conf", b"main.d/pid.conf", os.fsencode(self._etc) + b"/main.d/*")
            )
        elif draw.random() < 0.2:
            self.words, pid = ("-g", f"pid {self._etc}/given.pid;"), b""
        parts += [pid, b"error_log %b/error.log;" % os.fsencode(self._etc), b"events { }"]
        draw.shuffle(parts)
        if self.lua:
            parts = [*(b"load_module %b;" % os.fsencode(each) for each in LUA_MODULES), *parts]
        temp = os.fsencode(self._etc) + b"/temp/"
        http = [
            b"%b_temp_path %b%b;" % (kind, temp, kind)
            for kind in (b"client_body", b"proxy", b"fastcgi", b"uwsgi", b"scgi")
        ]
        http += [b"access_log off;", self._body("http", size=draw.randint(1, 7))]
        if self.is_led_to and "sites/lead.conf" not in self.files.get("http", ()):
            http.append(self._include_of_output())
        if (self._etc / "sites/lead.conf").exists() or (self._etc / "sites/lead").is_symlink():
            http.append(b"include sites/lead*;")
        if self.lua and draw.random() < 0.7:
            http.append(draw.choice(_LUA))
        draw.shuffle(http)
        glue = self._end + draw.choice((b"", b"    ", b"\t"))
        self._write("nginx.conf", glue.join((*parts, b"http" + self._space() + b"{", *http, b"}", b"")), context="main")

    def _spoil(self, path: Path) -> None:
        """Do to a file what hands and disks do: lose a byte, double one, write another, lose the end."""
        draw = self._random
        content = bytearray(path.read_bytes())
        for _ in range(draw.choice((1, 1, 1, 2, 5))):
            at = draw.randrange(len(content) + 1)
            kind = draw.randrange(5)
            if kind == 0:
                del content[at : at + draw.choice((1, 1, 2, 30))]
            elif kind == 1:
                content[at:at] = content[max(0, at - draw.choice((1, 2, 20))) : at]
            elif kind == 2 and at < len(content):
                content[at] = draw.choice(_MUTATED)
            elif kind == 3:
                content.insert(at, draw.choice(_MUTATED))
            elif draw.random() < 0.3:
                del content[at:]
        path.write_bytes(content)

    # -- what stands in them

    def _space(self) -> bytes:
        draw = self._random
        if draw.random() < 0.85:
            return b" "
        return draw.choice((b"\t", b"  ", self._end, b" " + draw.choice(_REMARKS), b"\r\n\r\n"))

    def _quoted(self, text: bytes) -> bytes:
        """One argument, in one of the ways in which it can be written."""
        draw = self._random
        plain = text.replace(b"\\", b"\\\\")
        is_bare = text and not any(each in text for each in b" \t\r\n;{}\"'") and text[:1] not in b"#\\$"
        if is_bare and draw.random() < 0.7:
            return plain
        mark = draw.choice((b'"', b"'"))
        return mark + plain.replace(mark, b"\\" + mark) + mark

    def _text(self) -> bytes:
        draw = self._random
        if draw.random() < 0.01:
            return self._quoted(b"x" * draw.choice((4090, 4095, 4096, 5000)))
        return self._quoted(draw.choice(_TEXTS) if draw.random() < 0.8 else b"w%d" % draw.randrange(99))

    def _body(self, context: str, *, size: int) -> bytes:
        made = []
        for _ in range(size):
            if self._random.random() < 0.3:
                made.append(self._random.choice(_REMARKS))
            made.append(self._directive(context))
        return self._end.join((*made, b""))

    def _directive(self, context: str) -> bytes:
        draw, number, space = self._random, next(self._numbers), self._space
        if draw.random() < 0.015:
            return draw.choice((b"nonsense on;", b"gzip maybe;", b"include;", b"include none.conf;", b"}", b"a b", b";", b"include 'a' b;", b"error_log x nosuch;", b"access_log x nosuch;", b"hostnames;", b"include loop;", b"include sites;", b"include nowhere;"))  # fmt: skip
        if draw.random() < 0.3 and (names := self._targets(context)):
            return (
                b"include"
                + space()
                + self._quoted(os.fsencode(draw.choice(names)))
                + draw.choice((b"", space()))
                + b";"
            )
        if context == "http":
            kinds = [
                b"map $host $m%d {%b%b}" % (number, self._end, self._body("map", size=2)),
                b"geo $g%d { default %b; %b}" % (number, self._text(), self._body("geo", size=1)),
                b"log_format f%d %b%b%b;" % (number, self._text(), space(), self._text()),
                b"add_header%bX %b;" % (space(), self._text()),
                b"sub_filter %b %b;" % (self._text(), self._text()),
                b"upstream u%d {%bserver 192.0.2.%d:80; }" % (draw.randrange(40), space(), number % 250),
                b"server {%blisten %d;%b%b}" % (space(), 18000 + number % 500, self._end, self._body("server", size=3)),
                b"types {%b%b}" % (self._end, self._body("types", size=2)),
                b"error_log %b/e%d.log%b;" % (os.fsencode(self._etc), number, draw.choice((b"", b" info"))),
                b"access_log %b/a%d.log%b;" % (os.fsencode(self._etc), number, draw.choice((b"", b" combined", b" combined if=$host"))),
            ]  # fmt: skip
        elif context == "server":
            kinds = [
                b"server_name%b%b;"
                % (space(), self._quoted(draw.choice((b"a.test", b"*.b.test", b"~^(?<n>.{2})\\.c$", b"\xe9")))),
                b"location%b/%d {%b%b}" % (space(), number, self._end, self._body("location", size=2)),
                b"return 200 %b;" % self._text(),
                b"set $v%d %b;" % (number, self._text()),
                b'if ($host = "a") {%breturn 403; }' % space(),
                b"error_page 404 %b;" % self._text(),
            ]
            if self.lua:
                kinds.append(draw.choice(_LUA_SERVER).replace(b"%d", b"%d" % number))
        elif context == "location":
            kinds = [
                b"return 200%b%b;" % (space(), self._text()),
                b"proxy_pass http://%b;" % draw.choice((b"127.0.0.1:1", b"unix:/x:/y", b"$host")),
                b"add_header Y %b;" % self._text(),
                b"alias%b%b;" % (space(), self._text()),
                b"limit_except GET { deny%ball; }" % space(),
            ]
        elif context == "map":
            kinds = [
                b"%b%b%b;" % (self._quoted(b"k%d" % number), space(), self._text()),
                b"hostnames;",
                b"%b 1;" % self._text(),
            ]
        elif context == "geo":
            kinds = [b"192.0.2.%d%b%b;" % (number % 250, space(), self._text()), b"delete 127.0.0.1;"]
        else:
            kinds = [b"a/b%d%bc%d;" % (number, space(), number)]
        return draw.choice(kinds)

    def _targets(self, context: str) -> list[str]:
        """How files that are written already may be included, so that none includes itself."""
        found = []
        for name in self.files.get(context, ()):
            folder, base = os.path.split(name)
            found += [name, f"{self._etc}/{name}", f"./{name}", f"../nginx/{name}", f"{self._etc}/conf.d/../{name}"]
            found += [
                f"{folder}/*{base[1:]}",
                f"{self._etc}/{folder}/{base[0]}*",
                f"{folder}/[^#]*{base[-3:]}",
                f"*/{base}",
            ]
            if folder == "sites" and (self._etc / "enabled").is_symlink():
                found += [f"enabled/{base}", f"{self._etc}/enabled/*{base[-4:]}", f"enabled/../{name}"]
            if folder == "maps/deep" and (self._etc / "deeper").is_symlink():
                found += [f"deeper/{base}", f"deeper/../deep/{base}"]
        # A pattern of `conf.d` or `*` may lead to the output or to the file itself, each of which is a case of its own.
        return found
