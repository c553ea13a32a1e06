"""The load balancer of an nginx on this side, upstreams for it, and who serves."""

from pathlib import Path

from realnginx import RealNginx
from strategies import make_renderer

from lbwatch.balancers.nginx.balancer import Nginx
from lbwatch.balancers.nginx.config_test.local import CopyTester
from lbwatch.balancers.nginx.local import LocalControl
from lbwatch.balancers.nginx.process import find_master, workers_of
from lbwatch.balancers.template import shipped_templates
from lbwatch.core.model import Server, Upstream
from lbwatch.core.schedule import ReloadPace
from lbwatch.system.lock import FileLock

WEB = (Upstream(name="web", servers=(Server(address="192.0.2.1", port=80, container="web-1"),)),)
NO_WEB = (Upstream(name="web"),)


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
        make_renderer(template, folders=[shipped_templates()]),
        output=nginx.output,
        tester=CopyTester((program,), main=nginx.conf, output=nginx.output, folder=folder / "test"),
        control=LocalControl(pidfile=nginx.pidfile, output=nginx.output, command=reload_command),
        pace=ReloadPace(interval_s=0.1),
        lock=_LOCKS.setdefault(nginx.output, FileLock(nginx.output)),
    )


def serving(nginx: RealNginx) -> set[int]:
    """The workers that accept connections, as /proc shows them."""
    return {worker.pid for worker in workers_of(find_master(nginx.pidfile)).serving}
