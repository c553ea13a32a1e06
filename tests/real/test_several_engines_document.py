"""docs/several-engines.md, pasted word by word on two engines of their own machines, with an nginx beside the first."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import readme
from daemon import wait_until
from needs import ENGINE_NEEDS, NGINX_NEEDS, SetStage, need
from pasting import pasted, tried
from realengine import IMAGE
from swarmnodes import LinkedEngines

DOCUMENT = "docs/several-engines.md"
HERE = {"traefik/whoami": IMAGE}


@pytest.fixture
def engines() -> Iterator[LinkedEngines]:
    need(*ENGINE_NEEDS, *NGINX_NEEDS)
    with LinkedEngines(["a", "b"]) as engines:
        yield engines.start()


def test_two_machines_are_one_upstream_as_the_document_has_it(
    engines: LinkedEngines, set_stage: SetStage, tmp_path: Path
) -> None:
    """The first try decides whether somebody goes on: both have 172.17.0.2, and one is elsewhere."""
    a, b = engines.nodes
    publish, run_here = readme.under("How nginx reaches a container elsewhere", document=DOCUMENT)
    assert f"--publish {b.address}::80" in publish
    stage = set_stage(a, docker_host=f"a={a.url},b={b.url}", engine_address=f"b={b.address}")
    pasted(b, publish, folder=tmp_path, instead=HERE)
    run, explain = run_here.splitlines()
    pasted(a, run, folder=tmp_path, instead=HERE)
    ids = {a.inspect("web-a")["Id"][:12], b.inspect("web-b")["Id"][:12]}
    wait_until(lambda: stage.nginx.answers("web"), holds=lambda who: who == ids, within=20, what="both answer")

    def rows() -> dict[str, str]:
        words = tried(stage, explain, folder=tmp_path)
        return dict(re.findall(r"^(web-[ab]) +web +(\S+)(?: |$)", words, re.MULTILINE))

    before = rows()
    assert before["web-a"] == f"{a.inspect('web-a')['NetworkSettings']['IPAddress']}:80"
    assert re.fullmatch(rf"{re.escape(b.address)}:\d+", before["web-b"])
    b.docker("restart", "web-b")
    wait_until(lambda: stage.nginx.answers("web"), holds=lambda who: who == ids, within=20, what="both answer again")
    assert rows()["web-b"] == f"{b.address}:{b.docker('port', 'web-b', '80').rpartition(':')[2]}"
