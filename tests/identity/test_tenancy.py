"""Which tenant a peer belongs to: by server name, by the end of its identity, by its trust anchor."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from gateway.identity import IdentityRefused, IdentityService, Refusal
from gateway.pki import CertifiedKey, create_root, issue_device
from gateway.registry import AnchorPolicy, CachedReads, Provision, Registry, TenantBy, open_registry, run

ROOT = create_root("Factory Root")
KEYS = {name: bytes([number]) * 16 for number, name in enumerate(("default", "acme", "zeta"), 1)}


@pytest.fixture
def registry() -> Iterator[Registry]:
    with open_registry("sqlite://") as made:
        made.add_tenant("acme", sni_names=["acme.example.com"])
        made.add_tenant("zeta", sni_names=["zeta.example.com", "old.zeta.example.com"])
        yield made


def key_of(registry: Registry, identity: bytes, server_name: str | None = None) -> bytes:
    return run(IdentityService(CachedReads(registry)).psk(identity, server_name)).key


def test_one_identity_in_three_tenants(registry: Registry) -> None:
    for tenant, key in KEYS.items():
        registry.add_psk_device("meter", b"meter", key, tenant_id=tenant)
    assert key_of(registry, b"meter") == KEYS["default"]
    assert key_of(registry, b"meter", "acme.example.com") == KEYS["acme"]
    assert key_of(registry, b"meter", "OLD.Zeta.example.COM") == KEYS["zeta"]
    assert key_of(registry, b"meter@acme") == KEYS["acme"]
    assert key_of(registry, b"meter@zeta") == KEYS["zeta"]
    assert key_of(registry, b"meter@default") == KEYS["default"]
    assert key_of(registry, b"meter@acme", "acme.example.com") == KEYS["acme"]


def test_the_server_name_outranks_the_suffix(registry: Registry) -> None:
    registry.add_psk_device("meter", b"meter", KEYS["acme"], tenant_id="acme")
    registry.add_psk_device("meter", b"meter", KEYS["zeta"], tenant_id="zeta")
    with pytest.raises(IdentityRefused) as refused:
        key_of(registry, b"meter@zeta", "acme.example.com")
    assert refused.value.reason is Refusal.UNKNOWN_IDENTITY


def test_a_server_name_of_nobody_says_nothing(registry: Registry) -> None:
    """Devices send the host name that they connect to, which need not be a tenant's."""
    registry.add_psk_device("meter", b"meter", KEYS["default"])
    assert key_of(registry, b"meter", "coap.example.com") == KEYS["default"]


def test_an_identity_that_holds_the_suffix_itself(registry: Registry) -> None:
    registry.add_psk_device("meter", b"meter@acme", KEYS["acme"], tenant_id="acme")
    assert key_of(registry, b"meter@acme") == KEYS["acme"]
    assert key_of(registry, b"meter@acme", "acme.example.com") == KEYS["acme"]


@pytest.mark.parametrize("identity", [b"someone@example.com", b"a@b@nobody", b"@acme", b"acme@", b"x@\xff\xfe"])
def test_a_suffix_that_is_no_tenant_belongs_to_the_identity(registry: Registry, identity: bytes) -> None:
    registry.add_psk_device("meter", identity, KEYS["default"])
    assert key_of(registry, identity) == KEYS["default"]


def test_a_disabled_tenant_s_devices_stay_out(registry: Registry) -> None:
    registry.add_psk_device("meter", b"meter", KEYS["acme"], tenant_id="acme")
    registry.set_tenant("acme", active=False)
    with pytest.raises(IdentityRefused) as refused:
        key_of(registry, b"meter@acme")
    assert refused.value.reason is Refusal.TENANT_DISABLED
    assert "gateway tenant set acme --enable" in refused.value.detail


def with_organization(name: str, *organizations: str) -> CertifiedKey:
    """A device certificate whose subject names organizations."""
    made = issue_device(ROOT, name)
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    subject += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, each) for each in organizations]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(ROOT.certificate.subject)
        .public_key(made.certificate.public_key())
        .serial_number(made.certificate.serial_number)
        .not_valid_before(made.certificate.not_valid_before_utc)
        .not_valid_after(made.certificate.not_valid_after_utc)
    )
    return replace(made, certificate=builder.sign(ROOT.private_key, hashes.SHA256()))


def tenant_of(registry: Registry, by: TenantBy, made: CertifiedKey, server_name: str | None = None) -> str:
    policy = AnchorPolicy(provision=Provision.ACTIVE, tenant_by=by)
    anchors = registry.trust_anchors()
    if not anchors:
        registry.add_trust_anchor(ROOT.presented_der[0], "root", tenant_ids=("acme", "zeta"), policy=policy)
    service = IdentityService(CachedReads(registry))
    der = made.certificate.public_bytes(Encoding.DER)
    return run(service.certificate([der], server_name)).device.tenant_id


def test_a_certificate_s_tenant_by_server_name(registry: Registry) -> None:
    made = issue_device(ROOT, "meter")
    assert tenant_of(registry, TenantBy.SNI, made, "acme.example.com") == "acme"
    assert tenant_of(registry, TenantBy.SNI, made, "zeta.example.com") == "zeta"
    for server_name in (None, "other.example.com"):
        with pytest.raises(IdentityRefused) as refused:
            tenant_of(registry, TenantBy.SNI, made, server_name)
        assert refused.value.reason is Refusal.NO_TENANT
        assert "acme, zeta" in refused.value.detail


def test_a_server_name_of_a_tenant_that_the_anchor_is_not_of(registry: Registry) -> None:
    registry.add_tenant("beta", sni_names=["beta.example.com"])
    with pytest.raises(IdentityRefused) as refused:
        tenant_of(registry, TenantBy.SNI, issue_device(ROOT, "meter"), "beta.example.com")
    assert refused.value.reason is Refusal.NO_TENANT
    assert registry.list_devices() == []


def test_a_certificate_s_tenant_by_organization(registry: Registry) -> None:
    assert tenant_of(registry, TenantBy.ORGANIZATION, with_organization("m1", "zeta")) == "zeta"
    assert tenant_of(registry, TenantBy.ORGANIZATION, with_organization("m2", "Somebody", "acme")) == "acme"
    for organizations in ((), ("default",), ("Acme",), ("acme", "zeta")):
        with pytest.raises(IdentityRefused) as refused:
            tenant_of(registry, TenantBy.ORGANIZATION, with_organization("m3", *organizations))
        assert refused.value.reason is Refusal.NO_TENANT
