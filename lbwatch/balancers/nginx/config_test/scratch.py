"""
Writes into a folder that others may write to as well: never through a link that they put there.

An nginx in a container shares the folder of the configuration's copy with us, and we may be root on its host.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def new_name(folder: Path, *, mode: int | None = None) -> str:
    """
    Return a name that nobody could have known of before, for something in a folder, which is made if there is none.

    Args:
        folder: Its path; all above it must be ours. What was planted in its place is removed.
        mode: What it is set to; `None`: as it is made.
    """
    if not _is_folder(folder):
        remove(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if mode is not None:
        with opened(str(folder)) as descriptor:
            os.fchmod(descriptor, mode)
    return secrets.token_hex(8)


@contextmanager
def made(name: str, *, within: int, mode: int | None = None) -> Iterator[int]:
    """
    Make a folder that was not there and return its descriptor.

    Args:
        name: Of the folder.
        within: Descriptor of the one around it.
        mode: What it is set to; `None`: as it is made.
    """
    os.mkdir(name, dir_fd=within)
    descriptor = os.open(name, _FOLDER, dir_fd=within)
    try:
        if mode is not None:
            os.fchmod(descriptor, mode)
        yield descriptor
    finally:
        os.close(descriptor)


def write_file(name: str, *, content: bytes, within: int, mode: int | None = None) -> None:
    """
    Write a file of a folder that is opened, in the place of any that was there.

    Args:
        name: Of the file.
        content: What it holds afterwards.
        within: Descriptor of the folder.
        mode: What it is set to; `None`: as it is made.
    """
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=within)
    # Made for nobody else: what is for few must not be open to all until its mode is set.
    descriptor = os.open(name, _NEW_FILE, 0o666 if mode is None else 0o600, dir_fd=within)
    with os.fdopen(descriptor, "wb") as file:
        if mode is not None:
            os.fchmod(descriptor, mode)
        file.write(content)


@contextmanager
def opened(folder: str, *steps: str) -> Iterator[int]:
    """
    Open a folder, and in it one after the other, none of which may be a link; return the descriptor of the last.

    Args:
        folder: Its path; all above it must be ours.
        steps: Names of folders.
    """
    descriptor = os.open(folder, _FOLDER)
    try:
        for step in steps:
            inner = os.open(step, _FOLDER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def remove(folder: Path) -> None:
    """Remove a folder and all in it, as far as it can be; what its links lead to stays."""
    if _is_folder(folder):
        shutil.rmtree(folder, ignore_errors=True)
    else:  # planted in its place: whoever opens a pipe to look into it waits for ever
        with suppress(OSError):
            folder.unlink()


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
