"""
Answers the addresses of the page, and says where nothing changed instead of sending it all again.

What is asked for is read, searched and written in a thread: neither a big world nor a long filter holds up the loop.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from functools import partial

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from lbwatch.api.page import rendering
from lbwatch.api.page.query import MAX_NAME_CHARS, query_of
from lbwatch.api.shared import SharedAnswer, has_failed
from lbwatch.core.errors import RequestError, ThreadError, excerpt
from lbwatch.core.explain import Explanation
from lbwatch.core.status import Status

MAX_KEPT = 16
"""Pages as they were written last, of some 50 KB each: several readers may look at several lists."""


class PageHandlers:
    """
    What is answered at the addresses of the page.

    Args:
        look: Returns the status that is shown.
        explain: Returns what becomes of a container, and raises `RequestError` where there is none.
        executor: The thread that the page is written in.
    """

    def __init__(
        self,
        look: Callable[[], Awaitable[Status]],
        *,
        explain: Callable[[str], Awaitable[Explanation]],
        executor: Executor,
    ) -> None:
        self._picture = SharedAnswer(look, make=rendering.picture_of, executor=executor)
        self._explain = explain
        self._executor = executor
        self._one_at_a_time = asyncio.Lock()
        self._turn = asyncio.Lock()  # to have a page written
        self._kept: OrderedDict[str, asyncio.Future[bytes]] = OrderedDict()  # by tag, the latest asked for last

    def by_path(self) -> dict[str, Handler]:
        """Return the handlers by the paths that they are of."""
        return {"/": self._overview, "/container": self._container}

    async def _overview(self, request: web.Request) -> web.Response:
        picture, query = await self._picture.get(), query_of(request.query)
        tag = rendering.tag(picture, query=query)
        return await self._answer(request, tag=tag, write=partial(rendering.overview_html, picture, query=query))

    async def _container(self, request: web.Request) -> web.Response:
        name = request.query.get("name", "")
        explanation = await self._explained(name)
        picture = await self._picture.get()
        tag = rendering.container_tag(picture, explanation=explanation)
        write = partial(rendering.container_html, picture, name=excerpt(name), explanation=explanation)
        status = 404 if isinstance(explanation, str) else 200
        return await self._answer(request, tag=tag, write=write, status=status)

    async def _explained(self, name: str) -> Explanation | str:
        """Return what becomes of a container, or why that is not known, in words."""
        if not name or len(name) > MAX_NAME_CHARS:
            return "no container is named so"
        # The engine is asked for it, and whoever reaches the port may ask us: never for two at once.
        async with self._one_at_a_time:
            try:
                explanation = await self._explain(name)
            except RequestError as error:
                return str(error)
        return explanation if explanation.story else "the engine was not read yet, so that nothing is known of it"

    async def _answer(
        self, request: web.Request, *, tag: str, write: Callable[[], bytes], status: int = 200
    ) -> web.Response:
        """Return the page of that tag, or that it has not changed."""
        headers = {hdrs.ETAG: f'"{tag}"', "Content-Security-Policy": rendering.POLICY}
        if any(each.value == tag for each in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        body = await self._written(tag, write=write)
        return web.Response(status=status, body=body, headers=headers | {hdrs.CONTENT_TYPE: rendering.CONTENT_TYPE})

    async def _written(self, tag: str, *, write: Callable[[], bytes]) -> bytes:
        """Return the page of that tag; it is written once for all who ask, and kept as long as there is room."""
        page = self._known(tag) or await self._begun(tag, write=write)
        self._kept[tag] = page
        self._kept.move_to_end(tag)
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        # Whoever hangs up is cancelled here; the others still wait for the same page.
        return await asyncio.shield(page)

    async def _begun(self, tag: str, *, write: Callable[[], bytes]) -> asyncio.Future[bytes]:
        """Return the page of that tag, which is being written by then."""
        # Whoever hangs up leaves this queue; the thread's own one he would not.
        await self._turn.acquire()
        try:
            page = self._known(tag)  # the one before in the queue may have wanted the same
            if page is None:
                page = asyncio.get_running_loop().run_in_executor(self._executor, write)
        except ThreadError:
            self._turn.release()
            raise
        page.add_done_callback(lambda _: self._turn.release())
        return page

    def _known(self, tag: str) -> asyncio.Future[bytes] | None:
        page = self._kept.get(tag)
        return None if page is None or has_failed(page) else page
