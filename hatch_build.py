"""What the built package gets beyond pyproject.toml: the README with links that work away from a checkout."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r'(?P<before>(?P<image>!?)\[[^]]*\]\(|(?P<tag><img [^>]*?src="))(?P<to>(?!https?:)[^)"\s]+)')


class ReadmeHook(MetadataHookInterface):
    """Makes the links of README.md absolute; hatchling calls it for each wheel."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Put the README into *metadata*, the table `project` of pyproject.toml."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        absolute = with_absolute_links(text, repository=metadata["urls"]["Source"])
        metadata["readme"] = {"content-type": "text/markdown", "text": absolute}


def with_absolute_links(text: str, *, repository: str) -> str:
    """
    Return a README whose links work anywhere.

    Args:
        text: In Markdown, with links relative to the repository's root, or to a heading.
        repository: Its URL on GitHub.
    """

    def absolute(match: re.Match[str]) -> str:
        to = match["to"]
        if to.startswith("#"):
            return f"{match['before']}{repository}{to}"
        kind = "raw" if match["image"] or match["tag"] else "blob"
        return f"{match['before']}{repository}/{kind}/main/{to}"

    return _LINK.sub(absolute, text)
