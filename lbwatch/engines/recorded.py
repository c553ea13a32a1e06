"""An engine that was recorded: the output of `docker inspect` in a file, as a source that never changes."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

from lbwatch.core.errors import SettingsError, SourceError
from lbwatch.core.labels import relevant
from lbwatch.core.model import Container, Snapshot
from lbwatch.engines.docker.answers import containers_of_recording
from lbwatch.system import reading

MAX_BYTES = 256 << 20
"""Of a recording: what `docker inspect` prints of 20,000 containers, each of which takes some 10 KiB."""


class RecordedSource:
    """
    A recorded engine.

    Args:
        path: The file with the output of `docker inspect` for all of its containers.
        prefix: Label prefix, without the dot.
        also: Keys of further labels that matter.
        variables: Names of those that are kept of a container's environment.

    Raises:
        SettingsError: There is no such file.
        SourceError: It holds something else.
    """

    def __init__(
        self, path: Path, *, prefix: str, also: Collection[str] = (), variables: frozenset[str] = frozenset()
    ) -> None:
        self.name = str(path)
        try:
            found = containers_of_recording(reading.of_user(path, max_bytes=MAX_BYTES, pipes=True), variables=variables)
        except OSError as error:
            takes = f"it takes a file with the output of docker inspect ({error.strerror})"
            raise SettingsError("engine_from", value=path, takes=takes) from error
        except SourceError as error:
            raise SourceError(f"{path}: {error}") from error
        # Trimmed as a live engine's are: labels that cannot matter may be megabytes long (facts, stream 11).
        containers = (replace(each, labels=relevant(each.labels, prefix=prefix, also=also)) for each in found)
        self._containers = {each.id: each for each in containers}

    @property
    def described(self) -> str:
        """Return the path of the file."""
        return self.name

    def snapshots(self) -> tuple[Snapshot, ...]:
        """Return all that was recorded."""
        return (Snapshot(source=self.name, containers=self._containers),)

    def containers(self) -> Mapping[str, Container]:
        """Return the same containers, by id."""
        return self._containers

    async def run(self, changed: Callable[[], None]) -> None:
        """Call *changed* once, and wait for good: nothing ever happens here."""
        changed()
        await asyncio.Event().wait()
