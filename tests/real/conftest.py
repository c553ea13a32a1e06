"""Fixtures of the tests with an nginx in a container, and an lbwatch beside it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import versions
from containernginx import ContainerNginx
from needs import ENGINE_NEEDS, NGINX_NEEDS, need, obtained
from realengine import RealEngine
from sidecar import SetSidecar, sidecars
from swarmnodes import SwarmNodes, lacking


@pytest.fixture
def nginx(engine: RealEngine, tmp_path: Path) -> Iterator[ContainerNginx]:
    """One that is not started yet, and nothing of what the tests before it shared."""
    need(*NGINX_NEEDS)
    engine.clear()
    with ContainerNginx(tmp_path / "nginx", engine) as nginx:
        yield nginx


@pytest.fixture
def set_sidecar(tmp_path: Path) -> Iterator[SetSidecar]:
    """See `SetSidecar`. At the end, an lbwatch that still should run must obey SIGTERM."""
    with sidecars(tmp_path) as make:
        yield make


@pytest.fixture(scope="module", params=versions.SWARMS)
def swarm_programs(request: pytest.FixtureRequest) -> Path | None:
    """The folder of the engine's programs that a Swarm is made of; `None`: those that were chosen."""
    need(*ENGINE_NEEDS, *NGINX_NEEDS, kernel=lacking)
    version = versions.newest_engine() if request.param == versions.NEWEST else str(request.param)
    return obtained(versions.engine_programs, version) if version else None


@pytest.fixture(scope="module")
def swarm(swarm_programs: Path | None) -> Iterator[SwarmNodes]:
    """A manager and two workers, for all tests of a file; what these leave is theirs to remove (see `swarm_stage`)."""
    with SwarmNodes(programs=swarm_programs) as nodes:
        yield nodes.start()
