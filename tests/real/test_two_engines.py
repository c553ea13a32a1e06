"""Two real engines in turn behind one address; on one machine they have one id and one name, as clones have."""

import time
from collections.abc import Callable

from daemon import wait_until
from faultproxy import FaultProxy
from needs import ENGINE_NEEDS, NGINX_NEEDS, SetStage, need
from readiness import readyz
from realengine import RealEngine
from watcher import WEB, unchanged

NewEngine = Callable[..., RealEngine]
OLDER_S = 8.0  # than the margin, with room for a look and for whole seconds


def test_what_another_engine_says_never_empties_the_file(new_engine: NewEngine, set_stage: SetStage) -> None:
    """Each turn was a reload, with the one engine's servers or with the other's, while lbwatch said that it was ready."""
    need(*ENGINE_NEEDS, *NGINX_NEEDS)
    ours, theirs = new_engine().start(), new_engine().start()
    for name in ("one", "two"):
        ours.run(name, labels=WEB)
    theirs.run("other", labels=WEB)
    began = time.monotonic()
    address = ours.folder / "front.sock"
    with FaultProxy(ours.socket, address) as proxy:
        stage = set_stage(ours, docker_host=proxy.url, resync_interval="1s")
        stage.wait_in_step({"web": {"one", "two"}})
        wait_until(lambda: time.monotonic() - began > OLDER_S, within=30, what="looks that are newer than the other's")
    for turn in range(2):
        mark = stage.lbwatch.mark()
        with unchanged(stage.output), FaultProxy(theirs.socket, address):
            stage.lbwatch.wait_for_log("source.engine_changed", since=mark, within=15)
            wait_until(
                lambda: readyz(stage.lbwatch.control_socket),
                holds=lambda answer: " 503 " in answer and "another engine answers at" in answer,
                within=15,
                what="it is not ready, and says why",
            )
        with FaultProxy(ours.socket, address):
            ours.run(f"new{turn}", labels=WEB)
            stage.wait_in_step({"web": {"one", "two", *(f"new{each}" for each in range(turn + 1))}}, within=15)
