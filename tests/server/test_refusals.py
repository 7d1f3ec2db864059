"""Devices that do not get in: the alert, one log line and one metric with the typed reason."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiocoap  # type: ignore[import-untyped]
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.dtls import FailureReason
from gateway.identity import Refusal
from gateway.model import DeviceStatus
from gateway.server.refusals import REASON_FOR
from tests.dtls.rawclient import Device, RawClient
from tests.pki.factory import Made, aki, ca, eku, key_usage, make
from tests.server.support import PSK, PSK_IDENTITY, Gateway, no_lines, pki, running, wire_certificate

# Numbers of RFC 5246 section 7.2.
HANDSHAKE_FAILURE, BAD_CERTIFICATE, UNSUPPORTED_CERTIFICATE = 40, 42, 43
CERTIFICATE_EXPIRED, UNKNOWN_CA, ACCESS_DENIED, DECRYPT_ERROR = 45, 48, 49, 51

DAY = timedelta(days=1)


def issuer() -> Made:
    return Made(pki().factory.certificate, pki().factory.private_key)


def chain(leaf: Made, *above: Made) -> RawClient:
    assert isinstance(leaf.key, ec.EllipticCurvePrivateKey)
    return RawClient(suites=(0xC0AE,), device=Device(leaf.key, tuple(made.der for made in (leaf, *above))))


def now() -> datetime:
    return datetime.now(UTC)


def unknown_identity() -> RawClient:
    return RawClient(identity=b"nobody", psk=PSK)


def wrong_key() -> RawClient:
    return RawClient(identity=PSK_IDENTITY, psk=bytes(16))


def no_certificate() -> RawClient:
    return chain(make("dev", issuer()))


def expired() -> RawClient:
    return chain(make("dev", issuer(), aki(issuer()), begin=now() - 3 * DAY, end=now() - DAY), issuer())


def not_yet_valid() -> RawClient:
    return chain(make("dev", issuer(), aki(issuer()), begin=now() + DAY, end=now() + 3 * DAY), issuer())


def unknown_root() -> RawClient:
    root = ca("Somebody else's root")
    return chain(make("dev", root, aki(root), begin=now() - DAY, end=now() + DAY))


def missing_intermediate() -> RawClient:
    return chain(make("dev", issuer(), aki(issuer()), begin=now() - DAY, end=now() + DAY))


def ca_as_leaf() -> RawClient:
    return chain(ca("dev", issuer(), begin=now() - DAY, end=now() + DAY), issuer())


def wrong_key_usage() -> RawClient:
    usage = key_usage("key_agreement")
    return chain(make("dev", issuer(), usage, aki(issuer()), begin=now() - DAY, end=now() + DAY), issuer())


def server_certificate() -> RawClient:
    usage = eku(ExtendedKeyUsageOID.SERVER_AUTH)
    return chain(make("dev", issuer(), usage, aki(issuer()), begin=now() - DAY, end=now() + DAY), issuer())


def weak_key() -> RawClient:
    key = ec.generate_private_key(ec.SECP224R1())
    return chain(make("dev", issuer(), aki(issuer()), key=key, begin=now() - DAY, end=now() + DAY), issuer())


def no_name() -> RawClient:
    leaf = make("not a device name!", issuer(), aki(issuer()), begin=now() - DAY, end=now() + DAY)
    return chain(leaf, issuer())


def stolen_certificate() -> RawClient:
    """Somebody else's certificate, without its key."""
    device = wire_certificate("dev")
    return RawClient(suites=(0xC0AE,), device=Device(ec.generate_private_key(ec.SECP256R1()), device.chain))


def chain_too_long() -> RawClient:
    root = Made(pki().root.certificate, pki().root.private_key)
    authorities = [root]
    for number in range(5):
        authorities.insert(0, ca(f"CA {number}", authorities[0], begin=now() - DAY, end=now() + DAY))
    leaf = make("dev", authorities[0], aki(authorities[0]), begin=now() - DAY, end=now() + DAY)
    return chain(leaf, *authorities[:-1])


def version_1() -> RawClient:
    """X.509 version 1, as openssl makes it when it is given no extensions."""
    made = make("dev", issuer(), begin=now() - DAY, end=now() + DAY)
    key = issuer().key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    # tbsCertificate (RFC 5280 section 4.1) without its first element, [0] version.
    header, version = made.certificate.tbs_certificate_bytes[:4], bytes.fromhex("a003020102")
    body = made.certificate.tbs_certificate_bytes[4 if header[1] == 0x82 else 3 if header[1] == 0x81 else 2 :]
    assert body.startswith(version)
    tbs = tlv(0x30, body.removeprefix(version))
    signature = key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    ecdsa_with_sha256 = bytes.fromhex("300a06082a8648ce3d040302")
    der = tlv(0x30, tbs + ecdsa_with_sha256 + tlv(0x03, b"\0" + signature))
    assert isinstance(made.key, ec.EllipticCurvePrivateKey)
    return RawClient(suites=(0xC0AE,), device=Device(made.key, (der, issuer().der)))


def tlv(tag: int, content: bytes) -> bytes:
    """DER: tag, length, value."""
    length = len(content)
    if length < 128:
        return bytes((tag, length)) + content
    size = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + length.to_bytes(size, "big") + content


@dataclass(frozen=True)
class Case:
    client: Callable[[], RawClient]
    reason: str
    alert: int

    @property
    def name(self) -> str:
        return self.client.__name__


CASES = [
    Case(unknown_identity, "unknown_identity", DECRYPT_ERROR),
    Case(wrong_key, "wrong_key", DECRYPT_ERROR),
    Case(no_certificate, "no_certificate", HANDSHAKE_FAILURE),
    Case(expired, "certificate_expired", CERTIFICATE_EXPIRED),
    Case(not_yet_valid, "certificate_not_yet_valid", CERTIFICATE_EXPIRED),
    Case(unknown_root, "unknown_root", UNKNOWN_CA),
    Case(missing_intermediate, "missing_intermediate", UNKNOWN_CA),
    Case(ca_as_leaf, "ca_as_leaf", BAD_CERTIFICATE),
    Case(wrong_key_usage, "wrong_key_usage", BAD_CERTIFICATE),
    Case(server_certificate, "wrong_key_usage", BAD_CERTIFICATE),
    Case(weak_key, "weak_key", UNSUPPORTED_CERTIFICATE),
    Case(no_name, "no_device_name", BAD_CERTIFICATE),
    Case(stolen_certificate, "possession_not_proven", DECRYPT_ERROR),
    Case(chain_too_long, "chain_too_long", BAD_CERTIFICATE),
    Case(version_1, "bad_certificate", BAD_CERTIFICATE),
]


@pytest.mark.asyncio
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_refused(tmp_path: Path, case: Case) -> None:
    async with running(tmp_path) as gateway:
        client = case.client()
        assert await refused(gateway, client, empty_chain=case.client is no_certificate) == (2, case.alert)
        [line] = gateway.events("dtls.handshake_failed")
        auth = "psk" if client.is_psk else "x509"
        assert (line["reason"], line["auth"], line["log_level"]) == (case.reason, auth, "warning")
        assert len(line["hint"]) > 20
        counted = await gateway.samples("gateway_dtls_handshakes_total")
        assert counted == {(auth, "full", case.reason, "failure"): 1}
        # Nobody is in, nothing was created, and nobody else is worse off.
        assert gateway.events("dtls.handshake_completed") == []
        assert await gateway.samples("gateway_dtls_sessions") == {}
        with gateway.registry() as registry:
            assert registry.counts().devices == 1
        no_lines(gateway.lines, "error", "critical")
        async with gateway.wire() as device:
            assert (await device.ask(device.request(aiocoap.GET, "/device"))).payload == b"default/dev1"


async def refused(gateway: Gateway, client: RawClient, *, empty_chain: bool = False) -> tuple[int, int]:
    """The alert that ends this client's handshake."""
    device = gateway.wire(client)
    try:
        await device.reach_server_done()
        flight = [client.certificate(())] if empty_chain else client.answer_flight()
        for datagram in flight:
            device.send(datagram)
        return await device.alert()
    finally:
        device.udp.close()


@pytest.mark.asyncio
async def test_whatever_the_registry_says_of_an_identity_looks_the_same_on_the_wire(tmp_path: Path) -> None:
    # RFC 4279 section 2. Sizes and kinds of all records, and the alert, are all that a stranger sees.
    seen = []
    async with running(tmp_path) as gateway:
        with gateway.registry() as registry:
            registry.add_psk_device("dev2", b"disabled-dev", bytes(16))
            registry.set_status("dev2", DeviceStatus.DISABLED)
        for identity, psk in [(b"nobody-there", PSK), (b"disabled-dev", bytes(16)), (PSK_IDENTITY, bytes(16))]:
            client = RawClient(identity=identity, psk=psk)
            alert = await refused(gateway, client)
            seen.append((alert, [(r.content_type, r.epoch, r.sequence, len(r.content)) for r in client.received]))
        reasons = [line["reason"] for line in gateway.events("dtls.handshake_failed")]
    assert reasons == ["unknown_identity", "device_disabled", "wrong_key"]
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.asyncio
async def test_a_disabled_certificate_device_is_told(tmp_path: Path) -> None:
    # It has proven who it is: there is nothing to hide from it.
    async with running(tmp_path) as gateway:
        with gateway.registry() as registry:
            registry.add_device("dev")
            registry.set_status("dev", DeviceStatus.DISABLED)
        client = RawClient(suites=(0xC0AE,), device=wire_certificate("dev"))
        assert await refused(gateway, client) == (2, ACCESS_DENIED)
        [line] = gateway.events("dtls.handshake_failed")
        assert (line["reason"], line["alert"]) == ("device_disabled", "access_denied")
        assert "gateway device enable dev" in line["hint"]


@pytest.mark.asyncio
async def test_no_suite_in_common(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        device = gateway.wire(RawClient(suites=(0x1234, 0x00AE)))
        device.send(device.client.hello())
        await device.read()
        device.send(device.client.hello())
        assert await device.alert() == (2, HANDSHAKE_FAILURE)
        [line] = gateway.events("dtls.handshake_failed")
        assert (line["reason"], line["auth"]) == ("no_shared_suite", "unknown")
        assert line["suite_offer"] == ["0x1234", "0x00AE"]
        device.udp.close()


def test_every_refusal_has_a_reason() -> None:
    assert set(REASON_FOR) == set(Refusal)
    assert set(REASON_FOR.values()) <= set(FailureReason)
