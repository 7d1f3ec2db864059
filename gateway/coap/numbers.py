"""IANA numbers of CoAP. An unknown number from the wire stays an int: none of these is ever called with peer data."""

from enum import IntEnum


class MessageType(IntEnum):
    """RFC 7252 section 3, the T field."""

    CON = 0
    NON = 1
    ACK = 2
    RST = 3


class Code(IntEnum):
    """Method and response codes: class in the upper three bits, detail in the lower five (RFC 7252 section 12.1)."""

    EMPTY = 0x00
    GET = 0x01
    POST = 0x02
    PUT = 0x03
    DELETE = 0x04
    FETCH = 0x05  # RFC 8132
    PATCH = 0x06  # RFC 8132
    IPATCH = 0x07  # RFC 8132
    CREATED = 0x41
    DELETED = 0x42
    VALID = 0x43
    CHANGED = 0x44
    CONTENT = 0x45
    CONTINUE = 0x5F  # RFC 7959
    BAD_REQUEST = 0x80
    UNAUTHORIZED = 0x81
    BAD_OPTION = 0x82
    FORBIDDEN = 0x83
    NOT_FOUND = 0x84
    METHOD_NOT_ALLOWED = 0x85
    NOT_ACCEPTABLE = 0x86
    REQUEST_ENTITY_INCOMPLETE = 0x88  # RFC 7959
    CONFLICT = 0x89  # RFC 8132
    PRECONDITION_FAILED = 0x8C
    REQUEST_ENTITY_TOO_LARGE = 0x8D
    UNSUPPORTED_CONTENT_FORMAT = 0x8F
    UNPROCESSABLE_ENTITY = 0x96  # RFC 8132
    TOO_MANY_REQUESTS = 0x9D  # RFC 8516
    INTERNAL_SERVER_ERROR = 0xA0
    NOT_IMPLEMENTED = 0xA1
    BAD_GATEWAY = 0xA2
    SERVICE_UNAVAILABLE = 0xA3
    GATEWAY_TIMEOUT = 0xA4
    PROXYING_NOT_SUPPORTED = 0xA5
    HOP_LIMIT_REACHED = 0xA8  # RFC 8768


class Option(IntEnum):
    """Option numbers (RFC 7252 section 12.2 and the RFCs named)."""

    IF_MATCH = 1
    URI_HOST = 3
    ETAG = 4
    IF_NONE_MATCH = 5
    OBSERVE = 6  # RFC 7641
    URI_PORT = 7
    LOCATION_PATH = 8
    OSCORE = 9  # RFC 8613
    URI_PATH = 11
    CONTENT_FORMAT = 12
    MAX_AGE = 14
    URI_QUERY = 15
    HOP_LIMIT = 16  # RFC 8768
    ACCEPT = 17
    Q_BLOCK1 = 19  # RFC 9177
    LOCATION_QUERY = 20
    EDHOC = 21  # RFC 9668
    BLOCK2 = 23  # RFC 7959
    BLOCK1 = 27  # RFC 7959
    SIZE2 = 28  # RFC 7959
    Q_BLOCK2 = 31  # RFC 9177
    PROXY_URI = 35
    PROXY_SCHEME = 39
    SIZE1 = 60
    ECHO = 252  # RFC 9175
    NO_RESPONSE = 258  # RFC 7967
    REQUEST_TAG = 292  # RFC 9175


class ContentFormat(IntEnum):
    """Content-Format identifiers that devices in the field send (RFC 7252 section 12.3 and the IANA registry)."""

    TEXT = 0
    LINK_FORMAT = 40
    XML = 41
    OCTET_STREAM = 42
    EXI = 47
    JSON = 50
    JSON_PATCH = 51
    MERGE_PATCH_JSON = 52
    CBOR = 60
    CWT = 61
    CBOR_SEQ = 63
    SENML_JSON = 110
    SENSML_JSON = 111
    SENML_CBOR = 112
    SENSML_CBOR = 113
    PROBLEM_DETAILS = 257  # RFC 9290
    SENML_XML = 310
    SENSML_XML = 311
    SENML_ETCH_JSON = 320
    SENML_ETCH_CBOR = 322
    LWM2M_TLV = 11542
    LWM2M_JSON = 11543
    LWM2M_CBOR = 11544


def is_critical(number: int) -> bool:
    """An endpoint that does not understand the option must not process the message (RFC 7252 section 5.4.6)."""
    return number & 1 != 0


def is_unsafe(number: int) -> bool:
    """A proxy that does not understand the option must not forward the message (RFC 7252 section 5.4.6)."""
    return number & 2 != 0


def is_no_cache_key(number: int) -> bool:
    """The option is not part of the cache key; means something only when it is safe to forward (section 5.4.6)."""
    return number & 0x1E == 0x1C


def is_request(code: int) -> bool:
    """Class 0, but not EMPTY: a method, known or not."""
    return 0 < code < 0x20


def is_response(code: int) -> bool:
    """Classes 2 to 5; the classes 1, 6 and 7 are reserved (RFC 7252 section 12.1)."""
    return 0x40 <= code < 0xC0


def code_text(code: int) -> str:
    """The dotted form in which people read codes: 0x45 is "2.05"."""
    return f"{code >> 5}.{code & 0x1F:02d}"
