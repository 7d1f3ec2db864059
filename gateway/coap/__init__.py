"""The CoAP engine, sans-IO (RFC 7252): codec and message layer. Time and randomness are passed in."""

from gateway.coap.codec import decode, decode_uint, encode, encode_options, encode_uint
from gateway.coap.errors import DecodeError, Malformed
from gateway.coap.message import Message
from gateway.coap.numbers import (
    Code,
    ContentFormat,
    MessageType,
    Option,
    code_text,
    is_critical,
    is_no_cache_key,
    is_request,
    is_response,
    is_unsafe,
)

__all__ = [
    "Code",
    "ContentFormat",
    "DecodeError",
    "Malformed",
    "Message",
    "MessageType",
    "Option",
    "code_text",
    "decode",
    "decode_uint",
    "encode",
    "encode_options",
    "encode_uint",
    "is_critical",
    "is_no_cache_key",
    "is_request",
    "is_response",
    "is_unsafe",
]
