"""
The program of nginx's workers on real nginxes that have the Lua module: it follows a server that speaks as lbwatch does.
"""

import concurrent.futures
import contextlib
import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import twoways
from backendserver import BackendServer, Deed, backends, dead_address
from followserver import server, upstream
from livenginx import Followed, followed
from luanginx import live_upstream
from versions import LUA_NGINXES


@pytest.fixture(params=LUA_NGINXES)
def version(request: pytest.FixtureRequest) -> str:
    """Each nginx that has the module."""
    return str(request.param)


def test_what_is_pushed_answers_once_every_worker_has_said_so(version: str) -> None:
    """That a worker says a version is the only proof there is that no request goes to a server that left before."""
    with followed(version) as both, backends("one", "two", "three") as (one, two, three):
        both.start(live_upstream("web"))
        assert both.nginx.ask("/web/") == "status 502"
        both.follow.prove(upstream("web", [server(one.address), server(two.address)]), kind="whole")
        assert both.nginx.answers("web") == {"one", "two"}
        for each in itertools.islice(itertools.cycle((three, one, two)), 30):
            both.follow.prove(upstream("web", [server(each.address)]))
            assert both.nginx.answers("web", 4) == {each.name}
        both.follow.prove(upstream("web", []))
        assert both.nginx.ask("/web/") == "status 502"
        both.follow.prove(upstream("web", [server(one.address)]))
        assert both.nginx.answers("web", 4) == {"one"}
        assert {have.shape for have in both.follow.haves.values()} == {"SHAPE"}
        assert {have.pid for have in both.follow.haves.values()} == both.nginx.worker_pids()


def test_a_worker_that_has_heard_nothing_serves_from_the_file(version: str) -> None:
    """An nginx that starts while lbwatch is away serves what the file says, as it would without Lua."""
    with followed(version) as both, backends("one", "two") as (one, two):
        both.follow.away()
        both.start(live_upstream("web", one.address, two.address))
        assert both.nginx.answers("web") == {"one", "two"}


def test_a_name_that_a_whole_set_lacks_is_served_from_the_file_again(version: str) -> None:
    """The file may have upstreams that lbwatch no longer pushes: their lines are the truth for them."""
    with followed(version) as both, backends("one", "two") as (one, two):
        both.start(live_upstream("web", one.address))
        both.follow.prove(upstream("web", [server(two.address)]), kind="whole")
        assert both.nginx.answers("web") == {"two"}
        both.follow.prove(upstream("other", [server(two.address)]), kind="whole")
        assert both.nginx.answers("web") == {"one"}


def test_a_server_that_is_dead_costs_no_request(version: str) -> None:
    """The next server is tried as nginx itself tries it, whatever the block had when it was loaded."""
    with followed(version, workers=1) as both, backends("one") as (one,):
        both.start(live_upstream("web"), http=both.site("web"))
        dead = [server(dead_address()) for _ in range(2)]
        both.follow.prove(upstream("web", [*dead, server(one.address)]), kind="whole", workers=1)
        assert {both.ask() for _ in range(6)} == {"one"}


_ONE = "web d1 round_robin 0 0 127.0.0.1:80,1,1,10,0,1"
_REFUSED = {
    "another word": "hello",
    "no word": "",
    "a number that is none": "set e.1 whole x",
    "more upstreams than there can be": "set e.1 whole 999999999",
    "another kind": "set e.1 some 0",
    "an upstream twice": f"set e.1 whole 2\n{_ONE}\n{_ONE}",
    "a name that is none": f"set e.1 whole 1\nx{_ONE.replace('web', 'w;b')}",
    "another method": f"set e.1 whole 1\n{_ONE.replace('round_robin', 'ip_hash')}",
    "no digest": "set e.1 whole 1\nweb",
    "a hold that is none": f"set e.1 whole 1\n{_ONE.replace(' 0 0 ', ' -1 0 ')}",
    "a hold of years": f"set e.1 whole 1\n{_ONE.replace(' 0 0 ', ' 99999999999 0 ')}",
    "a pause that is none": f"set e.1 whole 1\n{_ONE.replace(' 0 0 ', ' 0 2 ')}",
    "no port": f"set e.1 whole 1\n{_ONE.replace(':80', '')}",
    "a port of 0": f"set e.1 whole 1\n{_ONE.replace(':80', ':0')}",
    "a port that is none": f"set e.1 whole 1\n{_ONE.replace(':80', ':65536')}",
    "a name for an address": f"set e.1 whole 1\n{_ONE.replace('127.0.0.1', 'localhost')}",
    "a weight of 0": f"set e.1 whole 1\n{_ONE.replace(',1,1,10', ',0,1,10')}",
    "a field too few": f"set e.1 whole 1\n{_ONE.replace(',0,1', ',1')}",
    "a backup that is none": f"set e.1 whole 1\n{_ONE.replace(',0,1', ',2,1')}",
    "a server of many upstreams": f"set e.1 whole 2\n{_ONE.replace('web', 'first')}\n{_ONE.replace(':80', ':x')}",
    "a line without an end": "x" * (2 << 20),
}


def test_an_answer_that_is_not_understood_changes_nothing(version: str) -> None:
    """A set is in force whole or not at all; the worker says why in nginx's log, once, and asks anew."""
    with followed(version, workers=1) as both, backends("one", "two") as (one, two):
        both.start(live_upstream("web"))
        both.follow.prove(upstream("web", [server(one.address)]), kind="whole", workers=1)
        for connections, (what, answer) in enumerate(_REFUSED.items(), both.follow.connections + 1):
            logged = _given_up(both)
            both.follow.answer_once(f"{answer}\n".encode() if len(answer) < 1 << 20 else answer.encode())
            both.follow.wait(lambda: both.follow.connections == connections and len(both.follow.haves) == 1)  # noqa: B023
            (have,) = both.follow.haves.values()
            assert have.version == both.follow.version, what
            assert both.nginx.ask("/web/") == "one", what
            assert _given_up(both) == logged + 1, what
            both.follow.prove(upstream("other", [server(two.address, life=str(connections))]), workers=1)
        both.follow.prove(upstream("web", [server(two.address)]), workers=1)
        assert both.nginx.ask("/web/") == "two"


def test_a_set_that_breaks_off_changes_nothing(version: str) -> None:
    """lbwatch may be killed while it speaks; half a set is no truth, however many of its lines are there."""
    with followed(version, workers=1) as both, backends("one", "two") as (one, two):
        both.start(live_upstream("web"))
        both.follow.prove(upstream("web", [server(one.address)]), kind="whole", workers=1)
        half = f"set e1.9 whole 2\n{upstream('web', [server(two.address)])}\n"
        for answer in (half, half[:-4], "set e1.9 whole 0"):
            before = both.follow.connections
            both.follow.answer_once(answer.encode(), closes=True)
            both.follow.wait(lambda: both.follow.connections > before and bool(both.follow.haves))  # noqa: B023
            assert {have.version for have in both.follow.haves.values()} == {both.follow.version}
            assert both.nginx.answers("web", 4) == {"one"}


def test_requests_are_served_while_a_set_arrives(version: str) -> None:
    """A set of many upstreams takes its time; until all of it is there the last one is in force, and nothing waits."""
    with followed(version, workers=1) as both, backends("one", "two") as (one, two):
        both.start(live_upstream("web"))
        both.follow.prove(upstream("web", [server(one.address)]), kind="whole", workers=1)
        many = [upstream(f"app{number}", [server(f"10.0.{number % 250}.1:80")]) for number in range(3000)]
        text = "\n".join(("set e1.9 whole 3002", upstream("web", [server(two.address)]), *many))
        both.follow.answer_once(f"{text}\n".encode())
        assert both.nginx.answers("web", 6) == {"one"}
        both.follow.prove(*many, upstream("web", [server(two.address)]), kind="whole", workers=1, within=30)
        assert both.nginx.answers("web", 6) == {"two"}


def test_a_worker_that_was_killed_is_followed_by_one_that_asks(version: str) -> None:
    """The new worker begins with the file and says so, until it has what is in force."""
    with followed(version) as both, backends("one", "two") as (one, two):
        both.start(live_upstream("web", one.address))
        both.follow.prove(upstream("web", [server(two.address)]), kind="whole")
        killed = both.nginx.worker_pids()
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        both.follow.wait(lambda: len(_pids(both) - killed) == 2 and _versions(both) == {both.follow.version})
        assert both.nginx.answers("web") == {"two"}


def test_what_is_in_force_stays_while_nobody_answers(version: str) -> None:
    """lbwatch may be away for hours; its last word counts until it is back with another, in whatever words."""
    with followed(version) as both, backends("one", "two", "three") as (one, two, three):
        both.start(live_upstream("web", one.address))
        both.follow.prove(upstream("web", [server(two.address)]), kind="whole")
        both.follow.away()
        assert both.nginx.answers("web") == {"two"}
        both.follow.back(epoch="e2")
        both.follow.prove(upstream("web", [server(three.address)]), kind="whole")
        assert both.nginx.answers("web") == {"three"}


def test_an_absent_lbwatch_fills_no_log(version: str) -> None:
    """Each worker tries once a second: a line for each would hide what an operator is looking for."""
    with followed(version) as both, backends("one") as (one,):
        both.follow.away()
        both.start(live_upstream("web", one.address))
        time.sleep(2.5)  # nothing comes of it: that is what is looked at
        assert "connect()" not in both.nginx.errors()


def test_old_workers_stop_to_ask_and_keep_what_they_carry(version: str) -> None:
    """After a reload they must not be taken for those that serve; what is open in them ends in peace."""
    with followed(version) as both, backends("one", "two") as (one, two):
        one.deed = two.deed = lambda request: Deed(after_s=4 if request.path.endswith("/slow") else 0)
        both.start(live_upstream("web"), http=both.site("web"))
        both.follow.prove(upstream("web", [server(one.address)]), kind="whole")
        old = both.nginx.worker_pids()
        with concurrent.futures.ThreadPoolExecutor() as pool:
            slow = pool.submit(both.ask, "/slow")
            both.follow.wait(lambda: bool(one.requests))
            both.nginx.reload()
            both.follow.wait(lambda: len(_pids(both)) == 2 and not _pids(both) & old)
            both.follow.prove(upstream("web", [server(two.address)]))
            assert {both.ask() for _ in range(8)} == {"two"}
            assert slow.result() == "one"


def test_connections_to_servers_are_kept(version: str) -> None:
    """`keepalive` means as much as without Lua: a connection for each request would cost more than all of this."""
    with followed(version, workers=1) as both, backends("one", "two") as servers:
        both.start(live_upstream("web", more="keepalive 8;"), http=both.site("web"))
        both.follow.prove(upstream("web", [server(each.address) for each in servers]), kind="whole", workers=1)
        assert {both.ask() for _ in range(40)} == {"one", "two"}
        assert [each.connections for each in servers] == [1, 1]
        both.follow.prove(upstream("web", [server(each.address) for each in servers], method="random"), workers=1)
        assert {both.ask() for _ in range(40)} == {"one", "two"}
        assert [each.connections for each in servers] == [1, 1]


def test_a_post_that_was_sent_is_not_sent_again(version: str) -> None:
    """An order that is placed twice is worse than one that failed: the client knows of it."""
    with followed(version, workers=1) as both, backends("one", "two") as servers:
        for each in servers:
            each.deed = lambda _: Deed(status=None)
        both.start(live_upstream("web"), http=both.site("web"))
        both.follow.prove(
            upstream("web", [server(each.address, max_fails=0) for each in servers]), kind="whole", workers=1
        )
        for method in ("POST", "GET"):
            with twoways.UnixConnection(both.folder / "site.sock") as connection:
                connection.request(method, "/", body="1")
                assert connection.getresponse().status == 502
        assert [each.method for each in itertools.chain.from_iterable(each.requests for each in servers)].count(
            "POST"
        ) == 1
        assert sum(len(each.requests) for each in servers) == 3


def test_an_open_connection_stays_where_it_is(version: str) -> None:
    """A websocket outlives the change that takes its server away, while new requests go elsewhere."""
    with followed(version) as both, backends("two") as (two,), _echo() as echo:
        upgrade = "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; proxy_read_timeout 60s;"
        both.start(live_upstream("web"), http=both.site("web").replace("proxy_set_header Connection '';", upgrade))
        both.follow.prove(upstream("web", [server(echo)]), kind="whole")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(both.folder / "site.sock"))
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n")
            assert b" 101 " in client.recv(4096)
            both.follow.prove(upstream("web", [server(two.address)]))
            assert {both.ask() for _ in range(8)} == {"two"}
            client.sendall(b"still here")
            assert client.recv(4096) == b"still here"


@contextlib.contextmanager
def _echo() -> Iterator[str]:
    """Give the address of a server that switches protocols, once, and then says what it hears."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n")
                while heard := connection.recv(4096):
                    connection.sendall(heard)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10)


def test_what_is_known_of_a_server_stays_with_it(version: str) -> None:
    """A push must not bring back a server that just failed; one that was restarted begins anew."""
    with followed(version, workers=1) as both, backends("one", "two") as (one, two):
        both.start(live_upstream("web"), http=both.site("web"))
        dead = dead_address()
        first = [server(dead, fail_timeout=3600), server(one.address)]
        both.follow.prove(upstream("web", first), kind="whole", workers=1)
        assert {both.ask() for _ in range(4)} == {"one"}
        revived = BackendServer("revived", port=int(dead.rpartition(":")[2]))
        with contextlib.closing(revived):
            both.follow.prove(upstream("web", [*first, server(two.address)]), workers=1)
            assert {both.ask() for _ in range(12)} == {"one", "two"}
            both.follow.prove(upstream("web", [server(dead, fail_timeout=3600, life="2"), *first[1:]]), workers=1)
            assert {both.ask() for _ in range(12)} == {"one", "revived"}


@pytest.mark.parametrize("hidden", ["log_by_lua_block { local x = 1 }", "auth_request /auth;"])
def test_connections_that_nobody_counts_down_are_counted_anew(version: str, hidden: str) -> None:
    """A log_by_lua of the user's own hides ours, and a subrequest has none: least_conn must not shun a server for ever."""
    with followed(version, workers=1) as both, backends("one", "two") as (one, two):
        both.change_program("MENDED_S = 5", "MENDED_S = 0.2")
        both.follow.held_s = 0.1
        auth = "location = /auth { proxy_pass http://web; } location / {"
        both.start(live_upstream("web"), http=both.site("web", more=hidden).replace("location / {", auth))
        both.follow.prove(upstream("web", [server(one.address)], method="least_conn"), kind="whole", workers=1)
        assert {both.ask() for _ in range(30)} == {"one"}
        both.follow.prove(
            upstream("web", [server(each.address) for each in (one, two)], method="least_conn"), workers=1
        )
        deadline = time.monotonic() + 20
        while {both.ask() for _ in range(2)} != {"one", "two"}:
            assert time.monotonic() < deadline, "one of them is shunned"


def test_a_worker_that_asks_for_long_keeps_its_memory_and_its_connection(version: str) -> None:
    """A worker lives for months and asks each 2 s."""
    with followed(version, workers=1) as both:
        both.start(live_upstream("web"))
        both.follow.held_s = 0
        (pid,) = both.nginx.worker_pids()
        both.follow.wait(lambda: both.follow.exchanges > 4000, within=60)
        before = _pss_kib(pid)
        both.follow.wait(lambda: both.follow.exchanges > 24_000, within=100)
        assert _pss_kib(pid) - before < 1500
        assert both.follow.connections == 1


def _given_up(both: Followed) -> int:
    return both.nginx.error_log.read_text().count("the connection is given up")


def _pss_kib(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))


def _versions(both: Followed) -> set[str]:
    return {each.version for each in both.follow.haves.values()}


def _pids(both: Followed) -> set[int]:
    return {each.pid for each in both.follow.haves.values()}
