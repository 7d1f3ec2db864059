"""Looking before trusting, proof of possession, objections, kept intermediates and lists: here and by HTTP."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.management import Local, Management, anchors, crls, intermediates, previews
from gateway.pki import CertifiedKey, create_intermediate, create_root, fingerprint, issue_device, pem_bundle
from gateway.registry import Conflict, InvalidValue, NotFound, RegistryError
from tests.management.support import Served, registry_at
from tests.pki.factory import NOW as PKI_NOW
from tests.pki.factory import make
from tests.server.test_revocation import crl

ROOT = create_root("Factory A", at=PKI_NOW)
LINE = create_intermediate(ROOT, "Line 1", at=PKI_NOW)
DEVICE = issue_device(LINE, "meter-1", at=PKI_NOW)
NOW = PKI_NOW.timestamp() + 60

TRIED = (
    previews.preview,
    previews.dependents,
    previews.challenge,
    intermediates.list_all,
    intermediates.add,
    crls.list_all,
    crls.add,
    crls.forget,
)
"""Each both ways, in this module."""


def pem(*certificates: x509.Certificate) -> str:
    return pem_bundle(certificates).decode()


def presented(made: CertifiedKey) -> dict[str, Any]:
    return {"certificates": [base64.b64encode(der).decode() for der in made.presented_der]}


@pytest.fixture(params=["here", "by HTTP"])
def manage(request: pytest.FixtureRequest, served: Served, tmp_path: Path) -> Iterator[Management]:
    if request.param == "here":
        with Local(lambda: registry_at(tmp_path / "local.db"), clock=lambda: NOW) as local:
            yield local
    else:
        served.api._clock = lambda: NOW
        with served.remote() as remote:
            yield remote


def test_a_preview_says_whom_and_changes_nothing(manage: Management) -> None:
    other = issue_device(create_root("Factory B", at=PKI_NOW), "meter-9", at=PKI_NOW)
    said: dict[str, Any] = {"certificates": pem(ROOT.certificate), "chains": [presented(DEVICE), presented(other)]}
    for provision, outcome in (("active", "active"), ("pending", "pending"), ("off", "not_provisioned")):
        [found] = manage.do(previews.preview, **said, policy={"provision": provision}).admissions
        assert (found.device, found.tenant, found.outcome) == ("meter-1", "default", outcome)
        assert found.fingerprint == fingerprint(DEVICE.certificate)
    assert manage.do(anchors.list_all).trust_anchors == []
    with pytest.raises(InvalidValue):
        manage.do(previews.preview, certificates=pem(ROOT.certificate), chains=[{"certificates": ["%%"]}])


def test_who_depends_on_an_anchor(manage: Management) -> None:
    [anchor] = manage.do(anchors.trust, certificates=pem(ROOT.certificate)).trust_anchors
    assert manage.do(previews.dependents, anchor=anchor.id[:8]).count == 0
    with pytest.raises(NotFound):
        manage.do(previews.dependents, anchor="ff" * 32)


def test_a_proof_of_possession(manage: Management) -> None:
    [code] = manage.do(previews.challenge, certificates=pem(ROOT.certificate)).codes
    good = issue_device(ROOT, code.code, at=PKI_NOW).certificate
    bad = issue_device(ROOT, "another", at=PKI_NOW).certificate
    with pytest.raises(RegistryError, match="registration code"):
        manage.do(anchors.trust, certificates=pem(ROOT.certificate), proof=pem(bad))
    assert manage.do(anchors.list_all).trust_anchors == []
    [anchor] = manage.do(anchors.trust, certificates=pem(ROOT.certificate), proof=pem(good)).trust_anchors
    assert anchor.id == code.anchor


def test_every_objection_is_named_and_an_error_refuses(manage: Management) -> None:
    begin, end = PKI_NOW, PKI_NOW.replace(year=PKI_NOW.year + 5)
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)  # a CA that may not sign
    made = make("No Signer", None, (x509.BasicConstraints(True, None), True), (usage, True), begin=begin, end=end)
    bundle = pem(made.certificate)
    with pytest.raises(InvalidValue, match=r"keyCertSign.*--force"):
        manage.do(anchors.trust, certificates=bundle)
    assert manage.do(anchors.list_all).trust_anchors == []
    done = manage.do(anchors.trust, certificates=bundle, force=True)
    assert any(each.severity == "error" and each.remedy for each in done.objections)
    assert len(done.trust_anchors) == 1


def test_kept_intermediates_are_no_anchors(manage: Management) -> None:
    [kept] = manage.do(intermediates.add, certificates=pem(LINE.certificate)).intermediates
    assert kept.fingerprint == fingerprint(LINE.certificate)
    assert manage.do(intermediates.add, certificates=pem(LINE.certificate)).intermediates == [kept]
    assert manage.do(intermediates.list_all).intermediates == [kept]
    assert manage.do(anchors.list_all).trust_anchors == []
    with pytest.raises(InvalidValue, match="is not a CA's"):
        manage.do(intermediates.add, certificates=pem(LINE.certificate, DEVICE.certificate))


def test_revocation_lists(manage: Management, served: Served) -> None:
    # These lists are made for the time that it is; the certificates of this module are of another one.
    now = datetime.now(UTC).timestamp()
    if isinstance(manage, Local):
        manage._clock = lambda: now
    served.api._clock = lambda: now
    root = create_root("Factory C")
    manage.do(anchors.trust, certificates=pem(root.certificate))
    first, second = crl(root, 1, number=1), crl(root, 1, 2, number=2)
    done = manage.do(crls.add, crl=as_pem(first))
    assert (done.issuer, done.number, done.entries, done.new) == (fingerprint(root.certificate), 1, 1, True)
    assert not manage.do(crls.add, crl=as_pem(first)).new
    assert manage.do(crls.add, crl=as_pem(second)).entries == 2
    with pytest.raises(Conflict, match="older"):
        manage.do(crls.add, crl=as_pem(first))
    for text, why in (
        (as_pem(crl(create_root("Stranger"), 1)), "neither a trust anchor"),
        ("nothing", "cannot be read"),
    ):
        with pytest.raises(InvalidValue, match=why):
            manage.do(crls.add, crl=text)
    [kept] = manage.do(crls.list_all).crls
    assert (kept.number, kept.url, kept.outdated) == (2, "", False)
    manage.do(crls.forget, issuer=kept.issuer)
    assert manage.do(crls.list_all).crls == []
    with pytest.raises(NotFound):
        manage.do(crls.forget, issuer=kept.issuer)


def as_pem(der: bytes) -> str:
    return x509.load_der_x509_crl(der).public_bytes(Encoding.PEM).decode()
