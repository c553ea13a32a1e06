"""The parts that a daemon and a command that only looks have in common."""

from pathlib import Path

import pytest
from wirings import Made

from lbwatch.system import mounts
from lbwatch.wiring import parts
from lbwatch.wiring.parts import make_address


def test_a_socket_that_was_mounted_where_nginx_proxy_has_it_is_found(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users change the image's name and nothing else; what anybody put there is nobody's engine."""
    usual, other, is_mounted = tmp_path / "usual.sock", tmp_path / "other.sock", True
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(parts, "DEFAULT_DOCKER_HOST", f"unix://{usual}")
    monkeypatch.setattr(parts, "MOUNTED_DOCKER_HOST", f"unix://{other}")
    monkeypatch.setattr(mounts, "is_mounted", lambda path: is_mounted and path == other)
    settings = made(docker_host="")
    assert make_address(settings).socket == str(other)
    assert make_address(made(docker_host="unix:///set.sock")).socket == "/set.sock"
    is_mounted = False
    assert make_address(settings).socket == str(usual)
    is_mounted = True
    usual.touch()
    assert make_address(settings).socket == str(usual)
    monkeypatch.setenv("DOCKER_HOST", "unix:///env.sock")
    assert make_address(settings).socket == "/env.sock"
