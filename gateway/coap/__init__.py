"""The CoAP engine, sans-IO (RFC 7252): codec, message layer, client. Time and randomness are passed in."""

from gateway.coap.client import Client, ClientExchange
from gateway.coap.codec import decode, decode_uint, encode, encode_options, encode_uint
from gateway.coap.counters import Counters
from gateway.coap.errors import DecodeError, Malformed
from gateway.coap.events import (
    EndOfObservation,
    Event,
    NotificationReceived,
    ObservationDue,
    ObservationEnded,
    PeerHeard,
    RequestEnded,
)
from gateway.coap.layer import MessageLayer
from gateway.coap.link import OutgoingRequest
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
from gateway.coap.observe import Observation, Observations
from gateway.coap.options import CRITICAL_OPTIONS, OptionFormat, describe_option
from gateway.coap.outbound import Outbound, OutboundFull
from gateway.coap.parameters import TransmissionParameters
from gateway.coap.peer import Peer
from gateway.coap.transmission import Outcome

__all__ = [
    "CRITICAL_OPTIONS",
    "Client",
    "ClientExchange",
    "Code",
    "ContentFormat",
    "Counters",
    "DecodeError",
    "EndOfObservation",
    "Event",
    "Malformed",
    "Message",
    "MessageLayer",
    "MessageType",
    "NotificationReceived",
    "Observation",
    "ObservationDue",
    "ObservationEnded",
    "Observations",
    "Option",
    "OptionFormat",
    "Outbound",
    "OutboundFull",
    "Outcome",
    "OutgoingRequest",
    "Peer",
    "PeerHeard",
    "RequestEnded",
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
