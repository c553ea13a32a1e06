"""Runs a program to its end, finds one by its name, and cuts a command into words."""

import asyncio
import os
import shlex
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from contextlib import suppress


async def run_program(command: tuple[str, ...], *, timeout_s: float) -> tuple[int, str]:
    """
    Return the exit code of a program and what it printed on both outputs, once it has ended.

    Raises:
        TimeoutError: It took longer than *timeout_s*; it was killed, and all that it started with it.
        OSError: It cannot be started.
    """
    # A session of its own: a Ctrl-C that is meant for us does not end it, and whatever it starts can be killed with it.
    process = await asyncio.create_subprocess_exec(
        *command, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, start_new_session=True
    )
    try:
        async with asyncio.timeout(timeout_s):
            printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return process.returncode or 0, printed.decode(errors="replace")


def find_program(name: str) -> str | None:
    """
    Return the path of a program, looked for also where Debian keeps nginx out of an ordinary user's PATH.

    Returns:
        `None` if it is nowhere; a path that is there but cannot be run is returned, so that running it says why.
    """
    if "/" in name:
        return name if os.path.exists(name) else None
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")


def split_command(text: str) -> tuple[str, ...]:
    """Return the words of a command, cut as a shell would; raises `ValueError` for an open quote or no word."""
    words = tuple(shlex.split(text))
    if not words:
        raise ValueError("the command is empty")
    return words
