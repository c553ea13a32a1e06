"""
Watches upgrades of nginx in place (signal USR2): until one is finished, two masters serve on the same sockets.

The old one reads no configuration any more: not even HUP has it do so, which only starts more workers with what it read
last (facts, nginx 23). So it is not reloaded, and nothing counts as verified before its workers are gone.
"""

from dataclasses import dataclass

import structlog

from lbwatch.balancers.nginx.process import Process, Upgrade, still_serving, upgrade_of
from lbwatch.core.errors import ReloadError

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """What of an upgrade is not finished, and what the operator does about it, in words."""

    reason: str
    advice: str


def unfinished(upgrade: Upgrade) -> Unfinished:
    """Return an upgrade in words."""
    old, new = upgrade.old.pid, upgrade.new.pid
    if upgrade.taken_back:
        return Unfinished(
            reason=f"nginx's upgrade in place is taken back: until its new master {new} has ended, the old one {old} "
            "serves an old configuration",
            advice=f"`kill -TERM {new}` closes the last connections of nginx's new master, and ends it",
        )
    return Unfinished(
        reason=f"nginx is upgraded in place: its old master {old} serves beside the new one {new}, with an old "
        "configuration",
        advice=f"`kill -QUIT {old}` ends nginx's old master, `kill -TERM {new}` goes back to it",
    )


def _abandoned(workers: frozenset[Process]) -> Unfinished:
    """Return in words that workers outlive their master."""
    pids = " ".join(str(pid) for pid in sorted(worker.pid for worker in workers))
    return Unfinished(
        reason="nginx's old master ended, and left workers that serve an old configuration",
        advice=f"`kill -QUIT {pids}` ends what nginx's old master left",
    )


class UpgradeWatch:
    """Knows the old workers of an upgrade, from the first look at them until none of them serves."""

    def __init__(self) -> None:
        self._old_workers: frozenset[Process] = frozenset()
        self._logged: str | None = None  # the reason that was logged last

    def unfinished(self, master: Process | None) -> Unfinished | None:
        """Return what is not finished; `None`: no old worker serves. *master*: of the pid file, if it names one."""
        if master is not None and (upgrade := upgrade_of(master)) is not None:
            self._old_workers = upgrade.workers
            return unfinished(upgrade)
        # Not all old workers end with their master: one that was told to serve again leaves its workers behind.
        self._old_workers = still_serving(self._old_workers)
        return _abandoned(self._old_workers) if self._old_workers else None

    def require_finished(self, master: Process | None) -> None:
        """Make sure that no old worker serves, or raise `ReloadError`; either is logged once."""
        found = self.unfinished(master)
        if found is None:
            if self._logged is not None:
                _log.info("nginx.upgrade_finished")
            self._logged = None
            return
        if found.reason != self._logged:
            _log.warning("nginx.upgrade_unfinished", reason=found.reason, advice=found.advice)
        self._logged = found.reason
        error = ReloadError(found.reason)
        error.is_logged = True
        raise error
