"""Fixtures of the tests with an nginx in a container, and an lbwatch beside it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from containernginx import ContainerNginx
from needs import NGINX_NEEDS, need
from realengine import RealEngine
from sidecar import SetSidecar, sidecars


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
