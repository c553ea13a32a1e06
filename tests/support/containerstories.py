"""Stories of containers, for their pages."""

from dataclasses import replace

from lbwatch.core.errors import RequestError
from lbwatch.core.explain import ContainerEvent, Explanation, LabelRead, Story, TaskStory
from lbwatch.core.status import Status
from lbwatch.core.ways import NetworkVerdict, WayVerdict


def explained(name: str, status: Status) -> Explanation:
    """What a daemon tells of a container that this status has; raises `RequestError` as it does of any other."""
    routes = tuple(each for each in status.routes if each.container == name)
    if not routes:
        raise RequestError(f"the engine has no container {name!r}")
    return Explanation(source="local", routes=routes, story=story(name))


def story(name: str, *, text: str = "") -> Story:
    """One with something of everything; *text* stands in all that others may choose."""
    return Story(
        container=name,
        id="0123456789abcdef" * 4,
        status="running",
        health="none",
        started="2026-11-24T21:00:00+00:00",
        restarts=2,
        exposed=(8080, 9090),
        suspended=None,
        labels=(
            LabelRead(key="lbwatch.upstream", value=f"web{text}", meaning="read"),
            LabelRead(key="lbwatch.vars.password", value="open sesame", meaning="read"),
            LabelRead(key="LBWATCH.Vars.token", value="open sesame", meaning="read"),
            LabelRead(key="com.docker.compose.project.working_dir", value="/home/ann", meaning="not read"),
        ),
        networks=(
            NetworkVerdict(network=f"front{text}", address="172.18.0.2", verdict=f"taken{text}"),
            NetworkVerdict(network="back", address="", verdict="not asked for"),
        ),
        events=tuple(
            ContainerEvent(at=f"2026-11-24T21:00:0{second}+00:00", action=f"{action}{text}")
            for second, action in enumerate(("create", "start", "health_status: healthy"))
        ),
        lines=(f"server 172.18.0.2:3000;{text}",),
        image=f"nginx:1.22{text}",
        advice="without a health check it gets requests as soon as it runs",
    )


def task_story(name: str, *, text: str = "") -> Story:
    """One of a Swarm's task that is about to be stopped, and that its node publishes a port of; *text* likewise."""
    swarm = TaskStory(
        service=f"web{text}",
        task=f"web.1{text}",
        node=f"worker-1{text}",
        state=f"running{text}",
        desired=f"shutdown{text}",
    )
    ways = (
        WayVerdict(way="network", verdict=f"it is on front{text} of node worker-1, where nginx is not"),
        WayVerdict(way="published port", verdict=f"used: 10.77.0.7:32770{text}", upstream=f"api{text}"),
    )
    return replace(story(name, text=text), engine=f"swarm{text}", swarm=swarm, ways=ways)
