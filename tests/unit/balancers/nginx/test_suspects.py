"""Who is blamed for a reload that nginx refused, and what goes on meanwhile."""

from dataclasses import dataclass, field, replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from lbwatch.balancers.nginx.suspects import FIRST_WAIT_S, LAST_WAIT_S, NEXT_HALF_S, Suspects, Trial
from lbwatch.core.model import Level, Server, Sticky, Upstream

NAMES = tuple(f"u{number:02}" for number in range(12))


def upstream(name: str, *containers: int) -> Upstream:
    servers = tuple(Server(address=f"192.0.2.{number}", port=80, container=f"c{number}") for number in containers)
    return Upstream(name=name, servers=servers)


@dataclass
class World:
    """
    An nginx that refuses what has a culprit in it in full, and who asks it.

    Attributes:
        refuses: The culprits, by name.
        runs: What nginx runs.
        tried: What was before it, each with whether it was taken.
    """

    refuses: set[str] = field(default_factory=set)
    needs: set[str] = field(default_factory=set)
    runs: dict[str, Upstream] = field(default_factory=dict)
    tried: list[tuple[Trial, bool]] = field(default_factory=list)
    now: float = 0.0
    suspects: Suspects = field(default_factory=Suspects)

    def apply(self, *unsorted: Upstream) -> bool:
        """Do what a load balancer does, and return whether something went into force."""
        wanted = tuple(sorted(unsorted, key=lambda each: each.name))
        trial = self.suspects.trial(wanted, now=self.now)
        if not self._takes(trial):
            fallbacks = self.suspects.refused(trial, wanted=wanted, before=self.runs.keys(), error="no", now=self.now)
            taken = next((less for less in fallbacks if self._takes(less)), None)
            if taken is None:
                self.suspects.acquit()
                return False
            trial = taken
        self.suspects.passed(trial, now=self.now)
        self.runs = {each.name: each for each in trial.parts}
        return True

    def _takes(self, trial: Trial) -> bool:
        held = {each.upstream for each in trial.degraded}
        there = {each.name for each in trial.parts}
        takes = not any(each.name in self.refuses and each.name not in held for each in trial.parts)
        takes = takes and self.needs <= there
        self.tried.append((trial, takes))
        return takes

    def settle(self, *wanted: Upstream) -> None:
        """Apply again as long as something is soon to be tried."""
        for _ in range(100):
            self.apply(*wanted)
            again_s = self.suspects.again_s(now=self.now)
            if again_s is None or again_s > NEXT_HALF_S:
                return
            self.now += again_s
        raise AssertionError("there was no end to it")


some_names = st.sets(st.sampled_from(NAMES), min_size=1)


@given(some_names, some_names, some_names)
def test_whoever_is_innocent_serves_and_the_old_ones_go_on(
    before: set[str], wanted: set[str], culprits: set[str]
) -> None:
    """One bad upstream, or ten, hold up nobody: neither those that were there nor those that come with them."""
    world = World()
    world.settle(*(upstream(name, 1, 2) for name in sorted(before)))
    world.refuses = culprits
    # Of those that stay the first server has gone; one more comes to each.
    world.settle(*(upstream(name, 2, 3) for name in sorted(wanted)))
    for name in wanted - culprits:
        assert world.runs[name] == upstream(name, 2, 3)
    for name in wanted & culprits & before:
        assert world.runs[name] == upstream(name, 2), "what it was, less the server that has gone"
    assert world.runs.keys() == wanted - (culprits - before)


@given(st.sets(st.sampled_from(NAMES), min_size=1, max_size=5), some_names)  # so few that the search ends before 15 s
def test_few_tries_stand_before_nginx(wanted: set[str], culprits: set[str]) -> None:
    """Each that it refuses is a file on disk that it could not start from, for as long as that takes."""
    world = World(refuses=culprits)
    world.settle(upstream("zz", 1))
    world.tried.clear()
    world.settle(upstream("zz", 1), *(upstream(name, 1) for name in sorted(wanted)))
    refused = [trial for trial, taken in world.tried if not taken]
    guilty = wanted & culprits
    assert len(refused) <= (1 + len(guilty) * (1 + len(wanted).bit_length()) if guilty else 0)
    assert len({repr(trial.parts) for trial in refused}) == len(refused), "the same was tried twice"


def test_a_removal_is_not_held_up_by_one_that_is_refused() -> None:
    """A server that is gone costs each of its requests seconds."""
    world = World(refuses={"bad"})
    world.apply(upstream("web", 1, 2))
    world.apply(upstream("bad", 9), upstream("web", 1, 2))
    world.tried.clear()
    assert world.apply(upstream("bad", 9), upstream("web", 2))
    assert world.runs == {"web": upstream("web", 2)}
    assert [taken for _, taken in world.tried] == [True], "the one to blame was tried again for it"


def test_who_is_to_blame_is_tried_again_ever_more_seldom_and_at_once_when_it_changes() -> None:
    """The user may have mended his own file, which nobody tells; each try of a wrong one costs."""
    world = World(refuses={"bad"})
    web, bad = upstream("web", 1), upstream("bad", 9)
    world.apply(web)
    tries = []
    while world.now < 4 * LAST_WAIT_S:
        world.tried.clear()
        world.apply(bad, web)
        if len(world.tried) > 1:
            tries.append(world.now)
        world.now += 1
    waits = [later - earlier for earlier, later in pairwise(tries)]
    assert waits[0] == FIRST_WAIT_S
    assert all(later == min(LAST_WAIT_S, 2 * earlier) for earlier, later in pairwise(waits))
    world.refuses.clear()
    assert world.apply(replace(bad, servers=upstream("bad", 8).servers), web)
    assert set(world.runs) == {"bad", "web"}


def test_nobody_is_blamed_for_what_is_wrong_with_nginx_itself() -> None:
    """A port that cannot be bound has it refuse whatever comes; once it can, all goes out."""
    world = World()
    web, api = upstream("web", 1), upstream("api", 2)
    world.apply(web)
    world.needs = {"nobody has this"}
    for _ in range(3):
        assert not world.apply(api, web)
    world.needs = set()
    assert world.apply(api, web)
    assert world.runs == {"api": api, "web": web}


def test_a_name_that_went_is_kept_where_nginx_cannot_do_without_it() -> None:
    """The user's own files name it, and no test could say so."""
    world = World(needs={"gone"})
    world.apply(upstream("gone", 1), upstream("web", 1, 2))
    assert world.apply(upstream("web", 2))
    assert world.runs == {"gone": Upstream(name="gone"), "web": upstream("web", 2)}
    (kept,) = world.tried[-1][0].degraded
    assert (kept.upstream, kept.level, kept.kept) == ("gone", Level.EMPTY, True)


def test_before_any_reload_was_verified_what_is_new_is_what_is_suspected() -> None:
    """lbwatch was restarted: of what nginx runs, only the names are known."""
    world = World(refuses={"bad"}, runs={"web": upstream("web", 1)})
    assert world.apply(upstream("bad", 9), upstream("web", 2))
    assert world.runs == {"web": upstream("web", 2)}


def restarted(one: Upstream, *, at_ns: int) -> Upstream:
    """The same, its servers in another life."""
    return replace(one, servers=tuple(replace(server, started_ns=at_ns) for server in one.servers))


def test_a_restart_makes_no_suspect() -> None:
    """Nothing of it is written: whom nginx refuses for something else is somebody else."""
    world, web = World(refuses={"bad"}), upstream("web", 1, 2)
    world.apply(web)
    assert world.apply(restarted(web, at_ns=7), upstream("bad", 3))
    assert {each.upstream for each in world.tried[-1][0].degraded} == {"bad"}
    assert world.runs["web"] == restarted(web, at_ns=7)


def test_whoever_is_to_blame_is_not_tried_again_for_a_restart() -> None:
    """A container that crashes all the time would put the bad file before nginx each time."""
    world, bad = World(refuses={"bad"}), upstream("bad", 3)
    world.apply(upstream("web", 1))
    world.apply(upstream("web", 1), bad)
    tries = len(world.tried)
    assert world.apply(upstream("web", 1), restarted(bad, at_ns=7))
    assert len(world.tried) == tries + 1
    assert world.tried[-1][1], "taken, without the one to blame"


def test_what_is_kept_as_it_was_is_kept_in_the_life_it_is_in() -> None:
    """Else it would seem to be owed a reload for ever."""
    world = World()
    world.apply(upstream("bad", 3))
    world.refuses = {"bad"}
    worse = replace(restarted(upstream("bad", 3), at_ns=7), keepalive=1)
    assert world.apply(worse)
    assert world.runs["bad"] == restarted(upstream("bad", 3), at_ns=7)


def test_who_drains_by_now_drains_in_what_is_kept_as_it_was() -> None:
    """It takes no new client, whoever else is to blame; without cookies it has none to keep."""
    for sticky, kept in ((Sticky(cookie="sid"), [True, False]), (None, [False])):
        nginx = World()
        old = replace(upstream("bad", 1, 2), sticky=sticky)
        assert nginx.apply(old)
        nginx.refuses = {"bad"}
        wanted = replace(old, servers=(replace(old.servers[0], draining=True), *old.servers[1:]), keepalive=1)
        assert nginx.apply(wanted)
        assert [each.draining for each in nginx.runs["bad"].servers] == kept
