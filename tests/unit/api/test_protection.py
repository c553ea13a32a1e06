"""The status server with a password and TLS: what stays open, what is closed, and files that are renewed meanwhile."""

import asyncio
import base64
import os
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog
from certificates import Certificates
from fakedaemon import ROUTES, FixedView, free_port, served
from statuses import full_status
from waiting import eventually

from lbwatch.api import application, door, protection
from lbwatch.api.protection import Protection
from lbwatch.core.errors import SettingsError
from lbwatch.settings import ApiSettings

PASSWORD = "battery staple"


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protection, "LOOK_INTERVAL_S", 0.05)
    monkeypatch.setattr(application, "WRONG_S", 0.3)


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    return tmp_path / "password"


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "tls")


def with_tls(certificates: Certificates) -> dict[str, Any]:
    return {"status_cert": certificates.folder / "server.pem", "status_key": certificates.folder / "server-key.pem"}


def loaded(**settings: Any) -> Protection:
    made = Protection(ApiSettings(**settings))
    made.load()
    return made


def trusting(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificates.folder / "ca.pem"))
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


@asynccontextmanager
async def protected(**settings: Any) -> AsyncIterator[str]:
    """A server so protected, as `HOST:PORT`."""
    async with served(protection=loaded(**settings)) as client:
        yield f"127.0.0.1:{client.port}"


def basic(password: str) -> str:
    return f"Basic {base64.b64encode(f'me:{password}'.encode()).decode()}"


async def status(url: str, *, password: str | None = None, tls: ssl.SSLContext | None = None) -> tuple[int, str]:
    headers = {} if password is None else {"Authorization": basic(password)}
    async with aiohttp.ClientSession(headers=headers) as session, session.get(url, ssl=tls or True) as answer:
        return answer.status, await answer.text()


@pytest.mark.parametrize("path", ROUTES)
async def test_all_but_health_needs_the_password(password_file: Path, path: str) -> None:
    """Names of containers are nobody's business who merely reaches the port."""
    is_open = path in ("/healthz", "/readyz")
    async with protected(status_password_file=password_file) as at:
        without, _ = await status(f"http://{at}{path}")
        right, text = await status(f"http://{at}{path}", password=PASSWORD)
        assert without == (right if is_open else 401)
        assert right != 401
        assert text
        began = time.monotonic()
        wrong, said = await status(f"http://{at}{path}", password="wrong")
        assert wrong == (right if is_open else 401)
        assert is_open or time.monotonic() - began >= 0.3
        assert is_open or "password" in said


async def test_a_path_that_is_not_there_needs_it_too(password_file: Path) -> None:
    """What there is and what not is no stranger's business either; the Host header comes first."""
    async with protected(status_password_file=password_file) as at:
        assert (await status(f"http://{at}/drain"))[0] == 401
        assert (await status(f"http://{at}/drain", password=PASSWORD))[0] == 404
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{at}/", headers={"Host": "evil.example", "Authorization": basic(PASSWORD)}) as answer,
        ):
            assert answer.status == 403


async def test_a_browser_is_asked_for_it(password_file: Path) -> None:
    """Without the header it would show the bare words."""
    async with (
        protected(status_password_file=password_file) as at,
        aiohttp.ClientSession() as session,
        session.get(f"http://{at}/") as answer,
    ):
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="lbwatch", charset="UTF-8"'


async def test_why_it_is_not_ready_is_not_told_without_the_password(password_file: Path) -> None:
    """A reason names upstreams and files; a probe needs the status alone."""
    unready = replace(full_status(), engines=())
    view = FixedView(replace(unready, applied=replace(unready.applied, error="upstream secret-shop is refused")))
    async with served(view) as client:
        assert "secret-shop" in (await client.get("/readyz")).text
    async with served(view, protection=loaded(status_password_file=password_file)) as client:
        answer = await client.get("/readyz")
    assert answer.status == 503
    assert answer.json == {"ready": False, "reasons": [application._NO_REASONS]}


async def test_wrong_passwords_are_counted_logged_and_ended(password_file: Path) -> None:
    """An operator should see that somebody guesses."""
    async with protected(status_password_file=password_file) as at:
        with structlog.testing.capture_logs() as logs:
            answers = await asyncio.gather(*(status(f"http://{at}/", password=f"guess{n}") for n in range(30)))
        assert {code for code, _ in answers} == {401, 429}
        wrong = [log for log in logs if log["event"] == "status.password_wrong"]
        assert [each["address"] for each in wrong] == ["127.0.0.1"] * 10
        assert (await status(f"http://{at}/", password=PASSWORD))[0] == 429
    judged = loaded(status_password_file=password_file)
    async with served(protection=judged) as client:
        await status(f"http://127.0.0.1:{client.port}/", password="wrong")
        _, text = await status(f"http://127.0.0.1:{client.port}/metrics", password=PASSWORD)
        assert "lbwatch_status_wrong_passwords_total 1.0" in text


async def test_a_new_password_is_taken_up_and_a_file_that_vanished_opens_nothing(password_file: Path) -> None:
    """Whoever knew the old one must be out soon, and nobody in by mistake."""
    async with protected(status_password_file=password_file) as at:
        password_file.write_text("another one\r\n")

        async def taken_up() -> bool:
            return (await status(f"http://{at}/metrics", password="another one"))[0] == 200

        async with asyncio.timeout(20):
            while not await taken_up():
                await asyncio.sleep(1.1)  # so that the tries before it do not count
        assert (await status(f"http://{at}/metrics", password=PASSWORD))[0] == 401
        with structlog.testing.capture_logs() as logs:
            password_file.unlink()
            await eventually(lambda: [log for log in logs if log["event"] == "status.not_renewed"])
        assert (await status(f"http://{at}/metrics"))[0] == 401
        assert (await status(f"http://{at}/metrics", password="another one"))[0] == 200


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"short\n", b"two lines of it\nare no password\n", b"x" * 2000, b"long enough\0\n"]
)
def test_what_is_no_password_is_refused_at_the_start(password_file: Path, content: bytes) -> None:
    """An empty file would be a password that anybody knows."""
    password_file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"^status_password_file: ") as caught:
        loaded(status_password_file=password_file)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_is_missing_or_none_is_refused_at_the_start(tmp_path: Path, certificates: Certificates) -> None:
    """Never served without, and never waited for: a pipe would block."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "none", tmp_path / "pipe", tmp_path):
        with pytest.raises(SettingsError, match=r"^status_password_file: .* it cannot be read"):
            loaded(status_password_file=path)
        with pytest.raises(SettingsError, match=r"^status_key: .* it cannot be read"):
            loaded(**with_tls(certificates) | {"status_key": path})


def test_a_certificate_needs_its_key(certificates: Certificates) -> None:
    """One without the other, or the key of another, is a mistake that must not mean plain HTTP."""
    pair = with_tls(certificates)
    for name in pair:
        with pytest.raises(SettingsError, match=f"^{name}: .*it takes .* beside it"):
            ApiSettings(**{name: pair[name]})
    with pytest.raises(SettingsError, match=r"^status_cert: .*its key without a passphrase \(.*mismatch"):
        loaded(**pair | {"status_key": certificates.folder / "key.pem"})


async def test_it_is_served_by_tls(certificates: Certificates, password_file: Path) -> None:
    """A password that goes over a network should not be read on its way."""
    with structlog.testing.capture_logs() as logs:
        async with protected(status_password_file=password_file, **with_tls(certificates)) as at:
            tls = trusting(certificates)
            assert await status(f"https://{at}/healthz", tls=tls) == (200, "the loop turns\n")
            assert (await status(f"https://{at}/", tls=tls))[0] == 401
            assert (await status(f"https://{at}/", tls=tls, password=PASSWORD))[0] == 200
            with pytest.raises(aiohttp.ClientError):
                await status(f"http://{at}/healthz")
    assert [log["url"] for log in logs if log["event"] == "status.listening"] == [f"https://{at}/"]
    made = loaded(**with_tls(certificates)).context()
    assert made is not None
    assert made.minimum_version is ssl.TLSVersion.TLSv1_2


async def test_who_does_not_shake_hands_keeps_nobody_out(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of connections that say nothing; each counts, and the oldest go first."""
    monkeypatch.setattr(door, "HANDSHAKE_TIMEOUT_S", 60.0)
    async with protected(**with_tls(certificates)) as at:
        host, _, port = at.partition(":")
        silent = [await asyncio.open_connection(host, int(port)) for _ in range(100)]
        assert (await status(f"https://{at}/healthz", tls=trusting(certificates)))[0] == 200
        ended = 0
        for reader, _ in silent:
            try:
                async with asyncio.timeout(0.05):
                    await reader.read(1)
                ended += 1
            except TimeoutError:
                pass
            except ConnectionError:
                ended += 1
        assert 30 <= ended < 100
        for _, writer in silent:
            writer.close()


async def test_a_renewed_certificate_is_taken_up_and_a_half_one_is_waited_for(
    certificates: Certificates, tmp_path: Path
) -> None:
    """Whoever renews it does so by two files, one after the other, and restarts nothing."""
    newer = Certificates(tmp_path / "newer")
    with structlog.testing.capture_logs() as logs:
        async with protected(**with_tls(certificates)) as at:

            async def trusts(who: Certificates) -> bool:
                try:
                    return (await status(f"https://{at}/healthz", tls=trusting(who)))[0] == 200
                except aiohttp.ClientError:
                    return False

            assert await trusts(certificates)
            (newer.folder / "server.pem").replace(certificates.folder / "server.pem")
            await eventually(lambda: [log for log in logs if log["event"] == "status.not_renewed"])
            assert await trusts(certificates)  # what was read last holds on
            (newer.folder / "server-key.pem").replace(certificates.folder / "server-key.pem")
            await eventually(lambda: [log for log in logs if log["event"] == "status.renewed"])
            assert await trusts(newer)
    assert len([log for log in logs if log["event"] == "status.not_renewed"]) == 1


@pytest.mark.parametrize(
    ("listen", "protected_by", "warns"),
    [
        ("0.0.0.0", "", "names of containers"),
        ("0.0.0.0", "tls", "names of containers"),
        ("0.0.0.0", "password", "on its way"),
        ("0.0.0.0", "password, tls", None),
        ("127.0.0.1", "", None),
        ("127.0.0.1", "password", None),
    ],
)
async def test_who_listens_beyond_loopback_unprotected_is_warned(
    password_file: Path, certificates: Certificates, listen: str, protected_by: str, warns: str | None
) -> None:
    """It works all the same: in a container the port may be published to loopback alone."""
    settings = {"status_password_file": password_file} if "password" in protected_by else {}
    settings |= with_tls(certificates) if "tls" in protected_by else {}
    with structlog.testing.capture_logs() as logs:
        async with served(listen=f"{listen}:{free_port()}", protection=loaded(**settings)):
            pass
    found = [log["warning"] for log in logs if log["event"] == "status.unprotected"]
    assert (len(found) == 1 and warns in found[0]) if warns else not found
