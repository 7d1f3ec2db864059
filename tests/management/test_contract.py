"""Every operation does the same on a registry and by a running gateway: answers, refusals, and the audit trail."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.management import (
    Local,
    Management,
    Operation,
    anchors,
    bans,
    certificates,
    credentials,
    devices,
    fleet,
    psk,
    tenants,
    trail,
)
from gateway.management.table import OPERATIONS
from gateway.pki import create_intermediate, create_root, issue_device, pem_bundle
from gateway.registry import Conflict, InvalidValue, NotFound, RegistryError
from tests.management.support import NOW, Served, registry_at
from tests.management.test_trust import TRIED
from tests.pki.factory import NOW as PKI_NOW

ROOT = create_root("Factory A", at=PKI_NOW)
LINE = create_intermediate(ROOT, "Line 1", at=PKI_NOW)
PEM = pem_bundle([ROOT.certificate, LINE.certificate]).decode()
LEAF = pem_bundle([issue_device(LINE, "meter-1", at=PKI_NOW).certificate]).decode()
RPK = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt
6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==
-----END PUBLIC KEY-----
"""
HOSTILE = "urn:dev:mac:00-1b/c5@acme+x,y=%2F~1"
FINGERPRINT = "ab" * 32
LINE_1 = {
    "issuer": "ab" * 32,
    "serial": "1a",
    "tenant": "acme",
    "device": "meter-1",
    "fingerprint": "bb" * 32,
    "not_before": 1.5,
    "not_after": 4e9,
}
LATER = datetime(2031, 1, 1, tzinfo=UTC)

Fields = dict[str, Any] | Callable[[list[Any]], dict[str, Any]]
Step = tuple[Operation[Any, Any], Fields]


def dev(name: str, **fields: Any) -> dict[str, Any]:
    return {"tenant": "acme", "device": name, **fields}


def first_credential(answers: list[Any]) -> dict[str, Any]:
    """The first credential that any answer showed."""
    shown = next(answer["credentials"] for answer in answers if isinstance(answer, dict) and "credentials" in answer)
    return {"credential": shown[0]["id"], "status": "revoked"}


STEPS: list[Step] = [
    (trail.status, {}),
    (tenants.add, {"tenant": "acme", "name": "Acm\u00e9 \U0001f4a1", "sni": ["acme.example.com"], "max_devices": 10}),
    (tenants.add, {"tenant": "acme"}),
    (tenants.add, {"tenant": "a b"}),
    (tenants.set_, {"tenant": "acme", "on_clone": "quarantine", "psk_until": datetime(2030, 1, 1, tzinfo=UTC)}),
    (tenants.set_, {"tenant": "acme", "enabled": False, "sni": []}),
    (tenants.set_, {"tenant": "acme", "enabled": True, "psk_until": None}),
    (tenants.set_, {"tenant": "nobody", "enabled": True}),
    (tenants.show, {"tenant": "acme"}),
    (tenants.show, {"tenant": ""}),
    (tenants.show, {"tenant": "../default"}),
    (tenants.list_all, {}),
    (devices.add, dev("dev1", psk_identity="id \u00fc", generate=True)),
    (devices.add, dev("dev1", psk_identity="id2", generate=True)),
    (devices.add, dev("dev2", psk_identity="id \u00fc", generate=True)),
    (devices.add, dev("dev2", psk_identity_hex="ff00", psk_hex="00" * 16, certificate=True)),
    (devices.add, dev("dev2", psk_identity="short", psk_hex="00")),
    (devices.add, dev("dev3", psk_identity="short", psk_hex="00", allow_short_key=True)),
    (devices.add, dev("dev4", public_key=RPK)),
    (devices.add, dev("dev5", public_key="no key")),
    (devices.add, dev(HOSTILE)),
    (devices.add, dev("no name", certificate=True)),
    (devices.add, dev("dev6", generate=True)),
    (devices.add, {"device": "in-default"}),
    (devices.show, dev("dev2")),
    (devices.show, dev(HOSTILE)),
    (devices.show, dev("nobody")),
    (devices.show, dev("..")),
    (devices.show, dev("a\0b")),
    (devices.show, dev("\u202e" * 10)),
    (devices.set_, dev("dev1", status="quarantined", note="looks odd", add_tags=["b", "a"])),
    (devices.set_, dev("dev1", add_tags=["c"], remove_tags=["a"], attributes={"site": "Z\u00fcrich", "row": "7"})),
    (devices.set_, dev("dev1", attributes={"row": None})),
    (devices.set_, dev("dev1", note="alone")),
    (devices.set_, dev("dev1", add_tags=["no tag"])),
    (devices.list_page, {}),
    (devices.list_page, {"limit": 2, "tenant": "acme"}),
    (devices.list_page, lambda answers: {"limit": 2, "tenant": "acme", "cursor": answers[-1]["next"]}),
    (devices.list_page, {"cursor": "nonsense"}),
    (devices.list_page, {"status": "quarantined", "tag": "c"}),
    (devices.list_page, {"auth": "x509", "never_connected": True}),
    (devices.list_page, {"last_seen_before": datetime.fromtimestamp(NOW, UTC)}),
    (devices.list_page, {"tenant": "nobody"}),
    (devices.list_page, {"limit": 0}),
    (credentials.list_all, dev("dev2")),
    (credentials.set_, first_credential),
    (credentials.set_, {"credential": "f" * 32, "status": "retired"}),
    (credentials.set_, {"credential": "f" * 32, "status": "active"}),
    (psk.add, dev("dev4", psk_identity="id4", generate=True)),
    (psk.add, dev("dev4", psk_identity="id5")),
    (psk.add, dev("dev4", psk_identity="id5", derived=True)),
    (psk.rotate, dev("dev4", overlap_s=3600, generate=True)),
    (psk.rotate, dev("dev4", overlap_s=3600, generate=True)),
    (psk.rotate, dev("dev4", overlap_s=-1, generate=True)),
    (psk.end, lambda answers: dev("dev4", credential=answers[-6]["id"], status="retired")),
    (psk.end, dev("dev4", credential="none", status="revoked")),
    (
        fleet.migrate,
        {"tenant": "acme", "psk_until": datetime(2031, 1, 1, tzinfo=UTC), "psk_ends_with_certificate": True},
    ),
    (fleet.migrate, {"tenant": "nobody"}),
    (fleet.migrate, {"tenant": "acme", "psk_until": datetime(1960, 1, 1, tzinfo=UTC)}),
    (fleet.status, {"tenant": "acme", "days": 7}),
    (fleet.status, {"tenant": "nobody"}),
    (fleet.keys, {}),
    (
        fleet.import_devices,
        {
            "rows": [
                {"line": 2, "device": "i1", "tenant": "default", "psk_identity_hex": "6931", "psk_hex": "11" * 16},
                {"line": 3, "device": "no name", "tenant": "default", "psk_identity_hex": "6932", "psk_hex": "12" * 16},
                {"line": 4, "device": "i3", "tenant": "default", "psk_identity_hex": "6931", "psk_hex": "13" * 16},
            ]
        },
    ),
    (
        fleet.import_devices,
        {"rows": [{"line": 1, "device": "x", "tenant": "t", "psk_identity_hex": "0", "psk_hex": ""}]},
    ),
    (anchors.trust, {"certificates": PEM, "tenants": ["acme"], "policy": {"provision": "pending", "max_devices": 5}}),
    (anchors.trust, {"certificates": PEM, "tenants": ["default"]}),
    (anchors.trust, {"certificates": PEM, "tenants": ["acme", "default"]}),
    (
        anchors.trust,
        {
            "certificates": PEM,
            "tenants": ["acme", "default"],
            "policy": {
                "tenant_by": "organization",
                "provision_from": datetime(2027, 1, 1, tzinfo=UTC),
                "name_pattern": "meter-[0-9]+",
            },
            "manifest": ["meter-1", "meter-2"],
        },
    ),
    (anchors.trust, {"certificates": PEM, "policy": {"identity_rule": "shoe_size"}}),
    (anchors.trust, {"certificates": PEM, "policy": {"webhook": "http://example.com/"}}),
    (anchors.trust, {"certificates": PEM, "policy": {"max_device": 1}}),
    (anchors.trust, {"certificates": LEAF}),
    (anchors.trust, {"certificates": "nothing"}),
    (anchors.list_all, {}),
    (anchors.show, lambda answers: {"anchor": answers[-1]["trust_anchors"][0]["id"][:12]}),
    (anchors.show, {"anchor": "zz"}),
    (bans.add, {"fingerprint": ":".join(["AB"] * 32), "reason": "stolen"}),
    (bans.add, {"fingerprint": FINGERPRINT, "reason": "again"}),
    (bans.add, {"fingerprint": "../../etc/passwd"}),
    (bans.list_all, {}),
    (bans.remove, {"fingerprint": FINGERPRINT}),
    (bans.remove, {"fingerprint": FINGERPRINT}),
    (certificates.record, {"certificates": [LINE_1, {**LINE_1, "serial": "2b", "fingerprint": "cc" * 32}]}),
    (certificates.record, {"certificates": [{**LINE_1, "fingerprint": "cc" * 32}]}),
    (certificates.record, {"certificates": [{**LINE_1, "serial": "0x1"}]}),
    (certificates.revoke, {"issuer": "ab" * 32, "serial": "1a", "reason": "key_compromise"}),
    (certificates.revoke, {"issuer": "ab" * 32, "serial": "1a", "reason": "superseded"}),
    (certificates.revoke, {"issuer": "ab" * 32, "serial": "1a", "reason": "boredom"}),
    (certificates.revoke, {"issuer": "ab" * 32, "serial": "ff"}),
    (certificates.list_page, {"limit": 1}),
    (certificates.list_page, lambda answers: {"after": answers[-1]["next"], "issuer": "ab" * 32}),
    (certificates.list_page, {"revoked": True, "device": "meter-1"}),
    (certificates.crl_number, {"issuer": "ab" * 32}),
    (certificates.crl_number, {"issuer": "ab" * 32}),
    (certificates.crl_number, {"issuer": "AB"}),
    (devices.delete, dev("dev1")),
    (devices.delete, dev("dev1")),
    (tenants.delete, {"tenant": "acme"}),
    (tenants.delete, {"tenant": "default"}),
    (anchors.untrust, lambda answers: {"anchor": anchor_id(answers)}),
    (tenants.add, {"tenant": "empty"}),
    (tenants.delete, {"tenant": "empty"}),
    (trail.status, {}),
    (trail.audit, {"limit": 1000}),
    (trail.audit, {"limit": 2, "tenant": "acme"}),
    (trail.audit, {"before": 0}),
]


def anchor_id(answers: list[Any]) -> str:
    lists = [
        answer["trust_anchors"]
        for answer in answers
        if isinstance(answer, dict) and "policy" not in answer and isinstance(answer.get("trust_anchors"), list)
    ]
    return str(lists[0][0]["id"])


def transcript(manage: Management) -> list[Any]:
    """What each step came to."""
    answers: list[Any] = []
    for operation, fields in STEPS:
        given = fields(answers) if callable(fields) else fields
        try:
            answers.append(manage.do(operation, **given).model_dump(mode="json", exclude_unset=True))
        except RegistryError as error:
            # By what the command makes of it: its exit status and its line.
            kinds = (NotFound, Conflict, InvalidValue)
            answers.append([next((kind.__name__ for kind in kinds if isinstance(error, kind)), "failure"), str(error)])
    return answers


def alike(answers: list[Any]) -> str:
    """The transcript, with what is random replaced by its place in the order of appearance."""
    text = json.dumps(answers, indent=1, sort_keys=True)
    ids = [c["id"] for a in answers if isinstance(a, dict) for c in a.get("credentials", [])]
    ids += [
        e["detail"]["credential"]
        for a in answers
        if isinstance(a, dict)
        for e in a.get("entries", [])
        if "credential" in e["detail"]
    ]
    ids += [a["id"] for a in answers if isinstance(a, dict) and "psk_identity" in a and "id" in a]
    for place, each in enumerate(dict.fromkeys(ids)):
        text = text.replace(each, f"credential {place}")
    for each in [a["psk_hex"] for a in answers if isinstance(a, dict) and "psk_hex" in a]:
        text = text.replace(each, "a key")
    return text.replace('"cli:tester"', '"actor"').replace('"api:ops"', '"actor"')


ALL_OF_THESE = {operation.name for operation in OPERATIONS} - {operation.name for operation in TRIED}


def test_every_operation_is_tried() -> None:
    assert {operation.name for operation, _ in STEPS} == ALL_OF_THESE


def test_local_and_remote_come_to_the_same(served: Served, tmp_path: Path) -> None:
    with Local(lambda: registry_at(tmp_path / "local.db"), clock=lambda: NOW) as local:
        here = transcript(local)
    with served.remote() as remote:
        there = transcript(remote)
    assert alike(here) == alike(there)
    # Not because all were refused.
    done = {operation.name for (operation, _), answer in zip(STEPS, here, strict=True) if isinstance(answer, dict)}
    assert done == ALL_OF_THESE
    assert len([answer for answer in here if not isinstance(answer, dict)]) == 50
    assert served.opened == 1


def test_reading_writes_nothing(served: Served) -> None:
    registry = registry_at(served.registry)
    with Local(lambda: registry) as local:
        for operation in OPERATIONS:
            if not operation.writes and not operation.path_fields:
                local.do(operation)
        assert registry.writes == 0


def test_an_operation_is_all_or_nothing(tmp_path: Path) -> None:
    """A bundle whose manifest is refused is not trusted; a device whose certificate is refused is not added."""
    with Local(lambda: registry_at(tmp_path / "local.db")) as local:
        refused: list[tuple[Operation[Any, Any], dict[str, Any]]] = [
            (anchors.trust, {"certificates": PEM, "manifest": ["no name"]}),
            (devices.add, {"device": "d", "psk_identity": "i" * 300, "generate": True, "certificate": True}),
        ]
        for operation, given in refused:
            before = local.do(trail.status), local.do(trail.audit)
            try:
                local.do(operation, **given)
            except RegistryError:
                pass
            else:
                raise AssertionError(operation.name)
            assert (local.do(trail.status), local.do(trail.audit)) == before
