"""Where a container is from, in the words of those who know: Docker's and the Swarm's."""

import pytest
from strategies import container

from lbwatch.core.model import Engine, Task
from lbwatch.core.origins import NOWHERE, Origin, origin_of, origin_words, origins_of

TASK = Task(service="web", service_id="s" * 25, slot="3", node="worker-2", node_id="n" * 25)
ON_B = Engine(name="b", order=1)


@pytest.mark.parametrize(
    ("given", "origin", "words"),
    [
        ({}, NOWHERE, ""),
        ({"engine": ON_B}, Origin(engine="b"), "engine b"),
        (
            {"engine": ON_B, "task": TASK},
            Origin(engine="b", service="web", task="web.3", node="worker-2"),
            "task web.3 on node worker-2",
        ),
        (
            {"task": Task(service="log", service_id="s", slot="n1", node_id="n1")},
            Origin(service="log", task="log.n1", node="n1"),
            "task log.n1 on node n1",
        ),
        (
            {"task": Task(service="web", service_id="s", slot="1")},
            Origin(service="web", task="web.1"),
            "task web.1, on no node yet",
        ),
    ],
)
def test_a_container_is_of_an_engine_and_a_task_of_a_service(
    given: dict[str, object], origin: Origin, words: str
) -> None:
    """Whoever looks for `web.3` has read that name in `docker service ps`."""
    one = container("x", **given)
    assert origin_of(one) == origin
    assert origin_words(origin, several_engines=True) == words
    assert origins_of([one]) == {"x": origin}


def test_of_the_only_engine_nothing_is_said() -> None:
    """It would stand at every container, and tell nobody anything."""
    assert origin_words(Origin(engine="local"), several_engines=False) == ""
    assert origin_words(origin_of(container("x", engine=ON_B, task=TASK)), several_engines=False) != ""


def test_an_engine_that_the_name_begins_with_is_not_said_again() -> None:
    """`b/plain` of engine b would fill a column with what stands beside it."""
    of_b = Origin(engine="b")
    assert origin_words(of_b, several_engines=True, beside="b/plain") == ""
    assert origin_words(of_b, several_engines=True, beside="backend") == "engine b"
