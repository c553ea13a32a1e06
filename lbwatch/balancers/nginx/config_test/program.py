"""The nginx program, wherever it runs: how it is asked for a test, and what its answers mean."""

import re
from pathlib import Path

from lbwatch.core.errors import ConfigRejectedError

TEST_TIMEOUT_S = 30.0


def command_to_test(command: tuple[str, ...], *, main: Path) -> tuple[str, ...]:
    """Return the words that have the program of *command* test a main file."""
    return (*command, "-t", "-q", "-c", str(main))


def main_file(printed: str) -> Path:
    """
    Return the main file that an nginx was built for, by what its `nginx -V` printed.

    The defaults are those of https://nginx.org/en/docs/configure.html.
    """
    options = dict(word.split("=", 1) for word in printed.split() if word.startswith("--") and "=" in word)
    prefix = Path(options.get("--prefix", "/usr/local/nginx"))
    return prefix / options.get("--conf-path", "conf/nginx.conf")


def rejection(printed: str, *, candidate: Path, stands_for: Path) -> ConfigRejectedError:
    """
    Return the error of a test that failed.

    Args:
        printed: What the program printed.
        candidate: The tested file, as the program names it.
        stands_for: The file that the operator knows, which the error names in its place.
    """
    named = re.search(re.escape(str(candidate)) + r":(\d+)", printed)
    line = int(named[1]) if named else None
    return ConfigRejectedError(printed.replace(str(candidate), str(stands_for)), line=line)
