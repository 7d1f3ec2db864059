"""Which client is shown to work with what: read off the marks of the tests, `pytest.mark.peer(client, feature)`.

Both may name parameters of the test ("{peer.name}"). A feature is the name of a cipher suite or one of `FEATURES`.
`test_matrix` sees that no pair is forgotten: a client
either has a test for a feature, or `LACKS` says why it cannot have one. `docs/dtls.md` has the same as tables, which
`python -m tests.interop.matrix` writes.
"""

import json
import subprocess
import sys
from functools import cache

from tests.interop.driven_peers import MBEDTLS, NODE, OFFERED, PYTHON_MBEDTLS, TINYDTLS, WOLFSSL, is_psk
from tests.interop.gateway_process import REPOSITORY
from tests.interop.marks import PREFIX

OPENSSL = "OpenSSL"
GNUTLS = "GnuTLS"
LIBCOAP_OPENSSL = "libcoap-openssl"
LIBCOAP_GNUTLS = "libcoap-gnutls"
PEERS = (
    OPENSSL,
    GNUTLS,
    LIBCOAP_OPENSSL,
    LIBCOAP_GNUTLS,
    MBEDTLS.name,
    PYTHON_MBEDTLS.name,
    WOLFSSL.name,
    TINYDTLS.name,
    NODE.name,
)

FEATURES = {
    "psk": "Pre-shared key",
    "certificate": "Certificate",
    "ticket": "Resumption by ticket",
    "session id": "by session id",
    "max_fragment_length": "max_fragment_length",
    "record_size_limit": "record_size_limit",
    "raw public key": "Raw public key",
    "connection id": "Connection id",
    "reboot": "Reboot, same port",
    "loss": "Lost datagrams",
}
"""What the tables call each feature."""

DOCUMENT = REPOSITORY / "docs/dtls.md"
HEADING = "Tested with"

_NO_TIMER = "its binding waits for the server and repeats nothing meanwhile"
_NO_OPTION = "its command line has no option for it"
_BINDING = "the binding does not reach it; Mbed TLS 3 shows it"
LACKS: dict[tuple[str, str], str] = {
    **{
        (peer, feature): _NO_OPTION
        for peer in (LIBCOAP_OPENSSL, LIBCOAP_GNUTLS)
        for feature in ("ticket", "session id", "max_fragment_length", "record_size_limit")
    },
    **{
        (PYTHON_MBEDTLS.name, feature): _BINDING
        for feature in ("ticket", "session id", "max_fragment_length", "record_size_limit")
    },
    **{
        (peer, feature): "it has no such thing"
        for peer in (TINYDTLS.name, NODE.name)
        for feature in ("ticket", "session id", "max_fragment_length", "record_size_limit")
    },
    **{(peer, "record_size_limit"): "it does not know it" for peer in (OPENSSL, MBEDTLS.name, WOLFSSL.name)},
    (GNUTLS, "max_fragment_length"): "it sends record_size_limit beside it, which counts",
    **{(peer, "raw public key"): "it has none" for peer in (MBEDTLS.name, PYTHON_MBEDTLS.name, NODE.name)},
    **{(peer, "raw public key"): "OpenSSL 3.0 has none" for peer in (OPENSSL, LIBCOAP_OPENSSL)},
    (TINYDTLS.name, "raw public key"): "the binding does not reach it",
    **{(peer, "connection id"): "it does not know it" for peer in PEERS if peer != MBEDTLS.name},
    (TINYDTLS.name, "certificate"): "it has raw public keys, and this binding not even those",
    (NODE.name, "certificate"): "it has pre-shared keys only",
    (GNUTLS, "reboot"): "gnutls-cli cannot be told its port",
    (OPENSSL, "loss"): "libcoap-openssl shows the same code",
    (GNUTLS, "loss"): "libcoap-gnutls shows the same code",
    (PYTHON_MBEDTLS.name, "loss"): _NO_TIMER,
    (TINYDTLS.name, "loss"): _NO_TIMER,
    (NODE.name, "loss"): "it never repeats a flight",
}

NOT_TESTED = {
    "TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256": "none of these has it",
    "TLS_ECDHE_PSK_WITH_AES_128_CCM_SHA256": "none of these has it",
    "TLS_ECDHE_PSK_WITH_AES_256_GCM_SHA384": "none of these has it",
}
"""Suites of the gateway without a foreign client, and why. Californium has these."""


@cache
def marks() -> frozenset[tuple[str, str]]:
    """Every pair of client and feature that a test of this folder is marked with."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-qq",
        "-p",
        "tests.interop.marks",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(
        [*command, "tests/interop"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(PREFIX)]
    found = {(client, feature) for client, feature in json.loads(line.removeprefix(PREFIX))}
    suites = {(client, suite) for client, suite in found if suite.startswith("TLS_")}
    return frozenset(found | {(client, "psk" if is_psk(suite) else "certificate") for client, suite in suites})


def feature_rows() -> list[list[str]]:
    """A row for each client: its name, then for each feature "yes", or "-" if it lacks that."""
    found = marks()
    return [[peer, *("yes" if (peer, feature) in found else "-" for feature in FEATURES)] for peer in PEERS]


def suite_rows() -> list[list[str]]:
    """A row for each suite: its name, then the clients that it is tested with."""
    found = marks()
    clients = {suite: ", ".join(peer for peer in PEERS if (peer, suite) in found) for suite in OFFERED}
    return [[f"`{suite}`", names or NOT_TESTED.get(suite, "")] for suite, names in clients.items()]


def tables() -> str:
    """Both tables, as they stand in the document."""
    parts = ((["Client", *FEATURES.values()], feature_rows()), (["Suite", "Clients"], suite_rows()))
    return "\n".join("".join(_line(row) for row in (head, ["---"] * len(head), *rows)) for head, rows in parts)


def written(document: str) -> str:
    """The document with the tables of now under its heading."""
    before, heading, rest = document.partition(f"## {HEADING}\n")
    text, following, after = rest.partition("\n## ")
    return before + heading + text.partition("\n|")[0] + "\n" + tables() + following + after


def _line(cells: list[str]) -> str:
    return "|" + "|".join(f" {cell} " if cell != "---" else cell for cell in cells) + "|\n"


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text()))
