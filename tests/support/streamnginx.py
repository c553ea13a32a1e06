"""A private, real nginx of a chosen version that has the stream module, and includes a file of lbwatch's there."""

from pathlib import Path

from debian import fetched
from realnginx import RealNginx
from versions import STREAM_NGINXES


def stream_program(version: str) -> str:
    """Return what starts it. Raises `debian.UnavailableError`."""
    return str(fetched(STREAM_NGINXES[version]) / "bin" / "nginx")


def stream_module(version: str) -> Path:
    """Return its module. Raises `debian.UnavailableError`."""
    return fetched(STREAM_NGINXES[version]) / "tree" / "usr/lib/nginx/modules/ngx_stream_module.so"


class StreamNginx(RealNginx):
    """
    As `RealNginx`, with the stream module loaded.

    Args:
        version: One of `versions.STREAM_NGINXES`.

    Attributes:
        stream_output: The file that it includes in `stream {}`.

    Raises:
        debian.UnavailableError: It cannot be had here.
    """

    def __init__(self, folder: Path, namespace: str | None = None, *, version: str, workers: int = 2) -> None:
        self.module = stream_module(version)
        self.stream_output = folder / "conf.d" / "lbwatch.stream"
        super().__init__(folder, namespace, workers=workers, program=stream_program(version))

    def rewrite(self, *, main: str = "", http: str = "", stream: str = "include conf.d/*.stream;") -> None:
        """See `RealNginx`; *stream*: what stands in `stream {}`."""
        super().rewrite(main=f"load_module {self.module};\n{main}\nstream {{ {stream} }}\n", http=http)
