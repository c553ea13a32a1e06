"""
The log as people read it on a terminal: a short time, the level where it is a bad one, and a sentence.

What goes well fits into 80 columns. What has no sentence here has its event and values. Pure.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from lbwatch.core.errors import excerpt

WIDTH = 80
"""Columns of the narrowest terminal that anyone is likely to have; a window may be wider, a split one is not."""

_LEVELS = {"debug": ("debug", "2"), "warning": ("WARN", "33"), "error": ("ERROR", "31"), "critical": ("ERROR", "31")}
"""How a level is written, and its colour (ECMA-48, SGR); one that is not here goes without saying."""

_SENTENCES = {
    "container.drained": "{container} is drained by hand",
    "container.not_routed": "{container} is not routed: {detail} ({reason})",
    "container.noticed": "{container}: {detail} ({notice})",
    "container.undrained": "{container} is no longer drained by hand",
    "daemon.started": "lbwatch {version} writes {output}",
    "daemon.stopped": "lbwatch has stopped",
    "nginx.recalled": "nginx runs this already: no reload",
    "reconcile.finished": "nginx is in step",
    "site.restored": "host {host} is written in full again",
    "source.connected": "connected to {source}",
    "source.listed": "containers listed: {containers}",
    "source.looked": "containers can be inspected",
    "source.synced": "containers seen: {containers}",
    "status.listening": "the page is at {url}",
    "stream.restored": "port {port} is written in full again",
    "template.loaded": "template read: {path}",
    "upstream.paused": "{upstream} is paused by hand",
    "upstream.restored": "{upstream} is written in full again",
    "upstream.resumed": "{upstream} is no longer paused by hand",
    "upstream.waited": "no request of {upstream} waits any more: {requests} at once, for {waited_s} s in all",
    "upstream.waiting": "requests of {upstream} wait: {requests}",
}
"""By event; a line that lacks one of the values has the event and what there is, as all others have."""

_MESSAGES = ("error", "reason", "warning", "detail", "advice")
"""Keys whose values are sentences by themselves."""

_UNSHOWN = frozenset(
    {"event", "level", "timestamp", "source", "attempt", "retry_in_s", "outage_s", "digest", "traceback"}
)
"""Keys that are for programs, or stand elsewhere in the line."""

_WORDS = {"not-running": "stopped"}
"""Reason codes that have a plainer word for people."""

_SIGNS = {"joined": "+", "left": "-"}

_PUSHED = ("nginx.pushed",)
"""Changes that needed no reload."""

_OF_UPSTREAMS = {"empty": "has no server", "paused": "is paused", "resumed": "is resumed"}

_NAMED = 2
"""So many changes are named also where that takes a second line: one that is counted cannot be looked up."""

_MORE = re.compile(r" and (\d+) more$")

Values = Mapping[str, Any]


class Console:
    """
    Makes a line of an event.

    Args:
        colours: Whether the reader's terminal shows any.
    """

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours

    def __call__(self, _logger: object, _name: str, values: Values) -> str:
        """Return the line; a bug's traceback follows on lines of its own."""
        time, (level, colour) = str(values.get("timestamp", "")), _LEVELS.get(str(values.get("level")), ("", ""))
        room = WIDTH - len(time) - 1 - (len(level) + 1 if level else 0)
        words = [self._coloured(time, "2"), *([self._coloured(level, colour)] if level else [])]
        words.append(_printable(_message(values, room=room)))
        trace = str(values.get("traceback", "")).splitlines()
        return "\n".join([" ".join(words), *(excerpt(line, keep_indent=True) for line in trace)])

    def _coloured(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours else text


def _message(values: Values, *, room: int) -> str:
    if "error" in values:
        return _plain(values)
    event, back = str(values.get("event", "")), ""
    if "outage_s" in values:
        back = f", back after {_duration(values['outage_s'])}"
    if "live_s" in values:
        how = "pushed" if event in _PUSHED else "live"
        ending = f", {how} in {_duration(values['live_s'])}{back}"
        return _moves(values, room=room - len(ending)) + ending
    if "live" in values:
        how = "without a reload" if values["live"] else f"by reloads: {values.get('reason', '')}"
        return f"changes of servers go out {how}"
    try:
        return _SENTENCES[event].format_map(values) + back
    except KeyError:
        return _plain(values)


def _plain(values: Values) -> str:
    """Return an event with its values; those that its message has already are not repeated."""
    event = str(values.get("event", ""))
    if values.get("outage_s", 0) >= 1:
        event += f" for {_duration(values['outage_s'])}"
    messages = [str(values[key]) for key in _MESSAGES if key in values]
    message = f"{event}: {'; '.join(messages)}" if messages else event
    hidden = _UNSHOWN.union(_MESSAGES)
    rest = (f"{key}={value}" for key, value in values.items() if key not in hidden and str(value) not in message)
    return " ".join([message, *rest])


def _moves(values: Values, *, room: int) -> str:
    """Return who came and who left, as exactly as there is room for."""
    moves: Sequence[Values] = values.get("moves", ())
    if not moves and "sites" in values:
        return _sites(str(values["sites"]), room=room)
    if not moves:
        return "no server moved" if values.get("event") in _PUSHED else "nginx reloaded"
    exact = [_by_upstream(moves, with_details=each) for each in (True, False)]
    if len(moves) <= _NAMED:
        forms = exact
    elif "moves_in_all" in values:  # more than are listed
        forms = [f"{_signed(values['moves_in_all'])} in all"]
    else:
        forms = [*exact, _counted(moves), f"{_signed(Counter(move['change'] for move in moves))} in all"]
    return next((form for form in forms if len(form) <= room), forms[-1])


def _sites(names: str, *, room: int) -> str:
    """Return which hosts and ports are others: those that there is room for, and how many more there are."""
    listed, unlisted = _MORE.sub("", names).split(", "), _MORE.search(names)  # of very many some are not listed
    in_all = len(listed) + (int(unlisted[1]) if unlisted else 0)
    forms = [names, *(f"{', '.join(listed[:n])} and {in_all - n} more" for n in range(len(listed) - 1, 0, -1))]
    return next((form for form in forms if len(form) <= room), forms[-1])


def _by_upstream(moves: Sequence[Values], *, with_details: bool) -> str:
    groups = groupby(moves, key=lambda move: move["upstream"])
    return "; ".join(
        f"{name} " + ", ".join(_move(move, with_details=with_details) for move in group) for name, group in groups
    )


def _move(move: Values, *, with_details: bool) -> str:
    change, container, server = move["change"], move.get("container"), move.get("server")
    if container is None:
        return _OF_UPSTREAMS.get(change, "has other settings")
    reason, place = move.get("reason"), f" {server}" if with_details else ""
    ending = f" ({_WORDS.get(reason, reason)})" if reason and with_details else ""
    if change in _SIGNS:
        return f"{_SIGNS[change]}{container}{place}{ending}"
    if change == "moved" and with_details:
        return f"{container} {move['was']} -> {server}{ending}"
    return f"{container} {change}{ending}"


def _counted(moves: Sequence[Values]) -> str:
    groups = groupby(moves, key=lambda move: move["upstream"])
    return "; ".join(f"{name} {_signed(Counter(move['change'] for move in group))}" for name, group in groups)


def _signed(counts: Mapping[str, int]) -> str:
    """Return how many came, left and so on."""
    return ", ".join(
        f"{_SIGNS[change]}{count}" if change in _SIGNS else f"{count} {change}" for change, count in counts.items()
    )


def _duration(seconds: float) -> str:
    """Return seconds in the unit that people would use."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _printable(text: str) -> str:
    """Return text on one line, without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in " ".join(text.split()))
