"""Times and texts as the page writes them."""

from markupsafe import Markup

_INVISIBLE = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\t\n"},
    0x7F: "\u2421",
    **{code: f"\\x{code:02x}" for code in range(0x80, 0xA0)},
    **{
        code: f"\\u{code:04x}"
        for code in (0x61C, *range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2066, 0x206A))
    },
    0xFEFF: "\\ufeff",
}
"""What HTML forbids, and what hides or turns around the text beside it."""


def visible(value: object) -> object:
    """Return a value in which what cannot be seen, such as control characters, can be."""
    return value.translate(_INVISIBLE) if isinstance(value, str) and not isinstance(value, Markup) else value


def clock(at: str, today: str = "") -> str:
    """Return the time of day, with the date in front where that is not *today*'s; both are ISO times in UTC."""
    date, time = at[:10], at[11:19]
    return time if date == (today or at)[:10] else f"{date} {time}"


def seconds(taken_s: float) -> str:
    """Return a measured time in three digits or so."""
    if taken_s >= 0.9995:
        return f"{taken_s:.{1 if taken_s < 100 else 0}f} s"
    milliseconds = taken_s * 1000
    return f"{milliseconds:.{1 if milliseconds < 9.95 else 0}f} ms"


def number(count: int) -> str:
    """Return a count in groups of three digits."""
    return f"{count:,}"


def plural(count: int, word: str) -> str:
    """Return a count of things."""
    return f"{number(count)} {word}{'' if count == 1 else 's'}"
