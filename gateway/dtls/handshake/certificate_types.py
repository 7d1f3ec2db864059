"""X.509 or a raw public key (RFC 7250): what each side presents, negotiated for each by itself.

Only what was negotiated is read: a bare key where a certificate is due is no certificate, and the other way round. What
nobody negotiated is X.509 (section 4.2).
"""

from dataclasses import dataclass
from typing import Final

from gateway.dtls.crypto import VerifyingKey, certificate_public_key, leaf_key, raw_key
from gateway.dtls.errors import DecodeError, FailureReason, HandshakeError
from gateway.dtls.messages import extensions as ext
from gateway.dtls.messages.certificate import Certificate, RawPublicKey
from gateway.dtls.messages.hello import Extensions
from gateway.dtls.numbers import CertificateType, ExtensionType

_CLIENT, _SERVER = ExtensionType.CLIENT_CERTIFICATE_TYPE, ExtensionType.SERVER_CERTIFICATE_TYPE


@dataclass(frozen=True, slots=True)
class CertificateTypes:
    """What the client and the server present."""

    client: int = CertificateType.X509
    server: int = CertificateType.X509


X509_ONLY: Final = CertificateTypes()


@dataclass(slots=True)
class Presented:
    """What a peer's Certificate message brought.

    Attributes:
        key: What its CertificateVerify or ServerKeyExchange is signed with.
        chain: DER, leaf first; empty for a raw public key.
        public_key: The raw public key, a SubjectPublicKeyInfo in DER; empty for X.509.
    """

    key: VerifyingKey
    chain: tuple[bytes, ...] = ()
    public_key: bytes = b""


def answer_certificate_types(offered: Extensions, answers: Extensions, *, raw_public_keys: bool) -> CertificateTypes:
    """The server's part, for a suite in which both sides present something; what has to be said goes into `answers`.

    The client's lists are in its order of preference (RFC 7250 section 4.1), and we have none of our own, but for one
    thing: a device that presents a bare key and takes one gets ours, wherever it lists that. Those of libcoap list
    X.509 first, and have no root to verify it by. A client must not list X.509 alone; one that does gets it.

    Raises:
        DecodeError: A broken list.
        HandshakeError: no_shared_certificate_type (section 4.2, case 2).
    """
    if _CLIENT not in offered and _SERVER not in offered:
        return X509_ONLY
    ours = (CertificateType.X509, CertificateType.RAW_PUBLIC_KEY) if raw_public_keys else (CertificateType.X509,)
    chosen: dict[ExtensionType, int] = {}
    for extension in (_CLIENT, _SERVER):
        body = offered.get(extension)
        if body is None:
            continue
        theirs = ext.decode_u8_list(body)
        common = next((kind for kind in theirs if kind in ours), None)
        if chosen.get(_CLIENT) == CertificateType.RAW_PUBLIC_KEY and CertificateType.RAW_PUBLIC_KEY in theirs:
            common = CertificateType.RAW_PUBLIC_KEY
        if common is None:
            raise HandshakeError(FailureReason.NO_SHARED_CERTIFICATE_TYPE, _nothing_common(extension, theirs))
        chosen[extension] = common
        answers[extension] = bytes((common,))
    return CertificateTypes(chosen.get(_CLIENT, CertificateType.X509), chosen.get(_SERVER, CertificateType.X509))


def offer_certificate_types(extensions: Extensions, client: tuple[int, ...], server: tuple[int, ...]) -> None:
    """The client's offer, put into its `extensions`. Nothing but X.509 is said by saying nothing (section 4.1)."""
    for extension, types in ((_CLIENT, client), (_SERVER, server)):
        if any(kind != CertificateType.X509 for kind in types):
            extensions[extension] = ext.encode_u8_list(bytes(types))


def accept_certificate_types(offered: Extensions, answers: Extensions) -> CertificateTypes:
    """The client's reading of the ServerHello, which answers nothing that was not offered.

    Raises:
        DecodeError: A broken answer.
        HandshakeError: illegal_parameter: a type that we did not list.
    """
    if _CLIENT not in answers and _SERVER not in answers:
        return X509_ONLY
    chosen = []
    for extension in (_CLIENT, _SERVER):
        body = answers.get(extension, bytes((CertificateType.X509,)))
        if len(body) != 1:
            raise DecodeError(f"{extension.name.lower()} of a server has one byte")
        if extension in answers and body[0] not in ext.decode_u8_list(offered[extension]):
            raise HandshakeError(FailureReason.ILLEGAL_PARAMETER, f"certificate type {body[0]} was not offered")
        chosen.append(body[0])
    return CertificateTypes(*chosen)


def read_presented(body: bytes, certificate_type: int, *, rsa_too: bool = False) -> Presented | None:
    """The peer's Certificate message; None where it presents nothing.

    Args:
        body: Of the message.
        certificate_type: What was negotiated.
        rsa_too: Whether the key may be RSA: a server's.

    Raises:
        DecodeError: It is not of the type that was negotiated.
        HandshakeError: weak_key.
    """
    if certificate_type == CertificateType.RAW_PUBLIC_KEY:
        public_key = RawPublicKey.decode(body).public_key
        return Presented(raw_key(public_key, rsa_too=rsa_too), public_key=public_key) if public_key else None
    chain = Certificate.decode(body).chain
    return Presented(leaf_key(chain[0], rsa_too=rsa_too), chain) if chain else None


def own_message(chain: tuple[bytes, ...], certificate_type: int) -> bytes:
    """The body of our own Certificate message: our chain, or the public key of its leaf; or nothing, for no chain."""
    if certificate_type == CertificateType.RAW_PUBLIC_KEY and chain:
        return RawPublicKey(certificate_public_key(chain[0])).encode()
    return Certificate(chain).encode()


def _nothing_common(extension: ExtensionType, theirs: bytes) -> str:
    whose = "can present" if extension is _CLIENT else "takes from us"
    if CertificateType.RAW_PUBLIC_KEY in theirs:
        return f"the device {whose} only raw public keys; switch them on with [dtls] raw_public_keys"
    return f"the device {whose} only certificate types {', '.join(map(str, theirs[:12]))}; give it X.509"
