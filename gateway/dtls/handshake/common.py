"""What the two drivers share: the outbox that numbers messages, and the keys that the handshake has come to."""

from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.dtls.association import Association
from gateway.dtls.connection_id import ConnectionIds, associate
from gateway.dtls.cookie import Address
from gateway.dtls.crypto import Hmac, Suite
from gateway.dtls.handshake.key_schedule import traffic_keys
from gateway.dtls.handshake.transcript import Transcript
from gateway.dtls.messages.framing import HandshakeMessage
from gateway.dtls.numbers import HandshakeType
from gateway.dtls.sizes import UNLIMITED, RecordSizes, with_inner_type

Random = Callable[[int], bytes]
"""Gives that many bytes of cryptographic quality."""


KeyLog = Callable[[bytes, bytes], None]
"""Takes a client's random and the master secret that goes with it: all that it takes to read the session."""


@dataclass(slots=True)
class SessionKeys:
    """What a handshake has come to.

    Attributes:
        secret: The master secret, 48 bytes.
        master: Keyed with it.
        association: With the traffic keys; not in use before the peer's Finished has verified.
    """

    secret: bytes = field(repr=False)
    master: Hmac = field(repr=False)
    association: Association


@dataclass(slots=True)
class Randoms:
    """Both hellos' randoms, 32 bytes each."""

    client: bytes
    server: bytes


def server_side(
    address: Address, suite: Suite, master: bytes, randoms: Randoms, ids: ConnectionIds | None = None
) -> SessionKeys:
    keyed = Hmac(master, suite.hash)
    keys = traffic_keys(suite, keyed, randoms.client, randoms.server)
    directions = (keys.client_key, keys.client_iv, keys.server_key, keys.server_iv)
    association = associate(address, suite, directions, ids)
    return SessionKeys(master, keyed, association)


def client_side(
    address: Address, suite: Suite, master: bytes, randoms: Randoms, ids: ConnectionIds | None = None
) -> SessionKeys:
    keyed = Hmac(master, suite.hash)
    keys = traffic_keys(suite, keyed, randoms.client, randoms.server)
    directions = (keys.server_key, keys.server_iv, keys.client_key, keys.client_iv)
    association = associate(address, suite, directions, ids)
    return SessionKeys(master, keyed, association)


class Outbox:
    """Messages of the flight that is being prepared, numbered and entered into the transcript as they are added.

    Attributes:
        next_seq: message_seq of the next message.
        sizes: What the hellos settled for records, from the ServerHello on.
    """

    __slots__ = ("_items", "_transcript", "next_seq", "sizes")

    def __init__(self, transcript: Transcript, next_seq: int) -> None:
        self._transcript = transcript
        self._items: list[HandshakeMessage | None] = []
        self.next_seq = next_seq
        self.sizes: RecordSizes = UNLIMITED

    def add(self, message_type: HandshakeType, body: bytes) -> None:
        message = HandshakeMessage.of(message_type, self.next_seq, body)
        self.next_seq += 1
        self._transcript.add(message)
        self._items.append(message)

    def add_change_cipher_spec(self) -> None:
        self._items.append(None)

    def take(self) -> list[HandshakeMessage | None]:
        items, self._items = self._items, []
        return items


def settled(keys: SessionKeys, randoms: Randoms, outbox: Outbox, key_log: KeyLog | None) -> SessionKeys:
    """The same keys: told to who logs them, and the association's records as large as the hellos settled."""
    if key_log is not None:
        key_log(randoms.client, keys.secret)
    association = keys.association
    association.sizes = with_inner_type(outbox.sizes) if association.peer_cid else outbox.sizes
    return keys
