"""What is mounted where, as proc(5) has it."""

import os
from pathlib import Path

import pytest

from lbwatch.system import mounts

LINE = "36 35 98:0 {root} {point} rw,noatime master:1 - ext4 /dev/root rw\n"


def test_a_mount_point_shows_a_folder_of_its_file_system() -> None:
    """White space and backslashes are written as octal numbers, and the later of two hides the other."""
    text = LINE.format(root="/", point="/") + LINE.format(root="/old", point="/srv/a\\040b")
    text += LINE.format(root="/new\\134x", point="/srv/a\\040b")
    assert mounts.mount_points(text) == {"/": "/", "/srv/a b": "/new\\x"}


@pytest.mark.parametrize("text", ["", "\n", "1 2 3\n", "nonsense"])
def test_lines_that_cannot_be_read_are_no_mounts(text: str) -> None:
    """A kernel's new field must not stop a daemon."""
    assert mounts.mount_points(text) == {}


def test_a_file_is_detached_once_what_was_mounted_there_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's socket is made anew when it starts, and the mounted one leads to nothing from then on."""
    path, seen = tmp_path / "docker.sock", ["/run/docker.sock"]
    monkeypatch.setattr(mounts, "mountinfo", lambda: LINE.format(root=seen[-1], point=path))
    assert not mounts.is_detached(path)
    seen.append("/run/docker.sock//deleted")
    assert mounts.is_detached(path)
    assert not mounts.is_detached(tmp_path)


def test_what_is_mounted_is_told_from_a_link_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anyone can put a link into /tmp, and to have something mounted somewhere may take no root."""
    path, link = tmp_path / "docker.sock", tmp_path / "link"
    link.symlink_to(path)
    monkeypatch.setattr(mounts, "mountinfo", lambda: LINE.format(root="/run/docker.sock", point=path))
    assert mounts.is_mounted(path)
    assert not mounts.is_mounted(link)
    assert not mounts.is_mounted(tmp_path)


def test_where_mounts_cannot_be_read_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """/proc may be hidden from a service."""

    def hidden() -> str:
        raise OSError("no /proc")

    monkeypatch.setattr(mounts, "mountinfo", hidden)
    assert mounts.mounted() == {}


ID, OTHER = "0123456789abcdef" * 4, "fedcba9876543210" * 4
OF_DOCKER = {f"/etc/{name}": f"/var/lib/docker/containers/{ID}/{name}" for name in ("hostname", "hosts", "resolv.conf")}


@pytest.mark.parametrize(
    ("roots", "id"),
    [
        (OF_DOCKER, ID),
        ({"/etc/hosts": f"/containers/{ID}/hosts"}, ID),  # a partition of its own
        ({"/etc/hostname": f"/containers/overlay-containers/{ID}/userdata/hostname"}, ID),  # Podman
        (OF_DOCKER | {"/etc/hostname": "/srv/hostname", "/etc/hosts": "/etc/hosts"}, ID),  # of the user's own
        ({"/etc/resolv.conf": "/run/systemd/resolve/stub-resolv.conf"}, None),
        ({f"/var/lib/docker/containers/{OTHER}/mounts/shm": "/"}, None),  # an engine's host
        ({"/srv": f"/var/lib/docker/containers/{OTHER}/hosts"}, None),
        ({"/etc/hosts": f"/containers/{ID[:12]}/hosts"}, None),
        ({"/etc/hosts": f"/{ID}/hosts/of/somebody"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_the_container_around_a_process_shows_by_what_its_engine_mounts(roots: dict[str, str], id: str | None) -> None:
    """Its networks are what nginx reaches; taken for another it would lose its servers."""
    text = LINE.format(root="/", point="/") + "".join(LINE.format(root=r, point=point) for point, r in roots.items())
    assert mounts.container_of(text) == id


def test_another_processs_mounts_are_its_own() -> None:
    """What is mounted for nginx is no matter of what is mounted for lbwatch."""
    assert mounts.mountinfo(os.getpid()) == mounts.mountinfo()
    with pytest.raises(OSError, match="No such file"):
        mounts.mountinfo(2**22 + 1)
