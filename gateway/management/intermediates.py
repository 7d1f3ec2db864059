"""Operations on intermediate CAs' certificates that are kept for devices that send their own certificate alone."""

from typing import Annotated

from pydantic import Field, StringConstraints

from gateway.management.limits import MAX_CERTIFICATES_TEXT
from gateway.management.operation import Context, operation
from gateway.management.problems import pki_errors
from gateway.management.values import Answer, Given, Nothing
from gateway.registry import InvalidValue


class Intermediate(Answer):
    """A certificate that is kept. It is not trusted by that."""

    fingerprint: str = Field(description="SHA-256, lower-case hex.")
    subject: str
    issuer: str


class IntermediateList(Answer):
    """All that are kept, oldest first."""

    intermediates: list[Intermediate]


class NewIntermediates(Given):
    """Certificates to keep."""

    certificates: Annotated[str, StringConstraints(max_length=MAX_CERTIFICATES_TEXT)] = Field(description="PEM.")


@operation("intermediate.list", "GET", "/intermediates")
def list_all(context: Context, given: Nothing) -> IntermediateList:
    """List the intermediate CAs' certificates that are kept."""
    from gateway.pki import PkiError, fingerprint, parse_certificates

    found = []
    for der in context.registry.intermediates():
        try:
            [certificate] = parse_certificates(der)
        except (PkiError, ValueError):
            continue  # it helps nobody, and harms nobody
        subject, issuer = certificate.subject.rfc4514_string(), certificate.issuer.rfc4514_string()
        found.append(Intermediate(fingerprint=fingerprint(certificate), subject=subject, issuer=issuer))
    return IntermediateList(intermediates=found)


@operation("intermediate.add", "POST", "/intermediates")
def add(context: Context, given: NewIntermediates) -> IntermediateList:
    """Keep intermediate CAs' certificates, for devices that do not send them and for their revocation lists.

    None is trusted by that.
    """
    from cryptography.hazmat.primitives.serialization import Encoding

    from gateway.pki import is_ca, parse_certificates, short_name

    with pki_errors():
        certificates = parse_certificates(given.certificates.encode("utf-8", "replace"), "the bundle")
    for certificate in certificates:
        if not is_ca(certificate):
            raise InvalidValue(f"{short_name(certificate)} is not a CA's certificate; only those help to verify others")
    for certificate in certificates:
        context.registry.add_intermediate(certificate.public_bytes(Encoding.DER))
    return list_all.run(context, Nothing())
