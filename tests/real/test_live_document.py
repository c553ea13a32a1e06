"""docs/live.md, pasted word by word: an nginx with Lua in a container, and requests that wait."""

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import images
import pytest
import readme
from daemon import wait_until
from needs import ENGINE_NEEDS, need
from pasting import pasted
from realengine import RealEngine, in_namespace

pytestmark = pytest.mark.timeout(600)  # the first test may wait for all images

DOCUMENT = "docs/live.md"
HERE = {
    "docker build --tag nginx-lua lbwatch/deploy/nginx": "docker image inspect nginx-lua > image.json",
    "docker build --tag lbwatch lbwatch": "docker image inspect lbwatch > image.json",
}
"""They are there: built by the same lines, but without an index to ask."""


class Reader:
    """Somebody who pastes it."""

    def __init__(self, engine: RealEngine, *, folder: Path) -> None:
        self.engine = engine
        self.folder = folder
        (folder / "lbwatch").symlink_to(readme.REPOSITORY)

    def paste(self, text: str) -> str:
        return pasted(self.engine, text, folder=self.folder, instead=HERE)

    def ask(self, *, within: float = 5) -> str:
        """Return what nginx answers, or the status where it is not 200."""
        argv = ["curl", "-s", "-m", str(within), "-w", "\n%{http_code}", "http://127.0.0.1:8080/"]
        argv = in_namespace(self.engine.name, argv)
        done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=within + 15)
        body, _, status = done.stdout.rpartition("\n")
        return body.strip() if status == "200" else status

    def checked(self) -> str:
        (check,) = readme.under("Is it in force?", document=DOCUMENT)
        return self.paste(f"{check.strip()} || true\n")

    def notes(self) -> str:
        return self.engine.log_of("lbwatch")[-4000:] + self.engine.log_of("nginx")[-2000:]


@pytest.fixture
def reader(real_engine: RealEngine, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Iterator[Reader]:
    """An engine that has all images, and nothing else, before and after."""
    need(*ENGINE_NEEDS, *images.NEEDS, "curl")
    images.load(real_engine, images.shared_folder(tmp_path_factory.getbasetemp()))
    real_engine.clear()
    real_engine.folder.chmod(0o755)  # as /var/run is: whoever is not root must find the socket in it
    try:
        yield Reader(real_engine, folder=tmp_path)
    finally:
        real_engine.clear()
        real_engine.clear_volumes()


def test_what_is_pasted_is_in_force_and_requests_wait(reader: Reader) -> None:
    """Two images, one volume and a label: whoever pastes them should see what the page promises."""
    (start,) = readme.under("What it needs", document=DOCUMENT)
    reader.paste(start)
    wait_until(reader.ask, holds=lambda said: len(said) == 12, within=30, what="web-1 answers", notes=reader.notes)
    words = "changes of servers go out without a reload"
    wait_until(reader.checked, holds=lambda said: words in said, within=30, what="it is in force", notes=reader.notes)
    before = reader.ask()
    (anew,) = readme.under("Requests that wait", document=DOCUMENT)
    assert reader.paste(anew).strip() not in (before, "")
    pause, resume = readme.under("Pause", document=DOCUMENT)
    reader.paste(pause)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(reader.ask, within=30)
        wait_until(
            lambda: json.loads(reader.engine.docker("exec", "lbwatch", "lbwatch", "explain", "--json")),
            holds=lambda rows: [row["waiting"] for row in rows if row["upstream"] == "web"] == [1],
            within=10,
            what="it waits",
            notes=reader.notes,
        )
        reader.paste(resume)
        assert len(waiting.result(40)) == 12
