"""How soon a real Swarm's changes are in nginx's file, and what it costs the managers."""

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon import wait_until
from faultproxy import FaultProxy
from swarmnginx import SwarmStage, pass_s, swarm_stage
from swarmnodes import SwarmNodes
from swarmseen import TaskEvents, TaskSights, label_of, lateness

SETTLED_S = 10.0
"""After a change it is looked at more often for so long."""

QUIET_S = 30.0


@contextmanager
def counted_stage(swarm: SwarmNodes, folder: Path, **settings: str) -> Iterator[tuple[SwarmStage, FaultProxy]]:
    """Set a stage whose only door counts what it is asked."""
    with FaultProxy(swarm.manager.socket, swarm.manager.folder / "door.sock") as proxy:
        door = f"{swarm.manager.hostname}={proxy.url}"
        with swarm_stage(swarm, folder, docker_host=door, **settings) as stage:
            yield stage, proxy


def per_second(proxy: FaultProxy, stage: SwarmStage) -> tuple[float, float]:
    """Return looks at tasks a second, and the share of a core that lbwatch takes, while nothing happens."""
    pass_s(SETTLED_S)
    asked, cpu, began = proxy.asked.copy(), _cpu_s(stage), time.monotonic()
    pass_s(QUIET_S)
    took_s, asked = time.monotonic() - began, proxy.asked - asked
    share = (_cpu_s(stage) - cpu) / took_s
    print(f"{asked.total() / took_s:.2f} requests/s, {100 * share:.1f} % of a core; {dict(asked)}")
    return asked["GET /tasks"] / took_s, share


def _cpu_s(stage: SwarmStage) -> float:
    """Return the CPU time that lbwatch and its threads have taken; facts of proc(5)."""
    words = Path(f"/proc/{stage.lbwatch.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def test_twenty_tasks_are_in_as_they_start_and_out_before_they_end(swarm: SwarmNodes, tmp_path: Path) -> None:
    """Others look each 15 s: clients find a dead task for so long, and none of the new ones."""
    with swarm_stage(swarm, tmp_path, reload_interval="100ms") as stage:
        events = TaskEvents(swarm.nodes)
        with TaskSights(swarm) as sights:
            swarm.create("web", replicas=20, labels=label_of("web"))
            stage.wait_serving("web", swarm.wait_running("web", 20, within=120), within=30)
            started = [(events.first("start", task.id), stage.server(task)) for task in swarm.running("web")]
            swarm.scale("web", 1)
            stage.wait_serving("web", swarm.wait_running("web", 1, within=120), within=30)
        late = lateness(stage.history, events, sights)
        took = sorted(stage.history.came(server, after=at) - at for at, server in started if at is not None)
        print(f"in {statistics.median(took):.2f} s after its start, at most {took[-1]:.2f} s")
        print(f"out {-max(late.values()):.2f} to {-min(late.values()):.2f} s before the stop signal, {len(late)} tasks")
        assert len(took) == 20
        assert statistics.median(took) < 1
        assert took[-1] < 3
        assert len(late) == 19
        assert max(late.values()) < -1


def test_the_only_task_serves_until_it_is_stopped(swarm: SwarmNodes, tmp_path: Path) -> None:
    """It drains for 3 s, and nobody else is there; out too early is 3 s of errors for nothing."""
    with swarm_stage(swarm, tmp_path) as stage:
        swarm.create("web", "--update-order", "stop-first", "--update-monitor", "500ms", labels=label_of("web"))
        (old,) = swarm.wait_running("web", 1)
        stage.wait_serving("web", [old])
        events = TaskEvents(swarm.nodes)
        with TaskSights(swarm) as sights:
            swarm.update("web", "--env-add", "NEW=1")
            swarm.wait_updated("web")
            (new,) = swarm.wait_running("web", 1)
            stage.wait_serving("web", [new])
        (late,) = (seconds for task, seconds in lateness(stage.history, events, sights).items() if task == old.id)
        print(f"out {late:+.2f} s after its stop signal")
        assert -0.5 < late < 3


def test_an_update_that_waits_costs_a_request_a_second(swarm: SwarmNodes, tmp_path: Path) -> None:
    """Some are told to wait an hour between two tasks, and all that time the service is not settled."""
    with counted_stage(swarm, tmp_path) as (stage, proxy):
        swarm.create("web", "--update-delay", "10m", replicas=3, labels=label_of("web"))
        stage.wait_serving("web", swarm.wait_running("web", 3))
        swarm.update("web", "--env-add", "NEW=1")
        wait_until(
            lambda: len([task for task in swarm.tasks("web") if task.desired != "running" and task.state != "running"]),
            within=60,
            holds=lambda ended: ended == 1,
            what="the first is updated",
        )
        stage.wait_serving("web", swarm.wait_running("web", 3))
        rate, _ = per_second(proxy, stage)
        assert rate <= 1.2
        swarm.update("web", "--update-delay", "0s", "--env-add", "NEW=2")


def test_a_quiet_swarm_costs_a_request_a_second(swarm: SwarmNodes, tmp_path: Path) -> None:
    """That is the look which finds tasks that died unheard; a manager has better things to do than to answer us."""
    with counted_stage(swarm, tmp_path, resync_interval="30s") as (stage, proxy):
        swarm.create("web", replicas=20, labels=label_of("web"))
        stage.wait_serving("web", swarm.wait_running("web", 20, within=120), within=30)
        with stage.untouched():
            rate, cpu = per_second(proxy, stage)
        assert rate <= 1.1
        assert cpu < 0.05
