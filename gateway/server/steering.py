"""One UDP port for several workers: a socket for each, and the kernel decides whose a datagram is.

A record with a connection id goes to the worker that gave the id, wherever it comes from; its number stands in it
(DESIGN D8). Everything else goes by its addresses, always to the same one. That holds for as long as all sockets are
open: the kernel would give the place of a closed one to another.
"""

import ctypes
import socket
import struct
from typing import Final

from gateway.server.udp import BindError, open_socket

_SO_ATTACH_REUSEPORT_CBPF: Final = 51  # asm-generic/socket.h; the socket module has no name for it

# A record with a connection id (RFC 9146 section 4): type, version (2), epoch (2), sequence (6), id: node, worker, ...
_TLS12_CID: Final = 25
_WORKER_AT: Final = 12

_NOBODY: Final = 0xFFFFFFFF
"""No socket has this place in the group: the kernel goes by the hash of the addresses then."""

# Instructions of classic BPF, linux/bpf_common.h: code, where to go if true, if false, operand.
_LOAD_LENGTH: Final = 0x80
_LOAD_BYTE: Final = 0x30
_IF_AT_LEAST: Final = 0x35
_IF_EQUAL: Final = 0x15
_RETURN: Final = 0x06
_RETURN_LOADED: Final = 0x16

_PROGRAM: Final = (
    (_LOAD_LENGTH, 0, 0, 0),
    (_IF_AT_LEAST, 0, 4, _WORKER_AT + 1),
    (_LOAD_BYTE, 0, 0, 0),
    (_IF_EQUAL, 0, 2, _TLS12_CID),
    (_LOAD_BYTE, 0, 0, _WORKER_AT),
    (_RETURN_LOADED, 0, 0, 0),
    (_RETURN, 0, 0, _NOBODY),
)


def open_sockets(host: str, port: int, count: int) -> list[socket.socket]:
    """As many bound, non-blocking UDP sockets of one port; number n gets what carries a connection id of worker n.

    Raises:
        BindError: The address cannot be had, or this kernel cannot steer.
    """
    # Sockets that may be shared would also share with those of another gateway of the same user, and take half of its
    # devices. So the port must be free for one that may not.
    with open_socket(host, port) as alone:
        port = alone.getsockname()[1]
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            sockets.append(open_socket(host, port, shared=True))
        _steer(sockets[0])
    except BaseException:
        for each in sockets:
            each.close()
        raise
    return sockets


def _steer(udp: socket.socket) -> None:
    """Gives the whole group of a socket the program."""
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in _PROGRAM)
    kept = ctypes.create_string_buffer(code)  # the kernel copies it
    try:
        udp.setsockopt(
            socket.SOL_SOCKET,
            _SO_ATTACH_REUSEPORT_CBPF,
            struct.pack("HP", len(_PROGRAM), ctypes.addressof(kept)),
        )
    except OSError as error:
        raise BindError(
            f"server.workers: this kernel cannot share a port by connection id ({error.strerror}); "
            "set [server] workers to 1"
        ) from error
