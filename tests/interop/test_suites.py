"""Every cipher suite, with `openssl s_client` and with `gnutls-cli`, carrying CoAP made by aiocoap's codec."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiocoap import Code  # type: ignore[import-untyped]
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from tests.interop import gnutls, openssl
from tests.interop.devices import Certified, Psk, new_device, write_device
from tests.interop.gateway_process import Gateway
from tests.interop.libcoap import coap_client
from tests.interop.peers import program
from tests.interop.piped import Piped
from tests.pki.factory import DAY, Key, Made, aki, make

pytestmark = pytest.mark.interop

PAYLOAD = bytes(range(256)) * 3


def device_for(gateway: Gateway, peer: str, suite: str) -> Psk | Certified:
    return Psk() if suite in openssl.PSK_SUITES else new_device(gateway.site, f"{peer}-{suite}")


def get_and_post(gateway: Gateway, tool: Piped, stream: str) -> None:
    time = tool.request(Code.GET, "/time")
    assert time.code is Code.CONTENT
    assert datetime.fromisoformat(time.payload.decode()).utcoffset() is not None
    posted = tool.request(Code.POST, f"/telemetry/{stream}", b'{"celsius":21.5}')
    assert (posted.code, posted.payload) == (Code.CHANGED, b"")
    echoed = tool.request(Code.PUT, "/echo", PAYLOAD)
    assert (echoed.code, echoed.payload) == (Code.CHANGED, PAYLOAD)
    assert gateway.telemetry_event(stream)["payload"] == {"celsius": 21.5}


def check_log(gateway: Gateway, device: Psk | Certified, suite: str, seen: int) -> None:
    """One handshake, of this suite, ended by the client's close_notify."""
    name = device.identity if isinstance(device, Psk) else device.name
    gateway.log.wait("dtls.session_closed", after=seen, device=name, reason="close_notify")
    done = gateway.log.lines("dtls.handshake_completed", after=seen)
    assert [(line["device"], line["suite"], line["retransmissions"]) for line in done] == [(name, suite, 0)]


@pytest.mark.peer("OpenSSL", "{suite}")
@pytest.mark.parametrize("suite", openssl.SUITES)
def test_openssl(gateway: Gateway, suite: str) -> None:
    device, seen = device_for(gateway, "openssl", suite), len(gateway.log)
    with Piped(openssl.s_client(gateway.port, device, suite)) as tool:
        get_and_post(gateway, tool, f"openssl-{suite}")
        assert tool.finish() == 0
        assert f"Ciphersuite: {openssl.SUITES[suite]}\n" in tool.diagnosis()
    check_log(gateway, device, suite, seen)


@pytest.mark.peer("GnuTLS", "{suite}")
@pytest.mark.parametrize("suite", gnutls.SUITES)
def test_gnutls(gateway: Gateway, suite: str, tmp_path: Path) -> None:
    device, seen, log = device_for(gateway, "gnutls", suite), len(gateway.log), tmp_path / "log"
    with Piped(gnutls.gnutls_cli(gateway.port, device, suite, log)) as tool:
        get_and_post(gateway, tool, f"gnutls-{suite}")
        assert tool.finish() == 0
    _, exchange, cipher = gnutls.SUITES[suite]
    (description,) = [line for line in log.read_text().splitlines() if line.startswith("- Description: ")]
    assert description.startswith("- Description: (DTLS1.2")
    assert exchange.split("-")[0] in description
    assert description.endswith(f"({cipher})")
    check_log(gateway, device, suite, seen)


@pytest.mark.parametrize(
    ("groups", "used"),
    [
        ("X25519:P-256", "Server Temp Key: X25519, 253 bits"),
        ("P-256:X25519", "Server Temp Key: ECDH, prime256v1, 256 bits"),
        ("P-521:P-384:P-256", "Server Temp Key: ECDH, secp384r1, 384 bits"),
    ],
)
def test_openssl_groups(gateway: Gateway, groups: str, used: str) -> None:
    device = new_device(gateway.site, "groups")
    command = openssl.s_client(gateway.port, device, "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8", "-groups", groups)
    with Piped(command) as tool:
        assert tool.request(Code.GET, "/time").code is Code.CONTENT
        assert tool.finish() == 0
        assert f"{used}\n" in tool.diagnosis()


@pytest.mark.parametrize("group", ["X25519", "P-256", "P-384"])
@pytest.mark.parametrize(
    "suite", ["TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"]
)
def test_openssl_offers_one_group(gateway: Gateway, suite: str, group: str) -> None:
    device = device_for(gateway, "one-group", suite)
    with Piped(openssl.s_client(gateway.port, device, suite, "-groups", group)) as tool:
        assert tool.request(Code.GET, "/time").code is Code.CONTENT
        assert tool.finish() == 0


RSA_SUITE = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"


@pytest.mark.parametrize(
    ("schemes", "digest", "kind"),
    [
        ("rsa_pss_rsae_sha256", "SHA256", "RSA-PSS"),
        ("rsa_pss_rsae_sha384", "SHA384", "RSA-PSS"),
        ("rsa_pss_rsae_sha512", "SHA512", "RSA-PSS"),
        ("RSA+SHA256", "SHA256", "RSA"),
        ("RSA+SHA384", "SHA384", "RSA"),
        ("RSA+SHA512", "SHA512", "RSA"),
        ("RSA+SHA256:rsa_pss_rsae_sha256", "SHA256", "RSA-PSS"),
    ],
)
def test_openssl_signature_of_an_rsa_server(gateway: Gateway, schemes: str, digest: str, kind: str) -> None:
    device = new_device(gateway.site, "rsa-signature")
    # It signs with its own certificate's key too, by what we list of its own list.
    offered = f"{schemes}:ECDSA+SHA256"
    with Piped(openssl.s_client(gateway.port, device, RSA_SUITE, "-sigalgs", offered)) as tool:
        assert tool.request(Code.GET, "/time").code is Code.CONTENT
        assert tool.finish() == 0
        said = tool.diagnosis()
    assert f"Hash used: {digest}\n" in said
    assert f"Signature type: {kind}\n" in said


KEYS: dict[str, Key] = {
    "P-384": ec.generate_private_key(ec.SECP384R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
}


def device_with_key(gateway: Gateway, peer: str, kind: str) -> Certified:
    """A device that nobody has seen, with a key other than P-256."""
    now, issuing = datetime.now(UTC), gateway.site.pki.intermediate
    issuer = Made(issuing.certificate, issuing.private_key)
    name = f"{peer}-{kind.lower()}"
    made = make(name, issuer, aki(issuer), key=KEYS[kind], begin=now - DAY, end=now + DAY)
    return write_device(gateway.site, name, (made.certificate, *issuing.presented), made.key)


@pytest.mark.parametrize("kind", KEYS)
def test_openssl_device_with_another_key(gateway: Gateway, kind: str) -> None:
    device, seen = device_with_key(gateway, "openssl", kind), len(gateway.log)
    suite = "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"
    with Piped(openssl.s_client(gateway.port, device, suite)) as tool:
        get_and_post(gateway, tool, f"openssl-{kind}")
        assert tool.finish() == 0
    check_log(gateway, device, suite, seen)


@pytest.mark.parametrize("kind", KEYS)
def test_gnutls_device_with_another_key(gateway: Gateway, kind: str, tmp_path: Path) -> None:
    device, seen = device_with_key(gateway, "gnutls", kind), len(gateway.log)
    suite = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
    with Piped(gnutls.gnutls_cli(gateway.port, device, suite, tmp_path / "log")) as tool:
        get_and_post(gateway, tool, f"gnutls-{kind}")
        assert tool.finish() == 0
    check_log(gateway, device, suite, seen)


def test_openssl_gets_the_certificate_for_the_name(gateway: Gateway) -> None:
    """It offers both kinds of suites; the name is one that only the RSA certificate is for."""
    device, seen = new_device(gateway.site, "by-name"), len(gateway.log)
    suites = f"{openssl.SUITES['TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256']}:{openssl.SUITES[RSA_SUITE]}"
    options = ["-cipher", suites, "-servername", "rsa.example", "-verify_hostname", "rsa.example"]
    with Piped(openssl.s_client(gateway.port, device, RSA_SUITE, *options)) as tool:
        assert tool.request(Code.GET, "/time").code is Code.CONTENT
        assert tool.finish() == 0
    check_log(gateway, device, RSA_SUITE, seen)


@pytest.mark.parametrize("flavour", ["openssl", "gnutls"])
def test_libcoap_with_a_key_gets_forward_secrecy(gateway: Gateway, flavour: str, tmp_path: Path) -> None:
    """It offers all that its library has; ECDHE_PSK with ChaCha20-Poly1305 is the one suite with forward secrecy."""
    program(f"coap-client-{flavour}")
    device, seen = Psk(), len(gateway.log)
    answer = coap_client(flavour, gateway.port, device, "post", "/echo", "x" * 300, folder=tmp_path)
    assert (answer.code, answer.payload) == ("2.04", b"x" * 300), answer.transcript
    check_log(gateway, device, "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256", seen)


def gnutls_session(gateway: Gateway, suite: str, folder: Path, *options: str, keyword: str = "") -> str:
    """One echo; returns what it says of the session."""
    device = device_for(gateway, "gnutls", suite)
    log = folder / "log"
    with Piped(gnutls.gnutls_cli(gateway.port, device, suite, log, *options, keyword=keyword)) as tool:
        assert tool.request(Code.POST, "/echo", PAYLOAD[:400]).payload == PAYLOAD[:400]
        assert tool.finish() == 0
    return log.read_text()


BOTH_KINDS = pytest.mark.parametrize(
    "suite", ["TLS_PSK_WITH_AES_128_CCM_8", "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"], ids=["psk", "certificate"]
)


@BOTH_KINDS
def test_gnutls_gets_an_extended_master_secret(gateway: Gateway, suite: str, tmp_path: Path) -> None:
    assert "- Options: extended master secret, safe renegotiation," in gnutls_session(gateway, suite, tmp_path)


@BOTH_KINDS
def test_gnutls_without_extended_master_secret(gateway: Gateway, suite: str, tmp_path: Path) -> None:
    said = gnutls_session(gateway, suite, tmp_path, keyword="%NO_SESSION_HASH")
    assert "- Options: safe renegotiation," in said


def test_gnutls_without_extensions(gateway: Gateway, tmp_path: Path) -> None:
    said = gnutls_session(gateway, "TLS_PSK_WITH_AES_128_CCM_8", tmp_path, keyword="%NO_EXTENSIONS")
    assert "extended master secret" not in said


@BOTH_KINDS
def test_gnutls_with_a_small_mtu(gateway: Gateway, suite: str, tmp_path: Path) -> None:
    """Its ClientHello and its Certificate come in pieces."""
    assert "- Handshake was completed" in gnutls_session(gateway, suite, tmp_path, "--mtu", "500")
