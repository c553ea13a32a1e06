"""The commands that do one thing and answer: `render`, `check`, `explain`, `drain`, `undrain`."""

import difflib
import json
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from pathlib import Path

from lbwatch import app, files, remote
from lbwatch.damping import LOOP_RESTARTS
from lbwatch.docker.client import EngineClient
from lbwatch.errors import ConfigRejectedError, LbwatchError, OutputError, ReloadError, RenderError, SettingsError
from lbwatch.explain import Row, explained, fallback_words
from lbwatch.model import Desired, Notice, NoticeKind, Snapshot
from lbwatch.nginx.control import TreeTester
from lbwatch.nginx.fallback import Candidate, accepted, names_in
from lbwatch.nginx.process import find_master, workers_of
from lbwatch.settings import Settings

FAILED = 1


async def render(settings: Settings, *, diff: bool) -> None:
    """Print what would be written now, or how it differs from what is there."""
    _, desired = await _look(settings)
    candidate = await _candidate(settings, desired)
    text = candidate.text if candidate else app.make_renderer(settings).text(desired.upstreams)
    if not diff:
        sys.stdout.write(text)
        return
    before = files.read(settings.output) or ""
    lines = difflib.unified_diff(
        before.splitlines(keepends=True),
        text.splitlines(keepends=True),
        fromfile=str(settings.output),
        tofile="what would be written",
    )
    sys.stdout.writelines(lines)


async def explain(settings: Settings, *, container: str | None, as_json: bool) -> int:
    """Say for each container, or the one that is named, why it is or is not routed."""
    snapshot, desired = await _look(settings)
    candidate = await _candidate(settings, desired)
    rows = explained(desired, fallbacks=candidate.fallbacks if candidate else ())
    if container is not None:
        names = _named(snapshot, container)
        rows = [row for row in rows if row.container in names]
        if not rows:
            print(f"lbwatch: the engine has no container {container!r}", file=sys.stderr)
            return FAILED
    sys.stdout.write(_as_json(rows) if as_json else _as_table(rows))
    return 0


def _with_loops(desired: Desired, snapshot: Snapshot) -> Desired:
    """Warn of those that a daemon may leave out: it alone knows how often each was restarted lately."""
    notices = (
        Notice(
            backend=backend.name,
            kind=NoticeKind.RESTARTED,
            detail=f"the engine restarted it {backend.restarts} times since its last start by hand: the daemon leaves "
            "it out while that goes on (restart-loop in its log)",
        )
        for backend in snapshot.backends.values()
        if backend.restarts >= LOOP_RESTARTS
    )
    return replace(desired, notices=(*desired.notices, *notices))


async def _candidate(settings: Settings, desired: Desired) -> Candidate | None:
    """Work out what would be written, as the daemon does, and say what is wrong; `None`: nothing would be written."""
    with tempfile.TemporaryDirectory(prefix="lbwatch-") as folder:
        tester = app.make_tester(settings, folder=Path(folder), quiet=True)
        try:
            found = await accepted(
                desired.upstreams,
                render=app.make_renderer(settings).text,
                test=tester.test,
                before=_names_in_force(settings),
            )
        except (RenderError, ConfigRejectedError) as error:
            print(f"lbwatch: nothing would be written now: {error}", file=sys.stderr)
            return None
    for fallback in found.fallbacks:
        print(f"lbwatch: {fallback_words(fallback)}", file=sys.stderr)
    return found


def _names_in_force(settings: Settings) -> frozenset[str]:
    try:
        return names_in(files.read(settings.output) or "")
    except OutputError:
        return frozenset()


def _named(snapshot: Snapshot, text: str) -> set[str]:
    return {
        backend.name
        for backend in snapshot.backends.values()
        if backend.name == text.removeprefix("/") or (len(text) >= 4 and backend.id.startswith(text))
    }


def _as_json(rows: list[Row]) -> str:
    return json.dumps([asdict(row) for row in rows], indent=2) + "\n"


def _as_table(rows: list[Row]) -> str:
    """Lay rows out for people: container, upstream, then the address or the reason; notices below their row."""
    if not rows:
        return "The engine has no containers.\n"
    cells = [(row.container, row.upstream or "-", row.outcome) for row in rows]
    widths = [max(len(cell[column]) for cell in cells) for column in (0, 1)]
    lines = []
    for row, (container, upstream, outcome) in zip(rows, cells, strict=True):
        lines.append(f"{container:<{widths[0]}}  {upstream:<{widths[1]}}  {outcome}")
        lines += [f"{'':<{widths[0]}}  warning: {notice}" for notice in row.notices]
    return "\n".join(lines) + "\n"


async def drain(settings: Settings, *, container: str) -> None:
    """Have the running daemon take a container out of its upstreams, and print what came of it."""
    print(await remote.order(settings.control_socket, verb="drain", container=container))


async def undrain(settings: Settings, *, container: str) -> None:
    """Undo that."""
    print(await remote.order(settings.control_socket, verb="undrain", container=container))


async def check(settings: Settings) -> int:
    """Test everything that the daemon needs and print a line each; exit code 1 if one fails."""
    steps: tuple[tuple[str, Callable[[Settings], Awaitable[str]]], ...] = (
        ("settings", _check_settings),
        ("template", _check_template),
        ("engine", _check_engine),
        ("output", _check_output),
        ("config", _check_config),
        ("nginx", _check_nginx),
    )
    failed = 0
    for name, step in steps:
        try:
            verdict, words = "ok    ", await step(settings)
        except LbwatchError as error:
            verdict, words = "FAILED", str(error)
            failed += 1
        print(f"{verdict}  {name:<8}  {words}", flush=True)
    return FAILED if failed else 0


async def _check_settings(settings: Settings) -> str:
    address = app.make_address(settings)
    app.make_control(settings)
    return address.warning or "all can be used"


async def _check_template(settings: Settings) -> str:
    app.make_renderer(settings).load()
    return settings.template


async def _check_engine(settings: Settings) -> str:
    address = app.make_address(settings)
    client = EngineClient(address)
    try:
        ping = await client.ping()
        containers = await client.list_backends()
    finally:
        await client.close()
    return f"{address.name}: API {'.'.join(map(str, ping.api))}, {len(containers)} containers"


async def _check_output(settings: Settings) -> str:
    if (reason := files.unusable_reason(settings.output)) is not None:
        raise SettingsError("output", value=settings.output, takes=reason)
    return f"{settings.output} can be replaced"


async def _check_config(settings: Settings) -> str:
    """Have nginx test its configuration with what is there now, or with nothing, in the output's place."""
    with tempfile.TemporaryDirectory(prefix="lbwatch-") as folder:
        tester = app.make_tester(settings, folder=Path(folder))
        await tester.test(files.read(settings.output) or "# nothing yet\n")
        if not isinstance(tester, TreeTester):
            return "test_command takes the configuration"
        if tester.tree is None:
            return f"not tested: {settings.nginx_command} is not installed here"
    if not tester.tree.includes_output:
        raise ConfigRejectedError(f"{tester.main} does not include {settings.output}: nginx would never read it")
    return f"{tester.main} includes the output, and nginx takes it"


async def _check_nginx(settings: Settings) -> str:
    try:
        master = find_master(settings.nginx_pidfile)
    except ReloadError:
        if settings.reload_command is not None:
            return "reload_command will be believed: no master is known by its pid file"
        raise
    workers = workers_of(master)
    if os.geteuid() not in (0, os.stat(f"/proc/{master.pid}").st_uid):
        raise ReloadError(f"master {master.pid} belongs to another user: run lbwatch as that one or with CAP_KILL")
    return f"master {master.pid} with {len(workers.serving)} workers"


async def _look(settings: Settings) -> tuple[Snapshot, Desired]:
    """Look at the engine, and ask the running daemon, if there is one, for what it alone knows."""
    held = await remote.held(settings.control_socket)
    snapshot, desired = await app.first_look(settings, address=app.make_address(settings), held=held)
    return snapshot, desired if held is not None else _with_loops(desired, snapshot)
