"""
Work inside one container, by the Engine API: run a program, list processes, copy files out, send HUP.

Unlike all else that is asked of an engine, some of this changes something. Reference:
https://docs.docker.com/reference/api/engine/
"""

import asyncio
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any

import msgspec

from lbwatch.core.errors import NoContainerError, SourceError
from lbwatch.core.model import ContainerConfig, ContainerProcess
from lbwatch.engines.docker.answers import config_of_inspect, decoded
from lbwatch.engines.docker.client import MAX_INSPECT_BYTES, EngineClient, container_path
from lbwatch.engines.docker.fields import MAX_INT64, MIN_INT64, is_container_id, major_minor

EXEC_ASKED = (
    "POST /containers/ID/exec",
    "POST /exec/ID/start",
    "GET /exec/ID/json",
    "GET /containers/ID/archive",
    "GET /containers/ID/top",
)
"""What is asked beside `client.ASKED` where a container's nginx is tested and reloaded by exec."""

SIGNAL_ASKED = ("POST /containers/ID/kill", "GET /containers/ID/top")
"""The same, where it is reloaded by a signal."""

NO_PROGRAM = 127
"""The exit code of a program that is not there, as shells have it."""

CALL_TIMEOUT_S = 10.0
EXIT_PATIENCE_S = 2.0
MAX_ARCHIVE_BYTES = 64 * 1024 * 1024

MAX_PID = 2**22
"""Linux gives no process a higher one (PID_MAX_LIMIT)."""

_POLL_S = 0.02
_FRAME = struct.Struct(">BxxxL")  # which output, and how many bytes follow
_SIGNALLED = 128  # exit codes from there on tell the signal that ended a program
_MISSING = re.compile(r'exec: "[^"]*": (executable file not found|(stat \S+: )?no such file|permission denied)')
_PODMAN_ERROR = "Error: "
_NOT_RUN = re.compile(rf"OCI runtime exec failed|cannot exec in a |{_PODMAN_ERROR}(?:crun|runc|[^\n]{{1,200}}: OCI) ?")
"""How what the engine says in a program's place begins: Docker with code 126, Podman also with 127."""

_PODMAN_FORGETS_FROM = (4, 4)
"""Podman before it takes no container for stopped by hand because of a signal (4.3 does not, 5.4 does)."""

_PS_ARGS = "-ww -eo pid,ppid,args"
"""Else ps(1) cuts at 80 columns, and what nginx was started with is lost."""

_PODMAN_COLUMNS = "pid,ppid,args"
"""Podman takes its own words for columns, and then runs no ps(1): 4.3 would do so in the container, which has none."""


class _Exec(msgspec.Struct, rename="pascal", frozen=True):
    id: str


class _ExecState(msgspec.Struct, rename="pascal", frozen=True):
    exit_code: Annotated[int, msgspec.Meta(ge=MIN_INT64, le=MAX_INT64)] | None = None
    running: bool = False


class _Top(msgspec.Struct, rename="pascal", frozen=True):
    titles: tuple[str, ...] = ()
    processes: tuple[tuple[str, ...], ...] | None = None


_EXEC = msgspec.json.Decoder(_Exec)
_EXEC_STATE = msgspec.json.Decoder(_ExecState)
_TOP = msgspec.json.Decoder(_Top)


class ContainerExec:
    """
    The containers of one engine from the inside; each call names one by its id and raises `SourceError`.

    Args:
        client: The connection to the engine.
    """

    def __init__(self, client: EngineClient) -> None:
        self._client = client

    async def container_config(self, container: str) -> ContainerConfig:
        """Return where its folders are on the host, and how it is kept running."""
        path, needs = container_path(container, "json"), ("GET /containers/ID/json",)
        found = config_of_inspect(
            await self._client.ask("GET", path, timeout_s=CALL_TIMEOUT_S, needs=needs, max_bytes=MAX_INSPECT_BYTES)
        )
        return found if self._client.podman is None else _kept_by_podman(found, version=self._client.podman)

    async def execute(
        self, container: str, command: Sequence[str], *, timeout_s: float, proves: Callable[[str], bool] | None = None
    ) -> tuple[int, str]:
        """
        Return the exit code of a program that is run in it, as its own user, and what it said on both outputs.

        A program that is not there has the exit code `NO_PROGRAM`, by whichever way the engine tells. One that was
        ended by a signal, and one that a container which just ends could not run, told nothing: a `SourceError`.

        Args:
            container: Its id.
            command: The program and its arguments.
            timeout_s: Seconds for it to end.
            proves: Returns whether what it printed proves that it ended with 0: one call fewer.
        """
        body: Any = {"AttachStdout": True, "AttachStderr": True, "Cmd": list(command)}
        needs = EXEC_ASKED[:3]
        made = await self._client.ask(
            "POST", container_path(container, "exec"), timeout_s=CALL_TIMEOUT_S, needs=needs, body=body
        )
        path = _exec_path(made)
        try:
            said = await self._client.ask(
                "POST", f"{path}/start", timeout_s=timeout_s, needs=needs, body={"Detach": False, "Tty": False}
            )
        except SourceError as error:
            # A missing program is told by the call's status or by an exit code: one answer for whoever asks.
            if _MISSING.search(error.engine_message):
                return NO_PROGRAM, str(error)
            raise
        printed = unframed(said)
        if proves is not None and proves(printed):
            return 0, printed
        code = await self._exit_code(path, program=command[0], needs=needs)
        return _judged(code, printed, program=command[0])

    async def _exit_code(self, path: str, *, program: str, needs: tuple[str, ...]) -> int:
        """Return how a program ended; its output may be over for a moment before the engine knows."""
        deadline = asyncio.get_running_loop().time() + EXIT_PATIENCE_S
        while True:
            answer = await self._client.ask("GET", f"{path}/json", timeout_s=CALL_TIMEOUT_S, needs=needs)
            state = decoded(answer, _EXEC_STATE)
            if state.exit_code is not None and not state.running:
                return state.exit_code
            if asyncio.get_running_loop().time() > deadline:
                raise SourceError(f"{program} did not end: its output is over, and it has no exit code")
            await asyncio.sleep(_POLL_S)

    async def processes(self, container: str) -> tuple[ContainerProcess, ...]:
        """Return what runs in it."""
        path = container_path(container, "top")
        answer = await self._client.ask(
            "GET",
            path,
            timeout_s=CALL_TIMEOUT_S,
            needs=("GET /containers/ID/top",),
            query={"ps_args": _PS_ARGS if self._client.podman is None else _PODMAN_COLUMNS},
        )
        if not answer.strip():  # Podman before 5, of one that does not run
            raise SourceError(f"{path}: the engine lists no processes: does it run?")
        top = decoded(answer, _TOP)
        try:
            pid, parent, title = (_column(top.titles, *names) for names in (("PID",), ("PPID",), ("COMMAND", "CMD")))
            return tuple(
                ContainerProcess(pid=_pid(each[pid]), parent=_pid(each[parent]), title=each[title])
                for each in top.processes or ()
            )
        except (LookupError, ValueError) as error:
            raise SourceError(f"{path}: the engine's list of processes cannot be read: {error}") from error

    async def archive(self, container: str, path: str) -> bytes | None:
        """Return a file or a folder of it, as a tar whose first name is its own; `None`: it has none such."""
        try:
            return await self._client.ask(
                "GET",
                container_path(container, "archive"),
                timeout_s=CALL_TIMEOUT_S,
                needs=("GET /containers/ID/archive",),
                query={"path": path},
                max_bytes=MAX_ARCHIVE_BYTES,
            )
        except NoContainerError:
            raise
        except SourceError as error:
            if error.status == 404:
                return None
            raise

    async def send_hup(self, container: str) -> None:
        """Send HUP to its first process."""
        path = container_path(container, "kill")
        needs = ("POST /containers/ID/kill",)
        await self._client.ask("POST", path, timeout_s=CALL_TIMEOUT_S, needs=needs, query={"signal": "SIGHUP"})


def _kept_by_podman(found: ContainerConfig, *, version: str) -> ContainerConfig:
    """
    Return how Podman keeps a container, as far as that is otherwise than Docker would by the same words.

    A signal makes Podman 5 forget each restart policy, whatever the container's own stop signal is; 4.3 forgets none.
    """
    if major_minor(version) < _PODMAN_FORGETS_FROM:
        return replace(found, restart_policy="")
    return replace(found, stop_signal="")


def unframed(body: bytes) -> str:
    """Return the two outputs of a program together, as they came: each piece has its length before it."""
    said, at = bytearray(), 0
    while at + _FRAME.size <= len(body):
        _, length = _FRAME.unpack_from(body, at)
        at += _FRAME.size
        said += body[at : at + length]
        at += length
    return said.decode(errors="replace")


def _judged(code: int, said: str, *, program: str) -> tuple[int, str]:
    """Return what a program said, and not what an engine says that could not run it (facts, nginx 18)."""
    if code > _SIGNALLED:
        raise SourceError(f"{program} was ended by signal {code - _SIGNALLED}")
    if not _NOT_RUN.match(said):
        return code, said
    if _MISSING.search(said) or (code == NO_PROGRAM and said.startswith(_PODMAN_ERROR)):
        return NO_PROGRAM, said
    raise SourceError(f"{program} could not be run: {said}")


def _column(titles: tuple[str, ...], *names: str) -> int:
    for name in names:
        if name in titles:
            return titles.index(name)
    raise LookupError(f"no column {names[0]}")


def _exec_path(made: bytes) -> str:
    """Return the path of a program that was made ready to run."""
    id = decoded(made, _EXEC).id
    if not is_container_id(id):
        raise SourceError(f"the engine's answer cannot be read: {id[:64]!r} is no id of an exec")
    return f"/exec/{id}"


def _pid(text: str) -> int:
    """Return a process id; raises `ValueError` for what Linux has no process by."""
    if not 0 <= (pid := int(text)) <= MAX_PID:
        raise ValueError(f"{text[:20]!r} is no pid")
    return pid
