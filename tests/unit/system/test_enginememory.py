"""What an engine said last: kept without a loss, for nobody else's eyes, in a file that anyone may have spoilt."""

import json
import os
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import NO_FILES, OTHER_NAMES, Plant, assert_unharmed, victim_in
from strategies import container, hostile_text, wild_labels, worlds

from lbwatch.core.errors import StateError
from lbwatch.core.model import Container, ContainerStatus, Endpoint, Engine, Health, Published, Task
from lbwatch.system import enginememory
from lbwatch.system.enginememory import EngineMemory, Kept, KeptNode, KeptSwarm, forget_others

SHOP = Engine(name="shop", order=2)
MESH = Engine(name="mesh", order=2)
FILE = "engine-shop.json"

WEB = container("web-1", engine=SHOP)
ONE = Kept(containers=(WEB,))

TASK = Container(
    id="t" * 25,
    name=f"web.3.{'t' * 25}",
    labels=(("lbwatch.port", "8080"),),
    engine=MESH,
    endpoints=(Endpoint(network="ov", ipv4="10.0.1.5", network_id="o" * 25, driver="overlay"),),
    published=(Published(port=8080, host_port=32_770), Published(port=53, protocol="udp", host_port=53)),
    machine="10.77.0.2",
    task=Task(
        service="web",
        service_id="s" * 25,
        slot="3",
        node="worker-1",
        node_id="n" * 25,
        state="running",
        desired="shutdown",
        virtual=(Endpoint(network="ov", ipv4="10.0.1.2", network_id="o" * 25),),
        mesh=(Published(port=8080, host_port=80),),
    ),
)
SWARM = KeptSwarm(
    cluster="c" * 25,
    name="mesh",
    tasks=(TASK,),
    nodes=(KeptNode(id="n" * 25, name="worker-1", address="10.77.0.2", state="ready"),),
    leaving={TASK.id: "its service is updated"},
)


def loaded(folder: Path, *, engine: Engine = SHOP) -> Kept | None:
    """What the next daemon reads."""
    return EngineMemory(folder, engine=engine).load()


def saved(folder: Path, kept: Kept = ONE) -> EngineMemory:
    memory = EngineMemory(folder, engine=SHOP)
    assert memory.save(kept)
    return memory


# -- what comes back

_words = st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=12)
_swarm_ids = st.from_regex(r"[0-9a-z]{25}", fullmatch=True)
_ports = st.integers(1, 65_535)
_published = st.lists(
    st.builds(
        Published,
        port=_ports,
        protocol=st.sampled_from(["tcp", "udp", "sctp"]),
        host_address=hostile_text,
        host_port=_ports,
    ),
    max_size=2,
).map(tuple)
_endpoints = st.lists(
    st.builds(
        Endpoint,
        network=_words,
        ipv4=hostile_text,
        ipv6=_words,
        network_id=_words,
        driver=_words,
        alias=_words,
        gateway=hostile_text,
    ),
    max_size=2,
).map(tuple)
_tasks = st.builds(
    Task,
    service=_words,
    service_id=_swarm_ids,
    slot=_words,
    node=_words,
    node_id=_swarm_ids,
    state=_words,
    desired=_words,
    virtual=_endpoints,
    mesh=_published,
)
_numbers = st.none() | st.integers(-(2**63), 2**63 - 1)
_pairs = wild_labels.map(lambda labels: tuple(sorted(labels.items())))


def _containers(engine: Engine, *, tasks: st.SearchStrategy[Task | None]) -> st.SearchStrategy[Container]:
    """Draw containers of which every field may be anything that the model takes."""
    times = st.integers(0, 2**63 - 1)
    return st.builds(
        Container,
        id=_swarm_ids,
        name=_words,
        labels=_pairs,
        status=st.sampled_from(ContainerStatus),
        health=st.sampled_from(Health),
        created_ns=times,
        started_ns=times,
        exposed=st.lists(_ports, max_size=3).map(tuple),
        endpoints=_endpoints,
        network_of=st.none() | _words,
        host_network=st.booleans(),
        restarts=times,
        stop_signal=_numbers,
        exit_code=_numbers,
        unprobed=st.booleans(),
        image=_words,
        env=_pairs,
        engine=st.just(engine),
        published=_published,
        machine=hostile_text,
        task=tasks,
    )


_everything = st.builds(
    Kept,
    containers=st.lists(_containers(SHOP, tasks=st.none()), max_size=2).map(tuple),
    swarm=st.none()
    | st.builds(
        KeptSwarm,
        cluster=_swarm_ids,
        name=st.just(MESH.name),
        tasks=st.lists(_containers(MESH, tasks=_tasks), max_size=2).map(tuple),
        nodes=st.lists(st.builds(KeptNode, id=_swarm_ids, name=_words, address=hostile_text, state=_words)).map(tuple),
        leaving=st.dictionaries(_swarm_ids, _words, max_size=2),
    ),
)


@given(kept=_everything)
def test_whatever_an_engine_said_comes_back_as_it_was(kept: Kept, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A field that is lost is another configuration after a restart, of an engine that nobody can ask."""
    folder = tmp_path_factory.mktemp("state")
    saved(folder, kept)
    again = loaded(folder)
    assert again == kept
    assert repr(again) == repr(kept)  # equal is not enough: a network's id and an image are compared by nobody


@given(world=worlds())
def test_containers_as_users_have_them_come_back_as_they_were(
    world: tuple[Container, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The worlds that the plan is tested with are the ones that must survive."""
    folder = tmp_path_factory.mktemp("state")
    kept = Kept(containers=tuple(replace(each, engine=SHOP) for each in world))
    saved(folder, kept)
    assert loaded(folder) == kept


def test_every_field_of_a_container_is_in_the_file_s_shape() -> None:
    """A field that is new in the model would else be lost in silence; the engine is the file's name."""
    for ours, theirs in (
        ("_Container", Container),
        ("_Endpoint", Endpoint),
        ("_Published", Published),
        ("_Task", Task),
    ):
        shape = {each.name: each.default for each in msgspec.structs.fields(getattr(enginememory, ours))}
        model = {name: each.default for name, each in theirs.__dataclass_fields__.items() if name != "engine"}
        assert shape.keys() == model.keys()
        for name, default in shape.items():
            assert default is msgspec.NODEFAULT or default == model[name], name


def test_a_swarm_comes_back_beside_the_containers_of_its_manager(tmp_path: Path) -> None:
    """The engine that is away may be the only one that knew the tasks."""
    saved(tmp_path, Kept(containers=(WEB,), swarm=SWARM))
    assert loaded(tmp_path) == Kept(containers=(WEB,), swarm=SWARM)


def test_what_comes_back_is_of_the_engine_as_it_is_set_now(tmp_path: Path) -> None:
    """Its place in the list may be another one since, and decides who is older."""
    saved(tmp_path, Kept(containers=(WEB,), swarm=SWARM))
    kept = loaded(tmp_path, engine=Engine(name="shop", order=7))
    assert kept is not None
    assert kept.swarm is not None
    assert [each.engine for each in kept.containers] == [Engine(name="shop", order=7)]
    assert [each.engine for each in kept.swarm.tasks] == [Engine(name="mesh", order=7)]


def test_what_nobody_may_change_can_be_kept(tmp_path: Path) -> None:
    """A snapshot gives its mappings away for reading alone."""
    leaving = MappingProxyType({TASK.id: "its node is drained"})
    saved(tmp_path, Kept(containers=(), swarm=replace(SWARM, leaving=leaving)))
    kept = loaded(tmp_path)
    assert kept is not None
    assert kept.swarm is not None
    assert kept.swarm.leaving == leaving


def test_where_nothing_was_kept_there_is_nothing_and_nothing_is_made(tmp_path: Path) -> None:
    """A first start must not need the folder."""
    assert loaded(tmp_path / "none") is None
    assert not (tmp_path / "none").exists()


def test_an_engine_without_containers_is_not_one_of_which_nothing_is_known(tmp_path: Path) -> None:
    """The one holds up a start for nobody, the other does."""
    saved(tmp_path, Kept(containers=()))
    assert loaded(tmp_path) == Kept(containers=())


def test_what_a_later_lbwatch_adds_is_ignored(tmp_path: Path) -> None:
    """Who goes back to the version before must not lose an engine by that."""
    memory = saved(tmp_path, Kept(containers=(WEB,), swarm=SWARM))
    file = json.loads(memory.path.read_bytes())
    for place in (
        file,
        file["containers"][0],
        file["swarm"],
        file["swarm"]["tasks"][0]["task"],
        file["swarm"]["nodes"][0],
    ):
        place["new"] = {"any": ["thing", 1, None]}
    memory.path.write_text(json.dumps(file))
    assert loaded(tmp_path) == Kept(containers=(WEB,), swarm=SWARM)


def test_what_an_earlier_lbwatch_did_not_keep_is_as_usual(tmp_path: Path) -> None:
    """An update must not lose an engine either."""
    (tmp_path / FILE).write_text(json.dumps({"containers": [{"id": "1" * 64, "name": "web-1"}]}))
    assert loaded(tmp_path) == Kept(containers=(Container(id="1" * 64, name="web-1", engine=SHOP),))


# -- whose it is


@pytest.mark.parametrize("umask", [0, 0o22, 0o77])
def test_nobody_else_may_read_it(tmp_path: Path, umask: int) -> None:
    """Labels and variables hold passwords, and `state_dir` is open to all."""
    before = os.umask(umask)
    try:
        memory = saved(tmp_path / "new")
        assert memory.save(Kept(containers=()))
    finally:
        os.umask(before)
    assert memory.path.stat().st_mode & 0o777 == 0o600
    assert memory.path.parent.stat().st_mode & 0o777 == 0o755 & ~umask


def test_a_file_that_others_could_read_becomes_one_that_they_cannot(tmp_path: Path) -> None:
    """It may have come from a copy, or from a backup."""
    (tmp_path / FILE).write_text(json.dumps({"containers": []}))
    (tmp_path / FILE).chmod(0o644)
    saved(tmp_path)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("local", "engine-local.json"),
        ("10.77.0.2", "engine-10.77.0.2.json"),
        ("fd00::2", "engine-fd00%3A%3A2.json"),
        ("../../etc/passwd", "engine-..%2F..%2Fetc%2Fpasswd.json"),
        ("", "engine-.json"),
    ],
)
def test_each_engine_has_a_file_in_that_folder_whatever_it_is_called(tmp_path: Path, name: str, file: str) -> None:
    """A name is the user's, and leads nowhere else."""
    engine = Engine(name=name)
    EngineMemory(tmp_path, engine=engine).save(Kept(containers=(replace(WEB, engine=engine),)))
    assert [path.name for path in tmp_path.iterdir()] == [file]
    assert loaded(tmp_path, engine=engine) == Kept(containers=(replace(WEB, engine=engine),))


def test_engines_do_not_share_a_file(tmp_path: Path) -> None:
    """Two of them are followed, and each has its own truth."""
    saved(tmp_path)
    assert loaded(tmp_path, engine=Engine(name="other")) is None


def test_engines_that_are_followed_no_longer_are_forgotten_and_nothing_else_is(tmp_path: Path) -> None:
    """One that comes back in a year must not have the servers of today; drains by hand are none of this."""
    for name in ("shop", "old", "a:b"):
        EngineMemory(tmp_path, engine=Engine(name=name)).save(Kept(containers=()))
    (tmp_path / "drains.json").write_text("{}")
    (tmp_path / "engine-folder.json").mkdir()
    forget_others(tmp_path, names={"shop", "a:b"})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "drains.json",
        "engine-a%3Ab.json",
        "engine-folder.json",
        FILE,
    ]
    forget_others(tmp_path / "none", names=())


# -- when it is written


def test_what_is_there_already_is_not_written_again(tmp_path: Path) -> None:
    """Each resync comes with the same containers, and disks wear out."""
    memory = saved(tmp_path)
    before = memory.path.stat()
    assert not memory.save(ONE)
    again = EngineMemory(tmp_path, engine=SHOP)
    again.load()
    assert not again.save(ONE), "nor at the next start"
    assert memory.path.stat() == before
    assert again.save(Kept(containers=()))
    assert loaded(tmp_path) == Kept(containers=())


def test_what_is_the_very_same_is_not_even_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ten thousand tasks that takes a tenth of a second, every few seconds, for nothing."""
    memory = saved(tmp_path, Kept(containers=(WEB,), swarm=SWARM))
    with monkeypatch.context() as patch:
        patch.setattr(enginememory, "sha256", None)
        assert not memory.save(Kept(containers=(WEB,), swarm=replace(SWARM, leaving=dict(SWARM.leaving))))
    others = (
        Kept(containers=(WEB,), swarm=replace(SWARM, leaving={})),
        Kept(containers=(WEB,), swarm=replace(SWARM, nodes=())),
        Kept(containers=(WEB,), swarm=replace(SWARM, tasks=(replace(TASK, image="another"),))),
        Kept(containers=(replace(WEB, image="another"),), swarm=SWARM),
        Kept(containers=(WEB, replace(WEB, id="2" * 64)), swarm=SWARM),
        Kept(containers=(WEB,)),
        Kept(containers=(WEB,), swarm=SWARM),
    )
    for other in others:
        assert memory.save(other)
        assert repr(loaded(tmp_path)) == repr(other)


def test_what_did_not_reach_the_disk_does_with_the_next_word(tmp_path: Path) -> None:
    """The operator makes room, and the same containers are worth a try."""
    memory = saved(tmp_path)
    memory.path.rename(tmp_path / "aside")
    memory.path.mkdir()
    with pytest.raises(StateError):
        memory.save(Kept(containers=()))
    memory.path.rmdir()
    assert memory.save(ONE), "what was there before the failure may be there no more"
    assert loaded(tmp_path) == ONE


def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full when everything goes wrong."""
    memory = saved(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StateError, match="No space left") as caught:
        memory.save(Kept(containers=()))
    assert str(caught.value).count(FILE) == 1
    assert loaded(tmp_path) == ONE
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_what_cannot_be_kept_is_told(tmp_path: Path) -> None:
    """A read-only container is no reason not to route."""
    (tmp_path / "file").write_text("in the place of the folder")
    memory = EngineMemory(tmp_path / "file", engine=SHOP)
    for deed in (memory.load, lambda: memory.save(ONE)):
        with pytest.raises(StateError, match=FILE):
            deed()
    assert (tmp_path / "file").read_text() == "in the place of the folder"


# -- a file that somebody spoilt


def _with(**fields: object) -> bytes:
    """A file of one container, of which something is otherwise."""
    return json.dumps({"containers": [{"id": "1" * 64, "name": "web-1"} | fields]}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"not JSON",
        b'{"containers": [',
        b'{"containers": []',
        b'{"containers": []}}',
        b"null",
        b"7",
        b'"containers"',
        b"[]",
        b"{}",
        b'{"containers": null}',
        b'{"containers": {}}',
        b'{"containers": [null]}',
        b'{"containers": [{"id": "1"}]}',
        b'{"containers": [{"name": "web-1"}]}',
        b'{"containers": [], "swarm": []}',
        b'{"containers": [], "swarm": {}}',
        b'{"containers": [], "swarm": {"cluster": "c", "name": "n", "tasks": [{}]}}',
        b'{"containers": [], "swarm": {"cluster": "c", "name": "n", "leaving": {"../": "x"}}}',
        b'{"containers": [{"id": "1", "name": "\xff"}]}',
        b'{"containers": [{"id": "1", "name": "\\ud800"}]}',
        b"\x00" * 4096,
        b'{"containers": ' + b"9" * 5000 + b"}",
        b"[" * 200_000,
        b'{"containers": [], "new": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"containers": [], "new": ' + b'{"a":' * 200_000 + b"1" + b"}" * 200_000 + b"}",
        _with(id="../../../info"),
        _with(id="1" * 65),
        _with(id="1\n"),
        _with(name="web\n1"),
        _with(name="web\u20281"),
        _with(name="w" * 600),
        _with(status="sleeping"),
        _with(health="fine"),
        _with(labels={"a": "b"}),
        _with(labels=[["a"]]),
        _with(exposed=[0]),
        _with(exposed=[65_536]),
        _with(created_ns=-1),
        _with(started_ns=2**63),
        _with(started_ns=1.5),
        _with(stop_signal=2**70),
        _with(restarts="3"),
        _with(endpoints=[{"network": "a\x1b[2J"}]),
        _with(published=[{"port": 80}]),
        _with(published=[{"port": 80, "host_port": 0}]),
        _with(task={"service": "a;\n", "service_id": "", "slot": "1"}),
    ],
    ids=lambda content: content[:24].decode(errors="replace") + f"-{len(content)}",
)
def test_a_file_that_cannot_be_used_is_told_and_the_next_word_mends_it(tmp_path: Path, content: bytes) -> None:
    """Half of it may be a lie, and none of it ends the daemon at each of its starts."""
    (tmp_path / FILE).write_bytes(content)
    memory = EngineMemory(tmp_path, engine=SHOP)
    with pytest.raises(StateError) as caught:
        memory.load()
    assert str(tmp_path / FILE) in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1_000
    assert memory.save(ONE)
    assert loaded(tmp_path) == ONE


@pytest.mark.timeout(20)
@pytest.mark.parametrize("plant", NO_FILES.values(), ids=NO_FILES)
def test_what_is_no_file_in_its_place_is_told_and_holds_nobody_up(tmp_path: Path, plant: Plant) -> None:
    """A start must not wait for a pipe, nor read a device until the memory is full."""
    memory, victim = EngineMemory(tmp_path, engine=SHOP), victim_in(tmp_path)
    plant(memory.path, victim)
    for deed in (memory.load, lambda: memory.save(ONE)):
        with pytest.raises(StateError, match=r"remove it|name the file itself") as caught:
            deed()
        assert str(memory.path) in str(caught.value)
    assert_unharmed(victim)


@pytest.mark.parametrize("plant", OTHER_NAMES.values(), ids=OTHER_NAMES)
@pytest.mark.parametrize("name", [f".{FILE}.tmp", f".{FILE}.probe"])
def test_what_lies_beside_it_stops_nothing_and_leads_nowhere(tmp_path: Path, plant: Plant, name: str) -> None:
    """Whoever may write the folder must not choose which file root writes."""
    victim = victim_in(tmp_path)
    plant(tmp_path / name, victim)
    saved(tmp_path)
    assert loaded(tmp_path) == ONE
    assert_unharmed(victim)


def test_a_file_that_is_too_long_is_told_and_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And none is written that the next start would refuse."""
    memory = EngineMemory(tmp_path, engine=SHOP)
    memory.path.touch()
    os.truncate(memory.path, 100 << 20)
    with pytest.raises(StateError, match="longer than"):
        memory.load()
    memory.path.unlink()
    memory.save(ONE)
    monkeypatch.setattr(enginememory, "MAX_BYTES", memory.path.stat().st_size)
    with pytest.raises(StateError, match="longer than"):
        memory.save(Kept(containers=(WEB, replace(WEB, id="2" * 64))))
    assert loaded(tmp_path) == ONE
