"""
lbwatch, which also logs the instant at which all of nginx's workers had said that they have a change: `bench.proven`.

Its own line of a push, `nginx.pushed`, comes somewhat later, when the file had its chance. For `make bench-live`, in the
place of `-m lbwatch`.
"""

import structlog

from lbwatch.__main__ import main
from lbwatch.balancers.nginx.live.push import Push
from lbwatch.core.model import Upstream

_push = Push.push


async def _logged(self: Push, upstreams: tuple[Upstream, ...]) -> bool:
    if proven := await _push(self, upstreams):
        structlog.get_logger().info("bench.proven")
    return proven


if __name__ == "__main__":
    Push.push = _logged  # type: ignore[method-assign]
    main()
