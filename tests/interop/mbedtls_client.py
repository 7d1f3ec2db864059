"""Mbed TLS 2.28 by python-mbedtls as a driven client: `python -m tests.interop.mbedtls_client JSON` (see `driven`)."""

import importlib
import json
import re
import socket
import sys
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

_ANSWER_S = 20.0
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", re.DOTALL)

# It comes with type stubs only where it is installed.
pk: Any = importlib.import_module("mbedtls.pk")
tls: Any = importlib.import_module("mbedtls.tls")
x509: Any = importlib.import_module("mbedtls.x509")


def certificates(path: str) -> list[Any]:
    return [x509.CRT.from_PEM(text) for text in _CERTIFICATE.findall(Path(path).read_text())]


def configuration(wanted: dict[str, str]) -> Any:
    options: dict[str, Any] = {"ciphers": (wanted["suite"],)} if "suite" in wanted else {}
    if "key" in wanted:
        psk = (wanted["identity"], bytes.fromhex(wanted["key"]))
        return tls.DTLSConfiguration(pre_shared_key=psk, validate_certificates=False, **options)
    trusted = tls.TrustStore()
    for certificate in certificates(wanted["root"]):
        trusted.add(certificate)
    key = load_pem_private_key(Path(wanted["private_key"]).read_bytes(), None)
    der = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    own = (certificates(wanted["chain"]), pk.ECC.from_buffer(der))
    return tls.DTLSConfiguration(trust_store=trusted, certificate_chain=own, validate_certificates=True, **options)


def run(wanted: dict[str, str]) -> None:
    settings = configuration(wanted)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(_ANSWER_S)
        udp.connect(("127.0.0.1", int(wanted["port"])))
        session: Any = None
        for line in sys.stdin:
            command, _, argument = line.strip().partition(" ")
            if command in ("connect", "again"):
                session = tls.ClientContext(settings).wrap_socket(udp, server_hostname="localhost")
                session.do_handshake()
                print(f"connected suite={session.cipher()}", flush=True)
            else:
                assert command == "exchange"
                session.send(bytes.fromhex(argument))
                print(f"data {session.recv(4096).hex()}", flush=True)
        session.shutdown(socket.SHUT_RDWR)
        session.close()


if __name__ == "__main__":
    run(json.loads(sys.argv[1]))
