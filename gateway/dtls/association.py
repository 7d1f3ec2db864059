"""One established session: the keys of epoch 1, the replay window, who is behind it.

This is the hot path: a datagram in, plaintext out, and back. It is written flat on purpose: plain slotted class, ints,
no reader objects, no enums, no exceptions but the one of the cipher. An association holds no task, timer or socket, so
that it can be moved (DESIGN D9).

Only epoch 1 exists: renegotiation is refused, and a new handshake makes a new association.
"""

from functools import lru_cache
from struct import Struct
from typing import Final

from gateway.dtls.cookie import Address
from gateway.dtls.crypto import Aead, AuthenticationFailed, Suite
from gateway.dtls.errors import DropReason, SequenceExhausted
from gateway.dtls.limits import MAX_PLAINTEXT, REPLAY_WINDOW
from gateway.dtls.record import RECORD_HEADER_LENGTH, Record
from gateway.dtls.sizes import UNLIMITED

Opened = tuple[int, bytes]
"""Content type and content of a record."""

_EPOCH_1: Final = 1 << 48
_NONCE_LENGTH: Final = 8
_CIPHERTEXT_AT: Final = RECORD_HEADER_LENGTH + _NONCE_LENGTH
_WINDOW_MASK: Final = (1 << REPLAY_WINDOW) - 1

# type, version 1.2, epoch 1
_APPLICATION_DATA_PREFIX: Final = b"\x17\xfe\xfd\x00\x01"

# type, version: as they stand in the associated data
_APPLICATION_DATA: Final = b"\x17\xfe\xfd"

_pack_header: Final = Struct(">BHQHQ").pack
"""Record header and explicit nonce: type, version, number, length, number again (RFC 6655 section 3)."""
_pack_bare_header: Final = Struct(">BHQH").pack
"""Record header of a suite whose nonce does not travel (RFC 7905 section 2)."""
_pack_aad: Final = Struct(">QBHH").pack
"""Associated data: number, type, version, plaintext length (RFC 5246 section 6.2.3.3)."""


@lru_cache(4)
def _last_number(record_limit: int) -> int:
    """One integer for all associations: each would hold its own otherwise."""
    return _EPOCH_1 + record_limit


def associate(
    address: Address, suite: Suite, read_key: bytes, read_iv: bytes, write_key: bytes, write_iv: bytes
) -> "Association":
    """A new association, of the class that the suite's nonces call for."""
    kind = Association if suite.explicit_nonce_length else ImplicitNonceAssociation
    return kind(address, suite, read_key, read_iv, write_key, write_iv)


class Association:
    """Records with an explicit nonce: AES-CCM (RFC 6655 section 3) and AES-GCM (RFC 5288 section 3).

    Attributes:
    address: Where the newest authenticated record came from, and where records go.
    context: The shell's own object for this session; the engine never looks at it.
    authentication_failures: Records that did not authenticate.
    last_heard: When the newest authenticated record came, seconds.
    sizes: What a record may hold, either way; the sender of application data keeps to it.
    closed: No longer in its endpoint; whatever arrives or is sent is ignored.
    cid: The connection id in what we receive; empty for none, as in this class.
    peer_cid: The same of what we send.
    """

    cid: bytes = b""
    peer_cid: bytes = b""

    __slots__ = (
        "_expansion",
        "_last_number",
        "_newest",
        "_read_iv",
        "_read_key",
        "_reader",
        "_window",
        "_write_iv",
        "_write_key",
        "_write_number",
        "_writer",
        "address",
        "authentication_failures",
        "closed",
        "context",
        "last_heard",
        "sizes",
        "suite",
    )

    def __init__(
        self, address: Address, suite: Suite, read_key: bytes, read_iv: bytes, write_key: bytes, write_iv: bytes
    ) -> None:
        self.address = address
        self.suite = suite
        self.context: object = None
        self.closed = False
        self.last_heard = 0.0
        self.authentication_failures = 0
        self.sizes = UNLIMITED
        self._expansion = suite.expansion
        self._read_key = read_key
        self._read_iv = read_iv
        self._write_key = write_key
        self._write_iv = write_iv
        self._reader: Aead | None = None
        self._writer: Aead | None = None
        # Bit i of the window: record `newest - i` was received. Sequence numbers start at 0, so -1 is "none yet".
        self._newest = -1
        self._window = 0
        self._write_number = _EPOCH_1
        self._last_number = _last_number(suite.record_limit)

    def __repr__(self) -> str:
        return f"<Association {self.address} {self.suite.name}>"

    @property
    def newest(self) -> int:
        """Number of the newest authenticated record; -1 before the first."""
        return self._newest

    @property
    def overhead(self) -> int:
        """Bytes by which a record is longer than its content."""
        return RECORD_HEADER_LENGTH + self._expansion

    def open_application(self, datagram: bytes) -> bytes | None:
        """The plaintext of a datagram that is exactly one valid record of application data.

        None for anything else, valid or not; then `Endpoint.receive_datagram` decides. Nothing has changed in that
        case, except that a failed authentication is not counted twice: it is counted there.
        """
        if datagram[:5] != _APPLICATION_DATA_PREFIX:
            return None
        size = len(datagram)
        length = size - RECORD_HEADER_LENGTH - self._expansion
        if not 0 <= length <= self.sizes.receive or (datagram[11] << 8) | datagram[12] != size - RECORD_HEADER_LENGTH:
            return None
        number = datagram[3:11]
        ahead = int.from_bytes(number) - _EPOCH_1 - self._newest
        if ahead <= 0 and (ahead <= -REPLAY_WINDOW or self._window >> -ahead & 1):
            return None
        try:
            plaintext = (self._reader or self._wake_reader()).decrypt(
                self._read_iv + datagram[13:21],
                datagram[_CIPHERTEXT_AT:],
                number + _APPLICATION_DATA + length.to_bytes(2),
            )
        except AuthenticationFailed:
            return None
        if ahead == 1:  # nearly always
            self._window = (self._window << 1 | 1) & _WINDOW_MASK
            self._newest += 1
        else:
            self._accept(self._newest + ahead)
        return plaintext

    def open(self, content_type: int, number: bytes, fragment: bytes) -> bytes | DropReason:
        """The plaintext of any record of epoch 1, or why it is dropped. The window moves only for a valid one.

        Args:
            content_type: As in the record's header.
            number: Epoch and sequence number, 8 bytes, as in the record's header.
            fragment: Explicit nonce, ciphertext, tag.
        """
        length = len(fragment) - self._expansion
        if not 0 <= length <= MAX_PLAINTEXT:
            return DropReason.MALFORMED
        if length > self.sizes.receive:  # RFC 6066 section 4 wants no alert for what has not authenticated
            return DropReason.TOO_LARGE
        sequence = int.from_bytes(number[2:])
        if not self._acceptable(sequence):
            return DropReason.REPLAY
        nonce, ciphertext = self._nonce_and_ciphertext(number, fragment)
        try:
            plaintext = (self._reader or self._wake_reader()).decrypt(
                nonce,
                ciphertext,
                b"%b%c\xfe\xfd%b" % (number, content_type, length.to_bytes(2)),
            )
        except AuthenticationFailed:
            self.authentication_failures += 1
            return DropReason.BAD_MAC
        self._accept(sequence)
        return plaintext

    def open_record(self, record: Record) -> Opened | DropReason:
        """As `open`, with the real content type, which a connection id hides in the record."""
        content = self.open(record.content_type, record.number, record.fragment)
        return content if isinstance(content, DropReason) else (record.content_type, content)

    def seal(self, content_type: int, plaintext: bytes) -> bytes:
        """A protected record.

        Raises:
            SequenceExhausted: Every record that the suite allows under one key is used up; the association must be
                closed.
        """
        number = self._write_number
        if number >= self._last_number:
            raise SequenceExhausted
        self._write_number = number + 1
        length = len(plaintext)
        # The explicit nonce is the record number, which never repeats under one key (RFC 6655 section 3).
        return _pack_header(content_type, 0xFEFD, number, length + self._expansion, number) + (
            self._writer or self._wake_writer()
        ).encrypt(self._write_iv + number.to_bytes(8), plaintext, _pack_aad(number, content_type, 0xFEFD, length))

    def rest(self) -> None:
        """Frees the cipher objects, which are made again from the keys when needed (an AES-GCM pair holds 4 kB)."""
        self._reader = self._writer = None

    def _seal_with_implicit_nonce(self, content_type: int, plaintext: bytes) -> bytes:
        number = self._write_number
        if number >= self._last_number:
            raise SequenceExhausted
        self._write_number = number + 1
        length = len(plaintext)
        return _pack_bare_header(content_type, 0xFEFD, number, length + self._expansion) + (
            self._writer or self._wake_writer()
        ).encrypt(implicit_nonce(self._write_iv, number), plaintext, _pack_aad(number, content_type, 0xFEFD, length))

    def _nonce_and_ciphertext(self, number: bytes, fragment: bytes) -> tuple[bytes, bytes]:
        """The nonce of a received record and its ciphertext with tag.

        Args:
            number: Epoch and sequence number, 8 bytes, as in the record's header.
            fragment: What follows the header; at least as long as the suite's expansion.
        """
        return self._read_iv + fragment[:_NONCE_LENGTH], fragment[_NONCE_LENGTH:]

    def _acceptable(self, sequence: int) -> bool:
        behind = self._newest - sequence
        return behind < 0 or (behind < REPLAY_WINDOW and not self._window >> behind & 1)

    def _accept(self, sequence: int) -> None:
        ahead = sequence - self._newest
        if ahead > 0:
            self._window = ((self._window << ahead) | 1) & _WINDOW_MASK if ahead < REPLAY_WINDOW else 1
            self._newest = sequence
        else:
            self._window |= 1 << -ahead

    def _wake_reader(self) -> Aead:
        self._reader = reader = self.suite.aead(self._read_key)
        return reader

    def _wake_writer(self) -> Aead:
        self._writer = writer = self.suite.aead(self._write_key)
        return writer


class ImplicitNonceAssociation(Association):
    """Records whose nonce does not travel: ChaCha20-Poly1305 (RFC 7905 section 2).

    The nonce is the 12-byte IV, its last eight bytes XORed with epoch and sequence number. A class of its own, so that
    the suites of constrained devices do not pay for the difference.
    """

    __slots__ = ()

    def open_application(self, datagram: bytes) -> bytes | None:
        """As `Association.open_application`."""
        if datagram[:5] != _APPLICATION_DATA_PREFIX:
            return None
        size = len(datagram) - RECORD_HEADER_LENGTH
        length = size - self._expansion
        if not 0 <= length <= self.sizes.receive or (datagram[11] << 8) | datagram[12] != size:
            return None
        number = datagram[3:11]
        sequence = int.from_bytes(number) - _EPOCH_1
        if not self._acceptable(sequence):
            return None
        try:
            plaintext = (self._reader or self._wake_reader()).decrypt(
                implicit_nonce(self._read_iv, _EPOCH_1 + sequence),
                datagram[RECORD_HEADER_LENGTH:],
                number + _APPLICATION_DATA + length.to_bytes(2),
            )
        except AuthenticationFailed:
            return None
        self._accept(sequence)
        return plaintext

    def seal(self, content_type: int, plaintext: bytes) -> bytes:
        """As `Association.seal`."""
        return self._seal_with_implicit_nonce(content_type, plaintext)

    def _nonce_and_ciphertext(self, number: bytes, fragment: bytes) -> tuple[bytes, bytes]:
        return implicit_nonce(self._read_iv, int.from_bytes(number)), fragment


def implicit_nonce(iv: bytes, number: int) -> bytes:
    """The nonce of a suite in which it does not travel: the IV, its end XORed with epoch and sequence number."""
    return (int.from_bytes(iv) ^ number).to_bytes(12)
