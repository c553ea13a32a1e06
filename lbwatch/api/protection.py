"""
What protects the status server: a password and a certificate, of files that may be others while it serves.

What was closed stays closed: where a file is missing or cannot be used any more, what was read last holds on.
"""

import asyncio
import hashlib
import ssl
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import structlog

from lbwatch.api.password import PasswordCheck
from lbwatch.core.errors import SettingsError, ThreadError, excerpt
from lbwatch.settings import ApiSettings
from lbwatch.system import reading
from lbwatch.system.temporary import in_memory

LOOK_INTERVAL_S = 5.0
"""Between two looks at the files; whoever renews a certificate has days."""

MAX_PASSWORD_BYTES = 1024
MIN_PASSWORD_CHARS = 8
MAX_CERTIFICATE_BYTES = 1024 * 1024
"""Of each file: one with a chain has some kilobytes."""

_log = structlog.get_logger()


class Protection:
    """
    The password and the certificate that are set.

    Attributes:
        password: Judges requests.
    """

    def __init__(self, settings: ApiSettings) -> None:
        self.password = PasswordCheck()
        self._settings = settings
        self._context: ssl.SSLContext | None = None
        self._read: dict[str, bytes] = {}  # by setting, the digest of what was read last

    def context(self) -> ssl.SSLContext | None:
        """Return with which TLS connections are to be had now; `None`: without."""
        return self._context

    @property
    def has_tls(self) -> bool:
        """Whether connections come by TLS."""
        return self._context is not None

    def load(self) -> None:
        """
        Read the files.

        Raises:
            SettingsError: One is not there, or cannot be used.
        """
        for load in self._parts():
            load()

    async def keep_fresh(self) -> None:
        """Read the files again and again, for good."""
        failed: dict[Callable[[], object], str] = {}
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            for load in self._parts():
                try:
                    renewed = await asyncio.to_thread(load)
                except (SettingsError, ThreadError) as error:
                    # Certificate and key are two files: between the two writes they do not fit together.
                    if failed.get(load) == "":
                        _log.error("status.not_renewed", error=str(error))
                    failed[load] = str(error) if load in failed else ""
                else:
                    failed.pop(load, None)
                    if renewed:
                        _log.info("status.renewed", setting=renewed)

    def _parts(self) -> tuple[Callable[[], str | None], ...]:
        """Return what reads one thing each, and returns the name of its setting if it is another than before."""
        password = (self._load_password,) if self._settings.status_password_file is not None else ()
        certificate = (self._load_certificate,) if self._settings.status_cert is not None else ()
        return (*password, *certificate)

    def _load_password(self) -> str | None:
        path = self._settings.status_password_file
        assert path is not None
        content = _content("status_password_file", path, max_bytes=MAX_PASSWORD_BYTES)
        password, _, more = content.partition(b"\n")
        password = password.removesuffix(b"\r")
        if more.strip() or len(password) < MIN_PASSWORD_CHARS or b"\0" in password:
            takes = f"the file takes one line, the password, of {MIN_PASSWORD_CHARS} characters or more"
            raise SettingsError("status_password_file", value=path, takes=takes)
        if not self._is_other("status_password_file", password):
            return None
        self.password.set(password)
        return "status_password_file"

    def _load_certificate(self) -> str | None:
        certificate, key = self._settings.status_cert, self._settings.status_key
        assert certificate is not None
        assert key is not None
        contents = [
            _content(name, path, max_bytes=MAX_CERTIFICATE_BYTES)
            for name, path in (("status_cert", certificate), ("status_key", key))
        ]
        if not self._is_other("status_cert", b"\0".join(contents), keep=False):
            return None
        context = _tls_context(*contents, path=certificate)
        self._is_other("status_cert", b"\0".join(contents))
        self._context = context
        return "status_cert"

    def _is_other(self, setting: str, content: bytes, *, keep: bool = True) -> bool:
        """Return whether what was read is another than last time, and keep that it was read."""
        digest = hashlib.sha256(content).digest()
        is_other = self._read.get(setting) != digest
        if keep:
            self._read[setting] = digest
        return is_other


def _content(setting: str, path: Path, *, max_bytes: int) -> bytes:
    try:
        return reading.of_user(path, max_bytes=max_bytes)
    except OSError as error:
        raise SettingsError(setting, value=path, takes=f"it cannot be read ({error.strerror or error})") from error


def _tls_context(certificate: bytes, key: bytes, *, path: Path) -> ssl.SSLContext:
    """Return what TLS connections are made with; raises `SettingsError` where certificate and key cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # OpenSSL takes names alone, and what lies under one may be another thing by then.
        with ExitStack() as files:
            certificate_path, key_path = (files.enter_context(in_memory(each)) for each in (certificate, key))
            # Without a passphrase it would ask the terminal for that of a key that has one.
            context.load_cert_chain(certificate_path, key_path, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        words = excerpt(getattr(error, "strerror", None) or str(error))
        takes = f"it takes a certificate in PEM, and status_key its key without a passphrase ({words})"
        raise SettingsError("status_cert", value=path, takes=takes) from error
    return context
