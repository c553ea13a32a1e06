"""
The way to an engine by ssh: one `ssh` for all connections, which has the engine's socket be one of this machine.

ssh is asked for nothing that it could ask a person: whose key is not known is not connected to, and whoever wants a
password is not logged in to. What its user's own configuration says of the host holds, but for what is set here.
"""

import asyncio
import os
import pwd
import re
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from lbwatch.core.errors import EngineAwayError, SettingsError
from lbwatch.engines.docker.address import EngineAddress, SshTarget
from lbwatch.system.child import Child
from lbwatch.system.programs import find_program
from lbwatch.system.temporary import temporary_folder

CONNECT_TIMEOUT_S = 10
START_TIMEOUT_S = 20.0
"""For all of it: names, the connection, the log-in."""

ALIVE_INTERVAL_S = 10
ALIVE_COUNT = 3
"""A link that is silent for so many intervals is given up: events have no heartbeat (facts, stream 8)."""

RETRY_FIRST_S = 0.5
RETRY_LIMIT_S = 5.0
REFUSED_RETRY_S = 30.0
"""After what a person must mend: who fails to log in every few seconds is locked out by fail2ban and the like."""

RECENT_S = 2.0
"""So old are words of ssh's that may be about a connection that has just ended."""

MAX_SOCKET_BYTES = 107
"""Of a socket's path: unix(7), without the last NUL."""

_LOOK_S = 0.02
_PLAIN = re.compile(r"/[A-Za-z0-9_./+@-]+", re.ASCII)
"""What stands for nothing else in ssh's `-L`."""

OPTIONS = (
    "BatchMode=yes",
    # Never `no` nor `accept-new`, whatever is configured: whoever is taken for the engine decides what is served.
    "StrictHostKeyChecking=yes",
    "NoHostAuthenticationForLocalhost=no",
    "ExitOnForwardFailure=yes",
    "StreamLocalBindUnlink=yes",
    "StreamLocalBindMask=0177",
    # Another ssh that is shared would have the socket, and outlive us.
    "ControlMaster=no",
    "ControlPath=none",
    f"ConnectTimeout={CONNECT_TIMEOUT_S}",
    f"ServerAliveInterval={ALIVE_INTERVAL_S}",
    f"ServerAliveCountMax={ALIVE_COUNT}",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """
    What ssh's words mean.

    Attributes:
        mark: By which words of its they are known.
        words: What an operator should read.
        needs_person: Whether it stays so until a person does something about it.
    """

    mark: str
    words: str
    needs_person: bool = False


_MEANINGS = (
    Meaning(
        mark="HOST IDENTIFICATION HAS CHANGED",
        words="its host key is another one than is known: if that is right, run `ssh-keygen -R {known}` and `{login}` "
        "as {user}, and compare the key",
        needs_person=True,
    ),
    Meaning(
        mark="Host key verification failed",
        words="its host key is not known: run `{login}` once as {user}, as whom lbwatch runs, and compare the key",
        needs_person=True,
    ),
    Meaning(
        mark="No user exists for uid",
        words="ssh wants a user with uid {uid} in /etc/passwd, in whose home .ssh has known_hosts and a key",
        needs_person=True,
    ),
    Meaning(
        mark="Permission denied",
        words="ssh: {last} {user} needs a key that it takes, without a passphrase or in an agent",
        needs_person=True,
    ),
    # sshd has the same words for what it may not forward, for one that is not there, and for rights.
    Meaning(
        mark="open failed",
        words="ssh: no connection to the engine's socket there: is the engine up, {there} in group docker, and "
        "AllowStreamLocalForwarding of its sshd on? ({path})",
    ),
)
"""The first whose mark is found counts: where a key was changed it cannot be verified either."""


class Tunnel:
    """
    A socket of this machine's that is an engine's elsewhere; close it with `close`.

    Args:
        address: Where the engine is; its `ssh` is set.

    Raises:
        SettingsError: There is no ssh.
    """

    def __init__(self, address: EngineAddress) -> None:
        assert address.ssh is not None
        program = find_program("ssh")
        if program is None:
            takes = "ssh:// needs the program ssh, which is not here: install openssh-client"
            raise SettingsError("docker_host", value=address.name, takes=takes)
        self._program = program
        self._name = address.name
        self._target = address.ssh
        self._folder: ExitStack | None = None  # which holds that of the socket, once there is one
        self._socket = Path()
        self._child: Child | None = None  # the latest
        self._starting: asyncio.Task[str | None] | None = None  # returns why it failed
        self._stood_at = 0.0  # loop time at which it had logged in last
        self._failures = 0  # since then
        self._error = ""
        self._retry_at = 0.0  # loop time before which there is no further try

    @property
    def socket(self) -> str:
        """Return the socket's path, which is always the same; once it is `ready`."""
        return str(self._socket)

    async def ready(self) -> None:
        """
        Wait until the socket can be connected to; who waits may give up, and it goes on.

        Raises:
            EngineAwayError: It cannot, and why, or the latest try failed a moment ago.
        """
        if self._starting is None:
            if self._child is not None and self._child.runs:
                return
            if asyncio.get_running_loop().time() < self._retry_at:
                raise EngineAwayError(self._error)
            self._starting = asyncio.create_task(self._start(), name=f"ssh to {self._name}")
        starting = self._starting
        await asyncio.wait({starting})
        if starting.cancelled():
            raise EngineAwayError(f"{self._name}: ssh was ended")
        if (error := starting.result()) is not None:
            raise EngineAwayError(error)

    def recent_words(self) -> str:
        """Return what ssh says of what has just gone wrong; empty: nothing."""
        if self._child is None:
            return ""
        # What it said before it had logged in, such as a banner, is about nothing that went wrong since.
        since = max(self._stood_at, asyncio.get_running_loop().time() - RECENT_S)
        return meaning_of(self._child.lines(since=since), target=self._target).words

    async def close(self) -> None:
        """End ssh, and remove the socket."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait({self._starting})
        child, self._child = self._child, None
        folder, self._folder = self._folder, None
        try:
            if child is not None:
                await child.end()
        finally:
            if folder is not None:
                folder.close()

    async def _start(self) -> str | None:
        """Start ssh and wait until it has logged in; returns why it has not, in words."""
        clock = asyncio.get_running_loop().time
        try:
            failed = await self._connect()
        except OSError as error:
            failed = Meaning(mark="", words=error.strerror or str(error))
        finally:
            self._starting = None
        if failed is None:
            self._failures, self._stood_at = 0, clock()
            return None
        retry_s = min(RETRY_LIMIT_S, RETRY_FIRST_S * 2.0 ** min(self._failures, 8))
        self._retry_at = clock() + (REFUSED_RETRY_S if failed.needs_person else retry_s)
        self._failures += 1
        self._error = f"{self._name}: {failed.words}"
        return self._error

    async def _connect(self) -> Meaning | None:
        """Start ssh; returns what its words mean if it did not log in."""
        if self._child is not None:
            await self._child.end()
        self._make_folder()
        self._socket.unlink(missing_ok=True)
        child = self._child = await Child.start(*self._command())
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                # It makes the socket once it has logged in, and says so by no word.
                while child.runs and not self._socket.exists():  # noqa: ASYNC110 - nobody here would set an event
                    await asyncio.sleep(_LOOK_S)
                await asyncio.sleep(_LOOK_S)  # between the socket's making and the first that it takes
        except TimeoutError:
            await child.end()
            return Meaning(mark="", words=f"ssh did not log in within {START_TIMEOUT_S:g} s")
        if child.runs:
            return None
        said = meaning_of(child.lines(), target=self._target)
        return said if said.words else replace(said, words="ssh ended without a word")

    def _make_folder(self) -> None:
        """Make the folder of the socket, which nobody else may enter: whoever can connect is root over there."""
        if self._folder is not None:
            return
        stack = ExitStack()
        folder = stack.enter_context(temporary_folder(prefix="lbwatch-ssh-"))
        self._folder, self._socket = stack, folder / "s"
        path = str(self._socket)
        if len(os.fsencode(path)) > MAX_SOCKET_BYTES or not _PLAIN.fullmatch(path):
            stack.close()
            self._folder = None
            raise OSError(0, f"no socket can be in {tempfile.gettempdir()}: set TMPDIR to a short, plain path")

    def _command(self) -> tuple[str, ...]:
        target, path = self._target, self._socket
        return (
            self._program,
            "-nNT",
            *(word for option in OPTIONS for word in ("-o", option)),
            *(() if target.port is None else ("-p", str(target.port))),
            *(("-l", target.user) if target.user else ()),
            *("-L", f"{path}:{target.path}", "--", target.host),
        )


def meaning_of(lines: Sequence[str], *, target: SshTarget) -> Meaning:
    """Return what lines of ssh's mean, and what to do about it; without words if there are none."""
    text = "\n".join(lines)
    last = lines[-1].removeprefix("ssh: ") if lines else ""
    found = next(
        (each for each in _MEANINGS if each.mark in text), Meaning(mark="", words="ssh: {last}" if last else "")
    )
    words = found.words.format(
        last=last,
        user=_user(),
        uid=os.geteuid(),
        login=_login(target),
        known=target.host if target.port is None else f"[{target.host}]:{target.port}",
        path=target.path,
        there=target.user or "the user there",
    )
    return replace(found, words=words)


def _login(target: SshTarget) -> str:
    port = "" if target.port is None else f"-p {target.port} "
    return f"ssh {port}{target.user + '@' if target.user else ''}{target.host}"


def _user() -> str:
    """Return as whom lbwatch runs."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid {os.geteuid()}"
