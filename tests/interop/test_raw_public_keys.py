"""Devices with a raw public key (RFC 7250), which `gateway device add --public-key` made known."""

import subprocess
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from aiocoap import Code  # type: ignore[import-untyped]

from tests.interop.compiled import wolfssl_has_raw_public_keys
from tests.interop.driven import Driven
from tests.interop.driven_peers import WOLFSSL
from tests.interop.gateway_process import Gateway
from tests.interop.peers import program
from tests.interop.piped import Piped
from tests.process_log import Line

pytestmark = pytest.mark.interop


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """Files that `openssl` made.

    Attributes:
        private: The private key, PEM.
        public: The public key, PEM.
    """

    private: Path
    public: Path


def make_key(folder: Path) -> KeyFiles:
    keys = KeyFiles(folder / "device-key.pem", folder / "device-public.pem")
    openssl = program("openssl")
    made = [openssl, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(keys.private)]
    subprocess.run(made, check=True, capture_output=True)
    subprocess.run([openssl, "pkey", "-in", keys.private, "-pubout", "-out", keys.public], check=True)
    return keys


def add_device(gateway: Gateway, name: str, keys: KeyFiles) -> None:
    """As an operator does, beside the running gateway."""
    command = [str(Path(sys.executable).with_name("gateway")), "device", "add", name]
    command += ["--public-key", str(keys.public), "--config", str(gateway.site.config)]
    subprocess.run(command, check=True, capture_output=True)


def coap_client(gateway: Gateway, keys: KeyFiles, folder: Path) -> bytes:
    """One GET /time; what came back."""
    body = folder / "body"
    both = folder / "both.pem"  # it wants both keys in one file
    both.write_bytes(keys.public.read_bytes() + keys.private.read_bytes())
    command = [program("coap-client-gnutls"), "-v", "7", "-B", "20", "-M", str(both), "-m", "get", "-o", str(body)]
    command.append(f"coaps://127.0.0.1:{gateway.port}/time")
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    return body.read_bytes() if body.exists() else b""


def gnutls_cli(gateway: Gateway, keys: KeyFiles, log: Path, types: str) -> list[str]:
    priority = "NORMAL:-VERS-ALL:+VERS-DTLS1.2:-KX-ALL:+ECDHE-ECDSA:-CIPHER-ALL:+AES-128-CCM-8:+AES-128-GCM"
    command = [program("gnutls-cli"), "--udp", "-p", str(gateway.port), "127.0.0.1", "--logfile", str(log)]
    command += ["--rawpkkeyfile", str(keys.private), "--rawpkfile", str(keys.public), "--no-ca-verification"]
    return [*command, "--priority", f"{priority}:{types}"]


def completed(gateway: Gateway, seen: int, device: str) -> Line:
    return gateway.log.wait("dtls.handshake_completed", after=seen, device=device)


@pytest.mark.peer("libcoap-gnutls", "raw public key")
def test_libcoap_with_a_raw_public_key(gateway: Gateway, tmp_path: Path) -> None:
    keys, seen = make_key(tmp_path), len(gateway.log)
    add_device(gateway, "raw-libcoap", keys)
    assert coap_client(gateway, keys, tmp_path)
    assert completed(gateway, seen, "raw-libcoap")["auth"] == "rpk"


@pytest.mark.peer("GnuTLS", "raw public key")
@pytest.mark.parametrize(
    "types",
    ["-CTYPE-ALL:+CTYPE-CLI-RAWPK:+CTYPE-SRV-RAWPK", "-CTYPE-CLI-ALL:+CTYPE-CLI-RAWPK:+CTYPE-SRV-X509"],
    ids=["both", "client"],
)
def test_gnutls_with_a_raw_public_key(gateway: Gateway, types: str, tmp_path: Path) -> None:
    keys, seen, name = make_key(tmp_path), len(gateway.log), f"raw-gnutls-{'client' if 'X509' in types else 'both'}"
    add_device(gateway, name, keys)
    with Piped(gnutls_cli(gateway, keys, tmp_path / "log", types)) as tool:
        assert tool.request(Code.GET, "/time").code is Code.CONTENT
        assert tool.finish() == 0
    assert completed(gateway, seen, name)["auth"] == "rpk"


@pytest.mark.peer("wolfSSL", "raw public key")
def test_wolfssl_with_a_raw_public_key(gateway: Gateway, tmp_path: Path) -> None:
    if not wolfssl_has_raw_public_keys():
        pytest.skip("this system's wolfSSL was built without RFC 7250 (Debian 13's has it)")
    keys, seen, name = make_key(tmp_path), len(gateway.log), "raw-wolfssl"
    suite = "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"
    add_device(gateway, name, keys)
    public = tmp_path / "public.der"
    openssl = [program("openssl"), "pkey", "-pubin", "-in", str(keys.public), "-outform", "DER", "-out", str(public)]
    subprocess.run(openssl, check=True)
    wanted = {"port": str(gateway.port), "raw_key": str(public), "private_key": str(keys.private)}
    with Driven(WOLFSSL.command({**wanted, "suite": WOLFSSL.suites[suite]})) as client:
        client.connect()
        assert client.request(Code.GET, "/time").code is Code.CONTENT
        client.again()
        assert client.request(Code.GET, "/time").code is Code.CONTENT
        assert client.finish() == 0
    line = completed(gateway, seen, name)
    assert (line["auth"], line["suite"]) == ("rpk", suite)


def test_raw_public_key_that_nobody_knows(gateway: Gateway, tmp_path: Path) -> None:
    keys, seen = make_key(tmp_path), len(gateway.log)
    assert coap_client(gateway, keys, tmp_path) == b""
    line = gateway.log.wait("dtls.handshake_failed", after=seen, reason="unknown_public_key")
    assert (line["auth"], line["alert"]) == ("rpk", "certificate_unknown")
    der = subprocess.run(
        [program("openssl"), "pkey", "-in", keys.private, "-pubout", "-outform", "DER"], check=True, capture_output=True
    ).stdout
    assert sha256(der).hexdigest() in line["hint"]
