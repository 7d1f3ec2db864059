"""Looking before trusting: whom an anchor would admit, and whether whoever brings it holds its key."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.identity import IdentityService, check_possession, would_admit
from gateway.pki import CertifiedKey, PkiError, create_intermediate, create_root, fingerprint, issue_device
from gateway.registry import AnchorPolicy, AnchorRecord, CachedReads, Provision, Registry, open_registry, run

NEW = create_root("New Factory")
OTHER = create_root("Other Factory")
KNOWN = create_root("Known Factory")
NOW = datetime.now(UTC)


@pytest.fixture
def registry() -> Iterator[Registry]:
    with open_registry("sqlite://") as made:
        made.add_trust_anchor(KNOWN.presented_der[0], "known", policy=AnchorPolicy(provision=Provision.ACTIVE))
        yield made


def anchor(ca: CertifiedKey, provision: Provision = Provision.ACTIVE) -> AnchorRecord:
    der = ca.certificate.public_bytes(Encoding.DER)
    policy = AnchorPolicy(provision=provision)
    return AnchorRecord(sha256(der).hexdigest(), ("default",), "new", der, policy, 0.0)


@pytest.mark.parametrize(
    ("provision", "outcome"),
    [(Provision.ACTIVE, "active"), (Provision.PENDING, "pending"), (Provision.OFF, "not_provisioned")],
)
def test_what_a_new_anchor_would_admit(registry: Registry, provision: Provision, outcome: str) -> None:
    line = create_intermediate(NEW, "Line 1")
    mine, expired = issue_device(line, "m1"), issue_device(line, "m2")
    theirs, known = issue_device(OTHER, "m3"), issue_device(KNOWN, "m4")
    chains = [(each.presented_der, None) for each in (mine, mine, theirs, known)]
    found = would_admit(registry, [anchor(NEW, provision)], [], chains, NOW)
    assert [(each.device, each.tenant, each.outcome) for each in found] == [("m1", "default", outcome)]
    assert found[0].fingerprint == fingerprint(mine.certificate)
    late = NOW + timedelta(days=36_500)
    assert would_admit(registry, [anchor(NEW)], [], [(expired.presented_der, None)], late) == []
    assert registry.list_devices() == []
    assert len(registry.trust_anchors()) == 1


def test_a_name_that_is_another_factory_s(registry: Registry) -> None:
    service = IdentityService(CachedReads(registry))
    run(service.certificate(issue_device(KNOWN, "m1").presented_der))
    [found] = would_admit(registry, [anchor(NEW)], [], [(issue_device(NEW, "m1").presented_der, None)], NOW)
    assert found.outcome == "other_issuer"


def test_a_device_that_exists(registry: Registry) -> None:
    registry.add_device("m1")
    registry.allow_certificate("m1")
    [found] = would_admit(registry, [anchor(NEW)], [], [(issue_device(NEW, "m1").presented_der, None)], NOW)
    assert found.outcome == "known"


def proof(ca: CertifiedKey, code: str) -> CertifiedKey:
    return issue_device(ca, code)


def test_possession(registry: Registry) -> None:
    id = fingerprint(NEW.certificate)
    code = registry.registration_code(id)
    assert code == registry.registration_code(id)
    assert code != registry.registration_code(fingerprint(OTHER.certificate))
    with open_registry("sqlite://") as another:
        assert another.registration_code(id) != code
    check_possession(NEW.certificate, proof(NEW, code).certificate, code, NOW)


def test_what_proves_nothing(registry: Registry) -> None:
    code = registry.registration_code(fingerprint(NEW.certificate))
    with pytest.raises(PkiError, match="not have the registration code"):
        check_possession(NEW.certificate, proof(NEW, "other").certificate, code, NOW)
    with pytest.raises(PkiError, match="not signed by"):
        check_possession(NEW.certificate, proof(OTHER, code).certificate, code, NOW)
    with pytest.raises(PkiError, match="not valid now"):
        check_possession(NEW.certificate, proof(NEW, code).certificate, code, NOW - timedelta(days=400))
    forged = create_root("New Factory")  # the same name, another key
    with pytest.raises(PkiError, match="not signed by"):
        check_possession(NEW.certificate, proof(replace(forged), code).certificate, code, NOW)
