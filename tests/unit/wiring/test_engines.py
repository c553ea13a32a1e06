"""Which engines are followed, and what is asked of them, as settings have it."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from sources import WEB
from waiting import eventually
from wirings import Made

from lbwatch.engines.fake import FakeEngine
from lbwatch.wiring.engines import make_pool


@pytest.mark.parametrize(
    ("given", "times"), [({}, 1), ({"networks": ("front",)}, 0), ({"nginx_container": "label=nginx=it"}, 0)]
)
async def test_the_drivers_of_networks_are_asked_for_only_where_nobody_says_what_nginx_reaches(
    made: Made, engine: FakeEngine, tmp_path: Path, given: dict[str, Any], times: int
) -> None:
    """Proxies are set up for what is asked: nothing may be asked for that is of no use."""
    engine.networks.create("front")
    engine.containers.run(name="web-2", labels=WEB, networks=("front", "bridge"))
    settings = made(docker_host=f"unix://{tmp_path}/docker.sock", **given)
    async with AsyncExitStack() as stack:
        pool = make_pool(settings, stack=stack)
        following = asyncio.create_task(pool.run(lambda *, heard_at=None: None))
        try:
            await eventually(pool.snapshots)
        finally:
            following.cancel()
            await asyncio.wait([following])
    assert engine.requests["GET /networks"] == times
