"""The test of a candidate by a user who is not root, with nginx itself: what he may not open must not matter."""

import asyncio
import concurrent.futures.thread  # noqa: F401 - asyncio does so later, when we may not read it any more
import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from needs import need

from lbwatch.balancers.nginx.config_test import permissions
from lbwatch.balancers.nginx.config_test.local import CopyTester
from lbwatch.core.errors import ConfigRejectedError, UserConfigError

NOBODY = 65534
GOOD = "upstream web { server 192.0.2.1:80; }\n"
SECRET = 0o600


@contextmanager
def as_nobody() -> Iterator[None]:
    """Be someone who owns nothing; what is started is so too."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


class Site:
    """A user's configuration in a folder that anyone may enter, and a copy beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "etc"
        self.main = self.folder / "nginx.conf"
        self.output = self.folder / "lbwatch" / "lbwatch.conf"
        self.copy = folder / "copy"
        self.output.parent.mkdir(parents=True)
        (self.folder / "conf.d").mkdir()
        self.copy.mkdir()
        self.write("")
        os.chown(self.output.parent, NOBODY, NOBODY)
        os.chown(self.copy, NOBODY, NOBODY)
        self._tester: CopyTester | None = None

    def write(self, http: str, *, main: str = "") -> None:
        """Write the main file, whose logs and temporary files are where they always are."""
        self.main.write_text(
            f"{main}\nevents {{}}\nhttp {{\n{http}\ninclude lbwatch/*.conf;\ninclude conf.d/*.conf;\n}}\n"
        )

    def include(self, text: str, name: str = "site.conf") -> Path:
        path = self.folder / "conf.d" / name
        path.write_text(text.replace("{folder}", str(self.folder)))
        return path

    def secret(self, name: str, text: str = "") -> Path:
        """A file that root alone may open."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(SECRET)
        return path

    def test(self, text: str = GOOD) -> bool:
        """Test a candidate as nobody."""
        if self._tester is None:
            self._tester = CopyTester(("nginx",), main=self.main, output=self.output, folder=self.copy)
        with as_nobody():
            return asyncio.run(self._tester.test(text))

    def copies(self) -> list[str]:
        """The files that stand in the place of the user's, but for the main file and the candidate."""
        found = (path for path in self.copy.glob("*/root/**/*") if path.is_file() and not path.is_symlink())
        return sorted(path.name for path in found if path.name not in (self.main.name, self.output.name))

    def copied(self, path: Path) -> str:
        """What nginx is given in the place of a file of the user's."""
        (found,) = self.copy.glob("*/root")
        return Path(f"{found}{path}").read_text()

    def untested(self, text: str = GOOD) -> str:
        """Why nothing can be said of a candidate."""
        assert not self.test(text)
        assert self._tester is not None
        return self._tester.remark or ""


@pytest.fixture
def site() -> Iterator[Site]:
    need("nginx", "openssl")
    folder = Path(tempfile.mkdtemp(prefix="lbw-permissions-", dir="/tmp"))  # pytest's own lets nobody else in
    folder.chmod(0o755)
    try:
        yield Site(folder)
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A certificate and its key."""
    need("openssl")
    folder = tmp_path_factory.mktemp("pair")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-subj", "/CN=x", "-keyout", folder / "key", "-out", folder / "cert"),
        ],
        check=True,
        capture_output=True,
    )
    return (folder / "cert").read_text(), (folder / "key").read_text()


LISTEN = "listen 127.0.0.1:18099"
TLS = f"{LISTEN} ssl; ssl_certificate conf/cert.pem; ssl_certificate_key conf/key.pem;"
LOCKED_TLS = TLS.replace("conf/key", "secret/key")
PROXY = f"server {{ {LISTEN}; location / {{ proxy_pass https://127.0.0.1:1; %s }} }}"

LOCKED = {
    "log": f"access_log {{folder}}/secret/log; server {{ {LISTEN}; }}",
    "error log": f"server {{ {LISTEN}; error_log {{folder}}/secret/log info; }}",
    "log in a hidden folder": f"server {{ {LISTEN}; access_log {{folder}}/hidden/new combined; }}",
    "log nobody knows where": f"server {{ {LISTEN}; access_log logs/x.log; }}",
    "key": f"server {{ {LOCKED_TLS} }}",
    "certificate": f"server {{ {LISTEN} ssl; ssl_certificate hidden/cert.pem; ssl_certificate_key hidden/key.pem; }}",
    "two pairs": f"server {{ {LOCKED_TLS} ssl_certificate conf/cert.pem; ssl_certificate_key conf/key.pem; }}",
    "key of all": "ssl_certificate conf/cert.pem; ssl_certificate_key secret/key.pem;"
    f"server {{ {LISTEN} ssl; }} server {{ {LISTEN} ssl; server_name b; }}",
    "password": f"server {{ {TLS} ssl_password_file secret/log; }}",
    "clients' CA": f"ssl_verify_client on; server {{ {TLS} ssl_client_certificate hidden/cert.pem; }}",
    "trusted CA": f"server {{ {TLS} ssl_trusted_certificate hidden/cert.pem; ssl_stapling on; ssl_stapling_verify on; }}",
    "revoked": f"server {{ {TLS} ssl_client_certificate conf/cert.pem; ssl_verify_client on; ssl_crl secret/log; }}",
    "parameters": f"server {{ {TLS} ssl_dhparam secret/log; }}",
    "tickets": f"server {{ {TLS} ssl_session_ticket_key secret/log; ssl_session_ticket_key secret/log; }}",
    "staple": f"server {{ {TLS} ssl_stapling on; ssl_stapling_file secret/log; }}",
    "upstream's key": PROXY % "proxy_ssl_certificate conf/cert.pem; proxy_ssl_certificate_key secret/key.pem;",
    "upstream's password": PROXY % "proxy_ssl_password_file secret/log;",
    "upstream's CA": PROXY % "proxy_ssl_verify on; proxy_ssl_trusted_certificate hidden/cert.pem;",
    "upstream's revoked": PROXY
    % "proxy_ssl_verify on; proxy_ssl_trusted_certificate conf/cert.pem; proxy_ssl_crl secret/log;",
    "temporary files": f"proxy_temp_path {{folder}}/hidden/new; server {{ {LISTEN}; }}",
    "cache": f"proxy_cache_path {{folder}}/hidden/new levels=1:2 keys_zone=a:1m; server {{ {LISTEN}; proxy_cache a; }}",
    "socket": "server { listen unix:{folder}/hidden/s; }",
}


def lock(site: Site, pair: tuple[str, str]) -> None:
    """Let there be all that the configurations above name."""
    cert, key = pair
    (site.folder / "conf").mkdir()
    (site.folder / "conf" / "cert.pem").write_text(cert)
    (site.folder / "conf" / "key.pem").write_text(key)
    site.secret("secret/key.pem", key)
    site.secret("secret/log", "")
    (site.folder / "hidden").mkdir(mode=0o700)
    (site.folder / "hidden" / "cert.pem").write_text(cert)
    (site.folder / "hidden" / "key.pem").write_text(key)


@pytest.mark.parametrize("what", LOCKED)
def test_what_only_root_may_open_does_not_matter(site: Site, pair: tuple[str, str], what: str) -> None:
    """Keys and logs are root's everywhere; every candidate would be refused for them."""
    lock(site, pair)
    site.include(LOCKED[what])
    before = {path: path.stat() for path in site.folder.rglob("*") if not path.is_dir()}
    assert site.test()
    with pytest.raises(ConfigRejectedError, match="unknown directive") as caught:
        site.test("nonsense on;\n")
    assert str(site.output) in caught.value.stderr
    with pytest.raises(ConfigRejectedError, match="duplicate upstream"):
        site.test(GOOD + GOOD)
    assert site.test(), "what a test leaves behind hinders the next"
    assert {path: path.stat() for path in site.folder.rglob("*") if not path.is_dir()}.keys() == before.keys()


@pytest.mark.parametrize("what", LOCKED)
def test_nginx_alone_would_not_get_through_it(site: Site, pair: tuple[str, str], what: str) -> None:
    """Where it would, nothing must be left out."""
    lock(site, pair)
    site.write("access_log off;")
    site.include(LOCKED[what])
    with as_nobody():
        done = subprocess.run(["nginx", "-t", "-q", "-c", site.main, "-g", "pid /dev/null;"], check=False)
    assert done.returncode == 1


def test_what_this_user_may_open_stays_as_it_is(site: Site, pair: tuple[str, str]) -> None:
    """Only of a file that is reached by a link does nginx name the place as its owner knows it."""
    lock(site, pair)
    site.write("access_log off;")
    site.include(
        f"server {{ {TLS}"
        " ssl_client_certificate conf/cert.pem; ssl_verify_client on; auth_basic_user_file secret/log;"
        " access_log off; error_log stderr; access_log syslog:server=127.0.0.1; access_log {folder}/$host.log; }"
    )
    wrong = site.include("server {\n\nlisten nowhere:at:all;\n}\n", name="wrong.conf")
    with pytest.raises(ConfigRejectedError, match="invalid port") as caught:
        site.test()
    assert f"{wrong.name}:3" in caught.value.stderr
    wrong.unlink()
    assert site.test()
    assert site.copies() == []


def test_a_key_that_may_be_read_is_read(site: Site, pair: tuple[str, str]) -> None:
    """What nginx would not start from is found by the test, as far as this user can see it."""
    lock(site, pair)
    site.include(f"server {{ {LISTEN} ssl; ssl_certificate conf/cert.pem; ssl_certificate_key conf/cert.pem; }}")
    with pytest.raises(ConfigRejectedError, match="cannot load certificate key"):
        site.test()


def test_a_key_that_is_not_there_is_missed(site: Site, pair: tuple[str, str]) -> None:
    """It is not taken for one that may not be read."""
    lock(site, pair)
    site.include(f"server {{ {LISTEN} ssl; ssl_certificate conf/cert.pem; ssl_certificate_key conf/none.pem; }}")
    with pytest.raises(ConfigRejectedError, match="cannot load certificate key"):
        site.test()


def test_a_log_that_is_rotated_away_from_us_does_not_matter(site: Site, pair: tuple[str, str]) -> None:
    """logrotate makes a new one with a mode of its own; nginx's files are the same as before."""
    lock(site, pair)
    log = site.folder / "log"
    log.touch()
    os.chown(log, NOBODY, NOBODY)
    site.include(f"server {{ {LISTEN}; access_log {{folder}}/log; }}")
    assert site.test()
    assert site.copies() == []
    os.chown(log, 0, 0)
    log.chmod(SECRET)
    assert site.test()
    assert site.copies() == ["site.conf"]
    os.chown(log, NOBODY, NOBODY)
    assert site.test()


def test_files_that_lead_to_what_is_locked_are_copied_too(site: Site, pair: tuple[str, str]) -> None:
    """A link in the place of the file in between would lead to the user's own, with all that is in it."""
    lock(site, pair)
    site.include("include {folder}/outer;\n")
    (site.folder / "outer").write_text(f"include {site.folder}/inner;\n")
    (site.folder / "inner").write_text(f"server {{ {LOCKED_TLS} }}\n")
    site.include(f"server {{ {LISTEN}; access_log off; }}".replace("18099", "18098"), name="plain.conf")
    assert site.test()
    assert site.copies() == ["inner", "outer", "site.conf"]


def test_a_relative_log_is_not_taken_for_one_of_ours(
    site: Site, pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins at the folder that nginx was built for, wherever we are."""
    lock(site, pair)
    (site.copy / "logs").mkdir()
    os.chown(site.copy / "logs", NOBODY, NOBODY)
    monkeypatch.chdir(site.copy)
    site.include(LOCKED["log nobody knows where"])
    assert site.test()


def test_the_log_that_nginx_has_by_itself_does_not_matter(site: Site) -> None:
    """Of a server that names none; it stands in no file, and is root's as any other."""
    site.include(f"server {{ {LISTEN}; }}")
    assert site.test()
    assert site.copies() == []


def test_the_http_block_may_be_in_a_file_of_its_own(site: Site, pair: tuple[str, str]) -> None:
    """nginx's own log is named nowhere, and used for whatever names none."""
    (site.folder / "http.conf").write_text(site.main.read_text().partition("events {}")[2])
    site.main.write_text("events {}\ninclude http.conf;\n")
    site.include(f"server {{ {LISTEN}; }}")
    assert site.test()


def test_folders_of_nginx_that_let_nobody_in_do_not_matter(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Fedora's /var/lib/nginx is closed, and what nginx would make there is named in no file."""
    closed = site.folder / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr(permissions, "_BUILT_IN", (str(closed / "tmp"),))
    site.write(f"proxy_temp_path {site.copy}/mine;")
    site.include(f"server {{ {LISTEN}; }}")
    assert site.test()
    text = site.copied(site.main)
    assert text.count("_temp_path ") == 5
    assert "/mine" not in text


def test_a_file_that_may_not_be_read_is_named(site: Site) -> None:
    """Nothing can stand in its place: it may have anything in it."""
    path = site.secret("conf.d/secret.conf", f"server {{ {LISTEN}; }}")
    assert f"{path}: this user may not read it" in site.untested()
    path.chmod(0o644)
    assert site.test()


@pytest.mark.parametrize("pattern", ["hidden/*.conf", "hidden/x.conf"])
def test_a_folder_that_may_not_be_read_is_not_an_empty_one(site: Site, pattern: str) -> None:
    """The candidate would pass beside nothing, and break the site beside what is in there."""
    hidden = site.folder / "hidden"
    hidden.mkdir(mode=0o700)
    (hidden / "x.conf").write_text("upstream web { server 192.0.2.9:80; }\n")
    site.include(f"include {{folder}}/{pattern};")
    assert "this user may not read it" in site.untested()
    hidden.chmod(0o755)
    with pytest.raises(ConfigRejectedError, match="duplicate upstream"):
        site.test()


def test_an_include_of_what_is_not_there_is_for_nginx_to_judge(site: Site) -> None:
    """It takes a pattern that matches nothing, and refuses a name."""
    site.include("include {folder}/none/at/all/*.conf;")
    assert site.test()
    site.include("include {folder}/none/at/all/x.conf;")
    with pytest.raises(ConfigRejectedError, match="No such file"):
        site.test()


@pytest.mark.parametrize("listen", ["81", "127.0.0.1:81", "[::1]:81 ipv6only=on", "127.0.0.1", "81-82"])
def test_a_port_that_may_not_be_bound_is_told_with_what_to_do(site: Site, listen: str) -> None:
    """nginx's own words are of a bind; and no search for an upstream to blame is begun."""
    path = site.include(f"server {{ listen {listen}; }}")
    assert re.search(rf"{path}: this user may not `listen .*CAP_NET_BIND_SERVICE", site.untested())


def test_a_port_that_is_taken_is_no_matter(site: Site) -> None:
    """By nginx itself, for instance."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        site.include(f"server {{ listen {taken.getsockname()[1]}; }} server {{ listen 127.0.0.1:18099; }}")
        assert site.test()


def test_root_has_nothing_left_out(site: Site, pair: tuple[str, str]) -> None:
    """It may open all, and what nginx would not start from is found; a log is made as by any `nginx -t`."""
    lock(site, pair)
    site.include(f"server {{ {LOCKED_TLS} access_log {{folder}}/secret/new; }}")
    tester = CopyTester(("nginx",), main=site.main, output=site.output, folder=site.copy)
    assert asyncio.run(tester.test(GOOD))
    assert (site.folder / "secret/new").exists()
    assert "access_log" not in site.main.read_text()
    site.include(f"server {{ {LOCKED_TLS} ssl_password_file secret/none; }}")
    with pytest.raises(UserConfigError, match="secret/none"):
        asyncio.run(tester.test(GOOD))


WRONG = {
    "log's condition": ("access_log {folder}/secret/log combined if=$nosuch;", 'unknown "nosuch" variable'),
    "log's format": ("access_log {folder}/hidden/log nosuch;", 'unknown log format "nosuch"'),
    "log's buffer": ("access_log {folder}/hidden/log combined buffer=x;", "invalid buffer size"),
    "error log's level": ("error_log {folder}/secret/log nosuch;", 'invalid log level "nosuch"'),
    "cache's keys": (
        "}} proxy_cache_path {folder}/hidden/new keys_zone=a; server {{ listen 18098;",
        "invalid keys zone",
    ),
    "socket's options": ("listen unix:{folder}/hidden/s nosuch;", 'invalid parameter "nosuch"'),
}


@pytest.mark.parametrize(("directive", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_beside_a_place_that_may_not_be_opened_is_found(
    site: Site, pair: tuple[str, str], directive: str, words: str
) -> None:
    """Only the place is another one in a test: the rest of the directive is what nginx takes no reload for."""
    lock(site, pair)
    site.include(
        f"server {{ {LISTEN}; access_log off; {directive.format(folder=site.folder)} }}".replace("}}", "}").replace(
            "{{", "{"
        )
    )
    with pytest.raises(UserConfigError, match=words):
        site.test()
    assert {path.name for path in (site.folder / "hidden").iterdir()} == {"cert.pem", "key.pem"}


AROUND = {
    "signs in quotes": b'map $host $colour { default "#ffffff"; a "};"; }',
    "other encodings": b"map $host $colour { '\xe9' 1; \xe8 2; \xd6\xd0 3; }",
    "spaces of Unicode": b"map $host $colour { a\xc2\xa0b 3; '\xe3\x80\x80' 4; }",
    "escapes": rb"""map $host $colour { '~^\w+\'\\.' 1; "a\tb" 2; }""",
}


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
def test_bytes_around_what_is_led_elsewhere_stay(site: Site, pair: tuple[str, str], around: bytes) -> None:
    """What is written anew by a parser is another configuration: keys become equal, and a `#` begins a remark."""
    lock(site, pair)
    log = f"{site.folder}/secret/log".encode()
    before = around + b"\nserver { %b; access_log " % LISTEN.encode()
    after = b" # a remark; {\n combined if=$colour; return 200 '{ \xff;'; }\n"
    path = site.include("")
    path.write_bytes(before + log + after)
    assert site.test()
    with pytest.raises(ConfigRejectedError, match="unknown directive"):
        site.test("nonsense on;\n")
    (found,) = site.copy.glob(f"*/root{path}")
    made = found.read_bytes()
    assert made.startswith(before)
    assert made.endswith(after)
    place = made[len(before) : len(made) - len(after)]
    assert str(site.copy).encode() in place
    assert b"\n" not in place


SITE = """\
server {
    listen 127.0.0.1:PORT ssl;
    server_name example.org;
    ssl_certificate {folder}/tls/site.crt;
    ssl_certificate_key {folder}/tls/site.key;
    ssl_client_certificate {folder}/tls/ca.crt;
    ssl_verify_client on;
    access_log {folder}/closed/access.log;
    return 200;
}
"""


def test_what_a_candidate_itself_names_is_for_nginx_alone_to_open(site: Site) -> None:
    """Keys of sites are root's: each site would be refused by the test, and nginx takes them."""
    for name in ("tls/site.crt", "tls/site.key", "tls/ca.crt", "closed/access.log"):
        site.secret(name)
    (site.folder / "closed").chmod(0o700)
    text = SITE.replace("{folder}", str(site.folder)).replace("PORT", str(free_port()))
    assert site.test(text)
    with pytest.raises(ConfigRejectedError, match='unknown directive "nonsense"') as caught:
        site.test(text.replace("return 200;", "nonsense on;"))
    assert caught.value.line == 9


def test_a_candidate_that_listens_where_this_user_may_not_is_not_tested(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not refused: nginx, which is root's, may."""
    monkeypatch.setattr(permissions, "_may_bind", lambda port: port != 80)
    assert not site.test("server { listen 80; }\n")
    assert site.test(f"server {{ listen 127.0.0.1:{free_port()}; }}\n")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
