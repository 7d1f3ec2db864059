"""One CoAP message as a value, with the options read the way RFC 7252 section 5.4 wants them read.

Hot path: a plain slotted class that holds the options as they came, and reads one when somebody asks for it.
"""

from typing import Final

from gateway.coap.numbers import code_text

# Plain ints, because looking a member up in an IntEnum costs as much as decoding an option.
_OBSERVE: Final = 6
_URI_PATH: Final = 11
_CONTENT_FORMAT: Final = 12
_URI_QUERY: Final = 15
_ACCEPT: Final = 17

_TYPE_NAMES: Final = ("CON", "NON", "ACK", "RST")


class Message:
    """A CoAP message (RFC 7252 section 3).

    A plain slotted class and not a frozen dataclass: one is made for every datagram (DESIGN section 5).

    Attributes:
        type: T field, 0-3, see `MessageType`.
        code: Code byte, see `Code`; unknown codes are kept.
        message_id: 0-65535.
        token: 0-8 bytes.
        options: (number, value) in ascending order of number; repeated options in the order they were sent.
        payload: Empty when there is none; the wire cannot tell an empty payload from none.
    """

    __slots__ = ("code", "message_id", "options", "payload", "token", "type")

    def __init__(
        self,
        type: int,
        code: int,
        message_id: int,
        token: bytes = b"",
        options: list[tuple[int, bytes]] | None = None,
        payload: bytes = b"",
    ) -> None:
        self.type = type
        self.code = code
        self.message_id = message_id
        self.token = token
        self.options: list[tuple[int, bytes]] = [] if options is None else options
        self.payload = payload

    @property
    def uri_path(self) -> tuple[str, ...]:
        """The segments of Uri-Path; empty for the root.

        The message layer has refused invalid UTF-8 before a handler sees the message; elsewhere it is replaced.
        """
        return tuple([value.decode("utf-8", "replace") for number, value in self.options if number == _URI_PATH])

    @property
    def uri_query(self) -> tuple[str, ...]:
        """The arguments of Uri-Query, each usually "name=value"."""
        return tuple([value.decode("utf-8", "replace") for number, value in self.options if number == _URI_QUERY])

    @property
    def content_format(self) -> int | None:
        """The Content-Format, see `ContentFormat`; None when absent or longer than its 2 bytes."""
        return self.uint_option(_CONTENT_FORMAT, 2)

    @property
    def accept(self) -> int | None:
        """The Content-Format that the client wants back; None when absent or longer than its 2 bytes."""
        return self.uint_option(_ACCEPT, 2)

    @property
    def observe(self) -> int | None:
        """0 registers, 1 deregisters (RFC 7641 section 2); None when absent or longer than its 3 bytes."""
        return self.uint_option(_OBSERVE, 3)

    def option(self, number: int) -> bytes | None:
        """The first value of an option; None when absent. Repetitions count as unknown (RFC 7252 section 5.4.5)."""
        for have, value in self.options:
            if have == number:
                return value
        return None

    def option_values(self, number: int) -> list[bytes]:
        """All values of a repeatable option, in order."""
        return [value for have, value in self.options if have == number]

    def uint_option(self, number: int, max_bytes: int) -> int | None:
        """The first value of an option in uint format; None when absent or too long (RFC 7252 section 5.4.3)."""
        value = self.option(number)
        if value is None or len(value) > max_bytes:
            return None
        return int.from_bytes(value, "big")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return (
            self.type == other.type
            and self.code == other.code
            and self.message_id == other.message_id
            and self.token == other.token
            and self.options == other.options
            and self.payload == other.payload
        )

    # Mutable, so not hashable.
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        # Sizes only: a payload or a query may hold what does not belong into a log.
        return (
            f"<Message {_TYPE_NAMES[self.type & 3]} {code_text(self.code)} id={self.message_id} "
            f"token={self.token.hex()} options={[number for number, _ in self.options]} payload={len(self.payload)}B>"
        )
