"""Bytes to `Message` and back (RFC 7252 section 3).

`decode` is total: a message or `DecodeError`. It is as strict as the RFC, where many implementations are not: reserved
token lengths, a payload marker with nothing behind it, and anything behind the header of an Empty message are errors.
It looks at the form only; what an option means is for the message layer.

Hot path: one loop over the bytes with integers and slices, and no call for an option.
"""

from typing import Final

from gateway.coap.errors import DecodeError, Malformed
from gateway.coap.message import Message

_MAX_OPTION_NUMBER: Final = 0xFFFF
_MAX_OPTION_LENGTH: Final = 0xFFFF + 269


def decode(data: bytes) -> Message:
    """Decode one datagram.

    Raises:
        DecodeError: The bytes are not a message; nothing else is ever raised.
    """
    size = len(data)
    if size < 4:
        raise DecodeError(Malformed.TOO_SHORT)
    first = data[0]
    if first >> 6 != 1:
        raise DecodeError(Malformed.VERSION)
    token_end = 4 + (first & 0x0F)
    if token_end > 12 or token_end > size or data[1] == 0:
        return _decode_empty(data)
    options: list[tuple[int, bytes]] = []
    position = token_end
    number = 0
    while position < size:
        head = data[position]
        position += 1
        delta = head >> 4
        length = head & 0x0F
        if delta > 12 or length > 12:
            if head == 0xFF:
                if position == size:
                    raise _error(Malformed.PAYLOAD_MISSING, data)
                break
            delta, length, position = _decode_extended(data, delta, length, position)
        number += delta
        end = position + length
        if end > size:
            raise _error(Malformed.OPTION_TRUNCATED, data)
        options.append((number, data[position:end]))
        position = end
    if number > _MAX_OPTION_NUMBER:
        raise _error(Malformed.OPTION_NUMBER, data)
    return Message(first >> 4 & 3, data[1], data[2] << 8 | data[3], data[4:token_end], options, data[position:])


def encode(message: Message) -> bytes:
    """Encode one message; options out of order are sorted, repeated ones keep their order.

    Raises:
        ValueError: The message cannot be expressed, which is a mistake of the caller: a field out of range, or
            an Empty message that is not empty.
    """
    type = message.type
    code = message.code
    token = message.token
    if not 0 <= type <= 3 or not 0 <= code <= 0xFF or not 0 <= message.message_id <= 0xFFFF or len(token) > 8:
        raise ValueError("type, code, message id or token of a CoAP message is out of range")
    if code == 0 and (token or message.options or message.payload):
        raise ValueError("an Empty message has no token, no options and no payload (RFC 7252 section 4.1)")
    return encode_parts(type, code, message.message_id, token, message.options, message.payload)


def encode_parts(
    type: int, code: int, message_id: int, token: bytes, options: list[tuple[int, bytes]], payload: bytes
) -> bytes:
    """What `encode` does, without the message and without its checks: all but the options must be in range.

    Raises:
        ValueError: An option is out of range.
    """
    data = ((0x40 | type << 4 | len(token)) << 24 | code << 16 | message_id).to_bytes(4, "big") + token
    if options:
        data += encode_options(options)
    if payload:
        return data + b"\xff" + payload
    return data


def encode_empty(type: int, message_id: int) -> bytes:
    """An Empty message: ping, empty ACK or RST; both arguments must be in range."""
    return (0x40000000 | type << 28 | message_id).to_bytes(4, "big")


def encode_options(options: list[tuple[int, bytes]]) -> bytes:
    """Encode the options alone; see `encode`.

    Raises:
        ValueError: A number or a length is out of range.
    """
    out = b""
    last = 0
    for number, value in options:
        delta = number - last
        length = len(value)
        if 0 <= delta < 13 and length < 13:
            out += _SMALL[delta << 4 | length] + value
        elif delta < 0 <= number:
            return encode_options(sorted(options, key=_number_of))
        else:
            out += _option_header(number, delta, length) + value
        last = number
    return out


def encode_uint(value: int) -> bytes:
    """The uint option format: as few bytes as possible, none for 0 (RFC 7252 section 3.2).

    Raises:
        ValueError: The value is negative.
    """
    if value < 0:
        raise ValueError("a CoAP uint is not negative")
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def decode_uint(data: bytes) -> int:
    """The value of a uint option; leading zero bytes are allowed (RFC 7252 section 3.2)."""
    return int.from_bytes(data, "big")


def _decode_empty(data: bytes) -> Message:
    """The rare end of `decode`: an Empty message, or a token that is impossible or cut off."""
    token_length = data[0] & 0x0F
    if token_length > 8:
        raise _error(Malformed.TOKEN_LENGTH, data)
    if data[1] != 0:
        raise _error(Malformed.TOKEN_TRUNCATED, data)
    if len(data) > 4:
        raise _error(Malformed.EMPTY_NOT_EMPTY, data)
    if token_length:
        raise _error(Malformed.TOKEN_TRUNCATED, data)
    return Message(data[0] >> 4 & 3, 0, data[2] << 8 | data[3])


def _decode_extended(data: bytes, delta: int, length: int, position: int) -> tuple[int, int, int]:
    """The bytes that nibbles of 13 and 14 announce (RFC 7252 section 3.1): delta, length, where the value starts."""
    if delta == 15 or length == 15:
        raise _error(Malformed.OPTION_RESERVED, data)
    delta_end = position + (delta - 12 if delta > 12 else 0)
    length_end = delta_end + (length - 12 if length > 12 else 0)
    if length_end > len(data):
        raise _error(Malformed.OPTION_TRUNCATED, data)
    if delta > 12:
        delta = int.from_bytes(data[position:delta_end], "big") + (13 if delta == 13 else 269)
    if length > 12:
        length = int.from_bytes(data[delta_end:length_end], "big") + (13 if length == 13 else 269)
    return delta, length, length_end


def _error(reason: Malformed, data: bytes) -> DecodeError:
    return DecodeError(reason, data[0] >> 4 & 3, data[2] << 8 | data[3])


def _option_header(number: int, delta: int, length: int) -> bytes:
    if not 0 <= number <= _MAX_OPTION_NUMBER or length > _MAX_OPTION_LENGTH:
        raise ValueError(f"CoAP option {number} with {length} bytes is out of range")
    delta_nibble, delta_more = _extended(delta)
    length_nibble, length_more = _extended(length)
    return bytes((delta_nibble << 4 | length_nibble,)) + delta_more + length_more


def _extended(value: int) -> tuple[int, bytes]:
    """RFC 7252 section 3.1: up to 12 in the nibble, 13 and 14 announce one or two more bytes."""
    if value < 13:
        return value, b""
    if value < 269:
        return 13, bytes((value - 13,))
    return 14, (value - 269).to_bytes(2, "big")


def _number_of(option: tuple[int, bytes]) -> int:
    return option[0]


_SMALL: Final = tuple(bytes((value,)) for value in range(256))
