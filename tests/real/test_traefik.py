"""docs/traefik.md on a real engine and a real nginx: what its example is served as."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from daemon import Stage, wait_until
from needs import SetStage
from realengine import RealEngine, in_namespace

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "traefik.md").read_text()


@pytest.fixture
def stage(engine: RealEngine, set_stage: SetStage, tmp_path: Path) -> Stage:
    folders = {name: str(tmp_path / name) for name in ("cert_dir", "vhost_dir", "htpasswd_dir")}
    for each in folders.values():
        Path(each).mkdir()
    return set_stage(engine, template="nginx/sites.conf.j2", **folders)


def asked(stage: Stage, path: str, *, host: str = "shop.example.org") -> str:
    argv = ("curl", "--silent", "--max-time", "3", "--header", f"Host: {host}", "--write-out", " %{http_code}")
    words = in_namespace(stage.engine.name, (*argv, f"http://127.0.0.1{path}"))
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    return " ".join(done.stdout.split()) if done.stdout.endswith("200") else done.stdout[-3:]


@pytest.mark.parametrize(("allow", "answer"), [("127.0.0.0/8", "shop 200"), ("10.0.0.0/8", "403")])
def test_the_example_is_served_as_it_says(stage: Stage, engine: RealEngine, allow: str, answer: str) -> None:
    """Host, path, prefix, allowed networks and port; and whoever asks for anything else gets nothing."""
    labels = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)[1])["services"]["shop"]["labels"]
    assert labels["lbwatch.allow"] == "10.0.0.0/8"
    engine.run("shop", labels=labels | {"lbwatch.allow": allow}, port=8080)
    wait_until(
        lambda: asked(stage, "/api/"), holds=lambda found: found == answer, within=15, what=answer, notes=stage.notes
    )
    assert asked(stage, "/api/index.html") == answer
    assert [asked(stage, path) for path in ("/index.html", "/apis/")] == ["404", "404"]
    assert asked(stage, "/api/", host="other.example.org") == "503"
