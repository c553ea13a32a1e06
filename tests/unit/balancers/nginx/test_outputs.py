"""Two files as one: replaced together, taken back together, and healed whoever was killed in between."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbwatch.balancers.nginx.outputs import SEPARATOR, Locks, Outputs, first_stream_line, joined, split
from lbwatch.core.errors import OutputError
from lbwatch.system import files

OLD = joined("# old\n", "# old stream\n")
NEW = joined("# new\n", "# new stream\n")


class KilledError(BaseException):
    """What a SIGKILL is to whoever is in the middle of something."""


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    """Both files, which hold `OLD`."""
    both = Outputs(tmp_path / "lbwatch.conf", stream=tmp_path / "lbwatch.stream")
    both.replace(OLD)
    return both


@given(st.text().filter(lambda text: SEPARATOR not in text), st.text().filter(lambda text: SEPARATOR not in text))
def test_a_text_is_taken_apart_as_it_was_put_together(http: str, stream: str) -> None:
    """Whatever stands in either."""
    text = joined(http, stream)
    assert split(text) == (http, stream)
    assert text.split("\n")[first_stream_line(text) :] == stream.split("\n") or not http.endswith("\n")


@pytest.mark.parametrize("parts", [(f"a\n{SEPARATOR}", ""), ("", f"a\n{SEPARATOR}b\n")])
def test_a_part_with_the_line_between_them_is_refused(parts: tuple[str, str]) -> None:
    """A label's text in a template of the user's could move lines from one file to the other."""
    with pytest.raises(ValueError, match="lbwatch's own line"):
        joined(*parts)


def test_a_single_file_is_as_it_ever_was(tmp_path: Path) -> None:
    """Most have no other one, and no line of a text means anything."""
    one = Outputs(tmp_path / "lbwatch.conf")
    assert (one.read(), one.stamp()) == (None, None)
    one.replace("# x\n" + SEPARATOR)
    assert one.read() == "# x\n" + SEPARATOR == (tmp_path / "lbwatch.conf").read_text()
    assert one.stamp() == files.stamp(tmp_path / "lbwatch.conf")
    assert not one.changes_both("# y\n")


def test_the_stamp_is_another_one_once_either_file_is(outputs: Outputs) -> None:
    """What somebody else puts there is never what nginx was seen to run."""
    seen = {outputs.stamp()}
    for path in outputs.paths:
        files.replace(path, text="# another\n")
        seen.add(outputs.stamp())
    assert len(seen) == 3
    outputs.stream.unlink()  # type: ignore[union-attr]
    assert outputs.read() == joined("# another\n", "")
    assert outputs.stamp() not in seen


def test_what_holds_its_part_already_is_not_touched(outputs: Outputs) -> None:
    """A change of servers for requests leaves the other file alone."""
    before = files.stamp(outputs.stream)  # type: ignore[arg-type]
    outputs.replace(joined("# new\n", "# old stream\n"))
    assert files.stamp(outputs.stream) == before  # type: ignore[arg-type]
    assert outputs.read() == joined("# new\n", "# old stream\n")


def change(outputs: Outputs, *, ends: Callable[[], None]) -> None:
    """One on trial, and its end."""
    if not outputs.has_backup():
        outputs.backup()
    outputs.replace(NEW)
    ends()


STEPS = ("backup", "replace", "restore", "discard_backup")


@pytest.mark.parametrize("end", ["discard_backup", "restore"])
def test_whoever_is_killed_at_any_step_leaves_two_files_that_belong_together(
    tmp_path: Path, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next start finds both old or both new, and nothing beside them."""
    for die_at in range(1, 20):
        folder = tmp_path / str(die_at)
        folder.mkdir()
        outputs = Outputs(folder / "lbwatch.conf", stream=folder / "lbwatch.stream")
        outputs.replace(OLD)
        calls, was_killed = itertools.count(1), False
        with monkeypatch.context() as patched:
            for step in STEPS:
                patched.setattr(files, step, _dying(getattr(files, step), calls=calls, at=die_at))
            try:
                change(outputs, ends=getattr(outputs, end))
            except KilledError:
                was_killed = True
        outputs.remove_left_behind()  # as the next start does
        if outputs.has_backup():
            outputs.restore()
        assert outputs.read() in (OLD, NEW), die_at
        assert {each.name for each in folder.iterdir()} == {"lbwatch.conf", "lbwatch.stream"}, die_at
        if not was_killed:
            assert outputs.read() == (NEW if end == "discard_backup" else OLD)
            return
    raise AssertionError("it never ended")


def _dying(step: Callable[..., None], *, calls: "itertools.count[int]", at: int) -> Callable[..., None]:
    def stepped(*args: object, **words: object) -> None:
        if next(calls) == at:
            raise KilledError
        step(*args, **words)

    return stepped


def test_both_locks_are_taken_and_both_may_be_missing(tmp_path: Path) -> None:
    """One without a lock, on a file system that has none, keeps the other from nothing."""

    class One:
        def __init__(self, holds: bool) -> None:
            self.holds, self.asked = holds, 0

        def acquire(self) -> bool:
            self.asked += 1
            return self.holds

    first, second = One(False), One(True)
    assert not Locks(first, second).acquire()
    assert (first.asked, second.asked) == (1, 1)
    assert Locks(second).acquire()


def test_a_file_that_is_not_ours_to_write_is_an_error_of_its_own(tmp_path: Path) -> None:
    """It says which of the two it is."""
    both = Outputs(tmp_path / "lbwatch.conf", stream=tmp_path / "none" / "lbwatch.stream")
    with pytest.raises(OutputError, match=r"none/lbwatch\.stream"):
        both.replace(NEW)
