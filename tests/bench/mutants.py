"""
Switches one safety of lbwatch off at a time and shows which test notices: `make mutants`, or this with names of mutants.

Each mutant is an edit of a copy of the tree; the tests named with it must fail there. A mutant that none of them notices
is run through the whole suite before it counts as survived. Exit code 1 if one survives. Needs what the tests need.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
COPIED = (
    "lbwatch",
    "templates",
    "tests",
    "docs",
    "deploy",
    "requirements",
    "pyproject.toml",
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "LICENSE",
    "Dockerfile",
    ".dockerignore",
    "Makefile",
    ".ci",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """
    One safety less.

    Attributes:
        file: Below lbwatch/.
        edits: What is replaced by what; each must be there once.
        tests: Where it should be noticed, in this order.
    """

    file: str
    edits: tuple[tuple[str, str], ...]
    tests: str


def mutant(file: str, *edits: tuple[str, str], tests: str) -> Mutant:
    return Mutant(file=file, edits=edits, tests=tests)


MUTANTS = {
    "barrier: the list is believed": mutant(
        "engines/docker/client.py",
        ('        path = f"/containers/{container}/json"\n', "        return next((b for b in await self.list_containers() if b.id == container), None)\n        path = ''\n"),
        tests="unit/engines/docker/test_source.py unit/test_convergence.py",
    ),
    "overlap: no `since`": mutant(
        "engines/docker/stream.py",
        ("since_s = None if ping.clock_s is None else ping.clock_s - self._reach_back_s", "since_s = None"),
        tests="unit/engines/docker/test_source.py",
    ),
    "resync: never": mutant(
        "engines/docker/lister.py",
        ("asyncio.timeout(self._resync_interval_s)", "asyncio.timeout(None)"),
        tests="unit/engines/docker/test_source.py unit/test_convergence.py",
    ),
    "verification: the signal is believed": mutant(
        "balancers/nginx/balancer.py",
        ("        evidence = self._evidence()\n        await self._control.wait_live()\n", "        evidence = self._evidence()\n"),
        ("        await self._control.wait_retired()\n", ""),
        tests="unit/balancers/nginx/test_balancer.py unit/balancers/nginx/test_verify.py unit/test_convergence.py",
    ),
    "atomic replace: written in place": mutant(
        "system/files.py",
        ("        _write(scratch, content=content)\n        os.replace(scratch, path)\n", "        _write(path, content=content)\n"),
        tests="unit/system/test_files.py",
    ),
    "power loss: the file is not synced": mutant(
        "system/files.py", ("        file.flush()\n        os.fsync(file.fileno())\n", ""), tests="unit/system/test_files.py"
    ),
    "power loss: the folder is not synced": mutant(
        "system/files.py", ("        os.replace(scratch, path)\n        _sync_folder(path.parent)\n", "        os.replace(scratch, path)\n"), tests="unit/system/test_files.py"
    ),
    "test: what nginx refuses is written": mutant(
        "balancers/nginx/isolate.py", ("            tested = await self._test(self._text)\n", "            tested = True\n"), tests="unit/balancers/nginx/test_balancer.py"
    ),
    "test: without the user's own files": mutant(
        "balancers/nginx/config_test/copy.py", ('        text = crossplane.build(block) + "\\n"\n', '        text = f"events {{}} http {{ include {self.candidate}; }}"\n'), tests="unit/balancers/nginx/test_balancer.py"
    ),
    "fallback: none": mutant(
        "balancers/nginx/isolate.py", ("if refusal is None or await search.find_levels(refusal, known=known):", "if refusal is None:"), tests="unit/balancers/nginx/test_isolate.py"
    ),
    "fallback: all fall back": mutant(
        "balancers/nginx/isolate.py",
        ("                    return await self._bisect(base=base)", "                    return everyone"),
        ("                for one in higher:", "                for one in ():"),
        tests="unit/balancers/nginx/test_isolate.py",
    ),
    "fallback: also where most would have to go": mutant(
        "balancers/nginx/isolate.py", ("        return self._most_serve(levels)", "        return True"), tests="unit/balancers/nginx/test_isolate.py"
    ),
    "fallback: a test that could not be run blames": mutant(
        "balancers/nginx/isolate.py", ("        except NotTestedError:\n            raise\n", ""), tests="unit/balancers/nginx/test_isolate.py"
    ),
    "put back: not what was refused untested": mutant(
        "balancers/nginx/balancer.py", ("            await asyncio.to_thread(files.restore, self._output)\n            raise TakenBackError", "            raise TakenBackError"), tests="unit/balancers/nginx/test_balancer_untested.py"
    ),
    "owed: an equal file counts as running": mutant(
        "balancers/nginx/balancer.py", ("        if not changed and self.confirmed():", "        if not changed:"), tests="unit/balancers/nginx/test_balancer.py unit/test_convergence.py"
    ),
    "owed: nginx is never looked at again": mutant(
        "balancers/nginx/balancer.py",
        ("return self._confirmed is not None and self._confirmed == self._evidence()", "return self._confirmed is not None"),
        tests="unit/balancers/nginx/test_balancer.py unit/test_convergence.py",
    ),
    "owed: a failed apply is not tried again": mutant(
        "reconciler.py", ("            return max(now, self._retry.at)\n", "            return now + 3600.0\n"), tests="unit/test_reconciler.py"
    ),
    "clean stop: a replacement may be left half done": mutant(
        "balancers/nginx/balancer.py", ("    task = asyncio.ensure_future(step)\n", "    await step\n    return\n    task = asyncio.ensure_future(step)\n"), tests="unit/balancers/nginx/test_balancer.py real/test_crash.py"
    ),
    "only one: no lock": mutant(
        "system/lock.py", ("                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n", ""), tests="unit/system/test_lock.py"
    ),
    "fail static: a failed look is a death": mutant(
        "engines/docker/source.py", ("                self._schedule_retry(id, error=error)\n", "                self._settle(id, None, priority=priority)\n"), tests="unit/engines/docker/test_source.py unit/test_convergence.py"
    ),
    "fail static: `null` is an empty list": mutant(
        "engines/docker/decode.py",
        ("        entries = _LIST.decode(body)\n", '        entries = () if body == b"null" else _LIST.decode(body)\n'),
        tests="unit/engines/docker/test_decode.py unit/engines/docker/test_client.py",
    ),
    "fail static: a failed look is not tried again": mutant(
        "engines/docker/source.py", ("        self._retries[id] = asyncio.get_running_loop().call_later(retry.wait_s, self._look_again, id)\n", ""), tests="unit/engines/docker/test_source.py"
    ),
    "fail static: another container's answer is taken": mutant(
        "engines/docker/client.py", ("        if found.id != container:", "        if False:"), tests="unit/engines/docker/test_client.py"
    ),
    "stream: a line that cannot be read is skipped": mutant(
        "engines/docker/decode.py", ("        return [UNREADABLE] if skipped else _events_in(line)", "        return [] if skipped else _events_in(line)"), tests="unit/engines/docker/test_decode.py"
    ),
    "stream: it may be of any age": mutant(
        "engines/docker/stream.py", ("async with asyncio.timeout(MAX_STREAM_AGE_S):", "async with asyncio.timeout(None):"), tests="unit/engines/docker/test_stream.py"
    ),
    "bounded: a loop of restarts is followed": mutant(
        "core/plan.py", ("            crash_looping=self._crash_loops.crash_looping(everyone, now=now),\n", ""), tests="unit/test_reconciler.py"
    ),
    "bounded: a start by hand clears nothing": mutant(
        "core/crashloop.py", ("            if grown < 0 or not container.restarts or not (loop or grown):", "            if not (loop or grown):"), tests="unit/core/test_crashloop.py"
    ),
    "bounded: every change reloads at once": mutant(
        "core/schedule.py", ("times.append(last_added + interval)", "pass"), tests="unit/core/test_schedule.py unit/test_reconciler.py"
    ),
    "bounded: weights of any sum": mutant(
        "balancers/nginx/limits.py", ("_MAX_CONSISTENT_WEIGHT = 2000", "_MAX_CONSISTENT_WEIGHT = 10**9"), ("_MAX_CONSISTENT_WEIGHT_OF_ALL = 10_000", "_MAX_CONSISTENT_WEIGHT_OF_ALL = 10**9"), tests="unit/balancers/nginx/test_limits.py"
    ),
    "injection: any text names an upstream": mutant(
        "core/labels.py", ("    if not UPSTREAM_NAME.fullmatch(name):\n        raise _RefusedError(UPSTREAM_NAME_TAKES)\n", ""), tests="unit/core/test_labels.py unit/balancers/test_template.py"
    ),
    "injection: any address is an address": mutant(
        "core/placement.py", ("    if address.is_loopback or address.is_link_local or", "    if False or"), tests="unit/core/test_placement.py"
    ),
    "drain: kills are not heard of": mutant(
        "engines/docker/client.py", ('    "kill",\n', ""), tests="unit/engines/docker/test_source.py unit/test_convergence.py"
    ),
    "drain: any signal counts": mutant(
        "core/draining.py", ("    return number is None or container.stop_signal is None or", "    return True or"), tests="unit/core/test_draining.py"
    ),
    "drain: a former life's signal counts": mutant(
        "core/draining.py",
        ("    return heard.at_ns > container.started_ns\n", "    return True\n"),
        tests="unit/core/test_draining.py",
    ),
    "drain: it never ends": mutant(
        "core/draining.py", ("for id, at in ends.items() if now < at}", "for id, at in ends.items()}"), tests="unit/core/test_draining.py"
    ),
    "drain: nobody is woken at its end": mutant(
        "core/plan.py", ("        due = (self._crash_loops.changes_at(), self._drains.changes_at())", "        due = (self._crash_loops.changes_at(),)"), tests="unit/test_reconciler.py"
    ),
    "drain: it empties an upstream": mutant(
        "core/plan.py", ("    return classes[min(classes)], _STATES[min(classes)]", "    return classes[_Class.READY], ServerState.UP"), tests="unit/core/test_plan.py"
    ),
    "drain by hand: not kept": mutant(
        "system/state.py", ("        self.drained[id] = name\n        self._save()\n", "        self.drained[id] = name\n"), tests="unit/system/test_state.py"
    ),
    "health: the unhealthy serve": mutant(
        "core/plan.py", ("    return _Class.UNHEALTHY if unhealthy else _Class.READY", "    return _Class.READY"), tests="unit/core/test_plan.py"
    ),
    "order: what comes together goes out one by one": mutant(
        "engines/docker/source.py", ("        if not self._queue.handles_events:\n", "        if True:\n"), tests="unit/engines/docker/test_source_order.py"
    ),
    "order: what comes back waits for removals": mutant(
        "core/schedule.py", ("last_added=self._last_added", "last_added=self._last"), tests="unit/test_reconciler.py"
    ),
    "names: what nginx's files use vanishes": mutant(
        "balancers/nginx/isolate.py", ("if self._keep_missing(refusal) else refusal", "if False else refusal"), tests="unit/balancers/nginx/test_isolate.py"
    ),
    "status: any host is taken for ours": mutant(
        "api/application.py", ("if host is not None and not _is_ours(host, names=names):", "if False:"), tests="unit/api/test_application.py"
    ),
    "status: by TCP all paths are open": mutant(
        "api/application.py", ("    if request.path not in public:\n", "    if False:\n"), tests="unit/api/test_application.py"
    ),
    "status: by TCP a public path may change something": mutant(
        "api/application.py", ("    if request.method not in _READING:\n", "    if False:\n"), tests="unit/api/test_application.py"
    ),
    "control: a drain is cut off like a slow client": mutant(
        "api/server.py", ("for each in connections if not is_unix(each.transport)]", "for each in connections]"), tests="unit/api/test_server.py"
    ),
    "status: slow clients are never cut off": mutant(
        "api/server.py", ("        _cut(runner, older_than_s=CONNECTION_TIMEOUT_S, opened=opened)\n", ""), tests="unit/api/test_server.py"
    ),
    "status: a lost engine is no reason not to be ready": mutant(
        "core/status.py", ("    elif engine.error is not None:", "    elif False:"), tests="unit/core/test_status.py"
    ),
    "status: what failed once is told for ever": mutant(
        "reconciler.py", ("replace(self._applied, behind_since=None, error=None)", "replace(self._applied, behind_since=None)"), tests="unit/test_reconciler.py"
    ),
    "page: what containers say is markup": mutant(
        "api/page.py", ("autoescape=True", "autoescape=False"), tests="unit/api/test_page.py"
    ),
    "explain: a container without labels waits for the next full look": mutant(
        "engines/docker/cache.py", ("            self._name(event, id=id)\n", ""), tests="unit/cli/test_explain.py"
    ),
    "explain: what nginx does not run counts as routed": mutant(
        "core/explain.py", ("runs is not None and key not in runs", "False"), tests="real/test_reasons.py"
    ),
    "terminal: what containers say is markup": mutant(
        "cli/output.py", ('Text(route.address or route.detail or "")', 'Text.from_markup(route.address or route.detail or "")'), tests="unit/cli/test_output.py"
    ),
    "container: one that is not there is only untested": mutant(
        "balancers/nginx/config_test/container.py",
        ("        self._nginx_container.container()\n        return self._tester is not None", "        return self._tester is not None"),
        tests="unit/balancers/nginx/config_test/test_container.py",
    ),
    "container: one that ended counts as running": mutant(
        "balancers/nginx/locate.py", ("if container.status is not ContainerStatus.RUNNING:", "if False:"), tests="unit/balancers/nginx/test_locate.py"
    ),
    "container: without a network all are reached": mutant(
        "balancers/nginx/locate.py", ("elif owner.endpoints:", "else:"), tests="unit/balancers/nginx/test_locate.py"
    ),
    "container: a program that was killed said no": mutant(
        "engines/docker/exec.py", ("if code > _SIGNALLED:", "if False:"), tests="unit/engines/docker/test_exec.py"
    ),
    "container: planted links are followed": mutant(
        "balancers/nginx/config_test/scratch.py",
        ("os.O_DIRECTORY | os.O_NOFOLLOW", "os.O_DIRECTORY"),
        ("os.O_TRUNC | files.CAREFULLY", "os.O_TRUNC | os.O_CLOEXEC | os.O_NONBLOCK"),
        tests="unit/balancers/nginx/config_test/test_scratch.py",
    ),
    "container: copies stay": mutant(
        "balancers/nginx/config_test/container.py", ("            await asyncio.to_thread(self._clear)\n", "            pass\n"), tests="unit/balancers/nginx/config_test/test_container.py"
    ),
}  # fmt: skip


def main(chosen: list[str]) -> int:
    """Run the mutants whose names contain one of the words, or all, and show a table."""
    tests = sorted({f"tests/{test}" for one in MUTANTS.values() for test in one.tests.split()})
    if (broken := failing(TREE, tests)) is not None:
        raise SystemExit(f"{broken} fails without any mutant")
    survived = 0
    names = [name for name in MUTANTS if not chosen or any(word in name for word in chosen)]
    width = max(map(len, names))
    for name in names:
        began = time.monotonic()
        caught = caught_by(MUTANTS[name])
        survived += caught is None
        print(f"{name:<{width}}  {time.monotonic() - began:5.0f} s  {caught or 'SURVIVED'}", flush=True)
    print(f"{len(names) - survived} of {len(names)} caught")
    return 1 if survived else 0


def caught_by(one: Mutant) -> str | None:
    """Name the first test that fails with a mutant; `None`: all pass."""
    with tempfile.TemporaryDirectory(prefix="lbw-mutant-") as folder:
        for name in COPIED:
            source = TREE / name
            target = Path(folder) / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy(source, target)
        edit(Path(folder) / "lbwatch" / one.file, one.edits)
        return failing(Path(folder), [f"tests/{test}" for test in one.tests.split()]) or failing(
            Path(folder), ["tests"]
        )


def edit(path: Path, edits: tuple[tuple[str, str], ...]) -> None:
    text = path.read_text()
    for old, new in edits:
        if text.count(old) != 1:
            raise SystemExit(f"{path.name}: {old!r} is there {text.count(old)} times: the mutant is out of date")
        text = text.replace(old, new)
    path.write_text(text)


def failing(folder: Path, tests: list[str]) -> str | None:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    if done.returncode != 1:
        raise SystemExit(f"pytest could not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    named = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return named[1].removeprefix("tests/") if named else "a test"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
