"""deploy/systemd as its users have it: on paper by systemd's own checks, and at work under a systemd of the test's own."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from needs import need
from realsystemd import RealSystemd
from usersettings import setting_names
from waiting import eventually

from lbwatch.api.application import STILL_S
from lbwatch.cli.sources import Sources
from lbwatch.engines.fake import FakeEngine

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy" / "systemd"
WEB = {"lbwatch.port": "80", "lbwatch.upstream": "web"}
MOST_EXPOSED = 2.0
KILL, NET_BIND_SERVICE = 1 << 5, 1 << 10
ELSEWHERE = "192.0.2.1"
"""An address of the machine that is not loopback."""


# -- on paper


def installed(folder: Path, *drop_ins: str) -> Path:
    """The unit in a folder, with a program that is there."""
    unit = folder / "lbwatch.service"
    unit.write_text((DEPLOY / unit.name).read_text().replace("/opt/lbwatch/bin/lbwatch", "/bin/true"))
    for each in drop_ins:
        (folder / "lbwatch.service.d").mkdir(exist_ok=True)
        shutil.copy(DEPLOY / each, folder / "lbwatch.service.d")
    return unit


def analyze(*words: str | Path) -> str:
    """What systemd-analyze says, which must be content."""
    done = subprocess.run(["systemd-analyze", *words], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("drop_ins", [(), ("tcp-engine.conf",)])
def test_systemd_understands_each_line(tmp_path: Path, drop_ins: tuple[str, ...]) -> None:
    """What it does not know it passes over, with a line in a log that nobody reads."""
    need("systemd-analyze", root=False)
    assert analyze("verify", "--man=no", installed(tmp_path, *drop_ins)) == ""


@pytest.mark.parametrize("drop_ins", [(), ("tcp-engine.conf",)])
def test_it_may_do_little(tmp_path: Path, drop_ins: tuple[str, ...]) -> None:
    """Whoever holds the engine's socket is worth an attack."""
    need("systemd-analyze", root=False)
    said = analyze("security", "--offline=true", "--no-pager", installed(tmp_path, *drop_ins))
    match = re.search(r"Overall exposure level for lbwatch\.service: ([\d.]+)", said)
    assert match
    print(f"exposure with {drop_ins}: {match[1]}")
    assert float(match[1]) <= MOST_EXPOSED, said


def test_the_drop_in_opens_the_addresses(tmp_path: Path) -> None:
    """A list is added to by each assignment, and emptied by an empty one."""
    need("systemd-analyze", root=False)
    said = analyze("security", "--offline=true", "--no-pager", installed(tmp_path, "tcp-engine.conf"))
    assert "Service does not define an IP address allow list" in said


def test_the_files_of_settings_have_settings_and_nothing_else(tmp_path: Path) -> None:
    """A variable that is none is passed over, and its line believed in."""
    known = {f"LBWATCH_{name.upper()}" for name in setting_names()}
    lines = (DEPLOY / "lbwatch.env").read_text().splitlines()
    names = [match[1] for line in lines if (match := re.match(r"#?([A-Z_]+)=", line))]
    assert {"LBWATCH_HOST_NETWORK", "LBWATCH_DOCKER_HOST"} <= set(names) <= known
    text = (DEPLOY / "lbwatch.toml").read_text()
    file = tmp_path / "lbwatch.toml"
    file.write_text(re.sub(r"^#(?=\w+ = )", "", text, flags=re.MULTILINE))
    table = tomllib.loads(file.read_text())
    Sources(flags={}, environ={}, config=file).settings()  # raises where one is none
    assert table.keys() == {"output", "declare", "template", "stream_output"}
    drop_in = (DEPLOY / "tcp-engine.conf").read_text()
    assert set(re.findall(r"LBWATCH_[A-Z_]+", drop_in)) <= known


def test_the_watchdog_is_slower_than_the_slowest_pass() -> None:
    """One that is not hung must not be killed for what nginx takes."""
    match = re.search(r"^WatchdogSec=(\d+)min$", (DEPLOY / "lbwatch.service").read_text(), re.MULTILINE)
    assert match
    assert int(match[1]) * 60 > STILL_S


# -- at work

NGINX = """\
[Service]
Type=forking
PIDFile=/run/nginx.pid
ExecStart=/usr/sbin/nginx
ExecReload=/bin/kill -HUP $MAINPID
"""

LUA = ("/usr/lib/nginx/modules/ndk_http_module.so", "/usr/lib/nginx/modules/ngx_http_lua_module.so")

# Logs, a key and ports as they are everywhere: root's.
NGINX_CONF = """\
user www-data;
worker_processes 2;
pcre_jit on;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log;
events {}
http {
    access_log /var/log/nginx/access.log;
    include /etc/nginx/conf.d/*.conf;
    include /etc/nginx/sites-enabled/*;
}
"""

SITE = """\
server {
    listen 80;
    access_log /var/log/nginx/shop.log;
    location / { proxy_pass http://web; }
    location ~ ^/(a|b)+/[0-9]+$ { proxy_pass http://web; }
}
server {
    listen 443 ssl;
    ssl_certificate /etc/ssl/private/shop.pem;
    ssl_certificate_key /etc/ssl/private/shop.key;
}
"""


def pasted(after: str) -> list[str]:
    """The README's lines to paste after some words, but for those that ask a package index."""
    block = (DEPLOY / "README.md").read_text().partition(after)[2].partition("```sh\n")[2].partition("\n```")[0]
    return [line for line in block.splitlines() if "pip install" not in line and "-m venv" not in line]


class Machine(RealSystemd):
    """
    A machine on which lbwatch was installed as deploy/systemd says, beside a running nginx.

    Attributes:
        docker: Path of the engine's socket, there and here.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="lbw-docker-", dir="/run"))  # /tmp is the unit's own there
        self.docker = self.folder / "docker.sock"
        super().__init__(shared=(REPOSITORY, Path(sys.prefix), Path(sys.base_prefix), self.folder))

    def install(self) -> None:
        self.folder.chmod(0o755)
        program = f'#!/bin/sh\nPYTHONPATH={REPOSITORY} exec {sys.executable} -m lbwatch "$@"\n'
        self.write("/opt/lbwatch/bin/lbwatch", program, mode=0o755)
        self.run("rm", "-rf", "/etc/nginx/conf.d")
        self.run("install", "-d", "/etc/nginx/conf.d")
        *lines, _ = pasted("As root")  # the last one starts it
        self.paste(lines)
        self.settings()
        self.unit("lbwatch.service.d/log.conf", "[Service]\nStandardError=append:/var/log/lbwatch.log\n")
        if REPOSITORY.is_relative_to("/tmp"):  # of which the unit has one of its own
            self.unit("lbwatch.service.d/checkout.conf", f"[Service]\nBindReadOnlyPaths={REPOSITORY}\n")

    def paste(self, lines: Iterable[str]) -> None:
        """Do in a checkout of lbwatch, as root, what the README says."""
        for line in lines:
            self.run("sh", "-ec", f"cd {REPOSITORY}; {line}")

    def settings(self, **more: str) -> None:
        """Set these beside what the shipped file has."""
        given = {"docker_host": f"unix://{self.docker}", "declare": "web", "resync_interval": "2s"} | more
        lines = [f"LBWATCH_{name.upper()}={value}\n" for name, value in given.items()]
        self.write("/etc/lbwatch/lbwatch.env", (DEPLOY / "lbwatch.env").read_text() + "".join(lines))

    def serve(self, *, main: str = "") -> None:
        """Start an nginx with a site of the user's; main: more for its main file."""
        self.run("rm", "-rf", "/etc/nginx/sites-enabled", "/var/log/nginx")
        self.run("install", "-d", "/var/log/nginx")
        self.run("install", "-d", "-m", "700", "/etc/ssl/private")
        self.write("/etc/nginx/nginx.conf", main + NGINX_CONF)
        self.write("/etc/nginx/lbwatch/lbwatch.conf", "upstream web { server 127.0.0.1:1 down; }\n")
        pair = ("-keyout", "/etc/ssl/private/shop.key", "-out", "/etc/ssl/private/shop.pem")
        self.run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=shop", *pair)
        self.write("/etc/nginx/sites-enabled/shop", SITE)
        for log in ("access.log", "shop.log", "error.log"):
            self.write(f"/var/log/nginx/{log}", "", mode=0o640)
        self.unit("nginx.service", NGINX)
        self.run("systemctl", "start", "nginx")

    @property
    def output(self) -> str:
        return self.read("/etc/nginx/lbwatch/lbwatch.conf")

    @property
    def log(self) -> str:
        return self.read("/var/log/lbwatch.log")

    def status(self) -> str:
        return self.show("lbwatch", "StatusText")

    def pid(self) -> int:
        """Of the daemon, as its own machine counts."""
        return int(self.show("lbwatch", "MainPID"))

    def fed_us(self) -> int:
        """When its watchdog was fed last, in microseconds of the monotonic clock."""
        return int(self.show("lbwatch", "WatchdogTimestampMonotonic"))

    def close(self) -> None:
        try:
            super().close()
        finally:
            shutil.rmtree(self.folder)


@pytest.fixture
def machine() -> Iterator[Machine]:
    need("/lib/systemd/systemd", "systemctl", "systemd-sysusers", "systemd-tmpfiles")
    need("nginx", "nsenter", "unshare", "ip", "openssl")
    with Machine() as one:
        one.start()
        one.install()
        yield one
        print(one.log)  # shown if the test fails
        print(one.said())


@asynccontextmanager
async def engine_of(machine: Machine) -> AsyncIterator[FakeEngine]:
    """An engine whose socket the group docker may open, as everywhere."""
    async with FakeEngine(socket=machine.docker) as engine:
        gid = machine.run("getent", "group", "docker").stdout.split(":")[2]
        os.chown(machine.docker, 0, int(gid))
        machine.docker.chmod(0o660)
        yield engine


@pytest.fixture
async def engine(machine: Machine) -> AsyncIterator[FakeEngine]:
    async with engine_of(machine) as engine:
        yield engine


async def test_it_follows_an_engine_beside_an_nginx_of_root_s(machine: Machine, engine: FakeEngine) -> None:
    """Tested, written, reloaded and verified by a user who may open neither nginx's logs nor its keys."""
    machine.serve()
    machine.run("systemctl", "start", "lbwatch")
    await eventually(lambda: machine.status() == "in step: 1 upstream, 0 servers", what=machine.log)
    engine.containers.run(name="web-1", labels=WEB)
    await eventually(lambda: "server 172.17.0.2:80;" in machine.output)
    await eventually(lambda: machine.status() == "in step: 1 upstream, 1 server")
    assert '"event": "nginx.reloaded"' in machine.log
    assert machine.run("stat", "-c", "%U %a", "/etc/nginx/lbwatch/lbwatch.conf").stdout == "lbwatch 644\n"
    for wrong in ("warning", "error"):
        assert f'"level": "{wrong}"' not in machine.log
    checked = machine.run("lbwatch", "check", check=False).stdout  # the unit's engine is not its own
    assert "/etc/nginx/lbwatch/lbwatch.conf can be replaced" in checked
    assert machine.run("lbwatch", "drain", "web-1").stdout.startswith("web-1 is drained")
    assert machine.read("/var/lib/lbwatch/drains.json")
    machine.run("systemctl", "reload", "lbwatch")
    await eventually(lambda: '"event": "template.loaded"' in machine.log)
    assert machine.show("lbwatch", "ActiveState") == "active"
    machine.run("systemctl", "stop", "lbwatch")
    assert machine.show("lbwatch", "Result") == "success"
    assert machine.read("/etc/nginx/lbwatch/lbwatch.conf"), "nginx could not start any more"


SSHD = """\
[Service]
RuntimeDirectory=sshd
ExecStart=/usr/sbin/sshd -D -e -o UsePAM=no -o ListenAddress=127.0.0.1 -o PermitRootLogin=prohibit-password
"""

LOG_IN = """\
install -d -m 700 /root/.ssh
install -d -m 700 -o lbwatch -g lbwatch /var/lib/lbwatch/.ssh
setpriv --reuid=lbwatch --clear-groups --regid=lbwatch ssh-keygen -q -t ed25519 -N "" -f /var/lib/lbwatch/.ssh/id_ed25519
cp /var/lib/lbwatch/.ssh/id_ed25519.pub /root/.ssh/authorized_keys
ssh-keygen -q -A
echo "127.0.0.1 $(cat /etc/ssh/ssh_host_ed25519_key.pub)" > /var/lib/lbwatch/.ssh/known_hosts
"""


async def test_it_follows_an_engine_by_ssh(machine: Machine, engine: FakeEngine) -> None:
    """What the unit takes away must not be what ssh needs, or what has it end with lbwatch."""
    need("/usr/sbin/sshd", "ssh-keygen", "setpriv")
    machine.run("rm", "-rf", "/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d")
    machine.write("/etc/ssh/sshd_config", "")
    machine.run("sh", "-ec", LOG_IN)
    machine.unit("sshd.service", SSHD)
    machine.run("systemctl", "start", "sshd")
    machine.serve()
    machine.settings(docker_host=f"ssh://root@127.0.0.1{machine.docker}")
    machine.run("systemctl", "start", "lbwatch")
    await eventually(lambda: machine.status() == "in step: 1 upstream, 0 servers", what=machine.log)
    engine.containers.run(name="web-1", labels=WEB)
    await eventually(lambda: "172.17.0.2:80" in machine.output, what=machine.log)


async def test_where_nginx_has_lua_its_workers_are_told_of_servers(machine: Machine, engine: FakeEngine) -> None:
    """They are another user, and all that lbwatch may write is one folder; the test of Lua runs in its sandbox, too."""
    need(*LUA)
    machine.serve(main="".join(f"load_module {each};\n" for each in LUA))
    machine.run("systemctl", "start", "lbwatch")
    await eventually(lambda: machine.status() == "in step: 1 upstream, 0 servers", what=machine.log)
    workers = machine.run("pgrep", "-f", "nginx: worker").stdout
    engine.containers.run(name="web-1", labels=WEB)
    await eventually(lambda: '"event": "nginx.pushed"' in machine.log)
    await eventually(lambda: "server 172.17.0.2:80;" in machine.output)
    assert machine.run("pgrep", "-f", "nginx: worker").stdout == workers


async def test_the_readme_s_lines_install_upgrade_and_remove_it(machine: Machine, engine: FakeEngine) -> None:
    """They are pasted as root, on a machine that serves."""
    machine.serve()
    machine.paste(pasted("As root")[-1:])
    engine.containers.run(name="web-1", labels=WEB)
    await eventually(lambda: "server 172.17.0.2:80;" in machine.output)
    assert machine.run("systemctl", "is-enabled", "lbwatch").stdout == "enabled\n"
    before, settings = machine.pid(), machine.read("/etc/lbwatch/lbwatch.env")
    machine.paste(pasted("**Upgrade**"))
    await eventually(lambda: machine.status() == "in step: 1 upstream, 1 server")
    assert machine.pid() != before
    assert machine.read("/etc/lbwatch/lbwatch.env") == settings
    machine.write("/etc/nginx/sites-enabled/shop", SITE.replace("http://web", "http://127.0.0.1:1"))
    machine.paste(pasted("**Removal.**"))
    assert machine.show("lbwatch", "LoadState") == "not-found"
    left = machine.run(
        "find", "/etc", "/usr/lib", "/usr/local/bin", "/opt", "/run", "/var/lib", "-name", "*lbwatch*"
    ).stdout.split()
    assert left == []


async def test_what_is_served_can_be_kept_without_it(machine: Machine, engine: FakeEngine) -> None:
    """Whoever leaves need not go back to what was before."""
    machine.serve()
    machine.paste(pasted("As root")[-1:])
    engine.containers.run(name="web-1", labels=WEB)
    await eventually(lambda: "server 172.17.0.2:80;" in machine.output)
    lines = pasted("**To leave, with what is served now kept**")
    engine_of_it = f"lbwatch render --docker-host unix://{machine.docker} "  # the unit's own, which no command reads
    # In a thread, since the engine is one of this loop's.
    await asyncio.to_thread(machine.paste, [line.replace("lbwatch render ", engine_of_it) for line in lines])
    machine.run("systemctl", "restart", "nginx")
    assert machine.show("nginx", "ActiveState") == "active"
    assert "server 172.17.0.2:80;" in machine.run("nginx", "-T").stdout
    assert machine.run("find", "/etc/nginx/lbwatch", "-mindepth", "1").stdout == ""


async def test_what_nginx_would_refuse_is_not_written(machine: Machine, engine: FakeEngine) -> None:
    """A test that this user cannot get through must not be no test."""
    machine.serve()
    machine.write("/etc/nginx/sites-enabled/own", "upstream api { server 192.0.2.9:80; }\n")
    engine.containers.run(name="api-1", labels=WEB | {"lbwatch.upstream": "api"})
    engine.containers.run(name="web-1", labels=WEB)
    machine.run("systemctl", "start", "lbwatch")
    await eventually(lambda: "server 172.17.0.3:80;" in machine.output)
    assert "upstream api" not in machine.output
    assert 'duplicate upstream \\"api\\"' in machine.log


def test_it_is_started_before_there_is_an_engine_or_an_nginx(machine: Machine) -> None:
    """Which of the three is first at a boot is nobody's business, and a reload of the unit is none of the others'."""
    machine.run("systemctl", "start", "lbwatch")
    assert machine.show("lbwatch", "ActiveState") == "active"


def test_it_has_the_rights_that_it_needs_and_no_others(machine: Machine) -> None:
    """As the kernel has them, whatever the unit says."""
    machine.run("systemctl", "start", "lbwatch")
    pid = machine.pid()
    lines = machine.run("cat", f"/proc/{pid}/status").stdout.splitlines()
    has = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    for kind in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
        assert int(has[kind], 16) == KILL | NET_BIND_SERVICE, kind
    assert has["NoNewPrivs"] == "1"
    assert has["Seccomp"] == "2"
    uid = machine.run("id", "-u", "lbwatch").stdout.strip()
    assert has["Uid"].split() == [uid] * 4
    groups = machine.run("id", "-G", "lbwatch").stdout.split()
    assert set(has["Groups"].split()) == set(groups)
    into = ("nsenter", "-t", str(pid), "--mount", "sh", "-c")
    assert machine.run(*into, "touch /usr/x", check=False).returncode
    assert machine.run(*into, "touch /var/log/x", check=False).returncode
    assert machine.run(*into, "touch /etc/x", check=False).returncode
    machine.run(*into, "touch /etc/nginx/lbwatch/x /var/lib/lbwatch/x /run/lbwatch/x /tmp/x")
    assert not (machine.root / "tmp/x").exists()


async def test_a_crash_is_followed_by_a_start(machine: Machine, engine: FakeEngine) -> None:
    """Whatever ended it, but a setting."""
    machine.serve()
    machine.run("systemctl", "start", "lbwatch")
    before = machine.pid()
    machine.run("kill", "-9", str(before))
    await eventually(lambda: machine.pid() not in (0, before), within=10)
    engine.containers.run(name="web-1", labels=WEB)
    await eventually(lambda: "server 172.17.0.2:80;" in machine.output, within=10)


async def test_a_wrong_setting_is_not_tried_again(machine: Machine) -> None:
    """It fails in the same way each time, and `systemctl status` shows the line that says why."""
    machine.settings(reload_interval="soon")
    assert machine.run("systemctl", "start", "lbwatch", check=False).returncode
    await eventually(lambda: machine.show("lbwatch", "ActiveState") == "failed")
    assert machine.show("lbwatch", "ExecMainStatus") == "2"
    assert machine.show("lbwatch", "NRestarts") == "0"
    assert "reload_interval: 'soon' cannot be used" in machine.log


async def test_a_pass_that_hangs_is_ended_and_leaves_where_it_was(machine: Machine) -> None:
    """And one that only waits is not, such as for an engine."""
    machine.settings(test_command="sleep 1000", reload_command="true")
    machine.unit("lbwatch.service.d/soon.conf", "[Service]\nWatchdogSec=10s\n")
    machine.run("systemctl", "start", "lbwatch")
    before, fed = machine.pid(), machine.fed_us()
    await eventually(lambda: machine.fed_us() > fed + 12_000_000, within=40)
    assert machine.show("lbwatch", "NRestarts") == "0"
    async with engine_of(machine):
        await eventually(lambda: machine.pid() not in (0, before), within=40)
        assert int(machine.show("lbwatch", "NRestarts")) >= 1
    assert "Fatal Python error: Aborted" in machine.log
    assert "in _run_once" in machine.log


async def test_others_are_reached_only_with_the_drop_in(machine: Machine) -> None:
    """The filter is one of the kernel's, which a typing error in an address would leave open, or closed."""
    machine.run("ip", "addr", "add", f"{ELSEWHERE}/32", "dev", "lo")
    machine.settings(status_listen=f"{ELSEWHERE}:9180")
    ask = f"import socket; socket.create_connection(('{ELSEWHERE}', 9180), timeout=1)"

    def is_reached() -> bool:
        return machine.run(sys.executable, "-c", ask, check=False).returncode == 0

    machine.run("systemctl", "start", "lbwatch")
    await eventually(lambda: "status.listening" in machine.log)
    assert not is_reached()
    machine.unit("lbwatch.service.d/tcp-engine.conf", (DEPLOY / "tcp-engine.conf").read_text())
    machine.run("systemctl", "restart", "lbwatch")
    await eventually(is_reached)
