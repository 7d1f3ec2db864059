"""What a handshake and a small request cost, in numbers that no other work on the machine changes."""

import gc
import os
import sys
from types import FrameType
from typing import Any

import pytest

from gateway.coap import Code, Message, MessageLayer, encode
from gateway.handlers import App, Request
from gateway.model import AuthKind, Device, Principal
from gateway.server.dispatch import SERVER_OPTIONS, Dispatcher
from gateway.server.metrics import RequestMetrics
from gateway.server.session import Session
from tests.bench.replay import DEVICES, count_bytecode, prepared

pytestmark = pytest.mark.pure("it counts calls of the interpreter, and replaces methods of the engine")

# A tenth above what it was when this was written. Whoever adds a feature that goes over it either takes something away,
# or raises the number and says in docs/performance.md what for.
MOST_CALLS = {"psk": 608, "certificate": 794}


@pytest.mark.usefixtures("logging_restored")
@pytest.mark.parametrize("kind", MOST_CALLS)
def test_a_handshake_takes_no_more_calls_than_it_did(kind: str) -> None:
    with prepared(kind) as (server, recordings):
        for number, recording in enumerate(recordings):
            server.replay(number, recording)
        assert server.completed == DEVICES
        calls, _ = count_bytecode(server, recordings)
        assert server.completed == 2 * DEVICES
    assert calls <= MOST_CALLS[kind]


@pytest.mark.usefixtures("logging_restored")
@pytest.mark.parametrize("kind", MOST_CALLS)
def test_a_handshake_leaves_no_work_for_the_garbage_collector(kind: str) -> None:
    """What refers to itself stays until the collector comes by: 7 kB of each handshake, for hundreds of them."""
    with prepared(kind) as (server, recordings):
        server.replay(0, recordings[0])
        gc.collect()
        gc.disable()
        try:
            for number, recording in enumerate(recordings):
                server.replay(number, recording)
            assert gc.collect() == 0
        finally:
            gc.enable()


# From the plaintext of a request to that of its answer, the handler's own call included: what it was when there were
# neither blocks nor observation (3.11; later ones make no call of a list's comprehension).
CALLS_OF_A_REQUEST = {"get": 25, "post": 17}
SMALL = {
    "get": (Code.GET, [(11, b"time")], b""),
    "post": (Code.POST, [(11, b"telemetry"), (11, b"kitchen"), (12, b"\x32")], b'{"celsius": 21.5}'),
}


@pytest.mark.parametrize("kind", SMALL)
def test_a_small_request_takes_no_more_calls_than_before_there_were_blocks_and_observation(kind: str) -> None:
    app = App()
    app.get("/time")(lambda request: "12:00")

    @app.post("/telemetry/{stream}")
    def store(request: Request, stream: str) -> None:
        pass

    dispatcher = Dispatcher(
        app,
        MessageLayer(random=os.urandom, critical_options=SERVER_OPTIONS),
        RequestMetrics(),
        send=lambda session, data, now: None,
        clock=lambda: 0.0,
        time_limit_s=1.0,
        max_concurrent=1,
        max_concurrent_per_device=1,
    )
    session = Session(Principal(Device("dev1"), AuthKind.PSK, "c1"))
    code, options, payload = SMALL[kind]
    requests = [encode(Message(0, code, number, b"tt", options, payload)) for number in range(30)]
    for request in requests[:20]:  # the ring of recent messages is full then
        assert dispatcher.receive(session, request, 0.0)
    calls = 0

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        for request in requests[20:]:
            dispatcher.receive(session, request, 0.0)
    finally:
        sys.setprofile(None)
    assert calls / 10 <= CALLS_OF_A_REQUEST[kind]
