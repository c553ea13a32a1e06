"""
Sets structlog up: JSON lines, or a console on a terminal; always on standard error.

A command's log is written at once. A daemon's never holds it up (`detach`), and has in lines of ours what libraries
and Python itself would print there.
"""

import logging
import os
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import TextIO, cast

import structlog
from aiohttp.http_exceptions import HttpProcessingError
from structlog.typing import Processor

from lbwatch.core.errors import excerpt
from lbwatch.system.console import Console
from lbwatch.system.writer import Writer

FLUSH_S = 0.4
"""How long an end waits for what was logged; a reader that lives takes it within milliseconds."""

REPEAT_S = 10.0
"""A library that complains of one thing again and again gets so seldom a line."""

_MAX_COMPLAINTS = 100  # of which is remembered when they came
_STANDARD_ERROR = 2

_log = structlog.get_logger()


class _StandardError:
    """Standard error for a daemon that outlives it: a full disk behind a log file must not end it."""

    def __init__(self) -> None:
        self.writer: Writer | None = None  # none: it is written at once

    def write(self, text: str) -> None:
        if self.writer is not None:
            self.writer.write(text)
            return
        # Looked up at each write, not kept: whatever stands there at that time is meant.
        with suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        if self.writer is None:
            with suppress(OSError):
                sys.stderr.flush()


_standard_error = _StandardError()


class _Seldom(logging.Handler):
    """Logs what others say in lines of ours; who says one thing again and again gets a line now and then."""

    def __init__(self) -> None:
        super().__init__()
        self._said_at: dict[tuple[str, str], float] = {}
        self._since: Counter[tuple[str, str]] = Counter()  # how often each came since it was logged

    def emit(self, record: logging.LogRecord) -> None:
        """Log it, unless the same was logged just now."""
        key, now = (record.name, self.kind(record)[:256]), time.monotonic()
        if now - self._said_at.get(key, -REPEAT_S) < REPEAT_S:
            self._since[key] += 1
            return
        if len(self._said_at) >= _MAX_COMPLAINTS:
            self._said_at.clear()
            self._since.clear()
        self._said_at[key] = now
        repeated = self._since.pop(key, 0)
        self.say(record, **({"repeated": repeated} if repeated else {}))

    def kind(self, record: logging.LogRecord) -> str:
        """Return what is the same for records of which few are logged."""
        return str(record.msg)

    def say(self, record: logging.LogRecord, **more: int) -> None:
        """Log a record, with these values besides."""
        say = _log.error if record.levelno >= logging.ERROR else _log.warning
        say("library.complained", logger=record.name, error=_words(record), **more)


class _Requests(_Seldom):
    """The same for what aiohttp says of a request that failed: anyone can cause its tracebacks."""

    def kind(self, record: logging.LogRecord) -> str:
        """Return the words."""
        return _words(record)

    def say(self, record: logging.LogRecord, **more: int) -> None:
        """Log it; what was no HTTP is no error of ours."""
        if isinstance(record.exc_info and record.exc_info[1], HttpProcessingError):
            _log.debug("http.request_refused", error=_words(record), **more)
        else:
            _log.error("http.request_failed", error=_words(record), **more)


def _words(record: logging.LogRecord) -> str:
    """Return what a record says on one line: its error, if it has one."""
    if (error := record.exc_info[1] if record.exc_info else None) is not None:
        return excerpt(f"{type(error).__name__}: {error}")
    try:
        return excerpt(record.getMessage())
    except (TypeError, ValueError):  # its arguments do not fit: that is not worth an end either
        return excerpt(str(record.msg))


def configure(*, level: str, form: str) -> None:
    """
    Set logging up, for the whole process; what is logged is written at once.

    Args:
        level: The least that is logged, such as `info`.
        form: `console`, `json`, or `auto` for what standard error is.
    """
    _standard_error.writer = None
    if form == "auto":
        form = "console" if sys.stderr.isatty() else "json"
    final: tuple[Processor, ...] = (
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),  # as the engine's are
        structlog.processors.JSONRenderer(),
    )
    if form == "console":
        is_coloured = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
        final = (
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False, key="timestamp"),
            Console(colours=is_coloured),
        )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            *final,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _standard_error)),
        cache_logger_on_first_use=False,
    )
    requests = logging.getLogger("aiohttp.server")
    requests.handlers, requests.propagate = [_Requests()], False


def detach() -> None:
    """
    Have nothing wait for standard error from here on, and everything that is printed there be a line of ours.

    For a process that is the daemon's alone: it is never undone.
    """
    _standard_error.writer = Writer(_STANDARD_ERROR, on_dropped=lambda count: _log.warning("log.dropped", count=count))
    logging.captureWarnings(capture=True)
    logging.root.handlers = [_Seldom()]
    threading.excepthook = lambda args: _complain("threading", args.exc_value)
    sys.unraisablehook = lambda args: _complain("python", args.exc_value)


def finish() -> None:
    """Wait for what was logged to be written, but not for long."""
    if _standard_error.writer is not None:
        _standard_error.writer.flush(timeout_s=FLUSH_S)


def dropped() -> int:
    """Return how many lines were dropped so far since standard error took none."""
    return 0 if _standard_error.writer is None else _standard_error.writer.dropped


def _complain(name: str, error: BaseException | None) -> None:
    logging.getLogger(name).error("%s", name, exc_info=error)
