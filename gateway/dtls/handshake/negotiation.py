"""What the two sides agree on: a pure function from a ClientHello and our parameters to a result or a typed reason.

Its results are remembered for a while (`Agreements`), because the devices of one firmware all offer the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple

from gateway.dtls.connection_id import ConnectionIds, decode_connection_id, encode_connection_id
from gateway.dtls.crypto import DEFAULT_SUITES, SUITES, SUPPORTED_GROUPS, KeyExchange, SigningKey, Suite, dns_names
from gateway.dtls.errors import DecodeError, FailureReason, HandshakeError
from gateway.dtls.handshake.certificate_types import X509_ONLY, CertificateTypes, answer_certificate_types
from gateway.dtls.limits import MAX_PLAINTEXT, MAX_REMEMBERED_OFFER, MAX_REMEMBERED_OFFERS
from gateway.dtls.messages import extensions as ext
from gateway.dtls.messages.certificate import Certificate
from gateway.dtls.messages.hello import ClientHello, Extensions
from gateway.dtls.numbers import (
    COMPRESSION_NULL,
    DTLS_1_0,
    DTLS_1_2,
    EC_POINT_UNCOMPRESSED,
    CipherSuite,
    ExtensionType,
    NamedGroup,
    SignatureScheme,
)
from gateway.dtls.sizes import UNLIMITED, RecordSizes, answer_sizes

_FIRST_HANDSHAKE: Final = ext.encode_u8_list(b"")
_SHOWN: Final = 12
_LACK: Final = {
    KeyExchange.PSK: "pre-shared keys",
    KeyExchange.ECDHE_PSK: "pre-shared keys",
    KeyExchange.ECDHE_ECDSA: "a server certificate with a P-256, P-384 or Ed25519 key",
    KeyExchange.ECDHE_RSA: "a server certificate with an RSA key",
}


@dataclass(frozen=True, slots=True)
class Credential:
    """A certificate chain (DER, leaf first) and its private key.

    Attributes:
        message: The chain as the body of a Certificate message.
        names: The DNS names of the leaf, in lower case.
    """

    chain: tuple[bytes, ...]
    key: SigningKey = field(repr=False)
    message: bytes = field(init=False, repr=False, compare=False)
    names: tuple[str, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", Certificate(self.chain).encode())
        object.__setattr__(self, "names", dns_names(self.chain[0]))

    def is_for(self, name: str) -> bool:
        """Whether the certificate is for a host of that name; `*` stands for one label (RFC 6125 section 6.4.3)."""
        name = name.lower().removesuffix(".")
        label, _, domain = name.partition(".")
        return name in self.names or (bool(label and domain) and f"*.{domain}" in self.names)


@dataclass(frozen=True, slots=True)
class ServerParameters:
    """What the server is willing to do.

    Attributes:
        suites: IANA numbers in order of preference.
        credential: The default; without one, only PSK suites are agreed on.
        more_credentials: Further ones, for other names or for clients that cannot verify the default.
        psk: Whether pre-shared keys are accepted.
        psk_hint: Sent in ServerKeyExchange when not None.
        record_size_limit: Bytes of plaintext that we take in a protected record, told to clients that ask (RFC 8449).
        raw_public_keys: Whether devices may present a bare key, and get ours if they want it (RFC 7250).
        require_extended_master_secret: Refuse clients that do not offer RFC 7627.
        usable_suites: Those of `suites` that the keys at hand allow, IANA numbers.
    """

    suites: tuple[int, ...] = DEFAULT_SUITES
    credential: Credential | None = None
    psk: bool = True
    psk_hint: bytes | None = None
    record_size_limit: int = MAX_PLAINTEXT
    raw_public_keys: bool = True
    more_credentials: tuple[Credential, ...] = ()
    require_extended_master_secret: bool = False
    usable_suites: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        keys = [credential.key for credential in self.credentials]
        usable = {
            KeyExchange.PSK: self.psk,
            KeyExchange.ECDHE_PSK: self.psk,
            KeyExchange.ECDHE_ECDSA: any(not key.is_rsa for key in keys),
            KeyExchange.ECDHE_RSA: any(key.is_rsa for key in keys),
        }
        suites = tuple(number for number in self.suites if usable[SUITES[number].key_exchange])
        object.__setattr__(self, "usable_suites", suites)

    @property
    def credentials(self) -> tuple[Credential, ...]:
        """All of our certificates, the default first."""
        return self.more_credentials if self.credential is None else (self.credential, *self.more_credentials)


@dataclass(frozen=True, slots=True)
class Negotiated:
    """The outcome of the two hellos, but for the connection ids; that of many handshakes at once.

    Attributes:
        suite: See `Suite`.
        extended_master_secret: RFC 7627.
        extensions: Bodies for the ServerHello; only what the client offered (RFC 5246 section 7.4.1.4). Read only.
        group: For ECDHE; None otherwise.
        signature_scheme: For our ServerKeyExchange; None for PSK.
        credential: Our certificate for this client; None for PSK.
        server_name: What the client called us; None if it did not.
        sizes: What a record may hold.
        certificate_types: What each side presents; of no meaning with PSK.
    """

    suite: Suite
    extended_master_secret: bool
    extensions: Extensions
    group: int | None = None
    signature_scheme: int | None = None
    server_name: str | None = None
    sizes: RecordSizes = UNLIMITED
    certificate_types: CertificateTypes = X509_ONLY
    credential: Credential | None = None


class Agreements:
    """What was negotiated lately, by what was offered. Refusals are not kept.

    Attributes:
        parameters: Ours.
    """

    __slots__ = ("_by_offer", "parameters")

    def __init__(self, parameters: ServerParameters) -> None:
        self.parameters = parameters
        self._by_offer: dict[bytes, Negotiated] = {}

    def __len__(self) -> int:
        return len(self._by_offer)

    def negotiate(self, hello: ClientHello) -> Negotiated:
        """As `negotiate`, for a full handshake."""
        known = self._by_offer.get(hello.offer)
        if known is not None:
            return known
        negotiated = negotiate(hello, self.parameters)
        if 0 < len(hello.offer) <= MAX_REMEMBERED_OFFER:
            if len(self._by_offer) >= MAX_REMEMBERED_OFFERS:
                del self._by_offer[next(iter(self._by_offer))]
            self._by_offer[hello.offer] = negotiated
        return negotiated


def negotiate(hello: ClientHello, parameters: ServerParameters, resumed: Suite | None = None) -> Negotiated:
    """What comes of a ClientHello.

    Args:
        hello: With a good cookie.
        parameters: Ours.
        resumed: The suite of the session that goes on; all else is settled anew (RFC 5246 section 7.4.1.4).

    Raises:
        HandshakeError: With the reason.
        DecodeError: An extension has a broken body.
    """
    # DTLS versions count down: 1.0 is FEFF, 1.2 is FEFD, later ones are smaller (RFC 6347 section 4.1).
    if hello.version >> 8 != DTLS_1_2 >> 8 or hello.version > DTLS_1_2:
        raise HandshakeError(FailureReason.PROTOCOL_VERSION, f"the client speaks {_version(hello.version)} at most")
    if COMPRESSION_NULL not in hello.compression_methods:
        raise HandshakeError(FailureReason.ILLEGAL_PARAMETER, "null compression is not offered")
    offered = hello.extensions or {}
    answers: Extensions = {}
    _renegotiation(hello, offered, answers)
    if _empty_extension(offered, ExtensionType.EXTENDED_MASTER_SECRET):
        answers[ExtensionType.EXTENDED_MASTER_SECRET] = b""
    elif parameters.require_extended_master_secret:  # RFC 7627 section 5.4
        raise HandshakeError(
            FailureReason.NO_EXTENDED_MASTER_SECRET,
            "the client does not offer extended_master_secret, and [dtls] require_extended_master_secret is on",
        )
    name = offered.get(ExtensionType.SERVER_NAME)
    server_name = ext.decode_server_name(name) if name is not None else None
    choice = _choose(hello, offered, parameters, server_name) if resumed is None else _Choice(resumed)
    # RFC 8422 section 5.1.2: a list must hold "uncompressed"; 5.2: echoed only where an ECC suite was chosen.
    if ExtensionType.EC_POINT_FORMATS in offered:
        if EC_POINT_UNCOMPRESSED not in ext.decode_u8_list(offered[ExtensionType.EC_POINT_FORMATS]):
            raise HandshakeError(FailureReason.ILLEGAL_PARAMETER, "uncompressed points are not offered")
        if choice.group is not None:
            answers[ExtensionType.EC_POINT_FORMATS] = ext.encode_u8_list(bytes((EC_POINT_UNCOMPRESSED,)))
    types = X509_ONLY
    if choice.scheme is not None:
        types = answer_certificate_types(offered, answers, raw_public_keys=parameters.raw_public_keys)
    sizes = answer_sizes(offered, answers, parameters.record_size_limit)
    return Negotiated(
        suite=choice.suite,
        extended_master_secret=ExtensionType.EXTENDED_MASTER_SECRET in answers,
        extensions=answers,
        group=choice.group,
        signature_scheme=choice.scheme,
        server_name=server_name,
        credential=choice.credential,
        sizes=sizes,
        certificate_types=types,
    )


def _renegotiation(hello: ClientHello, offered: Extensions, answers: Extensions) -> None:
    """RFC 5746 section 3.6: the extension or its signalling suite gets an empty answer; neither is accepted too."""
    body = offered.get(ExtensionType.RENEGOTIATION_INFO)
    if body is not None and ext.decode_renegotiation_info(body):
        raise HandshakeError(FailureReason.INSECURE_RENEGOTIATION, "renegotiation_info of a first handshake not empty")
    if body is not None or CipherSuite.TLS_EMPTY_RENEGOTIATION_INFO_SCSV in hello.cipher_suites:
        answers[ExtensionType.RENEGOTIATION_INFO] = _FIRST_HANDSHAKE


def answer_connection_ids(offered: Extensions, answers: Extensions, cid: bytes) -> ConnectionIds | None:
    """The connection ids; None without them. What has to be said goes into `answers`.

    RFC 9146 section 3; RFC 9853 section 3: the check is answered only with a connection id.

    Args:
        offered: The ClientHello's extensions.
        answers: The ServerHello's.
        cid: Our connection id for this association; empty where we give none.

    Raises:
        DecodeError: A broken body.
    """
    body = offered.get(ExtensionType.CONNECTION_ID)
    path_check = _empty_extension(offered, ExtensionType.RETURN_ROUTABILITY_CHECK)
    if body is None:
        return None
    peers = decode_connection_id(body)
    if not cid:
        return None
    answers[ExtensionType.CONNECTION_ID] = encode_connection_id(cid)
    if path_check:
        answers[ExtensionType.RETURN_ROUTABILITY_CHECK] = b""
    return ConnectionIds(cid, peers, path_check)


def _empty_extension(offered: Extensions, extension_type: ExtensionType) -> bool:
    body = offered.get(extension_type)
    if body:
        raise DecodeError(f"{extension_type.name.lower()} must be empty")
    return body is not None


class _Choice(NamedTuple):
    """A suite, and what goes with it; `Negotiated` explains the fields."""

    suite: Suite
    group: int | None = None
    scheme: int | None = None
    credential: Credential | None = None


def _choose(hello: ClientHello, offered: Extensions, parameters: ServerParameters, name: str | None) -> _Choice:
    """The first suite of our order that the client offers and that everything else it offers allows."""
    refusal: HandshakeError | None = None
    for credentials in _by_name(parameters, name):
        for number in parameters.suites:
            if number not in hello.cipher_suites:
                continue
            try:
                choice = _fit(SUITES[number], offered, parameters.psk, credentials)
            except HandshakeError as error:
                refusal = error
                continue
            if choice is not None:
                return choice
    raise refusal or HandshakeError(FailureReason.NO_SHARED_SUITE, _why_no_suite(hello, parameters))


def _by_name(parameters: ServerParameters, name: str | None) -> tuple[tuple[Credential, ...], ...]:
    """Our certificates in groups: those for the host that the client names, then the others, the default first.

    A client that names no host, or one that we do not know, gets the default (RFC 6066 section 3 allows to go on): many
    constrained clients put an address there, or "localhost".
    """
    ours = parameters.credentials
    if name is None or len(ours) < 2:
        return (ours,)
    return tuple(credential for credential in ours if credential.is_for(name)), tuple(
        credential for credential in ours if not credential.is_for(name)
    )


def _fit(suite: Suite, offered: Extensions, psk: bool, credentials: tuple[Credential, ...]) -> _Choice | None:
    """What goes with a suite, and None if we have nothing for it.

    Raises:
        HandshakeError: We have, and the client's lists rule it out.
    """
    kind = suite.key_exchange
    if kind is KeyExchange.PSK:
        return _Choice(suite) if psk else None
    if kind is KeyExchange.ECDHE_PSK:
        return _Choice(suite, _choose_group(_groups(offered))) if psk else None
    refusal: HandshakeError | None = None
    for credential in credentials:
        if credential.key.is_rsa is (kind is KeyExchange.ECDHE_RSA):
            try:
                return _Choice(suite, *_choose_ecdhe(offered, credential.key), credential)
            except HandshakeError as error:
                refusal = refusal or error
    if refusal is not None:
        raise refusal
    return None


def _groups(offered: Extensions) -> tuple[int, ...]:
    body = offered.get(ExtensionType.SUPPORTED_GROUPS)
    # RFC 4492 section 4: no list means that any may be chosen
    return ext.decode_u16_list(body) if body is not None else (NamedGroup.SECP256R1,)


def _choose_group(groups: tuple[int, ...], certificate_group: int | None = None) -> int:
    group = next((group for group in groups if group in SUPPORTED_GROUPS), None)
    if group is None:
        raise HandshakeError(FailureReason.NO_SHARED_GROUP, f"the client offers only {_named(groups, NamedGroup)}")
    # RFC 8422 section 5.1: the certificate's curve counts too
    if certificate_group is not None and certificate_group not in groups:
        needed = _named((certificate_group,), NamedGroup)
        raise HandshakeError(
            FailureReason.NO_SHARED_GROUP,
            f"the client offers only {_named(groups, NamedGroup)}; our certificate is on {needed}",
        )
    return group


def _choose_ecdhe(offered: Extensions, key: SigningKey) -> tuple[int, int]:
    group = _choose_group(_groups(offered), key.group)
    body = offered.get(ExtensionType.SIGNATURE_ALGORITHMS)
    if body is None:  # RFC 5246 section 7.4.1.4.1: the default would be SHA-1
        raise HandshakeError(FailureReason.NO_SHARED_SIGNATURE_ALGORITHM, "the client sends no signature_algorithms")
    schemes = ext.decode_u16_list(body)
    scheme = key.choose(schemes)
    if scheme is None:
        raise HandshakeError(
            FailureReason.NO_SHARED_SIGNATURE_ALGORITHM,
            f"the client takes only the signatures {_named(schemes, SignatureScheme)}",
        )
    return group, scheme


def _why_no_suite(hello: ClientHello, parameters: ServerParameters) -> str:
    """What the operator can switch on here, if there is something; else what was offered."""
    known = [number for number in hello.cipher_suites if number in SUITES]
    if not known:
        return f"the client offers only suites that this gateway does not have: {_suites(hello.cipher_suites)}"
    switched_off = [number for number in known if number not in parameters.suites]
    lacking = sorted({_LACK[SUITES[number].key_exchange] for number in known if number in parameters.suites})
    reasons = [f"this gateway has not got {' or '.join(lacking)}"] if lacking else []
    if switched_off:
        reasons.append(f"[dtls] cipher_suites leaves out {_named(switched_off, CipherSuite)}")
    return f"the client offers suites that cannot be used here: {'; '.join(reasons)}"


def _suites(suites: Sequence[int]) -> str:
    shown = [number for number in suites if number != CipherSuite.TLS_EMPTY_RENEGOTIATION_INFO_SCSV]
    return _named(shown, CipherSuite) if shown else "none"


def _named(values: Sequence[int], names: type[IntEnum]) -> str:
    """A dozen, in words that an operator can search for: IANA's names where this engine knows them, else numbers."""
    known = {int(member): member.name for member in names}
    words = [known.get(value, f"0x{value:04X}") for value in values[:_SHOWN]]
    return ", ".join(words) + (f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else "")


def _version(version: int) -> str:
    return "DTLS 1.0" if version == DTLS_1_0 else f"version {version:#06x}"
