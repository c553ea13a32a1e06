"""Lines of the log as people read them on a terminal of 80 columns."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbwatch.system.console import WIDTH, Console

TIME = "09:41:07"


def line(event: str, level: str = "info", *, colours: bool = False, **values: Any) -> str:
    return Console(colours=colours)(None, "", {"event": event, "level": level, "timestamp": TIME, **values})


def move(words: str, **more: str) -> dict[str, str]:
    """Return a move as it is logged: of `upstream change`, or `upstream change container server`."""
    return dict(zip(("upstream", "change", "container", "server"), words.split(), strict=False)) | more


def reloaded(*moves: dict[str, str], live_s: float = 0.018, **values: Any) -> str:
    found = {"moves": list(moves)} if moves else {}
    return line("nginx.reloaded", digest="d", changed=True, **found, live_s=live_s, verified_s=0.2, **values)


def pushed(*moves: dict[str, str], **values: Any) -> str:
    found = {"moves": list(moves)} if moves else {}
    return line("nginx.pushed", digest="d", changed=True, **found, live_s=0.003, **values)


JOINED = move("web joined web-2 172.17.0.3:80")
LEFT = move("web left web-1 172.17.0.2:80", reason="not-running")
MANY = [move(f"web joined web-{number} 172.17.0.{number}:80") for number in range(2, 8)]
WIDE = [move(f"shop-api joined shop-api-{number} 172.17.0.{number}:80") for number in range(2, 9)]
HOSTS = [f"host app-{number}.example" for number in range(1, 6)]
ALL = [move(f"upstream-{number} joined container-{number} 172.17.0.{number}:80") for number in range(2, 9)]


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (reloaded(JOINED), "web +web-2 172.17.0.3:80, live in 18 ms"),
        (reloaded(LEFT), "web -web-1 172.17.0.2:80 (stopped), live in 18 ms"),
        (reloaded(LEFT | {"reason": "unhealthy"}), "web -web-1 172.17.0.2:80 (unhealthy), live in 18 ms"),
        (reloaded(JOINED, LEFT), "web +web-2 172.17.0.3:80, -web-1 172.17.0.2:80 (stopped), live in 18 ms"),
        (reloaded(LEFT, move("web empty")), "web -web-1 172.17.0.2:80 (stopped), has no server, live in 18 ms"),
        (reloaded(move("api empty")), "api has no server, live in 18 ms"),
        (reloaded(move("api changed")), "api has other settings, live in 18 ms"),
        (reloaded(move("web changed web-1 172.17.0.2:80")), "web web-1 changed, live in 18 ms"),
        (reloaded(move("web restarted web-1 172.17.0.2:80")), "web web-1 restarted, live in 18 ms"),
        (
            reloaded(move("web moved web-1 172.17.0.9:80", was="172.17.0.2:80"), live_s=1.25),
            "web web-1 172.17.0.2:80 -> 172.17.0.9:80, live in 1.2 s",
        ),
        (
            reloaded(JOINED, move("api left api-1 172.17.0.8:80")),
            "web +web-2 172.17.0.3:80; api -api-1 172.17.0.8:80, live in 18 ms",
        ),
        (reloaded(*MANY), "web +web-2, +web-3, +web-4, +web-5, +web-6, +web-7, live in 18 ms"),
        (reloaded(*WIDE), "shop-api +7, live in 18 ms"),
        (reloaded(*ALL), "+7 in all, live in 18 ms"),
        (reloaded(*ALL, moves_in_all={"joined": 498, "empty": 2}), "+498, 2 empty in all, live in 18 ms"),
        (reloaded(), "nginx reloaded, live in 18 ms"),
        (reloaded(sites="host a.example"), "host a.example, live in 18 ms"),
        (reloaded(sites=", ".join(HOSTS[:2])), f"{HOSTS[0]}, {HOSTS[1]}, live in 18 ms"),
        (reloaded(sites=", ".join(HOSTS)), f"{HOSTS[0]}, {HOSTS[1]} and 3 more, live in 18 ms"),
        (reloaded(sites=", ".join(HOSTS) + " and 40 more"), f"{HOSTS[0]}, {HOSTS[1]} and 43 more, live in 18 ms"),
        (reloaded(JOINED, sites="host a.example"), "web +web-2 172.17.0.3:80, live in 18 ms"),
        (pushed(JOINED), "web +web-2 172.17.0.3:80, pushed in 3 ms"),
        (pushed(move("web paused")), "web is paused, pushed in 3 ms"),
        (pushed(move("web resumed"), LEFT), "web is resumed, -web-1 172.17.0.2:80 (stopped), pushed in 3 ms"),
        (line("nginx.live", live=True), "changes of servers go out without a reload"),
        (
            line("nginx.live", live=False, reason="nginx has no Lua"),
            "changes of servers go out by reloads: nginx has no Lua",
        ),
        (line("site.restored", host="a.example"), "host a.example is written in full again"),
        (line("stream.restored", port="53/udp"), "port 53/udp is written in full again"),
        (line("upstream.waiting", upstream="web", requests=2), "requests of web wait: 2"),
        (
            line("upstream.waited", upstream="web", requests=7, waited_s=4.0),
            "no request of web waits any more: 7 at once, for 4.0 s in all",
        ),
        (pushed(outage_s=42.4), "no server moved, pushed in 3 ms, back after 42 s"),
        (reloaded(outage_s=42.4), "nginx reloaded, live in 18 ms, back after 42 s"),
        (reloaded(JOINED, outage_s=7.0), "web +web-2 172.17.0.3:80, live in 18 ms, back after 7.0 s"),
        (line("reconcile.finished", digest="d", outage_s=300.0), "nginx is in step, back after 5 min"),
        (
            line(
                "daemon.started", version="0.1.0", source="unix:///run/docker.sock", output="/etc/nginx/conf.d/l.conf"
            ),
            "lbwatch 0.1.0 writes /etc/nginx/conf.d/l.conf",
        ),
        (
            line("source.connected", source="unix:///var/run/docker.sock", api="1.41"),
            "connected to unix:///var/run/docker.sock",
        ),
        (line("source.connected", source="local", outage_s=0.61), "connected to local, back after 610 ms"),
        (line("source.connected", source="local", outage_s=9000), "connected to local, back after 2 h"),
        (line("source.synced", source="local", containers=12), "containers seen: 12"),
        (line("status.listening", url="http://127.0.0.1:9180/"), "the page is at http://127.0.0.1:9180/"),
    ],
)
def test_what_went_well_is_a_sentence_in_80_columns(made: str, expected: str) -> None:
    """It is what an operator sees all day, beside another window."""
    assert made == f"{TIME} {expected}"
    assert len(made) <= WIDTH


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (
            line("nginx.reload_failed", "error", error="nginx is not running here", attempt=1, retry_in_s=0.08),
            "ERROR nginx.reload_failed: nginx is not running here",
        ),
        (
            line("nginx.reload_failed", "error", error="nginx is not running here", attempt=9, outage_s=16.2),
            "ERROR nginx.reload_failed for 16 s: nginx is not running here",
        ),
        (
            line("source.disconnected", "warning", source="local", error="no such file", outage_s=0.1),
            "WARN source.disconnected: no such file",
        ),
        (
            line("container.not_routed", "warning", container="bad", reason="no-port", detail="it exposes none"),
            "WARN bad is not routed: it exposes none (no-port)",
        ),
        (
            line("template.failed", "error", error="/t.j2:27: no", path="/t.j2", line=27),
            "ERROR template.failed: /t.j2:27: no",
        ),
        (
            line("nginx.upgrade_unfinished", "warning", reason="two masters", advice="kill -QUIT 7"),
            "WARN nginx.upgrade_unfinished: two masters; kill -QUIT 7",
        ),
        (
            line("upstream.degraded", "error", upstream="web", degraded_to="plain", error="no"),
            "ERROR upstream.degraded: no upstream=web degraded_to=plain",
        ),
        (
            line("event.handled", "debug", action="start", container="c0ffee"),
            "debug event.handled action=start container=c0ffee",
        ),
        (line("source.connected", api="1.41"), "source.connected api=1.41"),
    ],
)
def test_what_has_no_sentence_has_its_name_to_look_up_and_says_nothing_twice(made: str, expected: str) -> None:
    """Each name has a row in docs/operations.md; and a line that lacks a value must not end a pass."""
    assert made == f"{TIME} {expected}"


def test_colours_are_around_time_and_level_alone() -> None:
    """Whoever copies a line from the screen copies words."""
    assert line("nginx.rejected", "error", colours=True, error="no").endswith(" nginx.rejected: no")
    assert line("nginx.rejected", "error", colours=True, error="no").count("\x1b[") == 4
    assert line("daemon.stopped", colours=True) == f"\x1b[2m{TIME}\x1b[0m lbwatch has stopped"


def test_a_bug_has_its_traceback_on_lines_of_its_own() -> None:
    """It is for a report, and unreadable on one line."""
    made = line("daemon.failed", "error", error="KeyError('x')", traceback="Traceback:\n  File x\n\x1b[2J\n")
    assert made.split("\n") == [f"{TIME} ERROR daemon.failed: KeyError('x')", "Traceback:", "  File x", "\ufffd[2J"]


texts = st.text(max_size=30) | st.sampled_from(["web", "a\nb", "\x1b[2J", "{container}", "%s"])


@given(st.sampled_from(["source.connected", "nginx.rejected", "x.y"]), st.dictionaries(texts, texts, max_size=4), texts)
def test_nothing_that_others_wrote_makes_a_second_line_or_moves_the_cursor(
    event: str, values: dict[str, str], source: str
) -> None:
    """A container's name is anyone's, and so is what nginx quotes."""
    kept = {key: value for key, value in values.items() if key not in ("event", "level", "timestamp", "traceback")}
    made = Console(colours=False)(None, "", {"event": event, "level": "info", "source": source, **kept})
    assert made.isprintable()


names = st.text(alphabet="abcdefgh-", min_size=1, max_size=40)
moves = st.builds(
    lambda upstream, change, container: {
        "upstream": upstream,
        "change": change,
        "container": container,
        "server": "10.0.0.1:80",
    },
    names,
    st.sampled_from(["joined", "left", "restarted", "changed"]),
    names,
)


@given(st.lists(moves, min_size=3, max_size=20))
def test_three_changes_and_more_fit_into_80_columns_whatever_the_names_are(moves: list[dict[str, str]]) -> None:
    """One or two are named even where that takes a second line."""
    assert len(reloaded(*moves)) <= WIDTH


@given(st.lists(moves, min_size=1, max_size=2))
def test_one_or_two_changes_are_always_named(moves: list[dict[str, str]]) -> None:
    """A name that is left out cannot be asked for."""
    assert all(each["container"] in reloaded(*moves) for each in moves)
