"""The copy of the user's configuration in which a candidate is tested: it is whole, and it is of the files of now."""

import errno
from pathlib import Path
from typing import Any

import pytest

from lbwatch.balancers.nginx.config_test import scratch
from lbwatch.balancers.nginx.config_test.copy import ConfigCopy
from lbwatch.core.errors import NotTestedError


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
