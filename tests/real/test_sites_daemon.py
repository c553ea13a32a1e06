"""Sites from containers to nginx: what is served, what outlives whom, and that one host never harms another."""

import json
import os
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import crossplane
import pytest
from daemon import Lbwatch
from luanginx import LuaNginx
from sitedaemon import NOBODY, SiteDaemon, der, site_daemon

from lbwatch.core.model import Reason


@pytest.fixture
def stage() -> Iterator[SiteDaemon]:
    with site_daemon() as stage:
        yield stage


def test_a_container_says_its_host_and_is_served(stage: SiteDaemon) -> None:
    """One word is a site; whoever asks for another host gets nobody's."""
    stage.run("web", host="a.example")
    stage.run("app", env={"VIRTUAL_HOST": "b.example"})
    stage.start()
    stage.wait(lambda: stage.ask("a.example"), (200, "web"), what="its site")
    stage.wait(lambda: stage.ask("b.example"), (200, "app"), what="nginx-proxy's")
    assert stage.status("c.example") == 503
    assert stage.status("a.example", tls=True) == NOBODY


def test_a_certificate_that_comes_redirects_and_one_that_is_renewed_is_shown(stage: SiteDaemon) -> None:
    """No event of the engine's says so, and nobody signals anyone."""
    stage.run("web", host="a.example")
    stage.start()
    stage.wait(lambda: stage.ask("a.example"), (200, "web"), what="plain HTTP without a certificate")
    first = stage.certificate("a.example")
    stage.wait(lambda: stage.shown("a.example"), der(first), what="the certificate")
    stage.wait(
        lambda: stage.ask("a.example", "/x"), (301, f"https://a.example:{stage.https}/x"), what="a redirect to HTTPS"
    )
    assert stage.ask("a.example", tls=True) == (200, "web")
    mark = stage.lbwatch.mark()
    second = stage.certificate("a.example")
    stage.wait(lambda: stage.shown("a.example"), der(second), what="the renewed one")
    stage.lbwatch.wait_for_log("nginx.reloaded", since=mark)


def test_a_certificate_that_vanishes_leaves_a_file_that_nginx_can_start_from(stage: SiteDaemon) -> None:
    """A reboot would find no proxy at all."""
    stage.run("web", host="a.example")
    stage.run("other", host="b.example")
    stage.certificate("a.example")
    stage.start()
    stage.wait(lambda: stage.status("a.example", tls=True), 200, what="HTTPS")
    for ending in ("crt", "key"):
        (stage.certs / f"a.example.{ending}").unlink()
    stage.wait(lambda: "a.example.crt" in stage.nginx.output.read_text(), False, what="the file without it")
    stage.nginx.stop()
    stage.nginx.start()
    stage.wait(lambda: stage.ask("b.example"), (200, "other"), what="the other one after a restart")
    stage.wait(lambda: stage.ask("a.example"), (200, "web"), what="plain HTTP, as the label auto has it")


def test_one_host_whose_certificate_and_key_do_not_fit_is_closed_and_others_serve(stage: SiteDaemon) -> None:
    """nginx refuses the whole file for one of them."""
    stage.run("web", host="a.example")
    stage.run("other", host="b.example")
    stage.certificate("b.example")
    stage.certificate("a.example")
    stage.certificate("x.example", name="other")
    os.replace(stage.certs / "other.key", stage.certs / "a.example.key")
    stage.start()
    stage.wait(lambda: stage.ask("b.example", tls=True), (200, "other"), what="the other host")
    stage.wait(lambda: stage.status("a.example"), 503, what="the host that cannot be served as it should be")
    assert stage.status("a.example", tls=True) == NOBODY


def test_a_broken_file_of_the_operators_closes_its_host_and_no_other(stage: SiteDaemon) -> None:
    """A typo in vhost.d is nobody else's outage, and mending it needs no signal."""
    stage.run("web", host="a.example")
    stage.run("other", host="b.example")
    stage.start()
    stage.wait(lambda: stage.status("a.example"), 200, what="its site")
    (stage.vhosts / "a.example").write_text("no_such_directive on;\n")
    stage.wait(lambda: stage.status("a.example"), 503, what="a closed site")
    assert stage.ask("b.example") == (200, "other")
    stage.lbwatch.wait_for_log("site.degraded", host="a.example")
    (stage.vhosts / "a.example").write_text("add_header X-Mine yes always;\n")
    stage.wait(lambda: stage.status("a.example"), 200, what="its site again")


@pytest.mark.parametrize("name", ["htpasswd/{}", "vhost.d/{}_location_override", "vhost.d/{}", "certs/{}.ca.crt"])
def test_a_pipe_in_the_place_of_a_file_closes_its_host_and_no_other(stage: SiteDaemon, name: str) -> None:
    """nginx would wait for whoever writes into it, in its test as in a reload, and nobody's change came through."""
    stage.run("web", host="a.example", https="both")
    stage.certificate("a.example")
    stage.start()
    stage.wait(lambda: stage.status("a.example"), 200, what="its site")
    os.mkfifo(stage.folder / name.format("a.example"))
    stage.wait(lambda: stage.status("a.example"), 503, what="a closed site")
    stage.run("other", host="b.example")
    stage.wait(lambda: stage.status("b.example"), 200, what="another one that comes then")
    assert stage.status("a.example", tls=True) == 503


def test_a_password_file_that_is_named_and_missing_closes_and_does_not_open(stage: SiteDaemon) -> None:
    """What was closed is never opened because a part of it failed."""
    (stage.passwords / "team").write_text("ann:{PLAIN}secret\n")
    stage.run("web", host="a.example", auth="team")
    stage.start()
    stage.wait(lambda: stage.status("a.example"), 401, what="a question for the password")
    assert stage.ask("a.example", headers={"Authorization": "Basic YW5uOnNlY3JldA=="}) == (200, "web")
    (stage.passwords / "team").unlink()
    stage.wait(lambda: stage.status("a.example"), 503, what="a closed site")


def test_a_folder_of_passwords_that_is_gone_opens_nothing(stage: SiteDaemon) -> None:
    """It was renamed, or its drive is not mounted: that is nobody's word on who may come in, at a restart neither."""
    (stage.passwords / "a.example").write_text("ann:{PLAIN}secret\n")
    stage.run("web", host="a.example")
    stage.run("other", host="b.example")
    stage.start()
    stage.wait(lambda: stage.status("a.example"), 401, what="a question for the password")
    stage.passwords.rename(stage.folder / "elsewhere")
    stage.wait(lambda: stage.status("a.example"), 503, what="a closed site")
    assert stage.ask("b.example") == (200, "other")
    stage.lbwatch.kill9()
    mark = stage.lbwatch.mark()
    stage.lbwatch.start()
    stage.lbwatch.wait_for_log("reconcile.finished", since=mark, within=30)
    assert stage.status("a.example") == 503
    (stage.folder / "elsewhere").rename(stage.passwords)
    stage.wait(lambda: stage.status("a.example"), 401, what="the question again")


def test_a_host_outlives_its_container(stage: SiteDaemon) -> None:
    """Another site, or a wrong certificate, is what clients see elsewhere while an application is deployed."""
    stage.run("web", host="a.example")
    stage.run("any", host="*.example")
    first = stage.certificate("a.example")
    stage.start()
    stage.wait(lambda: stage.ask("a.example", tls=True), (200, "web"), what="its site")
    stage.stop("web")
    stage.wait(lambda: stage.status("a.example", tls=True), 502, what="its own host without a server")
    stage.remove("web")
    stage.lbwatch.wait_for_log("event.handled", action="destroy")
    assert stage.status("a.example", tls=True) == 502
    assert stage.shown("a.example") == der(first)
    stage.run("web", host="a.example")
    stage.wait(lambda: stage.ask("a.example", tls=True), (200, "web"), what="its next container")


def test_servers_of_a_site_come_and_go_without_a_reload_and_a_host_comes_by_one() -> None:
    """nginx's workers are told of servers; of a host, or of a certificate, they can only read."""
    with site_daemon(partial(LuaNginx, version="1.22"), live="auto") as stage:
        stage.run("web", host="a.example")
        stage.start()
        stage.wait(lambda: stage.ask("a.example"), (200, "web"), what="its site")
        mark = stage.lbwatch.mark()
        stage.run("more", host="a.example")
        stage.wait(lambda: {stage.ask("a.example")[1] for _ in range(8)}, {"web", "more"}, what="both of them")
        stage.lbwatch.wait_for_log("nginx.pushed", since=mark)
        assert not stage.lbwatch.logged("nginx.reloaded", since=mark)
        stage.run("new", host="b.example")
        stage.wait(lambda: stage.ask("b.example"), (200, "new"), what="the new host")
        stage.lbwatch.wait_for_log("nginx.reloaded", since=mark)
        mark = stage.lbwatch.mark()
        stage.remove("web")
        stage.wait(lambda: {stage.ask("a.example")[1] for _ in range(8)}, {"more"}, what="the one that is left")
        stage.lbwatch.wait_for_log("nginx.pushed", since=mark)
        first = stage.certificate("a.example")
        stage.wait(lambda: stage.shown("a.example"), der(first), what="a certificate")


def test_hosts_that_are_no_names_are_served_where_nginx_has_lua() -> None:
    """Behind a program in Lua no text of a label may stand, and the mark of such a host was taken for one."""
    with site_daemon(partial(LuaNginx, version="1.22"), live="auto") as stage:
        stage.run("web", host="a.example")
        stage.run("many", host=r"~^x\d+\.example$", path=r"~ ^/v[0-9]+/")
        stage.run("six", env={"VIRTUAL_HOST": "[fd00::1],*.w.example"})
        stage.start()
        stage.wait(lambda: stage.ask("x12.example", "/v1/"), (200, "many"), what="the host by a regexp")
        assert stage.ask("[fd00::1]") == stage.ask("any.w.example") == (200, "six")
        assert stage.ask("a.example") == (200, "web")
        assert "_by_lua_block" in stage.nginx.output.read_text()


def test_each_reason_that_is_about_hosts_has_its_container_and_says_what_to_do() -> None:
    """What keeps a container from a host is what most of its users will ask."""
    with site_daemon() as stage:
        stage.flags += ["--stream-output", str(stage.folder / "streams.conf")]
        stage.lbwatch.close()
        stage.lbwatch = Lbwatch(*stage.flags, folder=stage.folder)
        stage.run("first", host="a.example", upstream="first", listen="5432/tcp")
        stage.run("taken", host="a.example", upstream="other", listen="5432/tcp")
        stage.run("bare", host="b.example", https="only")
        stage.run("typo", env={"VIRTUAL_HOST": "c.example", "VIRTUAL_PROTO": "spdy"})
        stage.run("broken", host="d.example")
        (stage.vhosts / "d.example").write_text("no_such_directive on;\n")
        stage.start()

        def rows() -> dict[tuple[str, str], str]:
            _, out, _ = stage.lbwatch.command("explain", "--json")
            found = json.loads(out or "[]")
            return {(each["container"], each["reason"]): each["detail"] for each in found if each["reason"]}

        wanted = {
            ("taken", Reason.HOST_TAKEN): "another path or host is needed",
            ("taken", Reason.PORT_TAKEN): "listen on another",
            ("bare", Reason.NO_CERTIFICATE): "b.example.crt with its .key is looked for",
            ("typo", Reason.BAD_VARIABLE): "VIRTUAL_PROTO",
            ("broken", Reason.HOST_REFUSED): "no_such_directive",
        }
        stage.wait(lambda: wanted.keys() - rows().keys(), set(), what="each reason")
        said = rows()
        assert [each for each, words in wanted.items() if words not in said[each]] == []


HOSTILE = (
    "~^(.*)$; } server { listen 1; root /etc; autoindex on; } #",
    'a.example"; root /etc; "',
    "a.example;",
    "a.example { }",
    "a..example",
    "-",
    "x" * 300,
    "~(",
    "~[",
    '~"; return 200; #',
    "~^(?<host>.*)$",
    "a.example\nroot /etc;",
    "${host}",
    "$host",
    "../../etc",
    "*.*.example",
    "[::1",
    "~" + "(a" * 200,
)
PATHS = ("/;}", "/ { root /etc; }", "~ ^/(", '/"', "/$uri", "~ (?<uri>.*)", "= /x;", "x", "~ [", "/\n", "/a b", "/#")
OTHERS: tuple[dict[str, str], ...] = (
    {"VIRTUAL_DEST": "/;root /etc;"},
    {"VIRTUAL_PORT": "80; root /etc;"},
    {"VIRTUAL_PROTO": "http://x; #"},
    {"VIRTUAL_ROOT": "/etc; autoindex on"},
    {"SERVER_TOKENS": "off; root /etc"},
    {"EXTERNAL_HTTP_PORT": "1; root /etc"},
    {"HSTS": 'max-age=1"; root /etc; "'},
    {"CERT_NAME": "../../shadow"},
    {"HTTPS_METHOD": "nohttp; root /etc"},
    {"NETWORK_ACCESS": "internal; root /etc"},
    {"VIRTUAL_HOST_MULTIPORTS": "a.example: {'/': {port: '80; root /etc;'}}"},
    {"VIRTUAL_HOST_MULTIPORTS": "&a [*a, *a]"},
    {"VIRTUAL_HOST_MULTIPORTS": "a: !!python/object/apply:os.system ['true']"},
    {"VIRTUAL_HOST_MULTIPORTS": "[" * 5000},
    {"VIRTUAL_HOST_MULTIPORTS": "{}"},
    {"ACME_HTTP_CHALLENGE_LOCATION": "maybe; root /etc"},
)


def hostile_environments() -> list[dict[str, str]]:
    """Return what a container may say to have nginx do something else than serve it."""
    hosts = [{"VIRTUAL_HOST": each} for each in HOSTILE]
    paths = [{"VIRTUAL_HOST": "bad.example", "VIRTUAL_PATH": each} for each in PATHS]
    return hosts + paths + [{"VIRTUAL_HOST": "bad.example", **each} for each in OTHERS]


@pytest.mark.timeout(300)
def test_whatever_one_container_says_another_is_served_all_the_time(stage: SiteDaemon) -> None:
    """Where raw values are written one of them wedges the proxy, or has it publish its own keys."""
    stage.run("good", env={"VIRTUAL_HOST": "good.example"})
    stage.start()
    stage.wait(lambda: stage.ask("good.example"), (200, "good"), what="its site")
    wrong: list[object] = []
    done = threading.Event()

    def ask_all_the_time() -> None:
        while not done.wait(0.02):
            if (answer := stage.ask("good.example")) != (200, "good"):
                wrong.append(answer)

    asking = threading.Thread(target=ask_all_the_time)
    asking.start()
    try:
        for number, env in enumerate(hostile_environments()):
            mark = stage.lbwatch.mark()
            stage.run(f"bad{number}", env=env)
            stage.lbwatch.wait_for_log("event.handled", since=mark, action="start")
            stage.run(f"next{number}", env={"VIRTUAL_HOST": f"n{number}.example"})
            stage.wait(
                lambda number=number: stage.ask(f"n{number}.example"),  # type: ignore[misc]
                (200, f"next{number}"),
                what=f"the one that comes after {env}",
            )
            for name in (f"bad{number}", f"next{number}"):
                stage.remove(name)
                stage.servers.pop(name).close()
    finally:
        done.set()
        asking.join()
    assert not wrong
    # Some are regular expressions, which are kept for a minute: what counts is what they are to nginx.
    parsed = crossplane.parse(str(stage.nginx.output), check_ctx=False, single=True)
    assert parsed["status"] == "ok"
    found = {(each["directive"], *each["args"]) for each in _all(parsed["config"][0]["parsed"])}
    assert not [each for each in found if each[0] == "autoindex" or each[:2] == ("root", "/etc")]


def _all(directives: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for each in directives:
        yield each
        yield from _all(each.get("block", []))
