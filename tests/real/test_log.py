"""The log at info, on a real engine and nginx: a line for each change, and an outage does not fill it."""

from collections.abc import Callable
from typing import Any

from daemon import Stage, wait_until
from needs import SetStage
from realengine import RealEngine
from watcher import WEB

NewEngine = Callable[..., RealEngine]

OUTAGE_S = 15.0


def loud(stage: Stage, *, since: int) -> list[dict[str, Any]]:
    """Return the lines that whoever set nothing sees."""
    return [line for line in stage.lbwatch.lines()[since:] if line["level"] != "debug"]


def place(engine: RealEngine, name: str) -> str:
    return f"{engine.inspect(name)['NetworkSettings']['IPAddress']}:80"


def test_each_change_is_one_line_that_names_upstream_container_and_address(stage: Stage) -> None:
    """It is what an operator looks for, and all that there is to see at info."""
    engine = stage.engine
    stage.wait_in_step({})
    stage.lbwatch.wait_for_log("nginx.reloaded")
    stage.lbwatch.wait_for_log("nginx.live")  # once, up to a second after the start
    mark = stage.lbwatch.mark()
    changes = []

    def changed(serving: set[str], change: str, name: str, server: str) -> None:
        stage.wait_in_step({"web": serving})
        changes.append((change, name, server))
        stage.lbwatch.wait_for_log("nginx.reloaded", since=mark, count=len(changes))

    for name, serving in (("one", {"one"}), ("two", {"one", "two"})):
        engine.run(name, labels=WEB)
        changed(serving, "joined", name, place(engine, name))
    server = place(engine, "two")
    engine.docker("stop", "-t", "1", "two")
    changed({"one"}, "left", "two", server)
    engine.docker("start", "two")
    changed({"one", "two"}, "joined", "two", place(engine, "two"))
    server = place(engine, "one")
    engine.remove("one")
    changed({"two"}, "left", "one", server)
    lines = loud(stage, since=mark)
    assert [line["event"] for line in lines] == ["nginx.reloaded"] * len(changes), stage.notes()
    moves = [move for line in lines for move in line["moves"]]
    assert [(move["change"], move["container"], move["server"]) for move in moves] == changes
    assert {move["upstream"] for move in moves} == {"web"}
    assert moves[2]["reason"] in ("draining", "not-running"), "of `docker stop`"


def test_an_outage_of_engine_and_nginx_is_a_few_lines_and_its_end_is_one(
    new_engine: NewEngine, set_stage: SetStage
) -> None:
    """Both are tried again every other second: that would be a thousand lines in half an hour."""
    engine = new_engine(live_restore=True).start()
    stage = set_stage(engine)
    engine.run("one", labels=WEB)
    stage.wait_in_step({"web": {"one"}})
    stage.lbwatch.wait_for_log("nginx.reloaded")
    stage.lbwatch.wait_for_log("nginx.live")  # once, up to a second after the start
    mark = stage.lbwatch.mark()
    stage.nginx.stop()
    engine.kill9()
    for event in ("nginx.reload_failed", "source.disconnected"):
        wait_until(
            lambda event=event: max(line.get("outage_s", 0) for line in stage.lbwatch.logged(event) or [{}]),
            holds=lambda seconds: seconds >= OUTAGE_S,
            within=OUTAGE_S + 10,
            what=f"{event} for {OUTAGE_S} s",
            notes=stage.lbwatch.tail,
        )
    stage.nginx.start()
    engine.start()
    for event, end in (("nginx.reload_failed", "nginx.reloaded"), ("source.disconnected", "source.connected")):
        stage.lbwatch.wait_for_log(end, since=mark, within=60)
        tries = stage.lbwatch.logged(event, since=mark)
        said = [line for line in tries if line["level"] != "debug" and line.get("outage_s", 0) <= OUTAGE_S]
        assert 2 <= len(said) <= 5 < len(tries), stage.notes()
        (back,) = [line for line in loud(stage, since=mark) if line["event"] == end]
        assert OUTAGE_S <= back["outage_s"] < 60
    stage.wait_in_step({"web": {"one"}})
    # Another nginx is asked anew whether it takes Lua, and what it says may be a line, once.
    assert {line["event"] for line in loud(stage, since=mark)} - {"nginx.live"} == {
        "nginx.reload_failed",
        "nginx.reloaded",
        "source.disconnected",
        "source.connected",
    }
