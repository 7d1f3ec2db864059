"""A bulk run that ends in one file: a zip or a CSV.

The run works in a folder beside the file (`.NAME.work`), in which it can be gone on with as in any. The file is made of
that folder when it is finished, then its own manifest is written, `NAME.manifest.json`, and last the folder goes. Keys
are in two places for a moment, and in none at no time.
"""

import csv
import hashlib
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from gateway.pki.bulk import (
    MANIFEST,
    BulkJob,
    IssuedDevice,
    OtherJob,
    Outcome,
    check_same,
    issue_all,
    read_manifest,
    write_whole,
)
from gateway.pki.firmware import Profile

_PRODUCT = "product"


class Layout(StrEnum):
    """Where the certificates of a bulk run go."""

    FOLDER = "folder"
    ZIP = "zip"
    CSV = "csv"


def issue_into(
    job: BulkJob,
    out: Path,
    layout: Layout,
    *,
    at: datetime | None = None,
    on_batch: Callable[[Sequence[IssuedDevice]], None] = lambda _: None,
) -> Outcome:
    """Issues a job into a folder, a zip or a CSV, or what is missing of it; see `bulk.issue_all`.

    Raises:
        OtherJob: What is there is something else.
        PkiError: The job cannot be done, or what an earlier run left is damaged.
        OSError: The file system does not take it.
    """
    if layout is Layout.FOLDER:
        return issue_all(job, out, at=at, on_batch=on_batch)
    work = out.with_name(f".{out.name}.work")
    manifest = out.with_name(f"{out.name}.{MANIFEST}")
    if manifest.exists():
        check_same(read_manifest(manifest).get("job"), job, out)
        _remove(work)
        return Outcome(kept=len(job.names))
    if os.path.lexists(out) and not _is_ours(out, work):
        raise OtherJob(f"{out} exists already and is not overwritten; name another file")
    outcome = issue_all(job, work, at=at, on_batch=on_batch)
    if not os.path.lexists(out):
        product = work / _PRODUCT
        with _private(product) as file:
            (_zip if layout is Layout.ZIP else _csv)(file, work, job.profile)
        # A link fails where a file is by now; a rename would replace it.
        os.link(product, out)
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    facts = {"job": job.description(), "files": {out.name: digest}}
    write_whole(manifest, json.dumps(facts, indent=1).encode("ascii") + b"\n", 0o600)
    _remove(work)
    return outcome


def _is_ours(out: Path, work: Path) -> bool:
    """Whether a file is the product of a run that was killed before it wrote the manifest."""
    try:
        return os.path.samefile(out, work / _PRODUCT)
    except FileNotFoundError:
        return False


@contextmanager
def _private(path: Path) -> Iterator[io.BufferedWriter]:
    """A new file of mode 0600 that is on the disk at the end; what an earlier run began of it goes."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)
        yield file
        file.flush()
        os.fsync(descriptor)


def _zip(file: io.BufferedWriter, work: Path, _profile: Profile) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for device in _devices(work):
            for name in device["files"]:
                archive.write(work / name, name)
        archive.write(work / MANIFEST, MANIFEST)


def _csv(file: io.BufferedWriter, work: Path, profile: Profile) -> None:
    columns = ["certificate", "private_key", *([profile.value] if profile is not Profile.PEM else [])]
    facts = ("device_id", "serial", "sha256", "not_before", "not_after")
    text = io.TextIOWrapper(file, encoding="ascii", newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow((*facts, *columns))
    for device in _devices(work):
        texts = [(work / name).read_text("ascii") for name in device["files"]]
        rows.writerow([*(device[fact] for fact in facts), *texts])
    text.detach()  # flushes, and leaves the file open


def _devices(work: Path) -> list[dict[str, Any]]:
    devices: list[dict[str, Any]] = read_manifest(work / MANIFEST)["devices"]
    return devices


def _remove(work: Path) -> None:
    if work.exists():
        shutil.rmtree(work)
