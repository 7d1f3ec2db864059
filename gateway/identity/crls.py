"""Taking a CA's revocation list into the registry."""

from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.pki import PkiError, RevocationList, fingerprint, parse_certificates, read_crl
from gateway.registry import Registry


def import_crl(registry: Registry, data: bytes, at: datetime, *, url: str = "") -> tuple[RevocationList, bool]:
    """Checks a list against the CAs known here, and keeps it if it is newer than the one of the same CA.

    Args:
        registry: Where to.
        data: The list, DER or PEM.
        at: The present time, with a time zone.
        url: Where it was fetched; empty for one that was brought.

    Returns:
        The list, and whether it is new.

    Raises:
        CrlRefused: It is not acceptable.
        Conflict: There is a newer one already.
        RegistryError: The registry does not take it.
    """
    found = read_crl(data, _issuers(registry), at)
    der = _der(data)
    stored = registry.store_crl(
        fingerprint(found.issuer),
        der,
        crl_number=found.number or 0,
        this_update=found.this_update.timestamp(),
        next_update=found.next_update.timestamp(),
        url=url,
    )
    return found, stored


def _issuers(registry: Registry) -> list[x509.Certificate]:
    known = [record.certificate for record in registry.trust_anchors()] + registry.intermediates()
    issuers = []
    for der in known:
        try:
            issuers += parse_certificates(der)
        except PkiError:
            continue  # what cannot be read signs nothing
    return issuers


def _der(data: bytes) -> bytes:
    # `read_crl` has parsed it, so that this cannot fail.
    if b"-----BEGIN " in data:
        return x509.load_pem_x509_crl(data).public_bytes(Encoding.DER)
    return data
