"""
What is kept of a container's environment: the variables that were asked for by name, and nothing else; no I/O.

An environment holds secrets. What is not asked for leaves this room in no shape: it is not kept, logged or shown.
"""

from collections.abc import Iterable

MAX_VALUE_CHARS = 64 * 1024
"""Of one variable: what lists hosts may be long, and nothing that is read is longer."""

MAX_CHARS = 256 * 1024
"""Of all variables of a container that are kept."""


def kept(entries: Iterable[str], *, names: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """
    Return the variables that are asked for, sorted by name.

    A value that is too long is replaced by one that no grammar takes, with a NUL, which no environment can hold: cut or
    left out, it could mean something else than its owner said.

    Args:
        entries: As `NAME=value`; of two for one name the last holds, and one without a value unsets it (moby,
            container/env.go).
        names: Of those that are asked for.
    """
    found: dict[str, str] = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if name not in names:
            continue
        if equals:
            found[name] = value
        else:
            found.pop(name, None)
    return tuple(sorted(_bounded(found).items()))


def _bounded(found: dict[str, str]) -> dict[str, str]:
    """Return the same with those replaced that are too long; the short ones first, as they are what is meant."""
    left, bounded = MAX_CHARS, {}
    for name, value in sorted(found.items(), key=lambda pair: (len(pair[1]), pair[0])):
        fits = len(value) <= min(MAX_VALUE_CHARS, left)
        bounded[name] = value if fits else f"\0 {len(value)} characters are too many"
        left -= len(bounded[name])
    return bounded
