"""`pause` and `resume`: by the running daemon."""

from lbwatch.api import client
from lbwatch.cli import output
from lbwatch.settings import Settings


async def pause(settings: Settings, *, upstream: str) -> None:
    """Have the running daemon let an upstream's new requests wait, and print what came of it."""
    output.show(await client.request(settings.api.control_socket, verb="pause", upstream=upstream) + "\n")


async def resume(settings: Settings, *, upstream: str) -> None:
    """Undo that."""
    output.show(await client.request(settings.api.control_socket, verb="resume", upstream=upstream) + "\n")
