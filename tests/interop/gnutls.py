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
}
CERTIFICATE_SUITES = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8": ("TLS_ECDHE_ECDSA_AES_128_CCM_8", "ECDHE-ECDSA", "AES-128-CCM-8"),
    "TLS_ECDHE_ECDSA_WITH_AES_128_CCM": ("TLS_ECDHE_ECDSA_AES_128_CCM", "ECDHE-ECDSA", "AES-128-CCM"),
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": (
        "TLS_ECDHE_ECDSA_AES_128_GCM_SHA256",
        "ECDHE-ECDSA",
        "AES-128-GCM",
    ),
}
SUITES = PSK_SUITES | CERTIFICATE_SUITES


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
