"""Hostile datagrams of every kind, over loopback: `python -m tests.security.hostile PORT COUNT A_SECOND [SEED]`.

Most are from strangers. Some are from attackers that show their address and then abandon, break or flood the handshake
that they have begun. It sends COUNT datagrams and no more, at a steady pace, to 127.0.0.1 only, and prints how many of
each kind.
"""

import os
import random
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from tests.dtls.rawclient import ALERT, CCS, DATA, HANDSHAKE, RawClient, default_extensions, handshake, raw_record
from tests.dtls.support import device
from tests.server.support import PSK, PSK_IDENTITY

SOCKETS = 200
MAX_24 = (1 << 24) - 1
BURST = 10
"""Datagrams sent in one go, so that the kernel's queue is never what loses the honest ones."""


class Attacker:
    """One address, and perhaps a handshake that it has begun."""

    def __init__(self, port: int, number: int, source: random.Random) -> None:
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind((f"127.{9 + number // 62_500}.{number // 250 % 250}.{1 + number % 250}", 0))
        self.udp.connect(("127.0.0.1", port))
        self.udp.setblocking(False)
        self.source = source
        self.queue: list[bytes] = []
        self.client = RawClient()
        self.begin()

    def begin(self) -> None:
        suite = self.source.choice((0xC0A8, 0xC0A8, 0xC0A8, 0xC0AE))
        identity, key = self.source.choice(((PSK_IDENTITY, bytes(16)), (b"nobody\x00", PSK), (b"\xff" * 200, PSK)))
        self.client = RawClient(
            suites=(suite,), identity=identity, psk=key, device=device(), random=self.source.randbytes(32)
        )

    def read(self) -> None:
        while True:
            try:
                datagram = self.udp.recv(65535)
            except OSError:
                return
            try:
                self.client.read([datagram])
            except Exception:  # an attacker need not understand what it gets
                self.begin()

    # --- kinds -----------------------------------------------------------------------------------------------------

    def hello(self) -> bytes:
        self.begin()
        return self.client.hello()

    def guessed_cookie(self) -> bytes:
        self.begin()
        self.client.cookie = self.source.randbytes(self.source.choice((1, 16, 32, 255)))
        return self.client.hello()

    def strange_hello(self) -> bytes:
        self.begin()
        number = self.source.choice((1, 13, 19, 20, 28, 35, 54, 61, 0xFF01, 0x1A1A))
        self.client.extensions = {**default_extensions(), number: self.source.randbytes(self.source.randrange(40))}
        return self.client.hello()

    def next_step(self) -> bytes:
        """A handshake with a wrong key, to its end; each datagram of it is one."""
        self.read()
        client = self.client
        if self.queue:
            return self.queue.pop(0)
        if client.server_hello is not None and client.write_keys is None and client.messages[-1][0] == 14:
            with suppress(AssertionError):  # it missed what went to the handshake before
                self.queue = client.answer_flight()
                return self.queue.pop(0)
            self.begin()
        if self.client.write_keys is not None:
            self.begin()
        return self.client.hello()

    def abandoned(self) -> bytes:
        """Shows its address and never answers."""
        self.read()
        if self.client.server_hello is not None or not self.client.cookie:
            self.begin()
        return self.client.hello()

    def bytes_of_chance(self) -> bytes:
        return self.source.randbytes(self.source.randrange(1, 200))

    def record_of_chance(self) -> bytes:
        kind = self.source.choice((CCS, ALERT, HANDSHAKE, DATA, 24, 25, 26, 27, self.source.randrange(256)))
        number = self.source.choice((0, 1, 2, 0xFFFF)) << 48 | self.source.randrange(1 << 40)
        return raw_record(kind, number, self.source.randbytes(self.source.randrange(80)))

    def guessed_connection_id(self) -> bytes:
        head = b"\x19\xfe\xfd" + (1 << 48 | self.source.randrange(1 << 20)).to_bytes(8, "big")
        body = self.source.randbytes(40)
        return head + self.source.randbytes(8) + len(body).to_bytes(2, "big") + body

    def plain_data(self) -> bytes:
        return raw_record(DATA, self.source.randrange(99), b"\x40\x01\x00\x01")

    def alert(self) -> bytes:
        return raw_record(ALERT, self.source.randrange(99), self.source.choice((b"\x02\x28", b"\x01\x00", b"\x02")))

    def change_cipher_spec(self) -> bytes:
        return raw_record(CCS, self.source.randrange(99), b"\x01")

    def forged_finished(self) -> bytes:
        return raw_record(HANDSHAKE, 1 << 48 | self.source.randrange(4), self.source.randbytes(40))

    def plain_finished(self) -> bytes:
        return raw_record(HANDSHAKE, 9, handshake(20, 2, bytes(12)))

    def fragment(self) -> bytes:
        """Of a message now or soon: it disagrees, overlaps, underflows, or claims 16 megabytes."""
        length = self.source.choice((0, 50, 9000, 16_000, MAX_24))
        offset = self.source.choice((0, 10, length, self.source.randrange(MAX_24)))
        body = self.source.randbytes(self.source.choice((0, 1, 60)))
        head = bytes((self.source.choice((1, 11, 15, 16)),)) + length.to_bytes(3, "big")
        head += self.source.randrange(1, 9).to_bytes(2, "big") + offset.to_bytes(3, "big")
        size = self.source.choice((len(body), len(body), MAX_24))
        return raw_record(HANDSHAKE, self.source.randrange(200), head + size.to_bytes(3, "big") + body)

    def many_records(self) -> bytes:
        return raw_record(self.source.choice((CCS, ALERT, HANDSHAKE, DATA)), 3, b"") * 60

    def future(self) -> bytes:
        return raw_record(DATA, self.source.randrange(1, 9) << 48 | self.source.randrange(99), bytes(400))


KINDS: tuple[tuple[int, Callable[[Attacker], bytes]], ...] = (
    (10, Attacker.hello),
    (5, Attacker.guessed_cookie),
    (5, Attacker.strange_hello),
    (20, Attacker.next_step),
    (5, Attacker.abandoned),
    (5, Attacker.bytes_of_chance),
    (10, Attacker.record_of_chance),
    (5, Attacker.guessed_connection_id),
    (3, Attacker.plain_data),
    (3, Attacker.alert),
    (3, Attacker.change_cipher_spec),
    (5, Attacker.forged_finished),
    (2, Attacker.plain_finished),
    (10, Attacker.fragment),
    (4, Attacker.many_records),
    (5, Attacker.future),
)
"""How many of a hundred, and what."""


def attack(port: int, count: int, a_second: float, seed: int = 1) -> Counter[str]:
    """Sends that many datagrams; returns how many of each kind."""
    source = random.Random(seed)
    attackers = [Attacker(port, number, source) for number in range(SOCKETS)]
    weights, kinds = zip(*KINDS, strict=True)
    sent: Counter[str] = Counter()
    begun = time.monotonic()
    for number in range(count):
        attacker = source.choice(attackers)
        (kind,) = source.choices(kinds, weights)
        attacker.udp.send(kind(attacker))
        sent[kind.__name__] += 1
        if number % BURST == 0:
            time.sleep(max(0.0, begun + number / a_second - time.monotonic()))
    for attacker in attackers:
        attacker.udp.close()
    return sent


if __name__ == "__main__":
    os.nice(10)  # attackers have machines of their own: it is not their use of this one that is measured
    for name, total in attack(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), *map(int, sys.argv[4:])).items():
        print(name, total)
