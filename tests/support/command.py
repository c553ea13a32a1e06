"""lbwatch's command line on the fake engine, as its users type it."""

import asyncio
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import versions
from usersettings import settings_with
from waiting import eventually

from lbwatch import daemon
from lbwatch.engines.fake import FakeEngine

WEB = {"lbwatch.port": "80", "lbwatch.upstream": "web"}
WEB_AS_EXPOSED = {"lbwatch.upstream": "web"}  # at the one port that its image exposes
DEADLINE_S = 30.0
ESCAPE = "\x1b["


def command(*words: object, **settings: object) -> list[str]:
    flags = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return [sys.executable, "-m", "lbwatch", *map(str, words), *flags]


def environment(**more: str) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("LBWATCH_", "DOCKER_"))}
    # Many run at once; and what is not set of nginx is that of the machine.
    return plain | {"LBWATCH_STATUS_LISTEN": "", "PATH": versions.MACHINE_PATH} | more


async def lbwatch(*words: object, environ: dict[str, str] | None = None, **settings: object) -> tuple[int, str, str]:
    """Return exit code, standard output and standard error of a command, once it has ended."""
    process = await asyncio.create_subprocess_exec(
        *command(*words, **settings),
        env=environment(**(environ or {})),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(DEADLINE_S):
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


class Running:
    """`lbwatch run` in the background."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self.log = log

    def logged(self, event: str) -> list[dict[str, Any]]:
        *whole, _ = self.log.read_text().split("\n")  # the last may still be written
        lines = [json.loads(line) for line in whole]
        return [line for line in lines if line["event"] == event]

    async def ends(self) -> int:
        async with asyncio.timeout(DEADLINE_S):
            return await self.process.wait()


def upstreams(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@asynccontextmanager
async def running(engine: FakeEngine, folder: Path, **settings: Any) -> AsyncIterator[dict[str, str]]:
    """Run the daemon on this engine, before an nginx that believes all; gives the flags that lead commands to it."""
    flags = {
        "docker_host": engine.url,
        "output": str(folder / "out.conf"),
        "test_command": "true",
        "reload_command": "true",
        "nginx_pidfile": str(folder / "pid"),
        "control_socket": str(folder / "control"),
        "state_dir": str(folder / "state"),
    }
    paths = {"output", "nginx_pidfile", "control_socket", "state_dir"}
    typed: dict[str, Any] = {name: Path(value) if name in paths else value for name, value in flags.items()}
    made = settings_with(**(typed | {"status_listen": ""} | settings))
    task = asyncio.create_task(daemon.run(made))
    try:
        await eventually(lambda: (folder / "out.conf").exists() or task.done(), what="the first file")
        yield flags
    finally:
        task.cancel()
        await asyncio.wait([task])


async def on_a_terminal(*words: object, columns: int = 200, **settings: object) -> tuple[int, str]:
    """Return the exit code of a command on a pseudo-terminal of that width, and all that it wrote."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *command(*words, **settings),
        env=environment(TERM="xterm-256color", COLUMNS=str(columns)),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            part = await asyncio.to_thread(os.read, ours, 65536)
        except OSError:  # the other end is closed
            break
        written += part
    os.close(ours)
    return await process.wait(), written.decode()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text).replace("\r\n", "\n")
