"""What is logged: one line for each event on standard error, for people or for programs, and never an end of anything."""

import contextlib
import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any, TextIO

import pytest
import structlog
from aiohttp.http_exceptions import BadHttpMessage
from fakedaemon import FixedView, served

from lbwatch.core.status import Status
from lbwatch.system import logs

LEVELS = ("debug", "info", "warning", "error")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Logging is the whole process's: what a test sets must not reach the next one."""
    before, server = structlog.get_config(), logging.getLogger("aiohttp.server")
    handlers, propagate = server.handlers, server.propagate
    yield
    structlog.configure(**before)
    server.handlers, server.propagate = handlers, propagate
    structlog.contextvars.clear_contextvars()


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


class Written:
    """All that was written on standard error so far."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._text = ""

    def text(self) -> str:
        self._text += self._capsys.readouterr().err
        return self._text

    def lines(self) -> list[dict[str, Any]]:
        """Return it as JSON."""
        assert self.text() == "" or self.text().endswith("\n")
        return [json.loads(line) for line in self.text().splitlines()]


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Written:
    return Written(capsys)


# -- form


def test_json_is_an_object_on_a_line(written: Written) -> None:
    """Log shippers take a line for an event: a value with a line of its own must not become two."""
    logs.configure(level="info", form="json")
    structlog.get_logger().info("container.not_routed", container="web\nforged", ports=(80, 443), upstream=None)
    (line,) = written.lines()
    timestamp = line.pop("timestamp")
    assert line == {
        "event": "container.not_routed",
        "level": "info",
        "container": "web\nforged",
        "ports": [80, 443],
        "upstream": None,
    }
    assert timestamp.endswith("Z"), "times are in UTC, as the engine's are"


def test_what_json_does_not_know_is_written_in_words(written: Written) -> None:
    """A path in a log call must not end a pass."""
    logs.configure(level="info", form="json")
    structlog.get_logger().info("output.written", path=Path("/etc/nginx"))
    assert "/etc/nginx" in written.lines()[0]["path"]


def test_what_is_bound_to_the_context_is_in_each_line(written: Written) -> None:
    """What several lines share is said once in the code."""
    logs.configure(level="info", form="json")
    with structlog.contextvars.bound_contextvars(source="unix:///run/docker.sock"):
        structlog.get_logger().info("source.connected")
    structlog.get_logger().info("daemon.stopped")
    assert [line.get("source") for line in written.lines()] == ["unix:///run/docker.sock", None]


def test_a_console_has_a_sentence_without_escapes_in_a_file(written: Written) -> None:
    """Somebody may set it and read the file with `less`."""
    logs.configure(level="info", form="console")
    structlog.get_logger().info("source.connected", source="here")
    (line,) = written.text().splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d connected to here", line)


def test_a_console_has_the_time_of_the_place(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reader compares it with the clock on the wall."""
    monkeypatch.setenv("TZ", "XXX-05:30")
    time.tzset()
    try:
        logs.configure(level="info", form="console")
        before = datetime.now(UTC) + timedelta(hours=5, minutes=30)
        structlog.get_logger().info("daemon.stopped")
        after = datetime.now(UTC) + timedelta(hours=5, minutes=30)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert f"{before:%H:%M:%S}" <= written.text()[:8] <= f"{after:%H:%M:%S}" or after.hour < before.hour


def test_a_terminal_that_wants_no_colours_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable of no-color.org."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("NO_COLOR", "1")
    logs.configure(level="info", form="auto")
    structlog.get_logger().info("daemon.stopped")
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize(("stream", "form"), [(StringIO(), "json"), (Terminal(), "console")])
def test_auto_is_what_standard_error_is(stream: StringIO, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """People see colours, programs see JSON, and nobody sets anything."""
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure(level="info", form="auto")
    structlog.get_logger().info("source.connected", source="here")
    text = stream.getvalue()
    assert text.startswith("{") == (form == "json")
    assert ("\x1b[" in text) == (form == "console")


def test_standard_output_is_left_to_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """`lbwatch render > file` must hold nothing but the rendered text."""
    for form in ("console", "json"):
        logs.configure(level="debug", form=form)
        structlog.get_logger().error("source.disconnected")
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 2


# -- level


@pytest.mark.parametrize("level", LEVELS)
def test_the_level_is_the_least_that_is_logged(level: str, written: Written) -> None:
    """`warning` on a busy host is one line a week, `debug` is all."""
    logs.configure(level=level, form="json")
    for each in LEVELS:
        getattr(structlog.get_logger(), each)(f"of.{each}")
    assert [line["level"] for line in written.lines()] == [*LEVELS[LEVELS.index(level) :]]


def test_a_logger_that_was_made_before_follows_a_later_setting(written: Written) -> None:
    """Each module makes its logger when it is imported, long before the settings are read."""
    made = structlog.get_logger()
    logs.configure(level="error", form="json")
    made.info("daemon.started")
    logs.configure(level="info", form="json")
    made.info("daemon.started")
    assert len(written.lines()) == 1


# -- standard error


def full() -> TextIO:
    """Return a file on a full disk."""
    return os.fdopen(os.open("/dev/full", os.O_WRONLY), "w", buffering=1)


def gone() -> TextIO:
    """Return a pipe that nobody reads any more."""
    ours, theirs = os.pipe()
    os.close(ours)
    return os.fdopen(theirs, "w", buffering=1)


@pytest.mark.parametrize("broken", [full, gone])
@pytest.mark.parametrize("form", ["auto", "console", "json"])
def test_a_standard_error_that_takes_nothing_ends_nothing(
    broken: Any, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk with the log file is the one that fills up; routing goes on without a log."""
    stream = broken()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stream)
            with pytest.raises(OSError, match=r"\[Errno"):
                stream.write("it is broken indeed\n")
            logs.configure(level="info", form=form)
            for _ in range(3):
                structlog.get_logger().info("source.connected", source="x" * 10_000)
    finally:
        with contextlib.suppress(OSError):
            stream.close()


def test_a_log_goes_on_once_there_is_room_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody restarts a daemon for its log."""
    stream, room = full(), StringIO()
    try:
        monkeypatch.setattr(sys, "stderr", stream)
        logs.configure(level="info", form="json")
        structlog.get_logger().info("source.disconnected")
        monkeypatch.setattr(sys, "stderr", room)
        structlog.get_logger().info("source.connected")
    finally:
        with contextlib.suppress(OSError):
            stream.close()
    assert [line["event"] for line in map(json.loads, room.getvalue().splitlines())] == ["source.connected"]


# -- aiohttp


def server_logs(error: BaseException | None, words: str = "Error handling request", *args: object) -> None:
    """Have aiohttp's server say what it says when a request failed."""
    logging.getLogger("aiohttp.server").error(words, *args, exc_info=error)


def mistake() -> None:
    raise ValueError("no such\nthing " + "x" * 1000)


def test_a_failed_request_is_one_line_without_a_traceback(written: Written, caplog: pytest.LogCaptureFixture) -> None:
    """A log in JSON must stay one, whatever a request sets off; and it is said once."""
    logs.configure(level="info", form="json")
    try:
        mistake()
    except ValueError as error:
        server_logs(error)
    (line,) = written.lines()
    assert (line["event"], line["level"]) == ("http.request_failed", "error")
    assert line["error"].startswith("ValueError: no such thing xxx")
    assert len(line["error"]) == 256
    assert caplog.records == [], "whoever listens to the root logger would write it a second time"


def test_a_failed_request_without_an_error_has_aiohttps_own_words(written: Written) -> None:
    """Some of its lines have none."""
    logs.configure(level="info", form="json")
    server_logs(None, "Unhandled %s", "thing")
    assert [(line["event"], line["error"]) for line in written.lines()] == [("http.request_failed", "Unhandled thing")]


@pytest.mark.parametrize(("level", "events"), [("debug", ["http.request_refused"]), ("info", [])])
def test_what_was_no_http_is_a_line_for_those_who_look(level: str, events: list[str], written: Written) -> None:
    """Scanners come to every port: anyone could fill the log otherwise."""
    logs.configure(level=level, form="json")
    server_logs(BadHttpMessage("Invalid \x1b[2J method"))
    assert [line["event"] for line in written.lines()] == events
    assert all(line["error"].isprintable() for line in written.lines())


def test_a_second_configuration_does_not_say_it_twice(written: Written) -> None:
    """The demo configures anew in the same process."""
    for _ in range(2):
        logs.configure(level="info", form="json")
    server_logs(RuntimeError("once"))
    assert len(written.lines()) == 1


async def test_a_request_that_fails_in_our_own_server_is_that_line(written: Written) -> None:
    """A mistake in the page must be seen in the log, and be no more than that."""

    class Broken(FixedView):
        async def status(self) -> Status:
            raise RuntimeError("a mistake of ours")

    logs.configure(level="info", form="json")
    async with served(Broken()) as client:
        assert (await client.get("/api/state")).status == 500
    failed = [line for line in written.lines() if line["event"] == "http.request_failed"]
    assert [line["error"] for line in failed] == ["RuntimeError: a mistake of ours"]
    assert "Traceback" not in written.text()


# -- a daemon's


COMPLAINTS = """
import asyncio, logging, sys, threading, warnings
from lbwatch.system import logs

class Wrong:
    def __del__(self):
        raise ValueError("of no use")

def wrong():
    raise ValueError("of a thread")

async def run():
    loop = asyncio.get_running_loop()
    for _ in range(1000):
        loop.call_exception_handler({"message": "socket.accept() out of system resource", "exception": OSError("EMFILE")})

logs.configure(level="info", form="json")
logs.detach()
asyncio.run(run())
warnings.warn("of python")
Wrong()
thread = threading.Thread(target=wrong)
thread.start()
thread.join()
logging.getLogger("aiohttp.client").warning("of %s", "a library")
logs.finish()
"""


def test_all_that_anyone_else_would_print_is_in_lines_of_a_daemon_s_own_and_seldom() -> None:
    """A log in JSON must stay one, and one that others can fill hides what matters."""
    answer = subprocess.run([sys.executable, "-c", COMPLAINTS], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in answer.stderr.splitlines()]
    assert {line["event"] for line in lines} == {"library.complained"}
    assert [(line["logger"], line["error"]) for line in lines] == [
        ("asyncio", "OSError: EMFILE"),
        ("py.warnings", "<string>:20: UserWarning: of python"),
        ("python", "ValueError: of no use"),
        ("threading", "ValueError: of a thread"),
        ("aiohttp.client", "of a library"),
    ]


def test_what_is_complained_of_again_is_logged_again_with_how_often(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once in an hour is another thing than a thousand times; and what is remembered for that has a bound."""
    logs.configure(level="info", form="json")
    clock = [0.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: clock[0])
    handler = logs._Seldom()
    record = logging.LogRecord("asyncio", logging.WARNING, "", 0, "slow %s", ("callback",), None)
    for now in (0.0, 1.0, 2.0, 10.0):
        clock[0] = now
        handler.handle(record)
    handler.handle(logging.LogRecord("asyncio", logging.WARNING, "", 0, "no %d", ("number",), None))
    assert written.lines()[-1]["error"] == "no %d"
    assert [line.get("repeated", 0) for line in written.lines()] == [0, 2, 0]
    for number in range(1000):
        handler.handle(logging.LogRecord("asyncio", logging.ERROR, "", 0, f"{number}", (), None))
    assert len(handler._said_at) <= 100
