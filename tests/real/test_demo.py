"""`lbwatch demo --real` on the real engine: the walk of Docker's documentation."""

import subprocess
import sys
from pathlib import Path

from needs import need
from realengine import RealEngine


def test_the_real_demo_creates_starts_routes_and_removes_a_container(engine: RealEngine, tmp_path: Path) -> None:
    """Who has an engine wants to see it with that one; what was there must be untouched and nothing be left."""
    need("nginx")
    engine.run("mine", labels={"lbwatch.port": "80"})
    process = engine.popen(
        [sys.executable, "-m", "lbwatch", "demo", "--real", "--docker-host", engine.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    words = [" ".join(line.split()) for line in out.splitlines()]
    name = next(word.split("name=")[1].split()[0] for word in words if "create?name=" in word)
    acts = ["create", "connect", "start"]
    assert [word for word in words if word in [f"event {act} {name}" for act in acts]] == [
        f"event {act} {name}" for act in acts
    ]
    (routed,) = (word for word in words if word.startswith("answers demo: 172."))
    assert f"file + server {routed.split()[-1]};" in words
    assert "file -upstream demo {" in words
    assert not any("mine" in word for word in words)
    assert [each["Name"] for each in engine.inspect_all()] == ["/mine"]


def test_the_real_demo_says_what_it_misses(engine: RealEngine) -> None:
    """An image that is not there cannot be pulled by a demo."""
    process = engine.popen(
        [sys.executable, "-m", "lbwatch", "demo", "--real", "--image", "none:such", "--docker-host", engine.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert len(err.splitlines()) == 1
    assert "none:such" in err
    assert engine.inspect_all() == []
