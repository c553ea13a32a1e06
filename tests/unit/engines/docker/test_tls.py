"""Certificates of TLS engines: right ones, wrong ones, and those that change while lbwatch runs."""

import os
import shutil
import subprocess
import tracemalloc
from pathlib import Path

import pytest
from answers import connected, saying, serving
from certificates import Certificates
from needs import need

from lbwatch.core.errors import SettingsError, SourceError
from lbwatch.engines.docker.address import engine_address
from lbwatch.engines.docker.client import EngineClient
from lbwatch.engines.docker.tls import MAX_FILE_BYTES, CertificatesError, tls_context


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Certificates, Certificates]:
    """Of two authorities; no test changes them."""
    need("openssl", root=False)
    folder = tmp_path_factory.mktemp("tls")
    return Certificates(folder / "one"), Certificates(folder / "two")


@pytest.fixture
def folder(made: tuple[Certificates, Certificates], tmp_path: Path) -> Path:
    """A copy of the first ones."""
    return Path(shutil.copytree(made[0].folder, tmp_path / "ours"))


async def test_tls_with_the_right_certificates_connects_and_with_wrong_ones_never(tmp_path: Path) -> None:
    """A certificate that does not verify is an error, never a downgrade: the socket is root on that host."""
    need("openssl", root=False)
    right, wrong = Certificates(tmp_path / "right"), Certificates(tmp_path / "wrong")
    async with serving(saying(b"OK", kind="text/plain"), tls=right.server()) as url:
        async with connected(url, DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH=str(right.folder)) as client:
            assert (await client.ping()).api == (1, 41)
        shutil.copy(right.folder / "ca.pem", tmp_path / "right-ca.pem")
        async with connected(url, DOCKER_CERT_PATH=str(wrong.folder)) as client:
            with pytest.raises(SourceError, match=r"(?i)certificate"):
                await client.ping()
        async with connected(url) as client:  # without TLS settings it is plain HTTP, which that server refuses
            with pytest.raises(SourceError):
                await client.ping()


async def test_a_certificate_for_another_host_is_refused(tmp_path: Path) -> None:
    """Any certificate of the same authority would do otherwise."""
    need("openssl", root=False)
    certificates = Certificates(tmp_path / "tls")
    async with serving(saying(b"OK"), tls=certificates.server()) as url:
        other = url.replace("127.0.0.1", "127.0.0.2")
        context = certificates.server()
        async with (
            serving(saying(b"OK"), tls=context),
            connected(other, DOCKER_CERT_PATH=str(tmp_path / "tls")) as client,
        ):
            with pytest.raises(SourceError):
                await client.ping()


def test_missing_certificates_are_named(tmp_path: Path) -> None:
    """TLS that was asked for and cannot be had must not be left out in silence."""
    with pytest.raises(SettingsError, match=r"ca\.pem"):
        EngineClient(engine_address("tcp://127.0.0.1:1", environ={"DOCKER_CERT_PATH": str(tmp_path)}))


async def test_each_engine_may_have_certificates_of_its_own(
    made: tuple[Certificates, Certificates], folder: Path
) -> None:
    """Docker's own recipe makes an authority for each machine: a subfolder of the engine's name, else those of all."""
    first, second = made
    shutil.copytree(second.folder, folder / "b")
    environ = {"DOCKER_CERT_PATH": str(folder)}
    async with (
        serving(saying(b"OK"), tls=first.server()) as one,
        serving(saying(b"OK"), tls=second.server()) as two,
        connected(f"a={one}", **environ) as a,
        connected(f"b={two}", **environ) as b,
        connected(f"c={two}", **environ) as c,
    ):
        await a.ping()
        await b.ping()
        with pytest.raises(SourceError, match=r"(?i)certificate"):
            await c.ping()


async def test_certificates_that_were_replaced_hold_from_the_next_connection_on(
    made: tuple[Certificates, Certificates], folder: Path
) -> None:
    """They are renewed each few months, and nobody restarts whatever reads them."""
    first, second = made
    server = made[0].server()
    async with serving(saying(b"OK"), tls=server) as url, connected(url, DOCKER_CERT_PATH=str(folder)) as client:
        await client.ping()
        server.load_cert_chain(second.folder / "server.pem", second.folder / "server-key.pem")
        server.load_verify_locations(second.folder / "ca.pem")
        await client.ping()  # by the connection that is there
        await client._reach.close()
        with pytest.raises(SourceError, match="not to be trusted"):
            await client.ping()
        for name in ("ca.pem", "cert.pem", "key.pem"):
            shutil.copy(second.folder / name, folder / name)
        await client.ping()
        server.load_cert_chain(first.folder / "server.pem", first.folder / "server-key.pem")
        await client._reach.close()
        with pytest.raises(SourceError, match="not to be trusted"):  # the former authority is none any more
            await client.ping()


def break_gone(folder: Path) -> None:
    (folder / "cert.pem").unlink()


def break_cut(folder: Path) -> None:
    path = folder / "key.pem"
    path.write_bytes(path.read_bytes()[:100])


def break_pair(folder: Path) -> None:
    shutil.copy(folder / "server-key.pem", folder / "key.pem")


def break_empty(folder: Path) -> None:
    (folder / "ca.pem").write_bytes(b"")


def break_fifo(folder: Path) -> None:
    (folder / "ca.pem").unlink()
    os.mkfifo(folder / "ca.pem")


def break_zero(folder: Path) -> None:
    (folder / "key.pem").unlink()
    (folder / "key.pem").symlink_to("/dev/zero")


def break_folder(folder: Path) -> None:
    (folder / "cert.pem").unlink()
    (folder / "cert.pem").mkdir()


def break_huge(folder: Path) -> None:
    with (folder / "cert.pem").open("r+b") as file:
        file.truncate(10 * 2**30)


def break_loop(folder: Path) -> None:
    (folder / "ca.pem").unlink()
    (folder / "ca.pem").symlink_to("ca.pem")


def break_passphrase(folder: Path) -> None:
    words = ["openssl", "ec", "-aes128", "-passout", "pass:secret", "-in", "key.pem", "-out", "locked.pem"]
    subprocess.run(words, cwd=folder, check=True, capture_output=True)
    (folder / "locked.pem").rename(folder / "key.pem")


BREAKS = {name.removeprefix("break_"): broken for name, broken in list(globals().items()) if name.startswith("break_")}


REASONS = {
    "gone": "cert.pem: No such file",
    "fifo": "ca.pem: it is a pipe, not a file",
    "zero": "key.pem: it is a device, not a file",
    "folder": "cert.pem: it is a folder, not a file",
    "huge": "cert.pem: it is longer than 1,024 KiB",
}


@pytest.mark.parametrize("name", BREAKS)
async def test_files_that_are_broken_for_a_moment_are_waited_for(
    made: tuple[Certificates, Certificates], folder: Path, name: str
) -> None:
    """Whoever replaces three files has two of them wrong for a while; at the start it is the setting that is wrong."""
    async with serving(saying(b"OK"), tls=made[0].server()) as url:
        environ = {"DOCKER_CERT_PATH": str(folder)}
        async with connected(url, **environ) as client:
            BREAKS[name](folder)
            tracemalloc.start()
            try:
                with pytest.raises(SourceError, match=r"it needs usable ca\.pem, cert\.pem and key\.pem \(") as caught:
                    await client.ping()
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert peak < 8 * MAX_FILE_BYTES
            assert REASONS.get(name, "pem") in str(caught.value)
            with pytest.raises(SettingsError, match=r"DOCKER_CERT_PATH.*it needs usable ca\.pem"):
                EngineClient(engine_address(url, environ=environ))
            shutil.rmtree(folder)
            shutil.copytree(made[0].folder, folder)
            await client.ping()


def test_files_may_be_links(made: tuple[Certificates, Certificates], tmp_path: Path) -> None:
    """Secrets of Kubernetes and of Swarm, and those of certbot, are."""
    (tmp_path / "data").symlink_to(made[0].folder)
    folder = tmp_path / "certs"
    folder.mkdir()
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (folder / name).symlink_to(tmp_path / "data" / name)
    tls_context(folder)


def test_nothing_is_left_open(folder: Path) -> None:
    """It is done for each connection."""
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        tls_context(folder)
    (folder / "key.pem").write_text("nonsense")
    for _ in range(5):
        with pytest.raises(CertificatesError):
            tls_context(folder)
    assert len(os.listdir("/proc/self/fd")) == before
