"""
Which upstreams may be to blame where nginx did not take a reload, and what is written meanwhile. Pure.

nginx does not say why it took a reload back, and each try stands before an nginx that may be started from it just then.
So what is in force goes on, less what must go; what is new or changed since is tried by halves, and whoever is found to
be to blame waits, longer each time.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from lbwatch.core.changes import upstreams_of
from lbwatch.core.model import Degraded, Level, Upstream

NEXT_HALF_S = 1.0
"""Until the next half is tried: what changed meanwhile goes out first."""

FIRST_WAIT_S = 15.0
LAST_WAIT_S = 1800.0
"""Until whoever is to blame is tried again, doubled each time; a change of the upstream itself has it tried at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """
    What is to be written.

    Attributes:
        degraded: The upstreams that are not as they should be in it, or not in it at all.
    """

    upstreams: tuple[Upstream, ...]
    degraded: tuple[Degraded, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Blame:
    """Why an upstream is not written as it should be, and until when, in loop time."""

    upstream: Upstream
    error: str
    wait_s: float
    until: float


class Suspects:
    """What is known of whom to blame, from one reload to the next."""

    def __init__(self) -> None:
        self._verified: tuple[Upstream, ...] | None = None  # as the latest verified reload had them; none yet
        self._blamed: dict[str, _Blame] = {}
        self._waiting: list[str] = []  # suspects, in the order in which they are tried
        self._guilty: list[str] = []  # the first of them, one of whom at least is to blame
        self._wanted: tuple[Upstream, ...] = ()  # at the latest trial
        self._error = ""  # that they are suspected for
        self._before: tuple[dict[str, _Blame], list[str], list[str]] = {}, [], []  # the latest refusal

    def trial(self, upstreams: tuple[Upstream, ...], *, now: float) -> Trial:
        """
        Return what to try: all that is wanted, less whoever waits.

        Args:
            upstreams: What is wanted.
            now: Loop time, in seconds.
        """
        self._wanted = upstreams
        if not self._blamed and not self._waiting:  # the rule: thousands of upstreams need not be looked at
            return Trial(upstreams=upstreams)
        wanted = {each.name: each for each in upstreams}
        self._blamed = {name: blame for name, blame in self._blamed.items() if name in wanted}
        self._waiting = [name for name in self._waiting if name in wanted]
        if not wanted.keys() >= set(self._guilty):
            self._guilty = []  # it may have been the one that went
        next_ones = len(self._guilty) // 2 or len(self._waiting)
        due = min((blame.until, name) for name, blame in self._blamed.items()) if self._blamed else None
        # One at a time, and none beside a search: if they are refused again it is known who it was.
        again = due[1] if due is not None and due[0] <= now and not self._waiting else None
        waits = {
            name: blame.error
            for name, blame in self._blamed.items()
            if _written(blame.upstream) == _written(wanted[name]) and name != again
        } | dict.fromkeys(self._waiting[next_ones:], self._error)
        return self._careful(upstreams, waits)

    def refused(
        self, trial: Trial, *, wanted: tuple[Upstream, ...], before: Collection[str], error: str, now: float
    ) -> tuple[Trial, ...]:
        """
        Return what to try instead of a trial that nginx refused, in that order; empty: nothing of which less is left.

        Args:
            trial: What it refused.
            wanted: What should be written.
            before: The names of the upstreams that it runs, where no reload was verified yet.
            error: What it said.
            now: Loop time, in seconds.
        """
        self._before = dict(self._blamed), list(self._waiting), list(self._guilty)
        held = {each.upstream for each in trial.degraded}
        changed = [each for each in trial.upstreams if each.name not in held and self._adds(each, before=before)]
        if len(changed) == 1:
            self._blame(changed[0], error=error, now=now)
        elif changed:
            self._guilty = sorted(each.name for each in changed)
            self._waiting = self._guilty + [name for name in self._waiting if name not in self._guilty]
            self._error = error
        waits = {name: blame.error for name, blame in self._blamed.items()} | dict.fromkeys(self._waiting, error)
        careful = self._careful(wanted, waits)
        return (*((careful,) if changed else ()), *self._with_gone(careful, error=error))

    def acquit(self) -> None:
        """Note that nginx refused even what the latest refusal left: nobody of those is to blame for it."""
        self._blamed, self._waiting, self._guilty = self._before

    def passed(self, trial: Trial, *, now: float) -> None:
        """Note that nginx took a trial: what was in it in full is innocent. *now*: loop time, in seconds."""
        held = {each.upstream for each in trial.degraded}
        self._verified = trial.upstreams
        self._blamed = {name: blame for name, blame in self._blamed.items() if name in held}
        self._waiting = [name for name in self._waiting if name in held]
        was_guilty, self._guilty = self._guilty, [name for name in self._guilty if name in held]
        # Of those who were refused together it is the last one, then: nobody needs to try it.
        if len(self._guilty) == 1 < len(was_guilty):
            (last,) = upstreams_of(self._wanted, self._guilty)
            self._blame(last, error=self._error, now=now)

    def again_s(self, *, now: float) -> float | None:
        """Return in how many seconds there is more to try; `None`: nothing waits."""
        if self._waiting:
            return NEXT_HALF_S
        return max(0.0, min(blame.until for blame in self._blamed.values()) - now) if self._blamed else None

    def _adds(self, upstream: Upstream, *, before: Collection[str]) -> bool:
        """Return whether more is new in an upstream than that servers went."""
        if self._verified is None:
            return upstream.name not in before
        old = next(iter(upstreams_of(self._verified, [upstream.name])), None)
        return old is None or _less(old, wanted=upstream) != upstream

    def _blame(self, upstream: Upstream, *, error: str, now: float) -> None:
        known = self._blamed.get(upstream.name)
        wait_s = FIRST_WAIT_S if known is None else min(LAST_WAIT_S, 2 * known.wait_s)
        self._waiting, self._guilty = [name for name in self._waiting if name != upstream.name], []
        self._blamed[upstream.name] = _Blame(upstream=upstream, error=error, wait_s=wait_s, until=now + wait_s)

    def _careful(self, upstreams: Iterable[Upstream], waits: Mapping[str, str]) -> Trial:
        """
        Return what is wanted, but those that wait as they were, less the servers that must go.

        Args:
            upstreams: What is wanted.
            waits: Who waits, by name, and for which error.
        """
        written, degraded = [], []
        verified = {each.name: each for each in self._verified or ()}
        for each in upstreams:
            if each.name not in waits:
                written.append(each)
                continue
            old = verified.get(each.name)
            if old is not None:
                old = _less(old, wanted=each)
                written.append(old)
            level = Level.OUT if old is None else Level.OLD
            servers = () if old is None else old.servers
            degraded.append(Degraded(upstream=each.name, level=level, error=waits[each.name], servers=servers))
        return Trial(upstreams=tuple(written), degraded=tuple(degraded))

    def _with_gone(self, trial: Trial, *, error: str) -> tuple[Trial, ...]:
        """Return a trial with the upstreams that went, if any did: nginx's own files may need their names."""
        there = {each.name for each in trial.upstreams} | {each.upstream for each in trial.degraded}
        gone = sorted(each.name for each in self._verified or () if each.name not in there)
        kept = tuple(Degraded(upstream=name, level=Level.EMPTY, error=error, kept=True) for name in gone)
        upstreams = (*trial.upstreams, *(Upstream(name=name) for name in gone))
        upstreams = tuple(sorted(upstreams, key=lambda each: each.name))
        return (Trial(upstreams=upstreams, degraded=(*trial.degraded, *kept)),) if gone else ()


def _less(old: Upstream, *, wanted: Upstream) -> Upstream:
    """
    Return an upstream as it was, without the servers that are not wanted any more; each in the life it is in now.

    One that drains by now does so where clients stay with it, and goes where they do not.
    """
    now = {(server.address, server.port, server.container): server for server in wanted.servers}
    stay = (
        replace(one, started_ns=new.started_ns, draining=new.draining)
        for one in old.servers
        if (new := now.get((one.address, one.port, one.container))) is not None
        and not (new.draining and old.sticky is None)
    )
    return replace(old, servers=tuple(stay))


def _written(upstream: Upstream) -> Upstream:
    """Return what is written of an upstream: a restart of a server makes it no other one to nginx's eyes."""
    return replace(upstream, servers=tuple(replace(server, started_ns=0) for server in upstream.servers))
