"""Connection ids (RFC 9146): what the two sides agree on, and an association whose records carry them.

Who offers an id asks for it in the records that it receives; no record says how long it is. So each side has ids of one
length, and finds them at a fixed place. A side that offers an empty id wants none, and still sends the other's.

`open_application` and `seal` are on the hot path, and flat like those of `association`: what an id changes is written
out, not called, and what of the associated data does not change is made once.
"""

from dataclasses import dataclass
from typing import Final

from gateway.dtls.association import Association, Opened, implicit_nonce
from gateway.dtls.association import associate as associate_by_address
from gateway.dtls.cookie import Address
from gateway.dtls.crypto import AuthenticationFailed, Suite
from gateway.dtls.errors import DropReason, SequenceExhausted
from gateway.dtls.limits import CONNECTION_ID_LENGTH, MAX_PLAINTEXT, REPLAY_WINDOW
from gateway.dtls.numbers import DTLS_1_2, ContentType
from gateway.dtls.record import RECORD_HEADER_LENGTH, Record
from gateway.dtls.wire import Reader

PROVEN: Final = -1
"""`credit` of an association whose peer is known to be where its records come from."""

_EPOCH_1: Final = 1 << 48
_TLS12_CID: Final = int(ContentType.TLS12_CID)
_APPLICATION_DATA: Final = int(ContentType.APPLICATION_DATA)
_TYPE_LENGTH: Final = 1
_WINDOW_MASK: Final = (1 << REPLAY_WINDOW) - 1
_NONCE_LENGTH: Final = 8
_TYPE_AND_VERSION: Final = b"\x19\xfe\xfd"
_TYPES: Final = tuple(bytes((content_type,)) for content_type in range(256))
# The start of the associated data, up to the record's number, by the length of the id (RFC 9146 section 5.3).
_AAD_STARTS: Final = tuple(b"%b\x19%c\x19\xfe\xfd" % (b"\xff" * 8, length) for length in range(256))

# type, version 1.2, epoch 1
_PREFIX: Final = b"\x19\xfe\xfd\x00\x01"
# Where an id of ours begins and ends; the length of the record's body follows.
_ID_AT: Final = RECORD_HEADER_LENGTH - 2
_ID_END: Final = _ID_AT + CONNECTION_ID_LENGTH
_BODY_AT: Final = _ID_END + 2
_CIPHERTEXT_AT: Final = _BODY_AT + _NONCE_LENGTH
_OUR_AAD: Final = _AAD_STARTS[CONNECTION_ID_LENGTH]


@dataclass(frozen=True, slots=True)
class ConnectionIds:
    """What a handshake has agreed on.

    Attributes:
        ours: In the records that we receive; empty for none.
        peers: In the records that we send; empty for none.
        path_check: Whether the return routability check was negotiated too (RFC 9853).
    """

    ours: bytes
    peers: bytes
    path_check: bool = False


def decode_connection_id(body: bytes) -> bytes:
    """The id in a connection_id extension (RFC 9146 section 3): 0 to 255 bytes.

    Raises:
        DecodeError: Broken syntax.
    """
    reader = Reader(body)
    cid = reader.opaque(1, 0, 255)
    reader.finish()
    return cid


def encode_connection_id(cid: bytes) -> bytes:
    return b"%c%b" % (len(cid), cid)


class IdentifiedAssociation(Association):
    """An association with a connection id in what we receive.

    Attributes:
        cid: Ours: what every protected record must carry that comes in. Empty only where the peer alone has one.
        peer_cid: The peer's: what goes out carries; empty for none.
        path_check: Whether the peer answers return routability checks (RFC 9853).
        credit: Bytes that may still be sent to where the newest record came from; `PROVEN` once that address has
            shown that it is the peer's.
        failures_elsewhere: Records from other addresses that did not authenticate.
    """

    __slots__ = ("cid", "credit", "failures_elsewhere", "path_check", "peer_cid")

    def __init__(
        self,
        address: Address,
        suite: Suite,
        read_key: bytes,
        read_iv: bytes,
        write_key: bytes,
        write_iv: bytes,
        ids: ConnectionIds,
    ) -> None:
        super().__init__(address, suite, read_key, read_iv, write_key, write_iv)
        self.cid = ids.ours
        self.failures_elsewhere = 0
        self.peer_cid = ids.peers
        self.path_check = ids.path_check
        self.credit = PROVEN

    def open_application(self, datagram: bytes) -> bytes | None:
        """As `Association.open_application`. For ids of the server's length: a client has no use for it."""
        if datagram[:5] != _PREFIX or datagram[_ID_AT:_ID_END] != self.cid:
            return None
        size = len(datagram) - _BODY_AT
        length = size - self._expansion
        if (
            not 0 < length <= self.sizes.receive + _TYPE_LENGTH
            or (datagram[_ID_END] << 8) | datagram[_ID_END + 1] != size
        ):
            return None
        ahead = int.from_bytes(datagram[3:_ID_AT]) - _EPOCH_1 - self._newest
        if ahead <= 0 and (ahead <= -REPLAY_WINDOW or self._window >> -ahead & 1):
            return None
        try:
            inner = (self._reader or self._wake_reader()).decrypt(
                self._read_iv + datagram[_BODY_AT:_CIPHERTEXT_AT],
                datagram[_CIPHERTEXT_AT:],
                _OUR_AAD + datagram[3:_ID_END] + length.to_bytes(2),
            )
        except AuthenticationFailed:
            return None
        if inner[-1] != _APPLICATION_DATA:
            inner = inner.rstrip(b"\0")
            if not inner or inner[-1] != _APPLICATION_DATA:
                return None
        if ahead == 1:  # nearly always
            self._window = (self._window << 1 | 1) & _WINDOW_MASK
            self._newest += 1
        else:
            self._accept(self._newest + ahead)
        return inner[:-1]

    def open_record(self, record: Record) -> Opened | DropReason:
        if not self.cid:
            return super().open_record(record)
        if record.content_type != _TLS12_CID:
            return DropReason.MISSING_CID  # RFC 9146 section 3: whoever strips the id gets no further
        if record.cid != self.cid:
            return DropReason.UNKNOWN_CID
        length = len(record.fragment) - self._expansion
        if not 0 < length <= MAX_PLAINTEXT + _TYPE_LENGTH:
            return DropReason.MALFORMED
        if length > self.sizes.receive + _TYPE_LENGTH:
            return DropReason.TOO_LARGE
        if not self._acceptable(record.sequence):
            return DropReason.REPLAY
        number = record.number
        nonce, ciphertext = self._nonce_and_ciphertext(number, record.fragment)
        aad = b"%b%b%b%b" % (_AAD_STARTS[len(self.cid)], number, self.cid, length.to_bytes(2))
        try:
            inner = (self._reader or self._wake_reader()).decrypt(nonce, ciphertext, aad)
        except AuthenticationFailed:
            self.authentication_failures += 1
            return DropReason.BAD_MAC
        self._accept(record.sequence)
        inner = inner.rstrip(b"\0")
        if not inner:  # RFC 9146 section 4: nothing but zeros
            return DropReason.MALFORMED
        return inner[-1], inner[:-1]


class IdentifyingAssociation(IdentifiedAssociation):
    """An association whose peer has a connection id too, or alone. A class of its own, so that the many whose peer has
    none do not pay for it."""

    __slots__ = ()

    @property
    def overhead(self) -> int:
        return super().overhead + len(self.peer_cid) + _TYPE_LENGTH

    def seal(self, content_type: int, plaintext: bytes) -> bytes:
        """As `Association.seal`; the type goes into the record with the content."""
        number = self._write_number
        if number >= self._last_number:
            raise SequenceExhausted
        self._write_number = number + 1
        cid = self.peer_cid
        explicit = number.to_bytes(8)
        place = explicit + cid
        length = len(plaintext) + _TYPE_LENGTH
        return (
            _TYPE_AND_VERSION
            + place
            + (length + self._expansion).to_bytes(2)
            + explicit
            + (self._writer or self._wake_writer()).encrypt(
                self._write_iv + explicit,
                plaintext + _TYPES[content_type],
                _AAD_STARTS[len(cid)] + place + length.to_bytes(2),
            )
        )


class ImplicitNonceIdentifiedAssociation(IdentifiedAssociation):
    """The same for suites whose nonce does not travel (RFC 7905 section 2)."""

    __slots__ = ()

    def open_application(self, datagram: bytes) -> bytes | None:
        """As `Association.open_application`."""
        body = datagram[_BODY_AT:]
        if datagram[:5] != _PREFIX or int.from_bytes(datagram[_ID_END:_BODY_AT]) != len(body):
            return None
        record = Record(_TLS12_CID, DTLS_1_2, int.from_bytes(datagram[3:_ID_AT]), body, datagram[_ID_AT:_ID_END])
        before = self._newest, self._window, self.authentication_failures
        opened = self.open_record(record)
        if not isinstance(opened, DropReason) and opened[0] == _APPLICATION_DATA:
            return opened[1]
        self._newest, self._window, self.authentication_failures = before  # the endpoint looks at it again
        return None

    def seal(self, content_type: int, plaintext: bytes) -> bytes:
        """As `Association.seal`."""
        return self._seal_with_implicit_nonce(content_type, plaintext)

    def _nonce_and_ciphertext(self, number: bytes, fragment: bytes) -> tuple[bytes, bytes]:
        return implicit_nonce(self._read_iv, int.from_bytes(number)), fragment


class ImplicitNonceIdentifyingAssociation(ImplicitNonceIdentifiedAssociation):
    """The same with an id of the peer."""

    __slots__ = ()

    @property
    def overhead(self) -> int:
        return super().overhead + len(self.peer_cid) + _TYPE_LENGTH

    def seal(self, content_type: int, plaintext: bytes) -> bytes:
        """As `Association.seal`."""
        number = self._write_number
        if number >= self._last_number:
            raise SequenceExhausted
        self._write_number = number + 1
        cid = self.peer_cid
        place = number.to_bytes(8) + cid
        length = len(plaintext) + _TYPE_LENGTH
        nonce = implicit_nonce(self._write_iv, number)
        aad = _AAD_STARTS[len(cid)] + place + length.to_bytes(2)
        body = (self._writer or self._wake_writer()).encrypt(nonce, plaintext + _TYPES[content_type], aad)
        return _TYPE_AND_VERSION + place + len(body).to_bytes(2) + body


def associate(
    address: Address, suite: Suite, keys: tuple[bytes, bytes, bytes, bytes], ids: ConnectionIds | None
) -> Association:
    """A new association, of the class that nonces and ids call for.

    Args:
        address: The peer's.
        suite: The suite.
        keys: Key and IV for reading, key and IV for writing.
        ids: None where no extension was negotiated.
    """
    if ids is None or not (ids.ours or ids.peers):
        return associate_by_address(address, suite, *keys)
    if suite.explicit_nonce_length:
        return (IdentifyingAssociation if ids.peers else IdentifiedAssociation)(address, suite, *keys, ids)
    kind = ImplicitNonceIdentifyingAssociation if ids.peers else ImplicitNonceIdentifiedAssociation
    return kind(address, suite, *keys, ids)
