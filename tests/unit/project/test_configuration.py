"""The files of settings that documents show are ones that lbwatch takes."""

import tomllib
from typing import Any

import pytest
import readme

from lbwatch.engines.docker.address import engine_addresses, nginx_engine_of
from lbwatch.settings import EngineSettings

DOCUMENTS = ("docs/several-engines.md", "docs/swarm.md")
BLOCKS = [
    pytest.param(text, id=f"{document}-{heading}")
    for document in DOCUMENTS
    for heading, language, text in readme.fenced(readme.REPOSITORY / document)
    if language == "toml"
]


@pytest.mark.parametrize("text", BLOCKS)
def test_a_list_of_engines_in_a_document_can_be_used(text: str) -> None:
    """Whoever copies it must not begin with an error."""
    found: dict[str, Any] = tomllib.loads(text)
    settings = EngineSettings(**{key: tuple(each) if isinstance(each, list) else each for key, each in found.items()})
    addresses = engine_addresses(settings, environ={"DOCKER_TLS_VERIFY": "1"})
    assert [each.engine.name for each in addresses] == [each.partition("=")[0] for each in settings.docker_host]
    assert all(each.warning is None for each in addresses)
    assert nginx_engine_of(settings, addresses) in (None, addresses[0].engine.name)


def test_each_document_about_engines_shows_one() -> None:
    """Else nothing was tried above."""
    assert len(BLOCKS) >= len(DOCUMENTS)
