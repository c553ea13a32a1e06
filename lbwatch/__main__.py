"""The program: `python -m lbwatch` and `lbwatch`. The only place that ends the process."""

import sys

from lbwatch.cli.main import main as run_cli


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(run_cli(sys.argv[1:]))


if __name__ == "__main__":
    main()
