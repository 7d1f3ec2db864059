"""A device's credentials in the forms that firmware takes: text to compile, to flash, or to send to a modem.

Each form holds the private key, so each file is as secret as it. They are made of a key and a certificate alone, in
one way: made again, they are the same.

- `C_HEADER`: arrays of DER for anything that compiles C: Mbed TLS (`mbedtls_x509_crt_parse_der`,
  `mbedtls_pk_parse_key`), wolfSSL.
- `ZEPHYR`: a C source for Zephyr's TLS credentials, `tls_credential_add(tag, type, cred, credlen)` of
  `zephyr/net/tls_credentials.h`. DER holds one certificate, so the device sends its own alone.
- `ESP_NVS`: the CSV that ESP-IDF's NVS partition generator reads: `key,type,encoding,value`, a namespace first, keys of
  at most 15 characters, strings of at most 4000 bytes with their NUL, which it adds.
- `NRF_CMNG`: the commands that write into the credential storage of an nRF91 modem,
  `AT%CMNG=0,<sec_tag>,<type>,"<content>"` with 0 root CA, 1 client certificate, 2 client key.
"""

import csv
import io
from collections.abc import Callable, Sequence
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.pki.errors import PkiError
from gateway.pki.files import pem_bundle
from gateway.pki.limits import MAX_NVS_STRING_BYTES, MAX_SEC_TAG


class Profile(StrEnum):
    """The forms."""

    PEM = "pem"
    C_HEADER = "c-header"
    ZEPHYR = "zephyr"
    ESP_NVS = "esp-nvs"
    NRF_CMNG = "nrf-cmng"

    @property
    def suffix(self) -> str:
        """Of the file that is beside the PEM files; empty for those alone."""
        return _SUFFIXES[self]


_SUFFIXES = {
    Profile.PEM: "",
    Profile.C_HEADER: ".h",
    Profile.ZEPHYR: ".c",
    Profile.ESP_NVS: ".nvs.csv",
    Profile.NRF_CMNG: ".cmng",
}

_ROW = 12
"""Bytes in a line of an array: 72 characters."""


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as unencrypted PKCS#8 PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def check_sec_tag(sec_tag: int) -> None:
    """Whether a security tag may be an application's.

    Raises:
        PkiError: It may not.
    """
    if not 0 <= sec_tag <= MAX_SEC_TAG:
        raise PkiError(f"a security tag is a number from 0 to {MAX_SEC_TAG}, not {sec_tag}")


def render(
    profile: Profile,
    device_id: str,
    chain: Sequence[x509.Certificate],
    key: ec.EllipticCurvePrivateKey,
    server_ca: x509.Certificate,
    sec_tag: int,
) -> bytes:
    """A device's credentials in one form.

    Args:
        profile: The form; not PEM, which is the files that are there anyway.
        device_id: Its name; of the characters of `names`, so that it ends neither a comment nor a string.
        chain: Its certificate, then the intermediates.
        key: Its key.
        server_ca: By what it checks the gateway.
        sec_tag: Under which number the device keeps them, where the form has one.

    Raises:
        PkiError: They do not fit the form.
    """
    return _FORMS[profile](device_id, chain, key, server_ca, sec_tag).encode("ascii")


def _c_header(
    device_id: str,
    chain: Sequence[x509.Certificate],
    key: ec.EllipticCurvePrivateKey,
    server_ca: x509.Certificate,
    _sec_tag: int,
) -> str:
    arrays = {
        "device_certificate": _der(chain[0]),
        **{f"device_issuer_{n}": _der(each) for n, each in enumerate(chain[1:], 1)},
        "device_private_key": _key_der(key),
        "server_ca_certificate": _der(server_ca),
    }
    return (
        f"/* Credentials of the device {device_id}, DER; secret. */\n"
        "#ifndef DEVICE_CREDENTIALS_H\n#define DEVICE_CREDENTIALS_H\n\n"
        f'static const char device_id[] = "{device_id}";\n\n'
        + "\n".join(_array(name, data) for name, data in arrays.items())
        + "\n#endif\n"
    )


def _zephyr(
    device_id: str,
    chain: Sequence[x509.Certificate],
    key: ec.EllipticCurvePrivateKey,
    server_ca: x509.Certificate,
    sec_tag: int,
) -> str:
    check_sec_tag(sec_tag)
    arrays = {
        "server_ca_certificate": ("TLS_CREDENTIAL_CA_CERTIFICATE", _der(server_ca)),
        "device_certificate": ("TLS_CREDENTIAL_PUBLIC_CERTIFICATE", _der(chain[0])),
        "device_private_key": ("TLS_CREDENTIAL_PRIVATE_KEY", _key_der(key)),
    }
    calls = "\n".join(
        f"\tif (err == 0) {{\n\t\terr = tls_credential_add(DEVICE_SEC_TAG, {kind},\n"
        f"\t\t\t\t\t {name}, sizeof({name}));\n\t}}"
        for name, (kind, _) in arrays.items()
    )
    return (
        f"/* Credentials of the device {device_id}, DER; secret. */\n"
        "#include <zephyr/net/tls_credentials.h>\n\n"
        f"#define DEVICE_SEC_TAG {sec_tag}\n\n"
        "/* In older releases TLS_CREDENTIAL_PUBLIC_CERTIFICATE has the name TLS_CREDENTIAL_SERVER_CERTIFICATE. */\n\n"
        + "\n".join(_array(name, data) for name, (_, data) in arrays.items())
        + "\n/* Before the socket is made, which then has TLS_SEC_TAG_LIST set to DEVICE_SEC_TAG. */\n"
        f"int device_credentials_add(void)\n{{\n\tint err = 0;\n\n{calls}\n\treturn err;\n}}\n"
    )


def _esp_nvs(
    device_id: str,
    chain: Sequence[x509.Certificate],
    key: ec.EllipticCurvePrivateKey,
    server_ca: x509.Certificate,
    _sec_tag: int,
) -> str:
    strings = {
        "device_id": device_id,
        "ca_cert": _pem(server_ca),
        "client_cert": _pem(*chain),
        "client_key": key_pem(key).decode(),
    }
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("key", "type", "encoding", "value"))
    rows.writerow(("credentials", "namespace", "", ""))
    for name, value in strings.items():
        if len(value) >= MAX_NVS_STRING_BYTES:
            raise PkiError(
                f"{name} of '{device_id}' has {len(value)} bytes, and a string in NVS fewer than "
                f"{MAX_NVS_STRING_BYTES}; issue from a CA nearer to the root"
            )
        rows.writerow((name, "data", "string", value))
    return text.getvalue()


def _nrf_cmng(
    _device_id: str,
    chain: Sequence[x509.Certificate],
    key: ec.EllipticCurvePrivateKey,
    server_ca: x509.Certificate,
    sec_tag: int,
) -> str:
    check_sec_tag(sec_tag)
    contents = (_pem(server_ca), _pem(*chain), key_pem(key).decode())
    return "".join(f'AT%CMNG=0,{sec_tag},{kind},"{text.rstrip()}"\n' for kind, text in enumerate(contents))


_FORMS: dict[
    Profile,
    Callable[[str, Sequence[x509.Certificate], ec.EllipticCurvePrivateKey, x509.Certificate, int], str],
] = {
    Profile.C_HEADER: _c_header,
    Profile.ZEPHYR: _zephyr,
    Profile.ESP_NVS: _esp_nvs,
    Profile.NRF_CMNG: _nrf_cmng,
}


def _array(name: str, data: bytes) -> str:
    rows = (data[at : at + _ROW] for at in range(0, len(data), _ROW))
    body = "\n".join(f"\t0x{row.hex(',').replace(',', ', 0x')}," for row in rows)
    return f"static const unsigned char {name}[] = {{\n{body}\n}};\n"


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def _key_der(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def _pem(*certificates: x509.Certificate) -> str:
    return pem_bundle(certificates).decode()
