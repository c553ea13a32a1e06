"""The README says what the code does. Run as a program, this file writes the generated parts."""

from pathlib import Path

from lbwatch.settings import described_settings

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = (
    "<!-- settings: generated from lbwatch/settings.py by `python tests/test_readme.py` -->\n",
    "<!-- end of settings -->\n",
)


def settings_table() -> str:
    rows = [f"| {name} | {default} | {meaning} |\n" for name, default, meaning in described_settings()]
    return "| setting | default | meaning |\n|---|---|---|\n" + "".join(rows)


def test_the_table_of_settings_is_that_of_the_code() -> None:
    """A default that changed only in the code misleads everybody who reads."""
    text = README.read_text()
    table = text.partition(BEGIN)[2].partition(END)[0]
    assert table == settings_table(), "run: python tests/test_readme.py"


def test_every_setting_says_what_it_means() -> None:
    """An empty cell helps nobody, in the table and in --help."""
    assert [name for name, _, meaning in described_settings() if len(meaning) < 10] == []


if __name__ == "__main__":
    before, _, rest = README.read_text().partition(BEGIN)
    README.write_text(before + BEGIN + settings_table() + END + rest.partition(END)[2])
