"""Containers that listen later than they run, with `lbwatch.health=connect`, on a real engine and a real nginx."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import pytest
from daemon import Stage, wait_until
from oracle import PLACEHOLDER, file_blocks
from realengine import IMAGE, RealEngine

LISTENS_AFTER_S = 2
WEB = {"lbwatch.upstream": "web", "lbwatch.port": "80"}
WAITS = WEB | {"lbwatch.health": "connect"}


def run_late(engine: RealEngine, name: str, labels: dict[str, str]) -> None:
    """Start a web server that listens only some time after its container runs, and outlives its stop signal."""
    words = [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
    serve = f"busybox sleep {LISTENS_AFTER_S}; exec /serve"
    env = ("--env", f"WHO={name}", "--env", "DEAF=1")
    engine.docker("run", "--detach", "--name", name, *env, *words, IMAGE, "/bin/sh", "-c", serve)


@contextmanager
def asking(stage: Stage) -> Iterator[Counter[str]]:
    """Ask for `web` all the time; who answered is counted."""
    answers: Counter[str] = Counter()
    ended = Event()

    def ask() -> None:
        while not ended.wait(0.01):
            answers[stage.nginx.ask("/web/")] += 1

    thread = Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        ended.set()
        thread.join(30)


def wait_answers(answers: Counter[str], name: str, stage: Stage, *, more: int = 5) -> None:
    before = answers[name]
    wait_until(lambda: answers[name] >= before + more, within=20, what=f"{name} answers", notes=stage.notes)


def servers(stage: Stage) -> list[str] | None:
    return dict(file_blocks(stage.output)).get("web")


@pytest.mark.parametrize("waits", [True, False])
def test_a_container_gets_no_request_before_it_listens(stage: Stage, engine: RealEngine, waits: bool) -> None:
    """Without the label requests fail: else this test would notice nothing."""
    engine.run("old", labels=WEB)
    stage.wait_in_step({"web": {"old"}})
    with asking(stage) as answers:
        run_late(engine, "new", WAITS if waits else WEB)
        wait_answers(answers, "new", stage)
        engine.docker("restart", "--time", "2", "new")  # it drains meanwhile, and is killed then
        wait_answers(answers, "new", stage)
    failed = {answer: count for answer, count in answers.items() if answer not in ("old", "new")}
    assert (not failed) == waits, failed


def test_one_that_never_listens_gets_no_request_and_harms_nobody(stage: Stage, engine: RealEngine) -> None:
    """Its row says what is missing."""
    engine.run("old", labels=WEB)
    engine.run("wrong", labels=WAITS | {"lbwatch.port": "81"})
    engine.run("alone", labels={"lbwatch.upstream": "alone", "lbwatch.port": "81", "lbwatch.health": "connect"})
    stage.lbwatch.wait_started()
    wait_until(
        lambda: (servers(stage) or [], dict(file_blocks(stage.output)).get("alone")),
        holds=lambda found: len(found[0]) == 1 and found[1] == PLACEHOLDER,
        within=15,
        what="both upstreams are there, one of them without a server",
        notes=stage.notes,
    )
    wait_until(lambda: stage.nginx.answers("web") == {"old"}, within=15, what="old answers alone", notes=stage.notes)
    code, said, _ = stage.lbwatch.command("explain", "wrong")
    assert code == 0
    assert "not routed (starting): its port 81 has not accepted a connection yet (lbwatch.health=connect)" in said


def test_a_new_lbwatch_asks_anew_before_it_writes(stage: Stage, engine: RealEngine) -> None:
    """Else each upgrade would take all of them out of service for a moment, or reload nginx twice."""
    engine.run("one", labels=WAITS)
    engine.run("two", labels=WAITS)
    wait_until(lambda: len(servers(stage) or ()) == 2, within=15, what="both serve", notes=stage.notes)
    wait_until(lambda: stage.nginx.answers("web") == {"one", "two"}, within=10, what="both answer", notes=stage.notes)
    # What was not verified before it ended is owed by the next one, as a reload.
    wait_until(lambda: stage.lbwatch.command("health")[0] == 0, within=20, what="it is verified", notes=stage.notes)
    wait_until(lambda: len(stage.nginx.worker_pids()) == stage.nginx.workers, within=20, what="the old workers' end")
    text, workers = stage.output.read_text(), stage.nginx.worker_pids()
    stage.lbwatch.terminate(within=5)
    with asking(stage) as answers:
        mark = stage.lbwatch.mark()
        stage.lbwatch.start()
        stage.lbwatch.wait_started()
        stage.lbwatch.wait_for_log("source.synced", since=mark)
        wait_until(
            lambda: stage.lbwatch.command("health")[0] == 0, within=20, what="it is in step again", notes=stage.notes
        )
        assert stage.output.read_text() == text
        code, said, _ = stage.lbwatch.command("render")
        assert (code, said) == (0, text)
    assert set(answers) <= {"one", "two"}
    assert stage.nginx.worker_pids() == workers
    # What no daemon knows is shown as it is: nobody has tried the ports.
    stage.lbwatch.terminate(within=5)
    assert "its port 80 has not accepted a connection yet" in stage.lbwatch.command("explain", "one")[1]
