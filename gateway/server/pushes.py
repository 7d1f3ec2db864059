"""What goes from the cloud to devices: the port that the app has, and the engine's events about it."""

from collections.abc import AsyncGenerator, Callable
from typing import assert_never

from gateway.coap import (
    MessageLayer,
    NotificationReceived,
    ObservationDue,
    ObservationEnded,
    PeerHeard,
    RequestEnded,
)
from gateway.dtls import ServerEndpoint
from gateway.handlers import DeviceRequest, QueuedRequest, Response
from gateway.server.command_queue import CommandQueue
from gateway.server.commands import Commands
from gateway.server.observations import ObservedRoutes
from gateway.server.session import Session
from gateway.telemetry import get_logger


class Pushes:
    """A `DevicePort`, and the listener of `DeviceSessions`.

    Attributes:
        commands: Requests to devices.
        queue_of_requests: Those that wait for devices that sleep.
        routes: What devices observe.
        on_heard: Called with the tenant and id of a device that was watched and has spoken.
    """

    def __init__(
        self,
        layer: MessageLayer,
        endpoint: ServerEndpoint,
        commands: Commands,
        queue: CommandQueue,
        routes: ObservedRoutes,
        *,
        clock: Callable[[], float],
    ) -> None:
        self.commands = commands
        self.queue_of_requests = queue
        self.routes = routes
        self.on_heard: Callable[[tuple[str, str]], None] = queue.deliver
        self._layer = layer
        self._endpoint = endpoint
        self._clock = clock
        self._log = get_logger("gateway.server")

    @property
    def observations(self) -> int:
        """How many devices observe something, each observation counted."""
        return len(self._layer.observations)

    # --- the port ---------------------------------------------------------------------------------------------------

    def is_connected(self, tenant: str, device: str) -> bool:
        """See `DevicePort`."""
        return self.commands.is_connected(tenant, device)

    async def request(self, tenant: str, device: str, request: DeviceRequest, timeout_s: float) -> Response:
        """See `DevicePort`."""
        return await self.commands.request(tenant, device, request, timeout_s)

    def observe(
        self, tenant: str, device: str, request: DeviceRequest, timeout_s: float
    ) -> AsyncGenerator[Response, None]:
        """See `DevicePort`."""
        return self.commands.observe(tenant, device, request, timeout_s)

    def queue(self, tenant: str, device: str, request: DeviceRequest, expires_s: float) -> QueuedRequest:
        """See `DevicePort`."""
        return self.queue_of_requests.put(tenant, device, request, expires_s)

    def queued(self, request_id: str) -> QueuedRequest | None:
        """See `DevicePort`."""
        return self.queue_of_requests.find(request_id)

    async def look_for_queued(self, request_id: str) -> QueuedRequest | None:
        """As `queued`, and certain with several workers."""
        return self.queued(request_id)

    async def take_back(self, queued: QueuedRequest) -> bool:
        """As `QueuedRequest.cancel`, and certain with several workers."""
        return queued.cancel()

    async def notify(
        self, path: str, tenant: str, device: str | None, response: Response | None, *, confirmable: bool
    ) -> int:
        """See `DevicePort`."""
        owner = None if device is None else (tenant, device)
        return await self.routes.notify(path, owner, response, confirmable=confirmable)

    # --- sessions ---------------------------------------------------------------------------------------------------

    def on_entered(self, session: Session) -> None:
        """A device has a new session: what it observes, and what waits for it, goes there."""
        self._layer.observations.attach(session, self._clock())
        self.queue_of_requests.deliver(session.owner)

    def on_left(self, session: Session, heir: Session | None) -> None:
        """A session has ended."""
        self._layer.observations.detach(session, heir, self._clock())
        self.queue_of_requests.left(session.owner)

    # --- the engine -------------------------------------------------------------------------------------------------

    def drain(self, now: float) -> None:
        """Handles what the message layer has to tell, and hands what follows to the endpoint."""
        next_event = self._layer.next_event
        event = next_event()
        if event is None:
            return
        while event is not None:
            try:
                match event:
                    case RequestEnded():
                        self.commands.on_ended(event.request)
                    case NotificationReceived():
                        self.commands.on_notification(event)
                    case PeerHeard():
                        if isinstance(event.peer, Session):
                            self.on_heard(event.peer.owner)
                    case ObservationEnded() | ObservationDue():
                        self.routes.on_event(event)
                    case _:
                        assert_never(event)
            except Exception as fault:  # a bug of ours in one event must not take the others along
                self._log.error("server.fault", exc_info=fault)
            event = next_event()
        self._transmit(now)

    def _transmit(self, now: float) -> None:
        """Seals what the layer has queued."""
        for peer, data in self._layer.datagrams_to_send():
            association = peer.association if isinstance(peer, Session) else None
            if association is not None:
                self._endpoint.send(association, data, now)

    async def close(self) -> None:
        """The gateway stops."""
        await self.queue_of_requests.close()
        await self.routes.close()
