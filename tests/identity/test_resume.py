"""Who may take a session up again: the credential that it began with must still let the device in, unchanged."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.identity import IdentityRefused, IdentityService, Refusal, import_crl, remember
from gateway.model import AuthKind, DeviceStatus, Principal
from gateway.pki import CertifiedKey, create_intermediate, create_root, issue_device
from gateway.registry import (
    AnchorPolicy,
    AnchorRecord,
    CachedReads,
    CredentialStatus,
    CrlPolicy,
    Provision,
    Registry,
    TenantBy,
    open_registry,
    run,
)
from tests.pki.factory import NOW
from tests.pki.test_fingerprints import P256_ORDER, with_signature

KEY = bytes(range(16))
ADMIT = AnchorPolicy(provision=Provision.ACTIVE)
ROOT = create_root("Factory A", at=NOW)
FACTORY = create_intermediate(ROOT, "Factory A Line 1", at=NOW)
OTHER_ROOT = create_root("Factory B", at=NOW)
DEVICE = issue_device(FACTORY, "meter-1", at=NOW)
LEAF = sha256(DEVICE.certificate.public_bytes(Encoding.DER)).digest()
SPKI = b"stands for a SubjectPublicKeyInfo"
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


def trust(registry: Registry, root: CertifiedKey = ROOT, *, auto: bool = True) -> AnchorRecord:
    return registry.add_trust_anchor(
        root.certificate.public_bytes(Encoding.DER), "CN=Root", policy=ADMIT if auto else AnchorPolicy()
    )


def refused(service: IdentityService, principal: Principal, identity: bytes) -> Refusal:
    with pytest.raises(IdentityRefused) as caught:
        run(service.resume(principal.auth, identity, remember(principal)))
    assert caught.value.detail
    return caught.value.reason


def same(one: Principal, other: Principal) -> bool:
    """But for `created`, and for the fraction of a second that is not remembered."""
    names = ("device", "auth", "credential_id", "credential_version", "anchor_id", "fingerprint")
    return all(getattr(one, name) == getattr(other, name) for name in names)


# --- nothing has changed --------------------------------------------------------------------------------------------


def test_psk(registry: Registry, service: IdentityService) -> None:
    registry.add_psk_device("meter-1", b"id", KEY)
    principal = run(service.psk(b"id")).principal
    assert run(service.resume(AuthKind.PSK, b"id", remember(principal))) == principal


def test_raw_public_key(registry: Registry, service: IdentityService) -> None:
    registry.add_rpk_device("meter-1", SPKI)
    principal = run(service.raw_public_key(SPKI))
    assert run(service.resume(AuthKind.RPK, sha256(SPKI).digest(), remember(principal))) == principal


def test_certificate(registry: Registry, service: IdentityService) -> None:
    trust(registry)
    principal = run(service.certificate(DEVICE.presented_der))
    again = run(service.resume(AuthKind.X509, LEAF, remember(principal)))
    assert same(again, principal)
    assert not again.created
    # What is remembered of it is the same again, so that a renewed ticket is as good.
    assert remember(again) == remember(principal)


def test_what_is_remembered_is_short(registry: Registry, service: IdentityService) -> None:
    registry.add_psk_device("meter-2", b"id", KEY)
    assert len(remember(run(service.psk(b"id")).principal)) == 16
    trust(registry)
    # A digest, two fingerprints, an end, a serial number, the start of a fingerprint, and the names.
    assert len(remember(run(service.certificate(DEVICE.presented_der)))) == 16 + 2 * 32 + 5 + 20 + 8 + 2 + 7 + 7


# --- the device, the credential -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [each for each in DeviceStatus if each is not DeviceStatus.ACTIVE])
def test_device_that_is_not_active(registry: Registry, service: IdentityService, status: DeviceStatus) -> None:
    registry.add_psk_device("meter-2", b"id", KEY)
    trust(registry)
    psk, certified = run(service.psk(b"id")).principal, run(service.certificate(DEVICE.presented_der))
    registry.set_status("meter-1", status)
    registry.set_status("meter-2", status)
    assert refused(service, psk, b"id") is NOT_ACTIVE[status]
    assert refused(service, certified, LEAF) is NOT_ACTIVE[status]


def test_device_that_was_deleted(registry: Registry, service: IdentityService) -> None:
    registry.add_psk_device("meter-2", b"id", KEY)
    registry.add_rpk_device("meter-3", SPKI)
    trust(registry)
    psk, certified = run(service.psk(b"id")).principal, run(service.certificate(DEVICE.presented_der))
    raw = run(service.raw_public_key(SPKI))
    for name in ("meter-1", "meter-2", "meter-3"):
        registry.delete_device(name)
    assert refused(service, psk, b"id") is Refusal.UNKNOWN_IDENTITY
    assert refused(service, certified, LEAF) is Refusal.NOT_PROVISIONED
    assert refused(service, raw, sha256(SPKI).digest()) is Refusal.UNKNOWN_PUBLIC_KEY


def test_device_that_was_deleted_and_made_again_is_another_one(registry: Registry, service: IdentityService) -> None:
    registry.add_psk_device("meter-2", b"id", KEY)
    trust(registry)
    psk, certified = run(service.psk(b"id")).principal, run(service.certificate(DEVICE.presented_der))
    registry.delete_device("meter-1")
    registry.delete_device("meter-2")
    registry.add_psk_device("meter-2", b"id", KEY)
    run(service.certificate(DEVICE.presented_der))
    assert refused(service, psk, b"id") is Refusal.CREDENTIAL_REVOKED
    assert refused(service, certified, LEAF) is Refusal.CREDENTIAL_REVOKED


@pytest.mark.parametrize("status", [CredentialStatus.RETIRED, CredentialStatus.REVOKED])
def test_credential_that_was_withdrawn(registry: Registry, service: IdentityService, status: CredentialStatus) -> None:
    registry.add_psk_device("meter-2", b"id", KEY)
    trust(registry)
    psk, certified = run(service.psk(b"id")).principal, run(service.certificate(DEVICE.presented_der))
    registry.set_credential_status(psk.credential_id, status)
    registry.set_credential_status(certified.credential_id, status)
    assert refused(service, psk, b"id") is Refusal.CREDENTIAL_REVOKED
    assert refused(service, certified, LEAF) is Refusal.CREDENTIAL_REVOKED


def test_credential_that_was_withdrawn_and_given_back_is_of_another_version(
    registry: Registry, service: IdentityService
) -> None:
    registry.add_psk_device("meter-2", b"id", KEY)
    principal = run(service.psk(b"id")).principal
    registry.set_credential_status(principal.credential_id, CredentialStatus.REVOKED)
    registry.set_credential_status(principal.credential_id, CredentialStatus.ACTIVE)
    assert run(service.psk(b"id")).principal.credential_version > principal.credential_version
    assert refused(service, principal, b"id") is Refusal.CREDENTIAL_REVOKED


def test_identity_that_belongs_to_another_device_by_now(registry: Registry, service: IdentityService) -> None:
    registry.add_psk_device("meter-2", b"id", KEY)
    principal = run(service.psk(b"id")).principal
    registry.delete_device("meter-2")
    registry.add_psk_device("meter-9", b"id", KEY)
    assert refused(service, principal, b"id") is Refusal.CREDENTIAL_REVOKED


def test_one_kind_of_credential_is_never_another_kind(registry: Registry, service: IdentityService) -> None:
    # DESIGN section 6, rule 6: a PSK session can never come back as a certificate's.
    registry.add_psk_device("meter-2", b"id", KEY)
    trust(registry)
    psk, certified = run(service.psk(b"id")).principal, run(service.certificate(DEVICE.presented_der))
    for auth, identity, principal in (
        (AuthKind.X509, b"id", psk),
        (AuthKind.RPK, b"id", psk),
        (AuthKind.PSK, LEAF, certified),
        (AuthKind.PSK, b"id", certified),
        (AuthKind.RPK, LEAF, certified),
    ):
        with pytest.raises(IdentityRefused):
            run(service.resume(auth, identity, remember(principal)))


# --- the chain ------------------------------------------------------------------------------------------------------


def test_anchor_that_is_no_longer_trusted(registry: Registry, service: IdentityService) -> None:
    anchor = trust(registry)
    principal = run(service.certificate(DEVICE.presented_der))
    registry.delete_trust_anchor(anchor.id)
    assert refused(service, principal, LEAF) is Refusal.UNKNOWN_ROOT


def test_device_that_is_bound_to_another_anchor_by_now(registry: Registry, service: IdentityService) -> None:
    trust(registry)
    other = trust(registry, OTHER_ROOT)
    registry.add_device("meter-1")
    registry.allow_certificate("meter-1")
    principal = run(service.certificate(DEVICE.presented_der))
    assert same(run(service.resume(AuthKind.X509, LEAF, remember(principal))), principal)
    registry.allow_certificate("meter-1", anchor_id=other.id)
    assert refused(service, principal, LEAF) in (Refusal.OTHER_ISSUER, Refusal.CREDENTIAL_REVOKED)


def test_chain_that_has_ended_meanwhile(registry: Registry, clock: Clock, service: IdentityService) -> None:
    trust(registry)
    principal = run(service.certificate(DEVICE.presented_der))
    assert principal.valid_until is not None
    end = datetime.fromtimestamp(principal.valid_until, NOW.tzinfo)
    clock.now = end
    assert same(run(service.resume(AuthKind.X509, LEAF, remember(principal))), principal)
    clock.now = end + timedelta(seconds=1)
    assert refused(service, principal, LEAF) in (Refusal.EXPIRED, Refusal.UNKNOWN_ROOT)


def with_the_other_s(certificate: x509.Certificate) -> bytes:
    """The certificate as anybody can write it (`tests.pki.test_fingerprints`): s becomes n - s."""
    r, s = decode_dss_signature(certificate.signature)
    der = certificate.public_bytes(Encoding.DER)
    return with_signature(der, certificate.signature, encode_dss_signature(r, P256_ORDER - s))


@pytest.mark.parametrize("issued", [True, False], ids=["as issued", "with the other s"])
@pytest.mark.parametrize("banned", [True, False], ids=["ban as issued", "ban of the other"])
def test_a_ban_holds_for_both_encodings(
    registry: Registry, service: IdentityService, *, issued: bool, banned: bool
) -> None:
    trust(registry)
    encodings = {True: DEVICE.presented_der[0], False: with_the_other_s(DEVICE.certificate)}
    principal = run(service.certificate([encodings[issued], *DEVICE.presented_der[1:]]))
    leaf = sha256(encodings[issued]).digest()
    run(service.resume(AuthKind.X509, leaf, remember(principal)))
    service.check_trust(principal)
    registry.ban_certificate(sha256(encodings[banned]).hexdigest())
    assert refused(service, principal, leaf) is Refusal.DISTRUSTED
    with pytest.raises(IdentityRefused) as caught:
        service.check_trust(principal)
    assert caught.value.reason is Refusal.DISTRUSTED
    assert sha256(encodings[banned]).hexdigest() in caught.value.detail


def revocation_list(ca: CertifiedKey, days: int) -> bytes:
    made = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca.certificate.subject)
        .last_update(NOW)
        .next_update(NOW + timedelta(days=days))
        .add_extension(x509.CRLNumber(1), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.private_key.public_key()), False)
    )
    return made.sign(ca.private_key, SHA256()).public_bytes(Encoding.DER)


def test_a_list_that_is_outdated(registry: Registry, clock: Clock, service: IdentityService) -> None:
    policy = AnchorPolicy(provision=Provision.ACTIVE, crl=CrlPolicy.FAIL_CLOSED)
    anchor = registry.add_trust_anchor(ROOT.certificate.public_bytes(Encoding.DER), "CN=Root", policy=policy)
    registry.add_intermediate(FACTORY.certificate.public_bytes(Encoding.DER))
    import_crl(registry, revocation_list(ROOT, 90), NOW)
    import_crl(registry, revocation_list(FACTORY, 1), NOW)
    principal = run(service.certificate(DEVICE.presented_der))
    run(service.resume(AuthKind.X509, LEAF, remember(principal)))
    clock.now = NOW + timedelta(days=1, minutes=1)
    assert refused(service, principal, LEAF) is Refusal.CRL_EXPIRED
    service.check_trust(principal)  # a session that goes on is ended by what a list says, not by its lack
    registry.set_trust_anchor(anchor.id, policy=replace(policy, crl=CrlPolicy.FAIL_OPEN))
    run(service.resume(AuthKind.X509, LEAF, remember(principal)))


def test_tenant_that_was_taken_from_the_anchor(registry: Registry, service: IdentityService) -> None:
    registry.add_tenant("alpha", sni_names=["alpha.example"])
    registry.add_tenant("beta", sni_names=["beta.example"])
    policy = AnchorPolicy(provision=Provision.ACTIVE, tenant_by=TenantBy.SNI)
    der = ROOT.certificate.public_bytes(Encoding.DER)
    anchor = registry.add_trust_anchor(der, "CN=Root", tenant_ids=["alpha", "beta"], policy=policy)
    principal = run(service.certificate(DEVICE.presented_der, "beta.example"))
    remembered = remember(principal)
    assert run(service.resume(AuthKind.X509, LEAF, remembered, "beta.example")).device.tenant_id == "beta"
    with pytest.raises(IdentityRefused) as caught:
        run(service.resume(AuthKind.X509, LEAF, remembered, "alpha.example"))
    assert caught.value.reason is Refusal.NO_TENANT
    registry.set_trust_anchor(anchor.id, tenant_ids=["alpha"])
    for again in (
        lambda: run(service.resume(AuthKind.X509, LEAF, remembered, "beta.example")),
        lambda: service.check_trust(principal),
    ):
        with pytest.raises(IdentityRefused) as caught:
            again()
        assert caught.value.reason is Refusal.NO_TENANT


def test_name_that_is_found_in_another_way_by_now(registry: Registry, service: IdentityService) -> None:
    anchor = trust(registry)
    principal = run(service.certificate(DEVICE.presented_der))
    service.check_trust(principal)
    registry.set_trust_anchor(anchor.id, policy=replace(ADMIT, identity_rule="x-{cn}"))
    assert refused(service, principal, LEAF) is Refusal.CREDENTIAL_REVOKED
    with pytest.raises(IdentityRefused) as caught:
        service.check_trust(principal)
    assert caught.value.reason is Refusal.CREDENTIAL_REVOKED
    assert run(service.certificate(DEVICE.presented_der)).device.id == "x-meter-1"


def test_a_session_ends_with_its_chain(registry: Registry, clock: Clock, service: IdentityService) -> None:
    trust(registry)
    principal = run(service.certificate(DEVICE.presented_der))
    assert principal.valid_until is not None
    clock.now = datetime.fromtimestamp(principal.valid_until, NOW.tzinfo)
    service.check_trust(principal)
    clock.now += timedelta(seconds=1)
    with pytest.raises(IdentityRefused, match="renew") as caught:
        service.check_trust(principal)
    assert caught.value.reason is Refusal.EXPIRED


# --- bytes of another version ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", range(0, 124, 5))
def test_bytes_that_end_too_early(registry: Registry, service: IdentityService, cut: int) -> None:
    trust(registry)
    remembered = remember(run(service.certificate(DEVICE.presented_der)))
    with pytest.raises(IdentityRefused):
        run(service.resume(AuthKind.X509, LEAF, remembered[:cut]))


def test_bytes_that_are_no_text(registry: Registry, service: IdentityService) -> None:
    trust(registry)
    remembered = remember(run(service.certificate(DEVICE.presented_der)))
    with pytest.raises(IdentityRefused) as caught:
        run(service.resume(AuthKind.X509, LEAF, remembered[:-1] + b"\xff"))
    assert caught.value.reason is Refusal.INVALID
