"""Tasks are spread: each goes where the fewest of its service are."""

from collections import Counter
from pathlib import Path

from simulation import in_simulated_time
from swarmstage import swarm_stage


def test_tasks_are_spread_over_the_nodes_that_take_some(tmp_path: Path) -> None:
    # A paused node keeps what it has, and gets no more.
    async def body() -> None:
        async with swarm_stage(tmp_path, workers=2) as stage:
            stage.swarm.nodes.set_availability("w2", "pause")
            tasks = await stage.serve("web", 6)
            assert Counter(task.node.hostname for task in tasks if task.node) == {"m1": 3, "w1": 3}

    in_simulated_time(body())
