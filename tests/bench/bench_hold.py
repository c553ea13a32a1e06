"""
`make bench-hold`: what it costs the clients when Compose recreates the only container of an upstream.

`docker compose up -d --force-recreate`, ten times under 100 requests/s of GET and POST, on a real engine, through the site
that deploy/nginx ships; once with the label `lbwatch.hold=15s` and once without, for programs that take the stop signal in
three ways (tests/support/holdapp.py). The gap is the time from the stop signal's event to that which says `healthy`: so
long nobody is ready. "First" is the first answer after it; all others that have waited come at once then, and what they
take longer is the program's and the machine's. At the end each aim is PASS or FAIL. Nothing is sent twice by the client. Needs what the real tests
need, and Compose 2.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import compose
import versions
from daemon import Stage, wait_until
from deployload import UPSTREAM, Load, Request, ShippedNginx
from holdfigures import Gap, first_after, inside, over_gaps, posted
from luanginx import lua_http, lua_main, lua_program
from realengine import IMAGE, RealEngine, UnixConnection
from rich.console import Console
from rich.table import Table

RATE = 100.0
HOLD = "15s"
READY_S = 1.0
HEALTH_INTERVAL = "300ms"
BODY = b"x" * 1000
BETWEEN_S = 1.0
"""From one container that serves to the next deploy: so many requests are quick."""
MOST_OVER_GAP_S = 0.1
"""The aim: the slowest request takes no longer than the gap and this."""

_LOCATION = """    location / {
        proxy_pass http://$upstream;
    }
"""
_HELD = """\
    location / {{
        set $lbwatch_hold {upstream};
        error_page 502 504 = @again;
        proxy_pass http://$upstream;
    }}
    location @again {{
        set $lbwatch_hold "{upstream} again";
        proxy_pass http://$upstream;
    }}
"""

PROGRAMS = {
    "linger": "lingers",
    "end": "ends",
    "die": "dies",
}


class Events:
    """Listens to the engine, in a thread: when the service's containers were told to stop, died and were healthy."""

    def __init__(self, engine: RealEngine) -> None:
        self.heard: list[tuple[str, float]] = []  # the event's word, and the engine's wall clock
        self._connection = UnixConnection(engine.socket, timeout=3600)
        self._connection.request("GET", "/events")
        self._response = self._connection.getresponse()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while line := self._response.readline():
            event = json.loads(line)
            if event["Type"] == "container" and not event["Action"].startswith("exec_"):
                self.heard.append((event["Action"], event["timeNano"] / 1e9))

    def times(self, action: str) -> list[float]:
        return [at for what, at in self.heard if what == action]

    def first(self, action: str, *, since: float, within: float = 30) -> float:
        """Return when an event was that is later than another one, once it is there."""
        return wait_until(
            lambda: [at for at in self.times(action) if at > since], within=within, what=f"the event {action}"
        )[0]


class NumberedLoad(Load):
    """A load whose requests have numbers for paths, so that each POST can be found in the program's notes."""

    number = 0

    async def _one(self, method: str) -> None:
        NumberedLoad.number += 1
        path, began, clock = f"/{NumberedLoad.number}", time.time(), time.monotonic()
        try:
            async with asyncio.timeout(30):
                outcome = await self._asked(method, path)
        except TimeoutError:
            outcome = "no answer in time"
        except OSError as error:
            outcome = f"broken off ({type(error).__name__})"
        self.done.append(Request(method, path, began, time.monotonic() - clock, outcome))

    async def _asked(self, method: str, path: str) -> str:
        reader, writer = await asyncio.open_unix_connection(str(self.socket))
        try:
            body = BODY if method == "POST" else b""
            head = f"{method} {path} HTTP/1.1\r\nHost: web\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            head_of_answer, _, rest = (await reader.read(-1)).partition(b"\r\n\r\n")
        finally:
            writer.close()
        if not head_of_answer:
            return "broken off (empty)"
        status = head_of_answer.decode("latin-1").split(" ")[1]
        return "ok" if status == "200" and rest == b"ok\n" else f"status {status}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recreated:
    """
    What came of all deploys of one program.

    Attributes:
        deaths: When it died at once, by its own note.
        noted: The paths of the POSTs that it has noted.
    """

    done: list[Request]
    gaps: list[Gap]
    deaths: list[float]
    noted: list[str]
    notes: str

    @property
    def inside(self) -> Counter[str]:
        """What failed that was inside a program which died with it; nobody may send that twice."""
        return Counter(kind(each) for each in inside(self.done, deaths=self.deaths))

    @property
    def failed(self) -> Counter[str]:
        """What else failed."""
        return Counter(kind(each) for each in self.done if each.failed) - self.inside


def compose_file(folder: Path, *, on_term: str, hold: bool) -> Path:
    """Write what a user has who runs one replica."""
    out = folder / "out"
    out.mkdir()
    libraries = [each for each in ("/usr", "/lib", "/lib64", sys.base_prefix) if os.path.isdir(each)]
    service = {
        "image": IMAGE,
        "pull_policy": "never",
        "command": [os.path.realpath(sys.executable), "-S", "/app.py"],
        "environment": {"ON_TERM": on_term, "READY_S": str(READY_S)},
        "labels": {"lbwatch.upstream": UPSTREAM, **({"lbwatch.hold": HOLD} if hold else {})},
        "healthcheck": {"test": "test -e /tmp/healthy", "interval": HEALTH_INTERVAL, "retries": 1},
        "volumes": [
            *(f"{each}:{each}:ro" for each in libraries),
            f"{Path(__file__).resolve().parents[1] / 'support/holdapp.py'}:/app.py:ro",
            f"{out}:/out",
        ],
    }
    file = folder / "compose.yaml"
    file.write_text(json.dumps({"name": "bench", "services": {"web": service}}))
    return file


@contextmanager
def stage_of(engine: RealEngine, folder: Path, *, live: str) -> Iterator[Stage]:
    """Run lbwatch, and an nginx with the shipped configuration, and Lua if changes go out without a reload."""
    nginx = ShippedNginx(folder / "nginx", engine.name)
    if live == "on":
        nginx.program = lua_program(versions.NGINX)
        nginx.rewrite(main=lua_main(versions.NGINX), http=lua_http(versions.NGINX))
    add_hold(nginx.folder / "conf.d" / "site.conf")
    settings = {"declare": UPSTREAM, "log-level": "info", "reload-interval": "1s", "live": live}
    stage = Stage(engine, nginx, folder=folder, settings={**settings, "nginx-command": nginx.program})
    try:
        stage.lbwatch.start()
        wait_until(nginx.output.exists, within=20, what="the first file", notes=stage.lbwatch.tail)
        nginx.start()
        yield stage
    finally:
        stage.close()


def add_hold(site: Path) -> None:
    """Have the shipped site's requests wait, unless it says so itself."""
    text = site.read_text()
    if "$lbwatch_hold" not in text:
        assert text.count(_LOCATION) == 1
        site.write_text(text.replace(_LOCATION, _HELD.format(upstream=UPSTREAM)))


def recreated(engine: RealEngine, *, on_term: str, hold: bool, live: str, times: int) -> Recreated:
    """Have Compose recreate a program so many times under load."""
    with tempfile.TemporaryDirectory(prefix="lbw-", dir="/tmp") as name:
        folder = Path(name)
        file = compose_file(folder, on_term=on_term, hold=hold)
        up = ("compose", "--file", str(file), "up", "--detach", "--force-recreate")
        try:
            with stage_of(engine, folder, live=live) as stage:
                engine.docker(*up)
                wait_until(lambda: stage.nginx.ask("/0") == "ok", within=30, what="it serves", notes=stage.notes)
                events = Events(engine)
                gaps: list[Gap] = []
                deaths: list[float] = []

                def deploys() -> None:
                    for _ in range(times):
                        time.sleep(BETWEEN_S)
                        began = time.time()
                        engine.docker(*up)
                        stopped = events.first("kill", since=began)
                        died = events.first("die", since=stopped)
                        gaps.append(Gap(began=stopped, ended=events.first("health_status: healthy", since=died)))
                        if on_term == "die":
                            deaths.append(float((folder / "out/ended").read_text()))
                    time.sleep(BETWEEN_S)

                done = under_load(deploys, socket=stage.nginx.socket)
                noted = [f"/{line}" for line in (folder / "out/posted").read_text().split()]
                return Recreated(done=done, gaps=gaps, deaths=deaths, noted=noted, notes=stage.notes())
        finally:
            engine.docker("compose", "--file", str(file), "down", "--timeout", "1")
            engine.clear()


def under_load(act: Callable[[], None], *, socket: Path) -> list[Request]:
    """Do something while the load runs."""

    async def load() -> list[Request]:
        numbered = NumberedLoad(socket, RATE)
        deeds = asyncio.get_running_loop().run_in_executor(None, act)
        await numbered.run(until=deeds.done)
        await deeds
        return numbered.done

    return asyncio.run(load())


COLUMNS = (
    *("on TERM it", "hold", "requests", "failed", "by kind", "inside it", "lost, twice"),
    *("gap s", "over it ms", "first ms"),
)


def row(on_term: str, *, hold: bool, one: Recreated) -> tuple[str, ...]:
    over, became = over_gaps(one.done, gaps=one.gaps), posted(one.done, noted=one.noted)
    gaps = [gap.seconds for gap in one.gaps]
    return (
        PROGRAMS[on_term],
        HOLD if hold else "off",
        str(len(one.done)),
        str(one.failed.total()),
        words(one.failed),
        str(one.inside.total()),
        f"{len(became.lost)}, {len(became.doubled)}",
        f"{statistics.median(gaps):.2f} ({max(gaps):.2f})",
        f"{1000 * statistics.median(over):.0f} ({1000 * max(over):.0f})",
        f"{1000 * statistics.median(first_after(one.done, gaps=one.gaps)):.0f}",
    )


def kind(request: Request) -> str:
    return f"{request.method} {request.outcome.removeprefix('status ')}"


def words(kinds: Counter[str]) -> str:
    return ", ".join(f"{count} {each}" for each, count in kinds.most_common())


def aims(on_term: str, one: Recreated) -> Iterator[tuple[str, bool, str]]:
    became, over = posted(one.done, noted=one.noted), over_gaps(one.done, gaps=one.gaps)
    name = f"one that {PROGRAMS[on_term]}"
    yield f"{name}: no request failed", not one.failed, f"{one.failed.total()}, and inside it {one.inside.total()}"
    yield (
        f"{name}: no POST is lost or done twice",
        not became.lost and not became.doubled,
        f"{len(became.lost)}, {len(became.doubled)}",
    )
    # Where nobody waits nobody is slow: then they were refused.
    waited = all(each > -gap.seconds / 2 for each, gap in zip(over, one.gaps, strict=True))
    yield (
        f"{name}: requests wait, the slowest at most {1000 * MOST_OVER_GAP_S:.0f} ms longer than the gap",
        waited and max(over) <= MOST_OVER_GAP_S,
        f"{1000 * max(over):.0f} ms",
    )


def table(rows: Sequence[tuple[str, ...]], *, times: int) -> Table:
    made = Table(
        title=f"recreated {times} times under {RATE:g} requests/s of GET and POST", box=None, padding=(0, 1, 0, 0)
    )
    for number, column in enumerate(COLUMNS):
        made.add_column(
            column, justify="right" if number > 1 else "left", min_width=22 if column == "by kind" else None
        )
    for each in rows:
        made.add_row(*each)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--programs", nargs="*", default=list(PROGRAMS), choices=list(PROGRAMS))
    parser.add_argument("--hold", nargs="*", default=["on", "off"], choices=["on", "off"])
    parser.add_argument("--live", default="on", choices=["on", "off"])
    parser.add_argument("--notes", action="store_true", help="the ends of the logs where an aim is missed")
    options = parser.parse_args()
    for program in ("dockerd", "nginx"):
        versions.use(program)
    console = Console(width=110, highlight=False)
    console.print(
        f"engine {versions.whole(versions.ENGINE)}, nginx {versions.whole(versions.NGINX)}, Compose {compose.VERSION}"
    )
    rows, reached = [], []
    with RealEngine() as engine:
        engine.start()
        compose.add_plugin(engine)
        for on_term in options.programs:
            for hold in options.hold:
                one = recreated(engine, on_term=on_term, hold=hold == "on", live=options.live, times=options.times)
                rows.append(row(on_term, hold=hold == "on", one=one))
                console.print(" | ".join(rows[-1]), soft_wrap=True)
                if hold == "on":
                    reached += list(aims(on_term, one))
                    if options.notes and not all(fine for _, fine, _ in reached):
                        console.print(one.notes, soft_wrap=True)
    console.print(table(rows, times=options.times))
    console.print(f"{os.cpu_count()} cores, load average {' '.join(f'{each:.1f}' for each in os.getloadavg())}")
    for what, fine, figure in reached:
        console.print(f"{'PASS' if fine else 'FAIL'}  {what}: {figure}", soft_wrap=True)
    sys.exit(not all(fine for _, fine, _ in reached))


if __name__ == "__main__":
    main()
