"""
What each engine said last, in a JSON file of its own below `state_dir`: one that is away at a start keeps its servers.

It touches the disk and decides nothing: not whose truth it is time to keep, nor when what was kept counts. Labels may
hold secrets, so that nobody else reads these files.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from operator import is_
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import quote

import msgspec

from lbwatch.core.errors import OutputError, StateError
from lbwatch.core.model import TERM, Container, ContainerStatus, Engine, Health
from lbwatch.system import files, place, reading

MAX_BYTES = files.MAX_BYTES
"""Of one engine's file: 10,000 tasks with a dozen labels each take 12 MiB."""

MODE = 0o600

_FILE = "engine-{}.json"

# What goes into paths of requests, or is shown as it is: a file that somebody else wrote puts no line into another.
_Id = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-z]{1,64}\Z")]
_Word = Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*\Z", max_length=512)]
_Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
_Whole = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Pairs = tuple[tuple[str, str], ...]


class _Sparse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Made from a word of the model, attribute by attribute, and into one; what is as usual takes no room."""


class _Endpoint(_Sparse, frozen=True, kw_only=True):
    network: _Word
    ipv4: str = ""
    ipv6: str = ""
    network_id: str = ""
    driver: str = ""
    alias: _Word = ""
    gateway: str = ""


class _Published(_Sparse, frozen=True, kw_only=True):
    port: _Port
    protocol: _Word = "tcp"
    host_address: str = ""
    host_port: _Port


class _Task(_Sparse, frozen=True, kw_only=True):
    service: _Word
    service_id: _Word
    slot: _Word
    node: _Word = ""
    node_id: _Word = ""
    state: _Word = ""
    desired: _Word = ""
    virtual: tuple[_Endpoint, ...] = ()
    mesh: tuple[_Published, ...] = ()


class _Container(_Sparse, frozen=True, kw_only=True):
    id: _Id
    name: _Word
    labels: _Pairs = ()
    status: ContainerStatus = ContainerStatus.RUNNING
    health: Health = Health.NONE
    created_ns: _Whole = 0
    started_ns: _Whole = 0
    exposed: tuple[_Port, ...] = ()
    endpoints: tuple[_Endpoint, ...] = ()
    network_of: _Word | None = None
    host_network: bool = False
    restarts: _Whole = 0
    stop_signal: _Int64 | None = TERM
    exit_code: _Int64 | None = None
    unprobed: bool = False
    image: _Word = ""
    env: _Pairs = ()
    published: tuple[_Published, ...] = ()
    machine: str = ""
    task: _Task | None = None


class _Node(_Sparse, frozen=True, kw_only=True):
    id: _Id
    name: _Word = ""
    address: str = ""
    state: _Word = ""


class _Swarm(_Sparse, frozen=True, kw_only=True):
    cluster: _Word
    name: _Word
    tasks: tuple[_Container, ...] = ()
    nodes: tuple[_Node, ...] = ()
    leaving: dict[_Id, _Word] = {}


class _File(_Sparse, frozen=True, kw_only=True):
    """What a file holds, but for the engine, which its name says; what a later lbwatch adds to it is ignored."""

    containers: tuple[_Container, ...]
    swarm: _Swarm | None = None
    url: _Word = ""
    host: _Word = ""
    address: _Word = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptNode:
    """A machine of a Swarm: its id there, its host name, its address, and the Swarm's word for how it is."""

    id: str
    name: str = ""
    address: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSwarm:
    """
    What an engine said as one of a Swarm's managers.

    Attributes:
        cluster: The Swarm's id.
        name: What log, page and API call it, and the name of its tasks' `Engine`.
        tasks: In any order.
        nodes: Likewise.
        leaving: As in `Snapshot`: by id, which tasks are about to be stopped, and why, in words.
    """

    cluster: str
    name: str
    tasks: tuple[Container, ...] = ()
    nodes: tuple[KeptNode, ...] = ()
    leaving: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """
    What an engine said last.

    Attributes:
        containers: Its own, in any order, by the names that it has for them itself: another engine's are not looked at.
        swarm: `None`: it is not a manager whose word on its Swarm is kept.
        url: Where it was asked, as a user writes it: elsewhere its name may be another engine's.
        host: Where its published ports were to be reached, by name or IP; empty: nowhere.
        address: The IP of that; empty: it was not known.
    """

    containers: tuple[Container, ...]
    swarm: KeptSwarm | None = None
    url: str = ""
    host: str = ""
    address: str = ""


class EngineMemory:
    """
    What one engine said last, on the disk.

    Args:
        folder: Where the file is; it is made when there is something to keep.
        engine: Which engine; what is loaded is of this one, and its Swarm's tasks have its place in the order.

    Attributes:
        path: Of the file.
    """

    def __init__(self, folder: Path, *, engine: Engine) -> None:
        self.path: Final = folder / _file_name(engine.name)
        self._engine = engine
        self._on_disk: bytes | None = None  # digest of the file, as far as this lbwatch has read or written it
        self._written: Kept | None = None  # what is in it, as it was given

    def load(self) -> Kept | None:
        """
        Return what was kept; `None` if there is nothing. It reads up to `MAX_BYTES`: to be called in a thread.

        Raises:
            StateError: There is something, and it cannot be used.
        """
        try:
            content = reading.of_ours(self.path, max_bytes=MAX_BYTES)
            found = msgspec.json.decode(content, type=_File)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateError(self.path, reason=str(error)) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise StateError(self.path, reason=f"it is not what lbwatch keeps there ({error}): remove it") from error
        self._on_disk = sha256(content).digest()
        return Kept(
            containers=_restored(found.containers, engine=self._engine),
            swarm=None if found.swarm is None else _restored_swarm(found.swarm, order=self._engine.order),
            url=found.url,
            host=found.host,
            address=found.address,
        )

    def save(self, kept: Kept) -> bool:
        """
        Put what the engine says now in the file's place, and return whether that was necessary.

        It waits for the disk: to be called in a thread, and never in two at once. Where all is the very same object as
        before, that is seen without a look at what it says.

        Raises:
            StateError: It cannot be kept; what was kept before may still be there.
        """
        if self._written is not None and _are_same(kept, self._written):
            return False
        try:
            content = msgspec.json.encode(msgspec.convert(kept, _File, from_attributes=True)) + b"\n"
        except (msgspec.ValidationError, UnicodeEncodeError) as error:
            raise StateError(self.path, reason=f"what the engine says cannot be kept: {error}") from error
        digest = sha256(content).digest()
        if digest == self._on_disk:
            self._written = kept
            return False
        # Until the file is there: whatever is raised on the way leaves the next call to try again.
        self._on_disk = self._written = None
        self._replace(content)
        self._on_disk, self._written = digest, kept
        return True

    def _replace(self, content: bytes) -> None:
        with suppress(OSError):
            self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        reason = place.unusable_reason(self.path)
        if reason is None and len(content) > MAX_BYTES:
            reason = f"it would be longer than {MAX_BYTES >> 20} MiB"
        if reason is not None:
            raise StateError(self.path, reason=reason)
        try:
            files.replace(self.path, text=content.decode(), mode=MODE)
        except OutputError as error:
            raise StateError(self.path, reason=str(error).removeprefix(f"{self.path}: ")) from error


def forget_others(folder: Path, *, names: Collection[str]) -> None:
    """
    Remove what was kept of engines that are followed no longer: should one come back, its containers are others.

    Args:
        folder: Where the files are; there may be none.
        names: Of the engines that are followed.
    """
    ours = {_file_name(name) for name in names}
    with suppress(OSError):
        for path in folder.glob(_FILE.format("*")):
            if path.name not in ours:
                with suppress(OSError):
                    path.unlink()


def _file_name(name: str) -> str:
    """Return the file of an engine of any name: an address has colons, and nothing leads to another folder."""
    return _FILE.format(quote(name, safe=""))


def _are_same(kept: Kept, other: Kept) -> bool:
    """Return whether there are the very same containers; equal ones may differ in what nobody compares."""
    if (kept.url, kept.host, kept.address) != (other.url, other.host, other.address):
        return False
    one, two = kept.swarm, other.swarm
    if one is None or two is None:
        return one is two and _are_all(kept.containers, other.containers)
    rest = replace(one, tasks=()) == replace(two, tasks=())
    return rest and _are_all(kept.containers, other.containers) and _are_all(one.tasks, two.tasks)


def _are_all(containers: Sequence[Container], others: Sequence[Container]) -> bool:
    return len(containers) == len(others) and all(map(is_, containers, others))


def _restored(found: tuple[_Container, ...], *, engine: Engine) -> tuple[Container, ...]:
    containers = msgspec.convert(found, tuple[Container, ...], from_attributes=True)
    return tuple(replace(container, engine=engine) for container in containers)


def _restored_swarm(found: _Swarm, *, order: int) -> KeptSwarm:
    return KeptSwarm(
        cluster=found.cluster,
        name=found.name,
        tasks=_restored(found.tasks, engine=Engine(name=found.name, order=order)),
        nodes=msgspec.convert(found.nodes, tuple[KeptNode, ...], from_attributes=True),
        leaving=found.leaving,
    )
