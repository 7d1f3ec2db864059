"""ServerKeyExchange and ClientKeyExchange for PSK (RFC 4279 section 2), ECDHE (RFC 8422 sections 5.4, 5.7) and both
together (RFC 5489 section 2)."""

from dataclasses import dataclass

from gateway.dtls.errors import DecodeError
from gateway.dtls.limits import MAX_PSK_IDENTITY
from gateway.dtls.messages.certificate import DigitallySigned
from gateway.dtls.numbers import EC_CURVE_TYPE_NAMED
from gateway.dtls.wire import Reader, Writer


@dataclass(slots=True)
class PskServerKeyExchange:
    """Sent only when a hint is configured (RFC 4279 section 2)."""

    hint: bytes

    @classmethod
    def decode(cls, body: bytes) -> "PskServerKeyExchange":
        reader = Reader(body)
        hint = reader.opaque(2)
        reader.finish()
        return cls(hint)

    def encode(self) -> bytes:
        return Writer().opaque(2, self.hint).getvalue()


@dataclass(slots=True)
class PskClientKeyExchange:
    """The identity is bytes: no decoding, no normalisation, no meaning in a NUL (RFC 4279 section 5.1)."""

    identity: bytes

    @classmethod
    def decode(cls, body: bytes) -> "PskClientKeyExchange":
        """Raises `DecodeError` also for an identity of more than `MAX_PSK_IDENTITY` bytes."""
        reader = Reader(body)
        identity = reader.opaque(2, 0, MAX_PSK_IDENTITY)
        reader.finish()
        return cls(identity)

    def encode(self) -> bytes:
        return Writer().opaque(2, self.identity).getvalue()


@dataclass(slots=True)
class EcdheParameters:
    """ServerECDHParams with a named curve."""

    group: int
    public: bytes

    @classmethod
    def read(cls, reader: Reader) -> "EcdheParameters":
        if reader.u8() != EC_CURVE_TYPE_NAMED:
            raise DecodeError("only named curves")
        return cls(reader.u16(), reader.opaque(1, 1, 255))

    def encode(self) -> bytes:
        return b"%c%b%c%b" % (EC_CURVE_TYPE_NAMED, self.group.to_bytes(2), len(self.public), self.public)


@dataclass(slots=True)
class EcdheServerKeyExchange:
    parameters: EcdheParameters
    signed: DigitallySigned

    @classmethod
    def decode(cls, body: bytes) -> "EcdheServerKeyExchange":
        reader = Reader(body)
        parameters = EcdheParameters.read(reader)
        signed = DigitallySigned.read(reader)
        reader.finish()
        return cls(parameters, signed)

    def encode(self) -> bytes:
        return self.parameters.encode() + self.signed.encode()


@dataclass(slots=True)
class EcdheClientKeyExchange:
    public: bytes

    @classmethod
    def decode(cls, body: bytes) -> "EcdheClientKeyExchange":
        reader = Reader(body)
        public = reader.opaque(1, 1, 255)
        reader.finish()
        return cls(public)

    def encode(self) -> bytes:
        return Writer().opaque(1, self.public).getvalue()


@dataclass(slots=True)
class EcdhePskServerKeyExchange:
    """Always sent, with an empty hint if there is none (RFC 5489 section 2). Nobody signs it: the key proves it."""

    hint: bytes
    parameters: EcdheParameters

    @classmethod
    def decode(cls, body: bytes) -> "EcdhePskServerKeyExchange":
        reader = Reader(body)
        hint = reader.opaque(2)
        parameters = EcdheParameters.read(reader)
        reader.finish()
        return cls(hint, parameters)

    def encode(self) -> bytes:
        return Writer().opaque(2, self.hint).getvalue() + self.parameters.encode()


@dataclass(slots=True)
class EcdhePskClientKeyExchange:
    """The identity as in `PskClientKeyExchange`, then the client's point."""

    identity: bytes
    public: bytes

    @classmethod
    def decode(cls, body: bytes) -> "EcdhePskClientKeyExchange":
        """Raises `DecodeError` also for an identity of more than `MAX_PSK_IDENTITY` bytes."""
        reader = Reader(body)
        identity = reader.opaque(2, 0, MAX_PSK_IDENTITY)
        public = reader.opaque(1, 1, 255)
        reader.finish()
        return cls(identity, public)

    def encode(self) -> bytes:
        return Writer().opaque(2, self.identity).opaque(1, self.public).getvalue()
