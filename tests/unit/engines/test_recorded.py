"""A recorded engine: a source that never changes, from what `docker inspect` printed."""

import asyncio
import json
import os
import threading
from pathlib import Path

import pytest

from lbwatch.core.errors import SettingsError, SourceError
from lbwatch.engines import recorded
from lbwatch.engines.fake import FakeEngine, responses
from lbwatch.engines.recorded import RecordedSource


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Of two containers, one of which asks to be routed."""
    engine = FakeEngine(socket=tmp_path / "unused.sock")
    engine.containers.run(name="web-1", labels={"lbwatch.port": "80", "team": "red"}, env=["HOST=a", "PASSWORD=s3cret"])
    engine.containers.run(name="db", labels={"team": "blue"})
    path = tmp_path / "recording.json"
    path.write_text(json.dumps([responses.inspect_answer(each) for each in engine.containers]))
    return path


def test_all_that_was_recorded_is_there_from_the_beginning(recording: Path) -> None:
    """`render --engine-from` is how authors of templates try them without an engine."""
    source = RecordedSource(recording, prefix="lbwatch")
    assert source.name == str(recording)
    assert sorted(each.name for each in source.containers().values()) == ["db", "web-1"]
    assert source.snapshots()[0].containers == source.containers()


def test_only_labels_that_matter_are_kept_and_those_that_are_named(recording: Path) -> None:
    """As of a real engine: others may be megabytes long."""
    labels = [each.labels for each in RecordedSource(recording, prefix="lbwatch").containers().values()]
    assert sorted(labels) == [(), (("lbwatch.port", "80"),)]
    labels = [each.labels for each in RecordedSource(recording, prefix="lbwatch", also=("team",)).containers().values()]
    assert (("team", "blue"),) in labels


def test_of_environments_only_the_named_variables_are_kept(recording: Path) -> None:
    """A recording is a whole `docker inspect`, secrets included."""
    source = RecordedSource(recording, prefix="lbwatch", variables=frozenset(("HOST",)))
    assert sorted(each.env for each in source.containers().values()) == [(), (("HOST", "a"),)]
    assert "s3cret" not in repr(source.snapshots())


async def test_it_says_once_that_there_is_something_and_then_waits_for_good(recording: Path) -> None:
    """The loop is woken as by any engine; a source that ends is a bug."""
    calls: list[None] = []
    running = asyncio.create_task(RecordedSource(recording, prefix="lbwatch").run(lambda: calls.append(None)))
    done, _ = await asyncio.wait([running], timeout=0.05)
    assert not done
    assert len(calls) == 1
    running.cancel()


def test_a_file_that_is_none_is_refused_with_its_name(tmp_path: Path) -> None:
    """Whoever mistyped it must see what was read."""
    with pytest.raises(SettingsError, match=r"engine_from.*No such file"):
        RecordedSource(tmp_path / "none", prefix="lbwatch")
    (tmp_path / "odd").write_text("{}")
    with pytest.raises(SourceError, match="odd: it is no output of docker inspect"):
        RecordedSource(tmp_path / "odd", prefix="lbwatch")


@pytest.mark.timeout(30)
def test_a_recording_may_come_by_a_pipe_and_has_a_bound(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`docker inspect ... | lbwatch render --engine-from /dev/stdin`; and /dev/zero is a mistake, not a wait."""
    pipe, content = tmp_path / "pipe", recording.read_bytes()
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(content), daemon=True)
    writer.start()
    assert len(RecordedSource(pipe, prefix="lbwatch").containers()) == 2
    writer.join(10)
    with pytest.raises(SettingsError, match="it is a device, not a file"):
        RecordedSource(Path("/dev/zero"), prefix="lbwatch")
    monkeypatch.setattr(recorded, "MAX_BYTES", 100)
    with pytest.raises(SettingsError, match="it is longer than"):
        RecordedSource(recording, prefix="lbwatch")
