"""Certificates for TLS engines, made by openssl for one test."""

import shutil
import ssl
import subprocess
from pathlib import Path


class Certificates:
    """
    An authority, a server's certificate and a client's, in files named as the docker client wants them.

    Args:
        folder: Does not exist yet.
        names: Whom the server's certificate is for, as openssl writes it.
        like: Others, whose authority is taken.
        server_days, client_days: How long they are valid; 0: they expired.
    """

    def __init__(
        self,
        folder: Path,
        *,
        names: str = "DNS:localhost,IP:127.0.0.1",
        like: "Certificates | None" = None,
        server_days: int = 2,
        client_days: int = 2,
    ) -> None:
        self.folder = folder
        folder.mkdir()
        if like is None:
            self._openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ca "
                          "-keyout ca-key.pem -out ca.pem")  # fmt: skip
        else:
            for name in ("ca.pem", "ca-key.pem"):
                shutil.copy(like.folder / name, folder / name)
        self._signed("server", f"subjectAltName={names}", days=server_days)
        self._signed("client", "extendedKeyUsage=clientAuth", days=client_days)
        (folder / "client.pem").rename(folder / "cert.pem")
        (folder / "client-key.pem").rename(folder / "key.pem")

    def server(self) -> ssl.SSLContext:
        """For a server of the test's own."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.folder / "ca.pem"))
        context.load_cert_chain(self.folder / "server.pem", self.folder / "server-key.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # an engine is written in Go and does without, too
        return context

    def _signed(self, name: str, extension: str, *, days: int) -> None:
        (self.folder / "extensions").write_text(extension)
        self._openssl(f"req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} "
                      f"-keyout {name}-key.pem -out {name}.csr")  # fmt: skip
        signing = (
            f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -extfile extensions -out {name}.pem"
        )
        if days:
            self._openssl(f"{signing} -days {days}")
        else:
            self._openssl(f"{signing} -days 1", "faketime", "5 days ago")

    def _openssl(self, words: str, *before: str) -> None:
        subprocess.run([*before, "openssl", *words.split()], cwd=self.folder, check=True, capture_output=True)
