"""What is asked for next: nothing is forgotten, and nothing is asked for too often."""

from lbwatch.engines.swarm.agenda import NODES_GAP_S, SERVICES_GAP_S, Agenda, Kind, Step
from lbwatch.engines.swarm.settling import LEAST_GAP_S, SLOW_SHARE, Unrest

RESYNC_S = 30.0


def synced(*, took_s: float = 0.0) -> Agenda:
    agenda = Agenda(resync_interval_s=RESYNC_S)
    agenda.want_all(now=0.0)
    do(agenda, Kind.ALL, now=0.0, took_s=took_s)
    return agenda


def do(agenda: Agenda, kind: Kind, *, now: float, took_s: float = 0.0) -> Step:
    step = agenda.next(now=now)
    assert (step.kind, step.at <= now) == (kind, True), step
    agenda.begin(step)
    agenda.done(step, took_s=took_s, now=now)
    return step


def test_before_all_was_read_nothing_else_is() -> None:
    """Parts of what is not known have no place to go to."""
    agenda = Agenda(resync_interval_s=RESYNC_S)
    agenda.want_service("web")
    agenda.mark("web", now=0.0)
    assert agenda.next(now=0.0).at > 1000.0
    agenda.want_all(now=1.0)
    do(agenda, Kind.ALL, now=1.0)
    do(agenda, Kind.SERVICES, now=1.0)


def test_a_service_is_read_before_its_tasks() -> None:
    """Their labels are its."""
    agenda = synced()
    agenda.mark("web", now=0.5)
    agenda.want_service("web")
    assert do(agenda, Kind.SERVICES, now=0.5).ids == ("web",)
    assert do(agenda, Kind.TASKS, now=0.5).ids == ("web",)


def test_a_quiet_swarm_is_asked_four_times_in_five_seconds_and_all_of_it_at_each_resync() -> None:
    """And nothing else."""
    agenda, times = synced(), list[tuple[float, Kind]]()
    now = 0.0
    while now < 60.5:
        step = agenda.next(now=now)
        if step.at > now:
            now = step.at
            continue
        times.append((now, step.kind))
        agenda.begin(step)
        agenda.done(step, took_s=0.004, now=now + 0.004)
        now += 0.004
    assert sum(kind is Kind.ALL for _, kind in times) == 2
    assert len(times) <= 48
    assert {kind for _, kind in times} == {Kind.ALL, Kind.WANTED}


def test_what_fails_is_owed_and_holds_up_nothing_else() -> None:
    """An answer about one service that cannot be read must not keep all others from being looked at."""
    agenda = synced()
    agenda.want_service("bad")
    agenda.mark("web", now=0.5)
    step = agenda.next(now=0.5)
    agenda.begin(step)
    agenda.failed(step, now=0.5, wait_s=2.0)
    look = do(agenda, Kind.TASKS, now=0.5)
    agenda.looked(look.ids, began_at=0.6, changed=(), unrest={"web": Unrest()})
    agenda.settling.forget(["web"])
    do(agenda, Kind.WANTED, now=1.3)
    do(agenda, Kind.WANTED, now=2.6)
    assert do(agenda, Kind.SERVICES, now=2.6).ids == ("bad",)


def test_what_failed_gives_way_to_what_may_be_read() -> None:
    """One list that hangs takes seconds each time: all others would wait for it, and dead servers stay."""
    agenda = synced()
    agenda.want_all(now=2.0)
    agenda.mark("web", now=2.0)
    step = agenda.next(now=2.0)
    agenda.begin(step)
    agenda.failed(step, now=5.0, wait_s=0.1)
    assert do(agenda, Kind.TASKS, now=5.1).ids == ("web",)
    do(agenda, Kind.WANTED, now=5.1)
    do(agenda, Kind.ALL, now=5.1)


def test_what_is_wanted_while_it_is_being_read_is_read_again() -> None:
    """The answer under way may be from before the event."""
    agenda = synced()
    agenda.want_service("web")
    step = agenda.next(now=0.5)
    agenda.begin(step)
    agenda.want_service("web")
    agenda.done(step, took_s=0.1, now=0.6)
    do(agenda, Kind.SERVICES, now=0.6 + SERVICES_GAP_S)


def test_a_hundred_services_that_move_cost_as_many_requests_as_a_few() -> None:
    """A stack is deployed, or each of its images is new: every service has events of its own, one after the other."""
    agenda, steps, now, number = synced(), list[Kind](), 0.0, 0
    while now < 20.0:
        while number <= now * 10:
            agenda.mark(f"s{number % 100}", now=number / 10)
            agenda.want_service(f"s{number % 100}")
            number += 1
        step = agenda.next(now=now)
        if step.at > now:
            now = min(step.at, number / 10)
            continue
        steps.append(step.kind)
        agenda.begin(step)
        if step.kind is Kind.TASKS:
            agenda.looked(step.ids, began_at=now, changed=step.ids, unrest=dict.fromkeys(step.ids, Unrest(comes=True)))
        agenda.done(step, took_s=0.004, now=now + 0.004)
        now += 0.004
    assert steps.count(Kind.TASKS) <= 20.0 / LEAST_GAP_S + 1
    assert steps.count(Kind.SERVICES) <= 20.0 / SERVICES_GAP_S + 1
    assert len(steps) <= 20 * 7


def test_nodes_are_read_once_a_second_at_most() -> None:
    """At a change of leaders each of a hundred has an event, and two seconds later another."""
    agenda = synced()
    agenda.want_nodes()
    do(agenda, Kind.NODES, now=0.1)
    agenda.want_nodes()
    assert agenda.next(now=0.2).at > 0.2
    do(agenda, Kind.NODES, now=0.1 + NODES_GAP_S)


def test_lists_of_all_leave_a_manager_in_peace_where_they_take_long() -> None:
    """Ten thousand tasks are 13 MiB, and 2.5 s of a manager."""
    agenda = synced(took_s=2.5)
    agenda.want_all(now=0.1)
    steps = []
    for second in range(1, 51):
        agenda.settling.forget(["web"])
        step = agenda.next(now=float(second))
        if step.at <= second:
            steps.append(step.kind)
            agenda.begin(step)
            agenda.done(step, took_s=2.5, now=float(second))
    assert steps.count(Kind.ALL) <= 1
    assert steps.count(Kind.WANTED) == 1
    assert SLOW_SHARE * 2.5 == 50.0


def test_one_answer_that_was_slow_puts_off_no_look_at_all_tasks() -> None:
    """It waited for a manager that was away; who died meanwhile without an event would serve for a minute more."""
    agenda = synced()
    do(agenda, Kind.WANTED, now=1.25, took_s=0.004)
    do(agenda, Kind.WANTED, now=2.51, took_s=3.0)
    assert agenda.next(now=2.52).at <= 3.8


def test_a_look_says_who_is_looked_at_again() -> None:
    """What comes of it is `settling`'s."""
    agenda = synced()
    agenda.mark("web", now=0.5)
    step = do(agenda, Kind.TASKS, now=0.5)
    agenda.looked(step.ids, began_at=0.5, changed=(), unrest={"web": Unrest(leaves=True)})
    assert agenda.settling.is_marked("web")
    assert agenda.looks == 2
