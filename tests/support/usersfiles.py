"""Files of a user's nginx on this side, and the test of a candidate among them. Bytes, since users write any."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from lbwatch.balancers.nginx.config_test.local import CopyTester

WEB = "upstream web { server 192.0.2.1:80; }\n"
API = "upstream api { server 192.0.2.1:80; }\n"
BAD = "nonsense on;\n"

HEAD = b"pid @/nginx.pid;\nevents {}\nhttp {\n"
INCLUDE = b"\ninclude conf.d/*.conf; access_log off; }\n"

TEMP_PATHS = b"".join(
    b"%b_temp_path @/temp/%b; " % (kind, kind) for kind in (b"client_body", b"proxy", b"fastcgi", b"uwsgi", b"scgi")
)


class UsersFiles:
    """
    A configuration in a folder of its own, in which `@` stands for the main file's.

    Attributes:
        main: The main file.
        output: The file that the candidate stands for.
    """

    def __init__(self, folder: Path, *, output: str = "conf.d/lbwatch.conf") -> None:
        self.folder = folder / "etc/nginx"
        self.main = self.folder / "nginx.conf"
        self.output = self.folder / output
        self.scratch = folder / "scratch"
        (self.folder / "conf.d").mkdir(parents=True)
        self.scratch.mkdir()
        self.log = folder / "log"

    def write(self, main: bytes, files: Mapping[bytes, bytes] | None = None) -> None:
        """Write the main file, and others by their names from its folder."""
        for name, content in ((b"nginx.conf", main), *(files or {}).items()):
            path = os.path.join(os.fsencode(self.folder), name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content.replace(b"@", os.fsencode(self.folder)))

    def tester(self, *words: str) -> CopyTester:
        """A tester of these files; *words* follow the program's name."""
        return CopyTester(("nginx", *words), main=self.main, output=self.output, folder=self.scratch)

    def nginx(self, *words: str) -> tuple[int, bytes]:
        """What nginx itself says of them, as they are."""
        done = subprocess.run(["nginx", "-c", self.main, *words], capture_output=True, check=False)
        return done.returncode, done.stderr + done.stdout
