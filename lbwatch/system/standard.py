"""Standard input, output and error: they are there, whatever whoever started this process has closed."""

import os
import sys


def reserve() -> None:
    """
    Open /dev/null in the place of each that is closed.

    Else the next file or connection that is opened gets its number, and is written to by whoever means standard error.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            os.set_inheritable(number, True)  # noqa: FBT003 - the only argument
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:  # Python found it closed
            stream = open(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
