"""A pair counts as good exactly where nginx takes it."""

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sitecerts import Made, made

from lbwatch.system.sitefiles import judge
from lbwatch.system.sitefiles.judge import judged

GOOD = made("example.org", "*.example.org", "fd00::1")
OTHER = made("example.org")
CRLF = GOOD.certificate.replace(b"\n", b"\r\n")
RSA_KEY = rsa.generate_private_key(65537, 2048).private_bytes(
    Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
)

PAIRS: dict[str, tuple[bytes, bytes, str | None]] = {
    "good": (GOOD.certificate, GOOD.key, None),
    "with a chain": (GOOD.certificate + OTHER.certificate, GOOD.key, None),
    "with CRLF": (CRLF, GOOD.key.replace(b"\n", b"\r\n"), None),
    "with text around": ("\xfcber mich\n".encode("latin-1") + GOOD.certificate, b"a key:\n" + GOOD.key, None),
    "key of another": (GOOD.certificate, OTHER.key, "its key belongs to another certificate"),
    "key of another kind": (GOOD.certificate, RSA_KEY, "its key belongs to another certificate"),
    "chain first": (OTHER.certificate + GOOD.certificate, GOOD.key, "its key belongs to another certificate"),
    "empty": (b"", GOOD.key, "the certificate is empty"),
    "empty key": (GOOD.certificate, b"\n", "its key is empty"),
    "cut": (GOOD.certificate[:300], GOOD.key, "the certificate cannot be read: it is cut off, or not in PEM"),
    "cut chain": (
        GOOD.certificate + OTHER.certificate[:300],
        GOOD.key,
        "the certificate cannot be read: it is cut off, or not in PEM",
    ),
    "no PEM": (b"hello", GOOD.key, "the certificate cannot be read: it is cut off, or not in PEM"),
    "cut key": (GOOD.certificate, GOOD.key[:100], "its key cannot be read: it is cut off, or not in PEM"),
    "swapped": (GOOD.key, GOOD.certificate, "the certificate cannot be read: it is cut off, or not in PEM"),
    "encrypted": (
        GOOD.certificate,
        made("example.org", passphrase=b"x").key,
        "its key is encrypted, and nginx has no passphrase for it",
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_is_judged_in_words(name: str) -> None:
    """They stand in explain, and say what to do."""
    certificate, key, error = PAIRS[name]
    assert judged(certificate, key=key).error == error


@pytest.mark.parametrize("name", PAIRS)
def test_openssl_alone_would_say_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is quicker must not be wrong."""
    certificate, key, error = PAIRS[name]
    monkeypatch.setattr(judge, "_is_plainly_good", lambda *_: False)
    assert judged(certificate, key=key).error == error


@pytest.mark.parametrize("name", PAIRS)
def test_nginx_agrees(name: str, tmp_path: Path) -> None:
    """It has the last word, and a site must not be closed for what it takes: but a key of another kind is of no use."""
    certificate, key, error = PAIRS[name]
    (tmp_path / "crt").write_bytes(certificate)
    (tmp_path / "key").write_bytes(key)
    conf = tmp_path / "nginx.conf"
    conf.write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ access_log off; server {{ listen unix:{tmp_path}/s ssl;"
        f" ssl_certificate {tmp_path}/crt; ssl_certificate_key {tmp_path}/key; }} }}"
    )
    tested = subprocess.run(
        ["nginx", "-t", "-q", "-c", conf],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=30,
        check=False,
    )
    assert (tested.returncode == 0) == (error is None or name == "key of another kind"), tested.stderr


def test_for_whom_and_until_when_it_is() -> None:
    """Names, wildcards and addresses; also of one whose key is another's."""
    for key in (GOOD.key, OTHER.key, None):
        found = judged(GOOD.certificate + OTHER.certificate, key=key)
        assert found.hosts == ("example.org", "*.example.org", "fd00::1")
        assert found.expires_at == GOOD.expires_at
    assert judged(GOOD.certificate, key=None).error is None
    nameless = made()
    assert (judged(nameless.certificate, key=nameless.key).hosts, judged(b"", key=b"").expires_at) == ((), None)


def test_one_that_expired_is_good() -> None:
    """nginx serves it, and browsers say why they do not like it."""
    expired: Made = made("example.org", days=-3)
    assert judged(expired.certificate, key=expired.key).error is None


def test_names_that_no_terminal_bears_are_left_out() -> None:
    """Whoever signs one's own may write anything into it; explain and the page show it."""
    odd = made("a.example.org", "\x1b[31mred", "a b", "x" * 254)
    assert judged(odd.certificate, key=odd.key).hosts == ("a.example.org",)
