"""What a manager says of itself and of its services has the fields of the Engine API."""

from pathlib import Path

from simulation import in_simulated_time
from swarmstage import swarm_stage


def test_a_service_says_how_it_is_updated(tmp_path: Path) -> None:
    # A reader looks at it more often meanwhile.
    async def body() -> None:
        async with swarm_stage(tmp_path) as stage:
            await stage.serve("web", 2, image="app:1")
            stage.swarm.services.update("web", image="app:2")
            await stage.until(lambda: stage.swarm.services.find("web").update)
            _, answer = await stage.docker.ask("GET", "/services/web")
            assert answer["UpdateStatus"]["State"] == "updating"
            assert answer["PreviousSpec"]["TaskTemplate"]["ContainerSpec"]["Image"] == "app:1"
            assert answer["Spec"]["Mode"] == {"Replicated": {"Replicas": 2}}

    in_simulated_time(body())
