"""The copy of the user's configuration in which a candidate is tested: it is whole, and it is of the files of now."""

import errno
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from localnginx import NO_WEB, WEB, balancer
from needs import need
from realnginx import RealNginx

from lbwatch.balancers.nginx.config_test import scratch
from lbwatch.balancers.nginx.config_test.copy import ConfigCopy
from lbwatch.balancers.nginx.config_test.local import CopyTester
from lbwatch.balancers.nginx.config_test.permissions import NoCopyError
from lbwatch.balancers.nginx.outputs import joined
from lbwatch.core.errors import ConfigRejectedError


def test_a_copy_that_a_full_disk_cut_short_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a main file would be tested, and every candidate refused, until the user touched a file."""
    folder, main = tmp_path / "copy", tmp_path / "etc/nginx.conf"
    main.parent.mkdir()
    main.write_text("pid /run/x;\nevents {}\nhttp { include *.lb; }\n")
    copy = ConfigCopy(folder, main=main, output=tmp_path / "etc/lbwatch.lb")
    copy.write("# one\n")
    main.write_text("pid /run/x;\nevents {}\nhttp { include *.lb; server {} }\n")
    write_file = scratch.write_file

    def full(name: str, *, content: bytes, **options: Any) -> None:
        write_file(name, content=content[:9] if name == main.name else content, **options)
        if name == main.name:
            raise OSError(errno.ENOSPC, "No space left on device", name)

    with monkeypatch.context() as patch:
        patch.setattr(scratch, "write_file", full)
        with pytest.raises(NoCopyError, match=f"{folder}: No space left on device"):
            copy.write("# two\n")
    copy.write("# two\n")
    assert "server {" in copy.main.read_text()
    assert Path(copy.candidate).read_text() == "# two\n"


def test_a_disk_that_is_full_in_the_midst_of_a_test_is_said_as_one_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was called a fault of the nginx program, and with nginx in a container it ended the daemon."""
    main = tmp_path / "nginx.conf"
    main.write_text("events {}\nhttp { include *.lb; }\n")
    copy = ConfigCopy(tmp_path / "copy", main=main, output=tmp_path / "lbwatch.lb")
    copy.write("# one\n")

    def full(name: str, **_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", name)

    with monkeypatch.context() as patch:
        patch.setattr(scratch, "write_file", full)
        with pytest.raises(NoCopyError, match=f"{tmp_path / 'copy'}: No space left on device"):
            copy.put("# two\n")
    copy.write("# three\n")
    assert Path(copy.candidate).read_text() == "# three\n"


SMALL = {"no space": "size=16k", "no inodes": "nr_inodes=4", "nobody may write": "ro"}


@pytest.fixture(params=SMALL.values(), ids=SMALL)
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own that has no room for a copy."""
    need("mount", "umount")
    folder = tmp_path / "test"  # where `balancer` has its copies
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", request.param, "lbwatch-test", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


async def test_without_room_for_a_copy_the_reload_judges(
    small_disk: Path, real_nginx: RealNginx, tmp_path: Path
) -> None:
    """A full /tmp is no matter of a candidate's: what starts and ends must still be routed, and nobody is to blame."""
    (real_nginx.output.parent / "long.conf").write_text(f"include {real_nginx.folder}/none/*.x;\n" + "#\n" * 10_000)
    one = balancer(real_nginx, tmp_path)
    with structlog.testing.capture_logs() as logs:
        assert (await one.apply(NO_WEB)).reloaded
        assert (await one.apply(WEB)).reloaded
    assert "server 192.0.2.1:80;" in real_nginx.output.read_text()
    untested = [log for log in logs if log["event"] == "nginx.untested"]
    assert len(untested) == 1
    assert re.search(r"/test: (No space left|Read-only file system)", untested[0]["reason"])
    assert "nginx.rejected" not in {log["event"] for log in logs}
    subprocess.run(["mount", "-o", "remount,rw,size=1m,nr_inodes=1000", small_disk], check=True)
    tester = CopyTester(("nginx",), main=real_nginx.conf, output=real_nginx.output, folder=small_disk)
    assert await tester.test("# candidate\n")
    with pytest.raises(ConfigRejectedError, match="unknown directive"):
        await tester.test("nonsense on;\n")


async def test_the_copy_survives_cleaners_and_removals(tmp_path: Path) -> None:
    """/tmp is cleaned by age, and users remove files: neither may block every later update."""
    need("nginx")
    folder, copy = tmp_path / "etc", tmp_path / "copy"
    (folder / "conf.d").mkdir(parents=True)
    copy.mkdir()
    (folder / "a.inc").write_text("")
    (folder / "b.inc").write_text("")
    main = folder / "nginx.conf"
    main.write_text(f"pid {folder}/p; include *.inc;\nevents {{}}\nhttp {{ access_log off; include conf.d/*.conf; }}\n")
    tester = CopyTester(("nginx",), main=main, output=folder / "conf.d/lbwatch.conf", folder=copy)
    await tester.test("upstream web { server 192.0.2.1:80; }\n")
    (folder / "b.inc").unlink()
    await tester.test("upstream web { server 192.0.2.2:80; }\n")
    shutil.rmtree(copy)
    copy.mkdir()
    await tester.test("upstream web { server 192.0.2.3:80; }\n")
    with pytest.raises(ConfigRejectedError, match="unknown directive"):
        await tester.test("nonsense on;\n")


def test_both_files_of_a_candidate_stand_where_the_outputs_would(tmp_path: Path) -> None:
    """Whether they are there yet or not, and in whichever folder."""
    main, output, stream = tmp_path / "etc/nginx.conf", tmp_path / "etc/conf.d/lb.conf", tmp_path / "other/lb.stream"
    for path in (output, stream):
        path.parent.mkdir(parents=True)
    main.write_text(f"events {{}}\nhttp {{ include conf.d/*.conf; }}\nstream {{ include {stream.parent}/*.stream; }}\n")
    copy = ConfigCopy(tmp_path / "copy", main=main, output=output, stream=stream)
    copy.write(joined("# one\n", "# two\n"))
    assert [Path(each).read_text() for each in copy.candidates] == ["# one\n", "# two\n"]
    made = copy.candidates
    for path in (output, stream, stream.with_name(f".{stream.name}.old"), output.with_name(f".{output.name}.tmp")):
        path.write_text("# comes and goes\n")
    copy.write(joined("# three\n", "# four\n"))
    assert copy.candidates == made, "what lbwatch does itself makes no other copy"
    assert [Path(each).read_text() for each in copy.candidates] == ["# three\n", "# four\n"]
    copy.put("# nothing\n")
    assert [Path(each).read_text() for each in copy.candidates] == ["# nothing\n", ""]
    assert copy.are_outputs_among([str(stream)]) == (False, True)
    assert copy.is_blamed(f"[emerg] no in {copy.candidates[1]}:1")
    assert not copy.is_blamed(f"[emerg] no in {stream}:1")
