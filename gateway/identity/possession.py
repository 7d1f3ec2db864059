"""Whether whoever asks to trust a CA holds its key: they let it sign a certificate with a code that only we know."""

from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import NameOID

from gateway.pki import PkiError, describe, short_name


def check_possession(ca: x509.Certificate, proof: x509.Certificate, code: str, at: datetime) -> None:
    """Checks a proof of possession.

    Args:
        ca: The CA to be trusted.
        proof: A certificate that its key signed, with the code as its only common name.
        code: `Registry.registration_code` of the CA.
        at: The present time, with a time zone.

    Raises:
        PkiError: It proves nothing.
    """
    remedy = f"let the CA sign a certificate for the common name {code}, valid now, and give that one"
    names = [attribute.value for attribute in proof.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [code]:
        raise PkiError(f"the proof {short_name(proof)} does not have the registration code as its name; {remedy}")
    if not proof.not_valid_before_utc <= at <= proof.not_valid_after_utc:
        raise PkiError(f"the proof {short_name(proof)} is not valid now; {remedy}")
    try:
        proof.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise PkiError(
            f"the proof {short_name(proof)} was not signed by the CA {describe(ca.subject)}; {remedy}"
        ) from error
