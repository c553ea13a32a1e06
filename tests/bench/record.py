"""
`make recording`: records a rolling deploy as its operator sees it, and makes the README's picture of it.

A real engine, a real nginx with the shipped configuration, lbwatch: on the left `lbwatch events`, on the right curl in a
loop, below the commands of the deploy. Nothing is shortened; the panes are cut at their width.
"""

import json
import os
import pty
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import asciicast
from daemon import Stage, wait_until
from deployload import run_app, shipped_stage, wait_healthy, wait_serving
from realengine import RealEngine, in_namespace

DOCS = Path(__file__).resolve().parents[2] / "docs"
CAST, PICTURE = DOCS / "events.cast", DOCS / "events.svg"

LEFT, RIGHT, ROWS = 79, 25, 20
TITLE = "lbwatch events beside curl, while each container is replaced by a new one: no request fails"
CURL = """\
while :; do
  answer=$(curl --silent --write-out ' %{http_code}' --unix-socket SOCKET http://localhost/ | tr -d '\\n')
  case $answer in *200) colour=32;; *) colour=31;; esac
  printf '\\033[2m%s\\033[0m  \\033[%sm%s\\033[0m\\n' "$(date -u +%T.%3N)" $colour "$answer"
  sleep 0.2
done
"""
# The engine's socket at the usual place, for this program alone.
EVENTS = 'mount --bind "$0" /var/run; exec "$1" -m lbwatch events'
_SGR = re.compile(r"(\x1b\[[0-9;]*m)")


@dataclass(slots=True)
class Tape:
    """The lines as they came: when, in which pane, and what; `panes` are drawn of it at the end."""

    began: float = field(default_factory=time.monotonic)
    lines: list[tuple[float, str, str]] = field(default_factory=list)

    def add(self, pane: str, line: str) -> None:
        self.lines.append((time.monotonic() - self.began, pane, line))


class Pane:
    """A program on a terminal of its own, line by line onto a tape, until it is left."""

    def __init__(self, argv: Sequence[str], *, name: str, tape: Tape, environment: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, env=environment)
        os.close(slave)
        self._reader = threading.Thread(target=self._read, args=(name, tape), daemon=True)
        self._reader.start()

    def _read(self, name: str, tape: Tape) -> None:
        with os.fdopen(self._master, "rb") as output:
            try:
                for line in output:
                    tape.add(name, line.decode(errors="replace").rstrip())
            except OSError:  # how a terminal says that its program has ended
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._reader.join(10)


def record(engine: RealEngine, stage: Stage, *, folder: Path) -> Tape:
    """Replace both containers of an upstream, one after the other, each by one that is there before."""
    old, new = ("web-1", "web-2"), ("web-3", "web-4")
    for name in old:
        run_app(engine, name, out=folder, READY_S=0)
    wait_healthy(engine, *old)
    wait_serving(stage, *old)
    tape = Tape()
    terminal = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "COLUMNS": str(LEFT)}
    events = ["unshare", "--mount", "sh", "-euc", EVENTS, str(engine.folder), sys.executable]
    curl = ["sh", "-c", CURL.replace("SOCKET", str(stage.nginx.socket))]
    with ExitStack() as stack:
        stack.enter_context(Pane(in_namespace(engine.name, events), name="events", tape=tape, environment=terminal))
        wait_until(lambda: any(pane == "events" for _, pane, _ in tape.lines), within=20, what="events follows")
        stack.enter_context(Pane(curl, name="curl", tape=tape, environment=terminal))
        time.sleep(1.5)
        for leaving, coming in zip(old, new, strict=True):
            tape.add("command", f"docker run -d --name {coming} -l lbwatch.upstream=web shop:2")
            run_app(engine, coming, out=folder, READY_S=0.5)
            wait_healthy(engine, coming)
            wait_serving(stage, *old, coming) if leaving == "web-1" else wait_serving(stage, leaving, *new)
            time.sleep(1)
            tape.add("command", f"docker stop {leaving}")
            engine.docker("stop", leaving)
            time.sleep(1)
        time.sleep(1)
    answers = [line for _, pane, line in tape.lines if pane == "curl"]
    failed = sum("200" not in line for line in answers)
    tape.add("done", f"{len(answers)} requests, {failed} failed")
    return tape


def cast_of(tape: Tape) -> str:
    """Return the recording: the panes side by side, each line below the one before it."""
    first = tape.lines[0][0]
    panes: dict[str, deque[str]] = {"events": deque(maxlen=ROWS), "curl": deque(maxlen=ROWS)}
    head = {"version": 2, "width": LEFT + 3 + RIGHT, "height": ROWS + 3, "title": TITLE}
    divider = "".join(f"\x1b[{row};{LEFT + 2}H\x1b[2m│\x1b[0m" for row in range(1, ROWS + 2))
    titles = f"\x1b[1;1H\x1b[1m$ lbwatch events\x1b[0m\x1b[1;{LEFT + 4}H\x1b[1m$ curl localhost\x1b[0m"
    records = [(0.0, divider + titles)]
    for at, pane, line in sorted(tape.lines):
        if pane in panes:
            panes[pane].append(line)
            begin, width = (1, LEFT) if pane == "events" else (LEFT + 4, RIGHT)
            rows = (f"\x1b[{row};{begin}H{fitted(text, width)}" for row, text in enumerate(panes[pane], start=2))
            records.append((at - first, "".join(rows)))
        else:
            mark = "$ " if pane == "command" else ""
            records.append((at - first, f"\x1b[{ROWS + 3};1H\x1b[1m{fitted(mark + line, LEFT)}"))
    return "".join(f"{json.dumps(each)}\n" for each in (head, *((round(at, 3), "o", text) for at, text in records)))


def fitted(text: str, width: int) -> str:
    """Return a line cut or filled to a width, its colours left alone and ended."""
    is_cut = len(_SGR.sub("", text)) > width
    left, parts = width - is_cut, []
    for part in _SGR.split(text):
        if part.startswith("\x1b"):
            parts.append(part)
        else:
            parts.append(part[:left])
            left -= len(part[:left])
    return "".join(parts) + ("…" if is_cut else " " * left) + "\x1b[0m"


def main() -> None:
    with RealEngine() as engine, tempfile.TemporaryDirectory(prefix="lbw-", dir="/tmp") as folder:
        engine.start()
        with shipped_stage(engine, Path(folder)) as stage:
            tape = record(engine, stage, folder=Path(folder))
    CAST.write_text(cast_of(tape))
    PICTURE.write_text(asciicast.svg(CAST.read_text()))
    print(f"{tape.lines[-1][2]}; {CAST} {CAST.stat().st_size} bytes, {PICTURE} {PICTURE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
