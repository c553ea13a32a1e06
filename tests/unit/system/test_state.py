"""What survives a restart: drains by hand, on a disk that may say no, in a file that anyone may have spoilt."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import NO_FILES, OTHER_NAMES, Plant, assert_unharmed, victim_in

from lbwatch.core.errors import StateError
from lbwatch.system import state as state_module
from lbwatch.system.state import FILE, State

ONE, TWO = "1" * 64, "2" * 64


def loaded(folder: Path) -> State:
    """What the next daemon reads."""
    state = State(folder)
    state.load()
    return state


def test_a_drain_survives_a_restart_and_so_does_its_end(tmp_path: Path) -> None:
    """An update of lbwatch must not send requests to a container that somebody works on."""
    state = State(tmp_path)
    state.drain(ONE, "web-1")
    state.drain(TWO, "web-2")
    assert loaded(tmp_path).drained == {ONE: "web-1", TWO: "web-2"}
    state.undrain(ONE)
    assert loaded(tmp_path).drained == {TWO: "web-2"}
    state.undrain(TWO)
    assert loaded(tmp_path).drained == {}


def test_a_pause_survives_a_restart_beside_the_drains_and_so_does_its_end(tmp_path: Path) -> None:
    """A migration does not end because somebody updates lbwatch."""
    state = State(tmp_path)
    state.drain(ONE, "web-1")
    state.pause("web")
    state.pause("api")
    assert (loaded(tmp_path).paused, loaded(tmp_path).drained) == ({"api", "web"}, {ONE: "web-1"})
    state.resume("web")
    assert (loaded(tmp_path).paused, loaded(tmp_path).drained) == ({"api"}, {ONE: "web-1"})


def test_what_an_older_lbwatch_kept_is_read(tmp_path: Path) -> None:
    """It knew no pauses, and its drains hold."""
    (tmp_path / FILE).write_text(json.dumps({"drained": [{"id": ONE, "name": "web-1"}]}))
    assert (loaded(tmp_path).paused, loaded(tmp_path).drained) == (frozenset(), {ONE: "web-1"})


def test_an_end_of_a_pause_that_did_not_reach_the_disk_is_written_by_the_next_word(tmp_path: Path) -> None:
    """Else it would come back with the next start."""
    state = State(tmp_path)
    state.pause("web")
    (tmp_path / FILE).rename(tmp_path / "aside")
    (tmp_path / FILE).mkdir()
    with pytest.raises(StateError):
        state.resume("web")
    (tmp_path / FILE).rmdir()
    (tmp_path / "aside").rename(tmp_path / FILE)
    state.resume("web")
    assert loaded(tmp_path).paused == frozenset()


@given(drained=st.dictionaries(st.text(max_size=70), st.text(max_size=20), max_size=5))
def test_whatever_containers_are_called_comes_back_as_it_was(
    drained: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Names come from an engine, and not all of them from Docker's."""
    folder = tmp_path_factory.mktemp("state")
    state = State(folder)
    for id, name in drained.items():
        state.drain(id, name)
    assert loaded(folder).drained == drained


def test_where_nothing_was_kept_nobody_is_drained_and_nothing_is_made(tmp_path: Path) -> None:
    """Most never drain by hand: a first start must not need the folder."""
    assert loaded(tmp_path / "none").drained == {}
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("begin", [State.check, lambda state: state.drain(ONE, "web-1")])
def test_the_folder_is_made_when_there_is_something_to_keep(tmp_path: Path, begin: object) -> None:
    """A package may not have made it, and `mkdir` is not an operator's work."""
    folder = tmp_path / "var" / "lib" / "lbwatch"
    begin(State(folder))  # type: ignore[operator]
    assert folder.is_dir()
    assert folder.stat().st_mode & 0o777 == 0o755


def test_a_check_leaves_nothing_behind_and_changes_nothing(tmp_path: Path) -> None:
    """It runs at each start."""
    state = State(tmp_path)
    state.drain(ONE, "web-1")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    state.check()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"not JSON",
        b'{"drained": [',
        b'{"drained": [{"id": "1", "name": "web-1"}]',
        b"null",
        b"7",
        b'"drained"',
        b"[]",
        b"{}",
        b'{"drained": null}',
        b'{"drained": 7}',
        b'{"drained": [], "paused": "web"}',
        b'{"drained": [], "paused": [7]}',
        b'{"drained": [], "paused": ["web; }"]}',
        b'{"drained": [], "paused": ["web\\n"]}',
        b'{"drained": [], "paused": [""]}',
        b'{"drained": "web-1"}',
        b'{"drained": {"id": "1", "name": "web-1"}}',
        b'{"drained": ["web-1"]}',
        b'{"drained": [{"id": "1"}]}',
        b'{"drained": [{"name": "web-1"}]}',
        b'{"drained": [{"id": "1", "name": "web-1"}, null]}',
        b'{"drained": [{"id": "1", "name": "\xff"}]}',
        b"\x00" * 4096,
        b'{"drained": ' + b"9" * 5000 + b"}",
    ],
    ids=lambda content: content[:24].decode(errors="replace") + f"-{len(content)}",
)
def test_a_file_that_cannot_be_used_is_told_and_drains_nobody(tmp_path: Path, content: bytes) -> None:
    """Half of it may be a lie; the path says what to remove, and routing goes on."""
    (tmp_path / FILE).write_bytes(content)
    state = State(tmp_path)
    with pytest.raises(StateError) as caught:
        state.load()
    assert str(tmp_path / FILE) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert state.drained == {}
    state.drain(ONE, "web-1")
    assert loaded(tmp_path).drained == {ONE: "web-1"}, "the next drain mends it"


def test_a_file_of_nothing_but_brackets_is_told_as_any_other(tmp_path: Path) -> None:
    """Nesting must not end the daemon at each of its starts."""
    (tmp_path / FILE).write_bytes(b"[" * 200_000)
    state = State(tmp_path)
    with pytest.raises(StateError, match=FILE):
        state.load()
    assert state.drained == {}


def test_a_folder_in_the_file_s_place_is_told_in_both_directions(tmp_path: Path) -> None:
    """So does Docker make a mount whose source is missing."""
    (tmp_path / FILE).mkdir()
    state = State(tmp_path)
    for deed in (state.load, state.check, lambda: state.drain(ONE, "web-1")):
        with pytest.raises(StateError, match=FILE):
            deed()
    assert state.drained == {ONE: "web-1"}


def test_what_cannot_be_kept_is_told_and_holds_all_the_same(tmp_path: Path) -> None:
    """A read-only container must be able to drain; that it will not last is the operator's to know."""
    blocked = tmp_path / "file"
    blocked.write_text("in the place of the folder")
    state = State(blocked)
    for deed in (state.load, state.check, lambda: state.drain(ONE, "web-1")):
        with pytest.raises(StateError) as caught:
            deed()
        assert str(blocked / FILE) in str(caught.value)
        assert str(caught.value).count(str(blocked / FILE)) <= 2
    assert state.drained == {ONE: "web-1"}
    with pytest.raises(StateError):
        state.undrain(ONE)
    assert state.drained == {}
    assert blocked.read_text() == "in the place of the folder"


def test_to_undrain_who_is_not_drained_touches_no_disk(tmp_path: Path) -> None:
    """A script that undrains to be sure must not fail on a read-only one."""
    (tmp_path / "file").write_text("")
    State(tmp_path / "file").undrain(ONE)
    State(tmp_path / "none").undrain(ONE)
    assert not (tmp_path / "none").exists()


def test_what_did_not_reach_the_disk_does_with_the_next_order(tmp_path: Path) -> None:
    """The operator makes room and says it once more: that must not be taken for nothing to do."""
    state = State(tmp_path)
    state.drain(ONE, "web-1")
    state.path.rename(tmp_path / "aside")
    state.path.mkdir()  # in its place
    with pytest.raises(StateError):
        state.undrain(ONE)
    state.path.rmdir()
    (tmp_path / "aside").rename(state.path)
    state.undrain(ONE)
    again = State(tmp_path)
    again.load()
    assert again.drained == {}


def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full when everything goes wrong."""
    state = State(tmp_path)
    state.drain(ONE, "web-1")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StateError, match="No space left") as caught:
        state.drain(TWO, "web-2")
    assert str(caught.value).count(FILE) == 1
    assert state.drained == {ONE: "web-1", TWO: "web-2"}
    assert loaded(tmp_path).drained == {ONE: "web-1"}
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_containers_that_are_gone_are_forgotten_on_the_disk_with_the_next_change(tmp_path: Path) -> None:
    """Else the file grows with each deploy that was drained first."""
    state = State(tmp_path)
    state.drain(ONE, "web-1")
    state.drain(TWO, "web-2")
    state.retain({TWO})
    assert state.drained == {TWO: "web-2"}
    assert loaded(tmp_path).drained == {ONE: "web-1", TWO: "web-2"}, "only with the next change"
    state.drain("3" * 64, "web-3")
    assert loaded(tmp_path).drained == {TWO: "web-2", "3" * 64: "web-3"}
    state.retain(())
    assert state.drained == {}


def test_who_is_drained_again_under_another_name_is_one(tmp_path: Path) -> None:
    """A rename makes no other container."""
    state = State(tmp_path)
    state.drain(ONE, "old")
    state.drain(ONE, "new")
    assert loaded(tmp_path).drained == {ONE: "new"}


def test_the_file_is_one_that_people_read(tmp_path: Path) -> None:
    """At three in the morning somebody asks why this one gets nothing."""
    state = State(tmp_path)
    state.drain(TWO, "web-2")
    state.drain(ONE, "web-1")
    assert json.loads((tmp_path / FILE).read_text()) == {
        "drained": [{"id": ONE, "name": "web-1"}, {"id": TWO, "name": "web-2"}]
    }


def test_another_process_reads_what_was_kept(tmp_path: Path) -> None:
    """That is what a restart is."""
    State(tmp_path).drain(ONE, "web-1")
    script = (
        "import sys, pathlib; from lbwatch.system.state import State; s = State(pathlib.Path(sys.argv[1])); s.load(); "
        "print(s.drained)"
    )
    said = subprocess.run([sys.executable, "-c", script, tmp_path], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == str({ONE: "web-1"})


@pytest.mark.timeout(20)
@pytest.mark.parametrize("plant", NO_FILES.values(), ids=NO_FILES)
def test_what_is_no_file_in_its_place_is_told_and_holds_nobody_up(tmp_path: Path, plant: Plant) -> None:
    """A start waited for a pipe for ever, and read a device until the memory was full."""
    state, victim = State(tmp_path), victim_in(tmp_path)
    plant(state.path, victim)
    for deed in (state.load, state.check, lambda: state.drain(ONE, "web-1")):
        with pytest.raises(StateError, match=r"remove it|name the file itself") as caught:
            deed()
        assert str(state.path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert state.drained == {ONE: "web-1"}
    assert_unharmed(victim)


@pytest.mark.parametrize("plant", OTHER_NAMES.values(), ids=OTHER_NAMES)
@pytest.mark.parametrize("name", [f".{FILE}.tmp", f".{FILE}.probe"])
def test_what_lies_beside_it_stops_no_drain_and_leads_nowhere(tmp_path: Path, plant: Plant, name: str) -> None:
    """Whoever may write the folder must not choose which file root writes."""
    state, victim = State(tmp_path), victim_in(tmp_path)
    plant(tmp_path / name, victim)
    state.drain(ONE, "web-1")
    assert loaded(tmp_path).drained == {ONE: "web-1"}
    assert_unharmed(victim)


def test_a_file_that_is_too_long_is_told_and_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And none is written that the next start would refuse."""
    state = State(tmp_path)
    state.path.touch()
    os.truncate(state.path, 1 << 40)
    with pytest.raises(StateError, match="longer than"):
        state.load()
    state.path.unlink()
    state.drain(ONE, "web-1")
    monkeypatch.setattr(state_module, "MAX_BYTES", state.path.stat().st_size)
    with pytest.raises(StateError, match="longer than"):
        state.drain(TWO, "web-2")
    assert state.drained == {ONE: "web-1", TWO: "web-2"}
    assert loaded(tmp_path).drained == {ONE: "web-1"}
    state.undrain(ONE)
    assert loaded(tmp_path).drained == {TWO: "web-2"}
