"""The balancer of an nginx on this side."""

from pathlib import Path

from realnginx import RealNginx

from lbwatch.balancers.nginx.balancer import Nginx
from lbwatch.balancers.nginx.config_test.local import CopyTester
from lbwatch.balancers.nginx.local import LocalControl
from lbwatch.balancers.template import Renderer, shipped_templates
from lbwatch.system.lock import FileLock

_LOCKS: dict[Path, FileLock] = {}  # one for each output: the tests make several load balancers of one nginx


def balancer(
    nginx: RealNginx,
    folder: Path,
    *,
    template: str = "nginx/upstreams.conf.j2",
    program: str = "nginx",
    **commands: str,
) -> Nginx:
    (folder / "test").mkdir(exist_ok=True)
    reload_command = tuple(commands["reload"].split()) if "reload" in commands else None
    return Nginx(
        Renderer(template, folders=[shipped_templates()]),
        output=nginx.output,
        tester=CopyTester((program,), main=nginx.conf, output=nginx.output, folder=folder / "test"),
        control=LocalControl(pidfile=nginx.pidfile, command=reload_command),
        lock=_LOCKS.setdefault(nginx.output, FileLock(nginx.output)),
    )
