"""What an operator is told of hosts is what a real nginx answers: served, refused, closed, and mended."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from command import environment
from needs import need
from sitedaemon import SiteDaemon, site_daemon

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def stage() -> Iterator[SiteDaemon]:
    need("nginx")
    with site_daemon() as stage:
        yield stage


def explained(stage: SiteDaemon, host: str) -> dict[str, Any]:
    """The JSON of `explain --host` by the running daemon."""
    words = ["explain", "--host", host, "--json", *stage.flags]
    control = {"LBWATCH_CONTROL_SOCKET": str(stage.lbwatch.control_socket)}
    done = subprocess.run(
        [sys.executable, "-m", "lbwatch", *words],
        check=True,
        capture_output=True,
        text=True,
        env=environment(**control),
    )
    assert "below: what it would do now" not in done.stderr, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_host_that_nginx_refuses_has_nginxs_words_and_the_others_go_on(stage: SiteDaemon) -> None:
    """A snippet with a typo: its host answers 503, and whoever asks why reads file and line, and mends it."""
    snippet = stage.vhosts / "a.example"
    snippet.write_text("nonsense on;\n")
    stage.run("one", host="a.example")
    stage.run("two", host="b.example")
    stage.start()
    stage.wait(lambda: (stage.status("a.example"), stage.status("b.example")), (503, 200), what="one closed")
    found = explained(stage, "a.example")
    assert 'unknown directive "nonsense"' in found["closed"]
    assert str(snippet) in found["closed"], "where to mend it"
    (row,) = [each for each in found["refused"] if each["container"] == "one"]
    assert (row["reason"], row["site"]) == ("host-refused", "a.example/")
    assert explained(stage, "b.example")["closed"] is None
    snippet.write_text("add_header X-Mended yes;\n")
    stage.wait(lambda: stage.status("a.example"), 200, what="mended")
    assert explained(stage, "a.example")["closed"] is None


def test_a_host_of_nobody_is_explained_by_who_asks_for_it(stage: SiteDaemon) -> None:
    """A 503 of the catch-all, and the container that should serve it."""
    stage.run("one", env={"VIRTUAL_HOST": "a.example", "VIRTUAL_PORT": "many", "SECRET": "hunter2"})
    stage.run("two", env={"VIRTUAL_HOST": "b.example"})
    stage.start()
    stage.wait(lambda: (stage.status("a.example"), stage.status("b.example")), (503, 200), what="one served")
    found = explained(stage, "a.example")
    assert (found["site"], found["how"]) == ("", "nobody serves it: it gets 503")
    assert [(each["container"], each["reason"]) for each in found["named_by"]] == [("one", "bad-variable")]
    assert "hunter2" not in json.dumps(found)


def test_a_missing_password_file_closes_a_path_until_it_is_there(stage: SiteDaemon) -> None:
    stage.run("one", host="a.example", auth="staff")
    stage.start()
    stage.wait(lambda: stage.status("a.example"), 503, what="closed")
    (path,) = explained(stage, "a.example")["locations"]
    assert path["closed"] == f"its password file {stage.passwords}/staff is not there"
    (stage.passwords / "staff").write_text("me:{PLAIN}secret\n")
    stage.wait(lambda: stage.status("a.example"), 401, what="asks for the password")
    (path,) = explained(stage, "a.example")["locations"]
    assert (path["closed"], path["password_file"]) == (None, f"{stage.passwords}/staff")
