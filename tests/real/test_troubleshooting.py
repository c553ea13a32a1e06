"""docs/troubleshooting.md on a real nginx: its commands work, and the words that it lists are those that nginx writes."""

import re
from collections.abc import Iterator

import pytest
import readme
from daemon import Stage, wait_until
from needs import SetStage, need
from pasting import tried
from realengine import RealEngine

DOCUMENT = "docs/troubleshooting.md"
STATUS = "127.0.0.1:9180"


@pytest.fixture
def stage(engine: RealEngine, set_stage: SetStage) -> Stage:
    """With the status server where it is by default."""
    need("curl")
    return set_stage(engine, status_listen=STATUS)


def followed(stage: Stage, heading: str, *, document: str = DOCUMENT) -> str:
    """Return what comes of what a document says to do under a heading."""
    return tried(stage, "".join(readme.under(heading, document=document)), folder=stage.nginx.folder)


def causes() -> Iterator[str]:
    """Return the words of nginx's that the document explains."""
    table = (readme.REPOSITORY / DOCUMENT).read_text().partition("| the log says |")[2].partition("\n\n")[0]
    for row in table.splitlines()[2:]:
        yield from re.findall(r"`([^`]+)`", row.split("|")[1])


def test_each_502_is_explained_by_the_words_that_nginx_has_for_it(engine: RealEngine, stage: Stage) -> None:
    """Whoever has one searches for exactly these."""
    engine.run("deaf", labels={"lbwatch.port": "81"})
    engine.run("empty", labels={"lbwatch.port": "80"})
    engine.docker("stop", "empty")
    engine.run("web", labels={"lbwatch.port": "80"})
    stage.wait_in_step({"web": {"web"}, "empty": ()})
    found = dict.fromkeys(causes())
    for name in ("missing", "empty"):
        assert stage.nginx.ask(f"/{name}/") == "status 502"
    wait_until(
        lambda: (stage.nginx.ask("/deaf/"), stage.nginx.error_log.read_text()),
        holds=lambda seen: seen[0] == "status 502" and "111: Connection refused" in seen[1],
        within=10,
        what="a worker that knows of it is refused",
    )
    stage.lbwatch.terminate()  # what follows is stale
    engine.remove("web")
    assert stage.nginx.ask("/web/") in ("status 502", "status 504")
    shown = followed(stage, "502 Bad Gateway")
    seen = {words.replace("web", "missing") for words in found} & {
        *re.findall(ANY_CAUSE, stage.nginx.error_log.read_text())
    }
    assert seen >= {"no resolver defined to resolve missing", "no live upstreams", "111: Connection refused"}
    assert seen & {"110: Connection timed out", "113: No route to host"}
    assert "deaf" in shown
    assert "-    server 172." in followed(stage, "Stale: requests go to containers that are gone")


def test_the_commands_say_what_is_promised_of_them(engine: RealEngine, stage: Stage) -> None:
    """A page that leads nowhere is worse than none."""
    engine.run("db")
    engine.run("web", labels={"lbwatch.port": "80"})
    stage.wait_in_step({"web": {"web"}})
    assert "health check, or the label lbwatch.health=connect" in tried(
        stage, "lbwatch explain web", folder=stage.nginx.folder
    ), "as of the 502"
    assert "FAILED" not in followed(stage, "Troubleshooting")
    assert "HTTP/1.1 200" in followed(stage, "503 Service Unavailable").replace("HTTP/1.0", "HTTP/1.1")
    assert f"# configuration file {stage.nginx.conf}" in followed(stage, "Welcome to nginx")
    shown = followed(stage, "Nothing is routed")
    assert "not-labelled" in shown
    assert "following" in shown
    shown = followed(stage, "Why is my container not routed?", document="docs/operations.md")
    assert '"container": "db"' in shown
    group = f" {stage.engine.socket.stat().st_gid} "
    assert group in followed(stage, "Permission denied")
    assert followed(stage, "Stale: requests go to containers that are gone") == ""
    stage.nginx.stop()
    wait_until(
        lambda: followed(stage, "503 Service Unavailable"),
        holds=lambda seen: "reasons" in seen,
        within=10,
        what="503",
    )
    stage.nginx.start()


ANY_CAUSE = r"no resolver defined to resolve missing|no live upstreams|\d+: [A-Z][a-z]+ [a-z ]+"
