"""`render`: what would be written now, or how it differs from what is there."""

from pathlib import Path

from lbwatch.balancers.nginx.outputs import Outputs
from lbwatch.cli import DONE, FAILED, output
from lbwatch.cli.look import looked, warn
from lbwatch.core import diff
from lbwatch.settings import Settings
from lbwatch.system import files


async def render(settings: Settings, *, differ: bool, exit_code: bool, recorded: Path | None) -> int:
    """
    Print it, and return the exit code: 1 if nothing would be written. Nothing is written or reloaded.

    Args:
        settings: What the user set.
        differ: Whether to print the difference to the output file instead.
        exit_code: Whether to answer by the exit code too: 1 if there is a difference.
        recorded: See `looked`.
    """
    async with looked(settings, recorded=recorded) as look:
        warn(look)
    if (text := look.balancer.text) is None:
        return FAILED
    if not differ:
        output.show(text)
    if not (differ or exit_code):
        return DONE
    is_other = False
    for path, part in Outputs(settings.nginx.output, stream=settings.sites.stream_output).parts(text):
        before = files.read(path) or ""
        is_other |= before != part
        if differ:
            output.show_difference(diff.unified(before, part), names=(str(path), "what would be written"))
    return FAILED if exit_code and is_other else DONE
