"""Block-wise transfer between device and handlers (RFC 7959): bodies come and go in blocks, handlers see them whole.

The rules are the engine's (`gateway.coap`); here they meet routes. `dispatch` takes the place of `App.dispatch` for a
request with block options, `finish` makes an answer fit the device. Neither does anything for a request and an answer
that fit one message.
"""

import asyncio
from collections.abc import Coroutine, Hashable
from hashlib import blake2b
from typing import Any, Final

from gateway.coap import (
    MAX_BLOCK_BYTES,
    MAX_SZX,
    Block,
    Bodies,
    Code,
    Cut,
    Message,
    Option,
    Peer,
    Refusal,
    TransmissionParameters,
    Uploads,
    cut_body,
    encode_block,
    encode_options,
    encode_uint,
    find_block,
    szx_for,
)
from gateway.handlers.app import App
from gateway.handlers.bodies import Part
from gateway.handlers.limits import STREAM_GRACE_S, STREAM_RETRY_AFTER_S, STREAMS, STREAMS_OF_ONE
from gateway.handlers.request import Request, UploadRequest
from gateway.handlers.response import Response
from gateway.handlers.routing import Route
from gateway.handlers.streams import BlockStream

_BLOCK1: Final = int(Option.BLOCK1)
_BLOCK2: Final = int(Option.BLOCK2)
_ETAG: Final = int(Option.ETAG)
_OBSERVE: Final = int(Option.OBSERVE)
_SIZE2: Final = int(Option.SIZE2)
_FIXED_BYTES: Final = 4 + 1  # header and payload marker
_SAFE: Final = frozenset({Code.GET, Code.FETCH})
_TOO_MANY_STREAMS: Final = Refusal(
    Code.SERVICE_UNAVAILABLE, [(int(Option.MAX_AGE), encode_uint(STREAM_RETRY_AFTER_S))], "too many uploads at once"
)


class Transfers:
    """The transfers of all peers that are under way."""

    def __init__(
        self,
        app: App,
        *,
        block_size: int = MAX_BLOCK_BYTES,
        lifetime_s: float = TransmissionParameters().exchange_lifetime_s,
        max_streams: int = STREAMS,
        stream_grace_s: float = STREAM_GRACE_S,
    ) -> None:
        """Start without any.

        Args:
            app: Answers requests.
            block_size: Bytes of the largest block that we like to get and to send.
            lifetime_s: Seconds after its newest block at which a transfer is given up.
            max_streams: Handlers that take a stream at once.
            stream_grace_s: Seconds that one may go on when the rest of its stream will not come.
        """
        self._app = app
        self._max_szx = szx_for(block_size)
        self._uploads = Uploads(lifetime_s)
        self._bodies = Bodies(lifetime_s)
        self._max_streams = max_streams
        self._stream_grace_s = stream_grace_s
        # Handlers that take a stream run beside the requests that bring their blocks, and for whom.
        self._streams: dict[asyncio.Task[Response], Hashable] = {}

    @property
    def uploads(self) -> int:
        """Bodies of which the next block is waited for."""
        return len(self._uploads)

    @property
    def streams(self) -> int:
        """Handlers that take a stream, or clean up after one."""
        return len(self._streams)

    @property
    def downloads(self) -> int:
        """Bodies that are kept because they cannot be made again."""
        return len(self._bodies)

    def dispatch(self, peer: Peer, request: Request, now: float) -> Response | Coroutine[Any, Any, Response]:
        """Answer a request as `App.dispatch` does, whatever blocks it is made of or asks for.

        The answer still is to go through `finish`.

        Args:
            peer: Whose session it came through.
            request: The request.
            now: Seconds on the caller's monotonic clock.
        """
        message = request.message
        block1 = find_block(message, _BLOCK1)
        block2 = find_block(message, _BLOCK2)
        if (block1 is not None and block1.szx > MAX_SZX) or (block2 is not None and block2.szx > MAX_SZX):
            # RFC 7959 section 2.2.
            return self._app.refuse(request, Code.BAD_REQUEST, "the block size 7 is reserved")
        if block1 is not None:
            return self._receive_block(peer, request, block1, now)
        if block2 is not None and block2.number:
            body = self._bodies.find(peer, message, now)
            if body is not None:
                self._app.locate(request)
                part = body.payload[block2.offset : block2.offset + MAX_BLOCK_BYTES]
                return Part(body.code, body.options, part, block2.offset, len(body.payload))
            if message.code not in _SAFE:
                # To run it again for its second block would do the deed twice.
                return self._app.refuse(request, Code.REQUEST_ENTITY_INCOMPLETE, "this answer is not kept any more")
        return self._app.dispatch(request)

    def finish(self, peer: Peer, request: Request, response: Response, now: float) -> Response:
        """Make an answer fit the device: its options about blocks, and so much of its payload as one message takes.

        Raises:
            ValueError: It cannot be sent: its options are too long, or its body is too large to be kept.
        """
        message = request.message
        options = self._acknowledge(message, response)
        part = response if isinstance(response, Part) else None
        total = len(response.payload) if part is None else part.total
        asked = response.code in (Code.CONTENT, Code.CHANGED, Code.CREATED, Code.DELETED) and (
            find_block(message, _BLOCK2) is not None
        )
        if not asked and (part is None or len(part.payload) == total):
            # RFC 7959 section 4: a client may ask how much there is, whether it comes in blocks or not.
            sized = response.code == Code.CONTENT and message.option(_SIZE2) is not None
            all_options = sorted([*options, (_SIZE2, encode_uint(total))], key=_number_of) if sized else options
            size = _FIXED_BYTES + len(message.token) + len(encode_options(all_options)) + total
            if size <= peer.max_message:
                return _with(response.code, all_options, response.payload)
        cut = cut_body(message, options, total, peer.max_message, self._max_szx)
        if cut is None:
            return self._app.refuse(request, Code.BAD_REQUEST, f"the body ends after {total} bytes")
        if part is None and cut.end - cut.start < total:
            cut = self._keep(peer, message, response, options, cut, now)
        start = cut.start - (0 if part is None else part.offset)
        return _with(response.code, cut.options, response.payload[start : start + cut.end - cut.start])

    def forget(self, peer: Peer) -> None:
        """The session is gone."""
        self._uploads.forget(peer)
        self._bodies.forget(peer)
        self._abort_abandoned()

    def next_expiry(self) -> float | None:
        """When `expire` has something to do; None when nothing is under way."""
        times = [time for time in (self._uploads.next_expiry(), self._bodies.next_expiry()) if time is not None]
        return min(times, default=None)

    def expire(self, now: float) -> None:
        """Give up what has come to nothing."""
        self._uploads.expire(now)
        self._bodies.expire(now)
        self._abort_abandoned()

    async def close(self) -> None:
        """End the handlers that wait for blocks."""
        for task in self._streams:
            task.cancel()
        await asyncio.gather(*self._streams, return_exceptions=True)

    def _receive_block(
        self, peer: Peer, request: Request, block: Block, now: float
    ) -> Response | Coroutine[Any, Any, Response]:
        route = self._app.locate(request)
        if isinstance(route, Response):
            return route
        if block.number == 0 and (refusal := self._app.admit(request, route)) is not None:
            # Before the body is sent in vain.
            return refusal
        if route.stream:
            return self._stream_block(peer, request, route, block, now)
        upload = self._uploads.receive(peer, request.message, block, now, max_body=self._app.max_body_of(route))
        self._abort_abandoned()
        if isinstance(upload, Refusal):
            return self._refused(request, upload)
        if not upload.complete:
            return Response(code=Code.CONTINUE)
        return self._app.dispatch(UploadRequest(request, upload.body))

    async def _stream_block(self, peer: Peer, request: Request, route: Route, block: Block, now: float) -> Response:
        """Pass a block on, and answer when the handler has taken it."""
        upload = self._uploads.receive(
            peer, request.message, block, now, max_body=self._app.max_body_of(route), keep=False
        )
        self._abort_abandoned()
        if isinstance(upload, Refusal):
            return self._refused(request, upload)
        stream = upload.context
        if stream is None:
            me = peer.owner
            mine = sum(owner == me for owner in self._streams.values())
            if len(self._streams) >= self._max_streams or mine >= STREAMS_OF_ONE:
                self._uploads.finish(upload)
                return self._refused(request, _TOO_MANY_STREAMS)
            stream = upload.context = self._start_stream(peer, request)
        if not upload.repeated:
            stream.put(request.message.payload, last=upload.complete)
        try:
            answer: Response | None = await stream.taken()
        except asyncio.CancelledError:
            # The handler is too slow for this block, and would not be quicker for the next one.
            self._uploads.finish(upload)
            stream.task.cancel()
            raise
        if answer is None:
            return Response(code=Code.CONTINUE)
        self._uploads.finish(upload)
        return answer

    def _start_stream(self, peer: Peer, request: Request) -> BlockStream:
        stream = BlockStream()
        answer = self._app.dispatch(UploadRequest(request, b"", stream))
        stream.task = task = asyncio.get_running_loop().create_task(_awaited(answer))
        self._streams[task] = peer.owner
        task.add_done_callback(self._streams.pop)
        return stream

    def _abort_abandoned(self) -> None:
        if self._uploads.abandoned:
            abandoned, self._uploads.abandoned = self._uploads.abandoned, []
            for stream in abandoned:
                stream.abort()
                # It may wait for something else than the next block, and nobody has a time limit for that any more.
                stream.task.get_loop().call_later(self._stream_grace_s, stream.task.cancel)

    def _refused(self, request: Request, refusal: Refusal) -> Response:
        response = self._app.refuse(request, refusal.code, refusal.reason)
        response.options = sorted([*response.options, *refusal.options], key=_number_of)
        return response

    def _acknowledge(self, message: Message, response: Response) -> list[tuple[int, bytes]]:
        """The answer's options, with the Block1 of the block that it is about (RFC 7959 section 2.3).

        A 4.13 has none: one of a smaller size would ask for the same in smaller blocks (section 2.9.3).
        """
        block = find_block(message, _BLOCK1)
        if block is None or block.szx > MAX_SZX or response.code == Code.REQUEST_ENTITY_TOO_LARGE:
            return response.options
        ours = Block(block.number, response.code == Code.CONTINUE, min(block.szx, self._max_szx))
        return sorted([*response.options, (_BLOCK1, encode_block(ours))], key=_number_of)

    def _keep(
        self, peer: Peer, message: Message, response: Response, options: list[tuple[int, bytes]], cut: Cut, now: float
    ) -> Cut:
        """See to it that the rest of a body can be had, and can be told from that of another version."""
        repeatable = message.code == Code.GET or (message.code == Code.FETCH and not message.payload)
        if response.etag is not None and repeatable:
            return cut
        payload = response.payload
        if response.code == Code.CONTENT and response.etag is None:
            options = sorted([*options, (_ETAG, blake2b(payload, digest_size=8).digest())], key=_number_of)
            named = cut_body(message, options, len(payload), peer.max_message, self._max_szx)
            cut = cut if named is None else named
        if cut.start == 0:
            # Those that follow are no answer to a block of the request, and no notification (RFC 7959 section 2.6).
            plain = [option for option in options if option[0] not in (_BLOCK1, _OBSERVE)]
            kept = self._bodies.keep(peer, message, response.code, plain, payload, now)
            if not kept and not repeatable:
                raise ValueError(f"a response of {len(payload)} bytes is too large to be kept until it is fetched")
        return cut


async def _awaited(answer: Response | Coroutine[Any, Any, Response]) -> Response:
    return answer if isinstance(answer, Response) else await answer


def _with(code: int, options: list[tuple[int, bytes]], payload: bytes) -> Response:
    response = Response(code=code)
    response.options = options
    response.payload = payload
    return response


def _number_of(option: tuple[int, bytes]) -> int:
    return option[0]
