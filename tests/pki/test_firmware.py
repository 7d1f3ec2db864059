"""The forms that firmware takes, read back by who takes them: a C compiler, the rules of NVS CSV, of AT commands."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key

from gateway.pki import PkiError, Profile, create_intermediate, create_root, issue_device, pem_bundle, render
from gateway.pki.firmware import key_pem
from tests.interop.peers import library, program

ROOT = create_root("Root")
CA = create_intermediate(ROOT, "Issuing")
DEVICE = issue_device(CA, "urn:dev:mac:0024befffe804ff1")
NAME = "urn:dev:mac:0024befffe804ff1"
SEC_TAG = 16842753


def made(profile: Profile, sec_tag: int = SEC_TAG) -> str:
    return render(profile, NAME, DEVICE.presented, DEVICE.private_key, ROOT.certificate, sec_tag).decode("ascii")


def compiled(folder: Path, *sources: str, run: bool = True) -> bytes:
    """What a C program prints that has been compiled as C99 and with all warnings as errors."""
    command = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-I.", "-o", "program", *sources]
    done = subprocess.run([program("gcc"), *command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return subprocess.run([folder / "program"], capture_output=True, check=True).stdout if run else b""


def same_key(key: object) -> bool:
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key.private_numbers() == DEVICE.private_key.private_numbers()


def split(blob: bytes) -> list[bytes]:
    """What the test programs print: lengths of four bytes, each in front of its bytes."""
    parts = []
    while blob:
        size = int.from_bytes(blob[:4])
        parts.append(blob[4 : 4 + size])
        blob = blob[4 + size :]
    return parts


PRINT = """
#include <stdio.h>
static void print(const unsigned char *data, size_t size) {
    for (int shift = 24; shift >= 0; shift -= 8) putchar((int)((size >> shift) & 0xff));
    fwrite(data, 1, size, stdout);
}
"""


def test_the_c_header_compiles_to_the_very_bytes(tmp_path: Path) -> None:
    (tmp_path / "credentials.h").write_text(made(Profile.C_HEADER))
    names = ("device_certificate", "device_issuer_1", "device_private_key", "server_ca_certificate")
    prints = "".join(f"print({name}, sizeof({name}));" for name in names)
    (tmp_path / "main.c").write_text(
        f'{PRINT}\n#include "credentials.h"\n#include "credentials.h"\n'
        f"int main(void) {{ {prints} print((const unsigned char *)device_id, sizeof(device_id) - 1); return 0; }}\n"
    )
    leaf, issuer, key, root, name = split(compiled(tmp_path, "main.c"))
    assert x509.load_der_x509_certificate(leaf) == DEVICE.certificate
    assert x509.load_der_x509_certificate(issuer) == CA.certificate
    assert same_key(load_der_private_key(key, None))
    assert x509.load_der_x509_certificate(root) == ROOT.certificate
    assert name.decode() == NAME


ZEPHYR_STUB = """
#include <stddef.h>
enum tls_credential_type { TLS_CREDENTIAL_NONE, TLS_CREDENTIAL_CA_CERTIFICATE, TLS_CREDENTIAL_PUBLIC_CERTIFICATE,
    TLS_CREDENTIAL_SERVER_CERTIFICATE = TLS_CREDENTIAL_PUBLIC_CERTIFICATE, TLS_CREDENTIAL_PRIVATE_KEY };
typedef int sec_tag_t;
int tls_credential_add(sec_tag_t tag, enum tls_credential_type type, const void *cred, size_t credlen);
"""
"""The declarations of include/zephyr/net/tls_credentials.h that the source needs, by their documentation."""


def test_the_zephyr_source_adds_the_credentials(tmp_path: Path) -> None:
    (tmp_path / "zephyr/net").mkdir(parents=True)
    (tmp_path / "zephyr/net/tls_credentials.h").write_text(ZEPHYR_STUB)
    (tmp_path / "credentials.c").write_text(made(Profile.ZEPHYR))
    (tmp_path / "main.c").write_text(
        f"{PRINT}\n#include <zephyr/net/tls_credentials.h>\nint device_credentials_add(void);\n"
        "int tls_credential_add(sec_tag_t tag, enum tls_credential_type type, const void *cred, size_t size) {\n"
        f"    if (tag != {SEC_TAG}) return -1;\n"
        "    unsigned char kind = (unsigned char)type; print(&kind, 1); print(cred, size); return 0;\n}\n"
        "int main(void) { return device_credentials_add(); }\n"
    )
    # Zephyr's own sources declare what they define; this one has no header of its own.
    source = (tmp_path / "credentials.c").read_text()
    assert "int device_credentials_add(void)\n" in source
    parts = split(compiled(tmp_path, "main.c", "credentials.c"))
    assert [part[0] for part in parts[::2]] == [1, 2, 3]
    root, leaf, key = parts[1::2]
    assert x509.load_der_x509_certificate(root) == ROOT.certificate
    assert x509.load_der_x509_certificate(leaf) == DEVICE.certificate
    assert same_key(load_der_private_key(key, None))


def test_the_zephyr_source_stops_at_the_first_failure(tmp_path: Path) -> None:
    (tmp_path / "zephyr/net").mkdir(parents=True)
    (tmp_path / "zephyr/net/tls_credentials.h").write_text(ZEPHYR_STUB)
    (tmp_path / "credentials.c").write_text(made(Profile.ZEPHYR))
    (tmp_path / "main.c").write_text(
        "#include <stdio.h>\n#include <zephyr/net/tls_credentials.h>\nint device_credentials_add(void);\n"
        "int tls_credential_add(sec_tag_t tag, enum tls_credential_type type, const void *cred, size_t size) {\n"
        "    (void)tag; (void)type; (void)cred; (void)size; putchar('x'); return -17;\n}\n"
        "int main(void) { return device_credentials_add() != -17; }\n"
    )
    assert compiled(tmp_path, "main.c", "credentials.c") == b"x"


def test_the_nvs_csv_by_its_rules() -> None:
    """ESP-IDF, NVS Partition Generator Utility: four columns with this head; a namespace first, without encoding and
    value; keys of 1 to 15 characters; lines that begin with # are left out before the CSV is read."""
    text = made(Profile.ESP_NVS)
    lines = text.splitlines(keepends=True)
    assert lines[0] == "key,type,encoding,value\n"
    assert not any(line.startswith("#") for line in lines)
    assert all(line.strip() for line in lines)
    first, *rows = csv.DictReader(lines, delimiter=",", strict=True)
    assert first == {"key": "credentials", "type": "namespace", "encoding": "", "value": ""}
    assert {(row["type"], row["encoding"]) for row in rows} == {("data", "string")}
    assert all(1 <= len(row["key"]) <= 15 and len(row["value"]) + 1 <= 4000 for row in rows)
    values = {row["key"]: row["value"] for row in rows}
    assert list(values) == ["device_id", "ca_cert", "client_cert", "client_key"]
    assert values["device_id"] == NAME
    assert values["ca_cert"].encode() == pem_bundle([ROOT.certificate])
    assert values["client_cert"].encode() == pem_bundle(DEVICE.presented)
    assert same_key(load_pem_private_key(values["client_key"].encode(), None))


@pytest.mark.interop
def test_espressifs_own_tool_makes_a_partition_of_it(tmp_path: Path) -> None:
    library("esp_idf_nvs_partition_gen")
    (tmp_path / "device.csv").write_text(made(Profile.ESP_NVS))
    command = [sys.executable, "-m", "esp_idf_nvs_partition_gen", "generate", "device.csv", "device.bin", "0x5000"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    found = strings_of(
        (tmp_path / "device.bin").read_bytes(),
        {"device_id", "ca_cert", "client_cert", "client_key"},
    )
    assert found["device_id"].decode() == NAME
    assert found["ca_cert"] == pem_bundle([ROOT.certificate])
    assert found["client_cert"] == pem_bundle(DEVICE.presented)
    assert same_key(load_pem_private_key(found["client_key"], None))


def strings_of(partition: bytes, keys: set[str]) -> dict[str, bytes]:
    """The strings in an NVS partition: entries of 32 bytes, the key at 8, for a string (type 0x21) its size at 24, its
    bytes in the entries behind (ESP-IDF, Non-Volatile Storage Library, structure of entry)."""
    found = {}
    for at in range(0, len(partition), 32):
        entry = partition[at : at + 32]
        key = entry[8:24].rstrip(b"\0")
        if entry[1] == 0x21 and key.decode("ascii", "replace") in keys:
            size = int.from_bytes(entry[24:26], "little")
            data = partition[at + 32 : at + 32 + size]
            assert data[-1] == 0
            found[key.decode()] = data[:-1]
    return found


def test_what_does_not_fit_nvs_is_refused() -> None:
    deep = [DEVICE.certificate, *[CA.certificate] * 6]
    with pytest.raises(PkiError, match="4000"):
        render(Profile.ESP_NVS, NAME, deep, DEVICE.private_key, ROOT.certificate, 0)


# nRF91 AT Commands, %CMNG, set command: <opcode> 0 writes; the content is a string in double quotes, of several lines.
CMNG = re.compile(r'AT%CMNG=0,([0-9]+),([0-9]),"([^"]*)"\n')


def test_the_modem_commands_by_their_syntax() -> None:
    text = made(Profile.NRF_CMNG)
    assert CMNG.sub("", text) == ""
    commands = CMNG.findall(text)
    assert [(int(tag), int(kind)) for tag, kind, _ in commands] == [(SEC_TAG, 0), (SEC_TAG, 1), (SEC_TAG, 2)]
    root, chain, key = (content for _, _, content in commands)
    assert x509.load_pem_x509_certificates(root.encode()) == [ROOT.certificate]
    assert x509.load_pem_x509_certificates(chain.encode()) == list(DEVICE.presented)
    assert same_key(load_pem_private_key(key.encode(), None))


@pytest.mark.parametrize("profile", [Profile.ZEPHYR, Profile.NRF_CMNG])
@pytest.mark.parametrize("sec_tag", [-1, 2**31])
def test_security_tags_of_others(profile: Profile, sec_tag: int) -> None:
    with pytest.raises(PkiError, match="security tag"):
        made(profile, sec_tag)


@pytest.mark.parametrize("profile", [each for each in Profile if each is not Profile.PEM])
def test_made_again_it_is_the_same(profile: Profile) -> None:
    assert made(profile) == made(profile)
    assert key_pem(DEVICE.private_key).decode() not in made(Profile.C_HEADER)
