"""
The certificates of an engine on TLS, read anew for each connection: whoever renews them need not restart lbwatch.

The engine is always verified against ca.pem; cert.pem and key.pem are shown to it, as by the docker client.
"""

import errno
import ssl
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lbwatch.core.errors import excerpt
from lbwatch.system import reading
from lbwatch.system.temporary import in_memory

MAX_FILE_BYTES = 1024 * 1024
"""Of each of the three files: a bundle of all public authorities has a quarter of it."""

_FILES = ("ca.pem", "cert.pem", "key.pem")


class CertificatesError(OSError):
    """The certificates cannot be used as they are now; its `strerror` says why."""

    def __init__(self, folder: Path, *, reason: str) -> None:
        super().__init__(errno.EINVAL, f"{folder}: it needs usable ca.pem, cert.pem and key.pem ({excerpt(reason)})")
        self.reason = excerpt(reason)


def tls_context(folder: Path) -> ssl.SSLContext:
    """
    Return the certificates in a folder as they are now.

    Raises:
        CertificatesError: One is missing, is no file, is broken or needs a passphrase, or they do not fit together.
    """
    try:
        # OpenSSL takes names alone, and what lies under one may be another thing by then.
        with ExitStack() as files:
            authorities, certificate, key = (files.enter_context(in_memory(_content(folder / name))) for name in _FILES)
            context = ssl.create_default_context(cafile=authorities)
            # On since Python 3.13; Docker's own recipe for a CA fails it.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            # Without a passphrase it would ask the terminal for that of a key that has one.
            context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise CertificatesError(folder, reason=getattr(error, "strerror", None) or str(error)) from error
    return context


def folder_of(folder: Path, *, engine: str) -> Path:
    """Return the folder of one engine's certificates: a subfolder of its name, or, where there is none, that of all."""
    own = folder / engine
    return own if own.is_dir() else folder


class RenewedContext(ssl.SSLContext):
    """
    Stands for the certificates in a folder as they were read last; see `for_folder`.

    asyncio asks its context for nothing but `wrap_bio`, once for each connection.
    """

    _folder: Path
    _latest: ssl.SSLContext

    @classmethod
    def for_folder(cls, folder: Path) -> "RenewedContext":
        """
        Return one for a folder.

        Raises:
            CertificatesError: As `tls_context`, and so does `renew`.
        """
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context._folder = folder
        context.renew()
        return context

    def renew(self) -> None:
        """Read the certificates anew, for a connection that is about to be made."""
        # Not in `wrap_bio`: asyncio leaves the socket open where that raises.
        self._latest = tls_context(self._folder)

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """Return a new connection's end, with the certificates that were read last."""
        return self._latest.wrap_bio(*args, **options)


def _content(path: Path) -> bytes:
    try:
        return reading.of_user(path, max_bytes=MAX_FILE_BYTES)
    except OSError as error:
        raise OSError(error.errno, f"{path.name}: {error.strerror}") from error
