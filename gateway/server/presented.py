"""What a credential says of itself: whose it claims to be, and which issuer a chain leads to. Proves nothing."""

from collections.abc import Sequence
from typing import NamedTuple

from cryptography import x509

from gateway.pki import PkiError, claimed_name, describe, parse_certificates
from gateway.server.limits import MAX_FAILURE_TEXT


class Issuer(NamedTuple):
    """Attributes:
    name: As a human reads it; None where there is none that can be read.
    key_id: Hex; None where the chain does not say.
    """

    name: str | None = None
    key_id: str | None = None


def claimed_identity(psk_identity: bytes | None, chain_der: Sequence[bytes]) -> str | None:
    """Who a peer says it is, before anything of it is believed; safe to show, and total.

    Args:
        psk_identity: As presented, where it presented one.
        chain_der: DER certificates as presented, the device's own first.

    Returns:
        The identity's text, or hex where it has none that can be printed; else the name in the device's certificate by
        the default rule; None where it names nobody.
    """
    if psk_identity is not None:
        return _shown(psk_identity[:MAX_FAILURE_TEXT])
    return claimed_name(chain_der[0]) if chain_der else None


def issuer_of(chain_der: Sequence[bytes]) -> Issuer:
    """The issuer that a stranger's chain asks for and does not hold, or the root where it holds that. Total.

    Args:
        chain_der: DER certificates, the device's own first; perhaps not all that were presented.
    """
    try:
        certificates = [parse_certificates(der)[0] for der in chain_der]
        if not certificates:
            return Issuer()
        top = _top(certificates)
        own = top.issuer == top.subject
        key_id = _subject_key_id(top) if own else _authority_key_id(top)
        return Issuer(describe(top.issuer), key_id.hex() if key_id is not None else None)
    except PkiError:
        return Issuer()


def _shown(identity: bytes) -> str:
    try:
        text = identity.decode()
    except UnicodeDecodeError:
        text = ""
    return text if text and text.isprintable() else f"0x{identity.hex()}"


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
