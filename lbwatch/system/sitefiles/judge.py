"""
Whether nginx could use a certificate and its key; and for whom and until when it is.

What is well formed and fits is found to be so without OpenSSL, which takes 6 ms for a pair. Of all else OpenSSL, which
nginx uses too, has the verdict; what is read beside that (names, end) is for people, and no reason to refuse anything.
"""

import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

MAX_HOSTS = 1000
"""Of one certificate; authorities that people use stop at 100."""

_HOST = re.compile(r"[!-~]{1,253}")  # what a terminal can bear: anything may stand in there

# The last one: the key is of another kind (RSA, EC), which nginx's own test takes; then each handshake fails.
_MISMATCHES = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """
    What is known of a certificate; see `Certificate`.

    Attributes:
        hosts: For whom it is.
        expires_at: Until when.
        error: Why nginx could not use it.
    """

    hosts: tuple[str, ...] = ()
    expires_at: float | None = None
    error: str | None = None


class _EncryptedError(Exception):
    """Somebody asked for a passphrase."""


def judged(certificate: bytes, *, key: bytes | None) -> Verdict:
    """
    Return what is known of a certificate.

    Args:
        certificate: In PEM, perhaps with its chain behind it.
        key: In PEM; `None`: lbwatch may not read it.
    """
    error = None
    if not _is_plainly_good(certificate, key):
        error = _certificate_error(certificate) or (None if key is None else _key_error(certificate, key))
    hosts, expires_at = _described(certificate)
    return Verdict(hosts=hosts, expires_at=expires_at, error=error)


def _is_plainly_good(certificate: bytes, key: bytes | None) -> bool:
    # Who has no certificate does without its 9 MiB and 0.1 s.
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        Encoding,
        PublicFormat,
        load_pem_private_key,
    )

    # It is stricter than OpenSSL, and has an exception of its own for most of what may be wrong in there.
    try:
        chain = x509.load_pem_x509_certificates(certificate)
        if len(chain) != certificate.count(b"-----BEGIN"):  # it passes over one that is cut off
            return False
        public = chain[0].public_key()
        if key is None:
            return True
        own = load_pem_private_key(key, password=None, unsafe_skip_rsa_key_validation=True).public_key()
        form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        return public.public_bytes(*form) == own.public_bytes(*form)
    except Exception:  # noqa: BLE001
        return False


def _certificate_error(certificate: bytes) -> str | None:
    if not certificate.strip():
        return "the certificate is empty"
    try:
        _context().load_verify_locations(cadata=certificate.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError):
        return "the certificate cannot be read: it is cut off, or not in PEM"
    return None


def _key_error(certificate: bytes, key: bytes) -> str | None:
    if not key.strip():
        return "its key is empty"
    try:
        with _in_memory(certificate) as certificate_path, _in_memory(key) as key_path:
            _context().load_cert_chain(certificate_path, key_path, password=_no_passphrase)
    except _EncryptedError:
        return "its key is encrypted, and nginx has no passphrase for it"
    except ssl.SSLError as error:
        if error.reason in _MISMATCHES:
            return "its key belongs to another certificate"
        return "its key cannot be read: it is cut off, or not in PEM"
    except OSError:  # no memory, or no /proc: then nginx itself is the first to know
        return None
    return None


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT@SECLEVEL=0")  # how long a key has to be is nginx's business
    return context


def _no_passphrase() -> bytes:
    raise _EncryptedError


@contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """Give bytes a path, which OpenSSL wants; no disk has them."""
    descriptor = os.memfd_create("certificate")
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _described(certificate: bytes) -> tuple[tuple[str, ...], float | None]:
    from cryptography import x509  # noqa: PLC0415

    try:
        read = x509.load_pem_x509_certificate(certificate)
        expires_at = read.not_valid_after_utc.timestamp()
    except Exception:  # noqa: BLE001
        return (), None
    try:
        names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        hosts = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    except Exception:  # noqa: BLE001
        return (), expires_at
    return tuple(host for host in hosts[:MAX_HOSTS] if _HOST.fullmatch(host)), expires_at
