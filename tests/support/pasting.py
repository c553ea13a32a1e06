"""Pastes what the documents have to paste, word by word, where a test's engine has its socket and its network."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from daemon import Stage
from realengine import RealEngine, in_namespace


def pasted(
    engine: RealEngine,
    text: str,
    *,
    folder: Path,
    instead: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    within: float = 110,
) -> str:
    """
    Run a block of commands as a shell would that ends at the first one that fails.

    Args:
        engine: Stands where the reader's own one is.
        folder: Where it is pasted.
        instead: What is another one here, and by what it is replaced.
        environment: More of the shell's.

    Returns:
        What the commands printed.
    """
    places = {
        "/var/run/docker.sock": str(engine.socket),
        "-v /var/run:": f"-v {engine.folder}:",
        "http://localhost": "http://127.0.0.1",  # the engine publishes no port on IPv6 here
    }
    for there, here in ({**(instead or {}), **places}).items():
        text = text.replace(there, here)
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(engine.folder),
        "DOCKER_HOST": engine.url,
        **(environment or {}),
    }
    argv = in_namespace(engine.name, ["sh", "-euc", text])
    done = subprocess.run(argv, check=False, capture_output=True, text=True, env=variables, timeout=within, cwd=folder)
    assert done.returncode == 0, f"{text}\n{done.stdout[-1500:]}\n{done.stderr[-2500:]}"
    return done.stdout


def tried(stage: Stage, text: str, *, folder: Path, within: float = 30) -> str:
    """
    Return both outputs of a block of commands about lbwatch and nginx, whatever they end with.

    Args:
        stage: Whose lbwatch, nginx and engine they are about, without another word.
        folder: Where they are pasted.
    """
    for there, here in {
        "nginx -T": f"nginx -c {stage.nginx.conf} -T",
        "/var/log/nginx/error.log": str(stage.nginx.error_log),
        "/var/run/docker.sock": str(stage.engine.socket),
        "lbwatch events": "{ lbwatch events & echo $! > pid; } | { head -n 1; kill $(cat pid); }",  # it has no end
        "http://localhost/": f"--unix-socket {stage.nginx.socket} http://localhost/",
    }.items():
        text = text.replace(there, here)
    settings = zip(stage.lbwatch.flags[::2], stage.lbwatch.flags[1::2], strict=True)
    environment = {f"LBWATCH_{flag[2:].replace('-', '_').upper()}": value for flag, value in settings}
    environment |= stage.lbwatch.environment | {
        "LBWATCH_LOG_LEVEL": "warning",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DOCKER_HOST": stage.engine.url,
    }
    done = subprocess.run(
        in_namespace(stage.engine.name, ["sh", "-c", text]),
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        timeout=within,
        cwd=folder,
    )
    return done.stdout
