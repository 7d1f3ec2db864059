"""The public handler API: what backend developers write against. Knows CoAP and the device, not DTLS.

    from gateway.handlers import App, Changed, Request

    app = App()

    @app.post("/telemetry/{stream}")
    def store(request: Request, stream: str) -> Changed:
        print(request.device.id, stream, request.json())
        return Changed()

See `docs/handlers.md`.
"""

from gateway.coap import Code, ContentFormat, Option
from gateway.handlers.app import App, SinkStats
from gateway.handlers.bodies import Body, BodyContent, FileBody, FileContent
from gateway.handlers.devices import (
    DeviceBusy,
    DeviceNotConnected,
    DevicePort,
    DeviceRefused,
    DeviceRequest,
    DeviceRequestError,
    DeviceTimeout,
    NotServed,
    QueuedRequest,
    QueueState,
    RemoteDevice,
    encode_request,
)
from gateway.handlers.errors import HandlerError, LoadError, RouteError, StartupError
from gateway.handlers.loading import ENTRY_POINT_GROUP, installed_handlers, known_options, load_app, load_handlers
from gateway.handlers.media_types import content_format, media_type
from gateway.handlers.request import Request
from gateway.handlers.response import AUTO, Changed, Content, Created, Deleted, Reject, Response
from gateway.handlers.routing import Route
from gateway.handlers.streams import UploadAborted
from gateway.handlers.terms import RouteOptions
from gateway.handlers.testing import TestClient
from gateway.handlers.transfers import Transfers
from gateway.handlers.uri import path_segments
from gateway.model import Device, Principal

__all__ = [
    "AUTO",
    "ENTRY_POINT_GROUP",
    "App",
    "Body",
    "BodyContent",
    "Changed",
    "Code",
    "Content",
    "ContentFormat",
    "Created",
    "Deleted",
    "Device",
    "DeviceBusy",
    "DeviceNotConnected",
    "DevicePort",
    "DeviceRefused",
    "DeviceRequest",
    "DeviceRequestError",
    "DeviceTimeout",
    "FileBody",
    "FileContent",
    "HandlerError",
    "LoadError",
    "NotServed",
    "Option",
    "Principal",
    "QueueState",
    "QueuedRequest",
    "Reject",
    "RemoteDevice",
    "Request",
    "Response",
    "Route",
    "RouteError",
    "RouteOptions",
    "SinkStats",
    "StartupError",
    "TestClient",
    "Transfers",
    "UploadAborted",
    "content_format",
    "encode_request",
    "installed_handlers",
    "known_options",
    "load_app",
    "load_handlers",
    "media_type",
    "path_segments",
]
