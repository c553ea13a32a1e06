"""A fake Swarm ends with all that it began."""

import asyncio
from pathlib import Path

from simulation import in_simulated_time
from swarmstage import swarm_stage


def test_nothing_goes_on_after_a_swarm_is_closed(tmp_path: Path) -> None:
    # A task that was left behind would run in the next test's loop.
    async def body() -> None:
        async with swarm_stage(tmp_path) as stage:
            await stage.serve("web", 3)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    in_simulated_time(body())
