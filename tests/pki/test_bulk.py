"""Bulk issuing: what is written, and what is left of it when it is cut off anywhere."""

import csv
import fcntl
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

import gateway.pki.bulk
from gateway.pki import (
    BulkJob,
    IssuedDevice,
    Layout,
    OtherJob,
    Outcome,
    PkiError,
    Profile,
    TrustAnchor,
    TrustStore,
    counted,
    create_intermediate,
    create_root,
    from_csv,
    issue_into,
    load_certificates,
    load_certified_key,
    load_private_key,
)
from gateway.pki.bulk import issue_all
from gateway.pki.limits import BULK_BATCH, BULK_FOLDER_DEVICES, MAX_BULK_CERTIFICATES
from tests.pki.factory import NOW

ROOT = create_root("Root", at=NOW)
CA = create_intermediate(ROOT, "Issuing", at=NOW)
TRUST = TrustStore([TrustAnchor.of(ROOT.certificate)])


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody cuts the power, and it is about everybody's files."""
    monkeypatch.setattr(os, "sync", lambda: None)
    monkeypatch.setattr(os, "fsync", lambda _: None)


def job(*names: str, profile: Profile = Profile.PEM) -> BulkJob:
    return BulkJob(CA, names or ("dev-1", "dev-2", "dev-3"), profile, ROOT.certificate if profile else None)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def keys(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in snapshot(folder).items() if name.endswith(".key") and data}


def check_whole(folder: Path, wanted: BulkJob) -> None:
    """The folder has the job and nothing else: the manifest has each file, each pair belongs together and verifies."""
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["job"] == wanted.description()
    listed = {name: digest for device in manifest["devices"] for name, digest in device["files"].items()}
    found = {name: hashlib.sha256(data).hexdigest() for name, data in snapshot(folder).items()}
    del found["manifest.json"]
    assert found == listed
    assert [device["device_id"] for device in manifest["devices"]] == list(wanted.names)
    seen = set()
    for device in manifest["devices"]:
        chain, key, *rest = device["files"]
        owner = load_certified_key(folder / chain, folder / key)
        assert owner.chain == (CA.certificate,)
        verified = TRUST.verify(owner.presented_der, NOW)
        assert (verified.device_name, verified.fingerprint) == (device["device_id"], device["sha256"])
        assert f"{owner.certificate.serial_number:x}" == device["serial"]
        assert [name.partition(".")[2] for name in rest] == ([wanted.profile.suffix[1:]] if rest else [])
        for secret in (key, *rest):
            assert (folder / secret).stat().st_mode & 0o777 == 0o600
        seen.add(owner.private_key.private_numbers().private_value)
    assert len(seen) == len(wanted.names)
    assert folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("profile", Profile)
def test_a_folder(tmp_path: Path, profile: Profile) -> None:
    wanted = job(profile=profile)
    assert issue_all(wanted, tmp_path / "lot", at=NOW) == Outcome(issued=3, kept=0)
    check_whole(tmp_path / "lot", wanted)


def test_the_umask_gives_keys_nothing(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        issue_all(job(profile=Profile.C_HEADER), tmp_path / "lot", at=NOW)
    finally:
        os.umask(before)
    check_whole(tmp_path / "lot", job(profile=Profile.C_HEADER))


def test_again_it_does_nothing(tmp_path: Path) -> None:
    issue_all(job(), tmp_path / "lot", at=NOW)
    before = snapshot(tmp_path)
    assert issue_all(job(), tmp_path / "lot", at=NOW) == Outcome(issued=0, kept=3)
    assert snapshot(tmp_path) == before


def test_names_that_are_no_file_names(tmp_path: Path) -> None:
    wanted = job("a/b", "a_b", "urn:dev:1", "A_B", "c", "C", "a.pem", "a")
    issue_all(wanted, tmp_path / "lot", at=NOW)
    check_whole(tmp_path / "lot", wanted)
    names = [name.lower() for name in snapshot(tmp_path / "lot")]
    assert len(set(names)) == len(names)
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-~/") for name in names)


def test_folders_have_a_bounded_number_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert BULK_FOLDER_DEVICES == 1000
    monkeypatch.setattr(gateway.pki.bulk, "BULK_FOLDER_DEVICES", 4)
    wanted = job(*counted("d-", 1, 10))
    issue_all(wanted, tmp_path / "lot", at=NOW)
    check_whole(tmp_path / "lot", wanted)
    assert {each.name: len(list(each.iterdir())) for each in (tmp_path / "lot").iterdir() if each.is_dir()} == {
        "000": 8,
        "001": 8,
        "002": 4,
    }


def test_batches(tmp_path: Path) -> None:
    """Everything is reported once, before the manifest is there; again when a run is gone on with."""
    assert BULK_BATCH == 500
    wanted = job(*counted("d-", 1, BULK_BATCH + 2))
    reported: list[list[str]] = []

    def report(batch: Sequence[IssuedDevice]) -> None:
        assert not (tmp_path / "lot/manifest.json").exists()
        reported.append([each.device_id for each in batch])

    issue_all(wanted, tmp_path / "lot", at=NOW, on_batch=report)
    assert list(map(len, reported)) == [BULK_BATCH, 2]
    assert [name for batch in reported for name in batch] == list(wanted.names)


# Cut off.


class Cut(BaseException):
    """As a kill would: nothing of ours catches it."""


def cut_at(number: int, monkeypatch: pytest.MonkeyPatch, *, torn: bool) -> None:
    """The process dies at its nth call into the file system, a torn write having written half."""
    left = iter(range(number))

    def dying(name: str) -> Callable[..., object]:
        real = getattr(os, name)

        def call(*words: object, **more: object) -> object:
            if next(left, None) is None:
                if name == "write" and torn:
                    data = words[1]
                    assert isinstance(data, bytes)
                    real(words[0], data[: len(data) // 2])
                raise Cut
            return real(*words, **more)

        return call

    # Not close: the kernel does it for who dies.
    for name in ("open", "write", "fchmod", "fsync", "mkdir", "link", "sync", "replace", "unlink", "rmdir"):
        monkeypatch.setattr(os, name, dying(name))


@pytest.mark.parametrize("torn", [False, True], ids=["whole writes", "torn writes"])
@pytest.mark.parametrize("profile", [Profile.PEM, Profile.C_HEADER])
@pytest.mark.parametrize("layout", Layout)
def test_cut_off_at_every_place_it_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: Layout, profile: Profile, torn: bool
) -> None:
    """At whatever system call a run dies: no key and no certificate is there by half, and the next run ends it with the
    keys that are there."""
    wanted = job("dev-1", "dev-2", profile=profile)
    for number in range(1000):
        place = tmp_path / str(number)
        place.mkdir()
        out = place / "lot"
        with monkeypatch.context() as patched:
            # Every call after the one that died dies, too: no half-written file is tidied away.
            cut_at(number, patched, torn=torn)
            try:
                issue_into(wanted, out, layout, at=NOW)
            except Cut:
                survived = False
            else:
                survived = True
        before = keys(place)
        # What is there under its name is whole.
        assert [name for name, data in before.items() if not data.endswith(b"-----END PRIVATE KEY-----\n")] == []
        for chain in place.rglob("*.pem"):
            assert len(load_certificates(chain)) == 2
        issue_into(wanted, out, layout, at=NOW)
        issued = contents(out, layout, place, wanted)
        for name, data in before.items():
            assert issued[Path(name).stem] == data
        assert not list(place.rglob(".*.part"))
        if survived:
            break
    else:
        pytest.fail("it never ended")
    assert number > 10


def contents(out: Path, layout: Layout, place: Path, wanted: BulkJob) -> dict[str, bytes]:
    """The keys that a finished run gave, by device."""
    if layout is Layout.FOLDER:
        check_whole(out, wanted)
        return {Path(name).stem: data for name, data in keys(out).items()}
    sidecar = json.loads((place / "lot.manifest.json").read_text())
    assert sidecar["files"] == {"lot": hashlib.sha256(out.read_bytes()).hexdigest()}
    assert sorted(each.name for each in place.iterdir()) == ["lot", "lot.manifest.json"]
    assert out.stat().st_mode & 0o777 == 0o600
    if layout is Layout.ZIP:
        with zipfile.ZipFile(out) as archive:
            archive.extractall(place / "unpacked")
            assert archive.testzip() is None
            assert archive.namelist()[-1] == "manifest.json"
        for each in (place / "unpacked").rglob("*"):
            each.chmod(0o700 if each.is_dir() else 0o600)
        (place / "unpacked").chmod(0o700)
        check_whole(place / "unpacked", wanted)
        return {Path(name).stem: data for name, data in keys(place / "unpacked").items()}
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert [row["device_id"] for row in rows] == list(wanted.names)
    (place / "chain").mkdir()
    for row in rows:
        chain, key = place / "chain" / row["device_id"], place / "chain" / f"{row['device_id']}.key"
        chain.write_text(row["certificate"])
        key.write_text(row["private_key"])
        owner = load_certified_key(chain, key)
        assert TRUST.verify(owner.presented_der, NOW).fingerprint == row["sha256"]
        assert (wanted.profile.value in row) is (wanted.profile is not Profile.PEM)
    return {row["device_id"]: row["private_key"].encode() for row in rows}


def test_a_key_without_its_certificate_is_kept(tmp_path: Path) -> None:
    unfinished(tmp_path / "lot", job())
    (tmp_path / "lot/000/dev-2.pem").unlink()
    before = keys(tmp_path / "lot")
    assert issue_all(job(), tmp_path / "lot", at=NOW) == Outcome(issued=1, kept=2)
    assert keys(tmp_path / "lot") == before
    check_whole(tmp_path / "lot", job())


def test_a_damaged_key_with_its_certificate_is_not_touched(tmp_path: Path) -> None:
    """No run leaves such a thing behind, so somebody has to look at it."""
    for damage in (b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"):
        folder = tmp_path / str(len(damage))
        unfinished(folder, job())
        (folder / "000/dev-2.key").write_bytes(damage)
        before = snapshot(folder)
        with pytest.raises(PkiError, match="move both away"):
            issue_all(job(), folder, at=NOW)
        assert snapshot(folder) == before


def test_a_certificate_of_another_key_is_not_touched(tmp_path: Path) -> None:
    unfinished(tmp_path / "lot", job())
    one, two = tmp_path / "lot/000/dev-1.pem", tmp_path / "lot/000/dev-2.pem"
    one.write_bytes(two.read_bytes())
    before = snapshot(tmp_path)
    with pytest.raises(PkiError, match="move both away"):
        issue_all(job(), tmp_path / "lot", at=NOW)
    assert snapshot(tmp_path) == before


def unfinished(folder: Path, wanted: BulkJob) -> None:
    """A run of which only the manifest is missing."""
    issue_all(wanted, folder, at=NOW)
    (folder / "manifest.json").unlink()
    (folder / "job.json").write_text(json.dumps(wanted.description()))


# Other things in the place.


def other_jobs() -> dict[str, BulkJob]:
    return {
        "names_sha256": job("dev-1", "dev-2", "dev-4"),
        "issuer_sha256": replace(job(), ca=create_intermediate(ROOT, "Other", at=NOW)),
        "profile": replace(job(), profile=Profile.ESP_NVS, server_ca=ROOT.certificate),
        "lifetime_days": replace(job(), lifetime=timedelta(days=7)),
        "sec_tag": replace(job(), sec_tag=1),
    }


@pytest.mark.parametrize("differs", other_jobs())
@pytest.mark.parametrize("finished", [True, False])
def test_another_job_does_not_go_on_in_it(tmp_path: Path, differs: str, finished: bool) -> None:
    (issue_all if finished else lambda wanted, folder, at: unfinished(folder, wanted))(job(), tmp_path / "lot", at=NOW)
    before = snapshot(tmp_path)
    with pytest.raises(OtherJob, match=differs):
        issue_all(other_jobs()[differs], tmp_path / "lot", at=NOW)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("layout", Layout)
def test_what_is_there_is_not_overwritten(tmp_path: Path, layout: Layout) -> None:
    out = tmp_path / "lot"
    if layout is Layout.FOLDER:
        out.mkdir()
        (out / "precious").write_text("x")
    else:
        out.write_text("x")
    before = snapshot(tmp_path)
    with pytest.raises(OtherJob, match="name another"):
        issue_into(job(), out, layout, at=NOW)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"job": 7}', "\x00"])
def test_a_strange_manifest(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(OtherJob):
        issue_all(job(), tmp_path, at=NOW)
    assert snapshot(tmp_path) == {"manifest.json": text.encode()}


def test_one_run_at_a_time(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(OtherJob, match="another run"):
            issue_all(job(), tmp_path, at=NOW)
    finally:
        os.close(descriptor)
    issue_all(job(), tmp_path, at=NOW)


def test_jobs_that_cannot_be_done(tmp_path: Path) -> None:
    for wanted, text in (
        (replace(job(), names=()), "1 to"),
        (job("a b"), "cannot be a device name"),
        (replace(job(), profile=Profile.ZEPHYR, server_ca=None), "checks? the gateway"),
        (replace(job(), sec_tag=-1), "security tag"),
    ):
        with pytest.raises(PkiError, match=text):
            issue_into(wanted, tmp_path / "lot", Layout.FOLDER)
    assert not (tmp_path / "lot").exists()


# Names.


def test_counted_names() -> None:
    assert counted("m-", 9, 3) == ["m-000009", "m-000010", "m-000011"]
    assert counted("urn:dev:ops:1-", 1_000_000, 1) == ["urn:dev:ops:1-1000000"]
    for prefix, first, number in (("a b", 1, 1), ("", 1, 0), ("", 1, MAX_BULK_CERTIFICATES + 1), ("x" * 60, 1, 1)):
        with pytest.raises(PkiError):
            counted(prefix, first, number)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("device_id\na\nb\n", ["a", "b"]),
        ("\ufeffdevice_id\r\na\r\n", ["a"]),
        ("serial,batch\n4711,x\n4712,x\n", ["4711", "4712"]),
        ("serial,device_id\n4711,meter-1\n", ["meter-1"]),
        ('note,device_id\n"two\nlines, and a comma", a\n', ["a"]),
    ],
)
def test_names_in_a_csv(tmp_path: Path, text: str, expected: list[str]) -> None:
    (tmp_path / "lot.csv").write_text(text, encoding="utf-8", newline="")
    assert from_csv(tmp_path / "lot.csv") == expected


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no column"),
        (b"name\na\n", "no column device_id or serial"),
        (b"device_id\n", "no row"),
        (b"device_id\na\nb\na\n", "line 4: 'a' stands in line 2 already"),
        (b"device_id\na b\n\xc3\xbc\n", "line 2.*line 3"),
        (b"device_id,x\n,y\n", "line 2"),
        (b"device_id\n\xff\n", "UTF-8"),
    ],
)
def test_a_csv_that_cannot_be_used(tmp_path: Path, data: bytes, why: str) -> None:
    (tmp_path / "lot.csv").write_bytes(data)
    with pytest.raises(PkiError, match=why):
        from_csv(tmp_path / "lot.csv")


def test_a_csv_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PkiError, match="cannot read"):
        from_csv(tmp_path / "lot.csv")


def test_no_key_in_what_is_said_of_it(tmp_path: Path) -> None:
    wanted = job(profile=Profile.C_HEADER)
    issued: list[IssuedDevice] = []
    issue_all(wanted, tmp_path / "lot", at=NOW, on_batch=issued.extend)
    said = repr(wanted) + repr(issued) + (tmp_path / "lot/manifest.json").read_text()
    for path in (tmp_path / "lot").rglob("*.key"):
        secret = load_private_key(path).private_numbers().private_value
        assert f"{secret:064x}" not in said
        assert str(secret) not in said
        assert path.read_text().splitlines()[1] not in said
    assert load_certificates(tmp_path / "lot/000/dev-1.pem")[0].public_bytes(Encoding.PEM).decode()[40:90] not in said
