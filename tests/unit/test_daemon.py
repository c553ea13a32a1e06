"""The daemon: what it does about its own surroundings."""

import errno
import os
from pathlib import Path

import structlog

from lbwatch import daemon as lbwatch_daemon
from lbwatch.core.errors import OutputError
from lbwatch.system.lock import FileLock
from lbwatch.system.state import State


def test_a_state_that_cannot_be_kept_or_is_another_s_is_told_and_hinders_nothing(tmp_path: Path) -> None:
    """Routing needs no state: neither a full disk nor a second lbwatch may keep the daemon from its start."""

    class Full(FileLock):
        def acquire(self) -> bool:
            raise OutputError(tmp_path, error=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    state = State(tmp_path / "state")
    with (
        structlog.testing.capture_logs() as logs,
        FileLock(state.path) as first,
        FileLock(state.path) as second,
    ):
        lbwatch_daemon._keep_state(state, lock=first)
        assert logs == []
        lbwatch_daemon._keep_state(state, lock=second)
        lbwatch_daemon._keep_state(state, lock=Full(state.path))
    assert [log["event"] for log in logs] == ["state.not_kept"] * 2
    assert "give this one its own" in logs[0]["reason"]
    assert "No space left on device: drains by hand will not survive a restart" in logs[1]["reason"]
