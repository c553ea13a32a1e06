"""`drain` and `undrain`: by the running daemon."""

from lbwatch.api import client
from lbwatch.cli import output
from lbwatch.settings import Settings


async def drain(settings: Settings, *, container: str) -> None:
    """Have the running daemon take a container out of its upstreams, and print what came of it."""
    output.show(await client.request(settings.api.control_socket, verb="drain", container=container) + "\n")


async def undrain(settings: Settings, *, container: str) -> None:
    """Undo that."""
    output.show(await client.request(settings.api.control_socket, verb="undrain", container=container) + "\n")
