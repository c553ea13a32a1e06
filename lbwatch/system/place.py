"""Whether a file can be put in its place: tried for real, with nothing in that place touched."""

import errno
import os
from contextlib import suppress
from pathlib import Path

from lbwatch.core.errors import excerpt
from lbwatch.system import files, reading
from lbwatch.system.mounts import mounted

_PASSING = (errno.ENOSPC, errno.EDQUOT)  # no mistake in a setting: there will be room again
_FORBIDDEN = (errno.EPERM, errno.EACCES, errno.EROFS, errno.EBUSY)
_LEAST_BYTES = 4096


def unusable_reason(path: Path) -> str | None:
    """
    Return why *path* cannot be replaced, or `None` if it can, or could if its disk were not full.

    A bind-mounted single file cannot: a rename onto it fails with EBUSY, and one behind it leaves the container on
    the old inode.
    """
    try:
        return _unusable_reason(path)
    except (OSError, ValueError) as error:  # too long a name, a NUL in it, a folder that may not be entered
        return f"{excerpt(str(error))}"


def trial_error(path: Path) -> str | None:
    """Return why *path* cannot be replaced now, also by a text as long as what it holds; `None` if it can."""
    if (reason := unusable_reason(path)) is not None:
        return reason
    try:
        _write_beside(path, size=max(_LEAST_BYTES, path.stat().st_size if path.exists() else 0))
    except OSError as error:
        return _folder_words(path.parent, error=error)
    return None


def _unusable_reason(path: Path) -> str | None:
    folder = path.parent
    if not folder.is_dir():
        return f"the folder {folder} does not exist: make it, or set a file in a folder that nginx includes"
    found, reason = _looked_at(path)
    if reason is not None:
        return reason
    if os.path.realpath(path) in mounted():
        return f"{path} is a mounted file, which cannot be replaced: mount its folder instead"
    try:
        _write_beside(path, size=0)
    except OSError as error:
        if error.errno not in _PASSING:
            return _folder_words(folder, error=error)
    return None if found is None or (why := refusal(path)) is None else f"{path} cannot be replaced: {why}"


def _folder_words(folder: Path, *, error: OSError) -> str:
    more = ": be its owner or root, or set another file" if error.errno == errno.EACCES else ""
    return f"the folder {folder} cannot be written: {error.strerror}{more}"


def _looked_at(path: Path) -> tuple[os.stat_result | None, str | None]:
    """Return what is known of the file, if there is one, and why what lies in its place or its lock's is refused."""
    lock = files.lock_path(path)
    try:
        found = reading.require_ours(path)
        if found is not None:
            reading.require_size(found, path=path, max_bytes=files.MAX_BYTES)
        require_single(reading.require_ours(lock), path=lock)
    except reading.UnusableFileError as error:
        if path == Path(error.filename) and path.is_symlink():
            return None, f"{path} is a link to {os.readlink(path)}, and links are not written by: name the file itself"
        if path == Path(error.filename) and path.is_dir():
            return None, f"{path} is a folder: name a file in it, such as {path / 'lbwatch.conf'}, or remove it"
        which = path if path == Path(error.filename) else f"its lock {lock}"
        return None, f"{which}: {error}"
    return found, None


def require_single(found: os.stat_result | None, *, path: Path) -> None:
    """Make sure that a file, if there is one, has no other name, which may be precious; or `UnusableFileError`."""
    if found is not None and found.st_nlink > 1:
        raise reading.UnusableFileError(f"it has {found.st_nlink} names (hard links): remove it", path=path)


def _write_beside(path: Path, *, size: int) -> None:
    """Write so many bytes into a file beside it, on disk, and remove that again."""
    probe = files.unused_path(path, suffix="probe")
    descriptor = os.open(probe, files.NEW, 0o600)
    try:
        with open(descriptor, "wb") as file:
            if size:
                file.write(bytes(size))
                file.flush()
                os.fsync(descriptor)
    finally:
        with suppress(FileNotFoundError):  # another one that starts just now may have cleaned up
            probe.unlink()


def refusal(path: Path) -> str | None:
    """
    Return why nobody like us may put another file in the place of one; `None`: we may.

    A folder is renamed onto it, which rename(2) never does (ENOTDIR); the kernel asks for the rights first.
    """
    probe = files.unused_path(path, suffix="probe")
    try:
        probe.mkdir(mode=0o700)
    except OSError:
        return None  # of the folder it was known a moment ago
    try:
        os.rename(probe, path)
    except OSError as error:
        probe.rmdir()
        if error.errno in _FORBIDDEN:
            return f"{error.strerror}: it is immutable (see lsattr), or another user's"
        return None
    path.rmdir()  # the file was removed just now
    return None
