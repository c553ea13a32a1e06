"""How nginx is reached: who tests, who reloads, what holds about routing, what is asked of the engine."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from nginxcontainer import CONF, NGINX, FolderEngine
from realnginx import RealNginx
from strategies import container
from wirings import WAYS, Made, access_of, folder_in

from lbwatch.balancers.nginx.locate import HostNetwork
from lbwatch.balancers.nginx.version import version_in
from lbwatch.core.errors import (
    ConfigRejectedError,
    ReloadError,
    SettingsError,
)
from lbwatch.core.model import Endpoint
from lbwatch.engines.docker.client import ASKED
from lbwatch.engines.docker.exec import EXEC_ASKED, SIGNAL_ASKED
from lbwatch.system import mounts
from lbwatch.system.lock import FileLock
from lbwatch.wiring.access import followed, selector
from lbwatch.wiring.daemon import build_daemon


@pytest.mark.parametrize("nginx_container", [None, "nginx"])
async def test_the_users_own_test_comes_first(
    nginx_container: str | None, made: Made, tmp_path: Path, inside: FolderEngine
) -> None:
    """Whoever sets it has a reason: nothing else may be asked beside it."""
    settings = made(test_command="grep -q good {candidate}", nginx_container=nginx_container, nginx_command="/none")
    tester = access_of(settings, NGINX).tester(folder=folder_in(tmp_path))
    assert await tester.test("good")
    with pytest.raises(ConfigRejectedError):
        await tester.test("bad")
    assert inside.ran == []


@pytest.mark.parametrize(
    "way",
    [{"test_command": "true"}, {"nginx_reload": "signal"}, {"nginx_conf": Path("/etc/nginx/nginx.conf")}],
    ids=str,
)
async def test_nothing_is_tested_without_the_container_that_it_is_for(
    way: dict[str, Any], made: Made, tmp_path: Path, inside: FolderEngine
) -> None:
    """It is not known then which networks nginx reaches: the old file stays, whoever would test the new one."""
    tester = access_of(made(nginx_container="nginx", **way), container("web")).tester(folder=folder_in(tmp_path))
    with pytest.raises(ReloadError, match="no container nginx"):
        await tester.test("text")
    assert inside.ran == []


async def test_an_nginx_here_tests_by_its_program(made: Made, tmp_path: Path) -> None:
    """A copy of the user's own configuration, with the words that the program always needs."""
    program = tmp_path / "nginx"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/ran\n')
    program.chmod(0o755)
    (tmp_path / "nginx.conf").write_text(CONF)
    folder = folder_in(tmp_path)
    settings = made(nginx_command=f"{program} -p '/a b'", nginx_conf=tmp_path / "nginx.conf")
    assert await access_of(settings).tester(folder=folder).test("text")
    assert (tmp_path / "ran").read_text().startswith(f"-p /a b -g pid /dev/null; -t -c {folder}/")


@pytest.mark.parametrize(("quiet", "events"), [(False, ["nginx.untested"]), (True, [])])
async def test_only_the_daemon_warns_that_no_program_is_there(
    quiet: bool, events: list[str], made: Made, tmp_path: Path
) -> None:
    """A command prints what it has to say; a warning in between would be said twice."""
    tester = access_of(made(nginx_command="/none/nginx")).tester(folder=folder_in(tmp_path), quiet=quiet)
    with structlog.testing.capture_logs() as logs:
        assert not await tester.test("text")
    assert [log["event"] for log in logs] == events
    assert "/none/nginx is not installed here" in (tester.remark or "")


@pytest.mark.parametrize("copy", [None, ".beside"])
async def test_an_nginx_in_a_container_tests_in_there(
    copy: str | None, made: Made, tmp_path: Path, inside: FolderEngine
) -> None:
    """In the daemon's own folder beside the output, or in that of a command that must not get in its way."""
    settings = made(
        nginx_container="nginx",
        nginx_command="nginx -p /x",
        nginx_conf=Path("/etc/nginx/nginx.conf"),
        nginx_output=Path("/etc/nginx/conf.d"),
    )
    place = None if copy is None else settings.nginx.output.parent / copy
    assert await access_of(settings, NGINX).tester(folder=folder_in(tmp_path), copy=place).test("text")
    first = inside.ran[0]
    assert first[:-1] == ("nginx", "-p", "/x", "-g", "daemon off; pid /dev/null;", "-t", "-c")
    assert first[-1].startswith(f"/etc/nginx/conf.d/{copy or '.lbwatch-test'}/")
    assert first[-1].endswith("/etc/nginx/nginx.conf")
    assert inside.copies > 0


async def test_nothing_tests_where_only_a_signal_is_allowed(made: Made, tmp_path: Path, inside: FolderEngine) -> None:
    """The user forbade exec; that nothing tests is said, and nginx itself is the judge."""
    tester = access_of(made(**WAYS["signal"]), NGINX).tester(folder=folder_in(tmp_path))
    assert not await tester.test("text")
    assert "nginx_reload is signal" in (tester.remark or "")
    assert (inside.ran, inside.copies) == ([], 0)


@pytest.mark.parametrize("nginx_container", [None, "nginx"])
async def test_the_users_own_reload_comes_first(
    nginx_container: str | None, made: Made, tmp_path: Path, inside: FolderEngine
) -> None:
    """Likewise, wherever nginx is."""
    settings = made(reload_command=f"touch '{tmp_path}/re loaded'", nginx_container=nginx_container)
    await access_of(settings, NGINX).control().reload()
    assert (tmp_path / "re loaded").exists()
    assert inside.ran == []


async def test_an_nginx_here_is_reloaded_by_a_signal(made: Made, real_nginx: RealNginx) -> None:
    """Its pid file says which it is."""
    control = access_of(made(nginx_pidfile=real_nginx.pidfile)).control()
    await control.reload()
    await control.wait_live()
    control = access_of(made()).control()
    with pytest.raises(ReloadError):
        await control.reload()


ALSO = ("-g", "daemon off;")  # as the nginx that runs there was started with


@pytest.mark.parametrize(
    ("way", "ran"),
    [
        ({}, ("nginx", *ALSO, "-s", "reload")),
        ({"nginx_command": "/opt/nginx -p '/a b'"}, ("/opt/nginx", "-p", "/a b", *ALSO, "-s", "reload")),
        ({"nginx_conf": Path("/x.conf")}, ("nginx", "-c", "/x.conf", *ALSO, "-s", "reload")),
        ({"nginx_reload": "signal"}, ("HUP",)),
    ],
    ids=str,
)
async def test_an_nginx_in_a_container_is_reloaded_in_there(
    way: dict[str, Any], ran: tuple[str, ...], made: Made, inside: FolderEngine
) -> None:
    """With the main file that it was started with: another one names another pid file, and another nginx."""
    await access_of(made(nginx_container="nginx", **way), NGINX).control().reload()
    assert inside.ran == [ran]


def test_rules_are_those_of_the_settings(made: Made) -> None:
    """Each that is forgotten here is a setting without effect."""
    plain = access_of(made()).rules(engine_pid=None)
    assert (plain.prefix, plain.expose_all, plain.networks, plain.declare) == ("lbwatch", False, (), ())
    settings = made(label_prefix="edge", expose="all", networks=("front",), declare=("later",))
    rules = access_of(settings).rules(engine_pid=None)
    assert (rules.prefix, rules.expose_all, rules.networks, rules.declare) == ("edge", True, ("front",), ("later",))


def test_rules_know_which_hash_keys_nginx_takes(made: Made) -> None:
    """A variable that nginx does not know would refuse the whole file."""
    rules = access_of(made()).rules(engine_pid=None)
    assert rules.refuses_key("$remote_addr") is None
    assert rules.refuses_key("$nope") is not None


@pytest.mark.parametrize(
    ("given", "seen", "host_shared", "outcome"),
    [
        ("true", False, None, True),
        ("true", False, False, True),
        ("false", True, None, False),
        ("false", False, True, False),
        ("auto", True, None, True),
        ("auto", False, None, False),
        ("auto", True, False, False),
        ("auto", False, True, True),
    ],
)
def test_what_is_set_of_the_hosts_network_comes_before_what_is_known_and_that_before_what_is_seen(
    given: str, seen: bool, host_shared: bool | None, outcome: bool, made: Made
) -> None:
    """127.0.0.1 is another service where this is wrong."""
    access = access_of(made(host_network=given))
    assert access.rules(engine_pid=os.getpid() if seen else None, host_shared=host_shared).host_shared is outcome


def test_networks_are_those_of_nginxs_container_where_none_are_set(made: Made) -> None:
    """It reaches no others; without such a container all are taken for reachable."""
    nginx = container("nginx", endpoints=(Endpoint(network="edge", ipv4="10.0.0.2"),))
    assert access_of(made(nginx_container="nginx"), nginx).rules(engine_pid=os.getpid()).networks == ("edge",)
    assert access_of(made(), nginx).rules(engine_pid=None).networks == ()


AROUND = container("around", endpoints=(Endpoint(network="edge", ipv4="10.0.0.2"),))


@pytest.fixture
def inside_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has process 1 be in the container that is around."""
    line = f"1 2 3:4 /data/containers/{AROUND.id}/hosts /etc/hosts rw - ext4 /dev/vda rw\n"
    monkeypatch.setattr(mounts, "mountinfo", lambda pid: line if pid == 1 else "")


@pytest.mark.usefixtures("inside_a_container")
def test_networks_are_those_of_the_container_that_nginx_and_lbwatch_are_in(made: Made) -> None:
    """Nobody should have to name what the engine knows."""
    assert str(followed(made())) == AROUND.id
    assert access_of(made(), AROUND).rules(engine_pid=None).networks == ("edge",)
    assert access_of(made(networks=("front",)), AROUND).rules(engine_pid=None).networks == ("front",)
    on_host = replace(AROUND, endpoints=(), host_network=True)
    rules = access_of(made(), on_host).rules(engine_pid=None)
    assert (rules.networks, rules.host_shared) == ((), True)


@pytest.mark.usefixtures("inside_a_container")
def test_the_container_around_lbwatch_is_not_nginxs_where_nginx_is_elsewhere(made: Made) -> None:
    """What lbwatch reaches itself does not matter then."""
    assert str(followed(made(nginx_container="nginx"))) == "nginx"
    assert followed(made(reload_command="ssh edge nginx -s reload")) is None


@pytest.mark.usefixtures("inside_a_container")
def test_a_container_of_another_engine_says_nothing(made: Made) -> None:
    """lbwatch may follow another engine than the one that it runs on."""
    rules = access_of(made(), container("web")).rules(engine_pid=os.getpid())
    assert (rules.networks, rules.host_shared) == (
        (),
        HostNetwork(pidfile=Path("/none")).shared(engine_pid=os.getpid()),
    )


def test_outside_of_any_container_or_where_that_cannot_be_seen_none_is_followed(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An nginx on the host reaches all networks."""

    def hidden(_: int) -> str:
        raise PermissionError

    for found in (lambda _: "", hidden):
        monkeypatch.setattr(mounts, "mountinfo", found)
        assert followed(made()) is None


def test_a_container_off_the_hosts_network_is_no_matter_of_what_is_seen_here(made: Made) -> None:
    """lbwatch may share the host's network while nginx, in its container, does not."""
    assert access_of(made(nginx_container="nginx"), NGINX).rules(engine_pid=os.getpid()).host_shared is False


@pytest.mark.parametrize(
    ("way", "more"), [("local", ()), ("commands", ()), ("exec", EXEC_ASKED), ("signal", SIGNAL_ASKED)]
)
def test_what_is_asked_of_the_engine_follows_from_the_way(way: str, more: tuple[str, ...], made: Made) -> None:
    """`check` prints it for whoever writes a socket proxy's rules: one too many is a right too many."""
    assert access_of(made(**WAYS[way])).asked() == (*ASKED, *more)


def test_the_selector_is_nginxs_container(made: Made) -> None:
    """By name or by label; none where nginx is here."""
    assert selector(made()) is None
    assert str(selector(made(nginx_container="label=role=edge"))) == "with label role=edge"


@pytest.mark.parametrize("wrong", ["nginx 'unended", ""])
@pytest.mark.parametrize(
    ("setting", "way"),
    [("test_command", "local"), ("reload_command", "local"), ("nginx_command", "local"), ("nginx_command", "exec")],
)
async def test_a_wrong_command_is_said_at_the_start_and_leaves_no_lock(
    setting: str, way: str, wrong: str, made: Made
) -> None:
    """Found out at the first change it would be an outage in the night."""
    settings = made(**(WAYS[way] | {setting: wrong}))
    with pytest.raises(SettingsError, match=f"^{setting}: .*it takes a command") as caught:
        async with build_daemon(settings):
            pass
    assert caught.value.setting == setting
    with FileLock(settings.nginx.output) as lock:
        assert lock.acquire()


async def test_what_nginx_cannot_do_is_a_rule_by_its_version(made: Made) -> None:
    """Whose label it is reads why; and a version that is not known is an old one."""
    access = access_of(made())
    new = version_in("nginx version: nginx/1.30.6")
    assert access.rules(engine_pid=None, host_shared=False, version=new).sticky_refusal is None
    old = access.rules(engine_pid=None, host_shared=False, version=version_in("nginx version: nginx/1.26.3"))
    assert old.sticky_refusal == "it takes nginx 1.29.6 or newer, and this nginx is 1.26.3"
    assert "not known" in (access.rules(engine_pid=None, host_shared=False).sticky_refusal or "")
