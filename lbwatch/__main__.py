"""The program: `python -m lbwatch` and `lbwatch`. The only place that ends the process."""

import os
import sys

from lbwatch.system import signals, standard


def main() -> None:
    """Run the command line and leave with its exit code."""
    # Before all else is imported, which takes half a second: a stop must be one from the first instant on.
    signals.end_at_once()
    standard.reserve()
    from lbwatch.cli.main import main as run_cli  # noqa: PLC0415 - see above

    code = run_cli(sys.argv[1:])
    # Not by sys.exit, which waits for every thread: one may hang in a file system that does not answer.
    signals.end_within(signals.STOP_LIMIT_S, code=code)
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
