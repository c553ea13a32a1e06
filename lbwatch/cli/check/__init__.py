"""`check`: whether all is well between settings, engine, file, nginx and the running daemon."""

from collections.abc import Awaitable, Callable, Iterable

from lbwatch.cli import DONE, FAILED, output
from lbwatch.cli.check.config import config_findings
from lbwatch.cli.check.daemon import daemon_findings
from lbwatch.cli.check.engine import engine_findings
from lbwatch.cli.check.finding import Finding, Verdict, failed
from lbwatch.cli.check.networks import network_findings
from lbwatch.cli.check.nginx import nginx_findings
from lbwatch.cli.check.settings import output_findings, settings_findings, template_findings
from lbwatch.core.errors import LbwatchError, RenderError
from lbwatch.settings import Settings

Step = Callable[[Settings], Awaitable[Iterable[Finding]]]

_STEPS: tuple[tuple[str, Step], ...] = (
    ("settings", settings_findings),
    ("template", template_findings),
    ("engine", engine_findings),
    ("networks", network_findings),
    ("output", output_findings),
    ("config", config_findings),
    ("nginx", nginx_findings),
    ("daemon", daemon_findings),
)


async def check(settings: Settings) -> int:
    """Look at everything that the daemon needs, and at the daemon; print a line each, exit code 1 if one fails."""
    code, shown = DONE, set()
    for part, step in _STEPS:
        for finding in await _findings(step, settings, part=part):
            if finding.words not in shown:  # the running daemon knows most of what is found without it
                output.show_check(finding.part, words=finding.words, verdict=finding.verdict)
            shown.add(finding.words)
            if finding.verdict is Verdict.FAILED:
                code = FAILED
    return code


async def _findings(step: Step, settings: Settings, *, part: str) -> Iterable[Finding]:
    """Return what a step came to; what it raises is a failure of *part*."""
    try:
        return await step(settings)
    except LbwatchError as error:
        around = error.around if isinstance(error, RenderError) else ()
        return (failed(part, "\n".join((str(error), *around))),)
