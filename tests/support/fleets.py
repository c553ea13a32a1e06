"""Several engines and a Swarm, as commands look at them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from command import DEADLINE_S, WEB_AS_EXPOSED
from waiting import eventually

from lbwatch.engines.fake import FakeEngine
from lbwatch.engines.fake.swarm import FakeSwarm


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """
    Engines `a` and `b`, each with a container `web-1`, and a Swarm with a service `api`, whose manager `m1` is another.
    asks for its service `quiet`.

    Attributes:
        settings: For a command that looks at all of them, where no daemon runs.
    """

    a: FakeEngine
    b: FakeEngine
    swarm: FakeSwarm
    settings: dict[str, object]


@asynccontextmanager
async def made_fleet(folder: Path) -> AsyncIterator[Fleet]:
    """One whose nginx is on engine a, and on the overlay `ov`; *folder*: where its sockets are."""
    sockets = {name: folder / f"{name}.sock" for name in ("a", "b", "m1")}
    a, b, m1 = (FakeEngine(socket=socket, lag_s=0, seed=seed) for seed, socket in enumerate(sockets.values()))
    async with a, b, m1, FakeSwarm(seed=5) as swarm:
        swarm.add_node("m1", manager=True, engine=m1)
        swarm.add_node("w1", manager=False)
        swarm.create_network("ov")
        for each in (a, b):
            each.containers.run(name="web-1", labels=WEB_AS_EXPOSED)
        swarm.services.create("api", replicas=2, labels={"lbwatch.port": "80"}, networks=("ov",))
        swarm.services.create("quiet", replicas=0)
        await eventually(lambda: {each.state for each in swarm.tasks} == {"running"}, within=DEADLINE_S)
        settings: dict[str, object] = {
            "docker_host": ",".join(f"{name}=unix://{socket}" for name, socket in sockets.items()),
            "control_socket": folder / "none",
            "networks": "bridge,ov",
        }
        yield Fleet(a=a, b=b, swarm=swarm, settings=settings)
