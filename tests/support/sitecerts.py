"""Certificates of sites, made at once and without programs."""

import datetime as dt
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_PEM = serialization.Encoding.PEM


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A certificate with its key, in PEM."""

    certificate: bytes
    key: bytes
    expires_at: float

    def write(self, folder: Path, name: str) -> None:
        """As `NAME.crt` and `NAME.key`."""
        (folder / f"{name}.crt").write_bytes(self.certificate)
        (folder / f"{name}.key").write_bytes(self.key)


def made(*hosts: str, days: float = 90, passphrase: bytes | None = None) -> Made:
    """Return a self-signed one for hosts and addresses; of one that expired *days* is negative."""
    key = ec.generate_private_key(ec.SECP256R1())
    end = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(days=days)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, (hosts or ("nobody",))[0][:64])])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - dt.timedelta(days=365))
        .not_valid_after(end)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_name(host) for host in hosts]), critical=False)
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    return Made(
        certificate=builder.sign(key, hashes.SHA256()).public_bytes(_PEM),
        key=key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, encryption),
        expires_at=end.timestamp(),
    )


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
