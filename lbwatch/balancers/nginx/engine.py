"""What is asked of an engine about the container that nginx runs in: a port, which an edge of that engine fills."""

from collections.abc import Callable, Sequence
from typing import Protocol

from lbwatch.core.model import ContainerConfig, ContainerProcess


class Engine(Protocol):
    """One engine; each call names a container by its id and raises `SourceError`."""

    async def container_config(self, container: str) -> ContainerConfig:
        """Return its mounts, and how the engine restarts and stops it."""

    async def execute(
        self, container: str, command: Sequence[str], *, timeout_s: float, proves: Callable[[str], bool] | None = None
    ) -> tuple[int, str]:
        """
        Return what came of a program that is run in it, as its own user.

        Args:
            container: Its id.
            command: The words of the program.
            timeout_s: Longest that it may take.
            proves: Returns whether what it printed proves that it ended with 0, which then need not be asked for.

        Returns:
            The exit code, 127 if there is no such program, and what it printed on both outputs.
        """

    async def processes(self, container: str) -> tuple[ContainerProcess, ...]:
        """Return what runs in it."""

    async def archive(self, container: str, path: str) -> bytes | None:
        """Return a file or a folder of it as a tar whose first name is its own; `None`: it has none such."""

    async def send_hup(self, container: str) -> None:
        """Send HUP to its first process."""
