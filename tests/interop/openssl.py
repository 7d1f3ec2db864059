"""`openssl s_client`, and what it calls our cipher suites."""

import re
import subprocess
from dataclasses import dataclass
from functools import cache

from tests.interop.devices import Certified, Psk
from tests.interop.peers import missing, program

PSK_SUITES = {
    "TLS_PSK_WITH_AES_128_CCM_8": "PSK-AES128-CCM8",
    "TLS_PSK_WITH_AES_128_CCM": "PSK-AES128-CCM",
    "TLS_PSK_WITH_AES_128_GCM_SHA256": "PSK-AES128-GCM-SHA256",
    "TLS_PSK_WITH_AES_256_CCM_8": "PSK-AES256-CCM8",
    "TLS_PSK_WITH_AES_256_CCM": "PSK-AES256-CCM",
    "TLS_PSK_WITH_AES_256_GCM_SHA384": "PSK-AES256-GCM-SHA384",
    "TLS_PSK_WITH_CHACHA20_POLY1305_SHA256": "PSK-CHACHA20-POLY1305",
    "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-PSK-CHACHA20-POLY1305",
}
CERTIFICATE_SUITES = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8": "ECDHE-ECDSA-AES128-CCM8",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CCM": "ECDHE-ECDSA-AES128-CCM",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CCM_8": "ECDHE-ECDSA-AES256-CCM8",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CCM": "ECDHE-ECDSA-AES256-CCM",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
}
RSA_SUITES = {
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}
SUITES = PSK_SUITES | CERTIFICATE_SUITES | RSA_SUITES

_ALERT = re.compile(r"SSL alert number (\d+)")


@dataclass(frozen=True, slots=True)
class Refused:
    """How a handshake ended that was to fail.

    Attributes:
        alert: The number of the fatal alert that came; None without one.
        status: The exit status.
        text: What the tool wrote.
    """

    alert: int | None
    status: int
    text: str


def s_client(port: int, device: Psk | Certified | None, suite: str, *options: str) -> list[str]:
    """The command line; skips the test if this OpenSSL has no such suite.

    Args:
        port: The gateway's.
        device: Who it is; None for nobody.
        suite: The IANA name.
        options: More words.
    """
    openssl = program("openssl")
    name = SUITES[suite]
    if name not in _suites(openssl):
        missing(f"this OpenSSL has no {name}")
    command = [openssl, "s_client", "-dtls1_2", "-connect", f"127.0.0.1:{port}", "-mtu", "1400"]
    # -brief: nothing but the data on standard output. OpenSSL has the CCM_8 suites at security level 0 only.
    command += ["-brief", "-no_ign_eof", "-nocommands", "-cipher", f"{name}:@SECLEVEL=0"]
    if isinstance(device, Psk):
        command += ["-psk_identity", device.identity, "-psk", device.key.hex()]
    elif isinstance(device, Certified):
        command += ["-cert", str(device.chain), "-cert_chain", str(device.chain), "-key", str(device.key)]
        command += ["-CAfile", str(device.root), "-verify_return_error"]
        command += ["-servername", "localhost", "-verify_hostname", "localhost"]
    return [*command, *options]


def refused(port: int, device: Psk | Certified | None, suite: str, *options: str) -> Refused:
    """A handshake that the server is expected to refuse."""
    done = subprocess.run(
        s_client(port, device, suite, *options),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    text = (done.stdout + done.stderr).decode(errors="replace")
    alerts = _ALERT.findall(text)
    return Refused(int(alerts[0]) if alerts else None, done.returncode, text)


@cache
def _suites(openssl: str) -> frozenset[str]:
    listed = subprocess.run([openssl, "ciphers", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"], capture_output=True, check=True)
    return frozenset(listed.stdout.decode().strip().split(":"))
