"""The devices of a `TestClient`: apps that play them, and what they observe."""

from collections.abc import AsyncGenerator, Callable, Mapping

from gateway.coap import Code, Message, MessageType, Option, decode, encode
from gateway.handlers.devices import DeviceNotConnected, DeviceRequest, DeviceRequestError, DeviceTimeout, QueueState
from gateway.handlers.request import Request
from gateway.handlers.response import Response
from gateway.handlers.uri import path_segments
from gateway.model import AuthKind, Device, Principal

_OBSERVE = int(Option.OBSERVE)
_GATEWAY = Principal(Device("gateway"), AuthKind.UNKNOWN, credential_id="test:gateway")


class TestObservation:
    """What a device observes in a test.

    Attributes:
        states: The responses so far, oldest first: the first is that to the registration.
        ended: An error has ended it, or it never began.
    """

    __test__ = False  # pytest: not a test class

    def __init__(self, request: Request, first: Response, *, begun: bool) -> None:
        self.states = [first]
        self.ended = not begun
        self.request = request

    @property
    def last(self) -> Response:
        """The newest state."""
        return self.states[-1]


class TestQueuedRequest:
    """A `QueuedRequest` in a test: `wait` asks the device, if it is there by then."""

    __test__ = False

    def __init__(self, port: "TestDevices", number: int, tenant: str, device: str, request: DeviceRequest) -> None:
        self.id = f"test{number}"
        self.device = device
        self.state = QueueState.QUEUED
        self.response: Response | None = None
        self.error: DeviceRequestError | None = None
        self._port, self._tenant, self._request = port, tenant, request

    async def wait(self) -> Response:
        """See `QueuedRequest.wait`."""
        if self.response is None and self.error is None:
            try:
                self.response = await self._port.request(self._tenant, self.device, self._request, 0.0)
                self.state = QueueState.DONE
            except DeviceNotConnected:
                self.error, self.state = (
                    DeviceTimeout("the device did not speak in time", sent=False),
                    QueueState.EXPIRED,
                )
        if self.response is None:
            raise self.error or DeviceTimeout("the request is over", sent=False)
        return self.response

    def cancel(self) -> bool:
        """See `QueuedRequest.cancel`."""
        if self.state is not QueueState.QUEUED:
            return False
        self.error, self.state = DeviceTimeout("the request was taken back", sent=False), QueueState.FAILED
        return True


class TestDevices:
    """A `DevicePort` without sessions: devices are there or not, and lose nothing."""

    __test__ = False

    def __init__(self, dispatch: Callable[[Request], object], devices: Mapping[str, object]) -> None:
        """Take the devices.

        Args:
            dispatch: `App.dispatch` of the app under test.
            devices: Id -> app that plays the device.
        """
        self.devices = dict(devices)
        self._dispatch = dispatch
        self._observations: list[TestObservation] = []
        self._queued: dict[str, TestQueuedRequest] = {}

    def is_connected(self, tenant: str, device: str) -> bool:
        """See `DevicePort`."""
        return device in self.devices

    async def request(self, tenant: str, device: str, request: DeviceRequest, timeout_s: float) -> Response:
        """See `DevicePort`."""
        app = self.devices.get(device)
        if app is None:
            raise DeviceNotConnected
        message = decode(encode(Message(MessageType.CON, request.code, 1, b"test", request.options, request.payload)))
        answer = await _answered(app.dispatch(Request(message, _GATEWAY)))  # type: ignore[attr-defined]
        return _received(answer)

    async def observe(
        self, tenant: str, device: str, request: DeviceRequest, timeout_s: float
    ) -> AsyncGenerator[Response, None]:
        """See `DevicePort`; the present state is the only one."""
        yield await self.request(tenant, device, request, timeout_s)

    def queue(self, tenant: str, device: str, request: DeviceRequest, expires_s: float) -> TestQueuedRequest:
        """See `DevicePort`."""
        queued = TestQueuedRequest(self, len(self._queued), tenant, device, request)
        self._queued[queued.id] = queued
        return queued

    def queued(self, request_id: str) -> TestQueuedRequest | None:
        """See `DevicePort`."""
        return self._queued.get(request_id)

    def register(self, request: Request, first: Response) -> TestObservation:
        """A device has asked to observe, and this is what it was answered."""
        begun = request.route is not None and request.route.observable and first.ok
        observation = TestObservation(request, first, begun=begun)
        if begun:
            self._observations.append(observation)
        return observation

    async def notify(
        self, path: str, tenant: str, device: str | None, response: Response | None, *, confirmable: bool
    ) -> int:
        """See `DevicePort`."""
        key = tuple(path_segments(path.partition("?")[0]))
        told = 0
        for each in [each for each in self._observations if each.request.segments == key and not each.ended]:
            of = each.request.device
            if device is not None and (of.tenant_id, of.id) != (tenant, device):
                continue
            message = each.request.message
            options = [option for option in message.options if option[0] != _OBSERVE]
            again = Request(
                Message(message.type, message.code, 2, message.token, options, message.payload), each.request.principal
            )
            state = await _answered(self._dispatch(again)) if response is None else response
            each.states.append(_received(state))
            each.ended = not state.ok
            told += 1
        return told


async def _answered(answer: object) -> Response:
    return answer if isinstance(answer, Response) else await answer  # type: ignore[misc]


def _received(response: Response) -> Response:
    """The response as it comes out of the codec."""
    sent = Message(MessageType.ACK, response.code, 1, b"test", response.options, response.payload)
    message = decode(encode(sent))
    return Response(message.payload, Code(message.code), content_format=None, options=message.options)
