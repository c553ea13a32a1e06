"""The command blocks of a README, for the tests that run them."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$|^(#+ [^\n]*)$", re.MULTILINE | re.DOTALL)


def fenced(document: Path) -> list[tuple[str, str, str]]:
    """List the blocks of a document: the heading that each stands under, its language (may be empty) and its text."""
    found, heading = [], ""
    for match in _BLOCK.finditer(document.read_text()):
        if match[3] is not None:
            heading = match[3].lstrip("# ")
        else:
            found.append((heading, match[1], match[2]))
    return found


def blocks(document: Path) -> list[tuple[str, str]]:
    """List the blocks of commands, each with the heading that it stands under."""
    return [(heading, text) for heading, language, text in fenced(document) if language == "sh"]


def under(heading: str, *, document: str = "README.md") -> list[str]:
    """List those of a document, the project's README by default, under a heading."""
    return [text for each, text in blocks(REPOSITORY / document) if each == heading]


def example_template() -> str:
    """Return the template of one's own that docs/templates.md shows."""
    return _example("<!-- example:")


def example_of_sites() -> str:
    """Return the one that it shows of sites."""
    return _example("<!-- example of sites:")


def _example(mark: str) -> str:
    text = (REPOSITORY / "docs" / "templates.md").read_text().partition(mark)[2]
    return text.partition("```jinja\n")[2].partition("```")[0]
