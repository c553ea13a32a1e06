"""The way without a reload: told first, with workers and a test that are simulated."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pathstage import Stage, running, text_of, trial
from waiting import eventually

from lbwatch.balancers.nginx import livepath
from lbwatch.balancers.nginx.suspects import Trial
from lbwatch.core.site import Site


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(livepath, "FILE_PATIENCE_S", 12.0)
    stage = Stage(tmp_path)
    with stage.lock:
        async with running(stage):
            yield stage


async def test_workers_are_told_and_the_file_says_the_same(stage: Stage) -> None:
    """In that order: what requests meet comes first."""
    pushed = await stage.apply(trial(1, 2))
    assert pushed is not None
    assert pushed.is_first
    assert pushed.written is not None
    assert stage.workers.told == [trial(1, 2).parts]
    assert stage.says(1, 2)
    assert stage.path.in_force
    assert stage.path.confirmed()


async def test_what_takes_a_reload_is_left_to_one_though_its_test_was_slow(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By exec each test takes longer than anybody waits for it: the same would be told again and again."""
    await stage.apply(trial(1))
    monkeypatch.setattr(livepath, "FILE_PATIENCE_S", 0.01)
    stage.workers.same_shape = False
    stage.candidates.may.clear()
    assert await stage.apply(trial(2)) is not None
    before = len(stage.candidates.tested)
    stage.candidates.may.set()
    await eventually(lambda: len(stage.candidates.tested) > before)
    stage.candidates.may.clear()
    assert await stage.apply(trial(2)) is None


@pytest.mark.parametrize("what", ["nginx is down", "nobody follows", "another template", "late for too long"])
async def test_where_it_cannot_be_told_nginx_is_reloaded(stage: Stage, what: str) -> None:
    """As ever."""
    await stage.apply(trial(1))
    match what:
        case "nginx is down":
            stage.nginx = None
        case "nobody follows":
            stage.workers.follow = False
        case "another template":
            stage.candidates.has_same_template = False
        case _:
            stage.workers.late_until = 0.0
    assert await stage.apply(trial(2)) is None
    assert stage.workers.told == [trial(1).parts]
    if what == "nobody follows":
        assert stage.path.due(trial(2).parts, is_same=False, now=0.0) is None


async def test_a_worker_that_is_late_is_waited_for_and_a_foreign_file_is_not(stage: Stage) -> None:
    """The former may hang for a moment; the latter nginx would start from."""
    await stage.apply(trial(1))
    stage.workers.say_so = False
    stage.workers.late_until = 7.0
    assert stage.path.due(trial(1).parts, is_same=True, now=5.0) == 7.0
    assert not stage.path.confirmed()
    stage.output.write_text("mine")
    assert stage.path.due(trial(1).parts, is_same=True, now=5.0) == 5.0
    stage.workers.say_so, stage.workers.late_until = True, None
    assert not stage.path.confirmed()
    assert await stage.apply(trial(1)) is None, "nginx may have been reloaded with it"


async def test_after_a_start_workers_are_waited_for_only_if_the_file_lets_them_ask(stage: Stage) -> None:
    """Whoever has no Lua must not wait two seconds at each start."""
    stage.output.write_text("upstream web {\n}\n")
    assert await stage.apply(trial(1)) is None
    stage.output.write_text(text_of(trial(5).parts))
    assert await stage.apply(trial(1)) is not None
    assert stage.says(1)


async def test_after_a_start_the_file_has_to_be_one_that_nginx_has_read(stage: Stage) -> None:
    """Whoever was killed between a replacement and its reload left another one."""
    stage.kept.is_proof = False
    assert await stage.apply(trial(1)) is None
    stage.kept.is_proof = True
    assert await stage.apply(trial(1)) is not None
    assert stage.kept.texts == [stage.output.read_text()], "the next start can build on it"


async def test_what_nginx_has_yet_to_read_is_not_pushed_past(stage: Stage) -> None:
    """A reload that failed is owed, whatever its workers say of servers."""
    await stage.apply(trial(1))
    await stage.path.before_reload(trial(2).parts, text=text_of(trial(2).parts))
    assert await stage.apply(trial(2)) is None
    stage.path.after_reload(trial(2).parts)
    assert await stage.apply(trial(2)) is not None


async def test_a_reload_has_new_workers_told_and_ends_what_was_pushed(stage: Stage) -> None:
    """They ask before the reload is seen to have happened."""
    await stage.apply(trial(1))
    await stage.path.before_reload(trial(2).parts, text=text_of(trial(2).parts))
    assert not stage.path.in_force
    assert stage.workers.programs == 1
    assert stage.workers.told[-1] == trial(2).parts
    stage.path.after_reload(trial(2).parts)
    stage.workers.same_shape = False
    await stage.path.before_reload(trial(3).parts, text="plain")
    assert stage.workers.programs == 1
    assert stage.workers.told[-1] == trial(2).parts, "old workers have read another file"


def test_why_changes_take_a_reload_is_known(tmp_path: Path) -> None:
    """Whoever asks for hold needs to know."""
    stage = Stage(tmp_path)
    assert stage.path.refusal is None
    stage.workers.is_followed = False
    assert stage.path.refusal == "no worker of nginx has asked for changes yet"
    stage.candidates.lines.reason = "the template"
    assert stage.path.refusal == "the template"


async def test_another_site_takes_a_reload_and_a_server_beside_the_same_sites_does_not(stage: Stage) -> None:
    """Workers are told of servers alone: a site that was pushed would be served by nobody."""
    first, other = Site(host="a.example"), Site(host="a.example", closed="no certificate")

    def with_site(port: int, site: Site) -> Trial:
        return Trial(parts=(*trial(port).parts, site))

    await stage.path.before_reload(with_site(1, first).parts, text=text_of(trial(1).parts))
    stage.path.after_reload(with_site(1, first).parts)
    assert await stage.apply(with_site(2, first)) is not None
    assert await stage.apply(with_site(2, other)) is None
    assert stage.path.due(with_site(3, other).parts, is_same=False, now=0.0) is None
