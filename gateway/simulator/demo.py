"""`gateway demo`: a whole gateway in a temporary folder, with two devices that talk to it."""

import asyncio
import contextlib
import math
import secrets
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from gateway.config import Settings, load_settings
from gateway.handlers import App, Changed, Request, load_handlers
from gateway.identity import trust_ca
from gateway.model import AuthKind
from gateway.pki import DevelopmentPki, issue_device, write_certified_key, write_development_pki
from gateway.registry import open_registry
from gateway.server import BindError, Bound, Worker
from gateway.simulator.device import DeviceError, DeviceIdentity, SimulatedDevice
from gateway.simulator.identities import certified

_HOST = "127.0.0.1"
_DEFAULT_PORTS = (5684, 9464)
_PSK_DEVICE = "demo-psk"
_CERTIFICATE_DEVICE = "demo-cert"
_GUEST = "demo-guest"
_INTERVAL_S = 1.0

Print = Callable[[str], None]


async def run_demo(port: int | None, metrics_port: int | None, duration_s: float | None, say: Print) -> None:
    """Runs until the time is over, or SIGINT or SIGTERM.

    Args:
        port: UDP port; None for 5684, or a free one when that is taken.
        metrics_port: TCP port of the metrics; None for 9464, or a free one.
        duration_s: Seconds; None for no end.
        say: Gets each line of output.

    Raises:
        BindError: A port that was asked for cannot be had.
    """
    with tempfile.TemporaryDirectory(prefix="gateway-demo-") as name:
        folder = Path(name)
        key = secrets.token_hex(8)  # 16 ASCII characters: coap-client takes its key as text
        pki = _prepare(folder, key)
        app = _app(say)
        async with contextlib.AsyncExitStack() as stack:
            worker, bound = await _serve(stack, folder, app, port, metrics_port)
            say(_introduction(bound, folder, key))
            psk = DeviceIdentity(_PSK_DEVICE, psk_identity=_PSK_DEVICE.encode(), psk=key.encode())
            certificate = certified(_CERTIFICATE_DEVICE, issue_device(pki.intermediate, _CERTIFICATE_DEVICE))
            devices = [
                asyncio.create_task(_talk(psk, bound.udp.port, "temperature", 21.0, say)),
                asyncio.create_task(_talk(certificate, bound.udp.port, "humidity", 45.0, say)),
            ]
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(duration_s):
                        await worker.wait()
            finally:
                for device in devices:
                    device.cancel()
                await asyncio.gather(*devices, return_exceptions=True)


def _prepare(folder: Path, key: str) -> DevelopmentPki:
    """The PKI, and a registry with one PSK device and one trusted factory root; no certificate device is in it."""
    pki = write_development_pki(folder)
    guest = issue_device(pki.intermediate, _GUEST)
    write_certified_key(guest, folder / "guest.pem", folder / "guest.key")
    with open_registry(f"sqlite:///{folder / 'registry.db'}", create=True) as registry:
        registry.add_psk_device(_PSK_DEVICE, _PSK_DEVICE.encode(), key.encode())
        # The intermediate too: many clients send their own certificate alone.
        ca = [pki.root.certificate, pki.intermediate.certificate]
        trust_ca(registry, ca, policy={"provision": "active"})
    return pki


def _app(say: Print) -> App:
    """The built-in `time` and `echo`, and a telemetry handler that shows what arrives."""
    app = load_handlers(["time", "echo"])

    @app.post("/telemetry/{stream}")
    def show(request: Request, stream: str) -> Changed:
        proof = "certificate" if request.principal.auth is AuthKind.X509 else "pre-shared key"
        clock = datetime.now(UTC).strftime("%H:%M:%S")
        payload = request.payload.decode("utf-8", "backslashreplace")
        text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in payload)
        say(f"{clock}  {request.device.id:<11} {proof:<15} {stream} = {text}")
        return Changed()

    return app


async def _serve(
    stack: contextlib.AsyncExitStack, folder: Path, app: App, port: int | None, metrics_port: int | None
) -> tuple[Worker, Bound]:
    wanted = (_DEFAULT_PORTS[0] if port is None else port, _DEFAULT_PORTS[1] if metrics_port is None else metrics_port)
    free = (0 if port is None else port, 0 if metrics_port is None else metrics_port)
    try:
        worker = Worker(_settings(folder, *wanted), app=app)
        return worker, await stack.enter_async_context(worker)
    except BindError:
        if free == wanted:
            raise
        # A gateway may be running already; the demo takes other ports rather than giving up.
        worker = Worker(_settings(folder, *free), app=app)
        return worker, await stack.enter_async_context(worker)


def _settings(folder: Path, port: int, metrics_port: int) -> Settings:
    return load_settings(
        None,
        {
            "server.bind": f"{_HOST}:{port}",
            "admin.bind": f"{_HOST}:{metrics_port}",
            "registry.url": f"sqlite:///{folder / 'registry.db'}",
            "dtls.certificate": str(folder / "server.pem"),
            "dtls.private_key": str(folder / "server.key"),
        },
        environ={},
    )


async def _talk(identity: DeviceIdentity, port: int, stream: str, level: float, say: Print) -> None:
    """One device: connects and posts a number a second, for ever."""
    try:
        async with SimulatedDevice(identity, _HOST, port, server_name="localhost") as device:
            number = 0
            while True:
                value = level + math.sin(number / 5)
                await device.post(f"telemetry/{stream}", f"{value:.1f}".encode())
                number += 1
                await asyncio.sleep(_INTERVAL_S)
    except DeviceError as error:
        say(f"{identity.name} stopped: {error}")


def _introduction(bound: Bound, folder: Path, key: str) -> str:
    port = bound.udp.port
    url, named = f"coaps://{_HOST}:{port}", f"coaps://localhost:{port}"
    guest = f"-c {folder}/guest.pem -j {folder}/guest.key -C {folder}/root.pem"
    openssl_guest = f"-cert {folder}/guest.pem -cert_chain {folder}/guest.pem -key {folder}/guest.key"
    return f"""
The gateway listens on {bound.udp} (CoAP over DTLS 1.2), metrics are at http://{bound.admin}/metrics

Two simulated devices post telemetry every second. {_PSK_DEVICE} has a pre-shared key that the registry knows.
{_CERTIFICATE_DEVICE} has a certificate from a factory whose root is trusted; nobody registered it.

Join them from another terminal (Debian: apt install libcoap3-bin openssl). With the pre-shared key:

  coap-client-openssl -m get -u {_PSK_DEVICE} -k {key} {url}/time
  coap-client-openssl -m post -e 23.5 -u {_PSK_DEVICE} -k {key} {url}/telemetry/outside
  openssl s_client -dtls1_2 -connect {_HOST}:{port} -psk_identity {_PSK_DEVICE} -psk {key.encode().hex()} \\
      -cipher 'PSK-AES128-CCM8:@SECLEVEL=0' -quiet

With the certificate of a device that nobody registered either:

  coap-client-openssl -m get {guest} {named}/time
  coap-client-openssl -m post -e 47.1 {guest} {named}/telemetry/cellar
  openssl s_client -dtls1_2 -connect {_HOST}:{port} -servername localhost -CAfile {folder}/root.pem \\
      -verify_return_error {openssl_guest} -cipher ECDHE-ECDSA-AES128-GCM-SHA256

Stop with Ctrl-C. What arrives:
"""
