"""The commands that do one thing and answer, a file each; `cli` calls them, `terminal` says how an answer looks."""

DONE, FAILED = 0, 1
