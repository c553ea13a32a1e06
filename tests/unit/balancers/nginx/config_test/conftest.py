"""What the tests of a candidate have in common."""

from pathlib import Path

import pytest
from needs import need
from nginxcontainer import FolderEngine, engine_with_nginx


@pytest.fixture
def engine(tmp_path: Path) -> FolderEngine:
    return engine_with_nginx(tmp_path)


@pytest.fixture
def nginx_engine(tmp_path: Path) -> FolderEngine:
    """One in whose container nginx really runs."""
    need("nginx", "unshare", "chroot")
    return engine_with_nginx(tmp_path, runs=True)
