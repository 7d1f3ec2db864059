"""Requests from the cloud to a device: whom they go to, and what their outcome means to whoever asked."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable
from contextlib import nullcontext
from itertools import count
from typing import NamedTuple
from weakref import WeakValueDictionary

from gateway.coap import (
    BlockError,
    BlockTransfer,
    Message,
    MessageLayer,
    NotificationReceived,
    Option,
    OutboundFull,
    Outcome,
    OutgoingRequest,
    decode_block,
    encode_uint,
)
from gateway.handlers import (
    DeviceBusy,
    DeviceNotConnected,
    DeviceRefused,
    DeviceRequest,
    DeviceRequestError,
    DeviceTimeout,
    Response,
)
from gateway.server.device_sessions import DeviceSessions
from gateway.server.limits import KEPT_NOTIFICATIONS

_COMMAND_RESULTS = ("answered", "timed_out", "refused", "session_ended", "cancelled")
_RESULTS = {
    Outcome.RESPONSE: "answered",
    Outcome.RESET: "refused",
    Outcome.REJECTED: "refused",
    Outcome.FORGOTTEN: "session_ended",
    Outcome.CANCELLED: "cancelled",
}


class Commands:
    """One for each worker.

    Attributes:
        counts: Requests to devices, by result.
    """

    def __init__(
        self,
        layer: MessageLayer,
        of_devices: DeviceSessions,
        *,
        flush_soon: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        """Ties requests to sessions.

        Args:
            layer: Sends them.
            of_devices: Where devices are.
            flush_soon: Sees to it that what the layer has queued is sent, after the present call.
            clock: Seconds, monotonic: the layer's.
        """
        self.counts = Counter(dict.fromkeys(_COMMAND_RESULTS, 0))
        self._layer = layer
        self._of_devices = of_devices
        self._flush_soon = flush_soon
        self._clock = clock
        # Of requests, for their Request-Tag; it comes back after 16 million.
        self._tags = count()
        # A device has an entry while somebody sends it a body in blocks.
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    def is_connected(self, tenant: str, device: str) -> bool:
        """Whether the device has a session."""
        return self._of_devices.newest(tenant, device) is not None

    def last_heard(self, tenant: str, device: str) -> float | None:
        """When the device spoke last, in its newest session; None without one."""
        session = self._of_devices.newest(tenant, device)
        return None if session is None or session.association is None else session.association.last_heard

    def watch(self, tenant: str, device: str, since: float = 0.0) -> None:
        """Has the message layer tell when the device next speaks in its newest session (`PeerHeard`).

        `since` is for what another worker has heard; what was heard here is known without being told.
        """
        session = self._of_devices.newest(tenant, device)
        if session is not None:
            self._layer.outbound.watch(session)

    def unwatch(self, tenant: str, device: str) -> None:
        """Nobody waits for the device any more. What the layer tells once too often does no harm."""

    async def request(self, tenant: str, device: str, request: DeviceRequest, timeout_s: float) -> Response:
        """See `RemoteDevice.request`."""
        return received((await self.perform(tenant, device, request, timeout_s)).whole())

    async def perform(
        self, tenant: str, device: str, request: DeviceRequest, timeout_s: float, begun: Message | None = None
    ) -> "Performed":
        """Asks a device, in as many messages as it takes.

        Args:
            tenant: The device's.
            device: Its id.
            request: What is asked.
            timeout_s: Seconds that all of it may take.
            begun: The first block of the answer, when that is there already.

        Raises:
            ValueError: It cannot be expressed.
        """
        deadline = self._clock() + timeout_s
        session = self._of_devices.newest(tenant, device)
        if session is None:
            return Performed(None, DeviceNotConnected(), sent=begun is not None)
        tag = encode_uint(next(self._tags) & 0xFFFFFF)
        transfer = BlockTransfer(request.code, request.options, request.payload, session.max_message, request_tag=tag)
        try:
            if begun is not None and transfer.take(begun):
                return Performed(begun, None, sent=True)
        except BlockError as error:
            return Performed(None, DeviceRefused(f"the device's answer: {error}"), sent=True)
        sent = begun is not None
        # Blocks of two bodies at once would be mixed up by a device that does not heed the Request-Tag.
        lock = self._locks.setdefault((tenant, device), asyncio.Lock()) if transfer.in_blocks else nullcontext()
        async with lock:
            while True:
                part = DeviceRequest(request.code, transfer.options, transfer.payload)
                try:
                    outgoing = await self._ask(tenant, device, part, deadline)
                    sent = sent or outgoing.message_id >= 0
                    if outgoing.response is not None:
                        if transfer.take(outgoing.response):
                            return Performed(transfer.response, None, sent=True)
                    # What never went out may go another way, when the device has made a new handshake meanwhile.
                    elif outgoing.outcome is not Outcome.FORGOTTEN or outgoing.message_id >= 0:
                        return Performed(None, failure(outgoing, sent=sent), sent=sent)
                except BlockError as error:
                    return Performed(None, DeviceRefused(f"the device's answer: {error}"), sent=True)
                except DeviceRequestError as error:
                    return Performed(None, error, sent=sent)

    async def _ask(self, tenant: str, device: str, request: DeviceRequest, deadline: float) -> OutgoingRequest:
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        outgoing = self.send(tenant, device, request, deadline - self._clock(), lambda _: _settle(ended))
        try:
            await ended
        finally:
            self.cancel(outgoing)
        return outgoing

    def send(
        self,
        tenant: str,
        device: str,
        request: DeviceRequest,
        within_s: float,
        on_ended: Callable[[OutgoingRequest], None],
        on_notification: Callable[[Message], None] | None = None,
    ) -> OutgoingRequest:
        """Sends a request in the device's newest session, or lets it wait for its turn there.

        Args:
            tenant: The device's.
            device: Its id.
            request: What is asked.
            within_s: Seconds that it may take.
            on_ended: Called once, when it is over, unless it is cancelled.
            on_notification: Called with each notification, of a request that observes.

        Raises:
            DeviceNotConnected: There is no session.
            DeviceBusy: Too many requests to it wait already.
            ValueError: It cannot be expressed, or is too large.
        """
        session = self._of_devices.newest(tenant, device)
        if session is None:
            raise DeviceNotConnected
        now = self._clock()
        try:
            outgoing = self._layer.outbound.request(
                session,
                request.code,
                request.options,
                request.payload,
                now,
                within_s=within_s,
                observing=on_notification is not None,
                context=(on_ended, on_notification),
            )
        except OutboundFull as full:
            raise DeviceBusy(str(full)) from full
        self._flush_soon()
        return outgoing

    def cancel(self, outgoing: OutgoingRequest) -> None:
        """Loses interest in a request; harmless when it is over."""
        if outgoing.outcome is None:
            now = self._clock()
            self._layer.outbound.cancel(outgoing, now)
            self.counts["cancelled"] += 1
            self._flush_soon()

    def on_ended(self, outgoing: OutgoingRequest) -> None:
        """The engine says that a request is over."""
        if outgoing.outcome is not None:
            self.counts[_RESULTS.get(outgoing.outcome, "timed_out")] += 1
        outgoing.context[0](outgoing)

    def on_notification(self, event: NotificationReceived) -> None:
        """The engine says that a device has notified us."""
        event.request.context[1](event.message)

    async def observe(
        self, tenant: str, device: str, request: DeviceRequest, timeout_s: float
    ) -> AsyncGenerator[Response, None]:
        """See `RemoteDevice.observe`."""
        while True:
            news = _News()
            outgoing = self.send(tenant, device, request, timeout_s, news.on_ended, news.on_notification)
            try:
                while (message := await news.next()) is not None:
                    yield received(await self._whole(tenant, device, request, message, timeout_s))
            finally:
                self.cancel(outgoing)
            if outgoing.response is not None:
                yield received(outgoing.response)
                return
            if outgoing.outcome is not Outcome.FORGOTTEN:
                raise failure(outgoing)
            # The device has made a new handshake, and does not know in it what we observe; or it is gone: `send` says.

    async def _whole(
        self, tenant: str, device: str, request: DeviceRequest, message: Message, timeout_s: float
    ) -> Message:
        """A notification with the blocks that did not fit into it."""
        block = message.option(Option.BLOCK2)
        if block is None or not decode_block(block).more:
            return message
        return (await self.perform(tenant, device, request, timeout_s, message)).whole()


class Performed(NamedTuple):
    """What came of a request.

    Attributes:
        response: The whole answer.
        error: Why there is none.
        sent: A message of it went out, if only the first: the device may have done what it was asked.
    """

    response: Message | None
    error: DeviceRequestError | None
    sent: bool

    def whole(self) -> Message:
        """The answer.

        Raises:
            DeviceRequestError: There is none.
        """
        if self.response is None:
            raise self.error or DeviceRefused("the device did not answer")
        return self.response


class _News:
    """Notifications on their way to one consumer: the newest few."""

    def __init__(self) -> None:
        self._messages: deque[Message] = deque(maxlen=KEPT_NOTIFICATIONS)
        self._ended = False
        self._something = asyncio.Event()

    def on_notification(self, message: Message) -> None:
        self._messages.append(message)
        self._something.set()

    def on_ended(self, outgoing: OutgoingRequest) -> None:
        self._ended = True
        self._something.set()

    async def next(self) -> Message | None:
        """The next notification; None when there will be none."""
        while not self._messages and not self._ended:
            self._something.clear()
            await self._something.wait()
        return self._messages.popleft() if self._messages else None


def received(message: Message) -> Response:
    """What a device answered, as whoever asked gets it."""
    return Response(message.payload, message.code, content_format=None, options=message.options)


def failure(outgoing: OutgoingRequest, *, sent: bool = True) -> DeviceRequestError:
    """Why a request that is over has no response; of one in parts, `sent` says whether any has gone out."""
    match outgoing.outcome:
        case Outcome.UNSENT:
            return DeviceTimeout("the device was busy with earlier requests", sent=sent)
        case Outcome.UNACKNOWLEDGED:
            return DeviceTimeout("the device did not acknowledge the request", sent=True)
        case Outcome.RESET:
            return DeviceRefused("the device rejected the request")
        case Outcome.REJECTED:
            return DeviceRefused("the device's answer has a critical option that is not known here")
        case Outcome.FORGOTTEN:
            return DeviceNotConnected("the device's session ended before it answered")
        case _:
            return DeviceTimeout("the device did not answer in time", sent=True)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
