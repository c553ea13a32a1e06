"""lbwatch's command line on the fake engine, as its users type it."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

WEB = {"lbwatch.port": "80", "lbwatch.upstream": "web"}


DEADLINE_S = 30.0


def command(*words: object, **settings: object) -> list[str]:
    flags = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return [sys.executable, "-m", "lbwatch", *map(str, words), *flags]


def environment(**more: str) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("LBWATCH_", "DOCKER_"))}
    return plain | {"LBWATCH_STATUS_LISTEN": ""} | more  # many run at once


async def lbwatch(*words: object, environ: dict[str, str] | None = None, **settings: object) -> tuple[int, str, str]:
    """Run a command to its end; gives exit code, standard output and standard error."""
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
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if line["event"] == event]

    async def ends(self) -> int:
        async with asyncio.timeout(DEADLINE_S):
            return await self.process.wait()


def upstreams(path: Path) -> str:
    return path.read_text() if path.exists() else ""
