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
        ('        path = container_path(container, "json")\n', "        return next((b for b in await self.list_containers() if b.id == container), None)\n        path = ''\n"),
        tests="unit/engines/docker/test_source.py unit/test_convergence.py",
    ),
    "environment: all of it is kept": mutant(
        "engines/docker/environment.py",
        ("        if name not in names:\n            continue\n", ""),
        tests="unit/engines/docker/test_environment.py",
    ),
    "environment: what is too long is left out": mutant(
        "engines/docker/environment.py",
        ('        bounded[name] = value if fits else f"\\0 {len(value)} characters are too many"\n        left', '        bounded[name] = value if fits else ""\n        left'),
        tests="unit/engines/docker/test_environment.py",
    ),
    "lives: an unlabelled start is of no account": mutant(
        "engines/docker/cache.py",
        ("if (known and known.env) or self._lives.is_new(event):", "if known and known.env:"),
        tests="unit/engines/docker/test_source_variables.py",
    ),
    "lives: each list has all looked at": mutant(
        "engines/docker/cache.py",
        ("        self._lives.looked_at(id)\n", ""),
        tests="unit/engines/docker/test_source_variables.py unit/engines/docker/test_cache.py",
    ),
    "address: what lies in /tmp is the engine": mutant(
        "wiring/parts.py",
        ("not usual.exists() and mounts.is_mounted(other)", "not usual.exists()"),
        tests="unit/wiring/test_parts.py",
    ),
    "address: two engines have one name": mutant(
        "engines/docker/address.py",
        ("other.engine.name.lower() == address.engine.name.lower()", "other.engine == address.engine"),
        tests="unit/engines/docker/test_address.py",
    ),
    "address: a socket proxy is the machine": mutant(
        "engines/docker/address.py",
        ('        host = ""\n    return given', "        pass\n    return given"),
        tests="unit/engines/docker/test_address.py",
    ),
    "address: each answer of a name server is another address": mutant(
        "engines/docker/reachedat.py",
        ("        if self.address not in asked.result():\n            self", "        self"),
        tests="unit/engines/docker/test_reachedat.py",
    ),
    "ssh: any host is believed": mutant(
        "engines/docker/ssh.py",
        ('    "StrictHostKeyChecking=yes",\n', ""),
        tests="unit/engines/docker/test_ssh.py real/test_ssh.py",
    ),
    "ssh: who gives up ends the log-in": mutant(
        "engines/docker/ssh.py",
        ("        await asyncio.wait({starting})\n        if starting.cancelled()", "        await starting\n        if starting.cancelled()"),
        tests="unit/engines/docker/test_ssh.py",
    ),
    "ssh: each failure is followed by a try": mutant(
        "engines/docker/ssh.py",
        ("asyncio.get_running_loop().time() < self._retry_at", "False"),
        tests="unit/engines/docker/test_ssh.py",
    ),
    "child: it outlives lbwatch": mutant(
        "system/child.py",
        ("ctypes.CDLL(None).prctl(1, 15, 0, 0, 0)\n", ""),
        tests="unit/system/test_child.py",
    ),
    "threads: names are looked up by those of all else": mutant(
        "system/threads.py",
        ("run_in_executor(self._look_ups, socket", "run_in_executor(None, socket"),
        tests="unit/system/test_threads.py",
    ),
    "gateway: any word is an address": mutant(
        "balancers/nginx/locate.py",
        ("(checked_address(each.gateway) for each in owner.endpoints)", "(each.gateway for each in owner.endpoints)"),
        tests="unit/balancers/nginx/test_locate.py",
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
        "balancers/nginx/livefile.py",
        ("        evidence = None if self._reloaded is None else (self._reloaded, self._stamp)\n        await self._control.wait_live()\n", "        evidence = None if self._reloaded is None else (self._reloaded, self._stamp)\n"),
        ("        await self._control.wait_retired()\n", ""),
        tests="unit/balancers/nginx/test_balancer.py unit/balancers/nginx/test_verify.py unit/test_convergence.py",
    ),
    "atomic replace: written in place": mutant(
        "system/files.py",
        ("        scratch, descriptor = _new_scratch(path)\n        _write(descriptor, content=content, mode=mode, like=like)\n        os.replace(scratch, path)\n", "        _write(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, MODE), content=content, mode=mode, like=like)\n"),
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
        "balancers/nginx/config_test/copy.py",
        ('        contents = self._tree.replaced(top=top, stand_ins=stand_ins) | dict.fromkeys(self._tree.outputs, b"")\n', '        contents = {self._tree.outputs[0]: b"", self._tree.real(str(self.source)): b"events {} http { include " + top.encode() + self._tree.outputs[0].encode() + b"; }"}\n'),
        tests="unit/balancers/nginx/test_balancer.py",
    ),
    "test: nginx is not asked what it reads": mutant(
        "balancers/nginx/config_test/judge.py",
        ("    copy.includes_output = await _refusal(copy, program) is not None\n", "    copy.includes_output = True\n"),
        tests="unit/balancers/nginx/config_test",
    ),
    "test: a copy that is wrong is believed": mutant(
        "balancers/nginx/config_test/judge.py",
        ("    if code != 0 and (before is None", "    if True or (before is None"),
        tests="unit/balancers/nginx/config_test",
    ),
    "streams: a port that requests come to is not looked for": mutant(
        "balancers/nginx/config_test/judge.py",
        ("        if copy.includes_stream:\n", "        if False:\n"),
        tests="real/test_streams.py",
    ),
    "streams: of two files one is kept": mutant(
        "balancers/nginx/outputs.py",
        ("        if self.stream is not None:\n            files.backup(self.stream)\n", ""),
        tests="unit/balancers/nginx/test_outputs.py unit/balancers/nginx/test_livefile.py",
    ),
    "streams: the younger one has the port": mutant(
        "core/streams.py",
        ("            rank = *container.age[:2], ", "            rank = container.age[0], -container.age[1], "),
        tests="unit/core/test_streams.py",
    ),
    "trial: what nginx took back stays on disk": mutant(
        "balancers/nginx/livefile.py",
        ("            await asyncio.to_thread(self._outputs.restore)\n            raise TakenBackError", "            raise TakenBackError"),
        tests="unit/balancers/nginx/test_livefile.py",
    ),
    "trial: a start does not restore": mutant(
        "wiring/daemon.py", ("        balancer.file.restore()\n", "        pass\n"), tests="real/test_taken_back.py"
    ),
    "trial: nobody is acquitted": mutant(
        "balancers/nginx/suspects.py",
        ("        self._blamed, self._waiting, self._guilty = self._before\n", ""),
        tests="unit/balancers/nginx/test_suspects.py",
    ),
    "trial: removals wait for the one to blame": mutant(
        "balancers/nginx/suspects.py", ("old = _less(old, wanted=each)", "old = old"), tests="unit/balancers/nginx/test_suspects.py"
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
        "balancers/nginx/livefile.py", ("            await asyncio.to_thread(self._outputs.restore)\n            raise TakenBackError", "            raise TakenBackError"), tests="unit/balancers/nginx/test_livefile.py"
    ),
    "owed: an equal file counts as running": mutant(
        "balancers/nginx/balancer.py", ("        if not changed and not outlived and (self.confirmed() or await self._is_recalled(candidate.text)):", "        if not changed and not outlived:"), tests="unit/balancers/nginx/test_balancer.py unit/test_convergence.py"
    ),
    "owed: nginx is never looked at again": mutant(
        "balancers/nginx/livefile.py",
        ("return self._confirmed is not None and self._confirmed == self._evidence()", "return self._confirmed is not None"),
        tests="unit/balancers/nginx/test_balancer.py unit/test_convergence.py",
    ),
    "owed: an old master's workers are not looked for": mutant(
        "balancers/nginx/local.py", ("        self._upgrade.require_finished(self._seen())\n", ""), tests="unit/balancers/nginx/test_upgrade.py"
    ),
    "owed: a failed apply is not tried again": mutant(
        "reconciler.py", ("            return max(now, self._retry.at)\n", "            return now + 3600.0\n"), tests="unit/test_reconciler.py"
    ),
    "clean stop: a replacement may be left half done": mutant(
        "balancers/nginx/livefile.py", ("    task = asyncio.ensure_future(step)\n", "    await step\n    return\n    task = asyncio.ensure_future(step)\n"), tests="unit/balancers/nginx/test_balancer.py real/test_crash.py"
    ),
    "only one: no lock": mutant(
        "system/lock.py", ("                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n", ""), tests="unit/system/test_lock.py"
    ),
    "fail static: a failed look is a death": mutant(
        "engines/docker/source.py", ("                self._schedule_retry(id, error=error)\n", "                self._settle(id, None, priority=priority)\n"), tests="unit/engines/docker/test_source.py unit/test_convergence.py"
    ),
    "fail static: `null` is an empty list": mutant(
        "engines/docker/answers.py",
        ("for entry in decoded(body, LIST))", 'for entry in (() if body == b"null" else decoded(body, LIST)))'),
        tests="unit/engines/docker/test_answers.py unit/engines/docker/test_client.py",
    ),
    "fail static: a failed look is not tried again": mutant(
        "engines/docker/source.py", ("        self._retries[id] = asyncio.get_running_loop().call_later(retry.wait_s, self._look_again, id)\n", ""), tests="unit/engines/docker/test_source.py"
    ),
    "fail static: another container's answer is taken": mutant(
        "engines/docker/client.py", ("        if found.id != container:", "        if False:"), tests="unit/engines/docker/test_client.py"
    ),
    "stream: a line that cannot be read is skipped": mutant(
        "engines/docker/decode.py", ("        return [self._event_of_head(line)] if skipped else self._events_in(line)", "        return [] if skipped else self._events_in(line)"), tests="unit/engines/docker/test_decode.py"
    ),
    "bounded: an id goes into a path unchecked": mutant(
        "engines/docker/client.py", ("    if not is_container_id(container):", "    if False:"), tests="unit/engines/docker/test_client.py unit/engines/docker/test_exec.py"
    ),
    "bounded: a body of any length is read": mutant(
        "engines/docker/body.py", ("        if len(body) > max_bytes:", "        if False:"), tests="unit/engines/docker/test_body.py"
    ),
    "fail static: another engine's list is believed": mutant(
        "engines/docker/source.py", ("        self._guard.judge(listed, asked_at=self._lister.began_at)\n", ""), tests="unit/engines/docker/test_guard.py"
    ),
    "stream: it may be of any age": mutant(
        "engines/docker/stream.py", ("async with asyncio.timeout(MAX_STREAM_AGE_S) as", "async with asyncio.timeout(None) as"), tests="unit/engines/docker/test_stream.py"
    ),
    "bounded: a loop of restarts is followed": mutant(
        "core/plan.py", ("            crash_looping=self._crash_loops.crash_looping(self._containers, changed=changed, now=now),\n", ""), tests="unit/test_reconciler.py"
    ),
    "bounded: a start by hand clears nothing": mutant(
        "core/crashloop.py", ("        if grown < 0 or not container.restarts:\n", "        if False:\n"), tests="unit/core/test_crashloop.py"
    ),
    "bounded: a health check may flip for good": mutant(
        "core/flapping.py", ("            self.flapping = True\n", ""), tests="unit/core/test_flapping.py"
    ),
    "order: half of a deploy by renames goes out": mutant(
        "core/renames.py", ("KEEP_NAME_S = 1.5", "KEEP_NAME_S = 0.0"), tests="unit/core/test_renames.py"
    ),
    "address: the mesh's own": mutant(
        "core/networks.py",
        ("    return endpoint.network not in (_INGRESS, _NONE) and", "    return endpoint.network not in (_NONE,) and"),
        tests="unit/core/test_networks.py",
    ),
    "bounded: every change reloads at once": mutant(
        "core/schedule.py", ("times.append(last_added + interval)", "pass"), tests="unit/core/test_schedule.py unit/test_reconciler.py"
    ),
    "bounded: weights of any sum": mutant(
        "balancers/nginx/limits.py", ("_MAX_CONSISTENT_WEIGHT = 2000", "_MAX_CONSISTENT_WEIGHT = 10**9"), ("_MAX_CONSISTENT_WEIGHT_OF_ALL = 10_000", "_MAX_CONSISTENT_WEIGHT_OF_ALL = 10**9"), tests="unit/balancers/nginx/test_limits.py"
    ),
    "injection: any text names an upstream": mutant(
        "core/fields.py", ("    if not UPSTREAM_NAME.fullmatch(name):\n        raise RefusedError(UPSTREAM_NAME_TAKES)\n", ""), tests="unit/core/test_labels.py unit/balancers/test_template.py"
    ),
    "injection: a label's text is written as it is": mutant(
        "balancers/nginx/quoting.py", ("    if _PLAIN.fullmatch(text):\n        return text\n", "    return text\n"), tests="unit/balancers/nginx/test_quoting.py"
    ),
    "injection: no stand-in for a newline": mutant(
        "balancers/nginx/quoting.py", ("if not _PLAIN.fullmatch(chr(code))", "if not _PLAIN.fullmatch(chr(code)) and code != 10"), tests="unit/balancers/nginx/test_quoting.py"
    ),
    "injection: quotes of a label's text end a string": mutant(
        "balancers/nginx/quoting.py", ('.replace(around, f"\\\\{around}")', ""), tests="unit/balancers/nginx/test_quoting.py"
    ),
    "injection: a backslash of a label's text is live": mutant(
        "balancers/nginx/quoting.py", ('.replace("\\\\", r"\\\\")', ""), tests="unit/balancers/nginx/test_quoting.py"
    ),
    "injection: a label's text in Lua": mutant(
        "balancers/nginx/quoting.py", ("if in_lua or _LUA in directive", "if _LUA in directive"), tests="unit/balancers/nginx/test_quoting.py"
    ),
    "injection: any address is an address": mutant(
        "core/addresses.py", ("    if address.is_loopback or address.is_link_local or", "    if False or"), tests="unit/core/test_networks.py"
    ),
    "reach: every engine's networks are nginx's": mutant(
        "core/reach/target.py", ("        return self.rules.nginx_engine == self.owner.engine.name", "        return True"), tests="unit/core/reach/test_rules.py"
    ),
    "reach: any network is one on all engines": mutant(
        "core/reach/rules.py", ("if each.driver == _OVERLAY))", "if each.driver))"), tests="unit/core/reach/test_rules.py"
    ),
    "reach: loopback elsewhere is reached": mutant(
        "core/reach/bindings.py", ('        return own if reaches_loopback else ""', "        return own"), tests="unit/core/reach/test_bindings.py"
    ),
    "claims: clocks of two engines are compared": mutant(
        "core/rivals.py", ("    return owner.engine.order, -(", "    return 0, -("), tests="unit/core/reach/test_rules.py"
    ),
    "claims: a machine's address is one container's": mutant(
        "core/reach/rules.py", ('claim=f"port {_host_port(address, port)}"', "claim=address"), tests="unit/core/reach/test_rules.py"
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
        "core/plan.py", ("        timers = (self._crash_loops, self._drains, ", "        timers = (self._crash_loops, "), tests="unit/test_reconciler.py"
    ),
    "drain: it empties an upstream": mutant(
        "core/group.py", ("    return classes[min(classes)], _STATES[min(classes)]", "    return classes[_Class.READY], ServerState.UP"), tests="unit/core/test_plan.py"
    ),
    "drain by hand: not kept": mutant(
        "system/state.py", ("        self.drained[id] = name\n        self._save()\n", "        self.drained[id] = name\n"), tests="unit/system/test_state.py"
    ),
    "engine memory: for everybody's eyes": mutant(
        "system/enginememory.py", ("text=content.decode(), mode=MODE)", "text=content.decode())"), tests="unit/system/test_enginememory.py"
    ),
    "engine memory: written whatever is there": mutant(
        "system/enginememory.py", ("        if digest == self._on_disk:\n            self._written = kept\n            return False\n", ""), tests="unit/system/test_enginememory.py"
    ),
    "engine memory: what failed is taken for written": mutant(
        "system/enginememory.py", ("        self._on_disk = self._written = None\n        self._replace", "        self._replace"), tests="unit/system/test_enginememory.py"
    ),
    "engine memory: anything is an id": mutant(
        "system/enginememory.py", ('pattern=r"^[0-9a-z]{1,64}\\Z"', 'pattern=""'), tests="unit/system/test_enginememory.py"
    ),
    "hold: who was told to stop gets requests": mutant(
        "core/group.py", ("if not holds or not (", "if True or not ("), tests="unit/core/test_group.py"
    ),
    "hold: the name goes with the last container": mutant(
        "core/table.py", ("self.emptied[name] = replace(known.upstream, hold_s=known.hold_s)", "pass"), tests="unit/core/test_holds.py"
    ),
    "hold: it is used where no request can wait": mutant(
        "core/group.py", ("    if refusal is not None:\n        unused", "    if False:\n        unused"), tests="unit/core/test_group.py"
    ),
    "pause: not kept": mutant(
        "system/state.py", ("        self.paused |= {name}\n        self._save()\n", "        self.paused |= {name}\n"), tests="unit/system/test_state.py"
    ),
    "pause: promised where no request can wait": mutant(
        "api/control.py", ("        if refusal is not None:\n            raise", "        if False:\n            raise"), tests="unit/api/test_pause.py"
    ),
    "version: an old nginx gets `keepalive 0`": mutant(
        "balancers/nginx/limits.py", ("if upstream.keepalive != 0 or takes_keepalive_off(version):", "if True:"), tests="unit/balancers/nginx/test_limits.py"
    ),
    "version: not learned anew where nginx cannot start": mutant(
        "balancers/nginx/watch.py", ("if running is not None else program in (None, self._program)", "if running is not None else True"), tests="unit/balancers/nginx/test_watch.py"
    ),
    "version: the program on disk is believed": mutant(
        "balancers/nginx/local.py", ("return older(tested, runs)", "return tested"), tests="unit/balancers/nginx/test_local.py"
    ),
    "version: a program that was replaced since is believed": mutant(
        "balancers/nginx/local.py", ("program is not None and started_after(master, program)", "program is not None"), tests="unit/balancers/nginx/test_local.py"
    ),
    "sticky: who drains gets new clients": mutant(
        "balancers/nginx/levels.py", ("for server in servers if not server.draining)", "for server in servers)"), tests="unit/balancers/nginx/test_isolate.py"
    ),
    "levels: a site that is refused is opened": mutant(
        "balancers/nginx/levels.py", ("        closed=site.closed or REFUSED,\n", "        locations=site.locations,\n"), tests="unit/balancers/nginx/test_levels.py"
    ),
    "levels: an upstream is reached past its host": mutant(
        "balancers/nginx/levels.py", (", has_host=upstream.has_host)", ")"), tests="unit/balancers/nginx/test_levels.py"
    ),
    "live: another site is pushed": mutant(
        "balancers/nginx/livepath.py", ("self._others is None or self._others == others_in(parts)", "True"), tests="unit/balancers/nginx/test_livepath.py"
    ),
    "template: a renewed file is no other text": mutant(
        "balancers/template.py", ('if files else ""', 'if False else ""'), tests="unit/balancers/test_template.py"
    ),
    "sticky: a drain waits for its turn": mutant(
        "core/schedule.py", (" and _places(before, new=True) <= _places(after, new=True))", ")"), tests="unit/core/test_schedule.py"
    ),
    "connect: no port is waited for": mutant(
        "core/probes.py", ("if server is None or not candidate.labels.waits_for_port:", "if True:"), tests="unit/core/test_probes.py"
    ),
    "connect: a restart is the same life": mutant(
        "core/probes.py", ('return f"{self.id} {self.started_ns} {self.host_port}"', 'return f"{self.id} {self.host_port}"'), tests="unit/core/test_probes.py"
    ),
    "connect: a start of ours writes before it knows": mutant(
        "reconciler.py", ("if now < (firm_at := self.planner.firm_at(now=now)):", "if now < (firm_at := 0.0):"), tests="unit/test_reconciler.py"
    ),
    "password: any one will do": mutant(
        "api/password.py", ("if given is not None and hmac.compare_digest(_digest(given), self._digest):", "if given is not None:"), tests="unit/api/test_password.py"
    ),
    "password: guesses without end": mutant(
        "api/password.py", ("if wrong_at and len(wrong_at) >= MAX_WRONG:", "if False:"), tests="unit/api/test_password.py"
    ),
    "password: a file that vanished opens": mutant(
        "api/application.py", ("if request.path in _OPEN or not password.is_set:", "if True:"), tests="unit/api/test_protection.py"
    ),
    "health: the unhealthy serve": mutant(
        "core/group.py", ("    return _Class.UNHEALTHY if _is_sick(candidate) else _Class.READY", "    return _Class.READY"), tests="unit/core/test_plan.py"
    ),
    "order: what comes together goes out one by one": mutant(
        "engines/docker/source.py", ("        if self._queue.handles_events(besides=self._cache.dead):\n", "        if False:\n"), tests="unit/engines/docker/test_source_order.py"
    ),
    "marks: nginx keeps what it remembers": mutant(
        "balancers/nginx/balancer.py", ("        outlived = is_outlived(upstreams_in(self._seen.parts), upstreams_in(trial.parts))", "        outlived = False"), tests="unit/balancers/nginx/test_balancer.py"
    ),
    "names: one that comes costs no reload": mutant(
        "balancers/nginx/leftovers.py", ("        return False  # a name", "        pass  # a name"), tests="unit/balancers/nginx/test_leftovers.py"
    ),
    "deaths: an event is not believed": mutant(
        "engines/docker/deaths.py", ('event.action != "die"', "True"), tests="unit/engines/docker/test_deaths.py unit/engines/docker/test_source.py"
    ),
    "deaths: that of a former life is believed": mutant(
        "engines/docker/deaths.py", (" if _is_of_this_life(event, known) else None", ""), tests="unit/engines/docker/test_source.py unit/engines/docker/test_deaths.py"
    ),
    "deaths: what a new stream tells never counts": mutant(
        "engines/docker/deaths.py", ("event is None or event.at_ns", "True or event.at_ns"), tests="unit/engines/docker/test_deaths.py unit/engines/docker/test_cache.py"
    ),
    "deaths: an older answer brings it back": mutant(
        "engines/docker/deaths.py", ("or not event_waits:", "or True:"), tests="unit/engines/docker/test_cache.py"
    ),
    "health: what the engine forgot is forgotten": mutant(
        "engines/docker/memory.py", ("if same_life else found", "if False else found"), tests="unit/engines/docker/test_source.py"
    ),
    "flood: unknown ids wait without a bound": mutant(
        "engines/docker/queue.py", ("len(lane) >= MAX_UNKNOWN", "False"), tests="unit/engines/docker/test_queue.py"
    ),
    "flood: the others wait for all of it": mutant(
        "engines/docker/queue.py", ("rounds % len(lanes) if not rest else 0", "0"), tests="unit/engines/docker/test_queue.py"
    ),
    "order: what comes back waits for removals": mutant(
        "core/schedule.py", ("last_added=self._last_added", "last_added=self._last"), tests="unit/test_reconciler.py"
    ),
    "cost: what was decided before is never decided anew": mutant(
        "core/table.py", ("            if known is None or known.container is not container or known.owner is not owner:", "            if known is None:"), tests="unit/core/test_table.py"
    ),
    "cost: who drains is looked at when it changes otherwise": mutant(
        "core/table.py", ("        for id in _differing(before.draining, suspended.draining) & self._candidates.keys():", "        for id in set[str]():"), tests="unit/core/test_table.py"
    ),
    "cost: a changed entry of a list waits for its turn": mutant(
        "engines/docker/turns.py", (" or self._entries.get(id) != entry", ""), tests="unit/engines/docker/test_turns.py"
    ),
    "cost: any loop is cut out of a template": mutant(
        "balancers/turns.py", ("        return node.name in names\n", "        return True\n"), tests="unit/balancers/test_turns.py"
    ),
    "names: two applications share a default name": mutant(
        "core/rivals.py",
        ("    if candidate.application is None or first is None or first.claimant == candidate.application:", "    if True:"),
        tests="unit/core/test_table.py",
    ),
    "names: what nginx's files use vanishes": mutant(
        "balancers/nginx/isolate.py", ("            if self._keep_missing(refusal):\n", "            if False:\n"), tests="unit/balancers/nginx/test_isolate.py"
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
        "api/server.py", ("ours=lambda transport: not is_unix(transport),", "ours=lambda _: True,"), tests="unit/api/test_server.py"
    ),
    "status: slow clients are never cut off": mutant(
        "api/door.py", ("if number >= surplus and now - self._opened[connection] < self._timeout_s:", "if number >= surplus:"), tests="unit/api/test_server.py"
    ),
    "status: a lost engine is no reason not to be ready": mutant(
        "core/status.py", ("    elif engine.error is not None:", "    elif False:"), tests="unit/core/test_status.py"
    ),
    "status: what failed once is told for ever": mutant(
        "reconciler.py", ("replace(self._applied, behind_since=None, error=None)", "replace(self._applied, behind_since=None)"), tests="unit/test_reconciler.py"
    ),
    "page: what containers say is markup": mutant(
        "api/page/rendering.py", ("autoescape=True", "autoescape=False"), tests="unit/api/page/test_rendering.py"
    ),
    "explain: a container without labels waits for the next full look": mutant(
        "engines/docker/cache.py", ("            self._name(event, id=id)\n", ""), tests="unit/cli/test_explain.py"
    ),
    "explain: what nginx does not run counts as routed": mutant(
        "core/rows.py", ("runs is not None and key not in runs", "False"), tests="real/test_reasons.py"
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
        ("os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC", "os.O_TRUNC | os.O_CLOEXEC"),
        tests="unit/balancers/nginx/config_test/test_scratch.py",
    ),
    "container: copies stay": mutant(
        "balancers/nginx/config_test/container.py", ("            await asyncio.to_thread(self._clear)\n", "            pass\n"), tests="unit/balancers/nginx/config_test/test_container.py"
    ),
    "files: a link in the place of one of ours is followed": mutant(
        "system/reading.py",
        ('    if not stat.S_ISREG(found.st_mode):\n        raise UnusableFileError(f"it is {_described(path, found)}, where', '    if False:\n        raise UnusableFileError(f"it is {_described(path, found)}, where'),
        ("    found = os.stat(path, follow_symlinks=follow)\n", "    found = os.stat(path)\n"),
        ("flags if follow else flags | os.O_NOFOLLOW", "flags"),
        tests="unit/system/test_reading.py unit/system/test_files.py unit/system/test_state.py",
    ),
    "files: whatever there is, is opened": mutant(
        "system/reading.py",
        ("    if not (stat.S_ISREG(found.st_mode) or (pipes and stat.S_ISFIFO(found.st_mode))):\n", "    if False:\n"),
        tests="unit/system/test_reading.py unit/balancers/test_template.py unit/test_settings.py",
    ),
    "files: no bound": mutant(
        "system/reading.py",
        ("    if found.st_size > max_bytes:\n", "    if False:\n"),
        ("    if not left:\n", "    if False:\n"),
        tests="unit/system/test_reading.py",
    ),
    "files: a scratch file is written through whatever lies there": mutant(
        "system/files.py",
        ("os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC", "os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_CLOEXEC"),
        ("        scratch.unlink(missing_ok=True)\n    try:\n", "        pass\n    try:\n"),
        tests="unit/system/test_files.py",
    ),
    "files: a scratch file that cannot be removed stops a pass": mutant(
        "system/files.py", ("    except FileExistsError:  # a folder", "    except ZeroDivisionError:  # a folder"), tests="unit/system/test_files.py"
    ),
    "files: a backup is for everybody": mutant(
        "system/files.py", ("mode if like is None else stat.S_IMODE(like.st_mode) & 0o777", "mode"), tests="unit/system/test_files.py"
    ),
    "files: whatever lies in a backup's place is one": mutant(
        "system/files.py", ("        return stat.S_ISREG(backup_path(path).lstat().st_mode)  # anything else", "        return bool(backup_path(path).lstat())  # anything else"), tests="unit/system/test_files.py unit/balancers/nginx/test_livefile.py"
    ),
    "files: a backup that stays is relied on": mutant(
        "balancers/nginx/livefile.py", ("        elif (reason := place.refusal(kept := files.backup_path(self.path))) is not None:\n", "        elif (reason := None if (kept := self.path) else None) is not None:\n"), tests="unit/balancers/nginx/test_livefile.py"
    ),
    "files: whether a file may be replaced is not tried": mutant(
        "system/place.py", ("    return None if found is None or (why := refusal(path)) is None else", "    return None if found is None or (why := None) is None else"), tests="unit/system/test_place.py"
    ),
    "files: whether there is room is not tried": mutant(
        "system/place.py", ("                os.fsync(descriptor)\n", ""), ("            if size:\n", "            if False:\n"), tests="unit/system/test_place.py"
    ),
    "only one: a lock may be another name of a file": mutant(
        "system/place.py", ("    if found is not None and found.st_nlink > 1:\n", "    if False:\n"), tests="unit/system/test_lock.py unit/system/test_place.py"
    ),
    "only one: a lock that was swapped is written to": mutant(
        "system/lock.py", ("                if not self._is_held_by(descriptor):", "                if False:"), tests="unit/system/test_lock.py"
    ),
    "live: changes that go on put off a worker that is late": mutant(
        "balancers/nginx/live/push.py",
        ("            since, owed = self._behind.get(key, (now, latest))\n", "            since, owed = now, latest\n"),
        tests="unit/balancers/nginx/live/test_push.py real/test_live.py",
    ),
    "live: what was told counts without its file": mutant(
        "balancers/nginx/livepath.py",
        ("        is_written = self.behind.is_done and self._file.is_untouched()\n", "        is_written = True\n"),
        tests="unit/balancers/nginx/test_livepath.py unit/balancers/nginx/test_behind.py",
    ),
    "live: what came of a long test is told to nobody": mutant(
        "balancers/nginx/behind.py",
        ("return self.wanted is None and self.result_of is None and", "return self.wanted is None and"),
        tests="unit/balancers/nginx/test_behind.py",
    ),
    "live: after a start a change that comes at once has nginx reloaded": mutant(
        "balancers/nginx/livepath.py",
        ("        is_first, self.in_force = not self.in_force, True\n", "        is_first, self.in_force, self._is_reloaded = not self.in_force, True, True\n"),
        tests="unit/balancers/nginx/test_livepath.py",
    ),
    "live: a name that goes with its servers has nginx reloaded": mutant(
        "balancers/nginx/live/directives.py",
        ("    return reload_reason(upstream) is None or not upstream.servers\n", "    return not upstream.servers\n"),
        tests="real/test_live.py",
    ),
    "live: a second Lua block of the user's is not understood": mutant(
        "balancers/nginx/live/directives.py",
        ("(?:\\d+#\\d+: )?is duplicate|", "never|"),
        tests="real/test_live.py",
    ),
    "live: whoever connects is a worker": mutant(
        "balancers/nginx/live/workers.py",
        ("        pids = self._pids()\n", "        pids = None\n"),
        tests="unit/balancers/nginx/live/test_workers.py real/test_live_daemon.py",
    ),
    "live: a server's next life is its old one": mutant(
        "balancers/nginx/live/protocol.py",
        ("        server.started_ns,\n", "        0,\n"),
        tests="real/test_live.py",
    ),
    "site files: half a renewal counts": mutant(
        "system/sitefiles/grace.py", ("    return replace(\n        seen,\n", "    return seen or replace(\n        seen,\n"), tests="unit/system/sitefiles/test_grace.py"
    ),
    "site files: what is seen once by chance counts": mutant(
        "system/sitefiles/place.py", ("self.seen is None or is_quiet or seen == self._unsure", "True"), tests="unit/system/sitefiles/test_place.py"
    ),
    "site files: times alone tell that one is the same": mutant(
        "system/sitefiles/contents.py", ("            if _is_sure(stamp, now=now):\n", "            if True:\n"), tests="unit/system/sitefiles/test_contents.py"
    ),
    "site files: what cannot be used is not there": mutant(
        "system/sitefiles/merge.py", ("    errors = {path: each.error for path, each in sorted(files.items()) if each.error is not None}\n", "    errors: dict[str, str] = {}\n"), tests="unit/system/sitefiles/test_merge.py"
    ),
    "site files: a folder that fails is empty": mutant(
        "system/sitefiles/place.py", ("                seen = replace(self.seen, error=seen.error)\n", "                pass\n"), tests="unit/system/sitefiles/test_folders.py"
    ),
    "site files: links are not watched": mutant(
        "system/sitefiles/survey.py", ("                    watched.add(walk(entry.name, start=found.target).steps)\n", "                    pass\n"), tests="unit/system/sitefiles/test_survey.py"
    ),
    "site files: what came before the watch is not seen": mutant(
        "system/sitefiles/place.py", ("        for _ in range(_SURVEYS):", "        for _ in range(1):"), tests="unit/system/sitefiles/test_place.py"
    ),
    "site files: a dead drive is waited for": mutant(
        "system/sitefiles/place.py", ("                self._set_answers(answers=False)\n                break\n", "                pass\n"), tests="unit/system/sitefiles/test_folders.py"
    ),
    "site files: events that were lost are not noticed": mutant(
        "system/sitefiles/watch.py", ("            not event.name or (names := self._names.get(event.watch)) is None", "            (event.watch > 0 and not event.name) or (names := self._names.get(event.watch, frozenset())) is None"), tests="unit/system/sitefiles/test_watch.py"
    ),
    "sites: a backslash stays alone": mutant(
        "balancers/nginx/sites/words.py", ('text.replace("\\\\", "\\\\\\\\").replace', "text.replace"), tests="unit/balancers/nginx/sites/test_words.py"
    ),
    "sites: a file with a $ is written": mutant(
        "balancers/nginx/sites/dialect.py", ("        if not _is_writable(site):", "        if False:"), tests="unit/balancers/nginx/sites/test_dialect.py"
    ),
    "sites: who waits passes by a file of the user's": mutant(
        "balancers/nginx/sites/locations.py", ("and site.snippet is None and location.snippet is None", ""), tests="unit/balancers/nginx/sites/test_locations.py"
    ),
    "sites: an included name is a pattern": mutant(
        "balancers/nginx/sites/words.py", ("    if _GLOB.search(text) is None:", "    if True:"), tests="unit/balancers/nginx/sites/test_words.py"
    ),
    "sites: a refused host falls to the default one": mutant(
        "balancers/nginx/sites/dialect.py", ("        if site.on_http is OnHttp.REFUSES:\n", "        if False:\n"), tests="unit/balancers/nginx/sites/test_dialect.py"
    ),
    "sites: what else changed is not seen": mutant(
        "balancers/nginx/sites/dialect.py", ("        return mine == others", "        return True"), tests="unit/balancers/nginx/sites/test_dialect.py"
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
