"""
What nginx remembers of a server beyond that server's life. Pure.

After `max_fails` errors nginx sends a server nothing for `fail_timeout`, also if it was started anew meanwhile at the
same address. Two that restart at once so leave their upstream without any for 10 s. A reload has new workers, which
remember nothing.
"""

from lbwatch.core.changes import changed_upstreams
from lbwatch.core.model import Upstream


def is_outlived(before: tuple[Upstream, ...], after: tuple[Upstream, ...]) -> bool:
    """
    Return whether nginx may remember an error of a server in a life that is over.

    Args:
        before: What its workers were started with.
        after: What should be in force, with the same text.
    """
    return any(_is_outlived(old, new) for old, new in changed_upstreams(before, after) if old and new)


def _is_outlived(before: Upstream, after: Upstream) -> bool:
    # An only server is never given up: it is tried each time (ngx_http_upstream_round_robin.c, `single`).
    if len(after.servers) < 2:
        return False
    lives = {(server.address, server.port): server.started_ns for server in before.servers}
    return any(
        server.max_fails != 0 and lives.get((server.address, server.port), server.started_ns) != server.started_ns
        for server in after.servers
    )
