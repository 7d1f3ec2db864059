"""Devices by the thousand: each row has its result, and an import that was cut off can be made again."""

import io
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.registry import (
    CredentialStatus,
    FileFormat,
    ImportRow,
    InvalidValue,
    Known,
    OnConflict,
    Registry,
    Result,
    RowResult,
    Secrets,
    TenantLimits,
    create_master_key,
    format_of,
    open_registry,
    read_rows,
)

ADDED, UPDATED, UNCHANGED = Result.ADDED, Result.UPDATED, Result.UNCHANGED
SKIPPED, REFUSED = Result.SKIPPED, Result.REFUSED


def row(number: int, **changes: object) -> ImportRow:
    made = ImportRow(number, f"dev{number}", "default", b"id%d" % number, b"KEY-%012d" % number, ("meter",))
    return replace(made, **changes)  # type: ignore[arg-type]  # the fields of the caller


def results(registry: Registry, rows: Sequence[ImportRow], **options: object) -> list[Result]:
    return [each.result for each in registry.import_devices(rows, **options)]  # type: ignore[arg-type]  # the same


def reason(registry: Registry, bad: ImportRow, **options: object) -> str:
    [found] = registry.import_devices([bad], **options)  # type: ignore[arg-type]  # the same
    assert found.result in (REFUSED, SKIPPED)
    assert bad.key.hex() not in found.reason
    return found.reason


def test_devices_are_added_with_their_keys(registry: Registry) -> None:
    rows = [row(number) for number in range(1200)]
    assert results(registry, rows) == [ADDED] * 1200
    assert registry.tenant("default").device_count == 1200
    for each in (rows[0], rows[1199]):
        found = registry.find_psk("default", each.identity)
        assert found is not None
        assert (found.device.id, found.device.tags, found.key, found.version) == (
            each.device_id,
            ("meter",),
            each.key,
            1,
        )
        assert found.status is CredentialStatus.ACTIVE
    assert len(registry.audit_entries(limit=5000)) == 1200


def test_made_again_it_changes_nothing(registry: Registry) -> None:
    rows = [row(number) for number in range(10)]
    registry.import_devices(rows[:6])
    seq, audited = registry.changes_since(-1).seq, len(registry.audit_entries())
    for conflict in OnConflict:
        assert results(registry, rows[:6], on_conflict=conflict) == [UNCHANGED] * 6
    assert not registry.changes_since(seq)
    assert len(registry.audit_entries()) == audited
    assert results(registry, rows) == [UNCHANGED] * 6 + [ADDED] * 4
    assert results(registry, [row(0, tags=None)]) == [UNCHANGED]  # a file that does not speak of tags


def test_one_bad_row_keeps_none_of_the_others_back(registry: Registry) -> None:
    rows = [row(0), row(1, device_id="no name"), row(2, key=b"short"), row(3, tags=("bad tag",)), row(4, identity=b"")]
    rows += [row(5, tenant_id="nobody"), row(6)]
    assert results(registry, rows) == [ADDED, *[REFUSED] * 5, ADDED]
    assert [each.device.id for each in registry.list_devices()] == ["dev0", "dev6"]


def test_an_identity_is_one_devices(registry: Registry) -> None:
    registry.add_psk_device("old", b"taken", b"T" * 16)
    rows = [row(0, identity=b"taken"), row(1, identity=b"same"), row(2, identity=b"same")]
    found = registry.import_devices(rows)
    assert [each.result for each in found] == [REFUSED, ADDED, REFUSED]
    assert "'old'" in found[0].reason
    assert "'dev1'" in found[2].reason
    registry.add_tenant("acme")
    assert results(registry, [row(3, identity=b"same", tenant_id="acme")]) == [ADDED]


@pytest.fixture(params=["plain", "sealed", "sealed since", "rotated"])
def with_one_key(request: pytest.FixtureRequest, registry_url: str, tmp_path: Path) -> Iterator[Registry]:
    """A registry in which dev0 has its key in one of the ways in which keys rest."""
    create_master_key(tmp_path / "master.key")
    sealed = Secrets(f"file:{tmp_path / 'master.key'}")
    before = None if request.param in ("plain", "sealed since") else sealed
    with open_registry(registry_url, create=True, secrets=before) as registry:
        registry.add_psk_device("dev0", b"id0", row(0).key)
    with open_registry(registry_url, secrets=None if request.param == "plain" else sealed) as registry:
        if request.param == "rotated":
            registry.rotate_keys()
        yield registry


def test_two_devices_with_one_key_are_found(with_one_key: Registry) -> None:
    assert "device 'dev0' of tenant 'default' has the same key" in reason(with_one_key, row(1, key=row(0).key))
    with_one_key.add_tenant("acme")
    assert "same key" in reason(with_one_key, row(1, key=row(0).key, tenant_id="acme"))
    assert results(with_one_key, [row(2), row(3, key=row(2).key)]) == [ADDED, REFUSED]  # of one batch
    assert results(with_one_key, [row(4, key=row(2).key)]) == [REFUSED]  # of the next one
    assert results(with_one_key, [row(5, key=row(0).key), row(6)], allow_shared_keys=True) == [ADDED, ADDED]
    assert results(with_one_key, [row(0, tags=None)]) == [UNCHANGED]
    assert results(with_one_key, [row(0, tags=None, key=b"another key of it")]) == [REFUSED]


def test_a_device_that_is_there_with_other_values(registry: Registry) -> None:
    registry.import_devices([row(0)])
    other_key, other_tags = row(0, key=b"ANOTHER-KEY-OF-0"), row(0, tags=("gone",))
    other_identity = row(0, identity=b"more", key=b"ONE-MORE-KEY-OF0")
    for each, said in ((other_key, "another key"), (other_tags, "other tags"), (other_identity, "no key with this")):
        assert said in reason(registry, each)
        assert said in reason(registry, each, on_conflict=OnConflict.SKIP)
        assert results(registry, [each], on_conflict=OnConflict.SKIP) == [SKIPPED]
    found = registry.find_psk("default", b"id0")
    assert found is not None
    assert (found.key, found.version, found.device.tags) == (row(0).key, 1, ("meter",))


def test_a_device_that_is_updated(registry: Registry) -> None:
    registry.import_devices([row(0)])
    seq = registry.changes_since(-1).seq
    changed = [row(0, key=b"ANOTHER-KEY-OF-0", tags=("gone",))]
    changed.append(replace(changed[0], identity=b"more", key=b"ONE-MORE-KEY-OF0"))
    assert results(registry, changed, on_conflict=OnConflict.UPDATE) == [UPDATED, UPDATED]
    old, new = registry.find_psk("default", b"id0"), registry.find_psk("default", b"more")
    assert old is not None
    assert new is not None
    # The version ends the sessions that began with the old key.
    assert (old.key, old.version, old.device.tags) == (b"ANOTHER-KEY-OF-0", 2, ("gone",))
    assert (new.key, new.version) == (b"ONE-MORE-KEY-OF0", 1)
    assert registry.changes_since(seq).devices == (("default", "dev0"),)
    assert registry.tenant("default").device_count == 1
    assert results(registry, changed, on_conflict=OnConflict.UPDATE) == [UNCHANGED, UNCHANGED]


def test_a_key_that_was_ended_does_not_come_back(registry: Registry) -> None:
    registry.import_devices([row(0)])
    [held] = registry.credentials("dev0")
    registry.end_psk("dev0", held.credential_id, CredentialStatus.REVOKED)
    for conflict in (OnConflict.FAIL, OnConflict.UPDATE):
        assert "revoked" in reason(registry, row(0), on_conflict=conflict)


def test_a_tenant_that_is_full(registry: Registry) -> None:
    registry.set_tenant("default", limits=TenantLimits(max_devices=3))
    assert results(registry, [row(number) for number in range(5)]) == [ADDED] * 3 + [REFUSED] * 2
    assert results(registry, [row(0)]) == [UNCHANGED]
    assert registry.tenant("default").device_count == 3


def test_a_dry_run_says_the_same_and_writes_nothing(registry: Registry) -> None:
    registry.set_tenant("default", limits=TenantLimits(max_devices=4))
    registry.import_devices([row(0)])
    seq, audited = registry.changes_since(-1).seq, len(registry.audit_entries())
    rows = [
        row(0),
        row(1),
        row(2, identity=b"id1"),
        row(3, key=row(1).key),
        row(1),
        row(0, tags=()),
        row(4),
        row(5),
        row(6),
    ]
    known = Known()
    dry = [each for one in rows for each in registry.import_devices([one], dry_run=known)]
    assert not registry.changes_since(seq)
    assert len(registry.audit_entries()) == audited
    assert registry.tenant("default").device_count == 1
    assert dry == registry.import_devices(rows)
    assert [each.result for each in dry] == [
        UNCHANGED,
        ADDED,
        REFUSED,
        REFUSED,
        UNCHANGED,
        REFUSED,
        ADDED,
        ADDED,
        REFUSED,
    ]


KILLED = """
import sys
from gateway.registry import FileFormat, open_registry, read_rows
from itertools import islice
with open_registry(sys.argv[1]) as registry, open(sys.argv[2], "rb") as file:
    rows = read_rows(file, FileFormat.CSV, "default")
    print("ready", flush=True)
    while batch := list(islice(rows, 50)):
        registry.import_devices(batch)
"""


def test_killed_at_any_time_it_goes_on(tmp_path: Path) -> None:
    rows = [row(number) for number in range(3000)]
    file = tmp_path / "devices.csv"
    lines = ["device_id,psk_identity,psk_hex,tags"]
    lines += [f"{each.device_id},{each.identity.decode()},{each.key.hex()},meter" for each in rows]
    file.write_text("\n".join(lines))
    url = f"sqlite:///{tmp_path / 'killed.db'}"
    open_registry(url, create=True).close()
    moment = random.Random(6)
    for _ in range(8):
        process = subprocess.Popen([sys.executable, "-c", KILLED, url, str(file)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process.stdout:
            assert process.stdout.readline() == b"ready\n"
            time.sleep(moment.uniform(0, 0.1))
            process.kill()
            process.wait()
        with open_registry(url) as registry:
            count = registry.tenant("default").device_count
            assert count % 50 == 0  # whole batches
            assert len(registry.list_devices()) == registry.counts().psk_credentials == count
    with open_registry(url) as registry:
        found = results(registry, rows)
        assert set(found) <= {ADDED, UNCHANGED}
        assert registry.counts().psk_credentials == registry.counts().devices == 3000


# Files.


def read(data: bytes, format: FileFormat = FileFormat.CSV) -> list[ImportRow | RowResult]:
    return list(read_rows(io.BytesIO(data), format, "default"))


HEAD = b"device_id,tenant,psk_identity,psk_hex,tags\n"
KEY = b"000102030405060708090a0b0c0d0e0f"


def test_rows_of_csv() -> None:
    data = b"\xef\xbb\xbf" + HEAD + b"a,acme,id a," + KEY + b',"x;y, z"\r\n\n"b",,"i""d\n\xff",' + KEY.upper() + b",\n"
    assert read(data) == [
        ImportRow(2, "a", "acme", b"id a", bytes(range(16)), ("x", "y", "z")),
        ImportRow(5, "b", "default", b'i"d\n\xff', bytes(range(16)), ()),
    ]
    assert read(b"psk_hex,device_id,psk_identity\n" + KEY + b",a,b") == [
        ImportRow(2, "a", "default", b"b", bytes(range(16)), None)
    ]


def test_rows_of_json_lines() -> None:
    lines = [
        {"device_id": "a", "psk_identity": "ü", "psk_hex": KEY.decode(), "tenant": "acme", "tags": ["x", "y"]},
        {"device_id": "b", "psk_identity": "b", "psk_hex": KEY.decode(), "tags": "x y"},
        {"device_id": "c", "psk_identity": "c", "psk_hex": KEY.decode()},
    ]
    data = "\n\n".join(map(json.dumps, lines)).encode()
    assert read(data, FileFormat.JSONL) == [
        ImportRow(1, "a", "acme", "ü".encode(), bytes(range(16)), ("x", "y")),
        ImportRow(3, "b", "default", b"b", bytes(range(16)), ("x", "y")),
        ImportRow(5, "c", "default", b"c", bytes(range(16)), None),
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"a,t,i",
        b"a,t,i," + KEY + b",t,more",
        b"a,t,i,nothex,",
        b"a,t,i,0,",
        b",t,i," + KEY + b",",
        b"a,t,," + KEY + b",",
    ],
)
def test_a_bad_line_of_csv_is_one_refusal(line: bytes) -> None:
    bad, good = read(HEAD + line + b"\ngood,t,i," + KEY + b",\n")
    assert isinstance(bad, RowResult)
    assert (bad.line, bad.result) == (2, REFUSED)
    assert KEY.decode() not in str(bad)
    assert isinstance(good, ImportRow)


ODD_FIELDS: list[dict[str, object]] = [
    {"tags": 1},
    {"tags": [1]},
    {"tenant": []},
    {"psk_identity": "\ud800"},
    {"psk_hex": "\udcff"},
]


@pytest.mark.parametrize(
    "line",
    [b"{", b"[]", b"1", b"null", b'"x"', b'{"device_id": 1}', b'{"psk": "x"}', b"\xff", b"[" * 100_000, b"1" * 5000]
    + [
        json.dumps({"device_id": "a", "psk_identity": "i", "psk_hex": KEY.decode(), **more}).encode()
        for more in ODD_FIELDS
    ],
)
def test_a_bad_line_of_json_is_one_refusal(line: bytes) -> None:
    if len(line) > 65536:
        line = line[:65000]
    [bad] = read(line, FileFormat.JSONL)
    assert isinstance(bad, RowResult)
    assert bad.result is REFUSED
    assert KEY.decode() not in str(bad)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"a,t,i," + KEY + b",\n",
        b"device_id,psk_identity\n",
        b"device_id,psk_identity,psk_hex,psk\n",
        b"device_id,psk_identity,psk_hex,tags,tags\n",
        HEAD + b'a,t,"i',
        HEAD + b'a,t,"i"x,' + KEY,
        HEAD + b"x" * 70000,
    ],
)
def test_a_file_that_is_no_list_of_devices(data: bytes) -> None:
    with pytest.raises(InvalidValue) as caught:
        read(data)
    assert KEY.decode() not in str(caught.value)


@given(st.binary(max_size=200), st.sampled_from(FileFormat))
def test_whatever_a_file_holds_is_rows_or_refusals(data: bytes, format: FileFormat) -> None:
    for start in (b"", HEAD):
        with suppress(InvalidValue):
            read(start + data, format)


def test_formats_by_name() -> None:
    assert [format_of(Path(name)) for name in ("a.csv", "A.CSV", "a.jsonl", "a.ndjson")] == [
        "csv",
        "csv",
        "jsonl",
        "jsonl",
    ]
    with pytest.raises(InvalidValue, match="--format"):
        format_of(Path("a.txt"))
