"""What is asked of the C library itself, since other programs ask it too and Python answers otherwise."""

import ctypes
import os
from functools import cache

MAX_STEPS = 512
"""Slashes in a pattern: glibc calls itself for each of them, 4,000 take a thread's 8 MiB, which ends the process."""

_PATHNAME, _PERIOD = 1, 4  # FNM_PATHNAME and FNM_PERIOD of <fnmatch.h>: no wildcard matches a slash, or a first dot


class _Glob(ctypes.Structure):
    """`glob_t` of <glob.h>, as glibc and musl lay it out."""

    _fields_ = (
        ("count", ctypes.c_size_t),
        ("paths", ctypes.POINTER(ctypes.c_char_p)),
        ("offset", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("functions", ctypes.c_void_p * 5),
    )


@cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def glob(pattern: str) -> list[str]:
    """
    Return what a pattern matches, in the order of the C library.

    Nothing matches one with a NUL in it, or with more than `MAX_STEPS`.
    """
    if "\0" in pattern or pattern.count("/") > MAX_STEPS:
        return []
    found = _Glob()
    try:
        # Any other answer than 0 is one of "no match", "no memory" and "a folder cannot be read".
        if _library().glob(os.fsencode(pattern), 0, None, ctypes.byref(found)) != 0:
            return []
        return [os.fsdecode(path) for path in found.paths[: found.count]]
    finally:
        _library().globfree(ctypes.byref(found))


def fits(path: str, *, pattern: str) -> bool:
    """Return whether `glob` would have a pattern match a path that is there, as far as the names tell."""
    if "\0" in pattern + path or pattern.count("/") > MAX_STEPS:
        return False
    return bool(_library().fnmatch(os.fsencode(pattern), os.fsencode(path), _PATHNAME | _PERIOD) == 0)
