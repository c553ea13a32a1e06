"""
`make bench-deploy`: what deploys cost the clients, on a real engine and a real nginx with the shipped configuration.

Each scenario runs under a steady load of GET and POST for SECONDS, once with lbwatch as it is and once with draining and
health switched off (`--drain-timeout 0s`, `lbwatch.health=ignore`): containers then come when they start and go when they
die, as with other tools. Nothing is sent twice by the client; what nginx sends twice is the configuration's business.

Each request has a connection of its own; with `--kept` clients keep theirs, and each scenario runs with `live = on` too,
where nginx is not reloaded.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import versions
from deployload import (
    Load,
    Outcome,
    Span,
    Websockets,
    outcome_of,
    run_app,
    shipped_stage,
    wait_healthy,
    wait_serving,
)
from realengine import RealEngine
from rich.console import Console
from rich.table import Table

RATE = 240.0
SLOW_RATE = 2.0
WORK_S = 0.02
GRACE_S = 10


@dataclass(kw_only=True)
class Deploy:
    """
    What a deploy script does to containers.

    Attributes:
        out: Where a container that dies at once leaves when that was.
        other_way: Whether draining and health are switched off.
        replaced: How many of 4 are replaced.
        quiet_s: See tests/support/deployapp.py.
        killed: Between when and when containers died at once.
    """

    engine: RealEngine
    out: Path
    other_way: bool
    replaced: int = 4
    quiet_s: float = 0.0
    killed: dict[str, Span] = field(default_factory=dict)

    def run(self, *names: str, **environment: object) -> None:
        """Start containers and wait until the engine calls them healthy."""
        labels = {"lbwatch.health": "ignore"} if self.other_way else {}
        for name in names:
            run_app(
                self.engine,
                name,
                out=self.out,
                labels=labels,
                WORK_S=WORK_S,
                QUIET_S=self.quiet_s,
                **environment,
            )
        wait_healthy(self.engine, *names)

    def stop(self, *names: str) -> None:
        """Stop containers, all at once, and remove them."""
        with ThreadPoolExecutor(len(names)) as pool:
            list(pool.map(lambda name: self.engine.docker("stop", "--time", str(GRACE_S), name), names))
        for name in names:
            note = self.out / f"{name}.died"
            if note.exists():
                # It notes that it is about to die; how long that takes is the machine's.
                whole, _, fraction = self.engine.inspect(name)["State"]["FinishedAt"].removesuffix("Z").partition(".")
                finished_at = datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}")
                self.killed[name] = (float(note.read_text()), finished_at)
        self.engine.remove(*names)

    def crash(self, name: str) -> None:
        """Kill its first process from the host, behind the engine's back."""
        began = time.time()
        self.engine.kill_from_outside(name)
        self.killed[name] = (began, time.time())

    def tell(self, name: str, path: str) -> None:
        """Ask a container itself, not through nginx."""
        address = self.engine.inspect(name)["NetworkSettings"]["IPAddress"]
        request = f"import urllib.request as u; u.urlopen(u.Request('http://{address}{path}', method='POST')).read()"
        assert self.engine.popen(["python3", "-c", request]).wait(10) == 0


def rolling(deploy: Deploy) -> None:
    for number in range(1, deploy.replaced + 1):
        deploy.run(f"new{number}", READY_S=3)
        deploy.stop(f"app{number}")


def rolling_abrupt(deploy: Deploy) -> None:
    for number in range(1, deploy.replaced + 1):
        deploy.run(f"new{number}", ON_TERM="die")
        deploy.stop(f"app{number}")


def scale(deploy: Deploy) -> None:
    more = [f"more{number}" for number in range(1, 7)]
    deploy.run(*more)
    time.sleep(2)  # as it is used for a while
    deploy.stop(*more)


def restart_each(deploy: Deploy) -> None:
    for number in range(1, 5):
        deploy.engine.docker("restart", "--time", str(GRACE_S), f"app{number}")
        wait_healthy(deploy.engine, f"app{number}")


def stop_with_grace(deploy: Deploy) -> None:
    deploy.stop("app1")
    deploy.run("new1")
    deploy.stop("app2")


def crash(deploy: Deploy) -> None:
    deploy.crash("app1")


def sicken(deploy: Deploy) -> None:
    deploy.tell("app1", "/sicken")
    time.sleep(8)  # as long as it takes someone to mend it
    deploy.tell("app1", "/cure")


@dataclass(frozen=True, kw_only=True)
class Scenario:
    title: str
    act: Callable[[Deploy], None]
    apps: int = 4
    environment: tuple[tuple[str, object], ...] = ()
    slow: bool = False  # whether requests of 5 s run beside the others


SCENARIOS = (
    Scenario(title="rolling replacement of 4, one by one; each needs 3 s to become healthy", act=rolling),
    Scenario(
        title="the same, but the program dies at once on TERM", act=rolling_abrupt, environment=(("ON_TERM", "die"),)
    ),
    Scenario(title="scale 2 to 8 to 2", act=scale, apps=2),
    Scenario(title="restart each of 4", act=restart_each),
    Scenario(title="stop with 10 s of grace, requests of 5 s inside", act=stop_with_grace, slow=True),
    Scenario(title="crash of 1 in 4 (kill -9 from the host)", act=crash),
    Scenario(title="1 in 4 turns unhealthy, fails 2 s later, is mended", act=sicken),
)


def measured(
    scenario: Scenario,
    engine: RealEngine,
    *,
    seconds: float,
    other_way: bool,
    replaced: int = 4,
    quiet_s: float = 0.0,
    keeps: bool = False,
    live: str = "off",
) -> Outcome:
    """
    Run one scenario under load.

    Args:
        keeps: Whether clients keep their connections.
        live: The setting.
        quiet_s: How long the programs must be without a request before they end. As a benchmark programs end half a
            second after TERM, however late nginx is; a busy machine may be later than that.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lbw-", dir="/tmp")))
        stack.callback(engine.clear)
        drain = {"drain_timeout": "0s"} if other_way else {}
        stage = stack.enter_context(shipped_stage(engine, folder, live=live, **drain))
        deploy = Deploy(engine=engine, out=folder, other_way=other_way, replaced=replaced, quiet_s=quiet_s)
        names = [f"app{number}" for number in range(1, scenario.apps + 1)]
        deploy.run(*names, **dict(scenario.environment))
        wait_serving(stage, *names)
        before = len(stage.lbwatch.logged("nginx.reloaded"))
        loads = [
            Load(stage.nginx.socket, RATE, keeps=keeps),
            *([Load(stage.nginx.socket, SLOW_RATE, path="/slow", keeps=keeps)] if scenario.slow else []),
        ]
        under_load(lambda: scenario.act(deploy), loads=loads, seconds=seconds)
        outcome = outcome_of([request for each in loads for request in each.done], killed=deploy.killed)
        outcome.closed = sum(each.closed for each in loads)
        outcome.notes = stage.notes()
        outcome.reloads = len(stage.lbwatch.logged("nginx.reloaded")) - before
        assert outcome.requests >= 200 * seconds, f"only {outcome.requests} requests in {seconds} s"
        return outcome


def under_load(act: Callable[[], None], *, loads: Sequence[Load], seconds: float) -> None:
    """Do something while loads run, for so long and until it is done."""

    async def load() -> None:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + seconds
        acting: asyncio.Future[None] = loop.create_future()
        running = [each.run(until=lambda: acting.done() and loop.time() > ends_at) for each in loads]
        gathered = asyncio.gather(*running)
        await asyncio.sleep(1)  # the load is there when it begins
        deeds = loop.run_in_executor(None, act)
        deeds.add_done_callback(lambda _: acting.set_result(None))
        await gathered
        await deeds

    asyncio.run(load())


SHUTDOWN_S = 10


def websockets_through_a_reload(engine: RealEngine) -> str:
    """Say how long websockets live on when their workers are retired."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lbw-", dir="/tmp")))
        stack.callback(engine.clear)
        stage = stack.enter_context(shipped_stage(engine, folder, worker_shutdown_timeout=f"{SHUTDOWN_S}s"))
        run_app(engine, "app1", out=folder, health=False)
        wait_serving(stage, "app1")

        async def live() -> str:
            loop = asyncio.get_running_loop()
            sockets = Websockets(stage.nginx.socket, number=50)
            await sockets.open()
            await loop.run_in_executor(None, lambda: run_app(engine, "app2", out=folder, health=False))
            await loop.run_in_executor(None, lambda: wait_serving(stage, "app1", "app2"))
            reloaded_at = loop.time()
            echoing = await sockets.echoing()
            await sockets.wait_closed(within=SHUTDOWN_S + 10)
            first, last = min(sockets.closed_at) - reloaded_at, max(sockets.closed_at) - reloaded_at
            return f"{echoing} of 50 answer after the reload, closed after {first:.1f} to {last:.1f} s"

        return f"websockets, worker_shutdown_timeout {SHUTDOWN_S} s: {asyncio.run(live())}"


def words(outcome: Outcome) -> str:
    kinds = ", ".join(f"{count} x {kind}" for kind, count in outcome.kinds.most_common())
    return kinds or "none"


@dataclass(frozen=True, kw_only=True)
class Way:
    title: str
    other_way: bool = False
    live: str = "off"


WAYS = (Way(title="lbwatch"), Way(title="without drain and health", other_way=True))
KEPT_WAYS = (WAYS[0], Way(title="lbwatch, live = on", live="on"), WAYS[1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--only", help="the scenarios whose title has this in it")
    parser.add_argument("--kept", action="store_true", help="clients keep their connections; with live = on, too")
    options = parser.parse_args()
    for program in ("dockerd", "nginx") if options.kept else ():
        versions.use(program)  # the nginx must be one whose Lua module can be had
    console = Console(width=200)
    connections = "on kept connections" if options.kept else "each on a connection of its own"
    table = Table(title=f"{RATE:g} requests/s of GET and POST, {connections}, {options.seconds:g} s each")
    for column in (
        "scenario",
        "",
        "requests",
        "failures",
        "by kind",
        "inside the killed",
        "slowest",
        "reloads",
        "closed",
    ):
        table.add_column(column)
    with RealEngine() as engine:
        engine.start()
        for scenario in SCENARIOS:
            if options.only and options.only not in scenario.title:
                continue
            for way in KEPT_WAYS if options.kept else WAYS:
                outcome = measured(
                    scenario,
                    engine,
                    seconds=options.seconds,
                    other_way=way.other_way,
                    keeps=options.kept,
                    live=way.live,
                )
                row = (
                    scenario.title if way is WAYS[0] else "",
                    way.title,
                    str(outcome.requests),
                    str(outcome.failures),
                    words(outcome),
                    str(outcome.inside),
                    f"{outcome.slowest_s * 1000:.0f} ms",
                    str(outcome.reloads),
                    str(outcome.closed) if options.kept else "",
                )
                console.print(" | ".join(row), highlight=False)
                table.add_row(*row)
        if not options.kept:
            console.print(websockets_through_a_reload(engine), highlight=False)
    console.print(table)


if __name__ == "__main__":
    main()
