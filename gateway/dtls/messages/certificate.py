"""Certificate, CertificateRequest, CertificateVerify (RFC 5246 sections 7.4.2, 7.4.4, 7.4.8)."""

from dataclasses import dataclass

from gateway.dtls.errors import DecodeError
from gateway.dtls.limits import MAX_CERTIFICATES
from gateway.dtls.wire import Reader, Writer


@dataclass(slots=True)
class Certificate:
    """A chain, leaf first, each certificate in DER. Empty when a client has none."""

    chain: tuple[bytes, ...]

    @classmethod
    def decode(cls, body: bytes) -> "Certificate":
        """Raises `DecodeError` for broken syntax or more than `MAX_CERTIFICATES` certificates."""
        reader = Reader(body)
        entries = reader.sub(3)
        reader.finish()
        chain: list[bytes] = []
        while entries.remaining:
            if len(chain) == MAX_CERTIFICATES:
                raise DecodeError("too many certificates")
            chain.append(entries.opaque(3, 1))
        return cls(tuple(chain))

    def encode(self) -> bytes:
        writer = Writer()
        with writer.vector(3):
            for certificate in self.chain:
                writer.opaque(3, certificate)
        return writer.getvalue()


@dataclass(slots=True)
class RawPublicKey:
    """A Certificate message without a certificate: one SubjectPublicKeyInfo, DER, and no list around it (RFC 7250
    section 3). Empty when a client has none.
    """

    public_key: bytes

    @classmethod
    def decode(cls, body: bytes) -> "RawPublicKey":
        reader = Reader(body)
        public_key = reader.opaque(3)
        reader.finish()
        return cls(public_key)

    def encode(self) -> bytes:
        return Writer().opaque(3, self.public_key).getvalue()


@dataclass(slots=True)
class CertificateRequest:
    """RFC 5246 section 7.4.4. An empty list of authorities is allowed, and saves a constrained client bytes."""

    certificate_types: bytes
    signature_algorithms: tuple[int, ...]
    authorities: tuple[bytes, ...] = ()

    @classmethod
    def decode(cls, body: bytes) -> "CertificateRequest":
        reader = Reader(body)
        certificate_types = reader.opaque(1, 1, 255)
        signature_algorithms = reader.u16_list(2, 0xFFFE)
        names = reader.sub(2)
        reader.finish()
        authorities = []
        while names.remaining:
            authorities.append(names.opaque(2, 1))
        return cls(certificate_types, signature_algorithms, tuple(authorities))

    def encode(self) -> bytes:
        writer = Writer().opaque(1, self.certificate_types)
        writer.opaque(2, b"".join(scheme.to_bytes(2) for scheme in self.signature_algorithms))
        with writer.vector(2):
            for name in self.authorities:
                writer.opaque(2, name)
        return writer.getvalue()


@dataclass(slots=True)
class DigitallySigned:
    """A signature with its algorithm (RFC 5246 section 4.7); the whole body of a CertificateVerify."""

    scheme: int
    signature: bytes

    @classmethod
    def read(cls, reader: Reader) -> "DigitallySigned":
        return cls(reader.u16(), reader.opaque(2))

    @classmethod
    def decode(cls, body: bytes) -> "DigitallySigned":
        reader = Reader(body)
        signed = cls.read(reader)
        reader.finish()
        return signed

    def encode(self) -> bytes:
        return Writer().u16(self.scheme).opaque(2, self.signature).getvalue()
