"""Keys and certificates in files. A private key has mode 0600 from its first byte, and no file is ever overwritten."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
)

from gateway.pki.certificates import is_library_error, short_name, touch
from gateway.pki.errors import PkiError
from gateway.pki.issuing import CertifiedKey, DeviceKey
from gateway.pki.policy import LEAF_CURVES

PEM_MARK = b"-----BEGIN "


def load_certificates(path: Path) -> list[x509.Certificate]:
    """Reads every certificate of a file: a PEM bundle, or one DER certificate.

    Raises:
        PkiError: The file cannot be read, or holds no certificate.
    """
    return parse_certificates(read_file(path), str(path))


def parse_certificates(data: bytes, origin: str = "the input") -> list[x509.Certificate]:
    """Reads certificates out of bytes: a PEM bundle, or one DER certificate.

    Args:
        data: The bytes.
        origin: Where they are from, for the error text.

    Raises:
        PkiError: There is no certificate in them, or one that cannot be read.
    """
    try:
        if PEM_MARK in data:
            certificates = x509.load_pem_x509_certificates(data)
        else:
            certificates = [x509.load_der_x509_certificate(data)]
        for certificate in certificates:
            touch(certificate)
    except BaseException as error:
        if not is_library_error(error):
            raise
        raise PkiError(
            f"{origin} holds no certificate in PEM or DER form ({error}); name a certificate file"
        ) from error
    return certificates


def load_private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Reads an unencrypted elliptic curve private key: PKCS#8 or SEC 1, PEM or DER.

    Raises:
        PkiError: The file cannot be read, is encrypted, or holds another kind of key.
    """
    key = _load_any_private_key(path)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise PkiError(f"{path} holds no elliptic curve key; make one with `gateway cert server` or `openssl ecparam`")
    return key


def load_device_key(path: Path) -> DeviceKey:
    """Reads a device's unencrypted private key, PEM or DER: of a kind that devices may have.

    Raises:
        PkiError: The file cannot be read, is encrypted, or holds another kind of key.
    """
    key = _load_any_private_key(path)
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in LEAF_CURVES:
        return key
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    raise PkiError(f"{path} holds a key that no device may have; accepted are {' or '.join(sorted(LEAF_CURVES))}")


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """A certificate of the gateway's own, with any kind of key.

    Attributes:
        chain: What it presents: the certificate, then intermediates.
        private_key: Of the first.
    """

    chain: tuple[x509.Certificate, ...]
    private_key: PrivateKeyTypes = field(repr=False)

    @property
    def chain_der(self) -> tuple[bytes, ...]:
        return tuple(certificate.public_bytes(Encoding.DER) for certificate in self.chain)


def load_server_certificate(chain_path: Path, key_path: Path) -> ServerCertificate:
    """Reads a chain file (certificate first, then intermediates) and the key that belongs to its first certificate.

    Raises:
        PkiError: A file cannot be used, or the two do not belong together.
    """
    chain = load_certificates(chain_path)
    key = _load_any_private_key(key_path)
    _check_belongs(chain[0], chain_path, key, key_path)
    return ServerCertificate(tuple(chain), key)


def _check_belongs(certificate: x509.Certificate, chain_path: Path, key: PrivateKeyTypes, key_path: Path) -> None:
    try:
        belongs = certificate.public_key() == key.public_key()
    except UnsupportedAlgorithm:
        belongs = False
    if not belongs:
        raise PkiError(
            f"the key in {key_path} does not belong to the first certificate in {chain_path} "
            f"({short_name(certificate)}); put the certificate of that key first"
        )


def _load_any_private_key(path: Path) -> PrivateKeyTypes:
    data = read_file(path)
    load = load_pem_private_key if PEM_MARK in data else load_der_private_key
    try:
        key = load(data, password=None)
    except TypeError as error:
        raise PkiError(f"{path} is encrypted; decrypt it with `openssl pkey -in {path} -out FILE`") from error
    except BaseException as error:
        if not is_library_error(error):
            raise
        # The library's text is left out: it may quote the file.
        raise PkiError(f"{path} holds no private key in PEM or DER form; name a key file") from error
    return key


def load_certified_key(chain_path: Path, key_path: Path) -> CertifiedKey:
    """Reads a chain file (certificate first, then intermediates) and the key that belongs to its first certificate.

    Raises:
        PkiError: A file cannot be used, or the two do not belong together.
    """
    certificate, *chain = load_certificates(chain_path)
    key = load_private_key(key_path)
    _check_belongs(certificate, chain_path, key, key_path)
    return CertifiedKey(certificate, key, tuple(chain))


def pem_bundle(certificates: Iterable[x509.Certificate]) -> bytes:
    """Certificates one after the other, as PEM."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def write_certified_key(owner: CertifiedKey, chain_path: Path, key_path: Path) -> None:
    """Writes the chain file (certificate, then intermediates) and the key file of one owner, or neither.

    Raises:
        PkiError: One of the files exists, or cannot be written.
    """
    write_private_key(key_path, owner.private_key)
    try:
        write_certificates(chain_path, owner.presented)
    except BaseException:
        key_path.unlink(missing_ok=True)
        raise


def write_private_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Writes a key as unencrypted PKCS#8 PEM with mode 0600.

    Raises:
        PkiError: The file exists, or cannot be written.
    """
    create_file(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)


def write_certificates(path: Path, certificates: Iterable[x509.Certificate]) -> None:
    """Writes a PEM bundle with mode 0644.

    Raises:
        PkiError: The file exists, or cannot be written.
    """
    create_file(path, pem_bundle(certificates), 0o644)


def read_file(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        PkiError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise PkiError(f"cannot read {path}: {error.strerror}") from error


def create_file(path: Path, data: bytes, mode: int) -> None:
    """Writes a file that is not there yet, with this mode from its first byte, onto the disk.

    Raises:
        PkiError: It exists, or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    except FileExistsError as error:
        raise PkiError(f"{path} exists already and is not overwritten; move it away first") from error
    except OSError as error:
        raise PkiError(f"cannot create {path}: {error.strerror}") from error
    try:
        with open(descriptor, "wb") as file:
            # open(2) takes the mode minus the umask, which must not widen or narrow what is promised.
            os.fchmod(descriptor, mode)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise PkiError(f"cannot write {path}: {error.strerror}") from error
