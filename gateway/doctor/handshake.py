"""A handshake with itself: the configured certificates and suites, over a real socket, by the simulated device."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from gateway.doctor.findings import Finding, ok, problem
from gateway.doctor.limits import HANDSHAKE_S
from gateway.dtls import (
    CertificatePresented,
    Credential,
    HandshakeFailed,
    PskRequested,
    ServerConfig,
    ServerEndpoint,
    ServerParameters,
    SigningKey,
)
from gateway.dtls.crypto import SUITES, KeyExchange
from gateway.pki import create_root, issue_device
from gateway.server.limits import MAX_DATAGRAM
from gateway.server.udp import open_socket
from gateway.simulator import DeviceError, DeviceIdentity, SimulatedDevice

_HOST: Final = "127.0.0.1"
_NAME: Final = "gateway-doctor"
_CERTIFIED: Final = frozenset({KeyExchange.ECDHE_ECDSA, KeyExchange.ECDHE_RSA})


async def handshakes(config: ServerConfig) -> list[Finding]:
    """One with a pre-shared key and one with a certificate, as far as the configuration allows them.

    Args:
        config: What the gateway's engine would go by. The keys of the devices are made here, and known nowhere else.
    """
    key = os.urandom(16)
    by_key = DeviceIdentity(_NAME, psk_identity=_NAME.encode(), psk=key)
    made = issue_device(create_root(f"{_NAME} root"), _NAME)
    by_certificate = DeviceIdentity(
        _NAME, credential=Credential(tuple(made.presented_der), SigningKey(made.private_key))
    )
    certified, shared = _kinds(config.parameters)
    found = []
    async with _server(config, key) as (port, failures):
        for check, possible, identity in (
            ("handshake by key", shared, by_key),
            ("handshake by certificate", certified, by_certificate),
        ):
            found.append(await _try(check, identity, port, failures) if possible else _impossible(check))
    return found


def _kinds(parameters: ServerParameters) -> tuple[bool, bool]:
    """Whether there are suites for certificates, and for pre-shared keys."""
    kinds = {SUITES[number].key_exchange for number in parameters.usable_suites}
    return bool(kinds & _CERTIFIED), bool(kinds - _CERTIFIED)


def _impossible(check: str) -> Finding:
    return ok(check, "not tried: the configuration has no suite for it that its certificates allow")


async def _try(check: str, identity: DeviceIdentity, port: int, failures: list[str]) -> Finding:
    device = SimulatedDevice(identity, _HOST, port)
    failures.clear()
    try:
        async with asyncio.timeout(HANDSHAKE_S), device:
            suite = device.connection.association.suite if device.connection and device.connection.association else None
            return ok(check, f"done, with {suite.name if suite is not None else 'no suite'}")
    except (DeviceError, TimeoutError) as error:
        said = failures[-1] if failures else str(error) or "no answer"
        return problem(check, said, "correct [dtls]; if it looks right, please report this")


@asynccontextmanager
async def _server(config: ServerConfig, key: bytes) -> AsyncIterator[tuple[int, list[str]]]:
    """An endpoint that lets in whoever has the key, or the key of its certificate. Gives its port, and what failed."""
    loop = asyncio.get_running_loop()
    endpoint = ServerEndpoint(config, os.urandom)
    udp = open_socket(_HOST, 0)
    failures: list[str] = []

    def answer(now: float) -> None:
        while (event := endpoint.next_event()) is not None:
            if isinstance(event, PskRequested):
                endpoint.provide_psk(event.handshake, key, now)
            elif isinstance(event, CertificatePresented):
                endpoint.certificate_verdict(event.handshake, None, now)
            elif isinstance(event, HandshakeFailed):
                failures.append(f"{event.reason}: {event.detail}")
        for datagram, address in endpoint.datagrams_to_send():
            udp.sendto(datagram, address)

    def on_readable() -> None:
        now = loop.time()
        datagram, address = udp.recvfrom(MAX_DATAGRAM)
        endpoint.receive_datagram(datagram, address, now)
        answer(now)

    loop.add_reader(udp, on_readable)
    try:
        yield udp.getsockname()[1], failures
    finally:
        loop.remove_reader(udp)
        udp.close()
