"""What a presented chain says of itself: whose it claims to be, and which issuer it leads to. Proves nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509

from gateway.pki import ChainRefused, PkiError, describe, device_name, parse_certificates


@dataclass(frozen=True, slots=True)
class ReadChain:
    """Attributes:
    name: The device name in the first certificate; None where there is none that can be read.
    issuer: The name of the issuer that the chain asks for and does not hold; of the root where it holds that.
    issuer_key_id: Its key id, hex; None where the chain does not say.
    """

    name: str | None = None
    issuer: str | None = None
    issuer_key_id: str | None = None


def read_chain(chain_der: Sequence[bytes]) -> ReadChain:
    """Reads a stranger's chain; total: what cannot be read is None.

    Args:
        chain_der: DER certificates, the device's own first; perhaps not all that were presented.
    """
    try:
        certificates = [parse_certificates(der)[0] for der in chain_der]
        if not certificates:
            return ReadChain()
        top = _top(certificates)
        own = top.issuer == top.subject
        key_id = _subject_key_id(top) if own else _authority_key_id(top)
        issuer, shown = describe(top.issuer), key_id.hex() if key_id is not None else None
    except PkiError:
        return ReadChain()
    try:
        return ReadChain(device_name(certificates[0]), issuer, shown)
    except ChainRefused:
        return ReadChain(None, issuer, shown)


def _top(certificates: list[x509.Certificate]) -> x509.Certificate:
    """As far up as names and key ids lead."""
    top, rest = certificates[0], certificates[1:]
    while top.issuer != top.subject:
        wanted = _authority_key_id(top)
        above = next((c for c in rest if c.subject == top.issuer and wanted in (None, _subject_key_id(c))), None)
        if above is None:
            break
        rest.remove(above)
        top = above
    return top


def _authority_key_id(certificate: x509.Certificate) -> bytes | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return None


def _subject_key_id(certificate: x509.Certificate) -> bytes | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return None
