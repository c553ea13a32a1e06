"""Sockets that others connect to."""

import asyncio
import socket
from pathlib import Path

import pytest

from lbwatch.system import listening


async def test_who_comes_just_as_it_closes_is_closed_too() -> None:
    """A browser asks just then as at any time; its connection was left to the garbage collector, with a warning."""
    with socket.socket() as listener, socket.socket() as client:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        accepting = asyncio.create_task(listening.accepted(listener))
        await asyncio.sleep(0)
        client.connect(listener.getsockname())
        await asyncio.sleep(0)  # the loop saw it, and the task has not gone on
        accepting.cancel()
        await asyncio.wait([accepting])
        assert accepting.cancelled()
        connection, _ = listener.accept()  # it still waits there, for whoever closes the listener
        connection.close()


def test_a_socket_has_its_mode_from_its_first_moment_and_goes_with_its_maker(tmp_path: Path) -> None:
    """Whoever may not connect must not get in between bind and chmod."""
    path = tmp_path / "folder" / "s"
    listener, inode = listening.bound_unix(path, mode=0o666)
    with listener:
        assert path.stat().st_mode & 0o777 == 0o666
        assert [each.name for each in path.parent.iterdir()] == ["s"]
        listening.unlink(path, inode=inode + 1)
        assert path.is_socket(), "it is another process' by now"
        listening.unlink(path, inode=inode)
    assert not path.exists()


def test_a_socket_that_a_dead_process_left_is_taken_over_and_a_living_one_is_not(tmp_path: Path) -> None:
    """A kill must not leave a socket that keeps the next start from its own."""
    path = tmp_path / "s"
    listener, _ = listening.bound_unix(path, mode=0o600)
    with pytest.raises(OSError, match="another lbwatch answers"):
        listening.bound_unix(path, mode=0o600)
    listener.close()
    listener, _ = listening.bound_unix(path, mode=0o600)
    listener.close()
