"""IANA registries that DTLS 1.2 uses. Unknown wire values stay plain `int`: never build an enum from peer bytes."""

from enum import IntEnum
from typing import Final

DTLS_1_0: Final = 0xFEFF
DTLS_1_2: Final = 0xFEFD


class ContentType(IntEnum):
    """Record content types (RFC 5246 section 6.2.1; 25: RFC 9146; 27: RFC 9853)."""

    CHANGE_CIPHER_SPEC = 20
    ALERT = 21
    HANDSHAKE = 22
    APPLICATION_DATA = 23
    TLS12_CID = 25
    RETURN_ROUTABILITY_CHECK = 27


class HandshakeType(IntEnum):
    """Handshake message types (RFC 5246 section 7.4, RFC 6347 section 4.3.2)."""

    HELLO_REQUEST = 0
    CLIENT_HELLO = 1
    SERVER_HELLO = 2
    HELLO_VERIFY_REQUEST = 3
    NEW_SESSION_TICKET = 4
    CERTIFICATE = 11
    SERVER_KEY_EXCHANGE = 12
    CERTIFICATE_REQUEST = 13
    SERVER_HELLO_DONE = 14
    CERTIFICATE_VERIFY = 15
    CLIENT_KEY_EXCHANGE = 16
    FINISHED = 20


class AlertLevel(IntEnum):
    """RFC 5246 section 7.2."""

    WARNING = 1
    FATAL = 2


class AlertDescription(IntEnum):
    """RFC 5246 section 7.2; 115: RFC 4279."""

    CLOSE_NOTIFY = 0
    UNEXPECTED_MESSAGE = 10
    BAD_RECORD_MAC = 20
    RECORD_OVERFLOW = 22
    HANDSHAKE_FAILURE = 40
    BAD_CERTIFICATE = 42
    UNSUPPORTED_CERTIFICATE = 43
    CERTIFICATE_REVOKED = 44
    CERTIFICATE_EXPIRED = 45
    CERTIFICATE_UNKNOWN = 46
    ILLEGAL_PARAMETER = 47
    UNKNOWN_CA = 48
    ACCESS_DENIED = 49
    DECODE_ERROR = 50
    DECRYPT_ERROR = 51
    PROTOCOL_VERSION = 70
    INSUFFICIENT_SECURITY = 71
    INTERNAL_ERROR = 80
    USER_CANCELED = 90
    NO_RENEGOTIATION = 100
    UNSUPPORTED_EXTENSION = 110
    UNRECOGNIZED_NAME = 112
    UNKNOWN_PSK_IDENTITY = 115


class CipherSuite(IntEnum):
    """The suites that this engine negotiates, and the one signalling value that it understands."""

    TLS_PSK_WITH_AES_128_GCM_SHA256 = 0x00A8
    TLS_PSK_WITH_AES_256_GCM_SHA384 = 0x00A9
    TLS_EMPTY_RENEGOTIATION_INFO_SCSV = 0x00FF
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 = 0xC02B
    TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 = 0xC02C
    TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 = 0xC02F
    TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 = 0xC030
    TLS_PSK_WITH_AES_128_CCM = 0xC0A4
    TLS_PSK_WITH_AES_256_CCM = 0xC0A5
    TLS_PSK_WITH_AES_128_CCM_8 = 0xC0A8
    TLS_PSK_WITH_AES_256_CCM_8 = 0xC0A9
    TLS_ECDHE_ECDSA_WITH_AES_128_CCM = 0xC0AC
    TLS_ECDHE_ECDSA_WITH_AES_256_CCM = 0xC0AD
    TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8 = 0xC0AE
    TLS_ECDHE_ECDSA_WITH_AES_256_CCM_8 = 0xC0AF
    TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 = 0xCCA8
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 = 0xCCA9
    TLS_PSK_WITH_CHACHA20_POLY1305_SHA256 = 0xCCAB
    TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256 = 0xCCAC
    TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256 = 0xD001
    TLS_ECDHE_PSK_WITH_AES_256_GCM_SHA384 = 0xD002
    TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256 = 0xD003
    TLS_ECDHE_PSK_WITH_AES_128_CCM_SHA256 = 0xD005


class ExtensionType(IntEnum):
    """Hello extensions (IANA TLS ExtensionType Values)."""

    SERVER_NAME = 0
    MAX_FRAGMENT_LENGTH = 1
    SUPPORTED_GROUPS = 10
    EC_POINT_FORMATS = 11
    SIGNATURE_ALGORITHMS = 13
    CLIENT_CERTIFICATE_TYPE = 19
    SERVER_CERTIFICATE_TYPE = 20
    ENCRYPT_THEN_MAC = 22
    EXTENDED_MASTER_SECRET = 23
    RECORD_SIZE_LIMIT = 28
    SESSION_TICKET = 35
    CONNECTION_ID = 54
    RETURN_ROUTABILITY_CHECK = 61
    RENEGOTIATION_INFO = 0xFF01


class NamedGroup(IntEnum):
    """RFC 8422 section 5.1.1."""

    SECP256R1 = 23
    SECP384R1 = 24
    X25519 = 29


class SignatureScheme(IntEnum):
    """SignatureAndHashAlgorithm pairs (RFC 5246 section 7.4.1.4.1), hash in the high byte.

    The PSS and Ed25519 values are no pairs: RFC 8446 section 4.2.3, RFC 8422 section 5.1.3.
    """

    RSA_PKCS1_SHA256 = 0x0401
    ECDSA_SHA256 = 0x0403
    RSA_PKCS1_SHA384 = 0x0501
    ECDSA_SHA384 = 0x0503
    RSA_PKCS1_SHA512 = 0x0601
    ECDSA_SHA512 = 0x0603
    RSA_PSS_RSAE_SHA256 = 0x0804
    RSA_PSS_RSAE_SHA384 = 0x0805
    RSA_PSS_RSAE_SHA512 = 0x0806
    ED25519 = 0x0807


class CertificateType(IntEnum):
    """What a Certificate message holds (RFC 7250 section 3)."""

    X509 = 0
    RAW_PUBLIC_KEY = 2


class ClientCertificateType(IntEnum):
    """RFC 8422 section 5.5: ecdsa_sign is for ECDSA keys and for EdDSA keys."""

    ECDSA_SIGN = 64


class Authentication(IntEnum):
    """What kind of credential a session began with. Our own numbers; they stand in tickets."""

    PSK = 1
    CERTIFICATE = 2
    RAW_PUBLIC_KEY = 3


class PathMessage(IntEnum):
    """Messages of the return routability check (RFC 9853 section 4)."""

    CHALLENGE = 0
    RESPONSE = 1
    DROP = 2


COMPRESSION_NULL: Final = 0
EC_POINT_UNCOMPRESSED: Final = 0
EC_CURVE_TYPE_NAMED: Final = 3
