"""Raw public keys in files: what is read, in which form it is kept, and what is refused."""

import contextlib
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from gateway.pki import PkiError, create_root, load_public_key, parse_public_key, public_key_fingerprint

KEY = ec.generate_private_key(ec.SECP256R1())
SPKI = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_pem_and_der_are_read(tmp_path: Path) -> None:
    for data in (PEM, SPKI, b"a comment\n" + PEM):
        path = tmp_path / "key"
        path.write_bytes(data)
        assert load_public_key(path) == SPKI


def test_what_openssl_writes_has_the_fingerprint_that_openssl_computes(tmp_path: Path) -> None:
    private, public = tmp_path / "key.pem", tmp_path / "public.pem"
    private.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    der = subprocess.run(
        ["openssl", "pkey", "-in", private, "-pubout", "-outform", "DER"], check=True, capture_output=True
    ).stdout
    assert public_key_fingerprint(load_public_key(public)) == sha256(der).hexdigest()


def test_there_is_one_form_of_a_key() -> None:
    """RFC 5480: the point may also be compressed; what devices send is not."""
    prefix = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    compressed = prefix + KEY.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    assert parse_public_key(compressed) == SPKI


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()])
def test_other_keys_that_devices_may_have(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> None:
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert parse_public_key(der) == der


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP521R1()),
        ec.generate_private_key(ec.SECP256K1()),
        ed448.Ed448PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
)
def test_keys_of_another_kind_are_refused(
    key: ec.EllipticCurvePrivateKey | ed448.Ed448PrivateKey | rsa.RSAPrivateKey,
) -> None:
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(PkiError, match="secp256r1"):
        parse_public_key(der)


def test_a_private_key_or_a_certificate_is_refused_and_not_quoted() -> None:
    private = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    certificate = create_root("root").certificate.public_bytes(Encoding.PEM)
    for data in (private, certificate, b"", PEM[:60], SPKI + b"\0"):
        with pytest.raises(PkiError, match="openssl pkey") as caught:
            parse_public_key(data, "a-file")
        assert str(caught.value).startswith("a-file holds no public key")
        assert private.decode().splitlines()[1][:20] not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(PkiError, match="cannot read"):
        load_public_key(tmp_path / "nothing")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_key_or_refused(data: bytes) -> None:
    with contextlib.suppress(PkiError):
        parse_public_key(data)
