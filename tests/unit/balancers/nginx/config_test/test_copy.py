"""The copy of the user's configuration in which a candidate is tested: it is whole, and it is of the files of now."""

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest
from needs import need

from lbwatch.balancers.nginx.config_test import scratch
from lbwatch.balancers.nginx.config_test.copy import ConfigCopy
from lbwatch.balancers.nginx.config_test.local import CopyTester
from lbwatch.core.errors import ConfigRejectedError, NotTestedError


def test_a_copy_that_a_full_disk_cut_short_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a main file would be tested, and every candidate refused, until the user touched a file."""
    folder, main = tmp_path / "copy", tmp_path / "etc/nginx.conf"
    main.parent.mkdir()
    main.write_text("events {}\nhttp { include *.lb; }\n")
    copy = ConfigCopy(folder, main=main, output=tmp_path / "etc/lbwatch.lb")
    copy.write("# one\n")
    main.write_text("events {}\nhttp { include *.lb; server {} }\n")
    write_file = scratch.write_file

    def full(name: str, *, text: str, **options: Any) -> None:
        write_file(name, text=text[:9], **options)
        raise OSError(errno.ENOSPC, "No space left on device", name)

    with monkeypatch.context() as patch:
        patch.setattr(scratch, "write_file", full)
        with pytest.raises(NotTestedError, match="No space left on device"):
            copy.write("# two\n")
    copy.write("# two\n")
    assert "server {" in copy.main.read_text()
    assert copy.candidate.read_text() == "# two\n"


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
