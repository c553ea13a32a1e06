"""The bodies of an engine's answers: never packed, never longer than their bound."""

import aiohttp
from aiohttp import hdrs

from lbwatch.core.errors import SourceError
from lbwatch.engines.docker.refusal import require_ok

MAX_ANSWER_BYTES = 1024 * 1024
"""Of any other answer, and of what comes with a status that is no success."""

PLAIN = {hdrs.ACCEPT_ENCODING: "identity"}
"""The header that asks for no packing; aiohttp asks for gzip by itself."""


async def ok_body(
    response: aiohttp.ClientResponse, *, path: str, needs: tuple[str, ...], max_bytes: int = MAX_ANSWER_BYTES
) -> bytes:
    """
    Return the body of a success.

    Args:
        response: Of which the headers are there.
        path: Of the request, without its host.
        needs: What a proxy must allow for it.
        max_bytes: A longer body is an error.

    Raises:
        SourceError: It is no success, packed or too long.
    """
    if not 200 <= response.status < 300:
        words = b"" if _packing(response) else await _body(response, path=path, max_bytes=MAX_ANSWER_BYTES)
        location = response.headers.get(hdrs.LOCATION, "")
        require_ok(response.status, words, path=path, needs=needs, location=location)
    require_plain(response, path=path)
    return await _body(response, path=path, max_bytes=max_bytes)


def require_plain(response: aiohttp.ClientResponse, *, path: str) -> None:
    """Raise for an answer that is packed: what that would be unpacked has no bound, and nobody asked for it."""
    if packing := _packing(response):
        raise SourceError(f"{path}: the answer is compressed ({packing}), which was not asked for")


def _packing(response: aiohttp.ClientResponse) -> str:
    encoding = response.headers.get(hdrs.CONTENT_ENCODING, "").strip().lower()
    return "" if encoding == "identity" else encoding


async def _body(response: aiohttp.ClientResponse, *, path: str, max_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > max_bytes:
            raise SourceError(f"{path}: the answer is longer than {max_bytes >> 20} MiB", status=response.status)
    return bytes(body)
