"""A bounded reader and a writer for TLS presentation language (RFC 5246 section 4); not for the established path."""

from collections.abc import Iterator
from contextlib import contextmanager
from struct import unpack

from gateway.dtls.errors import ApiMisuse, DecodeError


class Reader:
    """Reads from the front of a byte string; every read past the end raises `DecodeError`."""

    __slots__ = ("_data", "_end", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0
        self._end = len(data)

    @property
    def remaining(self) -> int:
        return self._end - self._position

    def take(self, count: int) -> bytes:
        start = self._position
        stop = start + count
        if stop > self._end:
            raise DecodeError(f"{count} bytes wanted, {self._end - start} left")
        self._position = stop
        return self._data[start:stop]

    def rest(self) -> bytes:
        return self.take(self.remaining)

    def u8(self) -> int:
        return self.take(1)[0]

    def u16(self) -> int:
        return int.from_bytes(self.take(2))

    def u24(self) -> int:
        return int.from_bytes(self.take(3))

    def opaque(self, prefix: int, minimum: int = 0, maximum: int = 0xFFFFFF) -> bytes:
        """The bytes of a vector whose length is written in `prefix` bytes and must lie in the RFC's bounds."""
        start = self._position + prefix
        if start > self._end:
            raise DecodeError(f"{prefix} bytes of length wanted, {self.remaining} left")
        length = int.from_bytes(self._data[self._position : start])
        if not minimum <= length <= maximum:
            raise DecodeError(f"vector of {length} bytes, allowed {minimum}..{maximum}")
        self._position = start
        return self.take(length)

    def sub(self, prefix: int, minimum: int = 0, maximum: int = 0xFFFFFF) -> "Reader":
        return Reader(self.opaque(prefix, minimum, maximum))

    def u16_list(self, minimum: int, maximum: int) -> tuple[int, ...]:
        """A vector of 16-bit values with a 16-bit length; the bounds count bytes, as in the RFC."""
        data = self.opaque(2, minimum, maximum)
        if len(data) % 2:
            raise DecodeError("odd length of a vector of 16-bit values")
        return unpack(f">{len(data) // 2}H", data)

    def finish(self) -> None:
        """Raises `DecodeError` if anything is left."""
        if self._position != self._end:
            raise DecodeError(f"{self._end - self._position} trailing bytes")


class Writer:
    """Builds a byte string front to back."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def u8(self, value: int) -> "Writer":
        return self._uint(value, 1)

    def u16(self, value: int) -> "Writer":
        return self._uint(value, 2)

    def u24(self, value: int) -> "Writer":
        return self._uint(value, 3)

    def raw(self, data: bytes) -> "Writer":
        self._buffer += data
        return self

    def opaque(self, prefix: int, data: bytes) -> "Writer":
        return self._uint(len(data), prefix).raw(data)

    @contextmanager
    def vector(self, prefix: int) -> Iterator[None]:
        """What is written inside gets its length in front, in `prefix` bytes."""
        start = len(self._buffer)
        self._buffer += bytes(prefix)
        yield
        length = len(self._buffer) - start - prefix
        if length >= 1 << (8 * prefix):
            raise ApiMisuse(f"vector of {length} bytes does not fit a {prefix}-byte length")
        self._buffer[start : start + prefix] = length.to_bytes(prefix)

    def getvalue(self) -> bytes:
        return bytes(self._buffer)

    def _uint(self, value: int, width: int) -> "Writer":
        try:
            self._buffer += value.to_bytes(width)
        except OverflowError as error:
            raise ApiMisuse(f"{value} does not fit {width} bytes") from error
        return self
