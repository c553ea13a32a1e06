"""
Who of nginx's workers has what: only what those say that serve counts.

Where nginx's processes are seen, these are the pids of its serving workers, and the kernel says whose connection is
whose. Elsewhere (nginx in a container whose processes we do not see) it is their numbers, of as many as they say there
are; then whoever can reach the socket's folder is believed.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from lbwatch.balancers.nginx.live.followers import Follower, Followers
from lbwatch.balancers.nginx.live.protocol import NO_SHAPE, Have
from lbwatch.core.model import Waiting


class Workers:
    """
    The workers that serve, and what they say.

    Args:
        followers: All that are connected.
        pids: Returns the pids of nginx's serving workers; `None` where they are not seen.
    """

    def __init__(self, followers: Followers, *, pids: Callable[[], Collection[int] | None]) -> None:
        self._followers = followers
        self._pids = pids

    def all(self) -> Mapping[int, Have | None] | None:
        """
        Return what each serving worker says, by its pid or number; `None` for one that does not ask.

        `None` where there is nobody who asks.
        """
        latest: dict[int, Follower] = {}
        pids = self._pids()
        for each in sorted(self._followers, key=lambda follower: follower.heard_at):
            assert each.have is not None
            if each.have.shape == NO_SHAPE:
                continue
            latest[each.have.worker if pids is None else each.pid] = each
        if pids is None:
            # Of several that say one number the latest counts: an old one may be about to end.
            newest = max(latest.values(), key=lambda follower: follower.heard_at, default=None)
            pids = range(newest.have.workers) if newest is not None and newest.have is not None else ()
        if not any(pid in latest for pid in pids):
            return None
        return {pid: latest[pid].have if pid in latest else None for pid in pids}

    async def until(self, reached: Callable[[Mapping[int, Have | None]], bool], *, within_s: float) -> bool:
        """Return whether that is so of all serving workers within so many seconds, as soon as it is."""
        clock = asyncio.get_running_loop().time
        ends_at = clock() + within_s
        while True:
            heard = self._followers.next_heard()  # from before the look on
            if (workers := self.all()) is not None and reached(workers):
                return True
            try:
                async with asyncio.timeout(ends_at - clock()):
                    await heard.wait()
            except TimeoutError:
                return False

    def waiting(self) -> tuple[Waiting, ...]:
        """Return the upstreams whose requests wait, in all workers together, by name."""
        together: dict[str, Waiting] = {}
        for follower in self._followers:
            for each in follower.have.waiting if follower.have is not None else ():
                known = together.get(each.upstream, Waiting(upstream=each.upstream, requests=0, longest_s=0.0))
                longest_s = max(known.longest_s, each.longest_s)
                together[each.upstream] = replace(known, requests=known.requests + each.requests, longest_s=longest_s)
        return tuple(waiting for _, waiting in sorted(together.items()))
