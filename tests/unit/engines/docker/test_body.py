"""Bodies of answers: never packed, never longer than their bound."""

import gzip
import tracemalloc
import zlib

import pytest
from aiohttp import web
from answers import Answer, connected, saying, serving

from lbwatch.core.errors import SourceError
from lbwatch.engines.docker import body as body_room
from lbwatch.engines.docker import client as client_room

ID = "f" * 64
MIB = 1024 * 1024


def endless(*, status: int = 200, mebibytes: int = 300) -> Answer:
    """An answer without a length that does not end by itself."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers={"Api-Version": "1.41"})
        await response.prepare(request)
        try:
            for _ in range(mebibytes * 16):
                await response.write(b" " * (MIB // 16))
        except ConnectionError:
            pass
        return response

    return answer


@pytest.mark.parametrize("status", [200, 404, 500])
async def test_a_body_without_end_is_given_up_at_its_bound(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever answers in the place of an engine must not fill the memory of the daemon."""
    for name in ("MAX_LIST_BYTES", "MAX_INSPECT_BYTES"):
        monkeypatch.setattr(client_room, name, 2 * MIB)
    async with serving(endless(status=status)) as url, connected(url) as client:
        tracemalloc.start()
        try:
            for call in (
                client.ping(),
                client.list_containers(),
                client.inspect(ID),
                client.call("GET", "/images/json"),
            ):
                with pytest.raises(SourceError, match=r"longer than [12] MiB"):
                    await call
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 16 * MIB


async def test_the_stream_s_error_has_a_bound_too() -> None:
    """It is read before a line is."""
    async with serving(endless(status=500)) as url, connected(url) as client:
        with pytest.raises(SourceError, match="longer than 1 MiB"):
            async with client.events(since_s=None):
                pass


@pytest.mark.parametrize("packing", ["gzip", "deflate", "GZIP", "br", "zstd", "gzip, gzip", "identity, gzip"])
async def test_a_packed_answer_is_refused_and_not_unpacked(packing: str) -> None:
    """2 MiB of it were 2 GiB."""
    packed = gzip.compress(b" " * (64 * MIB)) if "zip" in packing else zlib.compress(b" " * (64 * MIB))
    async with serving(saying(packed, Content_Encoding=packing)) as url, connected(url) as client:
        tracemalloc.start()
        try:
            for call in (client.ping(), client.list_containers(), client.inspect(ID)):
                with pytest.raises(SourceError, match=r"is compressed \("):
                    await call
            with pytest.raises(SourceError, match="is compressed"):
                async with client.events(since_s=None):
                    pass
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 4 * MIB


async def test_no_packing_is_asked_for_and_cookies_are_not_kept() -> None:
    """Proxies pack what a client says it takes; and cookies of any number would stay in memory."""
    asked: list[tuple[str, str | None]] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.headers["Accept-Encoding"], request.headers.get("Cookie")))
        response = web.Response(text="OK", headers={"Api-Version": "1.41", "Content-Encoding": "identity"})
        response.set_cookie(f"c{len(asked)}", "x")
        return response

    # A name, since no client keeps cookies of an address.
    async with serving(answer) as url, connected(url.replace("127.0.0.1", "localhost")) as client:
        for _ in range(3):
            await client.ping()
    assert asked == [("identity", None)] * 3


@pytest.mark.parametrize("status", [403, 404, 502])
async def test_a_packed_error_is_told_by_its_status(status: int) -> None:
    """A proxy may pack its pages whatever was asked for."""
    page = saying(gzip.compress(b"<html>"), status=status, Content_Encoding="gzip")
    async with serving(page) as url, connected(url) as client:
        with pytest.raises(SourceError, match=str(status)) as caught:
            await client.list_containers()
    assert caught.value.status == status


async def test_a_container_with_ten_megabytes_of_labels_is_read() -> None:
    """Engines accept them, and Go writes `<` as six letters."""
    assert client_room.MAX_INSPECT_BYTES > 10**7
    assert client_room.MAX_LIST_BYTES > 10_000 * 25_000
    assert body_room.MAX_ANSWER_BYTES == MIB
