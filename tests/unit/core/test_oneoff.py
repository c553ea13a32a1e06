"""One-offs of Compose, Docker's and Podman's."""

import pytest
from strategies import container

from lbwatch.core.oneoff import one_off_of

COMPOSE = {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}
NOT_SO = COMPOSE | {"com.docker.compose.oneoff": "False"}


@pytest.mark.parametrize(
    ("name", "labels", "made_by"),
    [
        ("any", {"com.docker.compose.oneoff": "True"}, "docker compose run"),
        ("shop-web-run-1f", COMPOSE | {"com.docker.compose.oneoff": "true"}, "docker compose run"),
        ("shop_web_tmp0", COMPOSE, "podman-compose run"),
        ("shop_web_tmp65535", COMPOSE, "podman-compose run"),
        ("shop-web-tmp417", COMPOSE, "podman-compose run"),
        ("shop_web_tmp417", NOT_SO, None),
        ("shop_web_tmp417", {}, None),
        ("shop_web_tmp417", {"com.docker.compose.service": "web"}, None),
        ("shop_web_tmp", COMPOSE, None),
        ("shop_web_tmp123456", COMPOSE, None),
        ("shop_web_tmp1_1", COMPOSE, None),
        ("shop_web_1", COMPOSE, None),
        ("shop_web2_tmp1", COMPOSE, None),
        ("my_shop_web_tmp1", COMPOSE, None),
        ("shop_web_tmp1", COMPOSE | {"com.docker.compose.service": ""}, None),
        (
            "a.b_c+_tmp1",
            {"com.docker.compose.project": "a.b", "com.docker.compose.service": "c+"},
            "podman-compose run",
        ),
    ],
)
def test_a_one_off_is_told_by_its_label_or_else_by_its_name(
    name: str, labels: dict[str, str], made_by: str | None
) -> None:
    """`podman-compose run web sh` must not get a share of production's requests either, and has no label that says so."""
    assert one_off_of(container(name, labels=labels)) == made_by
