"""The nginx program, wherever it runs: how it is asked for a test, and what its answers mean."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from lbwatch.balancers.nginx.config_test.grammar import Edit, directives, edited
from lbwatch.core.errors import ConfigRejectedError, excerpt

TEST_TIMEOUT_S = 30.0

NOWHERE = "/dev/null"
"""For the pid, which a test would open: nginx may be another user than we are (facts, nginx 16)."""

UNTESTED = "nothing tests a new file before nginx reads it"
"""What follows where a program cannot be asked, in words."""

_NOISE = re.compile(r"^(?:\d{4}/\d\d/\d\d [\d:]+ \[\w+\] \d+#\d+: |nginx: \[\w+\] )")
"""What nginx puts before a message: time, level, process."""

_ERRORS = tuple(re.compile(rf"^[^\[]*\[{level}\]") for level in ("emerg", "(?:alert|crit)", "error"))


class Program(Protocol):
    """An nginx program, here or in a container."""

    async def test(self, *, main: Path | None, extra: str | None = None, dump: bool = False) -> tuple[int, str]:
        """
        Return the exit code of a test, and what was printed.

        Args:
            main: The main file; `None`: the user's own, as it is.
            extra: Directives that go before it, as with `-g`, where the pid is written nowhere; `None`: neither.
            dump: Whether the files that were read are printed as well.
        """


def command_to_test(
    command: tuple[str, ...], *, main: Path | None, extra: str | None = None, dump: bool = False
) -> tuple[str, ...]:
    """
    Return the words that have the program of *command* test a main file, see `Program.test`.

    nginx takes one `-g` alone, so that what the command has there already is kept in it.
    """
    where = () if main is None else ("-c", str(main))
    asked = ("-T" if dump else "-t", *where)
    if extra is None:
        return (*command, *asked)
    words, given = _without_directives(command)
    added = f"{_without_pid(given)} {extra}".strip()
    return (*words, *(("-g", added) if added else ()), *asked)


def _without_directives(command: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Return a command without its last `-g`, and the directives behind that: `-g "..."` or `-g...`."""
    for number in range(len(command) - 1, 0, -1):
        if command[number] == "-g" and number + 1 < len(command):
            return command[:number] + command[number + 2 :], command[number + 1]
        if command[number].startswith("-g") and len(command[number]) > len("-g"):
            return command[:number] + command[number + 1 :], command[number][len("-g") :]
    return command, ""


def names_pid(command: tuple[str, ...]) -> bool:
    """Return whether a command says by itself where nginx's pid file is."""
    return any(each.name == b"pid" for each in directives(_without_directives(command)[1].encode()))


def _without_pid(given: str) -> str:
    content = given.encode(errors="surrogateescape")
    pids = (each.args[0] for each in directives(content) if each.name == b"pid" and each.args)
    return edited(content, (Edit(each.start, each.end, NOWHERE.encode()) for each in pids)).decode(
        errors="surrogateescape"
    )


def main_file(printed: str, *, flags: Mapping[str, str] | None = None) -> Path:
    """
    Return the main file that an nginx reads, by what its `nginx -V` printed and the flags that it was started with.

    The defaults are those of https://nginx.org/en/docs/configure.html.
    """
    options = dict(word.split("=", 1) for word in printed.split() if word.startswith("--") and "=" in word)
    given = flags or {}
    prefix = Path(given.get("-p", options.get("--prefix", "/usr/local/nginx")))
    if "-c" in given:
        return prefix / given["-c"]
    return prefix / options.get("--conf-path", "conf/nginx.conf")


def error_in(printed: str) -> str:
    """Return the line for which nginx gave up, without what comes before its words; warnings are none."""
    lines = [line for line in printed.splitlines() if line.strip() and "test failed" not in line]
    for level in _ERRORS:
        if found := [line for line in lines if level.match(line)]:
            return _NOISE.sub("", found[0])
    # Without their times, which are others at each try: whether an error is the same one is asked (`judge`).
    return " ".join(_NOISE.sub("", line) for line in lines) or "the test failed without a word"


def rejection(printed: str, *, candidate: str, stands_for: str) -> ConfigRejectedError:
    """
    Return the error of a test that failed.

    Args:
        printed: What the program printed.
        candidate: The tested file, as the program names it.
        stands_for: The file that the operator knows, which the error names in its place.
    """
    words = error_in(printed)
    named = re.search(re.escape(candidate) + r":(\d+)", words)
    line = int(named[1]) if named else None
    message, stderr = (text.replace(candidate, stands_for) for text in (words, printed))
    return ConfigRejectedError(excerpt(message), stderr=stderr, line=line)


def is_passed(printed: str) -> bool:
    """Return whether a test says by itself that it passed."""
    return "test is successful" in printed
