"""Reading certificates that nobody vouches for.

`cryptography` parses lazily: a certificate loads, and a property of it raises later (ValueError for bad DER inside an
extension, UnsupportedAlgorithm for a key, TypeError for a name, and, should its native part ever panic, a
BaseException). Which of them are answers to bad bytes, and not somebody stopping the process, is decided in one place,
`is_library_error`. Whatever touches a peer's certificate runs inside `peer_data`, which turns them into `ChainRefused`.
Certificates of the operator's own files go through `touch` once and are values from then on.
"""

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from gateway.pki.errors import ChainProblem, ChainRefused
from gateway.pki.limits import MAX_CERTIFICATE_BYTES, MAX_QUOTED_CHARACTERS


def parse(der: bytes, position: int) -> x509.Certificate:
    """Parses one presented certificate, lazily as the library does.

    Args:
        der: The DER bytes as presented.
        position: Its place in the chain, 0 for the leaf; for the operator text.

    Raises:
        ChainRefused: The bytes are no certificate that we can read, or no CA wrote them (`MALFORMED`).
    """
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise ChainRefused(
            ChainProblem.MALFORMED,
            f"certificate {position} of the chain has {len(der)} bytes, at most {MAX_CERTIFICATE_BYTES} are accepted; "
            "issue the device a smaller one",
        )
    try:
        certificate = x509.load_der_x509_certificate(der)
    except BaseException as error:
        if not is_library_error(error):
            raise
        raise _malformed(f"certificate {position} of the chain", error) from error
    # The last BIT STRING says how many of its bits are not used. No CA says other than 0, anybody can write another
    # number where the last bits are zero, and each would be another fingerprint (`fingerprints`).
    if der[-len(certificate.signature) - 1]:
        raise ChainRefused(
            ChainProblem.MALFORMED,
            f"the signature of certificate {position} of the chain is no whole number of bytes; it was changed after "
            "its CA had signed it: install it on the device as the CA issued it",
        )
    return certificate


def touch(certificate: x509.Certificate) -> None:
    """Reads every lazily parsed part that this room uses later, so that what is broken raises here."""
    _ = (
        certificate.version,
        certificate.subject.rfc4514_string(),
        certificate.issuer.rfc4514_string(),
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        certificate.signature_algorithm_oid,
        certificate.public_key_algorithm_oid,
    )
    for extension in certificate.extensions:
        _ = extension.value


class peer_data:  # a context manager, read as a word; a generator would cost four times as much
    """Turns anything that `cryptography` raises on a peer's bytes into `ChainRefused`.

    Raises:
        ChainRefused: Something inside raised (`MALFORMED`); a ChainRefused from inside passes through.
    """

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is not None and not isinstance(error, ChainRefused) and is_library_error(error):
            raise _malformed(self._what, error) from error


def is_library_error(error: BaseException) -> bool:
    """Whether an exception may be what `cryptography` makes of bad bytes.

    That is any Exception: the library has kinds of its own, and not all are ValueErrors. A panic of its native part is
    a BaseException that has no importable name; a peer must not be able to stop the process with it. An interrupt, an
    exit and a cancellation are none.
    """
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def _malformed(what: str, error: BaseException) -> ChainRefused:
    text = (
        f"{what} cannot be read ({type(error).__name__}: {printable(str(error))}); issue the device a new certificate"
    )
    return ChainRefused(ChainProblem.MALFORMED, text)


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 over the DER bytes, lower-case hex: the id of a trust anchor, and what `openssl x509 -sha256` prints."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def printable(text: str, limit: int = MAX_QUOTED_CHARACTERS) -> str:
    """Makes peer-controlled text fit for one log line: no control characters, no bidi tricks, bounded."""
    clean = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text[: limit + 1])
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."


def describe(name: x509.Name) -> str:
    """A distinguished name for an operator text."""
    return f"'{printable(name.rfc4514_string())}'" if len(name.rdns) else "(empty name)"


def subject_key_id(certificate: x509.Certificate) -> bytes | None:
    """The subjectKeyIdentifier extension's value, when there is one."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return None


def authority_key_id(certificate: x509.Certificate) -> bytes | None:
    """The keyIdentifier inside authorityKeyIdentifier, when there is one."""
    authority = authority_extension(certificate)
    return authority.key_identifier if authority else None


def authority_extension(certificate: x509.Certificate) -> x509.AuthorityKeyIdentifier | None:
    """The authorityKeyIdentifier extension, when there is one."""
    try:
        return certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except x509.ExtensionNotFound:
        return None


def wanted_issuer(certificate: x509.Certificate) -> str:
    """Names the issuer that a certificate asks for, by name and key id, for an operator text."""
    key_id = authority_key_id(certificate)
    return f"{describe(certificate.issuer)}, key id {key_id.hex() if key_id else 'not stated'}"


def is_ca(certificate: x509.Certificate) -> bool:
    """Whether basicConstraints is there with cA=true (RFC 5280 section 4.2.1.9)."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def short_name(certificate: x509.Certificate) -> str:
    """The common name, or the whole subject, for an operator text."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return f"'{printable(str(names[0].value))}'" if names else describe(certificate.subject)
