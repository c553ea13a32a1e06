"""Requests that wait in nginx's workers, on real nginxes that have the Lua module."""

import concurrent.futures
import contextlib
import http.client
import itertools
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from backendserver import BackendServer, Deed, backends, dead_address
from followserver import server, upstream
from livenginx import Followed, followed
from luanginx import live_upstream
from needs import need
from twoways import UnixConnection
from versions import LUA_NGINXES

HOLD_MS = 15_000
"""Longer than any of the waits that should end before."""


@pytest.fixture(params=LUA_NGINXES)
def version(request: pytest.FixtureRequest) -> str:
    """Each nginx that has the module."""
    return str(request.param)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client got, and after how long; status 0: nothing."""

    status: int
    text: str = ""
    seconds: float = 0
    headers: dict[str, str] = field(default_factory=dict)


def _asked(path: Path, target: str = "/", *, method: str = "GET", body: str | None = None) -> Answer:
    began = time.monotonic()
    try:
        with UnixConnection(path) as connection:
            connection.request(method, target, body=body)
            answer = connection.getresponse()
            text = answer.read().decode()
            return Answer(answer.status, text, time.monotonic() - began, dict(answer.headers))
    except (OSError, http.client.HTTPException):
        return Answer(0)


_SITE = """
server {{
    listen unix:{site};
    client_body_timeout 30s;
    location / {{ set $lbwatch_hold web; proxy_pass http://web; }}
    location /open/ {{ proxy_pass http://web; }}
    location /maintained/ {{ set $lbwatch_hold web; error_page 503 /sorry; proxy_pass http://web; }}
    location /sorry {{ set $lbwatch_hold web; proxy_pass http://web; }}
    location /fallback/ {{ set $lbwatch_hold web; error_page 503 = @static; proxy_pass http://web; }}
    location @static {{ proxy_pass http://other; }}
    location /guarded/ {{ set $lbwatch_hold web; auth_request /auth; proxy_pass http://web; }}
    location = /auth {{ set $lbwatch_hold web; proxy_pass http://auth; }}
    location /unguarded/ {{ auth_request /auth; proxy_pass http://other; }}
    location /again/ {{ set $lbwatch_hold web; error_page 502 504 = @again; proxy_pass http://web; }}
    location @again {{ set $lbwatch_hold "web again"; proxy_pass http://web; }}
}}
"""


class Site:
    """A site whose locations hold, and who asks it."""

    def __init__(self, both: Followed) -> None:
        self.both = both
        self.path = both.folder / "site.sock"
        self._pool = concurrent.futures.ThreadPoolExecutor(40)

    def ask(self, target: str = "/", *, method: str = "GET", body: str | None = None) -> Answer:
        """Ask, and wait for the answer."""
        return _asked(self.path, target, method=method, body=body)

    def start(
        self, target: str = "/", *, method: str = "GET", body: str | None = None
    ) -> "concurrent.futures.Future[Answer]":
        """Ask in the background."""
        return self._pool.submit(self.ask, target, method=method, body=body)

    def push(self, *servers: str, hold_ms: int = HOLD_MS, paused: bool = False, kind: str = "delta") -> None:
        """Have the upstream in force as it is here."""
        self.both.follow.prove(
            upstream("web", servers, hold_ms=hold_ms, paused=paused), kind=kind, workers=self.both.nginx.workers
        )

    def wait_for(self, waiting: int) -> None:
        """Wait until the workers have said that so many requests wait."""
        self.both.follow.wait(lambda: self.waiting() == waiting)

    def waiting(self) -> int:
        """Return how many requests wait as the workers have it."""
        return sum(each.waiting.get("web", (0, 0))[0] for each in self.both.follow.haves.values())


@contextlib.contextmanager
def held_site(version: str, *, change: tuple[str, str] | None = None, workers: int = 2) -> Iterator[Site]:
    """Give a site whose upstream holds and has no server; change: of the workers' program, for bounds that are too large here."""
    with followed(version, workers=workers) as both:
        if change is not None:
            both.change_program(*change)
        both.follow.may_wait = True
        site = Site(both)
        both.start(
            live_upstream("web"),
            live_upstream("auth"),
            live_upstream("other"),
            http=_SITE.format(site=site.path),
        )
        site.push(kind="whole")
        yield site


def test_requests_wait_for_a_server_and_reach_it_once(version: str) -> None:
    """Between the old container of a deploy and the new one nobody gets a 502, and a POST arrives whole, once."""
    with held_site(version) as site, backends("one") as (one,):
        asked = [site.start("/a"), site.start("/b", method="POST", body="x" * 200_000), site.start("/c")]
        site.wait_for(3)
        assert (
            max(longest for each in site.both.follow.haves.values() for _, longest in each.waiting.values()) < HOLD_MS
        )
        site.push(server(one.address))
        assert [(each.result().status, each.result().text) for each in asked] == [(200, "one")] * 3
        assert sorted((each.method, each.path, len(each.body)) for each in one.requests) == [
            ("GET", "/a", 0),
            ("GET", "/c", 0),
            ("POST", "/b", 200_000),
        ]
        site.wait_for(0)


def test_a_request_whose_time_is_over_is_asked_to_come_again(version: str) -> None:
    """The wait is bounded; who is sent away learns that it is for a moment."""
    with held_site(version) as site:
        site.push(hold_ms=700)
        answer = site.ask()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert 0.6 < answer.seconds < 5
        site.wait_for(0)


def test_without_a_hold_nothing_waits(version: str) -> None:
    """Who did not ask for it gets nginx's own answer at once, as before; so does a location that does not take part."""
    with held_site(version) as site:
        assert site.ask("/open/").status == 502
        site.push(hold_ms=0)
        assert site.ask().status == 502


def test_a_paused_upstream_holds_though_its_servers_are_there(version: str) -> None:
    """During a migration nothing reaches the application, and afterwards all of it does."""
    with held_site(version) as site, backends("one") as (one,):
        site.push(server(one.address), paused=True)
        asked = [site.start(), site.start(method="POST", body="1")]
        site.wait_for(2)
        assert one.requests == []
        site.push(server(one.address))
        assert [each.result().text for each in asked] == ["one", "one"]


def test_one_more_than_may_wait_is_sent_away_at_once(version: str) -> None:
    """Each request that waits keeps a connection; without a bound a deploy under load could take all of nginx's."""
    with (
        held_site(version, change=("MAX_WAITING = 1000", "MAX_WAITING = 2"), workers=1) as site,
        backends("one") as (one,),
    ):
        asked = [site.start(f"/{number}") for number in range(8)]
        refused = list(itertools.islice(concurrent.futures.as_completed(asked, timeout=20), 6))
        assert [(each.result().status, each.result().headers["Retry-After"]) for each in refused] == [(503, "1")] * 6
        site.push(server(one.address))
        assert sorted(each.result().status for each in asked) == [200] * 2 + [503] * 6


def test_a_client_that_leaves_waits_no_longer(version: str) -> None:
    """Its place is free for others, and its request, which nobody wants any more, reaches no server."""
    with held_site(version) as site, backends("one") as (one,):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(site.path))
            client.sendall(b"GET /left HTTP/1.1\r\nHost: x\r\n\r\n")
            site.wait_for(1)
        site.wait_for(0)
        site.push(server(one.address))
        assert site.ask("/later").text == "one"
        assert [each.path for each in one.requests] == ["/later"]


def test_bytes_of_the_next_request_are_no_client_that_left(version: str) -> None:
    """A client may send its next request before it has the answer to the first one."""
    with held_site(version) as site, backends("one") as (one,), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(site.path))
        client.sendall(b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n")
        site.wait_for(1)
        client.sendall(b"GET /second HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        time.sleep(0.3)  # nginx has seen them; that nothing comes of it is what is looked at
        assert site.waiting() == 1
        site.push(server(one.address))
        assert b"".join(iter(lambda: client.recv(65536), b"")).count(b" 200 OK") == 2
        assert [each.path for each in one.requests] == ["/first", "/second"]


def test_it_waits_once_whatever_the_error_page_is(version: str) -> None:
    """A page for 503 that is itself passed on must not double the wait, and one that is not must not wait at all."""
    with held_site(version) as site, backends("static") as (other,):
        site.both.follow.prove(upstream("other", [server(other.address)]))
        site.push(hold_ms=1500)
        once = site.ask("/maintained/")
        assert (once.status, once.seconds < 2.8) == (503, True), once
        static = site.ask("/fallback/")
        assert (static.text, static.seconds < 2.8) == ("static", True), static


def test_a_subrequest_never_waits(version: str) -> None:
    """auth_request asks before the request is passed on: it fails at once if its upstream has nobody, as it does today."""
    with held_site(version) as site, backends("one") as (one,):
        site.both.follow.prove(upstream("other", [server(one.address)]))
        began = time.monotonic()
        assert site.ask("/unguarded/").status == 500
        assert time.monotonic() - began < 5
        asked = site.start("/guarded/")
        site.wait_for(1)
        site.both.follow.prove(upstream("web", [server(one.address)]), upstream("auth", [server(one.address)]))
        assert asked.result().text == "one"


def test_a_request_that_no_server_has_seen_waits_until_one_takes_connections(version: str) -> None:
    """A server that died before lbwatch heard of it, or that has started and does not listen yet, costs no request."""
    with held_site(version) as site:
        address = dead_address()
        site.push(server(address))
        asked = [site.start("/again/a"), site.start("/again/b", method="POST", body="1")]
        site.wait_for(2)
        one = BackendServer("one", port=int(address.rpartition(":")[2]))
        with contextlib.closing(one):
            assert [each.result().text for each in asked] == ["one", "one"]
            assert sorted((each.method, each.path, each.body) for each in one.requests) == [
                ("GET", "/again/a", b""),
                ("POST", "/again/b", b"1"),
            ]
            site.push(server(one.address), server(dead_address()))
            assert {site.ask("/again/c").text for _ in range(4)} == {"one"}
            site.push(server(dead_address()), server(dead_address()))
            asked = [site.start("/again/d")]
            site.wait_for(1)
            site.push(server(one.address))
            assert asked[0].result().text == "one"


def test_a_server_that_is_back_gets_the_requests_that_waited_for_it(version: str) -> None:
    """All of the upstream's servers had just failed: by nginx's rule each would get nothing for fail_timeout, 10 s."""
    with held_site(version) as site:
        address = dead_address()
        site.push(server(address), server(dead_address()))
        asked = [site.start(f"/again/{number}") for number in range(4)]
        site.wait_for(4)
        with contextlib.closing(BackendServer("one", port=int(address.rpartition(":")[2]))):
            assert [each.result().text for each in asked] == ["one"] * 4


def test_a_request_that_a_server_may_have_seen_is_not_held(version: str) -> None:
    """What a server has done with it is unknown: it fails, and the client decides."""
    with held_site(version) as site, backends("one") as (one,):
        one.deed = lambda _: Deed(status=None)
        site.push(server(one.address))
        answer = site.ask("/again/", method="POST", body="1")
        assert (answer.status, len(one.requests)) == (502, 1)
        assert answer.seconds < 5


def test_nobody_who_takes_connections_is_waited_for_as_long_as_for_a_server(version: str) -> None:
    """A server that stays dead is the 502 that it would have been at once."""
    with held_site(version) as site:
        site.push(server(dead_address()), hold_ms=800)
        answer = site.ask("/again/")
        assert answer.status == 502
        assert 0.5 < answer.seconds < 5


def test_requests_of_http_2_wait_too(version: str) -> None:
    """Browsers speak it to most sites; a stream that is reset frees its place as a closed connection does."""
    need("curl", root=False)
    word = "http2 on;" if version == "1.30" else ""
    listen = "" if version == "1.30" else " http2"
    more = (
        "server {{ listen unix:{path}{listen}; {word} location / {{ set $lbwatch_hold web; proxy_pass http://web; }} }}"
    )
    with followed(version) as both, backends("one") as (one,):
        path = both.folder / "two.sock"
        both.follow.may_wait = True
        site = Site(both)
        both.start(live_upstream("web"), http=more.format(path=path, listen=listen, word=word))
        site.push(kind="whole")
        argv = ("curl", "-sS", "--http2-prior-knowledge", "--unix-socket", str(path), "http://lbwatch.test/")
        staying, leaving = (subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2))
        with staying, leaving:
            site.wait_for(2)
            leaving.kill()
            site.wait_for(1)
            site.push(server(one.address))
            assert staying.communicate(timeout=20)[0] == "one"
        assert len(one.requests) == 1


def test_other_requests_of_a_worker_are_served_while_some_wait(version: str) -> None:
    """A wait costs a place and nothing else."""
    with held_site(version) as site, backends("one") as (one,):
        site.both.follow.prove(upstream("other", [server(one.address)]), upstream("auth", [server(one.address)]))
        asked = [site.start(f"/{number}") for number in range(20)]
        site.wait_for(20)
        began = time.monotonic()
        assert {site.ask("/unguarded/").text for _ in range(20)} == {"one"}
        assert time.monotonic() - began < 10
        site.push(server(one.address))
        assert {each.result().text for each in asked} == {"one"}


def test_a_reload_ends_no_wait(version: str) -> None:
    """The old worker has no successor for the requests in it: it asks on for them, as one that serves nobody new."""
    with held_site(version) as site, backends("one") as (one,):
        asked = [site.start(f"/{number}") for number in range(4)]
        site.wait_for(4)
        old = site.both.nginx.worker_pids()
        follow = site.both.follow
        site.both.nginx.reload()
        follow.wait(lambda: {each.shape for each in follow.haves.values() if each.pid in old} == {"0"})
        follow.wait(lambda: len({each.pid for each in follow.haves.values()} - old) == 2)
        site.push(server(one.address))
        assert [each.result().text for each in asked] == ["one"] * 4
        follow.wait(lambda: not {each.pid for each in follow.haves.values()} & old)


def test_what_was_found_wrong_is_in_no_error_log(version: str) -> None:
    """A wait that ends well leaves no error behind, so that an operator is not looking for one."""
    with held_site(version) as site, backends("one") as (one,):
        asked = site.start()
        site.wait_for(1)
        site.push(server(one.address))
        assert asked.result().text == "one"
        assert not re.search(r"\[(error|crit|alert|emerg)\]", site.both.nginx.errors())
