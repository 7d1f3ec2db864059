"""Mbed TLS as a device has it, by python-mbedtls: `python -m tests.interop.mbedtls_client` (see `jobs`)."""

import importlib
import json
import re
import socket
import sys
from pathlib import Path
from typing import Any

import aiocoap  # type: ignore[import-untyped]
from aiocoap.numbers.types import Type  # type: ignore[import-untyped]
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from tests.interop.jobs import Job

_ANSWER_S = 20.0
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", re.DOTALL)

# It comes with type stubs only where it is installed.
pk: Any = importlib.import_module("mbedtls.pk")
tls: Any = importlib.import_module("mbedtls.tls")
x509: Any = importlib.import_module("mbedtls.x509")


def certificates(path: str) -> list[Any]:
    return [x509.CRT.from_PEM(text) for text in _CERTIFICATE.findall(Path(path).read_text())]


def configuration(job: Job) -> Any:
    options: dict[str, Any] = {"ciphers": tuple(job["suites"])} if "suites" in job else {}
    if "key" in job:
        psk = (job["identity"], bytes.fromhex(job["key"]))
        return tls.DTLSConfiguration(pre_shared_key=psk, validate_certificates=False, **options)
    trusted = tls.TrustStore()
    for certificate in certificates(job["root"]):
        trusted.add(certificate)
    key = load_pem_private_key(Path(job["private_key"]).read_bytes(), None)
    der = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    own = (certificates(job["chain"]), pk.ECC.from_buffer(der))
    return tls.DTLSConfiguration(trust_store=trusted, certificate_chain=own, validate_certificates=True, **options)


def run(job: Job) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(_ANSWER_S)
        udp.connect(("127.0.0.1", job["port"]))
        session = tls.ClientContext(configuration(job)).wrap_socket(udp, server_hostname="localhost")
        session.do_handshake()
        for number, (method, path, payload) in enumerate(job["requests"], start=1):
            segments = path.strip("/").split("/")
            body = bytes.fromhex(payload)
            code = aiocoap.Code[method]
            request = aiocoap.Message(code=code, uri_path=segments, payload=body, _mid=number, _mtype=Type.CON)
            session.send(request.encode())
            response = aiocoap.Message.decode(session.recv(4096))
            assert (response.mtype, response.mid) == (Type.ACK, number)
            print(json.dumps([response.code.dotted, response.payload.hex()]), flush=True)
        session.close()


if __name__ == "__main__":
    run(json.load(sys.stdin))
