"""Whose socket the kernel puts a datagram into: the program against the real kernel."""

import errno
import os
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway.server.steering import open_sockets
from gateway.server.udp import BindError, open_socket

# RFC 9146 section 4, by hand: type, version, epoch, sequence, connection id, length, something encrypted.
CID_RECORD = b"\x19\xfe\xfd" + b"\0\x01" + b"\0" * 5 + b"\x07" + b"%b" + b"\0\x10" + b"e" * 16


@contextmanager
def group(host: str, count: int) -> Iterator[list[socket.socket]]:
    sockets = open_sockets(host, 0, count)
    yield sockets
    for each in sockets:
        each.close()


def receivers(sockets: list[socket.socket]) -> list[int]:
    """Who has got a datagram, and takes them."""
    found = []
    for number, each in enumerate(sockets):
        while True:
            try:
                each.recv(2000)
            except BlockingIOError:
                break
            found.append(number)
    return found


@pytest.mark.parametrize(("host", "sender"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1")])
def test_a_connection_id_wins_over_the_address_and_everything_else_goes_by_it(host: str, sender: str) -> None:
    workers = 3
    with group(host, workers) as sockets:
        port = sockets[0].getsockname()[1]
        assert {each.getsockname()[1] for each in sockets} == {port}
        by_address: Counter[int] = Counter()
        for _ in range(60):
            family = socket.AF_INET6 if ":" in sender else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as device:
                device.connect((sender, port))

                def went(data: bytes, device: socket.socket = device) -> int:
                    device.send(data)
                    (number,) = receivers(sockets)
                    return number

                home = went(b"\x16\xfe\xfd" + bytes(60))
                by_address[home] += 1
                for worker in range(workers):
                    assert went(CID_RECORD % bytes((0, worker, 1, 2, 3, 4, 5, 6))) == worker
                # An id of nobody, one that is cut off, and no record at all are nobody's: by the address.
                for other in (CID_RECORD % bytes((0, 200, 1, 2, 3, 4, 5, 6)), b"\x19\xfe\xfd", b"", CID_RECORD[:12]):
                    assert went(other) == home
        assert set(by_address) == set(range(workers))


def test_the_last_worker_that_an_id_can_name() -> None:
    with group("127.0.0.1", 256) as sockets, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        device.connect(sockets[0].getsockname())
        device.send(CID_RECORD % bytes((0, 255, 1, 2, 3, 4, 5, 6)))
        assert receivers(sockets) == [255]


def test_a_port_is_not_shared_with_another_gateway() -> None:
    with group("127.0.0.1", 2) as sockets:
        port = sockets[0].getsockname()[1]
        with pytest.raises(BindError, match="stop the other process"):
            open_sockets("127.0.0.1", port, 2)
        with pytest.raises(BindError, match="stop the other process"):
            open_socket("127.0.0.1", port)
    with open_socket("127.0.0.1", port), pytest.raises(BindError, match="stop the other process"):
        open_sockets("127.0.0.1", port, 2)
    for each in open_sockets("127.0.0.1", port, 2):
        each.close()


def test_a_kernel_that_cannot_steer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.server.steering._PROGRAM", ((0x06, 0, 0, 0), (0xFF, 0, 0, 0)))
    with pytest.raises(BindError, match=r"set \[server\] workers to 1"):
        open_sockets("127.0.0.1", 0, 2)


def test_a_port_for_the_superuser_is_refused_with_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    def bind(_: socket.socket, address: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(socket.socket, "bind", bind)
    with pytest.raises(BindError, match=r"^server\.bind 127\.0\.0\.1:684: .*CAP_NET_BIND_SERVICE"):
        open_socket("127.0.0.1", 684)
