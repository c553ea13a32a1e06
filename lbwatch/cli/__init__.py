"""The command line: a file for each command, `main` for flags and exit codes, `output` for how answers look."""

DONE, FAILED, WRONG_SETTINGS = 0, 1, 2
"""Exit codes."""
