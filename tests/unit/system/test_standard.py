"""Standard input, output and error in a process that got some of them closed."""

import itertools
import subprocess
import sys

import pytest

SCRIPT = """
import os, sys
from lbwatch.system.standard import reserve
reserve()
opened = os.open(sys.executable, os.O_RDONLY)
print("words for nobody", file=sys.stderr)
print("an answer", flush=True)
with open(sys.argv[1], "w") as file:
    print(opened > 2, *(os.readlink(f"/proc/self/fd/{number}") == os.devnull for number in (0, 1, 2)), file=file)
"""

CLOSED = [each for count in (1, 2, 3) for each in itertools.combinations((0, 1, 2), count)]


@pytest.mark.parametrize("closed", CLOSED, ids=str)
def test_what_was_closed_is_dev_null_and_no_file_of_ours(closed: tuple[int, ...], tmp_path: object) -> None:
    """Else nginx's file gets the number of standard error, and a library's warning is written into it."""
    shut = " ".join(f"{number}{'<' if number == 0 else '>'}&-" for number in closed)
    found = f"{tmp_path}/found"
    answer = subprocess.run(
        ["sh", "-c", f'exec "$@" {shut}', "sh", sys.executable, "-c", SCRIPT, found],
        capture_output=True,
        stdin=subprocess.PIPE,
        text=True,
        check=False,
    )
    with open(found) as file:
        assert file.read().split() == ["True", *(str(number in closed) for number in (0, 1, 2))]
    assert answer.returncode == 0
    assert answer.stdout == ("" if 1 in closed else "an answer\n")
    assert answer.stderr == ("" if 2 in closed else "words for nobody\n")
