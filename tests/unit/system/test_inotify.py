"""The kernel tells what changed in a folder, by names."""

import os
from pathlib import Path

import pytest
from waiting import eventually

from lbwatch.system.inotify import OVERFLOW, FileEvent, Inotify


async def test_what_changes_in_a_folder_is_told_by_name(tmp_path: Path) -> None:
    """Made, written, moved, removed; to read is no change. Names may be any bytes."""
    inotify = Inotify()
    try:
        (tmp_path / "old").write_text("x")
        watch = inotify.add(str(tmp_path))
        assert inotify.add(str(tmp_path)) == watch
        assert list(inotify.events()) == []
        (tmp_path / "old").read_text()
        assert list(inotify.events()) == []
        odd = os.fsdecode(b"\xff" * 255)
        for act in (lambda: (tmp_path / odd).write_text("x"), lambda: (tmp_path / odd).rename(tmp_path / "b")):
            act()
            events = list(inotify.events())
            assert {event.watch for event in events} == {watch}
            assert odd in {event.name for event in events}
        assert "b" in {event.name for event in events}
        inotify.remove(watch)
        assert list(inotify.events()) == [FileEvent(watch=watch, name="")]
        (tmp_path / "b").unlink()
        assert list(inotify.events()) == []
        with pytest.raises(OSError, match="Invalid argument"):
            inotify.remove(watch)
    finally:
        inotify.close()


async def test_what_is_no_folder_is_not_watched(tmp_path: Path) -> None:
    """A pipe at its place must not be opened."""
    inotify = Inotify()
    try:
        for name in ("missing", "file"):
            with pytest.raises(OSError, match=r"No such file|Not a directory"):
                inotify.add(str(tmp_path / name))
            (tmp_path / "file").write_text("x")
    finally:
        inotify.close()


async def test_events_that_were_lost_are_told(tmp_path: Path) -> None:
    """The kernel keeps 16,384 of them: then all has to be looked at."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    inotify = Inotify()
    try:
        inotify.add(str(tmp_path))
        for number in range(limit // 4 + 1):  # made, two of writing, removed
            (tmp_path / str(number)).write_text("x")
            (tmp_path / str(number)).unlink()
        seen: set[int] = set()
        await eventually(lambda: (seen.update(event.watch for event in inotify.events()), OVERFLOW in seen)[1])
    finally:
        inotify.close()
