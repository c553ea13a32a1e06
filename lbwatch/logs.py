"""Sets structlog up: JSON lines, or a console on a terminal; always on standard error."""

import logging
import sys

import structlog
from structlog.typing import Processor


def configure(*, level: str, form: str) -> None:
    """
    Begin to log.

    Args:
        level: The least that is logged, such as `info`.
        form: `console`, `json`, or `auto` for what standard error is.
    """
    if form == "auto":
        form = "console" if sys.stderr.isatty() else "json"
    final: list[Processor] = [structlog.processors.JSONRenderer()]
    if form == "console":
        final = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
            *final,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
