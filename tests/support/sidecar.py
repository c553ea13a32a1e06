"""lbwatch beside an nginx that runs in a container: the stage of the tests of that."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from containernginx import ContainerNginx
from daemon import Lbwatch, Stage, ending, flags_of
from oracle import Reach

BRIDGE = Reach(networks=("bridge",), host_shared=False)


class Sidecar(Stage):
    """
    A stage whose nginx is in a container; *reach* is what lbwatch must find out, and is not told.

    Nginx's main file is the one that the program was built for.
    """

    nginx: ContainerNginx

    def __init__(self, nginx: ContainerNginx, *, folder: Path, settings: Mapping[str, str]) -> None:
        super().__init__(nginx.engine, nginx, folder=folder, settings={"nginx-container": nginx.container, **settings})
        self.reach = BRIDGE

    def _flags(self, settings: Mapping[str, str]) -> Iterable[str]:
        flags = iter(super()._flags(settings))
        mine = ("--nginx-pidfile", "--nginx-conf")
        pairs = (pair for pair in zip(flags, flags, strict=True) if pair[0] not in mine or pair[0][2:] in settings)
        return [word for pair in pairs for word in pair]

    def wait_for_reload(self, *, since: int) -> None:
        """Wait until a reload was verified: what nginx answers does not tell when it was restarted."""
        self.lbwatch.wait_for_log("nginx.reloaded", since=since)


class SetSidecar(Protocol):
    """Sets a stage around an nginx; see `conftest.SetStage`."""

    def __call__(self, nginx: ContainerNginx, *, lbwatch_runs: bool = True, **settings: str) -> Sidecar: ...


@contextmanager
def sidecars(folder: Path) -> Iterator[SetSidecar]:
    """Give what sets such stages in a folder; at the end, an lbwatch that still should run must obey SIGTERM."""
    stages: list[Sidecar] = []

    def make(nginx: ContainerNginx, *, lbwatch_runs: bool = True, **settings: str) -> Sidecar:
        inner = folder / f"lbwatch{len(stages)}"
        inner.mkdir()
        stages.append(stage := Sidecar(nginx, folder=inner, settings=flags_of(settings)))
        if lbwatch_runs:
            stage.lbwatch.start()
        return stage

    with ending(stages):
        yield make


def explained(lbwatch: Lbwatch, *words: str) -> tuple[list[dict[str, Any]], str]:
    """What `explain` says: the rows, and what it says beside them."""
    _, out, err = lbwatch.command("explain", "--json", *words)
    return json.loads(out) if out else [], err


def row_of(lbwatch: Lbwatch, container: str) -> dict[str, Any]:
    """What `explain` says of one."""
    return next((row for row in explained(lbwatch)[0] if row["container"] == container), {})
