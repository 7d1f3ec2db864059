"""One upload on its way to the handler that takes it block by block."""

import asyncio
from collections.abc import AsyncIterator

from gateway.handlers.response import Response


class UploadAborted(Exception):
    """The rest of the body will not come: the device is gone, gave up, or began anew.

    `request.blocks()` raises it. A handler may clean up after it; nobody is there to take an answer.
    """


class BlockStream(AsyncIterator[bytes]):
    """Holds one block at a time: the next one is asked for when the handler has taken it.

    Attributes:
        task: The handler's, once it runs; it gives the answer.
    """

    __slots__ = ("_aborted", "_block", "_ended", "_news", "_taken", "task")

    def __init__(self) -> None:
        self.task: asyncio.Task[Response] | None = None
        self._block: bytes | None = None
        self._ended = False
        self._aborted = False
        self._news = asyncio.Event()
        self._taken = asyncio.Event()
        self._taken.set()

    async def __anext__(self) -> bytes:
        while self._block is None:
            if self._aborted:
                raise UploadAborted("the rest of the body did not come")
            if self._ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        block, self._block = self._block, None
        self._taken.set()
        return block

    def put(self, block: bytes, *, last: bool) -> None:
        """Offer the next block; the one before must have been taken."""
        # A body that ends at a block's end may end with an empty one, which is nothing to a handler.
        if block or not last:
            self._block = block
            self._taken.clear()
        self._ended = last
        self._news.set()

    def abort(self) -> None:
        """Say that nothing more comes."""
        self._aborted = True
        self._news.set()

    async def taken(self) -> Response | None:
        """Wait until the handler has taken the block, after the last one until it has answered.

        Returns:
            Its answer, if it has answered; None when it wants the next block.
        """
        if self.task is None:
            raise RuntimeError("no handler takes these blocks")
        if self._ended:
            await asyncio.wait({self.task})
        elif not self.task.done():
            waiting = asyncio.ensure_future(self._taken.wait())
            try:
                await asyncio.wait({self.task, waiting}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
        return self.task.result() if self.task.done() else None
