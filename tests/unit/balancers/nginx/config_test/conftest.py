"""What the tests of a candidate have in common."""

from pathlib import Path

import pytest
from nginxcontainer import FolderEngine, engine_with_nginx


@pytest.fixture
def engine(tmp_path: Path) -> FolderEngine:
    return engine_with_nginx(tmp_path)
