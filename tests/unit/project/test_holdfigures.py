"""The arithmetic of `make bench-hold`: what it calls lost, and whom it calls slow."""

from deployload import Request
from holdfigures import DYING_S, Gap, first_after, inside, over_gaps, posted


def request(
    path: str, *, began: float = 0.0, took_s: float = 0.1, method: str = "POST", outcome: str = "ok"
) -> Request:
    return Request(method, path, began, took_s, outcome)


def test_the_slowest_request_of_each_gap_is_compared_with_that_gap() -> None:
    """One long gap must not hide a request that waited too long in a short one."""
    gaps = [Gap(began=10, ended=13), Gap(began=20, ended=21)]
    done = [request("/1", began=8, took_s=1.5), request("/2", began=10, took_s=3.25), request("/3", began=20, took_s=2)]
    assert over_gaps(done, gaps=gaps) == [0.25, 1.0]


def test_a_gap_in_which_nobody_waited_is_far_from_it() -> None:
    """Where all were refused nobody was slow, and that is no success."""
    assert over_gaps([request("/1", began=10, took_s=0.5)], gaps=[Gap(began=10, ended=13)]) == [-2.5]


def test_the_first_answer_after_a_gap_is_the_first_good_one() -> None:
    """All that waited come at once, so that the last of them says more of the program than of who let them go."""
    done = [request("/1", began=11, took_s=1), request("/2", began=10, took_s=3.2, outcome="status 502")]
    done += [request("/3", began=10, took_s=3.5)]
    assert first_after(done, gaps=[Gap(began=10, ended=13), Gap(began=20, ended=21)]) == [0.5, float("inf")]


def test_a_post_that_was_answered_and_is_not_noted_is_lost() -> None:
    """Its client believes that it was done."""
    done = [request("/1"), request("/2"), request("/3", outcome="status 502"), request("/4", method="GET")]
    assert posted(done, noted=["/1"]).lost == ("/2",)


def test_a_post_that_is_noted_more_than_once_was_done_more_than_once() -> None:
    """Also one whose client was told that it had failed."""
    assert posted([request("/1", outcome="status 502")], noted=["/1", "/2", "/1"]).doubled == ("/1",)


def test_only_what_failed_while_a_program_died_was_inside_it() -> None:
    """What comes later is refused, and no program had seen it: that could have waited."""
    failed = {"outcome": "status 502"}
    done = [
        request("/1", began=1, **failed),
        request("/2", began=9.95, **failed),
        request("/3", began=9.95),
        request("/4", began=10 + DYING_S / 2, **failed),
        request("/5", began=10.1, **failed),
    ]
    assert [each.path for each in inside(done, deaths=[10])] == ["/2", "/4"]
