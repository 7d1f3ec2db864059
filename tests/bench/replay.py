"""The server's work for one handshake, one request and the closing, without sockets and without a client: recorded
datagrams are given to a gateway that draws the same random numbers as when they were recorded.

    python -m tests.bench.replay [psk|resumed|certificate] [--count 1000] [--bytecode] [--functions 30]

Prints the least time of a round in microseconds; with `--bytecode`, how many calls of Python functions and how many
instructions of bytecode a round takes, and the functions that take most: numbers that no other work on the machine
changes. What must not be the same twice is not repeated: with a certificate, the server's ephemeral key and signature
come from the recording, so that key generation, agreement and signing are not in the numbers.
"""

import argparse
import hashlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from types import CodeType, FrameType
from typing import Any
from unittest.mock import patch

from gateway.coap import Code, MessageLayer
from gateway.coap.client import Client
from gateway.config import load_settings
from gateway.dtls import (
    Address,
    ApplicationData,
    CertificatePresented,
    ClientConfig,
    ClientConnection,
    ClientParameters,
    ClientSession,
    ContentType,
    Credential,
    HandshakeCompleted,
    HandshakeFailed,
    ServerEndpoint,
    SigningKey,
)
from gateway.dtls.crypto import KeyShare, share_pool
from gateway.identity import trust_ca
from gateway.pki import issue_device, write_development_pki
from gateway.registry import open_registry
from gateway.server.device_sessions import DeviceSessions
from gateway.server.dispatch import Dispatcher
from gateway.server.failures import Failures
from gateway.server.garbage import tune_garbage_collector
from gateway.server.identities import Identities
from gateway.server.lookups import Lookups
from gateway.server.metrics import RequestMetrics, SessionMetrics
from gateway.server.sessions import Sessions
from gateway.server.watch import RegistryWatch
from gateway.server.worker import Worker
from gateway.telemetry import configure_logging

DEVICES = 20
KEY = b"secretPSKsecretP"
NOW = 1000.0
_APPLICATION_DATA = int(ContentType.APPLICATION_DATA)
_A_ROUND = 1000
"""More random numbers than a round draws."""

Recording = tuple[Address, list[list[bytes]]]
"""A device's address, and the datagrams that it sends, by turn."""


class Numbers:
    """Random numbers that come again: the same for the same position."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self.position = 0

    def __call__(self, count: int) -> bytes:
        self.position += 1
        return hashlib.shake_128(b"%b %d" % (self._seed, self.position)).digest(count)


class Server:
    """What a worker is made of, without its socket."""

    def __init__(self, worker: Worker) -> None:
        config = worker._plan.engine
        resumption = config.resumption
        if resumption is not None:
            wall = time.time()
            resumption = replace(resumption, clock=lambda: wall)
        self.random = Numbers(b"server")
        self.endpoint = ServerEndpoint(
            replace(config, cookie_secret=b"cookies' secret!", resumption=resumption), self.random
        )
        self.metrics = SessionMetrics()
        self.dispatcher = Dispatcher(
            worker.app,
            MessageLayer(random=self.random),
            RequestMetrics(),
            send=lambda session, data, now: None,
            clock=lambda: NOW,
            time_limit_s=5.0,
            max_concurrent=100,
            max_concurrent_per_device=100,
        )

        def nothing() -> None: ...

        of_devices = DeviceSessions(0)
        watch = RegistryWatch(
            worker.registry,
            worker._reads,
            worker._identity,
            self.endpoint,
            of_devices,
            flush_soon=nothing,
            clock=lambda: NOW,
            utc=time.time,
        )
        identities = Identities(
            self.endpoint, worker._identity, self.metrics, Lookups(nothing), backend="sqlite", clock=lambda: NOW
        )
        self.sessions = Sessions(
            self.endpoint, identities, self.dispatcher, self.metrics, Failures(time.time), of_devices, watch.entered
        )

    def serve(self, datagrams: list[bytes], address: Address) -> list[bytes]:
        """What `UdpServer` does with the datagrams of one wake-up, and what it would send."""
        endpoint, answers = self.endpoint, []
        for datagram in datagrams:
            association = endpoint.associations.get(address)
            if association is None or (plaintext := association.open_application(datagram)) is None:
                endpoint.rank(datagram, address, NOW)
                endpoint.receive_datagram(datagram, address, NOW)
                self.sessions.drain(NOW)
                continue
            association.last_heard = NOW
            reply = self.dispatcher.receive(association.context, plaintext, NOW)  # type: ignore[arg-type]
            if reply:
                answers.append(association.seal(_APPLICATION_DATA, reply))
        return answers + [datagram for datagram, _ in endpoint.datagrams_to_send()]

    @property
    def completed(self) -> int:
        """Handshakes."""
        handshakes = self.metrics.handshakes
        return sum(
            handshakes.value(auth, mode, "success", "none") for auth in ("psk", "x509") for mode in ("full", "resumed")
        )

    def replay(self, number: int, recording: Recording) -> None:
        address, turns = recording
        self.random.position = number * _A_ROUND
        for datagrams in turns:
            self.serve(datagrams, address)
        self.endpoint._handshakes.settled.clear()  # or the same hello would be taken for a late copy


def record(server: Server, number: int, parameters: ClientParameters) -> tuple[Recording, ClientSession | None]:
    """One handshake, one request, and the closing; and what another handshake can resume."""
    address = ("192.0.2.1", 20_000 + number)
    random = Numbers(b"client %d" % number if parameters.session is None else b"client %d again" % number)
    server.random.position = number * _A_ROUND
    connection, coap = (
        ClientConnection(ClientConfig(parameters), ("192.0.2.2", 5684), random, NOW),
        Client(random=random),
    )
    turns: list[list[bytes]] = []
    session = None
    while True:
        while (event := connection.next_event()) is not None:
            match event:
                case CertificatePresented():
                    connection.certificate_verdict(None, NOW)
                case HandshakeCompleted():
                    coap.request(Code.POST, [(11, b"echo")], b"21.5", NOW)
                    for message in coap.datagrams_to_send():
                        connection.send(message, NOW)
                case ApplicationData():
                    session = connection.session
                    connection.close(NOW)
                case HandshakeFailed():
                    raise SystemExit(f"the handshake to record has failed: {event}")
                case _:
                    pass
        datagrams = connection.datagrams_to_send()
        if not datagrams:
            return (address, turns), session
        turns.append(datagrams)
        for datagram in server.serve(datagrams, address):
            connection.receive_datagram(datagram, NOW)


class Repeated:
    """Stands for `KeyShare` in the server's pool: the keys and secrets of the recording, again and again."""

    def __init__(self) -> None:
        self._recorded: list[list[Any]] = []
        self._again: Iterator[list[Any]] | None = None

    def generate(self, group: int) -> KeyShare:
        if self._again is not None:
            group, public, secret = next(self._again)
            return KeyShare(group, public, lambda peer: secret)
        share = KeyShare.generate(group)
        entry: list[Any] = [group, share.public, b""]
        self._recorded.append(entry)

        def agree(peer: bytes) -> bytes:
            entry[2] = share.agree(peer)
            return bytes(entry[2])

        return KeyShare(group, share.public, agree)

    def replay(self) -> None:
        self._again = cycle(self._recorded)


@contextmanager
def prepared(kind: str) -> Iterator[tuple[Server, list[Recording]]]:
    """A server, and what to give it."""
    shares = Repeated()
    signatures: dict[bytes, bytes] = {}
    sign = SigningKey.sign

    def sign_once(key: SigningKey, scheme: int, data: bytes) -> bytes:
        if data not in signatures:
            signatures[data] = sign(key, scheme, data)
        return signatures[data]

    with tempfile.TemporaryDirectory() as name, patch.object(share_pool, "KeyShare", shares):
        folder = Path(name)
        pki = write_development_pki(folder / "certs")
        url = f"sqlite:///{folder / 'registry.db'}"
        with open_registry(url, create=True) as registry:
            for number in range(DEVICES):
                registry.add_psk_device(f"dev{number:05d}", b"dev%05d" % number, KEY)
            certificates = [pki.root.certificate, pki.intermediate.certificate]
            trust_ca(registry, certificates, policy={"provision": "active"})
        (folder / "gateway.toml").write_text(
            '[dtls]\ncertificate = "certs/server.pem"\nprivate_key = "certs/server.key"\n'
            f'[registry]\nurl = "{url}"\n[handlers]\nenabled = ["echo"]\n'
        )
        with (folder / "log").open("w") as log, patch.object(SigningKey, "sign", sign_once):
            configure_logging("info", "json", stream=log)
            worker = Worker(load_settings(folder / "gateway.toml"))
            device = issue_device(pki.intermediate, "bench")
            credential = Credential(tuple(device.presented_der), SigningKey(device.private_key))
            recordings = []
            server = Server(worker)
            for number in range(DEVICES):
                parameters = ClientParameters(
                    psk_identity=b"dev%05d" % number, psk=KEY, suites=(0xC0A8,), tickets=True, connection_id=None
                )
                if kind == "certificate":
                    parameters = ClientParameters(credential=credential, tickets=True, connection_id=None)
                recording, session = record(server, number, parameters)
                if kind == "resumed":
                    server.endpoint._handshakes.settled.clear()
                    recording, _ = record(server, number, replace(parameters, session=session))
                recordings.append(recording)
            shares.replay()
            tune_garbage_collector()
            try:
                yield Server(worker), recordings
            finally:
                worker.registry.close()


def count_bytecode(server: Server, recordings: list[Recording]) -> tuple[float, Counter[CodeType]]:
    """Calls of Python functions a round, and all instructions by function."""
    instructions: Counter[CodeType] = Counter()
    calls = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal calls
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        calls += event == "call"
        instructions[frame.f_code] += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for number, recording in enumerate(recordings):
            server.replay(number, recording)
    finally:
        sys.settrace(before)
    return calls / len(recordings), instructions


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("psk", "resumed", "certificate"), nargs="?", default="psk")
    parser.add_argument("--count", type=int, default=1000, help="rounds")
    parser.add_argument("--bytecode", action="store_true", help="count what the interpreter does")
    parser.add_argument("--functions", type=int, default=30, help="how many of the functions that take most to show")
    options = parser.parse_args()
    with prepared(options.kind) as (server, recordings):
        least = float("inf")
        for number in range(options.count):
            started = time.perf_counter()
            server.replay(number % DEVICES, recordings[number % DEVICES])
            least = min(least, time.perf_counter() - started)
        completed = server.completed
        if completed != options.count:
            raise SystemExit(f"{completed} of {options.count} handshakes completed: the recording does not fit")
        print(f"{options.kind}: {least * 1e6:.0f} us at least, {options.count} rounds")
        if options.bytecode:
            calls, instructions = count_bytecode(server, recordings)
            print(f"{calls:.0f} calls, {instructions.total() / DEVICES:.0f} instructions of bytecode")
            for code, count in instructions.most_common(options.functions):
                where = f"{Path(code.co_filename).name}:{code.co_firstlineno}"
                print(f"{count / DEVICES:8.0f}  {where} {code.co_qualname}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
