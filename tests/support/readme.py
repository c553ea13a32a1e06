"""The command blocks of a README, for the tests that run them."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

_BLOCK = re.compile(r"^(#+ [^\n]*)$|^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(readme: Path) -> list[tuple[str, str]]:
    """List the command blocks of a README, each with the heading that it stands under."""
    found, heading = [], ""
    for match in _BLOCK.finditer(readme.read_text()):
        if match[1] is not None:
            heading = match[1].lstrip("# ")
        else:
            found.append((heading, match[2]))
    return found


def under(heading: str) -> list[str]:
    """List those of the project's README under a heading."""
    return [text for each, text in blocks(REPOSITORY / "README.md") if each == heading]
