"""
How answers look: coloured tables on a terminal, plain lines that scripts can read elsewhere; on standard output.

What others wrote is never taken for markup or for a terminal's own sequences.
"""

import sys
import textwrap
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from rich.table import Table
from rich.text import Text

from lbwatch.cli.terminal import BAD, DIM, GOOD, NOTE, console, is_terminal, write_line
from lbwatch.core.errors import excerpt
from lbwatch.core.explain import Explanation, Story, stamp
from lbwatch.core.model import Reason, Route
from lbwatch.core.origins import origin_words
from lbwatch.core.serving import place_words
from lbwatch.core.ways import WayVerdict, ways_tell_more

_QUIET = frozenset({Reason.NOT_LABELLED, Reason.DISABLED, Reason.ONE_OFF, Reason.NOT_RUNNING})
"""What is so because somebody wanted it so."""

Places = Mapping[str, tuple[str, ...]]
"""The hosts and ports that upstreams serve, by upstream."""

_WIDEST = 40  # of a column of names: one that is longer must not push all others away
_VERDICT_STYLES = {"ok": GOOD, "warn": NOTE, "FAILED": f"bold {BAD}"}
_DIFF_STYLES = {"+": GOOD, "-": BAD, "@": "cyan"}


def show(text: str) -> None:
    """Write a text as it is."""
    sys.stdout.write(text)


def show_difference(lines: Iterable[str], *, names: tuple[str, str]) -> None:
    """Write a unified diff between two files of these names; nothing if there is no difference."""
    found = list(lines)
    if not found:
        return
    for line in (f"--- {names[0]}\n", f"+++ {names[1]}\n", *found):
        write_line(line.rstrip("\n"), style="bold" if line[:3] in ("---", "+++") else _DIFF_STYLES.get(line[:1], ""))


def show_check(name: str, *, words: str, verdict: str) -> None:
    """Write the outcome of one check; on a terminal its words stay in a column of their own."""
    head = f"{verdict:<6}  {name:<8}  "
    text = Text(f"{head}{column(words, beside=len(head))}", style="default")
    text.stylize(_VERDICT_STYLES[verdict], 0, len(verdict))
    write_line(text)


def column(words: str, *, beside: int) -> str:
    """Return words that stand beside so many cells; on a terminal they stay in a column of their own."""
    width = console().width - beside if is_terminal() else 0
    lines = (part for line in words.splitlines() or [""] for part in _folded(line, width=width))
    return f"\n{'':<{beside}}".join(lines)


def _folded(line: str, *, width: int) -> list[str]:
    """Return the lines that one takes; *width*: of the column, 0 where it has no end."""
    if not 0 < width < len(line):
        return [line]
    return textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False)


def show_explanation(told: Explanation) -> None:
    """Write why each container is or is not routed."""
    if not told.routes and not told.reasons:
        show("The engine has no containers.\n")
    elif is_terminal() and told.routes:
        console().print(_table(told.routes, places=told.places, origins=_origins(told)))
    else:
        show(_plain(told.routes, places=told.places, origins=_origins(told)))
    if told.story is not None:
        _show_story(told.story)


def _origins(told: Explanation) -> Mapping[str, str]:
    """Return where containers are from, in words and by name; none where a story says so, or there is one engine."""
    if told.story is not None:
        return {}
    words = {
        name: origin_words(each, several_engines=told.several_engines, beside=name)
        for name, each in told.origins.items()
    }
    return {name: excerpt(each) for name, each in words.items() if each}


def route_words(route: Route) -> tuple[str, ...]:
    """Return a line for where a container is routed, or why it is not, and a line for each warning."""
    if route.address is None:
        first = f"{route.outcome}" + (f" [upstream {route.upstream}]" if route.upstream else "")
    else:
        first = f"serves upstream {route.upstream} at {route.address}"
    return (first, *(f"warning: {notice.detail}" for notice in route.notices))


def _plain(routes: Iterable[Route], *, places: Places, origins: Mapping[str, str]) -> str:
    """Return routes in columns: container, upstream, then the address or the reason; hosts and warnings below them."""
    everything = tuple(routes)
    cells = [
        (route.container, route.upstream or "-", _outcome(route, origin=origins.get(route.container)))
        for route in everything
    ]
    widths = [min(_WIDEST, max((len(cell[column]) for cell in cells), default=0)) for column in (0, 1)]
    lines = []
    for route, (container, upstream, outcome) in zip(everything, cells, strict=True):
        lines.append(f"{container:<{widths[0]}}  {upstream:<{widths[1]}}  {outcome}")
        if served := _served(route, places=places):
            lines.append(f"{'':<{widths[0]}}  for {served}")
        lines += [f"{'':<{widths[0]}}  warning: {notice.detail}" for notice in route.notices]
    return "".join(f"{line}\n" for line in lines)


def _served(route: Route, *, places: Places) -> str:
    """Return the hosts and ports that a container gets requests of, in words; empty where there are none."""
    found = places.get(route.upstream or "", ()) if route.server is not None else ()
    return place_words(found) if found else ""


def _outcome(route: Route, *, origin: str | None) -> str:
    state = f" ({route.state})" if route.state not in (None, "up") else ""
    since = f" [since {stamp(route.since)}]" if route.since is not None else ""
    return f"{route.outcome}{state}{since}" + (f" [{origin}]" if origin else "")


def _table(routes: tuple[Route, ...], *, places: Places, origins: Mapping[str, str]) -> Table:
    is_dated = any(route.since is not None for route in routes)
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=True)
    for heading in ("container", "upstream"):
        table.add_column(heading, overflow="fold")
    table.add_column("", no_wrap=True)
    table.add_column("address, or what to do", overflow="fold", ratio=1)
    if is_dated:
        table.add_column("since", no_wrap=True)
    for route in routes:
        style = GOOD if route.address is not None else (DIM if route.reason in _QUIET else BAD)
        what = Text(route.address or route.detail or "")
        if served := _served(route, places=places):
            what.append(f"\nfor {served}", style=DIM)
        if origin := origins.get(route.container):
            what.append(f"\n{origin}", style=DIM)
        for notice in route.notices:
            what.append(f"\nwarning: {notice.detail}", style=NOTE)
        state = NOTE if route.address is not None and route.state != "up" else style
        table.add_row(
            Text(route.container, style=DIM if style == DIM else "bold"),
            Text(route.upstream or "-"),
            Text(route.state or route.reason or "", style=state),
            what,
            *([Text(_time_of_day(stamp(route.since)), style=DIM)] if is_dated else []),
        )
    return table


def _time_of_day(since: str | None) -> str:
    """Return a time, shortened; the day matters once it is not today."""
    if since is None:
        return ""
    day, _, rest = since.partition("T")
    return f"{rest[:8]}Z" if day == datetime.now(UTC).date().isoformat() else f"{day} {rest[:5]}Z"


def _show_story(story: Story) -> None:
    started = f", started {story.started}" if story.started else ", never started"
    restarts = f", restarted {story.restarts}x by the engine" if story.restarts else ""
    health = f", health {story.health}" if story.health != "none" else ", no health check"
    more = [words for words in (story.suspended, story.advice) if words]
    _section("state", [f"{story.status}{health}{started}{restarts}", *more])
    if story.swarm is not None:
        where = f"node {story.swarm.node}" if story.swarm.node else "on no node yet"
        whole = f"service {story.swarm.service}, task {story.swarm.task}, {where}"
        _section("Swarm", [whole, f"state {story.swarm.state}, desired state {story.swarm.desired}"])
    elif story.engine:
        alias = "" if story.own_name == story.container else f", which calls it {story.own_name}"
        _section("engine", [f"{story.engine}{alias}"])
    _section("id", [story.id])
    if story.image:
        _section("image", [story.image])
    _section("exposes", [", ".join(f"{port}/tcp" for port in story.exposed) or "no TCP port"])
    labels = [f"{label.key}={label.value}  ({label.meaning})" for label in story.labels]
    unread = [f"and {story.more_labels:,} more"] if story.more_labels else []
    _section("labels", [*labels, *unread] or ["none that is read"])
    networks = [f"{each.network}  {each.address or 'no address'}  ({each.verdict})" for each in story.networks]
    _section("networks", networks or ["none"])
    if ways_tell_more(story.ways):
        _section("reached", [_way(each) for each in story.ways])
    _section("events", [f"{event.at}  {event.action}" for event in story.events] or ["none lately"])
    _section("rendered", list(story.lines) or ["nothing"])


def _way(each: WayVerdict) -> str:
    whose = f"upstream {each.upstream}, " if each.upstream is not None else ""
    return f"{whose}{each.way}  ({each.verdict})"


def _section(name: str, lines: list[str]) -> None:
    for number, line in enumerate(lines):
        heading = Text(f"{name if number == 0 else '':<9} ", style="bold")
        write_line(heading.append(column(excerpt(line), beside=len(heading)), style="default"))
