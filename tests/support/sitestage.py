"""
A real nginx that serves sites, programs behind it and a client, all in a network namespace of their own: ports are real.

Sites are written by hand here; what containers make of them is other tests' matter.
"""

import contextlib
import json
import re
import secrets
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from realengine import in_namespace
from realnginx import RealNginx
from sitetext import rendered

from lbwatch.balancers.nginx.version import version_in
from lbwatch.core.model import Server, Upstream
from lbwatch.core.site import Certificate, Location, LocationWish, Site, SitePath, SiteRules

PROGRAMS = {"web": 9001, "shop": 9002, "api": 9003}
"""Upstreams that have a program, and its port."""

SECURE = ("secure", 9443)
"""The one whose program speaks TLS."""

NEEDS = ("ip", "nsenter", "curl", "openssl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """
    What a client got.

    Attributes:
        status: Of the answer; 0: there was none.
        headers: By name in lower case.
        error: What curl said if there was none.
    """

    status: int
    version: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    error: str = ""

    @property
    def said(self) -> dict[str, Any]:
        """What the program was asked."""
        answer = json.loads(self.body)
        assert isinstance(answer, dict)
        return answer

    @property
    def seen(self) -> dict[str, str]:
        """The headers that the program got, by name in lower case."""
        headers = [(name.lower(), value) for name, value in self.said["headers"]]
        assert len({name for name, _ in headers}) == len(headers), f"one came twice: {headers}"
        return dict(headers)


class SiteStage:
    """
    All of it; `close` it last.

    Args:
        folder: Holds everything; its path is short.
        program: Starts nginx.
    """

    def __init__(self, folder: Path, *, program: str = "nginx") -> None:
        self.folder = folder
        self.program = program
        self.namespace = f"sites-{secrets.token_hex(4)}"
        self.nginx: RealNginx | None = None
        printed = subprocess.run([program, "-v"], check=True, capture_output=True, text=True, timeout=10).stderr
        self.version = version_in(printed)
        self._programs: subprocess.Popen[str] | None = None
        folder.mkdir(exist_ok=True)
        _run("ip", "netns", "add", self.namespace)
        self._run("ip", "link", "set", "lo", "up")
        self.authority = _authority(folder / "ca")

    def start_programs(self) -> None:
        """Start those that sites lead to."""
        secure = self.certificate("secure.internal")
        words = [f"{name}={port}" for name, port in PROGRAMS.items()]
        words.append(f"{SECURE[0]}={SECURE[1]}+{secure.path},{secure.key}")
        argv = [sys.executable, str(Path(__file__).with_name("siteprogram.py")), *words]
        self._programs = subprocess.Popen(in_namespace(self.namespace, argv), stdout=subprocess.PIPE, text=True)
        assert self._programs.stdout is not None
        assert self._programs.stdout.readline() == "listening\n"

    def close(self) -> None:
        """End all of it."""
        if self.nginx is not None:
            self.nginx.close()
        if self._programs is not None:
            self._programs.kill()
            self._programs.wait(10)
            assert self._programs.stdout is not None
            self._programs.stdout.close()
        _run("ip", "netns", "delete", self.namespace)

    # -- files

    def certificate(self, *names: str, name: str = "") -> Certificate:
        """Make one for these hosts, by the stage's authority."""
        return certificate(self.authority, *names, name=name or names[0].replace("*", "_"))

    def write(self, name: str, text: str) -> str:
        """Write a file of an operator's; return its path."""
        path = self.folder / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    # -- nginx

    def serve(self, *sites: Site, rules: SiteRules | None = None, http: str = "", **more: Any) -> str:
        """Have nginx serve these sites, the catch-all among them, from a fresh start; return the file's text."""
        if self.nginx is not None:
            self.nginx.close()
        number = secrets.token_hex(3)
        self.nginx = RealNginx(self.folder / f"n{number}", self.namespace, program=self.program)
        self.nginx.rewrite(http=http)
        text = self.text(*sites, rules=rules, **more)
        self.nginx.output.write_text(text)
        done = self.test()
        assert done.returncode == 0, f"{done.stderr}\n{text}"
        self.warnings = [line for line in done.stderr.splitlines() if "[warn]" in line]
        self.nginx.start()
        return text

    def text(self, *sites: Site, rules: SiteRules | None = None, **more: Any) -> str:
        """Return the file of these sites, by nginx's version; the catch-all comes first unless it is among them."""
        given = sites if any(not each.host for each in sites) else (Site(host=""), *sites)
        rules = rules or SiteRules(acme_root=str(self.folder / "acme"))
        more = {"version": self.version, "upstreams": upstreams(), **more}
        text = rendered(tuple(sorted(given, key=lambda each: each.host)), rules=rules, **more)
        return text.replace("/var/log/nginx/access.log", str(self.folder / "access.log"))

    def test(self) -> "subprocess.CompletedProcess[str]":
        """Have nginx test what it would be started with."""
        assert self.nginx is not None
        argv = [self.program, "-t", "-c", str(self.nginx.conf), "-p", str(self.nginx.folder)]
        return subprocess.run(
            in_namespace(self.namespace, argv), check=False, capture_output=True, text=True, timeout=30
        )

    # -- a client

    def ask(
        self,
        host: str,
        path: str = "/",
        *,
        tls: bool = False,
        port: int | None = None,
        method: str | None = None,
        headers: Mapping[str, str] | None = None,
        more: Sequence[str] = (),
        address: str = "127.0.0.1",
    ) -> Answer:
        """Ask a host, whose certificate has to fit; *more*: further words for curl."""
        port = port or (443 if tls else 80)
        given = [word for name, value in (headers or {}).items() for word in ("--header", f"{name}: {value}")]
        given += [] if method is None else ["--head"] if method == "HEAD" else ["--request", method]
        argv = [
            *("curl", "--silent", "--show-error", "--include", "--max-time", "10", "--path-as-is", "--http1.1"),
            *("--noproxy", "*"),
            *("--cacert", str(self.authority / "ca.pem"), "--connect-to", f"::{_bracketed(address)}:{port}"),
            *(*given, *more, f"{'https' if tls else 'http'}://{host}:{port}{path}"),
        ]
        done = subprocess.run(in_namespace(self.namespace, argv), check=False, capture_output=True, timeout=20)
        return _answer(done.stdout.decode("latin-1"), error=done.stderr.decode().strip())

    def raw(self, text: bytes, *, port: int = 80) -> str:
        """Send bytes to a port; return what came until it was closed."""
        script = (
            "import socket,sys\nc=socket.create_connection(('127.0.0.1',int(sys.argv[1])),5)\n"
            "c.settimeout(5)\nc.sendall(sys.stdin.buffer.read())\n"
            "try:\n while (d:=c.recv(65536)): sys.stdout.buffer.write(d)\nexcept OSError: pass"
        )
        argv = in_namespace(self.namespace, [sys.executable, "-c", script, str(port)])
        done = subprocess.run(argv, input=text, check=True, capture_output=True, timeout=20)
        return done.stdout.decode("latin-1")

    def _run(self, *argv: str) -> None:
        _run(*in_namespace(self.namespace, argv))


@contextlib.contextmanager
def site_stage(folder: Path, *, program: str = "nginx") -> Iterator[SiteStage]:
    """Give one with its programs, and end it."""
    stage = SiteStage(folder, program=program)
    try:
        stage.start_programs()
        yield stage
    finally:
        stage.close()


def upstreams(*more: Upstream) -> tuple[Upstream, ...]:
    """Return those that have a program, and one that has none (`gone`)."""
    made = [
        Upstream(name=name, servers=(Server(address="127.0.0.1", port=port, container=name),))
        for name, port in (*PROGRAMS.items(), SECURE)
    ]
    return tuple(sorted((*made, Upstream(name="gone"), *more), key=lambda each: each.name))


def location(upstream: str = "web", path: SitePath | str = "/", **given: Any) -> Location:
    """Make a location; what is not a field of it is one of its wish."""
    fields = {name: given.pop(name) for name in tuple(given) if name in Location.__dataclass_fields__}
    where = SitePath(text=path) if isinstance(path, str) else path
    return Location(path=where, upstream=upstream, **({"wish": LocationWish(**given)} | fields))


def site(host: str, *locations: Location, **given: Any) -> Site:
    """Make a site; without locations, one that serves all from `web`."""
    return Site(host=host, locations=locations or (location(),), **given)


def certificate(authority: Path, *names: str, name: str) -> Certificate:
    """Make a certificate by an authority, in its folder."""
    kinds = ",".join(f"{'IP' if re.fullmatch(r'[0-9.]+', each) else 'DNS'}:{each}" for each in names)
    (authority / f"{name}.ext").write_text(f"subjectAltName={kinds}\n")
    _openssl(authority, "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=site "
             f"-keyout {name}.key -out {name}.csr")  # fmt: skip
    _openssl(authority, f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial "
             f"-extfile {name}.ext -days 2 -out {name}.crt")  # fmt: skip
    return Certificate(name=name, path=str(authority / f"{name}.crt"), key=str(authority / f"{name}.key"), hosts=names)


def _authority(folder: Path) -> Path:
    if not folder.exists():
        folder.mkdir()
        _openssl(folder, "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ca "
                 "-keyout ca-key.pem -out ca.pem")  # fmt: skip
    return folder


def _openssl(folder: Path, words: str) -> None:
    subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True)


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True, timeout=20)


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _answer(received: str, *, error: str) -> Answer:
    head, _, body = received.partition("\r\n\r\n")
    while re.match(r"HTTP/[0-9.]+ 1[0-9][0-9]", head) and not head.startswith("HTTP/1.1 101"):
        head, _, body = body.partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    said = re.match(r"HTTP/([0-9.]+) ([0-9]{3})", first)
    if said is None:
        return Answer(status=0, error=error)
    pairs: Iterable[tuple[str, str, str]] = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    return Answer(status=int(said[2]), version=said[1], headers=headers, body=body, error=error)
