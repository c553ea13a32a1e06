"""
Measures anew what differs most between engines of docs/facts.md (the stream's 4, 5, 7, 13, 15, 24 and both tables).

As root: `PYTHONPATH=tests/support python tests/bench/facts.py 26.1`, with some names of `ALL` for those alone. Nothing
here knows lbwatch, and nothing is judged: whoever adds an engine compares the lines with the document.
"""

import argparse
import contextlib
import http.client
import itertools
import json
import os
import signal
import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

from daemon import wait_until
from realengine import IMAGE, RealEngine, UnixConnection
from versions import ENGINES, engine_programs

QUIET_S = 0.7
"""After so long without another event those of an operation are all there; `start` comes up to 0.6 s after `connect`."""

NAME, OTHER = "first", "second"
NETWORKS = ("one", "two")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """An event as its listener got it: the monotonic clock's time, and its type (but for containers') and action."""

    at: float
    word: str
    signal: str | None


class Listener:
    """Another listener to the engine's events, in a thread; subscribed as soon as it is made. `close` it last."""

    def __init__(self, engine: RealEngine) -> None:
        self.heard: list[Heard] = []
        self.ended_at: float | None = None
        self._act: tuple[str, Callable[[], None]] | None = None
        self._connection = UnixConnection(engine.socket, timeout=600)
        self._connection.request("GET", "/events")
        self._response = self._connection.getresponse()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        engine.create("subscribed")  # the header proves nothing (facts, stream 3)
        wait_until(lambda: self.heard, within=10, what="the subscription")
        engine.remove("subscribed")
        self.quiet()

    def _listen(self) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            while line := self._response.readline():
                at, event = time.monotonic(), json.loads(line)
                word = event["Action"] if event["Type"] == "container" else f"{event['Type']} {event['Action']}"
                if self._act is not None and self._act[0] == word:
                    act, self._act = self._act[1], None
                    act()
                self.heard.append(Heard(at=at, word=word, signal=event["Actor"]["Attributes"].get("signal")))
        self.ended_at = time.monotonic()

    def quiet(self, since: int | None = None) -> list[Heard]:
        """Return what was heard since there were so many, or since now, once there is nothing more for a while."""
        since, until = len(self.heard) if since is None else since, time.monotonic() + QUIET_S
        while time.monotonic() < until:
            if self.heard[since:]:
                until = max(until, self.heard[-1].at + QUIET_S)
            time.sleep(0.02)
        return self.heard[since:]

    def at_next(self, word: str, act: Callable[[], None]) -> None:
        """Have something done once, in the listener's own thread, as soon as such an event is there."""
        self._act = (word, act)

    def close(self) -> None:
        """Stop listening."""
        with contextlib.suppress(OSError):
            self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._connection.close()


# -- the world before a try, and what is done in it

Act = Callable[[RealEngine], object]


def docker(*words: str) -> Act:
    """Return what has the command line do something."""
    return lambda engine: engine.docker(*words)


def running(*options: str, then: Act | None = None, deaf: bool = False) -> Act:
    """Return what leaves one container there, with options, to which something was done."""

    def act(engine: RealEngine) -> None:
        nobody(engine)
        engine.run(NAME, *options, deaf=deaf)
        if then is not None:
            then(engine)

    return act


def nobody(engine: RealEngine) -> None:
    engine.remove(NAME, OTHER)


def crash(engine: RealEngine) -> None:
    engine.kill_from_outside(NAME)


STOP, START, RESTART, PAUSE, UNPAUSE = (docker(word, NAME) for word in ("stop", "start", "restart", "pause", "unpause"))
CONNECT, DISCONNECT = (docker("network", word, NETWORKS[1], NAME) for word in ("connect", "disconnect"))
ON_ONE = ("--network", NETWORKS[0])
SHARE = docker("run", "-d", "--name", OTHER, "--network", f"container:{NAME}", IMAGE, "busybox", "sleep", "100")

OPERATIONS: dict[str, tuple[Act, Act]] = {
    "run -d": (nobody, lambda engine: engine.run(NAME)),
    "stop": (running(), STOP),
    "stop of a deaf one": (running(deaf=True), docker("stop", "-t", "1", NAME)),
    "restart": (running(), RESTART),
    "rm -f": (running(), docker("rm", "-f", NAME)),
    "kill -9 outside": (running(), crash),
    "kill -9 outside, always": (running("--restart", "always"), crash),
    "pause": (running(), PAUSE),
    "unpause": (running(then=PAUSE), UNPAUSE),
    "rename": (running(), docker("rename", NAME, OTHER)),
    "update": (running(), docker("update", "--restart", "always", NAME)),
    "live connect": (running(*ON_ONE), CONNECT),
    "live disconnect": (running(*ON_ONE, then=CONNECT), DISCONNECT),
    "stop, two networks": (running(*ON_ONE, then=CONNECT), STOP),
    "connect of a stopped one": (running(*ON_ONE, then=STOP), CONNECT),
    "disconnect of a stopped one": (running(*ON_ONE, then=STOP), docker("network", "disconnect", NETWORKS[0], NAME)),
    "kill of --network container:": (running(then=SHARE), docker("kill", OTHER)),
}


def is_up(entry: dict[str, Any]) -> bool:
    return bool(entry["State"] == "running")


def is_down(entry: dict[str, Any]) -> bool:
    return not is_up(entry)


def is_paused(entry: dict[str, Any]) -> bool:
    return bool(entry["State"] == "paused")


def on_second(entry: dict[str, Any]) -> bool:
    return bool(entry["NetworkSettings"]["Networks"].get(NETWORKS[1], {}).get("IPAddress"))


def not_on_second(entry: dict[str, Any]) -> bool:
    return NETWORKS[1] not in entry["NetworkSettings"]["Networks"]


LOOKS: tuple[tuple[str, str, Act, Act, Callable[[dict[str, Any]], bool]], ...] = (
    ("stop", "die", running(), STOP, is_down),
    ("stop", "network disconnect", running(), STOP, is_down),
    ("stop", "stop", running(), STOP, is_down),
    ("crash", "die", running(), crash, is_down),
    ("crash", "network disconnect", running(), crash, is_down),
    ("start", "network connect", running(then=STOP), START, is_up),
    ("start", "start", running(then=STOP), START, is_up),
    ("live connect", "network connect", running(*ON_ONE), CONNECT, on_second),
    ("live disconnect", "network disconnect", running(*ON_ONE, then=CONNECT), DISCONNECT, not_on_second),
    ("pause", "pause", running(), PAUSE, is_paused),
    ("unpause", "unpause", running(then=PAUSE), UNPAUSE, is_up),
)
"""What is done, the event at which it is looked, the world before, the act, and whether an entry of a list shows it."""


# -- what is measured


def orders(engine: RealEngine, tries: int) -> Iterator[str]:
    """The order of events, with how long each came after the one before, the first after the act began."""
    listener = Listener(engine)
    for what, (before, act) in OPERATIONS.items():
        seen: Counter[str] = Counter()
        gaps: dict[str, list[float]] = {}
        for _ in range(tries):
            before(engine)
            listener.quiet()
            mark, last = len(listener.heard), time.monotonic()
            act(engine)
            heard = listener.quiet(mark)
            words = [_short(each) for each in heard]
            seen[", ".join(words) or "none"] += 1
            for word, each in zip(words, heard, strict=True):
                gaps.setdefault(word, []).append(each.at - last)
                last = each.at
        told = "; ".join(f"{count} of {tries}: {words}" for words, count in seen.most_common())
        yield f"{what}: {told} ({', '.join(f'{word} {_ms(each)}' for word, each in gaps.items())})"
    nobody(engine)
    listener.close()


def lists(engine: RealEngine, tries: int) -> Iterator[str]:
    """Whether LIST, INSPECT, or LIST after INSPECT show what an event told, asked for as soon as it is there."""
    listener, asked = Listener(engine), _kept(engine)

    def entry() -> dict[str, Any]:
        filters = quote(json.dumps({"name": [f"^/{NAME}$"]}))
        return dict(asked.call("GET", f"/containers/json?all=1&filters={filters}")[1][0])

    def inspected() -> dict[str, Any]:
        answer = dict(asked.call("GET", f"/containers/{NAME}/json")[1])
        return answer | {"State": answer["State"]["Status"]}

    def entry_after_inspect() -> dict[str, Any]:
        inspected()
        return entry()

    looks = {"LIST": entry, "INSPECT": inspected, "INSPECT, LIST": entry_after_inspect}
    for (what, word, before, act, shows), (kind, look) in itertools.product(LOOKS, looks.items()):
        stale: list[float] = []
        took: list[float] = []
        for number in range(tries):
            before(engine)
            listener.quiet()
            listener.at_next(word, partial(_ask, look, shows, stale=stale, took=took))
            act(engine)
            wait_until(lambda took=took, number=number: len(took) > number, within=30, what=f"{word} of {what}")
        yield f"{what}, {kind} at {word}: stale {len(stale)} of {tries} (for {_ms(stale)}), answered within {_ms(took)}"
    nobody(engine)
    asked.close()
    listener.close()


def _ask(
    look: Callable[[], dict[str, Any]],
    shows: Callable[[dict[str, Any]], bool],
    *,
    stale: list[float],
    took: list[float],
) -> None:
    """Look once, and if that shows nothing of it until something does; the last thing noted is how long a look took."""
    began = time.monotonic()
    fresh, first = shows(look()), time.monotonic() - began
    if not fresh:
        while not shows(look()) and time.monotonic() - began < 5:
            pass
        stale.append(time.monotonic() - began)
    took.append(first)


def restarts(engine: RealEngine, tries: int) -> Iterator[str]:
    """Of which life an INSPECT tells that is asked at the end of the first one of a `docker restart`."""
    listener, asked = Listener(engine), _kept(engine)
    for word in ("network disconnect", "die"):
        told: list[tuple[str, float]] = []
        for number in range(tries):
            running()(engine)
            first = engine.inspect(NAME)["State"]["StartedAt"]
            listener.quiet()

            def look(first: str = first, told: list[tuple[str, float]] = told) -> None:
                began = time.monotonic()
                state = asked.call("GET", f"/containers/{NAME}/json")[1]["State"]
                life = "first" if state["StartedAt"] == first else "second"
                told.append((f"{state['Status']}, {life} life", time.monotonic() - began))

            listener.at_next(word, look)
            RESTART(engine)
            wait_until(lambda told=told, number=number: len(told) > number, within=20, what=word)
        yield f"INSPECT at {word}: {dict(Counter(text for text, _ in told))} within {_ms(took for _, took in told)}"
    nobody(engine)
    asked.close()
    listener.close()


def versions(engine: RealEngine, tries: int) -> Iterator[str]:
    """Versions of the API, and what is answered below and above them; what a stream of events is called."""
    connection = _kept(engine)

    def asked(path: str, **headers: str) -> tuple[http.client.HTTPResponse, str]:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response, response.read().decode(errors="replace").strip()

    version = engine.api("GET", "/version")[1]
    yield f"{version['Version']}: API {asked('/_ping')[0].headers['Api-Version']}, at least {version['MinAPIVersion']}"
    for number in ("1.11", "1.12", "1.23", "1.24", "1.39", "1.40", "1.43", "1.44", "1.99"):
        response, body = asked(f"/v{number}/containers/json")
        refused = f"{response.headers['Content-Type']} {body[:90]}" if response.status != 200 else ""
        yield f"v{number}: {response.status} {refused}"
    for kind in ("application/json", "application/jsonl", "application/json-seq"):
        response, body = asked(f"/events?since=1&until={time.time():.9f}", Accept=kind)
        yield f"accepting {kind}: {response.headers['Content-Type']}, begins {body[:1]!r}"
    connection.close()


def ends(engine: RealEngine, tries: int) -> Iterator[str]:
    """An engine is told to stop: three containers end at once, two when they are killed."""
    names = [f"end{number}" for number in range(5)]
    for _ in range(tries):
        for number, name in enumerate(names):
            engine.run(name, deaf=number > 2)
        listener = Listener(engine)
        idle, late, busy = (_kept(engine) for _ in range(3))
        with ThreadPoolExecutor(3) as pool:
            mark, began = len(listener.heard), time.monotonic()
            os.kill(engine.pid, signal.SIGTERM)
            closed, answered = pool.submit(_when_closed, idle), pool.submit(_last_answer, busy)
            refused = wait_until(lambda: not _connects(engine) and time.monotonic(), within=10, what="it is refused")
            time.sleep(0.3)  # what is asked now meets an engine that is at it
            answer = _status(late, f"/containers/{names[-1]}/json")
            wait_until(lambda listener=listener: listener.ended_at is not None, within=60, what="the stream ends")
            number_of_answers, last_at = answered.result(60)
            times = {"no new connection": refused, "an idle one closed": closed.result(60)}
        heard = listener.heard[mark:]
        times |= {
            f"the last of {number_of_answers} lists on a busy one": last_at,
            f"the last of {dict(Counter(map(_short, heard)))}": heard[-1].at,
            "the stream's end": listener.ended_at or 0.0,
        }
        told = ", ".join(f"{what} {1000 * (at - began):.0f} ms" for what, at in times.items())
        yield f"after TERM {told}; an inspect on an idle one 0.3 s later: {answer}"
        for each in (idle, late, busy):
            each.close()
        engine.terminate()  # it has ended, or does now
        engine.start()
        engine.remove(*names)


def returns(engine: RealEngine, tries: int) -> Iterator[str]:
    """When a killed engine takes connections again, and when it answers."""
    for _ in range(tries):
        engine.kill9()
        began = time.monotonic()
        engine.launch()
        connects = wait_until(lambda: _connects(engine) and time.monotonic(), within=60, what="it takes connections")
        engine.wait_ready()
        yield f"connect after {connects - began:.2f} s, first answer {time.monotonic() - began:.2f} s"


# -- how


def _kept(engine: RealEngine) -> UnixConnection:
    """Return a connection that is open."""
    connection = UnixConnection(engine.socket, timeout=60)
    connection.call("GET", "/_ping")
    return connection


def _connects(engine: RealEngine) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(engine.socket))
        return True
    return False


def _when_closed(connection: UnixConnection) -> float:
    """Wait until the other end closes a connection on which nothing is asked."""
    with contextlib.suppress(OSError):
        connection.sock.recv(1)
    return time.monotonic()


def _last_answer(connection: UnixConnection) -> tuple[int, float]:
    """Ask for lists on one connection until it is closed; return how many there were, and when the last came."""
    answers, last, same = 0, time.monotonic(), connection.sock
    with contextlib.suppress(OSError, http.client.HTTPException):
        while True:
            connection.call("GET", "/containers/json?all=1")
            if connection.sock is not same:  # by itself it would open another one
                break
            answers, last = answers + 1, time.monotonic()
            time.sleep(0.002)
    return answers, last


def _status(connection: UnixConnection, path: str) -> str:
    try:
        return str(connection.call("GET", path)[0])
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__


def _short(heard: Heard) -> str:
    word = heard.word.removeprefix("network ")
    return f"{word} {heard.signal}" if word == "kill" and heard.signal else word


def _ms(seconds: Iterable[float]) -> str:
    each = sorted(1000 * second for second in seconds)
    return f"{statistics.median(each):.0f} ms, {each[0]:.0f}-{each[-1]:.0f}" if each else "-"


ALL: dict[str, Callable[[RealEngine, int], Iterator[str]]] = {
    each.__name__: each for each in (versions, orders, lists, restarts, ends, returns)
}


def main() -> None:
    """Print all that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", choices=[*ENGINES, "machine"])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ALL)}; by default all (10 min)")
    parser.add_argument("--tries", type=int, default=5, help="by default 5")
    given = parser.parse_args()
    with RealEngine(programs=engine_programs(given.version)) as engine:
        engine.start()
        for network in NETWORKS:
            engine.docker("network", "create", network)
        for name in given.names or ALL:
            for line in ALL[name](engine, given.tries):
                print(f"{given.version} {name}: {line}", flush=True)


if __name__ == "__main__":
    main()
