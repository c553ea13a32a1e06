"""What users do with a fake Swarm is refused where a real one refuses it."""

from pathlib import Path

import pytest
from simulation import in_simulated_time
from swarmstage import swarm_stage

from lbwatch.engines.fake.state import ConflictError, FailedError, InvalidError, NotFoundError


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    # Without a leader nothing can be changed at all.
    async def body() -> None:
        async with swarm_stage(tmp_path) as stage:
            services = stage.swarm.services
            services.create("web", replicas=None)
            for error, options in ((ConflictError, {"name": "web"}), (InvalidError, {"name": "x", "order": "none"})):
                with pytest.raises(error):
                    services.create(**options)
            with pytest.raises(NotFoundError):
                services.create("api", networks=("nowhere",))
            with pytest.raises(InvalidError):
                services.scale("web", 3)
            with pytest.raises(InvalidError):
                services.rollback("web")
            losing = stage.swarm.spawn(stage.swarm.lose_leader(5.0))
            await stage.until(lambda: any(door.trouble.name != "NONE" for door in stage.swarm.doors.values()))
            with pytest.raises(FailedError, match="does not have a leader"):
                services.remove("web")
            await losing
            services.remove("web")

    in_simulated_time(body())
