"""
Whatever happens in whatever order, and whatever fails, the file comes to say what the engine does, and nginx runs it.

A state machine over the fake engine and the whole daemon but for its nginx, in simulated time; each example draws which
engine it is. What must be written is worked out by the oracle, from what inspect answers. `CONVERGENCE_SEED` repeats a
run, `CONVERGENCE_STEPS` makes it longer, and with `CONVERGENCE_KIND` all of it is on one engine, such as `podman-5`.
"""

import asyncio
import contextlib
import errno
import itertools
import logging
import os
import random
import shutil
import tempfile
from collections.abc import Collection, Coroutine, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from oracle import Blocks, Reach, expected_blocks
from simulation import SimulatedLoop, SimulatedNginx, blocks_of
from usersettings import settings_with

from lbwatch import daemon as lbwatch_daemon
from lbwatch.balancers.nginx import leftovers
from lbwatch.balancers.nginx.verify import VERIFY_TIMEOUT_S
from lbwatch.balancers.template import shipped_templates
from lbwatch.core.errors import OutputError, StateError
from lbwatch.engines.fake import FakeEngine
from lbwatch.engines.fake.faults import Fault, respond_with, stall, truncate
from lbwatch.engines.fake.kinds import KINDS, Kind
from lbwatch.engines.fake.state import Container, RefusedError
from lbwatch.system import files
from lbwatch.tasks import run_until
from lbwatch.wiring.daemon import Daemon, build_daemon

SEED = int(os.environ["CONVERGENCE_SEED"])  # conftest chooses and prints one
STEPS = int(os.environ.get("CONVERGENCE_STEPS") or 1200)
STEPS_EACH = 50
# A shorter run that fails as well is worth minutes at one's desk, and none of CI's.
_SHRINKS = os.environ.get("CONVERGENCE_SHRINK", "no" if os.environ.get("CI") else "yes") != "no"
KINDS_DRAWN = [os.environ["CONVERGENCE_KIND"]] if os.environ.get("CONVERGENCE_KIND") else [*KINDS]

RESYNC_S = 30.0
SOON_S = 3.0
DRAIN_S = 20.0  # less than a resync: a drain that was never heard of is over by then
DAMPED_S = 61.0  # longer than any container that stays up is left out

MAX_TRIED = 4096  # ways to be right, where some may be left out or not

NETWORKS = ("front", "back")
UPSTREAMS = ("api", "web", "Web", "shop")
HOST_ELSEWHERE = Reach(host_shared=False)
HOLD = "1s"  # and a reload's turn later, a name that lived on for that is gone: less than SOON_S

STRANGER = "upstream stranger { server 192.0.2.1:80; }\n"
BROKEN = "{{ upstreams | no_such_filter }}"

LABELS = st.sampled_from(
    [
        {},
        {"lbwatch.enable": "true"},
        {"lbwatch.upstream": "web"},
        {"lbwatch.upstream": "Web", "lbwatch.weight": "5"},
        {"lbwatch.upstream": "api", "lbwatch.port": "8080"},
        {"lbwatch.upstream": "shop", "lbwatch.network": "back"},
        {"lbwatch.upstream": "api", "lbwatch.port": "none"},
        {"lbwatch.upstream": "web; }", "lbwatch.port": "80"},
        {"lbwatch.enable": "false", "lbwatch.upstream": "web"},
        {"lbwatch.upstream": "web", "lbwatch.hold": HOLD},
        {"lbwatch.upstream": "shop", "lbwatch.hold": HOLD},
        {"lbwatch.upstream": "shop", "lbwatch.hold": "0s"},
    ]
)
LISTS, LOOKS, STREAM, PING = "GET /containers/json", "GET /containers/ID/json", "GET /events", "GET /_ping"


in_a_storm = precondition(lambda self: self.stormy)
"""For what goes wrong: half of the runs are without it, since there the promise is the shorter one."""


class Anything(RuleBasedStateMachine):
    """Random deeds and faults; `settle` heals all and compares."""

    total = 0  # steps, of all runs
    soon = 0  # checks that all was in step 3 s after a change

    def __init__(self) -> None:
        super().__init__()
        self.loop = SimulatedLoop()
        self.folder = Path(tempfile.mkdtemp(prefix="lbw-sim-"))
        (self.folder / "conf.d").mkdir()
        self.output = self.folder / "conf.d" / "lbwatch.conf"
        self.template = self.folder / "template.j2"
        self.good_template = (shipped_templates() / "nginx" / "upstreams.conf.j2").read_text()
        self.template.write_text(self.good_template)
        self.nginx = SimulatedNginx(self.output)
        self.clock_skew_s = 0.0
        self.set_back_at = -RESYNC_S - SOON_S  # loop time
        self.over = asyncio.Event()  # what hangs in a fault goes on
        self.stormy = False  # whether anything may go wrong in this run
        self.clean = True  # nothing went wrong since all was in step
        self.drift = 0  # as it was then
        self.crashed: dict[str, list[float]] = {}  # when the engine restarted whom
        self.failed: dict[str, list[float]] = {}  # when whose health check failed that had passed
        self.told: dict[str, tuple[int, float]] = {}  # to stop: by the engine's clock, and the loop's
        self.by_hand: set[str] = set()  # who is drained so
        self.paused: set[str] = set()  # which upstreams are
        self.reach = HOST_ELSEWHERE
        self.kept = True  # whether the disk could take that
        self.steady: dict[str, tuple[str, str]] = {}  # whose server line must stay, whatever fails
        self.disk_full = False
        self._replace, files.replace = files.replace, self._replace_if_there_is_room
        self.daemon: asyncio.Task[None] | None = None

    @initialize(kind=st.sampled_from(KINDS_DRAWN), stormy=st.booleans(), holds=st.booleans())
    def begin(self, kind: str, stormy: bool, holds: bool) -> None:
        self.stormy = stormy
        self.reach = replace(HOST_ELSEWHERE, holds=holds)
        self.kind: Kind = KINDS[kind]
        self.engine = FakeEngine(
            socket=self.folder / "s", kind=self.kind, clock_ns=self._clock_ns, monotonic=self.loop.time
        )
        self.do(self._start_all())
        self.wait(1.0)

    async def _start_all(self) -> None:
        await self.engine.start()
        for network in NETWORKS:
            self.engine.networks.create(network)
        self.nginx.start()
        await self._start_daemon()

    def teardown(self) -> None:
        try:
            if self.daemon is not None:
                self._settle()
        finally:
            files.replace = self._replace
            if self.daemon is not None:
                self.do(self._stop_daemon())
                self.do(self.engine.close())
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()
            shutil.rmtree(self.folder)

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def wait(self, seconds: float) -> None:
        self.do(asyncio.sleep(seconds))

    def _clock_ns(self) -> int:
        return int((1_800_000_000 + self.loop.time() + self.clock_skew_s) * 1e9)

    # -- the daemon

    async def _start_daemon(self) -> None:
        wanted = settings_with(
            docker_host=self.engine.url,
            template=str(self.template),
            output=self.output,
            host_network="false",
            resync_interval=RESYNC_S,
            drain_timeout=DRAIN_S,
            state_dir=self.folder / "state",
        )
        began: asyncio.Future[Daemon] = self.loop.create_future()

        async def live() -> None:
            async with build_daemon(
                wanted, tester=self.nginx, control=self.nginx, hold_refusal=self._hold_refusal
            ) as daemon:
                began.set_result(daemon)
                await run_until(daemon, until=asyncio.Event().wait())

        self.daemon = asyncio.ensure_future(live())
        self.built = await began

    def _hold_refusal(self) -> str | None:
        return None if self.reach.holds else "it cannot have requests wait"

    async def _stop_daemon(self) -> None:
        assert self.daemon is not None
        assert not self.daemon.done(), self.daemon.exception()
        self.daemon.cancel()
        await asyncio.wait([self.daemon])

    # -- deeds

    def deed(self, name: str, *args: Any, **options: Any) -> Any:
        async def act() -> Any:
            with contextlib.suppress(RefusedError):
                part = self.engine.networks if name in ("connect", "disconnect") else self.engine.containers
                return getattr(part, name)(*args, **options)

        return self.do(act())

    def some(self, number: int, *, touch: bool = True) -> Container | None:
        """Choose a container; the one that is touched, and all that share its network, need not stay any more."""
        everyone = sorted(self.engine.containers, key=lambda each: each.created_ns)
        if not everyone:
            return None
        chosen = everyone[number % len(everyone)]
        if touch:
            self.steady.pop(chosen.id, None)
        return chosen

    @rule(
        labels=LABELS,
        networks=st.sampled_from([("bridge",), ("front",), ("back",), ("back", "front"), ("bridge", "back")]),
        restart=st.sampled_from(["no", "no", "always", "unless-stopped", "on-failure"]),
        health=st.sampled_from([None, None, "starting", "healthy", "unhealthy"]),
        exposed=st.sampled_from([("80/tcp",), ("80/tcp",), ("80/tcp", "443/tcp"), ()]),
    )
    def run(self, **options: Any) -> None:
        self.deed("run", **options)

    @rule(number=st.integers(0, 50))
    def run_on_the_network_of_another(self, number: int) -> None:
        if (owner := self.some(number, touch=False)) is not None and not owner.mode.startswith("container:"):
            labels = {"lbwatch.upstream": "api", "lbwatch.port": str(9000 + number)}
            self.deed("run", labels=labels, network_mode=f"container:{owner.id}")

    @rule(labels=LABELS)
    def run_on_the_hosts_network(self, labels: dict[str, str]) -> None:
        self.deed("run", labels=labels, network_mode="host")

    @rule(
        number=st.integers(0, 50),
        name=st.sampled_from(
            ["stop", "start", "restart", "kill", "pause", "unpause", "send_stop_signal", "exec_probe"]
        ),
    )
    def handle(self, number: int, name: str) -> None:
        if (chosen := self.some(number)) is not None:
            if name == "restart" or (name == "start" and not chosen.running):  # a start of what runs does nothing
                self.crashed.pop(chosen.id, None)
            if name == "send_stop_signal" and chosen.running and self.kind.events.tells_stop_signal:
                self._note_told(chosen)
            self.deed(name, chosen.id)
            self._forget_former_lives()

    def _note_told(self, chosen: Container) -> None:
        """Of a clock that was set back since the start all that counts is the order of what happened."""
        now_ns = self._clock_ns()
        if self.told.get(chosen.id, (0, 0.0))[0] != now_ns:
            set_back = now_ns < chosen.started_ns - 5 * 10**9
            self.told[chosen.id] = chosen.started_ns + 1 if set_back else now_ns, self.loop.time()

    def _forget_former_lives(self) -> None:
        """A signal older than the start says nothing, and whoever is down will begin anew."""
        alive = {each.id: each for each in self.engine.containers if each.running}
        self.told = {id: at for id, at in self.told.items() if id in alive and at[0] > alive[id].started_ns}

    @precondition(lambda self: self.clean)
    @rule(signal=st.sampled_from(["own", "own", "SIGHUP", "SIGUSR1"]), stop_signal=st.sampled_from([None, "SIGQUIT"]))
    def signal_one_that_lives_on(self, signal: str, stop_signal: str | None) -> None:
        """
        Beside another one it leaves for as long as a drain lasts, if it was told to stop, and not for longer.

        Podman tells nothing of a stop until it is over, and of `kill` not which signal it was: any may be the last.
        """
        ids = [self.deed("run", labels={"lbwatch.upstream": "api"}, stop_signal=stop_signal) for _ in range(2)]
        self.wait(SOON_S)
        if signal == "own":
            self.deed("send_stop_signal", ids[0])
        else:
            self.deed("kill", ids[0], signal)
        if self.kind.events.tells_stop_signal if signal == "own" else not self.kind.events.names_signal:
            self._note_told(self.engine.containers.find(ids[0]))
        self.wait(SOON_S)
        self._compare()
        self.wait(DRAIN_S)
        self._compare()

    @rule(number=st.integers(0, 50), undo=st.booleans())
    def drain_by_hand(self, number: int, undo: bool) -> None:
        if (chosen := self.some(number)) is None:
            return
        state = self.built.state
        (self.by_hand.discard if undo else self.by_hand.add)(chosen.id)
        changed = not undo or chosen.id in state.drained
        try:
            state.undrain(chosen.id) if undo else state.drain(chosen.id, chosen.name)
            self.kept |= changed
        except StateError:
            self.kept = False
        self.built.reconciler.wake()

    @rule(name=st.sampled_from(["web", "shop"]), undo=st.booleans())
    def pause_by_hand(self, name: str, undo: bool) -> None:
        """Who serves is the same, and the name is there until it is undone."""
        state = self.built.state
        (self.paused.discard if undo else self.paused.add)(name)
        changed = not undo or name in state.paused
        try:
            state.resume(name) if undo else state.pause(name)
            self.kept |= changed
        except StateError:
            self.kept = False
        self.built.reconciler.wake()

    @precondition(lambda self: self.clean)
    @rule()
    def drain_and_remove_the_only_one(self) -> None:
        """Where requests wait nobody serves then, and the name outlives the last container for that long alone."""
        id = self.deed("run", labels={"lbwatch.upstream": "alone", "lbwatch.hold": HOLD})
        self.wait(SOON_S)
        self.by_hand.add(id)
        self.built.state.drain(id, self.engine.containers.find(id).name)
        self.built.reconciler.wake()
        self.wait(SOON_S)
        self._compare()
        self.deed("remove", id, force=True)
        self.wait(SOON_S)
        self._compare()

    @rule(number=st.integers(0, 50), code=st.sampled_from([0, 1, 137]), times=st.sampled_from([1, 1, 1, 3]))
    def crash(self, number: int, code: int, times: int) -> None:
        if (chosen := self.some(number)) is None:
            return
        for _ in range(times):
            before = chosen.restarts
            if chosen.running:
                self.deed("die", chosen.id, code)
            if chosen.restarts > before:
                self.crashed.setdefault(chosen.id, []).append(self.loop.time())

    @precondition(lambda self: self.clean)
    @rule(labels=st.sampled_from([{"lbwatch.upstream": "web"}, {"lbwatch.upstream": "api", "lbwatch.port": "8080"}]))
    def crash_in_a_loop(self, labels: dict[str, str]) -> None:
        """Three restarts within a minute take it out for 5 s, and for no longer."""
        if self._drains_end_within(15.0):
            return
        id = self.deed("run", labels=labels, restart="always")
        self.wait(SOON_S)
        began = self.loop.time()
        for _ in range(3):
            self.deed("die", id)
        self.wait(2.0)  # in 5 s it may be back
        self._compare(crash_looping={self.engine.containers.find(id).name})
        self.wait(SOON_S + SOON_S)
        self._compare()
        self.crashed[id] = [began] * 3  # one more crash, and it is out for longer

    @precondition(lambda self: self.clean)
    @rule(seconds=st.sampled_from([0.0, 0.5]))
    def restart_the_engine_alone(self, seconds: float) -> None:
        """Nobody stops, and who was healthy serves on, whatever the engine has forgotten of the check."""
        chosen = self.engine.containers.find(self.deed("run", labels={"lbwatch.upstream": "api"}, health="healthy"))
        self.wait(SOON_S)
        self.do(self.engine.go_down("live"))
        self.wait(seconds)
        self.do(self.engine.come_back())
        self.wait(SOON_S)
        there = {line.split()[1] for _, block in self._file() for line in block}
        assert f"{self._address(chosen)}:80" in there, f"{self.kind.name}: {chosen.name} is out"
        self._have_all_probed()
        self.wait(SOON_S)
        self._compare()

    @rule(number=st.integers(0, 50), force=st.booleans())
    def remove(self, number: int, force: bool) -> None:
        if (chosen := self.some(number)) is not None:
            self.deed("remove", chosen.id, force=force)

    @rule(number=st.integers(0, 50), status=st.sampled_from(["healthy", "unhealthy"]))
    def find_health(self, number: int, status: str) -> None:
        if (chosen := self.some(number)) is not None:
            before = chosen.health
            self.deed("set_health", chosen.id, status)
            if (before, chosen.health) == ("healthy", "unhealthy"):
                self.failed.setdefault(chosen.id, []).append(self.loop.time())

    @rule(number=st.integers(0, 50), name=st.sampled_from(["connect", "disconnect"]), network=st.sampled_from(NETWORKS))
    def move(self, number: int, name: str, network: str) -> None:
        if (chosen := self.some(number)) is not None:
            self.deed(name, chosen.id, network)

    @rule(number=st.integers(0, 50), name=st.sampled_from(["web", "other", "x1", "x2"]))
    def rename(self, number: int, name: str) -> None:
        if (chosen := self.some(number)) is not None:
            self.deed("rename", chosen.id, name)

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.2, 1.0, 7.0, 40.0]))
    def pass_time(self, seconds: float) -> None:
        self.wait(seconds)

    @rule(seconds=st.sampled_from([-7200.0, -1.0, 3600.0]))
    def set_the_clock(self, seconds: float) -> None:
        """The engine's; ours is looked at by nothing but the log (see `test_time`)."""
        running = [each for each in self.engine.containers if each.running]
        if any(each.mode.startswith("container:") for each in running):
            return  # who started first is told by the engine's clock alone: see docs/facts.md, stream 16
        if seconds > 0 and self.loop.time() - self.set_back_at < RESYNC_S + SOON_S:
            return  # back and forth between two lists: what was made meanwhile looks like another engine's
        if seconds < 0:
            self.set_back_at = self.loop.time()
        self.wait(0.1 + self.kind.events.polled_s)
        self.clock_skew_s += seconds

    # -- what goes wrong with the engine

    @in_a_storm
    @rule(how=st.sampled_from(["lost", "doubled", "late", "mixed"]))
    def spoil_events(self, how: str) -> None:
        self.clean = False
        deliveries: dict[str, Sequence[float]] = {"lost": (), "doubled": (0.0, 0.0), "late": (2.0,)}
        dice = random.Random(SEED)
        choices = [*deliveries.values(), (0.0,), (0.3, 0.0)]
        self.engine.events.delivery = lambda event: deliveries[how] if how in deliveries else dice.choice(choices)

    @in_a_storm
    @rule(
        on=st.sets(st.sampled_from([LISTS, LOOKS, STREAM, PING]), min_size=1),
        how=st.sampled_from(["500", "html", "null", "[", "{}", "empty list?", "cut", "silent", "header only"]),
    )
    def spoil_answers(self, on: set[str], how: str) -> None:
        self.clean = False
        faults: dict[str, Fault] = {
            "500": respond_with('{"message": "server is sick"}', status=500),
            "html": respond_with("<html>hello</html>", content_type="text/html"),
            "null": respond_with("null"),
            "[": respond_with("["),
            "{}": respond_with("{}"),
            "empty list?": respond_with("[]", status=503),
            "cut": truncate(after_bytes=40),
            "silent": stall(self.over),
            "header only": stall(self.over, header=True),
        }
        self.engine.fault = lambda request: faults[how] if request in on else None

    @rule(seconds=st.sampled_from([0.0, 0.06, 10.0]))
    def let_lists_lag(self, seconds: float) -> None:
        """No fault: the promise is made for engines whose lists lag."""
        self.engine.replica.lag_s = seconds

    @in_a_storm
    @rule()
    def cut_the_stream(self) -> None:
        self.clean = False
        self.engine.cut_streams()

    @in_a_storm
    @rule(containers=st.sampled_from(["live", "end"]), seconds=st.sampled_from([0.0, 0.5, 20.0]))
    def restart_the_engine(self, containers: Any, seconds: float) -> None:
        self.clean = False
        if containers == "end":
            self.steady.clear()
        self.do(self.engine.go_down(containers))
        self.wait(seconds)
        self.do(self.engine.come_back())

    # -- what goes wrong with nginx, the file and the daemon

    @in_a_storm
    @rule(name=st.sampled_from(["web", "api", "shop"]), weights=st.booleans(), silent=st.booleans())
    def refuse(self, name: str, weights: bool, silent: bool) -> None:
        self.nginx.silent = silent
        (self.nginx.refused_weights if weights else self.nginx.refused).add(name)
        self.clean = False
        self.steady = {id: line for id, line in self.steady.items() if line[0] != name}

    @in_a_storm
    @rule()
    def stop_nginx(self) -> None:
        self.clean = False
        self.nginx.stop()

    @in_a_storm
    @rule(old=st.booleans())
    def start_nginx(self, old: bool) -> None:
        self.clean = False
        if old:  # it read the file before something changed, and nobody told it since
            self.nginx.stop()
        if self.nginx.start() and old:
            self.nginx.runs = STRANGER

    @in_a_storm
    @rule()
    def take_reloads_back(self) -> None:
        self.clean = False
        self.nginx.takes_back = True

    @in_a_storm
    @rule(times=st.integers(1, 2))
    def lose_signals(self, times: int) -> None:
        self.clean = False
        self.nginx.lost = times

    @in_a_storm
    @rule()
    def break_the_template(self) -> None:
        self.clean = False
        self.template.write_text(BROKEN)
        self.do(self._hang_up())

    @in_a_storm
    @rule(how=st.sampled_from(["other text", "no file", "other folder"]))
    def meddle_with_the_file(self, how: str) -> None:
        self.clean = False
        self.steady.clear()
        if how == "other text":
            self.output.write_text(STRANGER)
        elif how == "no file":
            self.output.unlink(missing_ok=True)
        else:
            shutil.rmtree(self.output.parent)
            self.output.parent.mkdir()

    @in_a_storm
    @rule()
    def fill_the_disk(self) -> None:
        self.clean = False
        self.disk_full = True

    def _replace_if_there_is_room(self, path: Path, *, text: str) -> None:
        if self.disk_full:
            raise OutputError(path, error=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        self._replace(path, text=text)

    @in_a_storm
    @rule()
    def restart_the_daemon(self) -> None:
        self.clean = False
        self.template.write_text(self.good_template)
        # What an engine has forgotten since its own restart only the daemon of before knows.
        self._leave_alone_no_more(each.id for each in self.engine.containers if each.health_forgotten)
        self.do(self._stop_daemon())
        self.do(self._start_daemon())
        if self.kept:
            assert self.built.state.drained.keys() == self.by_hand
            assert self.built.state.paused == self.paused
        self.by_hand, self.paused = set(self.built.state.drained), set(self.built.state.paused)

    def _leave_alone_no_more(self, ids: Iterable[str]) -> None:
        for id in ids:
            self.steady.pop(id, None)

    async def _hang_up(self) -> None:
        await lbwatch_daemon._reload(self.built)

    # -- what must hold

    @invariant()
    def the_file_is_whole_and_nginx_takes_it(self) -> None:
        Anything.total += 1
        text = self.output.read_text() if self.output.exists() else ""
        assert text in self.nginx.accepted | {STRANGER}, text
        assert self.nginx.runs is None or self.nginx.runs in self.nginx.accepted | {STRANGER}
        assert [path.name for path in self.output.parent.glob("*.conf")] in ([], [self.output.name])

    @invariant()
    def what_was_left_alone_stays(self) -> None:
        """Each failure of a read would be somebody's outage otherwise."""
        lines = {(name, line.partition(" weight")[0]) for name, block in self._file() for line in block}
        for id, line in self.steady.items():
            assert line in lines, (line, self.engine.containers.find(id))

    @precondition(lambda self: self.clean)
    @rule()
    def be_in_step_soon(self) -> None:
        """The engine is well and nginx is there: 3 s, however stale the lists."""
        Anything.soon += 1
        self.wait(SOON_S)
        self._compare()
        drift = sum(each.drift for each in self.built.source.statuses())
        assert drift == self.drift, f"{self.kind.name}: a resync found what an event should have told"

    @rule(dice=st.integers(0, 5))
    def settle(self, dice: int) -> None:
        if dice == 0:
            self._settle()

    def _settle(self) -> None:
        """Heal everything; one resync and 3 s later all must be in step, and what a pass takes that just began."""
        self.engine.events.delivery = self.engine.fault = None
        self.over.set()
        self.over = asyncio.Event()
        self.nginx.refused.clear()
        self.nginx.refused_weights.clear()
        self.nginx.takes_back, self.nginx.lost = False, 0
        self.disk_full = False
        if self.nginx.runs is None:
            assert self.nginx.start(), "nginx cannot start from the file"
        if self.template.read_text() != self.good_template:
            self.template.write_text(self.good_template)
            self.do(self._hang_up())
        self._have_all_probed()
        self.wait(VERIFY_TIMEOUT_S + RESYNC_S + SOON_S)
        self._compare()
        reloads = len(self.nginx.reloads)
        self.wait(DAMPED_S)
        if not self._loopers() and not self._flappers():
            assert len(self.nginx.reloads) == reloads, "a reload although nothing changed"
        self.crashed.clear()
        self.failed.clear()
        self._compare()
        self.clean, self.drift = True, sum(each.drift for each in self.built.source.statuses())
        self._note_the_steady()

    def _have_all_probed(self) -> None:
        """Whatever an engine forgot of a health check, the next probe finds it again."""
        for each in self.engine.containers:
            if each.health_forgotten:
                self.deed("set_health", each.id, each.health)

    def _loopers(self) -> set[str]:
        """Who may be left out now: three restarts within a minute, not long ago."""
        return {id for id, times in self.crashed.items() if _three_within_a_minute(times)}

    def _flappers(self) -> set[str]:
        """Who may count as unhealthy now: three failures of the check within a minute, likewise."""
        return {id for id, times in self.failed.items() if _three_within_a_minute(times)}

    def _left_out(self, found: Blocks) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
        """
        Return which may be suspended, and which may count as unhealthy, the likeliest first.

        Those that the file lacks are: of thirty that may be, nobody can try all of their subsets.
        """
        there = {line.split()[1].rpartition(":")[0] for _, block in found for line in block}
        loopers = self._names_of(self._loopers())
        absent = tuple(
            each.name for each in self.engine.containers if each.name in loopers and self._address(each) not in there
        )
        for flapping in _subsets(self._names_of(self._flappers())):
            yield absent, flapping
        for flapping in _subsets(self._names_of(self._flappers())):
            yield from ((suspended, flapping) for suspended in _subsets(loopers))

    def _names_of(self, ids: Collection[str]) -> list[str]:
        return [each.name for each in self.engine.containers if each.id in ids]

    def _compare(self, *, crash_looping: Collection[str] = ()) -> None:
        assert self.daemon is not None
        assert not self.daemon.done(), self.daemon.exception()
        while self._drains_end_within(0.0):
            self.wait(SOON_S)
        everyone = [self.engine.inspected(each) for each in self.engine.containers]
        found, first = self._file(), None
        for suspended, flapping in itertools.islice(self._left_out(found), MAX_TRIED):
            out = {*crash_looping, *suspended}
            wanted = expected_blocks(
                everyone,
                reach=self.reach,
                crash_looping=out,
                flapping=flapping,
                draining=self._draining(),
                paused=self.paused,
            )
            if found == wanted:
                break
            first = first or wanted
        else:
            raise AssertionError(f"{self.kind.name}: the file has {found}, the engine's containers want {first}")
        assert self.nginx.runs is not None
        # A name without a server may have left the file since nginx read it, and nothing else.
        text = self.output.read_text()
        assert self.nginx.runs == text or leftovers.are_all(self.nginx.runs, text), "nginx does not run the file"

    def _draining(self) -> set[str]:
        now = self.loop.time()
        told = {id for id, (_, at) in self.told.items() if now - at < DRAIN_S}
        return {each.name for each in self.engine.containers if each.id in told | self.by_hand}

    def _drains_end_within(self, seconds: float) -> bool:
        """Whether some are back then, or were told so moments ago: nobody can say whether they are in the file."""
        now = self.loop.time()
        return any(DRAIN_S - seconds - 0.1 < now - at < DRAIN_S + SOON_S for _, at in self.told.values())

    def _file(self) -> Blocks:
        """Fast, and only as right as the simulated nginx: the real one's tests read by crossplane."""
        text = self.output.read_text() if self.output.exists() else ""
        return [
            (name, [line.strip() for line in body.split(";") if line.strip()]) for name, body in blocks_of(text).items()
        ]

    def _note_the_steady(self) -> None:
        self.steady = {}
        addresses = {
            line.split()[1].rpartition(":")[0]: (name, line.partition(" weight")[0])
            for name, block in self._file()
            for line in block
        }
        for each in self.engine.containers:
            ready = each.running and not each.paused and each.health in ("", "healthy") and each.endpoints
            ready = ready and each.id not in self.by_hand
            if ready and not self._shared(each) and (line := addresses.get(self._address(each))) is not None:
                self.steady[each.id] = line

    def _shared(self, chosen: Container) -> bool:
        return any(each.mode == f"container:{chosen.id}" for each in self.engine.containers)

    def _address(self, chosen: Container) -> str:
        owner = chosen.mode.removeprefix("container:")
        with contextlib.suppress(RefusedError):
            chosen = self.engine.containers.find(owner) if chosen.mode.startswith("container:") else chosen
        default = self.kind.answers.default_network
        by_name = {default if name == "bridge" else name: end for name, end in chosen.endpoints.items()}
        return next((end.ipv4 for _, end in sorted(by_name.items()) if end.ipv4), "nowhere")


def _three_within_a_minute(times: Sequence[float]) -> bool:
    return any(later - sooner < 60.0 for sooner, later in zip(times, times[2:], strict=False))


def _subsets(names: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Of those that may be left out now, any may be."""
    chosen = sorted(names)
    return itertools.chain.from_iterable(itertools.combinations(chosen, size) for size in range(len(chosen) + 1))


@pytest.fixture
def _quiet() -> Iterator[None]:
    """Thousands of warnings about what the machine breaks on purpose."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


@pytest.mark.timeout(0)
@pytest.mark.usefixtures("_quiet")
def test_everything_converges_whatever_happens_and_whatever_fails() -> None:
    """The promise that all others serve."""
    Anything.total = Anything.soon = 0
    run_state_machine_as_test(
        seed(SEED)(Anything),
        settings=settings(
            max_examples=STEPS // STEPS_EACH * 3 // 2,  # some runs end early: the longest share seen was a quarter
            stateful_step_count=STEPS_EACH,
            deadline=None,
            print_blob=True,
            database=None,
            phases=(Phase.generate, Phase.shrink) if _SHRINKS else (Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert Anything.total >= STEPS, f"only {Anything.total} steps"
    assert Anything.soon >= STEPS / 500, f"only {Anything.soon} checks without a fault"
