"""
lbwatch as a process, and a real nginx whose workers follow it: whatever happens to either, answers are right.

The engine is the fake one; what happens between it and lbwatch is no different with workers that follow.
"""

import contextlib
import itertools
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import pytest
from backendserver import Deed
from daemon import wait_until
from fakedaemon import free_port
from livedaemon import LiveDaemon, connected, live_daemon
from luanginx import lua_program
from needs import NGINX_NEEDS, need, obtained

VERSION = "1.26"

SOON_S = 12.0
"""A deadline that a loaded machine keeps."""


@pytest.fixture
def stage() -> Iterator[LiveDaemon]:
    """Nothing of it runs yet."""
    need(*NGINX_NEEDS)
    obtained(lua_program, VERSION)
    with live_daemon(VERSION) as stage:
        yield stage


def new_workers(stage: LiveDaemon, before: set[int]) -> set[int]:
    """Return nginx's workers, once they are others than those."""

    def others() -> set[int]:
        pids = stage.nginx.worker_pids()
        return pids if len(pids) == stage.nginx.workers and not pids & before else set()

    return wait_until(others, within=SOON_S, what="other workers", notes=stage.notes)


@contextlib.contextmanager
def asking(stage: LiveDaemon, *, pause_s: float = 0.005) -> Iterator[list[tuple[str, float]]]:
    """Ask for web all the time; gives the answers, each with the seconds that it took."""
    over = threading.Event()
    seen: list[tuple[str, float]] = []

    def ask() -> None:
        while not over.wait(pause_s):
            began = time.monotonic()
            seen.append((stage.nginx.ask("/web/"), time.monotonic() - began))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join(20)


def version_said_by_a_new_peer(stage: LiveDaemon) -> str:
    """Return the version that whoever asks now is told."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(10)
        peer.connect(str(stage.live_socket))
        peer.sendall(f"have 1 {stage.shape()} 0 2 - -\n".encode())
        return peer.recv(65536).split(b" ")[1].decode()


# -- what others do to nginx


def test_changes_of_servers_need_no_reload(stage: LiveDaemon) -> None:
    """What it is all for: the master's workers are the same ones, and the file says the same within half a second."""
    mark = stage.follow("one", "two")
    workers = stage.nginx.worker_pids()
    stage.run("three")
    stage.wait_answers("one", "two", "three")
    stage.wait_file("one", "two", "three")
    stage.remove("one", "two", "three")
    stage.wait_answers()
    stage.wait_file()
    stage.run("four")
    stage.wait_answers("four")
    stage.wait_file("four")
    assert stage.reloads(since=mark) == 0
    assert stage.nginx.worker_pids() == workers


@pytest.mark.parametrize("who", ["one", "all"])
def test_workers_that_are_killed_come_back_right_without_a_reload(stage: LiveDaemon, who: str) -> None:
    """The master starts others from what it has read, which is older than what was pushed since."""
    stage.follow("one", "two")
    mark = stage.wait_pushed(lambda: stage.remove("one"))
    workers = stage.nginx.worker_pids()
    for pid in sorted(workers)[: 1 if who == "one" else None]:
        os.kill(pid, signal.SIGKILL)
    wait_until(
        stage.nginx.worker_pids,
        holds=lambda pids: len(pids) == len(workers) and pids != workers,
        within=SOON_S,
        what="a new worker",
    )
    stage.wait_answers("two")
    stage.run("three")
    stage.wait_answers("two", "three")
    assert stage.reloads(since=mark) == 0


def test_a_reload_by_others_is_followed_without_another_one(stage: LiveDaemon) -> None:
    """Certificates are renewed, sites change: the new workers read the file, which says the same, and ask."""
    stage.follow("one", "two")
    mark = stage.wait_pushed(lambda: stage.remove("one"))
    before = stage.nginx.worker_pids()
    with asking(stage) as seen:
        stage.nginx.reload()
        new_workers(stage, before)
        stage.run("three")
        stage.wait_answers("two", "three")
    assert {answer for answer, _ in seen} <= {"two", "three"}
    assert stage.reloads(since=mark) == 0


def test_an_nginx_that_is_restarted_is_followed_without_a_reload(stage: LiveDaemon) -> None:
    """It reads the file that is there: a reload at each start would prove nothing more."""
    stage.follow("one", "two")
    mark = stage.wait_pushed(lambda: stage.remove("one"))
    stage.nginx.stop()
    stage.nginx.start(within=20)
    stage.wait_answers("two")
    stage.run("three")
    stage.wait_answers("two", "three")
    assert stage.reloads(since=mark) == 0


def test_an_nginx_that_is_killed_and_started_without_lbwatch_serves_what_was_pushed_last(stage: LiveDaemon) -> None:
    """The file is the same truth in nginx's own words; and a socket of which nobody hears is in nobody's way."""
    stage.follow("one", "two")
    stage.wait_pushed(lambda: stage.run("three"))
    stage.wait_pushed(lambda: stage.remove("one"))
    stage.wait_file("two", "three")
    stage.lbwatch.kill9()
    assert stage.live_socket.exists()
    stage.nginx.kill9()
    stage.nginx.start(within=20)
    assert stage.nginx.answers("web") == {"two", "three"}


def test_an_old_file_that_others_have_put_in_force_is_mended(stage: LiveDaemon) -> None:
    """A restored backup, say: what the file says is not what was verified."""
    stage.follow("one")
    old = stage.nginx.output.read_text()
    stage.wait_pushed(lambda: stage.run("two"))
    stage.wait_pushed(lambda: stage.remove("one"))
    stage.nginx.output.write_text(old)
    before = stage.nginx.worker_pids()
    stage.nginx.reload()
    new_workers(stage, before)
    stage.wait_file("two", within=SOON_S)
    stage.wait_answers("two")


def test_an_older_file_of_another_shape_that_others_have_put_in_force_is_mended(stage: LiveDaemon) -> None:
    """Its workers cannot be told of all upstreams."""
    stage.follow("one")
    old = stage.nginx.output.read_text()
    mark = stage.lbwatch.mark()
    stage.run("other", upstream="more")
    stage.lbwatch.wait_for_log("nginx.reloaded", since=mark)
    stage.nginx.output.write_text(old)
    before = stage.nginx.worker_pids()
    stage.nginx.reload()
    new_workers(stage, before)
    stage.wait_answers("other", upstream="more")
    stage.wait_answers("one")
    stage.wait_file("one", "other")


def test_an_nginx_whose_main_file_lost_the_include_is_noticed(stage: LiveDaemon) -> None:
    """Nobody follows then: what is in force is not known, and lbwatch must not say that all is well."""
    stage.settings["status-listen"] = f"127.0.0.1:{(port := free_port())}"
    stage.follow("one")
    text, mark = stage.nginx.conf.read_text(), stage.lbwatch.mark()
    stage.nginx.conf.write_text(text.replace("include ", "# include "))
    before = stage.nginx.worker_pids()
    stage.nginx.reload()
    new_workers(stage, before)
    stage.lbwatch.wait_for_log("nginx.reloaded", since=mark)  # what can be tried
    stage.nginx.conf.write_text(text)
    stage.nginx.reload()
    stage.run("two")
    stage.wait_answers("one", "two", within=20)
    wait_until(lambda: ready(port), holds=lambda said: said[0] == 200, within=20, what="it is ready", notes=stage.notes)


def ready(port: int) -> tuple[int, str]:
    """Return what `/readyz` says."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(f"GET /readyz HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    return int(answer.split(" ")[1]), answer.partition("\r\n\r\n")[2]


# -- what happens to lbwatch


def wait_kept(stage: LiveDaemon) -> None:
    """Wait until it is kept for the next start what nginx has read: nothing but the next file is to be written then."""
    evidence = stage.folder / "state" / "verified.json"
    wait_until(
        lambda: evidence.exists() and evidence.stat().st_mtime_ns > stage.nginx.output.stat().st_mtime_ns,
        within=SOON_S,
        what="what was pushed is kept",
    )


def test_lbwatch_killed_and_started_loses_no_request_and_needs_no_reload(stage: LiveDaemon) -> None:
    """Its update is no event for clients; workers look for it, and it looks for them before it thinks of a reload."""
    stage.follow("one", "two")
    stage.wait_pushed(lambda: stage.run("three"))
    workers = stage.nginx.worker_pids()
    wait_kept(stage)
    with asking(stage) as seen:
        stage.lbwatch.kill9()
        stage.remove("one")
        mark = stage.again()
        stage.wait_answers("two", "three", within=30)
        stage.wait_pushed(lambda: stage.run("four"))
        stage.wait_answers("two", "three", "four")
    assert {answer for answer, _ in seen} <= {"one", "two", "three", "four"}
    assert stage.reloads(since=mark) == 0
    assert stage.nginx.worker_pids() == workers


def test_lbwatch_killed_between_push_and_file_makes_the_file_right_at_its_next_start(stage: LiveDaemon) -> None:
    """The one moment in which the file says less than the workers; a new start reads all anew."""
    stage.follow("one")
    stage.wait_pushed(lambda: stage.run("two"))
    stage.lbwatch.kill9()
    armed = stage.folder / "armed"
    stage.again(program=("-m", "tests.support.killed", "rename.before", "SIGKILL", str(armed)))
    stage.wait_pushed(lambda: stage.run("three"))
    stage.wait_file("one", "two", "three")
    wait_kept(stage)
    armed.touch()
    stage.remove("one")
    stage.lbwatch.process.wait(30)
    assert stage.nginx.answers("web") == {"two", "three"}
    stage.wait_file("one", "two", "three")
    stage.lbwatch._meant_to_run = False
    mark = stage.again()
    stage.wait_file("two", "three", within=30)
    stage.wait_answers("two", "three")
    assert stage.reloads(since=mark) == 0


def test_no_request_waits_for_an_lbwatch_that_hangs(stage: LiveDaemon) -> None:
    """Its socket takes connections as long as it hangs, and nobody answers there."""
    stage.follow("one", "two")
    with asking(stage) as seen:
        os.kill(stage.lbwatch.process.pid, signal.SIGSTOP)
        try:
            time.sleep(6)  # more than workers wait for an answer
        finally:
            os.kill(stage.lbwatch.process.pid, signal.SIGCONT)
        mark = stage.wait_pushed(lambda: stage.run("three"))
        stage.wait_answers("one", "two", "three")
    assert {answer for answer, _ in seen} <= {"one", "two", "three"}
    assert sorted(took for _, took in seen)[-len(seen) // 100] < 1
    assert stage.reloads(since=mark) == 0


def test_two_in_turns_with_different_truths_are_each_believed(stage: LiveDaemon) -> None:
    """Versions of one run mean nothing to the next."""
    stage.follow("one", "two")
    for taken, left in itertools.islice(itertools.cycle((("one", "two"), ("two", "one"))), 3):
        stage.lbwatch.terminate(within=10)
        stage.remove(left)
        stage.again()
        stage.wait_answers(taken, within=30)
        stage.wait_file(taken)
        stage.run(left)
        stage.wait_answers("one", "two")


def test_a_second_one_refuses_to_start_and_leaves_the_socket_alone(stage: LiveDaemon) -> None:
    """The workers of one nginx have one truth."""
    mark = stage.follow("one")
    second = stage.another()
    with second:
        second.log = stage.folder / "second.log"
        second.start()
        assert second.process.wait(30) == 2
        second._meant_to_run = False
    stage.wait_pushed(lambda: stage.run("two"))
    stage.wait_answers("one", "two")
    assert stage.reloads(since=mark) == 0


# -- who else connects


def test_a_peer_that_claims_everything_is_no_worker(stage: LiveDaemon) -> None:
    """Only a worker of our master's can say what nginx has in force."""
    stage.follow("one")
    hung = min(stage.nginx.worker_pids())
    with contextlib.ExitStack() as stack:
        peers = [Claimant(stage, worker) for worker in range(2)]
        for each in peers:
            stack.enter_context(each)
        os.kill(hung, signal.SIGSTOP)
        stack.callback(os.kill, hung, signal.SIGCONT)
        mark = stage.lbwatch.mark()
        stage.run("two")
        wait_until(
            lambda: all(each.versions for each in peers), within=SOON_S, what="the peers were told", notes=stage.notes
        )
        # A reload comes after 3 s although everybody who connects says that all is well.
        before = stage.nginx.worker_pids()
        wait_until(lambda: stage.nginx.worker_pids() - before, within=SOON_S, what="a reload", notes=stage.notes)
    stage.wait_answers("one", "two", within=30)
    stage.lbwatch.wait_for_log("nginx.reloaded", since=mark, within=30)


class Claimant:
    """A peer that takes all that it is told, and says that it has it, as one of two workers."""

    def __init__(self, stage: LiveDaemon, worker: int) -> None:
        self.versions: list[str] = []
        self._stage, self._worker = stage, worker
        self._socket = socket.socket(socket.AF_UNIX)
        self._thread = threading.Thread(target=self._claim)

    def __enter__(self) -> Self:
        self._socket.connect(str(self._stage.live_socket))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._socket.close()

    def _claim(self) -> None:
        shape, version = self._stage.shape(), "-"
        lines = self._socket.makefile("rb")
        with contextlib.suppress(OSError, IndexError):
            while True:
                self._socket.sendall(f"have 1 {shape} {self._worker} 2 {version} -\n".encode())
                words = lines.readline().decode().split()
                if words[0] == "set":
                    for _ in range(int(words[3])):
                        lines.readline()
                    if version != "-":
                        self.versions.append(words[1])
                    version = words[1]


def test_peers_that_talk_nonsense_or_too_much_hold_up_nothing(stage: LiveDaemon) -> None:
    """Every user of the machine may connect: that must cost nobody a change, nor lbwatch its descriptors."""
    stage.follow("one")
    with contextlib.ExitStack() as stack:
        said = (
            b"\0\xff" * 5000,
            b"have 1 ",
            b"have 1 zz 0 2 - -\n",
            b"x" * 600_000,
            b"have 1 abc 5 2 - -\n",
            b"\n" * 99,
        )
        shape = stage.shape()
        for words in itertools.islice(itertools.cycle(said), 2000):
            peer = stack.enter_context(connected(stage.live_socket))
            with contextlib.suppress(OSError):
                peer.send(words)
        for _ in range(3):  # which never read
            peer = stack.enter_context(connected(stage.live_socket))
            with contextlib.suppress(OSError):
                for _ in range(2000):
                    peer.send(f"have 1 {shape} 0 2 - -\n".encode())
        mark = stage.lbwatch.mark()
        for name in ("two", "three", "four"):
            stage.wait_pushed(lambda name=name: stage.run(name))
        stage.wait_answers("one", "two", "three", "four")
        times = [line["live_s"] for line in stage.lbwatch.logged("nginx.pushed", since=mark)]
        assert max(times) < 1, times
        assert stage.reloads(since=mark) == 0
    assert not [line for line in stage.lbwatch.lines() if line["level"] in ("error", "critical")]


# -- what users do


def test_the_user_s_broken_files_are_told_of_until_they_are_mended(stage: LiveDaemon) -> None:
    """Servers change all the same; but whoever restarts nginx then must know before that it would not start."""
    stage.settings["status-listen"] = f"127.0.0.1:{(port := free_port())}"
    stage.follow("one")
    good = stage.nginx.conf.read_text()
    stage.nginx.conf.write_text(good.replace("server {", "server { nonsense;", 1))
    stage.wait_pushed(lambda: stage.run("two"))
    stage.wait_answers("one", "two")
    stage.wait_file("one", "two")
    words = "nginx serves, but could not start now"
    code, said = wait_until(lambda: ready(port), holds=lambda said: words in said[1], within=SOON_S, what="it is told")
    assert (code, "nonsense" in said) == (503, True)
    code, printed, _ = stage.lbwatch.command("check")
    assert (code, "nonsense" in printed) == (1, True)
    stage.nginx.conf.write_text(good)
    wait_until(lambda: ready(port)[0], holds=lambda code: code == 200, within=60, what="ready", notes=stage.notes)
    errors = [
        line for line in stage.lbwatch.lines() if "nonsense" in str(line.get("error")) and line["level"] == "error"
    ]
    assert len(errors) == 1


def test_a_slow_request_stays_where_it_is_while_its_server_leaves(stage: LiveDaemon) -> None:
    """And no worker is left over for it: the one that has it serves on."""
    stage.follow("one")
    stage.servers["one"].deed = lambda _: Deed(after_s=1.5)
    workers = stage.nginx.worker_pids()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(stage.nginx.ask, "/web/")
        wait_until(lambda: stage.servers["one"].requests, within=SOON_S, what="the request is there")
        before = len(stage.servers["one"].requests)
        stage.wait_pushed(lambda: (stage.run("two"), stage.remove("one")))
        stage.wait_file("two")
        assert stage.nginx.answers("web") == {"two"}
        assert slow.result(20) == "one"
    assert before == len(stage.servers["one"].requests) or stage.nginx.answers("web") == {"two"}
    assert stage.nginx.worker_pids() == workers


def test_peers_that_come_and_go_leave_nothing(stage: LiveDaemon) -> None:
    """A worker that cannot read what it is told connects anew once a second, for weeks."""
    stage.follow("one")
    shape, descriptors = stage.shape(), Path(f"/proc/{stage.lbwatch.process.pid}/fd")

    def come_and_go(times: int) -> None:
        for _ in range(times):
            with connected(stage.live_socket) as peer:
                peer.settimeout(10)
                peer.sendall(f"have 1 {shape} 0 2 - -\n".encode())
                assert peer.recv(65536).startswith(b"set ")

    come_and_go(200)
    before, kib = len(list(descriptors.iterdir())), resident_kib(stage.lbwatch.process.pid)
    come_and_go(1000)
    wait_until(
        lambda: len(list(descriptors.iterdir())),
        holds=lambda now: now <= before + 2,
        within=SOON_S,
        what="they are gone",
    )
    assert resident_kib(stage.lbwatch.process.pid) < kib + 2048


def resident_kib(pid: int) -> int:
    """Return how much memory a process has."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1])


def test_an_lbwatch_that_may_open_few_files_serves_on_whoever_connects(stage: LiveDaemon) -> None:
    """Descriptors are for the engine and the output first: every user of the machine may connect to this socket."""
    stage.follow("one")
    resource.prlimit(stage.lbwatch.process.pid, resource.RLIMIT_NOFILE, (256, 256))
    with contextlib.ExitStack() as stack:
        shape = stage.shape()
        for _ in range(400):
            peer = stack.enter_context(connected(stage.live_socket))
            with contextlib.suppress(OSError):
                peer.send(f"have 1 {shape} 0 2 - -\n".encode())
        stage.wait_pushed(lambda: stage.run("two"))
        stage.wait_answers("one", "two")
        stage.wait_file("one", "two")
    assert not stage.lbwatch.logged("output.failed")
