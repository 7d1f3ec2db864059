"""The CoAP engine, sans-IO (RFC 7252): codec, message layer, client. Time and randomness are passed in."""

from gateway.coap.block_client import BlockError, BlockTransfer
from gateway.coap.blockwise import (
    MAX_BLOCK_BYTES,
    MAX_SZX,
    Block,
    Cut,
    cut_body,
    decode_block,
    encode_block,
    find_block,
    szx_for,
    transfer_key,
)
from gateway.coap.bodies import Bodies, Body
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
from gateway.coap.options import (
    BLOCK_OPTIONS,
    CONDITIONAL_OPTIONS,
    CRITICAL_OPTIONS,
    OptionFormat,
    describe_option,
)
from gateway.coap.outbound import Outbound, OutboundFull
from gateway.coap.parameters import TransmissionParameters
from gateway.coap.peer import Peer
from gateway.coap.transmission import Outcome
from gateway.coap.uploads import Refusal, Upload, Uploads

__all__ = [
    "BLOCK_OPTIONS",
    "CONDITIONAL_OPTIONS",
    "CRITICAL_OPTIONS",
    "MAX_BLOCK_BYTES",
    "MAX_SZX",
    "Block",
    "BlockError",
    "BlockTransfer",
    "Bodies",
    "Body",
    "Client",
    "ClientExchange",
    "Code",
    "ContentFormat",
    "Counters",
    "Cut",
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
    "Refusal",
    "RequestEnded",
    "TransmissionParameters",
    "Upload",
    "Uploads",
    "code_text",
    "cut_body",
    "decode",
    "decode_block",
    "decode_uint",
    "describe_option",
    "encode",
    "encode_block",
    "encode_options",
    "encode_uint",
    "find_block",
    "is_critical",
    "is_no_cache_key",
    "is_request",
    "is_response",
    "is_unsafe",
    "szx_for",
    "transfer_key",
]
