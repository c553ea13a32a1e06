"""
Answers that are cut, wrong, late or never come: lbwatch before a fault proxy before a real engine, and a real nginx.

One engine, one nginx, one proxy and mostly one lbwatch live through all of it, one fault after the other. While nothing
can be known the file is not touched; while something can, no server that runs is ever taken out of it and nothing gets
in that never ran; and all is in step soon after a fault is over.
"""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from daemon import Stage, wait_until
from faultproxy import (
    Broken,
    Elsewhere,
    Fault,
    FaultProxy,
    Injected,
    Lagging,
    after_chunk,
)
from needs import ENGINE_NEEDS, NGINX_NEEDS, need
from oracle import expected_blocks, file_blocks
from realengine import RealEngine
from realnginx import RealNginx
from streamfaults import (
    BRACKET,
    CUT_TEXT,
    ERROR_500,
    EVENTS,
    EVERYTHING,
    HANGING,
    HTML,
    INSPECT,
    LATE,
    LIST,
    NEVER,
    NULL,
    PING,
    QUICK,
    SILENT,
    STREAM_FAULTS,
)
from watcher import API, RENEW, WEB, Watcher, unchanged, watched

CLOCK_REALTIME_COARSE = 5  # of linux/time.h; Python has no name for it

RESYNC_S = 1.0
HEALED_S = RESYNC_S + 3.0
"""From the end of a fault until all is in step: no back-off lasts longer than 2 s, a look and a reload no second."""

LIST_S, INSPECT_S, STREAM_S, PING_S = 10.0, 3.0, 10.0, 5.0
"""How long a request that hangs goes on doing so after the healing: lbwatch's own time limits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """
    A fault and what it means for lbwatch.

    Attributes:
        blind: Whether it must hide the truth; if not, lbwatch may find it or not.
        again: How often it must strike after the change in the world.
        hangs_s: How long lbwatch's request may go on hanging after the healing, since the proxy does not abort it;
            0: it does, and what hangs is cut.
    """

    fault: Fault
    on: str
    blind: bool = False
    again: int = 0
    hangs_s: float = 0.0


def _cases() -> Iterator[tuple[str, Case]]:
    for name, fault in QUICK.items():
        yield f"list: {name}", Case(fault=fault, on=LIST, blind=True, again=1)
    for name in ("cut between two chunks", "cut in the JSON text", "reset", "500", "a page", "null", "an empty object"):
        yield f"inspect: {name}", Case(fault=QUICK[name], on=INSPECT, again=6)  # more than the two in MAX_BLIND_LOOKS
    for name in ("500", "a page", "empty"):
        yield f"everything: {name}", Case(fault=QUICK[name], on=EVERYTHING, blind=True, again=1)
    for name, fault in HANGING.items():
        hangs = name == "never comes"
        yield f"list: {name}", Case(fault=fault, on=LIST, blind=True, hangs_s=LIST_S * hangs)
        if name != "comes after 11 s":  # for lbwatch, which gives up after 3 s, that is never
            yield f"inspect: {name}", Case(fault=fault, on=INSPECT, again=1 + hangs, hangs_s=INSPECT_S * hangs)
        if name != "stalls":  # a ping's answer is shorter than that
            yield f"everything: {name}", Case(fault=fault, on=EVERYTHING, blind=True)


CASES = dict(_cases())


@dataclass(slots=True, kw_only=True)
class Ground:
    """What all tests here share: an engine, a proxy before it, lbwatch behind the proxy, and nginx."""

    engine: RealEngine
    proxy: FaultProxy
    stage: Stage
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def settle(self) -> str:
        """Have three containers, no fault, and all in step; gives the name of the one that may go."""
        self.proxy.heal(abort=True)
        there = {each["Names"][0].removeprefix("/") for each in self.engine.api("GET", "/containers/json?all=1")[1]}
        for name, labels in (("stays", WEB), ("lonely", API)):
            if name not in there:
                self.engine.run(name, labels=labels)
        goes, *surplus = sorted(there - {"stays", "lonely"}) or [self.new()]
        self.engine.remove(*surplus)
        if not self.stage.lbwatch.runs:
            self.stage.lbwatch.start()
        self.wait_in_step(goes)
        return goes

    def new(self) -> str:
        """Start one more server of `web`."""
        name = f"web{next(self.numbers)}"
        self.engine.run(name, labels=WEB)
        return name

    def wait_in_step(self, *others: str, within: float = HEALED_S) -> None:
        """Wait until `web` is served by the one that stays and these, and everything is in step."""
        self.stage.wait_in_step({"web": {"stays", *others}, "api": {"lonely"}}, within=within)

    def wait_struck(self, injected: Injected, strikes: int) -> None:
        """Wait until a fault really struck so often; the slowest have to wait for a request that hangs."""
        wait_until(
            lambda: injected.strikes >= strikes,
            within=15,
            what=f"{strikes} strikes of {injected}",
            notes=self.stage.notes,
        )

    def wait_listed(self) -> None:
        """Wait for one more of the engine's own lists."""
        answered = self.proxy.answered(on="/containers/json")
        wait_until(lambda: self.proxy.answered(on="/containers/json") > answered, within=HEALED_S, what="another list")


@pytest.fixture(scope="module")
def the_ground(real_engine: RealEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """See `Ground`; lbwatch is not started, and must obey at the end."""
    need(*ENGINE_NEEDS, *NGINX_NEEDS)
    folder = tmp_path_factory.mktemp("proxy")
    with FaultProxy(real_engine.socket, real_engine.folder / "proxy.sock") as proxy:
        settings = {"docker-host": proxy.url, "resync-interval": f"{RESYNC_S}s"}
        stage = Stage(real_engine, RealNginx(folder / "nginx", real_engine.name), folder=folder, settings=settings)
        try:
            stage.nginx.start()
            yield Ground(engine=real_engine, proxy=proxy, stage=stage)
            stage.lbwatch.terminate()
        finally:
            stage.close()
            real_engine.clear()


@pytest.fixture
def ground(the_ground: Ground) -> Ground:
    """The ground, settled by each test itself, and an lbwatch that did not end by itself in the test before."""
    assert not the_ground.stage.lbwatch.died(), the_ground.stage.notes()
    return the_ground


class History:
    """
    What the file held and what was true, over time; at the end (see `history`) the two are compared.

    Args:
        folder: For files of its own.
    """

    def __init__(self, engine: RealEngine, watcher: Watcher, *, folder: Path) -> None:
        self.watcher = watcher
        self._engine = engine
        self._copy = folder / "sight.conf"
        self._notes: list[tuple[int, set[str]]] = []
        self.note()

    def note(self) -> None:
        """Note what runs now; to be called before and after each change."""
        blocks = expected_blocks(self._engine.inspect_all())
        now_ns = time.clock_gettime_ns(CLOCK_REALTIME_COARSE)  # the one that files are stamped by, some ms behind
        self._notes.append((now_ns, {f"{name} {line}" for name, lines in blocks for line in lines}))

    def remove(self, name: str) -> None:
        """Remove a container."""
        self.note()
        self._engine.remove(name)
        self.note()

    def check(self) -> None:
        """Nothing was lost while it ran, and nothing was there that never ran."""
        (_, before), *_ = self._notes
        ever = set().union(*(servers for _, servers in self._notes))
        for sight in self.watcher.sights:
            assert sight is not None, "the file was away"
            content, _, changed_ns = sight
            self._copy.write_bytes(content)
            servers = {f"{name} {line}" for name, lines in file_blocks(self._copy) for line in lines}
            assert servers <= ever, f"never ran: {servers - ever}"
            lost = (before - servers) & self._ran_at(changed_ns)
            assert not lost, f"taken out although they ran: {lost}"
            before = servers

    def _ran_at(self, moment_ns: int) -> set[str]:
        """What the notes before and after a moment both have; later than all of them, what the last has."""
        earlier = [servers for when, servers in self._notes if when <= moment_ns][-1:]
        later = [servers for when, servers in self._notes if when > moment_ns][:1]
        return set.intersection(*earlier, *later)


@contextmanager
def history(ground: Ground, *, folder: Path) -> Iterator[History]:
    """See `History`."""
    with watched(ground.stage.output) as watcher:
        made = History(ground.engine, watcher, folder=folder)
        yield made
    made.check()


# -- while lbwatch runs


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_an_answer_that_failed_never_takes_out_what_runs(ground: Ground, case: Case, tmp_path: Path) -> None:
    """Whatever part of an answer comes and however wrong it is, only what the engine really said may count."""
    goes = ground.settle()
    with history(ground, folder=tmp_path) as past:
        struck = ground.proxy.inject(case.fault, on=case.on)
        if case.on == LIST:
            ground.proxy.inject(SILENT, on=EVENTS)  # else events alone would do
        if case.blind:
            ground.proxy.drop(on=EVENTS)
        ground.wait_struck(struck, 1)
        comes = ground.new()
        past.remove(goes)
        mark = ground.stage.lbwatch.mark()
        ground.wait_struck(struck, struck.strikes + case.again)
        if case.blind and case.again:
            ground.stage.lbwatch.wait_for_log("source.list_failed", since=mark)
        if case.blind:
            assert len(past.watcher.sights) == 1, f"touched while nothing could be known: {past.watcher.sights}"
        ground.proxy.heal(abort=not case.hangs_s)
        ground.wait_in_step(comes, within=HEALED_S + case.hangs_s)


@pytest.mark.parametrize(("on", "fault"), STREAM_FAULTS.values(), ids=STREAM_FAULTS)
def test_a_broken_stream_costs_no_more_than_the_wait_for_a_list(
    ground: Ground, on: str, fault: Fault, tmp_path: Path
) -> None:
    """Events only wake: what they should have told is found by the next full look, while the fault still lasts."""
    goes = ground.settle()
    with history(ground, folder=tmp_path) as past:
        struck = ground.proxy.inject(fault, on=on)
        ground.proxy.drop(on=EVENTS)
        comes = ground.new()
        ground.wait_struck(struck, 1)
        past.remove(goes)
        ground.wait_in_step(comes)
        mark = ground.stage.lbwatch.mark()
        ground.proxy.heal(abort=fault is not NEVER)
        hangs_s = {EVENTS: STREAM_S, PING: PING_S}[on] if fault is NEVER else 0.0
        ground.stage.lbwatch.wait_for_log("source.connected", since=mark, within=HEALED_S + hangs_s)
        past.remove(comes)
        ground.stage.lbwatch.wait_for_log("event.handled", since=mark, action="destroy")
        ground.wait_in_step()


@pytest.mark.parametrize("fault", [ERROR_500, Lagging()], ids=["500", "as it was"])
def test_a_list_that_fails_or_lags_holds_no_event_back(ground: Ground, fault: Fault, tmp_path: Path) -> None:
    """A list from an engine's slow replica denies what an event has just told: inspect decides, not the list."""
    goes = ground.settle()
    ground.wait_listed()
    with history(ground, folder=tmp_path) as past:
        struck = ground.proxy.inject(fault, on=LIST)
        comes = ground.new()
        past.remove(goes)
        ground.wait_in_step(comes)
        ground.wait_struck(struck, struck.strikes + 1)
        ground.wait_in_step(comes, within=0)
        ground.proxy.heal()
        ground.wait_listed()
        ground.wait_in_step(comes)


def test_a_list_that_lags_behind_a_silent_stream_delays_and_no_more(ground: Ground, tmp_path: Path) -> None:
    """Without events only lists tell of a new container: late, but nothing else is harmed."""
    lag_s = 2.0
    goes = ground.settle()
    with history(ground, folder=tmp_path) as past:
        struck = ground.proxy.inject(Lagging(seconds=lag_s), on=LIST)
        silenced = ground.proxy.inject(SILENT, on=EVENTS)
        ground.proxy.drop(on=EVENTS)
        ground.wait_struck(silenced, 1)
        comes = ground.new()
        past.remove(goes)
        ground.wait_struck(struck, struck.strikes + 1)
        ground.wait_in_step(comes, within=HEALED_S + lag_s)
        ground.proxy.heal(abort=True)
        ground.wait_in_step(comes)


def test_an_inspect_that_tells_of_another_container_is_not_believed(ground: Ground) -> None:
    """A proxy or an engine that mixes answers up would put one container's address into another's upstream."""
    goes = ground.settle()
    stays, lonely = ground.engine.inspect("stays")["Id"], ground.engine.inspect("lonely")["Id"]
    with unchanged(ground.stage.output):
        struck = ground.proxy.inject(Elsewhere(path=f"/containers/{lonely}/json"), on=f"/containers/{stays}/json$")
        ground.wait_struck(struck, 4)
    ground.proxy.heal()
    ground.wait_in_step(goes)


def test_an_honest_empty_list_empties_the_file(ground: Ground) -> None:
    """Caution with failed answers must not end in a file that keeps what everyone removed."""
    ground.settle()
    ground.proxy.inject(SILENT, on=EVENTS)
    ground.proxy.drop(on=EVENTS)
    ground.engine.clear()
    ground.stage.wait_in_step({"web": (), "api": ()}, within=HEALED_S)
    assert file_blocks(ground.stage.output) == []
    ground.proxy.heal(abort=True)


# -- while lbwatch starts

START_CASES = {
    "list: null": Case(fault=NULL, on=LIST, again=4),
    "list: an open bracket": Case(fault=BRACKET, on=LIST, again=4),
    "list: cut in the JSON text": Case(fault=CUT_TEXT, on=LIST, again=4),
    "list: cut between two chunks": Case(fault=Broken(at=after_chunk(0)), on=LIST, again=4),
    "inspect: 500": Case(fault=ERROR_500, on=INSPECT, again=20),
    "inspect: an empty object": Case(fault=QUICK["an empty object"], on=INSPECT, again=20),
    "everything: a page": Case(fault=HTML, on=EVERYTHING, again=4),
    "everything: never comes": Case(fault=NEVER, on=EVERYTHING, again=2),
    "everything: comes after 11 s": Case(fault=LATE, on=EVERYTHING, again=2),
}


@pytest.mark.parametrize("case", START_CASES.values(), ids=START_CASES)
def test_a_failed_answer_at_the_start_leaves_the_old_file(ground: Ground, case: Case) -> None:
    """A new lbwatch knows nothing yet: what its predecessor wrote serves until the whole truth is known."""
    goes = ground.settle()
    ground.stage.lbwatch.terminate()
    ground.stage.output.write_text(RENEW)
    struck = ground.proxy.inject(case.fault, on=case.on)
    with unchanged(ground.stage.output):
        ground.stage.lbwatch.start()
        ground.wait_struck(struck, case.again)
    ground.proxy.heal(abort=True)
    ground.wait_in_step(goes)
