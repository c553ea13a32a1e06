"""The arithmetic of `make bench-live`: what it calls wrong decides what may be promised."""

import math

from keptload import OK, Answer
from livefigures import Change, seen, wrong_answers

OLD, BOTH, NEW = (frozenset(each) for each in (("a",), ("a", "b"), ("b",)))


def answer(began: float, ended: float, who: str, *, worker: str = "1", outcome: str = OK) -> Answer:
    return Answer(began, ended, who, worker, outcome)


def wrong(*answers: Answer, changes: list[Change]) -> list[str]:
    return [f"{each.began:g} {each.who}" for each in wrong_answers(answers, before=OLD, changes=changes)]


def test_an_answer_of_a_server_that_left_is_wrong_once_that_was_in_force() -> None:
    """Until then nobody was promised anything, and a request that was under way then may end."""
    change = Change(at=10, proven=11, serving=NEW)
    answers = [answer(10.5, 10.6, "a"), answer(10.9, 11.5, "a"), answer(11.1, 11.2, "a"), answer(11.1, 11.2, "b")]
    assert wrong(*answers, changes=[change]) == ["11.1 a"]


def test_a_server_that_is_not_there_yet_is_wrong() -> None:
    """A bench that takes any answer for right measures nothing."""
    assert wrong(answer(8, 9, "b"), answer(9, 10.1, "b"), changes=[Change(at=10, proven=11, serving=NEW)]) == ["8 b"]


def test_what_a_later_change_removed_is_right_until_that_one_is_in_force() -> None:
    """Changes come faster than some of them are proven."""
    changes = [Change(at=10, proven=12, serving=BOTH), Change(at=11, proven=13, serving=NEW)]
    answers = [answer(at, at + 0.1, who) for at in (12.5, 13.5) for who in ("a", "b")]
    assert wrong(*answers, changes=changes) == ["13.5 a"]


def test_a_change_that_was_never_in_force_forbids_nothing_and_allows_what_came() -> None:
    """It is counted by another figure."""
    changes = [Change(at=10, proven=math.inf, serving=NEW)]
    assert wrong(answer(20, 21, "a"), answer(20, 21, "b"), answer(20, 21, "c"), changes=changes) == ["20 c"]


def test_a_request_that_failed_was_answered_by_nobody() -> None:
    """It is counted as failed, and once."""
    assert wrong(answer(20, 21, "", outcome="status 502"), changes=[Change(at=10, proven=11, serving=NEW)]) == []


def test_a_server_has_come_once_each_worker_has_passed_a_request_to_it() -> None:
    """The first worker is what a client sees first, the last is what a proof is about."""
    answers = [
        answer(9, 9.5, "a"),
        answer(10, 12, "b", worker="1"),
        answer(10, 13, "b", worker="2"),
        answer(13, 14, "b"),
    ]
    assert seen(answers, at=10, came="b")[:2] == (2, 3)
    assert math.isnan(seen(answers[:1], at=10, came="b").first_s)


def test_a_server_has_left_when_the_last_request_was_sent_that_it_answered() -> None:
    """The length of an answer is the server's business."""
    answers = [answer(9.5, 12, "a"), answer(10.5, 14, "a"), answer(11, 11.1, "b")]
    assert seen(answers, at=10, left="a").last_wrong_s == 0.5
    assert seen(answers[:1], at=10, left="a").last_wrong_s == 0
