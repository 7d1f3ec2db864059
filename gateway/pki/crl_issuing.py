"""Making certificate revocation lists: version 2, complete, one for each CA (RFC 5280 section 5)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from cryptography import x509

from gateway.pki import profile
from gateway.pki.certificates import is_ca, short_name
from gateway.pki.errors import PkiError
from gateway.pki.issuing import CertifiedKey
from gateway.pki.limits import CRL_LIFETIME, MAX_CRL_NUMBER


class RevocationReason(StrEnum):
    """Why a certificate is revoked (RFC 5280 section 5.3.1).

    Without certificateHold and removeFromCRL, which are for certificates that come back, and aACompromise, which is
    about attribute certificates.
    """

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "key_compromise"
    CA_COMPROMISE = "ca_compromise"
    AFFILIATION_CHANGED = "affiliation_changed"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessation_of_operation"
    PRIVILEGE_WITHDRAWN = "privilege_withdrawn"


@dataclass(frozen=True, slots=True)
class Revocation:
    """One line of a CRL.

    Attributes:
        serial: The certificate's serial number.
        at: Since when it is revoked, with a time zone.
        reason: Why.
    """

    serial: int
    at: datetime
    reason: RevocationReason = RevocationReason.UNSPECIFIED


def make_crl(
    ca: CertifiedKey,
    revocations: Iterable[Revocation],
    number: int,
    *,
    at: datetime | None = None,
    lifetime: timedelta = CRL_LIFETIME,
) -> x509.CertificateRevocationList:
    """Makes a CA's CRL.

    Certificates that have expired meanwhile stay on it: a gateway may grant devices without a clock a grace.

    Args:
        ca: The CA that issued the certificates.
        revocations: All that are revoked, each serial number once.
        number: The cRLNumber, greater than that of every CRL of this CA before.
        at: The time of issue, now by default; to whole seconds.
        lifetime: From then until nextUpdate.

    Raises:
        PkiError: The CA may not sign CRLs, or has expired, or a number or a lifetime is out of range.
    """
    moment = (at or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)
    _check(ca, number, moment, lifetime)
    entries = [_entry(each) for each in sorted(revocations, key=lambda each: each.serial)]
    # Handed over in one piece: the builder copies its list for each one that is added.
    builder = x509.CertificateRevocationListBuilder(revoked_certificates=entries)
    return (
        builder.issuer_name(ca.certificate.subject)
        .last_update(moment)
        .next_update(moment + lifetime)
        .add_extension(profile.authority_of(ca.certificate, ca.private_key), critical=False)
        .add_extension(x509.CRLNumber(number), critical=False)
        .sign(ca.private_key, profile.digest_for(ca.private_key))
    )


def _check(ca: CertifiedKey, number: int, moment: datetime, lifetime: timedelta) -> None:
    certificate = ca.certificate
    if not is_ca(certificate):
        raise PkiError(f"{short_name(certificate)} is not a CA certificate; name the CA that issued what is revoked")
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        pass
    else:
        if not usage.crl_sign:
            raise PkiError(
                f"the keyUsage of {short_name(certificate)} lacks cRLSign, so nobody would believe its CRL; "
                "issue the CA a new certificate for its key with it"
            )
    if moment > certificate.not_valid_after_utc:
        raise PkiError(f"the CA certificate {short_name(certificate)} has expired; renew it before it signs a CRL")
    if not 0 <= number <= MAX_CRL_NUMBER:
        raise PkiError(f"a CRL number is from 0 to {MAX_CRL_NUMBER}, not {number}")
    if lifetime <= timedelta(0):
        raise PkiError("a CRL is valid for some time: nextUpdate has to be after thisUpdate")


def _entry(revocation: Revocation) -> x509.RevokedCertificate:
    builder = (
        x509.RevokedCertificateBuilder()
        .serial_number(revocation.serial)
        .revocation_date(revocation.at.astimezone(UTC).replace(microsecond=0))
    )
    if revocation.reason is not RevocationReason.UNSPECIFIED:
        # RFC 5280 section 5.3.1: rather no reason code than "unspecified".
        flag = x509.ReasonFlags[revocation.reason.value]
        builder = builder.add_extension(x509.CRLReason(flag), critical=False)
    return builder.build()
