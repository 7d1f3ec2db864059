"""Reading one certificate revocation list (RFC 5280 section 5).

Only complete lists signed by the CA that issued the certificates are read. A delta list, a partitioned one and an
indirect one each say less, or more, than "these certificates of this CA are revoked", and are marked as such by an
extension that must not be ignored; they are refused with their own reason, not read as something else. A list is
believed only with the issuer's certificate at hand: its key and its right to sign lists are checked here, once.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from cryptography import x509
from cryptography.x509.oid import SignatureAlgorithmOID

from gateway.pki.certificates import describe, is_ca, is_library_error, printable, short_name, subject_key_id
from gateway.pki.limits import MAX_CRL_BYTES, MAX_CRL_ENTRIES, MAX_SERIAL_BYTES
from gateway.pki.serials import Revoked, SerialTable

_PEM_MARK = b"-----BEGIN "
_PEM_LIST = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)

_SIGNATURES = frozenset(
    {
        SignatureAlgorithmOID.ECDSA_WITH_SHA256,
        SignatureAlgorithmOID.ECDSA_WITH_SHA384,
        SignatureAlgorithmOID.ECDSA_WITH_SHA512,
        SignatureAlgorithmOID.RSA_WITH_SHA256,
        SignatureAlgorithmOID.RSA_WITH_SHA384,
        SignatureAlgorithmOID.RSA_WITH_SHA512,
        SignatureAlgorithmOID.ED25519,
    }
)
"""Those that certificates may have; SHA-1 is not among them."""

_COMMAND = "`openssl crl -in FILE -noout -text` shows what is in it"


class CrlProblem(StrEnum):
    """Why a revocation list was not taken; a closed label set."""

    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    DELTA = "delta"
    PARTITIONED = "partitioned"
    UNKNOWN_EXTENSION = "unknown_extension"
    UNKNOWN_ISSUER = "unknown_issuer"
    ISSUER_MAY_NOT_SIGN = "issuer_may_not_sign"
    WEAK_SIGNATURE = "weak_signature"
    BAD_SIGNATURE = "bad_signature"
    NOT_YET_VALID = "not_yet_valid"
    NO_NEXT_UPDATE = "no_next_update"
    OLDER = "older"


class CrlRefused(Exception):
    """A revocation list that is not taken.

    Attributes:
        problem: The typed reason.
        detail: For the operator: what is wrong and what to do next. Printable and bounded.
    """

    def __init__(self, problem: CrlProblem, detail: str) -> None:
        super().__init__(f"{problem}: {detail}")
        self.problem = problem
        self.detail = detail


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A list whose signature and form are good. Whether it is still current depends on the time.

    Attributes:
        issuer: The CA certificate that its signature was checked with.
        number: The cRLNumber; None for a list without one.
        this_update: When it was made, with a time zone.
        next_update: When the CA makes the next one at the latest, with a time zone.
    """

    issuer: x509.Certificate
    number: int | None
    this_update: datetime
    next_update: datetime
    _revoked: SerialTable = field(repr=False, compare=False)

    def __len__(self) -> int:
        return len(self._revoked)

    def find(self, serial: int) -> Revoked | None:
        """The entry of a certificate's serial number; None for one that is not revoked."""
        return self._revoked.find(serial)

    @property
    def memory_bytes(self) -> int:
        """Bytes that the entries take."""
        return self._revoked.__sizeof__()


def read_crl(data: bytes, issuers: Iterable[x509.Certificate], at: datetime) -> RevocationList:
    """Reads and checks a revocation list.

    Args:
        data: One list, DER or PEM.
        issuers: The CA certificates known here: trust anchors and stored intermediates.
        at: The present time, with a time zone. A list that should have been replaced by now is read all the same: what
            it revokes stays revoked.

    Raises:
        CrlRefused: It is not acceptable. No other exception, whatever the bytes.
    """
    try:
        return _read(data, list(issuers), at)
    except CrlRefused:
        raise
    except BaseException as error:
        if not is_library_error(error):
            raise
        text = f"{type(error).__name__}: {printable(str(error))}"
        raise CrlRefused(
            CrlProblem.MALFORMED, f"the revocation list cannot be read ({text}); take it from the CA again"
        ) from error


def _read(data: bytes, issuers: list[x509.Certificate], at: datetime) -> RevocationList:
    crl = _load(data)
    number = _check_extensions(crl)
    issuer = _issuer(crl, issuers)
    this_update, next_update = crl.last_update_utc, crl.next_update_utc
    whose = f"the revocation list of {describe(crl.issuer)}"
    if this_update > at:
        raise CrlRefused(
            CrlProblem.NOT_YET_VALID,
            f"{whose} is from {this_update:%Y-%m-%d %H:%M:%SZ}, which is in the future: our own clock says "
            f"{at:%Y-%m-%d %H:%M:%SZ}; correct the clock that is wrong, then take the list again",
        )
    if next_update is None:
        raise CrlRefused(
            CrlProblem.NO_NEXT_UPDATE,
            f"{whose} does not say when the next one comes (nextUpdate), so that nobody can tell when it is outdated; "
            "let the CA state it, as RFC 5280 section 5.1.2.5 demands (`openssl ca -gencrl -crldays 7`)",
        )
    return RevocationList(issuer, number, this_update, next_update, SerialTable(_entries(crl)))


def _load(data: bytes) -> x509.CertificateRevocationList:
    if len(data) > 2 * MAX_CRL_BYTES:
        raise _too_large(f"{len(data)} bytes")  # PEM takes a third more than DER
    if _PEM_MARK not in data:
        crl = x509.load_der_x509_crl(data)
    else:
        blocks = _PEM_LIST.findall(data)
        if len(blocks) != 1:
            raise CrlRefused(
                CrlProblem.MALFORMED,
                f"the file has {len(blocks)} revocation lists (`-----BEGIN X509 CRL-----`) in it; give one at a time",
            )
        crl = x509.load_pem_x509_crl(blocks[0])
    if len(data) > MAX_CRL_BYTES and len(crl.tbs_certlist_bytes) > MAX_CRL_BYTES:
        raise _too_large(f"{len(data)} bytes")
    if len(crl) > MAX_CRL_ENTRIES:
        raise _too_large(f"{len(crl)} entries")
    return crl


def _too_large(size: str) -> CrlRefused:
    return CrlRefused(
        CrlProblem.TOO_LARGE,
        f"the revocation list has {size}, more than the {MAX_CRL_BYTES} bytes or {MAX_CRL_ENTRIES} entries that are "
        "read; let the CA drop certificates that have expired from it, or issue from several CAs",
    )


def _check_extensions(crl: x509.CertificateRevocationList) -> int | None:
    """Refuses what is more or less than a complete list; returns the cRLNumber."""
    number = None
    for extension in crl.extensions:
        match extension.value:
            case x509.CRLNumber() as found:
                number = found.crl_number
            case x509.DeltaCRLIndicator():
                raise CrlRefused(
                    CrlProblem.DELTA,
                    f"the revocation list of {describe(crl.issuer)} is a delta list, which holds only changes; take "
                    "the complete list of the CA",
                )
            case x509.IssuingDistributionPoint():
                raise CrlRefused(
                    CrlProblem.PARTITIONED,
                    f"the revocation list of {describe(crl.issuer)} has an issuingDistributionPoint: it covers only "
                    "some of the CA's certificates, or those of other CAs; let the CA publish a complete list of its "
                    "own certificates without it",
                )
            case _ if extension.critical and not isinstance(extension.value, x509.AuthorityKeyIdentifier):
                raise _unknown_extension(extension.oid, "")
    return number


def _unknown_extension(oid: x509.ObjectIdentifier, where: str) -> CrlRefused:
    return CrlRefused(
        CrlProblem.UNKNOWN_EXTENSION,
        f"the revocation list has a critical extension{where} that is not understood here ({oid.dotted_string}), so "
        f"that it must not be used (RFC 5280 section 5.2); let the CA leave it out. {_COMMAND}",
    )


def _issuer(crl: x509.CertificateRevocationList, issuers: list[x509.Certificate]) -> x509.Certificate:
    """The known CA whose key signed the list."""
    named = [each for each in issuers if each.subject == crl.issuer]
    fitting = [each for each in named if _key_fits(crl, each)]
    if not fitting:
        also = "; a CA of that name is known, with another key" if named else ""
        raise CrlRefused(
            CrlProblem.UNKNOWN_ISSUER,
            f"the revocation list is of {describe(crl.issuer)}, which is neither a trust anchor nor a stored "
            f"intermediate{also}: give that CA's certificate first, with `gateway ca trust FILE`, or that of an "
            "intermediate with `gateway ca keep FILE`",
        )
    if crl.signature_algorithm_oid not in _SIGNATURES:
        raise CrlRefused(
            CrlProblem.WEAK_SIGNATURE,
            f"the revocation list of {describe(crl.issuer)} is signed with an algorithm that is not accepted "
            f"({crl.signature_algorithm_oid.dotted_string}); let the CA sign with SHA-256 (`openssl ca -gencrl -md "
            "sha256`)",
        )
    signed = [each for each in fitting if _signed(crl, each)]
    if not signed:
        raise CrlRefused(
            CrlProblem.BAD_SIGNATURE,
            f"the signature on the revocation list was not made by the key of {describe(crl.issuer)}; it is damaged or "
            "forged, or the CA made itself a new key: take the list from the CA again",
        )
    allowed = [each for each in signed if _may_sign_lists(each)]
    if not allowed:
        raise CrlRefused(
            CrlProblem.ISSUER_MAY_NOT_SIGN,
            f"{short_name(signed[0])} signed the revocation list, but is no CA that may: basicConstraints cA=true and, "
            "where there is a keyUsage, cRLSign are required; issue the CA a certificate with them",
        )
    return allowed[0]


def _key_fits(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        wanted = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return True
    has = subject_key_id(issuer)
    return wanted is None or has is None or wanted == has


def _signed(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        return crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]  # a key of no use raises TypeError
    except Exception:
        return False


def _may_sign_lists(issuer: x509.Certificate) -> bool:
    if not is_ca(issuer):
        return False
    try:
        return issuer.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign
    except x509.ExtensionNotFound:
        return True


def _entries(crl: x509.CertificateRevocationList) -> Iterator[Revoked]:
    for entry in crl:
        reason = x509.ReasonFlags.unspecified
        for extension in entry.extensions:
            if isinstance(extension.value, x509.CRLReason):
                reason = extension.value.reason
            elif extension.critical:
                # certificateIssuer among them: the entry is about a certificate of another CA.
                raise _unknown_extension(extension.oid, " on an entry")
        # RFC 5280 section 5.3.1: removeFromCRL takes an entry back; a certificate on hold is revoked until then.
        # A serial number outside of the table's range is that of no certificate that verifies.
        if reason is not x509.ReasonFlags.remove_from_crl and 0 <= entry.serial_number < 1 << 8 * MAX_SERIAL_BYTES:
            yield Revoked(entry.serial_number, entry.revocation_date_utc, reason)
