"""What `tests.bench.guard` counts, run by it under valgrind: recorded datagrams through a gateway without sockets.

    python -m tests.bench.counted FOLDER

Everything is prepared once. Then each piece of work is done in a fork of its own, whose instructions valgrind writes to
a file of its own: what two forks differ by is the work that they differ by, and nothing else. FOLDER/forks says which
process did what, one a line: its number, the kind of work, how many rounds.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from gateway.server.session import Session
from tests.bench.replay import DEVICES, Recording, Server, prepared

ROUNDS = {"psk": (40, 200), "certificate": (40, 140), "request": (400, 2400), "yardstick": (40, 140)}
"""Rounds by kind of work, of the shorter fork and the longer one."""


def handshakes(server: Server, recordings: list[Recording], rounds: int) -> None:
    """Handshake, request, closing."""
    for number in range(rounds):
        server.replay(number % DEVICES, recordings[number % DEVICES])
    if server.completed != rounds:
        raise SystemExit(f"{server.completed} of {rounds} handshakes completed: the recording does not fit")


def requests(server: Server, recordings: list[Recording], rounds: int) -> None:
    """Requests of one session. To take a record again, the window is set back; to answer a message again, the ring."""
    address, turns = recordings[0]
    server.random.position = 0
    answers: list[bytes] = []
    for datagrams in turns[:-1]:  # the last one closes
        answers = server.serve(datagrams, address)
    [request], [expected] = turns[-2], answers
    association = server.endpoint.associations[address]
    session = association.context
    if not isinstance(session, Session) or session.ring is None:
        raise SystemExit("the recorded device has no session with requests")
    read = association._newest - 1, association._window >> 1
    for _ in range(rounds):
        association._newest, association._window = read
        session.ring.clear()
        [answer] = server.serve([request], address)
        if len(answer) != len(expected):
            raise SystemExit("a request was not answered as it was recorded")


class _Point:
    __slots__ = ("name", "value")

    def __init__(self, name: bytes, value: int) -> None:
        self.name = name
        self.value = value

    def moved(self, by: int) -> "_Point":
        return _Point(self.name[1:] + self.name[:1], self.value + by & 0xFFFF)


def yardstick(rounds: int) -> None:
    """What does not change with our source: Python for three fifths, and calls of `cryptography` as in a handshake."""
    cipher, keyed = AESCCM(bytes(16), tag_length=8), hmac.HMAC(bytes(32), hashes.SHA256())
    for _ in range(rounds):
        table: dict[int, _Point] = {}
        point = _Point(b"yardstick", 1)
        for step in range(100):
            point = point.moved(step)
            if point.value not in table:
                table[point.value] = point
            if step % 3 == 0:
                text = b"%b%c%b" % (point.name, step & 0xFF, point.value.to_bytes(2))
                point.value = int.from_bytes(text[-2:]) ^ len([entry for entry in (text, point.name) if entry])
            if step % 4 == 0:
                sealed = cipher.encrypt(step.to_bytes(12), point.name, b"")
                context = keyed.copy()
                context.update(sealed)
                point.value ^= context.finalize()[0]


def main() -> int:
    folder = Path(sys.argv[1])
    with (
        prepared("psk") as (psk_server, psk),
        prepared("certificate") as (certificate_server, certificates),
        (folder / "forks").open("w", buffering=1) as forks,
    ):
        work: dict[str, Callable[[int], None]] = {
            "psk": lambda rounds: handshakes(psk_server, psk, rounds),
            "certificate": lambda rounds: handshakes(certificate_server, certificates, rounds),
            "request": lambda rounds: requests(psk_server, psk, rounds),
            "yardstick": yardstick,
        }
        for kind, lengths in ROUNDS.items():
            for rounds in lengths:
                process = os.fork()
                if process == 0:
                    status = 1
                    try:
                        work[kind](rounds)
                        status = 0
                    finally:
                        os._exit(status)
                if os.waitpid(process, 0)[1]:
                    raise SystemExit(f"{rounds} rounds of {kind} failed")
                forks.write(f"{process} {kind} {rounds}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
