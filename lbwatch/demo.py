"""Shows the main job."""

from lbwatch.settings import Settings


async def run(settings: Settings, *, real: bool, image: str | None) -> int:
    """Stub."""
    raise NotImplementedError
