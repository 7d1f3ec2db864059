"""Bodies of the hello extensions that the engine understands."""

from gateway.dtls.errors import DecodeError
from gateway.dtls.wire import Reader, Writer


def decode_server_name(body: bytes) -> str | None:
    """The host name of a server_name list (RFC 6066 section 3); None where the list holds other name types only.

    Constrained clients put IP literals in here although the RFC forbids it: the name is taken as it comes.

    Raises:
        DecodeError: Broken syntax, an empty name, or two host names.
    """
    reader = Reader(body)
    names = reader.sub(2, 1, 0xFFFF)
    reader.finish()
    found: str | None = None
    while names.remaining:
        name_type = names.u8()
        name = names.opaque(2, 1, 0xFFFF)
        if name_type != 0:
            continue
        if found is not None:
            raise DecodeError("two host names in server_name")
        try:
            found = name.decode("ascii")
        except UnicodeDecodeError as error:
            raise DecodeError("host name is not ASCII") from error
    return found


def encode_server_name(name: str) -> bytes:
    host = name.encode("ascii")
    writer = Writer()
    with writer.vector(2):
        writer.u8(0).opaque(2, host)
    return writer.getvalue()


def decode_u16_list(body: bytes) -> tuple[int, ...]:
    """The values of supported_groups (RFC 8422 section 5.1.1) or signature_algorithms (RFC 5246 section 7.4.1.4.1)."""
    reader = Reader(body)
    values = reader.u16_list(2, 0xFFFE)
    reader.finish()
    return values


def encode_u16_list(values: tuple[int, ...]) -> bytes:
    return Writer().opaque(2, b"".join(value.to_bytes(2) for value in values)).getvalue()


def decode_u8_list(body: bytes) -> bytes:
    """The values of ec_point_formats (RFC 8422 section 5.1.2)."""
    reader = Reader(body)
    values = reader.opaque(1, 1, 255)
    reader.finish()
    return values


def encode_u8_list(values: bytes) -> bytes:
    return Writer().opaque(1, values).getvalue()


def decode_renegotiation_info(body: bytes) -> bytes:
    """renegotiated_connection (RFC 5746 section 3.2): empty in an initial hello."""
    reader = Reader(body)
    value = reader.opaque(1, 0, 255)
    reader.finish()
    return value
