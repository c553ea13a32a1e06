"""Sockets that others connect to: made so that nobody else gets in between, and accepted one by one."""

import asyncio
import errno
import os
import socket
from contextlib import suppress
from pathlib import Path

BACKLOG = 128
"""Of connections that the kernel keeps until they are accepted; Linux' own limit of old."""


def bound_unix(path: Path, *, mode: int) -> tuple[socket.socket, int]:
    """
    Return a socket that listens at a path, and the inode of its file.

    It takes the place of a socket that a dead process left there; at no instant may others use it.

    Raises:
        OSError: It cannot be made, or what is there must stay.
    """
    path.parent.mkdir(mode=0o755, exist_ok=True)
    if _is_answered(path):
        raise OSError(f"another lbwatch answers at {path}")
    if path.exists() and not path.is_socket():
        raise OSError(f"{path} is no socket")
    # The mode is set under another name, where nobody looks for it: between bind and chmod any user could connect.
    # That is no longer than the one that lasts: the path of a socket has a bound, which that one may just meet.
    fresh = path.with_name(f".{os.getpid()}")
    fresh.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(fresh))
        fresh.chmod(mode)  # nobody can connect before it listens
        listener.listen(BACKLOG)
        listener.setblocking(False)  # noqa: FBT003 - the only way to say it
        os.replace(fresh, path)
    except OSError:
        listener.close()
        with suppress(OSError):
            fresh.unlink()
        raise
    return listener, path.stat().st_ino


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)  # noqa: FBT003 - whoever has a full queue and hangs is there all the same
        return probe.connect_ex(str(path)) in (0, errno.EAGAIN)


def unlink(path: Path, *, inode: int) -> None:
    """Remove a socket's file, unless another process put its own there."""
    with suppress(OSError):
        if path.stat().st_ino == inode:
            path.unlink()


async def accepted(listener: socket.socket) -> socket.socket:
    """
    Return the next connection, which does not block.

    Not by the loop's `sock_accept`: one that comes just as that is cancelled, at a stop, is closed by nobody.
    """
    loop = asyncio.get_running_loop()
    while True:
        arrived = asyncio.Event()
        loop.add_reader(listener, arrived.set)
        try:
            await arrived.wait()
        finally:
            loop.remove_reader(listener)
        with suppress(BlockingIOError):  # it is gone again
            connection, _ = listener.accept()
            connection.setblocking(False)  # noqa: FBT003 - the only way to say it
            return connection
