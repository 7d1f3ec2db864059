"""From credential to device: who gets in, who does not, and what the operator reads then."""

import re
import shlex
import sqlite3
from collections.abc import Iterator
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import count
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.identity import IdentityRefused, IdentityService, Refusal
from gateway.model import AuthKind, DeviceStatus
from gateway.pki import CertifiedKey, ChainProblem, create_intermediate, create_root, issue_device
from gateway.registry import (
    AnchorPolicy,
    AnchorRecord,
    CachedReads,
    CredentialStatus,
    Provision,
    Registry,
    open_registry,
    run,
)
from gateway.registry.limits import CACHE_CHECK_S
from tests.pki.factory import DAY, NOW, ca, make, name

KEY = bytes(range(16))
ADMIT = AnchorPolicy(provision=Provision.ACTIVE)
ROOT = create_root("Factory A", at=NOW)
FACTORY = create_intermediate(ROOT, "Factory A Line 1", at=NOW)
OTHER_ROOT = create_root("Factory B", at=NOW)
DEVICE = issue_device(FACTORY, "meter-1", at=NOW)
NOT_ACTIVE = {
    DeviceStatus.PENDING: Refusal.DEVICE_PENDING,
    DeviceStatus.DISABLED: Refusal.DEVICE_DISABLED,
    DeviceStatus.QUARANTINED: Refusal.DEVICE_QUARANTINED,
}


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry() -> Iterator[Registry]:
    with open_registry("sqlite://") as opened:
        yield opened


@pytest.fixture
def service(registry: Registry, clock: Clock) -> IdentityService:
    return IdentityService(CachedReads(registry), clock)


def trust(
    registry: Registry, root: CertifiedKey = ROOT, *, auto: bool = False, tenant: str = "default"
) -> AnchorRecord:
    der = root.certificate.public_bytes(Encoding.DER)
    return registry.add_trust_anchor(der, "CN=Root", tenant_ids=(tenant,), policy=ADMIT if auto else AnchorPolicy())


def refusal(service: IdentityService, credential: bytes | list[bytes]) -> IdentityRefused:
    with pytest.raises(IdentityRefused) as caught:
        run(service.psk(credential)) if isinstance(credential, bytes) else run(service.certificate(credential))
    return caught.value


# Pre-shared keys.


def test_a_psk_identity_proves_its_device(registry: Registry, service: IdentityService) -> None:
    added = registry.add_psk_device("meter-1", b"id", KEY)
    answer = run(service.psk(b"id"))
    assert answer.key == KEY
    principal = answer.principal
    assert (principal.device, principal.auth) == (added.device, AuthKind.PSK)
    assert (principal.credential_id, principal.credential_version) == (added.credential_id, 1)
    assert (principal.anchor_id, principal.fingerprint, principal.created) == (None, None, False)


# Raw public keys.

SPKI = b"stands for a SubjectPublicKeyInfo"
SPKI_SHA256 = sha256(SPKI).hexdigest()


def test_a_raw_public_key_proves_its_device(registry: Registry, service: IdentityService) -> None:
    added = registry.add_rpk_device("meter-1", SPKI)
    principal = run(service.raw_public_key(SPKI))
    assert (principal.device, principal.auth) == (added.device, AuthKind.RPK)
    assert (principal.credential_id, principal.credential_version) == (added.credential_id, 1)
    assert (principal.anchor_id, principal.fingerprint, principal.created) == (None, SPKI_SHA256, False)


def test_an_unknown_raw_public_key_is_refused_with_what_to_do(service: IdentityService) -> None:
    with pytest.raises(IdentityRefused) as caught:
        run(service.raw_public_key(SPKI))
    assert caught.value.reason is Refusal.UNKNOWN_PUBLIC_KEY
    assert SPKI_SHA256 in caught.value.detail
    assert "gateway device add ID --public-key FILE" in caught.value.detail


def test_a_raw_public_key_that_may_not_be_used(registry: Registry, service: IdentityService) -> None:
    added = registry.add_rpk_device("meter-1", SPKI)
    registry.set_status("meter-1", DeviceStatus.DISABLED)
    with pytest.raises(IdentityRefused) as caught:
        run(service.raw_public_key(SPKI))
    assert caught.value.reason is Refusal.DEVICE_DISABLED
    registry.set_status("meter-1", DeviceStatus.ACTIVE)
    registry.set_credential_status(added.credential_id, CredentialStatus.REVOKED)
    with pytest.raises(IdentityRefused) as caught:
        run(service.raw_public_key(SPKI))
    assert caught.value.reason is Refusal.CREDENTIAL_REVOKED
    registry.close()
    with pytest.raises(IdentityRefused) as caught:
        run(service.raw_public_key(SPKI + b"2"))
    assert caught.value.reason is Refusal.REGISTRY_UNAVAILABLE


def test_the_sha_256_of_a_public_key_is_no_psk_identity(registry: Registry, service: IdentityService) -> None:
    registry.add_rpk_device("meter-1", SPKI)
    assert refusal(service, bytes.fromhex(SPKI_SHA256)).reason is Refusal.UNKNOWN_IDENTITY


def test_the_key_has_no_repr(registry: Registry, service: IdentityService) -> None:
    registry.add_psk_device("meter-1", b"id", b"TOP-SECRET-BYTES")
    assert "SECRET" not in repr(run(service.psk(b"id")))


@pytest.mark.parametrize(
    ("identity", "shown"),
    [
        (b"meter-7", "'meter-7'"),
        (b"a b", "--psk-identity 'a b'"),
        (b"a\0b", "0x610062"),
        (b"\xff\xfe", "0xfffe"),
        (b"x\n2026 forged line", "0x780a"),
        (b"", "the PSK identity '' (the device sent an empty one)"),
        (b"i" * 300, "i" * 64 + "'..."),
        ("\u202e".encode(), "0xe280ae"),
    ],
)
def test_an_unknown_identity_is_shown_safely_with_the_remedy(
    service: IdentityService, identity: bytes, shown: str
) -> None:
    refused = refusal(service, identity)
    assert refused.reason is Refusal.UNKNOWN_IDENTITY
    assert shown in refused.detail
    assert "gateway device add ID --psk-identity" in refused.detail
    assert refused.detail.isprintable()
    assert len(refused.detail) < 400


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_identity_bytes_are_refused_in_one_printable_line(identity: bytes) -> None:
    with open_registry("sqlite://") as registry:
        refused = refusal(IdentityService(CachedReads(registry), Clock()), identity)
    assert refused.reason is Refusal.UNKNOWN_IDENTITY
    assert refused.detail.isprintable()


@pytest.mark.parametrize("status", [s for s in DeviceStatus if s is not DeviceStatus.ACTIVE])
def test_only_an_active_device_gets_in(registry: Registry, service: IdentityService, status: DeviceStatus) -> None:
    registry.add_psk_device("meter-1", b"id", KEY)
    trust(registry)
    registry.allow_certificate("meter-1")
    registry.set_status("meter-1", status)
    for credential in (b"id", DEVICE.presented_der):
        refused = refusal(service, credential)
        assert refused.reason is NOT_ACTIVE[status]
        assert f"is {status.value}" in refused.detail
        assert "gateway device enable meter-1" in refused.detail
    registry.set_status("meter-1", DeviceStatus.ACTIVE)
    assert run(service.psk(b"id")).principal.device.status is DeviceStatus.ACTIVE


@pytest.mark.parametrize("status", CredentialStatus)
def test_only_active_and_next_credentials_count(
    registry: Registry, service: IdentityService, status: CredentialStatus
) -> None:
    trust(registry)
    psk = registry.add_psk_device("meter-1", b"id", KEY)
    certificate = registry.allow_certificate("meter-1")
    registry.set_credential_status(psk.credential_id, status)
    registry.set_credential_status(certificate.credential_id, status)
    if status in (CredentialStatus.ACTIVE, CredentialStatus.NEXT):
        assert run(service.psk(b"id")).principal.credential_version == 2
        assert run(service.certificate(DEVICE.presented_der)).credential_version == 2
    else:
        for credential in (b"id", DEVICE.presented_der):
            assert refusal(service, credential).reason is Refusal.CREDENTIAL_REVOKED


# Certificates.


def test_a_device_seen_for_the_first_time_is_created(registry: Registry, service: IdentityService) -> None:
    anchor = trust(registry, auto=True)
    first = run(service.certificate(DEVICE.presented_der))
    assert (first.device.id, first.auth, first.created) == ("meter-1", AuthKind.X509, True)
    assert first.device == registry.device("meter-1")
    assert first.device.auto_provisioned
    assert first.anchor_id == anchor.id == ROOT.certificate.fingerprint(hashes.SHA256()).hex()
    assert first.fingerprint == DEVICE.certificate.fingerprint(hashes.SHA256()).hex()
    again = run(service.certificate(DEVICE.presented_der))
    assert not again.created
    assert again.credential_id == first.credential_id
    assert registry.counts().devices == 1


def test_without_auto_provision_the_operator_reads_both_remedies(registry: Registry, service: IdentityService) -> None:
    anchor = trust(registry)
    refused = refusal(service, DEVICE.presented_der)
    assert refused.reason is Refusal.NOT_PROVISIONED
    assert "`gateway device add meter-1`" in refused.detail
    assert "gateway ca trust --auto-provision" in refused.detail
    assert anchor.id[:16] in refused.detail
    assert registry.counts().devices == 0


def test_each_remedy_helps(registry: Registry, service: IdentityService) -> None:
    anchor = trust(registry)
    registry.add_device("meter-1")
    assert not run(service.certificate(DEVICE.presented_der)).created
    registry.set_trust_anchor(anchor.id, policy=ADMIT)
    other = issue_device(FACTORY, "meter-2", at=NOW)
    assert run(service.certificate(other.presented_der)).created


def test_a_psk_device_needs_leave_to_use_a_certificate(registry: Registry, service: IdentityService) -> None:
    # The factory that may add devices must not take over one that was given a key.
    trust(registry, auto=True)
    registry.add_psk_device("meter-1", b"id", KEY)
    refused = refusal(service, DEVICE.presented_der)
    assert refused.reason is Refusal.NOT_PROVISIONED
    assert "`gateway device add meter-1 --certificate`" in refused.detail
    registry.allow_certificate("meter-1")
    by_certificate, by_key = run(service.certificate(DEVICE.presented_der)), run(service.psk(b"id")).principal
    assert by_certificate.device == by_key.device
    assert by_certificate.credential_id != by_key.credential_id


def test_another_factory_cannot_speak_for_a_provisioned_device(registry: Registry, service: IdentityService) -> None:
    trust(registry, auto=True)
    other = trust(registry, OTHER_ROOT, auto=True)
    run(service.certificate(DEVICE.presented_der))
    impostor = issue_device(OTHER_ROOT, "meter-1", at=NOW)
    refused = refusal(service, impostor.presented_der)
    assert refused.reason is Refusal.OTHER_ISSUER
    assert other.id[:16] in refused.detail
    assert "may be an impersonation" in refused.detail
    assert impostor.certificate.fingerprint(hashes.SHA256()).hex() in refused.detail
    assert refused.detail.isprintable()
    assert "`gateway device add meter-1 --certificate`" in refused.detail
    registry.allow_certificate("meter-1")
    assert run(service.certificate(impostor.presented_der)).anchor_id == other.id


def test_the_first_certificate_of_an_added_device_decides_its_factory(
    registry: Registry, service: IdentityService
) -> None:
    anchor = trust(registry)
    trust(registry, OTHER_ROOT)
    registry.add_device("meter-1")
    assert run(service.certificate(DEVICE.presented_der)).anchor_id == anchor.id
    impostor = issue_device(OTHER_ROOT, "meter-1", at=NOW)
    assert refusal(service, impostor.presented_der).reason is Refusal.OTHER_ISSUER
    renewed = issue_device(FACTORY, "meter-1", at=NOW)
    assert run(service.certificate(renewed.presented_der)).device.id == "meter-1"


def test_an_allowed_certificate_is_of_any_anchor_or_of_the_one_named(
    registry: Registry, service: IdentityService
) -> None:
    anchor = trust(registry)
    trust(registry, OTHER_ROOT)
    registry.add_device("meter-1")
    registry.allow_certificate("meter-1")
    by_b = issue_device(OTHER_ROOT, "meter-1", at=NOW).presented_der
    for chain in (DEVICE.presented_der, by_b, DEVICE.presented_der):
        assert run(service.certificate(chain)).device.id == "meter-1"
    registry.allow_certificate("meter-1", anchor_id=anchor.id)
    assert run(service.certificate(DEVICE.presented_der)).device.id == "meter-1"
    assert refusal(service, by_b).reason is Refusal.OTHER_ISSUER


def test_the_anchor_decides_the_tenant(registry: Registry, service: IdentityService) -> None:
    registry.add_tenant("acme")
    trust(registry, auto=True)
    trust(registry, OTHER_ROOT, auto=True, tenant="acme")
    ours = run(service.certificate(DEVICE.presented_der))
    theirs = run(service.certificate(issue_device(OTHER_ROOT, "meter-1", at=NOW).presented_der))
    assert (ours.device.tenant_id, theirs.device.tenant_id) == ("default", "acme")
    assert ours.device.id == theirs.device.id
    assert registry.counts().devices == 2


def test_a_urn_is_a_device_and_a_shell_word(registry: Registry, service: IdentityService) -> None:
    trust(registry)
    urn = "urn:dev:ops:32473-Refrigerator-5002"
    refused = refusal(service, issue_device(FACTORY, urn, at=NOW).presented_der)
    command = re.search("`(gateway device add [^`]*)`", refused.detail)
    assert command
    assert shlex.split(command[1]) == ["gateway", "device", "add", urn]


def test_a_full_registry_is_said_so(
    registry: Registry, service: IdentityService, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust(registry, auto=True)
    monkeypatch.setattr("gateway.registry.store.MAX_DEVICES_PER_TENANT", 0)
    assert refusal(service, DEVICE.presented_der).reason is Refusal.REGISTRY_FULL


@pytest.mark.parametrize("status", [s for s in DeviceStatus if s is not DeviceStatus.ACTIVE])
def test_nothing_is_written_for_a_device_that_is_not_active(
    registry: Registry, service: IdentityService, status: DeviceStatus
) -> None:
    trust(registry, auto=True)
    registry.add_device("meter-1", status=status)
    refused = refusal(service, DEVICE.presented_der)
    assert refused.reason is NOT_ACTIVE[status]
    assert "`gateway device enable meter-1`" in refused.detail
    assert registry.credentials("meter-1") == []


def test_the_remedy_names_the_tenant(registry: Registry, service: IdentityService) -> None:
    registry.add_tenant("acme")
    trust(registry, tenant="acme")
    assert "`gateway device add meter-1 --tenant acme`" in refusal(service, DEVICE.presented_der).detail


def test_a_refusal_does_not_wait_for_another_process(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "registry.db"
    with open_registry(f"sqlite:///{path}", create=True) as registry:
        trust(registry)
        registry.add_psk_device("meter-2", b"id", KEY)
        service = IdentityService(CachedReads(registry), clock)
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        assert refusal(service, DEVICE.presented_der).reason is Refusal.NOT_PROVISIONED
        keyed = issue_device(FACTORY, "meter-2", at=NOW)
        assert refusal(service, keyed.presented_der).reason is Refusal.NOT_PROVISIONED
        writer.close()


# The chain's own problems come through with their class.


def test_every_chain_problem_is_a_refusal() -> None:
    assert {problem.value for problem in ChainProblem} <= {reason.value for reason in Refusal}


def test_chain_problems_keep_their_class_and_text(registry: Registry, service: IdentityService, clock: Clock) -> None:
    assert refusal(service, []).reason is Refusal.NO_CERTIFICATE
    assert refusal(service, [b"\x30\x00"]).reason is Refusal.MALFORMED
    assert refusal(service, DEVICE.presented_der).reason is Refusal.UNKNOWN_ROOT
    trust(registry, auto=True)
    assert refusal(service, DEVICE.presented_der[:1]).reason is Refusal.MISSING_INTERMEDIATE
    assert refusal(service, FACTORY.presented_der).reason is Refusal.CA_AS_LEAF
    clock.now = NOW + 366 * 11 * DAY
    refused = refusal(service, DEVICE.presented_der)
    assert refused.reason is Refusal.EXPIRED
    assert "expired at 2036-" in refused.detail
    clock.now = NOW - 2 * DAY
    assert refusal(service, DEVICE.presented_der).reason is Refusal.NOT_YET_VALID
    assert registry.counts().devices == 0


def test_a_stored_intermediate_helps_a_device_that_sends_only_itself(
    registry: Registry, service: IdentityService
) -> None:
    trust(registry, auto=True)
    assert refusal(service, DEVICE.presented_der[:1]).reason is Refusal.MISSING_INTERMEDIATE
    registry.add_intermediate(FACTORY.certificate.public_bytes(Encoding.DER))
    assert run(service.certificate(DEVICE.presented_der[:1])).device.id == "meter-1"


def test_factory_cas_of_the_plain_kind_are_trusted(registry: Registry, service: IdentityService) -> None:
    plain = ca(name("Plain Root", "Works"))
    registry.add_trust_anchor(plain.der, "CN=Plain Root", policy=ADMIT)
    assert run(service.certificate([make("meter-9", plain).der])).created


# Changes while the gateway runs.


def test_trust_given_and_taken_elsewhere_counts_within_the_interval(tmp_path: Path, clock: Clock) -> None:
    ticks = count(step=CACHE_CHECK_S)  # each look at the clock is an interval later
    url = f"sqlite:///{tmp_path / 'registry.db'}"
    with open_registry(url, create=True) as running, open_registry(url) as command_line:
        service = IdentityService(CachedReads(running, lambda: next(ticks)), clock)
        assert refusal(service, DEVICE.presented_der).reason is Refusal.UNKNOWN_ROOT
        anchor = trust(command_line, auto=True)
        assert run(service.certificate(DEVICE.presented_der)).created
        assert [a.id for a in service.trust_anchors] == [anchor.id]
        command_line.delete_trust_anchor(anchor.id)
        assert refusal(service, DEVICE.presented_der).reason is Refusal.UNKNOWN_ROOT


def test_a_certificate_expires_while_the_gateway_runs(
    registry: Registry, service: IdentityService, clock: Clock
) -> None:
    trust(registry, auto=True)
    short = issue_device(FACTORY, "meter-1", at=NOW, lifetime=timedelta(seconds=30))
    assert run(service.certificate(short.presented_der)).created
    clock.now = NOW + timedelta(seconds=30, microseconds=999_999)
    assert run(service.certificate(short.presented_der)).device.id == "meter-1"
    clock.now = NOW + timedelta(seconds=31)
    assert refusal(service, short.presented_der).reason is Refusal.EXPIRED


def test_an_anchor_that_is_no_certificate_is_left_out(registry: Registry, clock: Clock) -> None:
    broken = registry.add_trust_anchor(b"not DER", "CN=Broken")
    registry.add_intermediate(b"not DER either")
    anchor = trust(registry, auto=True)
    service = IdentityService(CachedReads(registry), clock)
    assert service.unusable_anchors == (broken.id,)
    assert [a.id for a in service.trust_anchors] == [anchor.id]
    assert run(service.certificate(DEVICE.presented_der)).created


def test_a_registry_that_fails_is_a_refusal(registry: Registry, service: IdentityService) -> None:
    trust(registry)
    assert refusal(service, DEVICE.presented_der).reason is Refusal.NOT_PROVISIONED
    registry.close()
    for credential in (b"id", DEVICE.presented_der):
        assert refusal(service, credential).reason is Refusal.REGISTRY_UNAVAILABLE
