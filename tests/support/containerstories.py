"""Stories of containers, for their pages."""

from lbwatch.core.errors import RequestError
from lbwatch.core.explain import ContainerEvent, Explanation, LabelRead, NetworkVerdict, Story
from lbwatch.core.status import Status


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
