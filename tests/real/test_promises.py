"""
Promises of docs/how-it-works.md on a real engine and a real nginx, as far as no other file is about them.

Hostile labels, loops of restarts, an upstream that nginx refuses, a second lbwatch, a clock that jumps.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import crossplane
import pytest
from daemon import Stage, wait_until
from needs import SetStage, need
from oracle import PLACEHOLDER, file_blocks
from realengine import IMAGE, RealEngine, in_namespace

WEB = {"lbwatch.upstream": "web"}
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


def lbwatch(stage: Stage, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Another lbwatch beside the stage's, with the same flags."""
    argv = [sys.executable, "-m", "lbwatch", *arguments, *stage.lbwatch.flags]
    argv = in_namespace(stage.lbwatch.namespace, argv)
    repository = Path(__file__).resolve().parents[2]
    return subprocess.run(argv, check=False, capture_output=True, text=True, timeout=30, cwd=repository)


# -- loops of restarts


def reloads(stage: Stage) -> int:
    return len(stage.lbwatch.logged("nginx.reloaded"))


def test_a_loop_of_restarts_is_left_out_and_a_start_by_hand_clears_it(stage: Stage, engine: RealEngine) -> None:
    """Each crash would cost two reloads and somebody's requests; who starts it by hand wants to see it serve."""
    engine.run("steady", labels=WEB)
    engine.run("shaky", "--restart", "always", labels=WEB)
    stage.wait_in_step({"web": {"steady", "shaky"}})
    for restarts in (1, 2, 3):
        engine.kill_from_outside("shaky")
        wait_until(
            lambda restarts=restarts: engine.inspect("shaky"),
            holds=lambda seen, restarts=restarts: (
                seen["RestartCount"] == restarts and seen["State"]["Status"] == "running"
            ),
            within=10,
            what="the engine starts it again",
        )
    said = stage.lbwatch.wait_for_log("container.not_routed", container="shaky", reason="restart-loop")
    assert "until it stayed up for 5 s" in said["detail"]
    stage.wait_in_step({"web": {"steady"}}, crash_looping={"shaky"})
    engine.docker("restart", "-t", "0", "shaky")
    stage.wait_in_step({"web": {"steady", "shaky"}}, within=3)


def test_a_loop_of_restarts_ends_by_itself_and_reloads_nothing_meanwhile(stage: Stage, engine: RealEngine) -> None:
    """It crashes until what it needs is there; then it serves, a few seconds later and without anybody's help."""
    engine.run("steady", labels=WEB)
    engine.docker(
        *("run", "--detach", "--name", "shaky", "--restart", "always", "--label", "lbwatch.upstream=web"),
        *("--env", "WHO=shaky", IMAGE, "sh", "-c", "[ -e /tmp/ready ] || { sleep 0.1; exit 1; }; exec sh /serve"),
    )
    stage.lbwatch.wait_for_log("container.not_routed", container="shaky", reason="restart-loop", within=20)
    stage.wait_in_step({"web": {"steady"}}, crash_looping={"shaky"})
    count = engine.inspect("shaky")["RestartCount"]
    wait_until(lambda: engine.inspect("shaky")["RestartCount"] > count, within=20, what="a restart")
    before = reloads(stage)  # the log tells of all that was before that
    ready = Path(engine.folder) / "ready"
    ready.touch()
    engine.docker("cp", str(ready), "shaky:/tmp/ready")
    stage.wait_in_step({"web": {"steady", "shaky"}}, within=100)
    wait_until(
        lambda: reloads(stage) > before, within=5, what="the reload's proof, which comes after the first answers"
    )
    assert reloads(stage) == before + 1


# -- an upstream that nginx refuses


def test_an_upstream_that_nginx_refuses_is_left_out_and_explained_and_all_others_go_on(
    stage: Stage, engine: RealEngine
) -> None:
    """A container that calls itself as one of the user's own upstreams would keep nginx from its next start."""
    taken = stage.output.parent / "taken.conf"
    taken.write_text("upstream taken { server 192.0.2.9:80; }\n")
    engine.run("bad", labels={"lbwatch.upstream": "taken"})
    engine.run("good", labels=WEB)
    told = stage.lbwatch.wait_for_log("upstream.degraded", upstream="taken", degraded_to="out")
    assert 'duplicate upstream "taken"' in told["error"]
    wait_until(lambda: stage.nginx.answers("web") == {"good"}, within=5, what="the others go on")
    assert [name for name, _ in file_blocks(stage.output)] == ["web"]
    explained = {row["container"]: row for row in json.loads(lbwatch(stage, "explain", "--json").stdout)}
    assert (explained["bad"]["reason"], explained["bad"]["address"]) == ("upstream-refused", None)
    assert 'duplicate upstream "taken"' in explained["bad"]["detail"]
    assert explained["good"]["reason"] is None
    rendered = lbwatch(stage, "render", "--diff")
    assert rendered.stdout == "", "the file is what would be written"
    assert 'upstream taken is left out: duplicate upstream "taken"' in rendered.stderr
    stage.nginx.stop()
    stage.nginx.start()  # which it could not with the whole
    wait_until(lambda: stage.nginx.answers("web") == {"good"}, within=5, what="nginx started from the file")
    taken.unlink()
    engine.run("more", labels=WEB)
    stage.wait_in_step({"web": {"good", "more"}, "taken": {"bad"}})
    stage.lbwatch.wait_for_log("upstream.restored", upstream="taken")


# -- only one


def test_a_second_lbwatch_refuses_to_start_and_says_who_holds_the_output(stage: Stage, engine: RealEngine) -> None:
    """Two would undo each other's work, each of them right by its own settings."""
    engine.run("one", labels=WEB)
    stage.wait_in_step({"web": {"one"}})
    second = lbwatch(stage, "run")
    assert second.returncode == 2
    assert f"process {stage.lbwatch.process.pid} on " in second.stderr
    assert str(stage.output) in second.stderr
    assert len(second.stderr.strip().splitlines()) == 1
    assert lbwatch(stage, "explain").returncode == 0, "looking is free"
    engine.run("two", labels=WEB)
    stage.wait_in_step({"web": {"one", "two"}})


# -- time


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[Path]:
    """A file that says how far the wall clock of what runs under `FAKETIME` is off."""
    need(root=False)
    if FAKETIME is None:
        need("faketime", root=False)
    path = tmp_path / "clock"
    path.write_text("+0")
    yield path


def test_a_jump_of_the_wall_clock_changes_nothing_but_the_log_s_stamps(
    engine: RealEngine, set_stage: SetStage, clock: Path
) -> None:
    """A laptop that wakes, a first NTP answer: no reload, no list, no reconnection; and events are still heard."""
    stage = set_stage(engine, lbwatch_runs=False)
    stage.lbwatch.environment = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    stage.lbwatch.start().wait_for_log("source.synced", within=60)  # every look at a clock is a detour
    engine.run("one", labels=WEB)
    stage.wait_in_step({"web": {"one"}})
    stage.wait_heard()
    wait_until(lambda: marker_left(stage), within=20, what="the last pass has ended, which is after nginx answers")
    wait_until(lambda: quiet_for(stage, seconds=1.0), within=20, what="nothing more is logged")
    for days in (+400, -400):
        mark = stage.lbwatch.mark()
        clock.write_text(f"{days:+}d")
        wait_until(lambda mark=mark: quiet_for(stage, seconds=2.0), within=20, what="the jump is over")
        assert stage.lbwatch.lines()[mark:] == [], "something happened that no container did"
        engine.run(f"two{days}", labels=WEB)
        stage.wait_in_step({"web": {"one", f"two{days}"}})
        engine.remove(f"two{days}")
        stage.wait_in_step({"web": {"one"}})
        stamps = [datetime.fromisoformat(line["timestamp"]) for line in stage.lbwatch.lines()[mark:]]
        assert all(abs((stamp - datetime.now(UTC)).days - days) <= 1 for stamp in stamps), "the clock did not jump"


def marker_left(stage: Stage) -> bool:
    """Whether the pass has ended that took out the second upstream, which `wait_heard` had made."""
    upstreams = [line["upstreams"] for line in stage.lbwatch.logged("reconcile.finished")]
    return 2 in upstreams and upstreams[-1] == 1


def quiet_for(stage: Stage, *, seconds: float) -> bool:
    return time.time() - stage.lbwatch.log.stat().st_mtime > seconds


# -- hostile labels

NAMED_LIKE_ATTRIBUTES = {"name": "evil", "image": "evil", "container": "evil", "signal": "15", "exitCode": "0"}

BIG = "x" * (10 * 1024 * 1024)

HOSTILE: Mapping[str, str] = {
    "newline": "web\n} location /leak { root /; }\nupstream x {",
    "semicolon": "web; server unix:/var/run/docker.sock",
    "braces": "{}}{",
    "quotes": "\"'`",
    "backslash": "a\\\nb\\",
    "dollar": "$host${remote_addr}$nope",
    "hash": "# nothing more",
    "nul": "web\x00; root /",
    "surrogate": "\ud800web\udfff",
    "right to left": "\u202ebew\u2066",
    "template": "{{ 7 * 7 }}{% raw %}",
    "huge": BIG,
}

FIELDS = ("upstream", "port", "network", "weight", "max_fails", "fail_timeout", "max_conns", "backup", "method",
          "keepalive", "sticky", "health", "enable", "vars.x", "upstreams.web.port", "nonsense")  # fmt: skip

OUT_OF_RANGE = {
    "port": "65536",
    "weight": "3000000",
    "max_fails": "99999999999999999999",
    "fail_timeout": "99999d",
    "max_conns": "-1",
    "keepalive": "10001",
    "sticky": "cookie a;b",
}


def start(engine: RealEngine, name: str, labels: Mapping[str, str]) -> None:
    """By the API: no command line takes a NUL, or ten megabytes."""
    body = {"Image": IMAGE, "Labels": labels, "Env": [f"WHO={name}"]}
    status, answer = engine.api("POST", f"/containers/create?name={name}", body)
    assert status == 201, answer
    status, answer = engine.api("POST", f"/containers/{name}/start")
    assert status == 204, answer


def skeleton(stage: Stage) -> list[tuple[str, list[str]]]:
    """All directives of the file by name, and of the blocks within."""
    parsed = crossplane.parse(str(stage.output), check_ctx=False, single=True)
    assert parsed["status"] == "ok"
    return [
        (each["directive"], [inner["directive"] for inner in each.get("block", ())])
        for each in parsed["config"][0]["parsed"]
    ]


def test_no_label_writes_directives_or_disturbs_others(stage: Stage, engine: RealEngine) -> None:
    """`docker run -l` must never be a way to serve the disk, or to reach the engine's socket."""
    engine.run("good", labels=WEB)
    stage.wait_in_step({"web": {"good"}})
    clean = skeleton(stage)
    for number, (kind, text) in enumerate(HOSTILE.items()):
        labels = {f"lbwatch.{field}": text for field in FIELDS} if kind != "huge" else {"lbwatch.upstream": text}
        start(engine, f"bad{number}", labels | {f"lbwatch.{text[:2000]}": "x"})
        stage.lbwatch.wait_for_log("container.not_routed", container=f"bad{number}", within=20)
    for number, (field, value) in enumerate(OUT_OF_RANGE.items()):
        start(engine, f"range{number}", WEB | {f"lbwatch.{field}": value})
        stage.lbwatch.wait_for_log("container.not_routed", container=f"range{number}", reason="bad-label")
    assert skeleton(stage) == clean
    assert stage.nginx.answers("web") == {"good"}
    assert stage.lbwatch.runs


def test_labels_of_others_may_say_and_weigh_anything(stage: Stage, engine: RealEngine) -> None:
    """Every event carries all labels; one of ten megabytes is no event line that can be read, and is not missed."""
    start(engine, "huge", WEB | {"com.example.readme": BIG})
    stage.wait_in_step({"web": {"huge"}}, within=15)
    start(engine, "many", WEB | {f"com.example.l{number:05}": "x" for number in range(10_000)})
    stage.wait_in_step({"web": {"huge", "many"}}, within=15)
    start(engine, "liar", WEB | NAMED_LIKE_ATTRIBUTES)
    stage.wait_in_step({"web": {"huge", "many", "liar"}})
    for name, left in (("huge", {"many", "liar"}), ("liar", {"many"}), ("many", set[str]())):
        engine.kill_from_outside(name)
        stage.wait_in_step({"web": left}, within=15)
    wait_until(  # the engine may learn of a death after nginx's clients do
        lambda: dict(file_blocks(stage.output))["web"],
        holds=lambda web: web == PLACEHOLDER,
        within=5,
        what="nobody is left",
    )


def test_ten_thousand_unknown_labels_are_ten_lines_in_the_log(stage: Stage, engine: RealEngine) -> None:
    """A label of ours is told when it means nothing; ten thousand of them must not drown everything else."""
    start(engine, "many", WEB | {f"lbwatch.l{number:05}": "x" for number in range(10_000)})
    wait_until(lambda: stage.nginx.answers("web") == {"many"}, within=15, what="it serves all the same")
    told = stage.lbwatch.logged("container.noticed", container="many")
    assert len(told) == 9
    assert any("9992 more" in line["detail"] for line in told)
