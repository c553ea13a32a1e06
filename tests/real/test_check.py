"""`check` on the real engine and nginx: what it says is what clients meet."""

import subprocess
import sys

from needs import SetStage
from realengine import RealEngine, in_namespace

WEB = {"lbwatch.port": "80", "lbwatch.upstream": "web"}
PORT = 8080
WELCOME = f'server {{ listen {PORT} default_server; location / {{ return 200 "Welcome to nginx!"; }} }}'
SITE = f"server {{ listen {PORT}; server_name NAME; location / {{ proxy_pass http://web/; }} }}"

_ASK = f"import urllib.request as r; print(r.urlopen('http://127.0.0.1:{PORT}/', timeout=10).read().decode())"


def lines(out: str) -> dict[str, list[str]]:
    """The verdict and the words of each line, by part."""
    found: dict[str, list[str]] = {}
    for line in out.splitlines():
        verdict, part, words = line.split(maxsplit=2)
        found.setdefault(part, []).append(f"{verdict} {words}")
    return found


def test_check_tells_what_clients_meet_from_before_the_first_run_on(engine: RealEngine, set_stage: SetStage) -> None:
    """The first hour: the site is written, nothing is yet, and "Welcome to nginx!" answers; then all is well; then not."""
    stage = set_stage(engine, lbwatch_runs=False)
    nginx, lbwatch = stage.nginx, stage.lbwatch
    engine.run("web1", labels=WEB)

    def asked() -> str:
        words = in_namespace(engine.name, [sys.executable, "-c", _ASK])
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()

    nginx.rewrite(http=f"{WELCOME}\n{SITE.replace('NAME', '_')}")
    code, out, _ = lbwatch.command("check")
    found = lines(out)
    assert code == 0, out
    assert not stage.output.exists()
    assert found["config"] == [f"ok {nginx.conf} includes the output, and nginx takes it"]
    assert found["servers"] == ["ok 1: each answers a connection"]
    assert found["daemon"][0].startswith("warn none runs, and nothing follows the engine")
    (site,) = found["site"]
    assert site.startswith(f"warn requests to port {PORT} are answered by {nginx.conf}:")
    assert "the default_server there" in site
    lbwatch.start()
    stage.wait_in_step({"web": {"web1"}})
    assert asked() == "Welcome to nginx!"

    nginx.rewrite(http=f"{WELCOME}\n{SITE.replace('NAME', '127.0.0.1')}")
    engine.run("web2", labels=WEB)
    engine.run("deaf", labels={"lbwatch.port": "81", "lbwatch.upstream": "deaf"})
    stage.wait_in_step({"web": {"web1", "web2"}})
    assert asked() in ("web1", "web2")
    code, out, _ = lbwatch.command("check")
    found = lines(out)
    assert code == 0, out
    assert found["site"][0].startswith("ok ")
    (silent,) = found["servers"]
    assert silent.startswith("warn upstream deaf: ")
    assert ":81 (deaf) refuses connections" in silent
    assert found["daemon"][0].endswith("is in step")

    code, out, _ = lbwatch.command("check", "--networks", "bridge,brigde")
    assert (code, len(lines(out)["networks"])) == (1, 1)
    assert "no network 'brigde'" in out
    assert "did you mean bridge?" in out

    nginx.stop()
    engine.remove("web2")
    lbwatch.wait_for_log("nginx.reload_failed")
    code, out, _ = lbwatch.command("check")
    found = lines(out)
    assert code == 1
    assert found["nginx"][0].startswith("FAILED nginx is not running here")
    assert any(line.startswith("FAILED nginx is not in step for") for line in found["daemon"])
