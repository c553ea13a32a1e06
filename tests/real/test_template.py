"""The template of one's own that docs/templates.md shows, in force on a real nginx."""

import subprocess
from pathlib import Path

import readme
from daemon import wait_until
from needs import SetStage, need
from pasting import pasted, tried
from realengine import IMAGE, RealEngine, in_namespace

BLOG = {"lbwatch.enable": "true", "lbwatch.vars.host": "blog.example"}
_HEARD = r"busybox mkdir /www/cgi-bin; printf '#!/bin/sh\necho; echo $HTTP_HOST\n' > /www/cgi-bin/host; busybox chmod +x /www/cgi-bin/host"


def test_the_example_balances_a_host_and_answers_503_once_its_containers_are_gone(
    engine: RealEngine, set_stage: SetStage, tmp_path: Path
) -> None:
    """Whoever copies it must not have one site's visitors see another site."""
    need("curl")
    template = tmp_path / "sites.conf.j2"
    template.write_text(readme.example_template())
    stage = set_stage(engine, template=str(template))
    engine.docker("tag", IMAGE, "traefik/whoami")
    containers, question = readme.under("Write your own", document="docs/templates.md")[0].rsplit("curl", 1)
    shops = pasted(engine, containers, folder=tmp_path).split()
    engine.run("blog", labels=BLOG)
    for host, who in (
        ("shop.example", {each[:12] for each in shops}),
        ("blog.example", {"blog"}),
        ("other.example", {"503"}),
    ):
        wait_until(
            lambda host=host: {asked(engine, host) for _ in range(8)},  # type: ignore[misc]
            holds=lambda found, who=who: found == who,  # type: ignore[misc]
            within=10,
            what=f"{who} answer for {host}",
            notes=stage.notes,
        )
    assert pasted(engine, f"curl{question}", folder=tmp_path).strip() in {each[:12] for each in shops}
    try_it = "".join(readme.under("Try it", document="docs/templates.md"))
    assert tried(stage, try_it, folder=tmp_path).count("server_name shop.example;") == 2, "of the engine and recorded"
    engine.docker("exec", "blog", "sh", "-c", _HEARD)
    assert asked(engine, "blog.example", "/cgi-bin/host") == "blog.example", "a container is asked by its own host"
    engine.remove(*shops)
    wait_until(lambda: asked(engine, "shop.example"), holds=lambda seen: seen == "503", within=10, what="no one's page")
    assert asked(engine, "blog.example") == "blog"


def asked(engine: RealEngine, host: str, path: str = "/") -> str:
    """Return what port 80 answers for a host: the body, or the status where that is not 200."""
    argv = ["curl", "-s", "-m", "5", "-w", "%{http_code}", "-H", f"Host: {host}", f"http://127.0.0.1{path}"]
    done = subprocess.run(in_namespace(engine.name, argv), check=False, capture_output=True, text=True, timeout=10)
    body, status = done.stdout[:-3].strip(), done.stdout[-3:]
    return body if status == "200" else status
