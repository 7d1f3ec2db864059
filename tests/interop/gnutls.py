"""`gnutls-cli --udp`, and what it calls our cipher suites."""

import subprocess
from functools import cache
from pathlib import Path

from tests.interop.devices import Certified, Psk
from tests.interop.peers import missing, program

# What it lists a suite as, its key exchange and its cipher in a priority string.
PSK_SUITES = {
    "TLS_PSK_WITH_AES_128_CCM_8": ("TLS_PSK_AES_128_CCM_8", "PSK", "AES-128-CCM-8"),
    "TLS_PSK_WITH_AES_128_CCM": ("TLS_PSK_AES_128_CCM", "PSK", "AES-128-CCM"),
    "TLS_PSK_WITH_AES_128_GCM_SHA256": ("TLS_PSK_AES_128_GCM_SHA256", "PSK", "AES-128-GCM"),
    "TLS_PSK_WITH_AES_256_CCM_8": ("TLS_PSK_AES_256_CCM_8", "PSK", "AES-256-CCM-8"),
    "TLS_PSK_WITH_AES_256_CCM": ("TLS_PSK_AES_256_CCM", "PSK", "AES-256-CCM"),
    "TLS_PSK_WITH_AES_256_GCM_SHA384": ("TLS_PSK_AES_256_GCM_SHA384", "PSK", "AES-256-GCM"),
    "TLS_PSK_WITH_CHACHA20_POLY1305_SHA256": ("TLS_PSK_CHACHA20_POLY1305", "PSK", "CHACHA20-POLY1305"),
}
"""Without ECDHE_PSK: gnutls-cli 3.7.9 crashes after that handshake, against any server."""
CERTIFICATE_SUITES = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8": ("TLS_ECDHE_ECDSA_AES_128_CCM_8", "ECDHE-ECDSA", "AES-128-CCM-8"),
    "TLS_ECDHE_ECDSA_WITH_AES_128_CCM": ("TLS_ECDHE_ECDSA_AES_128_CCM", "ECDHE-ECDSA", "AES-128-CCM"),
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": (
        "TLS_ECDHE_ECDSA_AES_128_GCM_SHA256",
        "ECDHE-ECDSA",
        "AES-128-GCM",
    ),
    "TLS_ECDHE_ECDSA_WITH_AES_256_CCM_8": ("TLS_ECDHE_ECDSA_AES_256_CCM_8", "ECDHE-ECDSA", "AES-256-CCM-8"),
    "TLS_ECDHE_ECDSA_WITH_AES_256_CCM": ("TLS_ECDHE_ECDSA_AES_256_CCM", "ECDHE-ECDSA", "AES-256-CCM"),
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": (
        "TLS_ECDHE_ECDSA_AES_256_GCM_SHA384",
        "ECDHE-ECDSA",
        "AES-256-GCM",
    ),
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": (
        "TLS_ECDHE_ECDSA_CHACHA20_POLY1305",
        "ECDHE-ECDSA",
        "CHACHA20-POLY1305",
    ),
}
RSA_SUITES = {
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": ("TLS_ECDHE_RSA_AES_128_GCM_SHA256", "ECDHE-RSA", "AES-128-GCM"),
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": ("TLS_ECDHE_RSA_AES_256_GCM_SHA384", "ECDHE-RSA", "AES-256-GCM"),
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": (
        "TLS_ECDHE_RSA_CHACHA20_POLY1305",
        "ECDHE-RSA",
        "CHACHA20-POLY1305",
    ),
}
SUITES = PSK_SUITES | CERTIFICATE_SUITES | RSA_SUITES


def gnutls_cli(
    port: int, device: Psk | Certified, suite: str, log: Path, *options: str, keyword: str = ""
) -> list[str]:
    """The command line; skips the test if this GnuTLS has no such suite.

    Args:
        port: The gateway's.
        device: Who it is.
        suite: The IANA name.
        log: Where it writes what is no data.
        options: More words.
        keyword: What to add to the priority string.
    """
    cli = program("gnutls-cli")
    listed, exchange, cipher = SUITES[suite]
    if listed not in _suites(cli):
        missing(f"this GnuTLS has no {listed}")
    priority = f"NORMAL:-VERS-ALL:+VERS-DTLS1.2:-KX-ALL:+{exchange}:-CIPHER-ALL:+{cipher}"
    if keyword:
        priority += f":{keyword}"
    command = [cli, "--udp", "-p", str(port), "127.0.0.1", "--logfile", str(log), "--priority", priority]
    if isinstance(device, Psk):
        command += ["--pskusername", device.identity, "--pskkey", device.key.hex()]
    else:
        command += ["--x509cafile", str(device.root), "--x509certfile", str(device.chain)]
        command += ["--x509keyfile", str(device.key)]
        command += ["--verify-hostname", "localhost", "--sni-hostname", "localhost"]
    return [*command, *options]


@cache
def _suites(cli: str) -> frozenset[str]:
    listed = subprocess.run([cli, "--list"], capture_output=True, check=True).stdout.decode()
    return frozenset(line.split()[0] for line in listed.splitlines() if line.startswith("TLS_"))
