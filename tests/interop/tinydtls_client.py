"""tinydtls by DTLSSocket as a driven client: `python -m tests.interop.tinydtls_client JSON` (see `driven`)."""

import json
import socket
import sys
from typing import Any

from DTLSSocket import dtls

_ANSWER_S = 20.0
_CONNECTED = 0x1DE
_ADDRESS = "::ffff:127.0.0.1"


class Client:
    """One device; `again` forgets all that it knew."""

    def __init__(self, wanted: dict[str, str]) -> None:
        self._wanted = wanted
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.settimeout(_ANSWER_S)
        self._udp.connect(("127.0.0.1", int(wanted["port"])))
        self._events: list[int] = []
        self._received: list[bytes] = []
        self._dtls: Any = None
        self._session: Any = None

    def connect(self) -> str:
        identity = self._wanted["identity"].encode()
        self._events.clear()
        self._silent = True  # those of before would say goodbye
        self._session = self._dtls = None
        self._silent = False
        self._dtls = dtls.DTLS(
            read=self._on_data,
            write=self._on_datagram,
            event=self._on_event,
            pskId=identity,
            pskStore={identity: bytes.fromhex(self._wanted["key"])},
        )
        self._session = self._dtls.connect(_ADDRESS, int(self._wanted["port"]), 0, 0)
        while _CONNECTED not in self._events:
            self._receive()
        return "connected"

    def exchange(self, data: str) -> str:
        self._dtls.write(self._session, bytes.fromhex(data))
        while not self._received:
            self._receive()
        return f"data {self._received.pop().hex()}"

    def close(self) -> None:
        self._dtls.close(self._session)

    def _receive(self) -> None:
        self._dtls.handleMessage(self._session, self._udp.recv(4096))

    def _on_datagram(self, _address: object, data: bytes) -> int:
        return len(data) if self._silent else self._udp.send(data)

    def _on_data(self, _address: object, data: bytes) -> int:
        self._received.append(bytes(data))
        return len(data)

    def _on_event(self, _level: int, code: int) -> int:
        self._events.append(code)
        return 0


def run(wanted: dict[str, str]) -> None:
    client = Client(wanted)
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        print(client.exchange(argument) if command == "exchange" else client.connect(), flush=True)
    client.close()


if __name__ == "__main__":
    run(json.loads(sys.argv[1]))
