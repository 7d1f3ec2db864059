"""Serial numbers of revoked certificates, packed: one look-up, and 38 bytes for each of 100,000."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509

from gateway.pki.limits import MAX_SERIAL_BYTES

_DATE_BYTES = 5
_ENTRY_BYTES = MAX_SERIAL_BYTES + 1 + _DATE_BYTES
_FREE = 0xFFFFFFFF
_REASONS = tuple(x509.ReasonFlags)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Revoked:
    """One entry of a revocation list.

    Attributes:
        serial: The certificate's serial number.
        at: When it was revoked, with a time zone.
        reason: Why (RFC 5280 section 5.3.1); `unspecified` where the list says nothing.
    """

    serial: int
    at: datetime
    reason: x509.ReasonFlags


class SerialTable:
    """A hash table with open addressing over fixed-size entries; a dictionary takes three times as much.

    The serial numbers are a CA's choice, so that bytes are hashed, with Python's keyed hash, and not their low bits.
    """

    __slots__ = ("_entries", "_mask", "_slots")

    def __init__(self, revoked: Iterable[Revoked]) -> None:
        """Takes the entries; of two with one serial number the first counts.

        Raises:
            ValueError: A serial number is negative or longer than `MAX_SERIAL_BYTES`.
        """
        packed = bytearray()
        for entry in revoked:
            packed += _key(entry.serial)
            packed.append(_REASONS.index(entry.reason))
            packed += max(int((entry.at - _EPOCH).total_seconds()), 0).to_bytes(_DATE_BYTES)
        self._entries = bytes(packed)
        # At most two thirds full, so that a search ends after a few steps.
        self._mask = (1 << (len(self) * 3 // 2).bit_length()) - 1
        self._slots = array("I", [_FREE]) * (self._mask + 1)
        for index in range(len(self)):
            slot, known = self._find(self._entries[index * _ENTRY_BYTES : index * _ENTRY_BYTES + MAX_SERIAL_BYTES])
            if known is None:
                self._slots[slot] = index

    def __len__(self) -> int:
        return len(self._entries) // _ENTRY_BYTES

    def __sizeof__(self) -> int:
        """Bytes of the entries and of the table over them."""
        return object.__sizeof__(self) + len(self._entries) + len(self._slots) * self._slots.itemsize

    def find(self, serial: int) -> Revoked | None:
        """The entry of a serial number, if it is in the list."""
        if serial < 0 or serial.bit_length() > 8 * MAX_SERIAL_BYTES:
            return None
        _, index = self._find(_key(serial))
        if index is None:
            return None
        entry = self._entries[index * _ENTRY_BYTES : (index + 1) * _ENTRY_BYTES]
        at = _EPOCH + timedelta(seconds=int.from_bytes(entry[-_DATE_BYTES:]))
        return Revoked(serial, at, _REASONS[entry[MAX_SERIAL_BYTES]])

    def _find(self, key: bytes) -> tuple[int, int | None]:
        """The slot of a key, and the index of its entry, None for a free slot."""
        slot = hash(key) & self._mask
        while (index := self._slots[slot]) != _FREE:
            if self._entries.startswith(key, index * _ENTRY_BYTES):
                return slot, index
            slot = (slot + 1) & self._mask
        return slot, None


def _key(serial: int) -> bytes:
    try:
        return serial.to_bytes(MAX_SERIAL_BYTES)
    except OverflowError:
        raise ValueError(f"a serial number is negative or longer than {MAX_SERIAL_BYTES} octets") from None
