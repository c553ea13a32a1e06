"""
Writes into a folder that others may write to as well: never through a link that they put there.

An nginx in a container shares the folder of the configuration's copy with us, and we may be root on its host.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lbwatch.system import files

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | files.CAREFULLY


@contextmanager
def opened(folder: Path | str, *, within: int | None = None, mode: int | None = None) -> Iterator[int]:
    """
    Open a folder, made if there is none, and return its descriptor.

    Args:
        folder: A path; its own last name may not be a link.
        within: Descriptor of the folder that it is in; `None`: the path is a whole one, and all above may be trusted.
        mode: What it is set to; `None`: as it is made.
    """
    with suppress(FileExistsError):
        os.mkdir(folder, dir_fd=within)
    descriptor = os.open(folder, _FOLDER, dir_fd=within)
    try:
        if mode is not None:
            os.fchmod(descriptor, mode)
        yield descriptor
    finally:
        os.close(descriptor)


def write_file(name: str, *, text: str, within: int, mode: int | None = None) -> None:
    """
    Write a file of a folder that is opened.

    Args:
        name: Of the file.
        text: What it holds afterwards.
        within: Descriptor of the folder.
        mode: What it is set to; `None`: as it is made.
    """
    # Made for nobody else: what is for few must not be open to all until its mode is set.
    descriptor = os.open(name, _FILE, 0o666 if mode is None else 0o600, dir_fd=within)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        if mode is not None:
            os.fchmod(descriptor, mode)
        file.write(text)


def link(name: str, *, target: Path, within: int) -> None:
    """
    Make a link in a folder that is opened, in the place of any other.

    Args:
        name: Of the link.
        target: What it leads to, there or not.
        within: Descriptor of the folder.
    """
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=within)
    os.symlink(target, name, dir_fd=within)


def clear(within: int) -> None:
    """Remove all files and links of a folder that is opened; what others put there may stay."""
    for name in os.listdir(within):
        with suppress(OSError):
            os.unlink(name, dir_fd=within)
