"""What managers answer of tasks lags behind the truth as a log does."""

import asyncio
from pathlib import Path

from simulation import in_simulated_time
from swarmstage import swarm_stage


def test_an_answer_lags_behind_the_truth_and_never_mixes_times(tmp_path: Path) -> None:
    # Who asks once after an event sees what was before it.
    async def body() -> None:
        async with swarm_stage(tmp_path) as stage:
            tasks = await stage.serve("web", 3)
            lags = iter([0.5, *[0.05] * 100])
            stage.swarm.replica.lag_s = lambda: next(lags)
            stage.swarm.services.scale("web", 0)
            began = await stage.until(lambda: all(task.unwanted for task in tasks))
            assert {answer["DesiredState"] for answer in await stage.tasks()} == {"running"}
            await asyncio.sleep(0.2)  # the later two would be seen by now
            assert {answer["DesiredState"] for answer in await stage.tasks()} == {"running"}
            await asyncio.sleep(began + 0.51 - stage.now())
            assert {answer["DesiredState"] for answer in await stage.tasks()} == {"remove"}

    in_simulated_time(body())


def test_versions_grow_with_each_change_of_anything(tmp_path: Path) -> None:
    # That is how two answers are told apart in time.
    async def body() -> None:
        async with swarm_stage(tmp_path) as stage:
            await stage.serve("web", 2)
            before = {answer["ID"]: answer["Version"]["Index"] for answer in await stage.tasks()}
            stage.swarm.services.scale("web", 1)
            await asyncio.sleep(1.0)
            after = {answer["ID"]: answer["Version"]["Index"] for answer in await stage.tasks()}
            grown = [id for id in before if after[id] > before[id]]
            assert len(grown) == 1
            assert after[grown[0]] > max(before.values())

    in_simulated_time(body())


def test_a_removed_service_has_its_tasks_in_the_whole_list_alone(tmp_path: Path) -> None:
    # They go on for three seconds, and the filter by service is 404 by then.
    async def body() -> None:
        async with swarm_stage(tmp_path) as stage:
            (task,) = await stage.serve("web", 1, networks=("ov",))
            stage.swarm.services.remove("web")
            await asyncio.sleep(1.0)
            (answer,) = await stage.tasks()
            assert (answer["DesiredState"], answer["Status"]["State"]) == ("remove", "running")
            assert (await stage.docker.ask("GET", f"/services/{task.service.id}"))[0] == 404
            assert (await stage.docker.ask("GET", f"/tasks/{task.id}"))[0] == 200
            await stage.until(lambda: not [*stage.swarm.tasks])
            assert (await stage.docker.ask("GET", f"/tasks/{task.id}"))[0] == 404

    in_simulated_time(body())
