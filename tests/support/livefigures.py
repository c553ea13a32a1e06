"""The arithmetic of `make bench-live`: which answers were wrong, and how long a change took to be seen. Pure."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from keptload import OK, Answer


class Change(NamedTuple):
    """
    A change of an upstream's servers.

    Attributes:
        at: Wall clock just before its event.
        proven: Wall clock when lbwatch had it in force, by its own word; infinite: never.
        serving: Addresses of those that serve from then on.
    """

    at: float
    proven: float
    serving: frozenset[str]


def wrong_answers(answers: Iterable[Answer], *, before: frozenset[str], changes: Sequence[Change]) -> list[Answer]:
    """
    Return the answers of servers that had left, to requests that were sent after that was in force.

    Args:
        answers: In any order.
        before: Addresses of those that served before the first change.
        changes: In the order in which they happened; one may be proven after the next has happened.
    """
    wrong, known = [], [Change(at=-math.inf, proven=-math.inf, serving=before), *changes]
    begun, proven = (
        0,
        0,
    )  # index of the latest change that had happened when a request ended, and that was in force before
    for answer in sorted((each for each in answers if each.outcome == OK), key=lambda each: each.began):
        while proven + 1 < len(known) and known[proven + 1].proven <= answer.began:
            proven += 1
        begun = max(begun, proven)
        while begun + 1 < len(known) and known[begun + 1].at <= answer.ended:
            begun += 1
        if not any(answer.who in each.serving for each in known[proven : begun + 1]):
            wrong.append(answer)
    return wrong


class Seen(NamedTuple):
    """
    When clients saw a change, in seconds from its event; not a number where they did not.

    Attributes:
        first_s: The end of the first answer that is right only since then.
        everywhere_s: The same by that worker of nginx's which was last to give one.
        last_wrong_s: When the last request was sent whose answer was right only before; 0.0: none after the event.
    """

    first_s: float
    everywhere_s: float
    last_wrong_s: float


def seen(answers: Sequence[Answer], *, at: float, came: str = "", left: str = "") -> Seen:
    """
    Return when clients saw that a server came, or left.

    Args:
        answers: Of those that asked without pause while it happened.
        at: Wall clock of the event.
        came: Address of the server that came.
        left: Likewise, of that which left.
    """
    right: dict[str, float] = {}
    for answer in sorted(answers, key=lambda each: each.ended):
        if answer.outcome == OK and came and answer.who == came and answer.ended >= at:
            right.setdefault(answer.worker, answer.ended - at)
    wrong = [answer.began - at for answer in answers if left and answer.who == left and answer.began > at]
    return Seen(
        first_s=min(right.values(), default=math.nan),
        everywhere_s=max(right.values(), default=math.nan),
        last_wrong_s=max(wrong, default=0.0),
    )
