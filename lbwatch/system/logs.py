"""Sets structlog up: JSON lines, or a console on a terminal; always on standard error."""

import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog
from aiohttp.http_exceptions import HttpProcessingError
from structlog.typing import Processor

from lbwatch.core.errors import excerpt

_log = structlog.get_logger()


class _StandardError:
    """Standard error for a daemon that outlives it: a full disk behind a log file must not end it."""

    def write(self, text: str) -> None:
        # Looked up at each write, not kept: whatever stands there at that time is meant.
        with suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()


class _Requests(logging.Handler):
    """Logs what aiohttp says of a request that failed in a line of ours: anyone can cause its tracebacks."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log it in a line; what was no HTTP is no error of ours."""
        error = record.exc_info[1] if record.exc_info else None
        words = excerpt(f"{type(error).__name__}: {error}" if error is not None else record.getMessage())
        if isinstance(error, HttpProcessingError):
            _log.debug("http.request_refused", error=words)
        else:
            _log.error("http.request_failed", error=words)


def configure(*, level: str, form: str) -> None:
    """
    Set logging up, for the whole process.

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
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _StandardError())),
        cache_logger_on_first_use=False,
    )
    requests = logging.getLogger("aiohttp.server")
    requests.handlers, requests.propagate = [_Requests()], False
