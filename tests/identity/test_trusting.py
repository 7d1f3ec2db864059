"""A CA's file becomes a trust anchor: what is stored, what is refused, what trusting again means."""

import hashlib
from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.identity import IdentityRefused, IdentityService, Refusal, trust_ca
from gateway.pki import CertifiedKey, PkiError, create_intermediate, create_root, issue_device, issue_server
from gateway.registry import (
    AnchorPolicy,
    AnchorRecord,
    CachedReads,
    Conflict,
    InvalidValue,
    NotFound,
    Provision,
    Registry,
    open_registry,
    run,
)
from tests.pki.factory import NOW

ROOT = create_root("Factory A", at=NOW)
LINE = create_intermediate(ROOT, "Factory A Line 1", at=NOW)
OTHER_ROOT = create_root("Factory B", at=NOW)
DEVICE = issue_device(LINE, "meter-1", at=NOW)
SERVER = issue_server(LINE, ["localhost"], at=NOW)


@pytest.fixture
def registry() -> Iterator[Registry]:
    with open_registry("sqlite://") as opened:
        opened.add_tenant("acme")
        yield opened


def trust(
    registry: Registry, *cas: CertifiedKey, auto: bool | None = None, tenant: str = "default"
) -> list[AnchorRecord]:
    said = {} if auto is None else {"provision": "active" if auto else "off"}
    return trust_ca(registry, [ca.certificate for ca in cas], tenant_ids=[tenant], policy=said)


def der(owner: CertifiedKey) -> bytes:
    return owner.certificate.public_bytes(Encoding.DER)


def leaf_alone(service: IdentityService) -> str:
    return run(service.certificate([der(DEVICE)])).device.id


def test_a_root_is_stored_under_its_fingerprint(registry: Registry) -> None:
    (record,) = trust(registry, ROOT)
    assert record.id == hashlib.sha256(der(ROOT)).hexdigest()
    assert (record.certificate, record.tenant_id, record.auto_provision) == (der(ROOT), "default", False)
    assert registry.trust_anchors() == [record]
    assert registry.intermediates() == []


def test_a_bundle_keeps_its_intermediates_so_that_devices_may_send_their_own_certificate_alone(
    registry: Registry,
) -> None:
    (record,) = trust(registry, LINE, ROOT, auto=True)
    assert (record.certificate, registry.intermediates()) == (der(ROOT), [der(LINE)])
    assert leaf_alone(IdentityService(CachedReads(registry), lambda: NOW)) == "meter-1"


def test_a_root_alone_does_not_know_its_intermediates(registry: Registry) -> None:
    trust(registry, ROOT, auto=True)
    with pytest.raises(IdentityRefused) as caught:
        leaf_alone(IdentityService(CachedReads(registry), lambda: NOW))
    assert caught.value.reason is Refusal.MISSING_INTERMEDIATE


def test_a_file_without_a_root_trusts_its_first_ca(registry: Registry) -> None:
    (record,) = trust(registry, LINE, auto=True)
    assert record.certificate == der(LINE)
    assert leaf_alone(IdentityService(CachedReads(registry), lambda: NOW)) == "meter-1"


def test_every_root_of_a_file_is_trusted_once(registry: Registry) -> None:
    records = trust(registry, ROOT, OTHER_ROOT, ROOT)
    assert [record.certificate for record in records] == [der(ROOT), der(OTHER_ROOT)]
    assert registry.trust_anchors() == records


@pytest.mark.parametrize(
    ("first", "again", "then"),
    [
        (None, None, False),
        (None, True, True),
        (True, None, True),
        (True, False, False),
        (False, True, True),
        (True, True, True),
    ],
)
def test_trusting_again_changes_only_what_is_said(
    registry: Registry, first: bool | None, again: bool | None, then: bool
) -> None:
    (before,) = trust(registry, ROOT, auto=first)
    (after,) = trust(registry, ROOT, auto=again)
    assert after.auto_provision is then
    assert registry.trust_anchors() == [after]
    assert (after.id, after.created_at) == (before.id, before.created_at)


def test_a_running_gateway_follows(registry: Registry) -> None:
    service = IdentityService(CachedReads(registry), lambda: NOW)
    for auto, reason in ((None, Refusal.NOT_PROVISIONED), (True, None)):
        trust(registry, ROOT, LINE, auto=auto)
        if reason is None:
            assert leaf_alone(service) == "meter-1"
        else:
            with pytest.raises(IdentityRefused) as caught:
                leaf_alone(service)
            assert caught.value.reason is reason


@pytest.mark.parametrize("stranger", [DEVICE, SERVER])
def test_what_is_no_ca_is_refused_with_all_that_is_in_its_file(registry: Registry, stranger: CertifiedKey) -> None:
    name = stranger.certificate.subject.rfc4514_string()
    with pytest.raises(PkiError, match=rf"'{name}' is not a CA .*trust the CA that issued it"):
        trust(registry, ROOT, LINE, stranger)
    assert (registry.trust_anchors(), registry.intermediates()) == ([], [])


def test_a_ca_of_another_tenant_is_a_conflict_that_says_how_to_solve_it(registry: Registry) -> None:
    (theirs,) = trust(registry, OTHER_ROOT, tenant="acme", auto=True)
    with pytest.raises(Conflict, match=f"'acme'.*`gateway ca untrust {theirs.id}`"):
        trust(registry, ROOT, LINE, OTHER_ROOT)
    # Nor is the other half of the file stored, nor theirs changed.
    assert (registry.trust_anchors(), registry.intermediates()) == ([theirs], [])


def test_an_unknown_tenant_is_not_found(registry: Registry) -> None:
    with pytest.raises(NotFound, match="nobody"):
        trust(registry, ROOT, LINE, tenant="nobody")
    assert (registry.trust_anchors(), registry.intermediates()) == ([], [])


def test_an_empty_file_is_refused(registry: Registry) -> None:
    nothing: list[x509.Certificate] = []
    with pytest.raises(PkiError, match="no certificate"):
        trust_ca(registry, nothing, policy={"provision": "active"})


def test_what_is_not_said_stays_as_it_was(registry: Registry) -> None:
    (before,) = trust_ca(registry, [ROOT.certificate], tenant_ids=["acme"], policy={"max_devices": 7, "strict": True})
    (after,) = trust_ca(registry, [ROOT.certificate], policy={"provision": "pending", "strict": False})
    assert before.policy == AnchorPolicy(max_devices=7, strict=True)
    assert after.policy == AnchorPolicy(max_devices=7, provision=Provision.PENDING)
    assert after.tenant_ids == ("acme",)
    # Saying the default is saying something.
    (last,) = trust_ca(registry, [ROOT.certificate], policy={"max_devices": 0})
    assert last.policy.max_devices == 0


def test_a_ca_gets_more_tenants_and_loses_none(registry: Registry) -> None:
    trust_ca(registry, [ROOT.certificate])
    with pytest.raises(InvalidValue, match="tenant_by"):
        trust_ca(registry, [ROOT.certificate], tenant_ids=["acme", "default"])
    (both,) = trust_ca(registry, [ROOT.certificate], tenant_ids=["acme", "default"], policy={"tenant_by": "sni"})
    assert both.tenant_ids == ("acme", "default")
    (still,) = trust_ca(registry, [ROOT.certificate], tenant_ids=["acme"])
    assert still == both


@pytest.mark.parametrize("policy", [{"max_device": 1}, {"max_devices": "1"}, {"provision": "perhaps"}])
def test_a_policy_that_is_none_trusts_nothing(registry: Registry, policy: dict[str, object]) -> None:
    with pytest.raises(InvalidValue):
        trust_ca(registry, [ROOT.certificate], policy=policy)
    assert registry.trust_anchors() == []
