"""Which containers were made for one command, as `docker compose run` makes them: nobody sends those requests. Pure."""

import re

from lbwatch.core.model import Container

_DOCKER = "com.docker.compose.oneoff"
_PROJECT = "com.docker.compose.project"
_SERVICE = "com.docker.compose.service"

# What podman-compose 1 names it, of any project and service; newer ones can be told to join the parts by a dash.
_PODMAN_NUMBER = re.compile(r"[_-]tmp[0-9]{1,5}")


def one_off_of(container: Container) -> str | None:
    """Return the command that made a container for one run, in words; `None`: it is there to stay."""
    labels = dict(container.labels)
    if labels.get(_DOCKER, "").lower() == "true":
        return "docker compose run"
    project, service = labels.get(_PROJECT), labels.get(_SERVICE)
    # It gives these no label of their own, so that only the name tells them from the service's others.
    if project and service and _DOCKER not in labels:
        for dash in "_-":
            began = f"{project}{dash}{service}"
            if container.name.startswith(began) and _PODMAN_NUMBER.fullmatch(container.name, len(began)):
                return "podman-compose run"
    return None
