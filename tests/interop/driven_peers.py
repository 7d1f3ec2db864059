"""The foreign libraries behind the clients of `driven`: what they call our suites, and how they are started."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.dtls.crypto import DEFAULT_SUITES, SUITES
from tests.interop.compiled import mbedtls_client, wolfssl_client
from tests.interop.devices import Certified, Psk
from tests.interop.driven import Driven
from tests.interop.peers import FOLDER, library, mbedtls_library, missing, program

_NODE_CLIENT = Path(__file__).parent / "clients/node_client.mjs"

OFFERED = [SUITES[number].name for number in DEFAULT_SUITES]
"""What the gateway offers, in its order."""


@dataclass(frozen=True, slots=True)
class DrivenPeer:
    """A foreign library.

    Attributes:
        name: As the documents call it.
        suites: What it calls those of its suites that the gateway may have, by IANA name.
        command: Its command line, from what is wanted of it; skips the test without the peer.
        certificates: Whether it has those; it has pre-shared keys in any case.
        all_suites: Whether it has a list of suites that it offers when none is named.
    """

    name: str
    suites: Mapping[str, str]
    command: Callable[[dict[str, str]], list[str]]
    certificates: bool = True
    all_suites: bool = True

    def shared(self) -> list[str]:
        """The suites that it has in common with the gateway, in the gateway's order; without those for RSA servers."""
        return [suite for suite in OFFERED if suite in self.suites and not needs_rsa(suite)]

    def shared_with_rsa(self) -> list[str]:
        """Those for a server with an RSA certificate."""
        return [suite for suite in OFFERED if suite in self.suites and needs_rsa(suite)]

    def start(self, port: int, device: Psk | Certified, suite: str | None = None, **options: str) -> Driven:
        """Runs it; the options are those of its client."""
        wanted = {"port": str(port), **options}
        if suite is not None:
            wanted["suite"] = self.suites[suite]
        if isinstance(device, Psk):
            wanted |= {"identity": device.identity, "key": device.key.hex()}
        else:
            wanted |= {"chain": str(device.chain), "private_key": str(device.key), "root": str(device.root)}
        return Driven(self.command(wanted))


def is_psk(suite: str) -> bool:
    return "_PSK_" in suite


def needs_rsa(suite: str) -> bool:
    return "_RSA_" in suite


def _node(wanted: dict[str, str]) -> list[str]:
    folder = FOLDER / "node"
    if not (folder / "node_modules/node-dtls-client").exists():
        missing("node-dtls-client is not installed; `make peers` installs it")
    return [program("node"), str(_NODE_CLIENT), str(folder), json.dumps(wanted)]


def _python_mbedtls(wanted: dict[str, str]) -> list[str]:
    mbedtls_library()
    return [sys.executable, "-m", "tests.interop.mbedtls_client", json.dumps(wanted)]


def _tinydtls(wanted: dict[str, str]) -> list[str]:
    library("DTLSSocket")
    return [sys.executable, "-m", "tests.interop.tinydtls_client", json.dumps(wanted)]


def _pairs(wanted: dict[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in wanted.items()]


_PSK_CCM_GCM = [
    f"TLS_PSK_WITH_AES_{bits}_{mode}"
    for bits, modes in (("128", ("CCM_8", "CCM", "GCM_SHA256")), ("256", ("CCM_8", "CCM", "GCM_SHA384")))
    for mode in modes
]
_ECDSA_CCM_GCM = [suite.replace("_PSK_", "_ECDHE_ECDSA_") for suite in _PSK_CCM_GCM]
_CHACHA = [f"TLS_{kind}_WITH_CHACHA20_POLY1305_SHA256" for kind in ("PSK", "ECDHE_PSK", "ECDHE_ECDSA")]
_RSA = [
    f"TLS_ECDHE_RSA_WITH_{cipher}"
    for cipher in ("AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305_SHA256")
]
_MBEDTLS_SUITES = {suite: suite.replace("_", "-") for suite in (*_PSK_CCM_GCM, *_ECDSA_CCM_GCM, *_CHACHA, *_RSA)}

# Without those for RSA: with an ECDSA certificate of its own it ends such a handshake (INVALID_PARAMETER).
_WOLFSSL_SUITES = {
    "TLS_PSK_WITH_CHACHA20_POLY1305_SHA256": "PSK-CHACHA20-POLY1305",
    "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-PSK-CHACHA20-POLY1305",
    "TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256": "ECDHE-PSK-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8": "ECDHE-ECDSA-AES128-CCM8",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CCM_8": "ECDHE-ECDSA-AES256-CCM8",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CCM": "ECDHE-ECDSA-AES128-CCM",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
}

# Pre-shared keys, no ephemeral key exchange, no ChaCha20; and a ClientHello without a single extension.
NODE = DrivenPeer("node-dtls-client", {suite: suite for suite in _PSK_CCM_GCM}, _node, certificates=False)
PYTHON_MBEDTLS = DrivenPeer("Mbed TLS 2.28", _MBEDTLS_SUITES, _python_mbedtls)
MBEDTLS = DrivenPeer("Mbed TLS 3", _MBEDTLS_SUITES, lambda wanted: [mbedtls_client(), *_pairs(wanted)])
# Its whole list begins with suites for TLS 1.3 and finite-field groups: it is always told which to offer.
WOLFSSL = DrivenPeer("wolfSSL", _WOLFSSL_SUITES, lambda wanted: [wolfssl_client(), *_pairs(wanted)], all_suites=False)
TINYDTLS = DrivenPeer(
    "tinydtls",
    {"TLS_PSK_WITH_AES_128_CCM_8": "TLS_PSK_WITH_AES_128_CCM_8"},
    _tinydtls,
    certificates=False,
)
DRIVEN_PEERS = (NODE, PYTHON_MBEDTLS, MBEDTLS, WOLFSSL, TINYDTLS)
