"""The CoAP engine, sans-IO (RFC 7252): codec, message layer, client. Time and randomness are passed in."""

from gateway.coap.client import Client, ClientExchange, Outcome
from gateway.coap.codec import decode, decode_uint, encode, encode_options, encode_uint
from gateway.coap.counters import Counters
from gateway.coap.errors import DecodeError, Malformed
from gateway.coap.layer import MessageLayer
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
from gateway.coap.options import CRITICAL_OPTIONS, OptionFormat, describe_option
from gateway.coap.parameters import TransmissionParameters
from gateway.coap.peer import Peer

__all__ = [
    "CRITICAL_OPTIONS",
    "Client",
    "ClientExchange",
    "Code",
    "ContentFormat",
    "Counters",
    "DecodeError",
    "Malformed",
    "Message",
    "MessageLayer",
    "MessageType",
    "Option",
    "OptionFormat",
    "Outcome",
    "Peer",
    "TransmissionParameters",
    "code_text",
    "decode",
    "decode_uint",
    "describe_option",
    "encode",
    "encode_options",
    "encode_uint",
    "is_critical",
    "is_no_cache_key",
    "is_request",
    "is_response",
    "is_unsafe",
]
