"""How a stream of events looks: a line for each, and one for what becomes of a container."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from rich.text import Text

from lbwatch.cli.output import column
from lbwatch.cli.terminal import DIM, GOOD, NOTE, write_line
from lbwatch.core.errors import excerpt
from lbwatch.core.eventwords import event_words
from lbwatch.core.model import Event
from lbwatch.core.status import counted

_NAME_WIDTH = 20
_ENGINE_WIDTH = 20  # at most


class EventScreen:
    """
    Shows a stream of events, and what becomes of them.

    Args:
        wall: Gives the time in seconds since the epoch.
    """

    def __init__(self, *, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._engine_width = 0  # 0: there is one, and nobody wants to read its name

    def begun(self, *, source: str, engines: Iterable[str], containers: int) -> None:
        """
        Write that it has begun.

        Args:
            source: What is followed, in words.
            engines: The names of all engines and Swarms.
            containers: How many containers there are.
        """
        widths = [len(excerpt(each)) for each in engines]
        self._engine_width = min(_ENGINE_WIDTH, max(widths)) if len(widths) > 1 else 0
        many = counted(containers, what="container")
        write_line(f"{self._now()}  following {source}: {many}; Ctrl-C ends it", style=DIM)

    def event(self, event: Event, *, engine: str, name: str, matters: bool, prefix: str) -> None:
        """
        Show an event, and whether it is looked at.

        Args:
            event: What was heard.
            engine: Of which engine, or Swarm.
            name: Of the container, service or node that it is of.
            matters: Whether it is looked at.
            prefix: Label prefix, without the dot.
        """
        at = (
            datetime.fromtimestamp(event.at_ns / 1e9, UTC).isoformat(timespec="milliseconds")[11:23]
            if event.at_ns
            else self._now()
        )
        told = self._begin(at, engine=engine, name=name)
        told.append(event_words(event), style="cyan")
        if event.container is None:
            told.append("  all containers are looked at", style="default")
        elif not matters:
            told.append(f"  ignored: it has no {prefix}.* label", style=DIM)
        write_line(told)

    def verdict(self, name: str, lines: tuple[str, ...] | None, *, engine: str) -> None:
        """Show what the new place of a container of an engine, or a Swarm, is; *lines* are `None`: it is gone."""
        for line in lines or ("gone",):
            style = GOOD if line.startswith("serves") else NOTE
            told = self._begin(self._now(), engine=engine, name=name)
            told.append("-> ", style=style)
            write_line(told.append(column(line, beside=len(told)), style=style))

    def _begin(self, at: str, *, engine: str, name: str) -> Text:
        told = Text(f"{at}  ", style=DIM)
        if self._engine_width:
            told.append(f"{excerpt(engine):<{self._engine_width}}  ", style=DIM)
        return told.append(f"{excerpt(name):<{_NAME_WIDTH}}  ", style="bold")

    def _now(self) -> str:
        return datetime.fromtimestamp(self._wall(), UTC).isoformat(timespec="milliseconds")[11:23]
