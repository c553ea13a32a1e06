"""
Which parts of a plan may be to blame where nginx did not take a reload, and what is written meanwhile. Pure.

nginx does not say why it took a reload back, and each try stands before an nginx that may be started from it just then.
So what is in force goes on, less what must go; what is new or changed since is tried by halves, and whoever is found to
be to blame waits, longer each time.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from lbwatch.core.model import Degraded, Level, Part, Upstream
from lbwatch.core.parts import Parts, parts_of, upstreams_in

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
        degraded: The parts that are not as they should be in it, or not in it at all.
    """

    parts: Parts
    degraded: tuple[Degraded, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Blame:
    """Why a part is not written as it should be, and until when, in loop time."""

    part: Part
    error: str
    wait_s: float
    until: float


class Suspects:
    """What is known of whom to blame, from one reload to the next."""

    def __init__(self) -> None:
        self._verified: Parts | None = None  # as the latest verified reload had them; none yet
        self._blamed: dict[str, _Blame] = {}
        self._waiting: list[str] = []  # suspects, in the order in which they are tried
        self._guilty: list[str] = []  # the first of them, one of whom at least is to blame
        self._wanted: Parts = ()  # at the latest trial
        self._error = ""  # that they are suspected for
        self._before: tuple[dict[str, _Blame], list[str], list[str]] = {}, [], []  # the latest refusal

    def trial(self, parts: Parts, *, now: float) -> Trial:
        """
        Return what to try: all that is wanted, less whoever waits.

        Args:
            parts: What is wanted.
            now: Loop time, in seconds.
        """
        self._wanted = parts
        if not self._blamed and not self._waiting:  # the rule: thousands of parts need not be looked at
            return Trial(parts=parts)
        wanted = {each.name: each for each in parts}
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
            if _written(blame.part) == _written(wanted[name]) and name != again
        } | dict.fromkeys(self._waiting[next_ones:], self._error)
        return self._careful(parts, waits)

    def refused(
        self, trial: Trial, *, wanted: Parts, before: Collection[str], error: str, now: float
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
        changed = [each for each in trial.parts if each.name not in held and self._adds(each, before=before)]
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
        self._verified = trial.parts
        self._blamed = {name: blame for name, blame in self._blamed.items() if name in held}
        self._waiting = [name for name in self._waiting if name in held]
        was_guilty, self._guilty = self._guilty, [name for name in self._guilty if name in held]
        # Of those who were refused together it is the last one, then: nobody needs to try it.
        if len(self._guilty) == 1 < len(was_guilty):
            (last,) = parts_of(self._wanted, self._guilty)
            self._blame(last, error=self._error, now=now)

    def again_s(self, *, now: float) -> float | None:
        """Return in how many seconds there is more to try; `None`: nothing waits."""
        if self._waiting:
            return NEXT_HALF_S
        return max(0.0, min(blame.until for blame in self._blamed.values()) - now) if self._blamed else None

    def _adds(self, part: Part, *, before: Collection[str]) -> bool:
        """Return whether more is new in a part than that servers went."""
        if self._verified is None:
            return part.name not in before
        old = next(iter(parts_of(self._verified, [part.name])), None)
        return old is None or _less(old, wanted=part) != part

    def _blame(self, part: Part, *, error: str, now: float) -> None:
        known = self._blamed.get(part.name)
        wait_s = FIRST_WAIT_S if known is None else min(LAST_WAIT_S, 2 * known.wait_s)
        self._waiting, self._guilty = [name for name in self._waiting if name != part.name], []
        self._blamed[part.name] = _Blame(part=part, error=error, wait_s=wait_s, until=now + wait_s)

    def _careful(self, parts: Iterable[Part], waits: Mapping[str, str]) -> Trial:
        """
        Return what is wanted, but those that wait as they were, less the servers that must go.

        Args:
            parts: What is wanted.
            waits: Who waits, by name, and for which error.
        """
        written: list[Part] = []
        degraded = []
        verified = {each.name: each for each in self._verified or ()}
        for each in parts:
            if each.name not in waits:
                written.append(each)
                continue
            old = verified.get(each.name)
            if old is not None:
                old = _less(old, wanted=each)
                written.append(old)
            level = Level.OUT if old is None else Level.OLD
            servers = old.servers if isinstance(old, Upstream) else ()
            degraded.append(Degraded(upstream=each.name, level=level, error=waits[each.name], servers=servers))
        return Trial(parts=tuple(written), degraded=tuple(degraded))

    def _with_gone(self, trial: Trial, *, error: str) -> tuple[Trial, ...]:
        """Return a trial with the upstreams that went, if any did: nginx's own files may need their names."""
        there = {each.name for each in trial.parts} | {each.upstream for each in trial.degraded}
        before = upstreams_in(self._verified or ())
        gone = sorted(each.name for each in before if each.name not in there)
        kept = tuple(Degraded(upstream=name, level=Level.EMPTY, error=error, kept=True) for name in gone)
        parts = (*trial.parts, *(Upstream(name=name) for name in gone))
        parts = tuple(sorted(parts, key=lambda each: each.name))
        return (Trial(parts=parts, degraded=(*trial.degraded, *kept)),) if gone else ()


def _less(old: Part, *, wanted: Part) -> Part:
    """
    Return a part as it was, an upstream without servers that are not wanted any more, each in the life it is in now.

    One that drains by now does so where clients stay with it, and goes where they do not.
    """
    if not isinstance(old, Upstream) or not isinstance(wanted, Upstream):
        return old  # a site does not lose what protects it, nor a port its upstream, for what others are refused for
    now = {(server.address, server.port, server.container): server for server in wanted.servers}
    stay = (
        replace(one, started_ns=new.started_ns, draining=new.draining)
        for one in old.servers
        if (new := now.get((one.address, one.port, one.container))) is not None
        and not (new.draining and old.sticky is None)
    )
    return replace(old, servers=tuple(stay))


def _written(part: Part) -> Part:
    """Return what is written of a part: a restart of a server makes its upstream no other one to nginx's eyes."""
    if not isinstance(part, Upstream):
        return part
    return replace(part, servers=tuple(replace(server, started_ns=0) for server in part.servers))
