"""Device certificates by the thousand, into a folder, so that a run that was killed can be run again.

What is where is a function of the job alone: device number n lies in folder n // 1000, and its files have its name. The
job is written down first (`job.json`) and the manifest last, so a folder says what it is: no manifest means unfinished,
and only the same job goes on in it.

For each device the key is written first, then the certificate, then what is made of the two. Going on, a key that is
there stays, whatever else is missing: a certificate is made for it. A key file is never opened for writing twice. One
that holds no key is what a process left that was killed between creating and writing it, and only that, without a
certificate beside it, is removed. All of it is on the disk before the manifest is.
"""

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.pki.certificates import fingerprint
from gateway.pki.errors import PkiError
from gateway.pki.files import load_certificates, load_private_key, pem_bundle
from gateway.pki.firmware import Profile, check_sec_tag, key_pem, render
from gateway.pki.issuing import CertifiedKey, certify_device, check_device_name, generate_key
from gateway.pki.limits import BULK_BATCH, BULK_FOLDER_DEVICES, DEVICE_LIFETIME, MAX_BULK_CERTIFICATES
from gateway.pki.names import device_name

MANIFEST = "manifest.json"
_JOB = "job.json"
_VERSION = 1
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


class OtherJob(PkiError):
    """What is there already belongs to another job, or to nobody we know."""


@dataclass(frozen=True, slots=True)
class BulkJob:
    """What is to be issued.

    Attributes:
        ca: The issuing CA.
        names: The devices, each once.
        profile: The form of their credentials, beside PEM.
        server_ca: By what devices check the gateway; None only with the profile PEM.
        sec_tag: Where devices keep them, for profiles that say so.
        lifetime: Of the certificates; cut at the CA's end.
    """

    ca: CertifiedKey
    names: Sequence[str] = field(repr=False)
    profile: Profile = Profile.PEM
    server_ca: x509.Certificate | None = None
    sec_tag: int = 0
    lifetime: timedelta = DEVICE_LIFETIME

    def check(self) -> None:
        """Whether it can be done at all.

        Raises:
            PkiError: It cannot; the text names what is wrong first.
        """
        if not 1 <= len(self.names) <= MAX_BULK_CERTIFICATES:
            raise PkiError(
                f"a run issues 1 to {MAX_BULK_CERTIFICATES} certificates, not {len(self.names)}; make several runs"
            )
        for name in self.names:
            check_device_name(name)
        if self.profile is not Profile.PEM and self.server_ca is None:
            raise PkiError(f"the profile {self.profile} holds the CA by which devices check the gateway; name it")
        check_sec_tag(self.sec_tag)

    def description(self) -> dict[str, Any]:
        """What makes two runs the same job, as JSON."""
        names = hashlib.sha256("\n".join(self.names).encode("ascii")).hexdigest()
        return {
            "version": _VERSION,
            "issuer_sha256": fingerprint(self.ca.certificate),
            "devices": len(self.names),
            "names_sha256": names,
            "profile": self.profile.value,
            "server_ca_sha256": fingerprint(self.server_ca) if self.server_ca is not None else None,
            "sec_tag": self.sec_tag,
            "lifetime_days": self.lifetime // timedelta(days=1),
        }


@dataclass(frozen=True, slots=True)
class IssuedDevice:
    """One certificate of a job, and where it is.

    Attributes:
        device_id: The device.
        serial: The certificate's serial number, lower-case hex.
        fingerprint: Its SHA-256, lower-case hex.
        not_before: Since when it is valid.
        not_after: Until when.
        files: SHA-256 of each of its files, by the path within the folder; the chain and the key first.
    """

    device_id: str
    serial: str
    fingerprint: str
    not_before: datetime
    not_after: datetime
    files: dict[str, str]


@dataclass(slots=True)
class Outcome:
    """What a run came to.

    Attributes:
        issued: Certificates made by it.
        kept: Those that were there from a run before it.
    """

    issued: int = 0
    kept: int = 0


def issue_all(
    job: BulkJob,
    folder: Path,
    *,
    at: datetime | None = None,
    on_batch: Callable[[Sequence[IssuedDevice]], None] = lambda _: None,
) -> Outcome:
    """Issues a job into a folder, or what is missing of it.

    Args:
        job: What to issue.
        folder: Where to; made with mode 0700 when it is not there.
        at: The time of issue, now by default.
        on_batch: Gets the devices as they are done, several hundred at a time, those of earlier runs among them: who
            writes them down must take one twice. What it raises ends the run, which can be gone on with.

    Raises:
        OtherJob: The folder holds something else.
        PkiError: The job cannot be done, or what is in the folder is damaged.
        OSError: The file system does not take it.
    """
    job.check()
    outcome = Outcome()
    with _claimed(folder, job) as unfinished:
        if not unfinished:
            outcome.kept = len(job.names)
            return outcome
        done: list[IssuedDevice] = []
        reported = 0
        writer = _Writer(job, folder, at, outcome)
        for index, stem in enumerate(_stems(job.names)):
            done.append(writer.complete(index, stem))
            if len(done) - reported == BULK_BATCH or index + 1 == len(job.names):
                on_batch(done[reported:])
                reported = len(done)
        # One call for tens of thousands of files, where an fsync each would take longer than making them.
        os.sync()
        write_whole(folder / MANIFEST, _manifest(job, done), 0o600)
        (folder / _JOB).unlink(missing_ok=True)
    return outcome


def read_manifest(path: Path) -> dict[str, Any]:
    """A manifest, ours or not.

    Raises:
        OtherJob: It is none.
    """
    try:
        manifest = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise OtherJob(f"{path} cannot be read as the manifest of a bulk run ({error}); name another place") from error
    if not isinstance(manifest, dict):
        raise OtherJob(f"{path} is not the manifest of a bulk run; name another place")
    return manifest


def check_same(found: object, job: BulkJob, where: Path) -> None:
    """Whether a description that was found is that of the job.

    Raises:
        OtherJob: It is not; the text names what differs.
    """
    wanted = job.description()
    if found == wanted:
        return
    differing = [key for key in wanted if not isinstance(found, dict) or found.get(key) != wanted[key]]
    raise OtherJob(
        f"{where} belongs to another run, which differs in {', '.join(differing) or 'what it knows of itself'}; "
        "repeat that run with its own options, or name another place"
    )


def write_whole(path: Path, data: bytes, mode: int) -> None:
    """Writes a file so that it is there as a whole or not at all, also after a power cut; for what holds nothing that
    cannot be made again."""
    _create(path, data, mode, durable=True)


def _manifest(job: BulkJob, done: Sequence[IssuedDevice]) -> bytes:
    devices = [
        {
            "device_id": each.device_id,
            "serial": each.serial,
            "sha256": each.fingerprint,
            "not_before": each.not_before.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "not_after": each.not_after.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "files": each.files,
        }
        for each in done
    ]
    return json.dumps({"job": job.description(), "devices": devices}, indent=1).encode("ascii") + b"\n"


@contextmanager
def _claimed(folder: Path, job: BulkJob) -> Iterator[bool]:
    """The folder for this job and this process alone; gives whether there is anything left to do."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OtherJob(f"another run is at work in {folder}; wait for its end") from error
        manifest, description = folder / MANIFEST, folder / _JOB
        if manifest.exists():
            check_same(read_manifest(manifest).get("job"), job, folder)
            description.unlink(missing_ok=True)
            yield False
            return
        if description.exists():
            check_same(read_manifest(description), job, folder)
        elif any(each.name != f".{_JOB}.part" for each in folder.iterdir()):
            raise OtherJob(f"{folder} is not empty, and no bulk run began in it; name another place")
        else:
            write_whole(description, json.dumps(job.description(), indent=1).encode("ascii"), 0o600)
        yield True
    finally:
        os.close(descriptor)


def _stems(names: Sequence[str]) -> Iterator[str]:
    """The path of each device's files without their suffix, unique also where case does not count."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        safe = _UNSAFE.sub("_", name)
        stem = f"{index // BULK_FOLDER_DEVICES:03}/{safe}"
        if safe != name or stem.lower() in seen:
            # No name that is taken as it is has a tilde.
            stem = f"{stem}~{index}"
        seen.add(stem.lower())
        yield stem


class _Writer:
    """Makes the files of one device after the other, as far as they are missing."""

    def __init__(self, job: BulkJob, folder: Path, at: datetime | None, outcome: Outcome) -> None:
        self._job = job
        self._folder = folder
        self._at = at
        self._outcome = outcome
        self._chain = job.ca.issued_chain
        self._above = pem_bundle(self._chain)

    def complete(self, index: int, stem: str) -> IssuedDevice:
        job, name = self._job, self._job.names[index]
        if index % BULK_FOLDER_DEVICES == 0:
            (self._folder / stem).parent.mkdir(mode=0o700, exist_ok=True)
        chain_path, key_path = self._folder / f"{stem}.pem", self._folder / f"{stem}.key"
        has_chain = os.path.lexists(chain_path)
        key = _kept_key(key_path, has_chain) if has_chain or os.path.lexists(key_path) else None
        if key is None:
            key = generate_key()
            _create(key_path, key_pem(key), 0o600)
        certificate = self._kept_certificate(chain_path, key, name) if has_chain else None
        if certificate is not None:
            self._outcome.kept += 1
        else:
            certificate = certify_device(job.ca, name, key.public_key(), at=self._at, lifetime=job.lifetime)
            self._outcome.issued += 1
            _create(chain_path, pem_bundle([certificate]) + self._above, 0o644)
        files = {f"{stem}.pem": _sha256_of(chain_path), f"{stem}.key": _sha256_of(key_path)}
        if job.profile is not Profile.PEM and job.server_ca is not None:
            rendered = render(job.profile, name, (certificate, *self._chain), key, job.server_ca, job.sec_tag)
            path = f"{stem}{job.profile.suffix}"
            self._write_rendered(self._folder / path, rendered)
            files[path] = _sha256_of(self._folder / path)
        return IssuedDevice(
            name,
            f"{certificate.serial_number:x}",
            fingerprint(certificate),
            certificate.not_valid_before_utc,
            certificate.not_valid_after_utc,
            files,
        )

    def _kept_certificate(self, path: Path, key: ec.EllipticCurvePrivateKey, name: str) -> x509.Certificate | None:
        """The certificate of an earlier run; None, and no file any more, where that run did not get to its end."""
        data = path.read_bytes()
        if not data.endswith(self._above) or not data.rstrip().endswith(b"-----END CERTIFICATE-----"):
            path.unlink()
            return None
        certificate = load_certificates(path)[0]
        belongs = certificate.public_key() == key.public_key() and device_name(certificate) == name
        if not belongs or data != pem_bundle([certificate]) + self._above:
            raise PkiError(f"{path} is not the certificate of the key beside it; move both away, and run again")
        return certificate

    def _write_rendered(self, path: Path, data: bytes) -> None:
        if os.path.lexists(path):
            if path.read_bytes() == data:
                return
            path.unlink()  # An earlier run did not get to its end. Key and certificate are in files of their own.
        _create(path, data, 0o600)


def _kept_key(path: Path, has_chain: bool) -> ec.EllipticCurvePrivateKey | None:
    """The key of an earlier run; None, and no file any more, where that run did not get to writing it."""
    try:
        return load_private_key(path)
    except PkiError as error:
        if has_chain:
            raise PkiError(f"{error}; its certificate is there: move both away, and run again") from error
    path.unlink()
    return None


def _create(path: Path, data: bytes, mode: int, *, durable: bool = False) -> None:
    """A file, whole under its name or not there, whenever the process ends; not yet on the disk unless `durable`."""
    part = path.with_name(f".{path.name}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(part, flags, mode)
    except FileExistsError:  # a run that was killed
        part.unlink()
        descriptor = os.open(part, flags, mode)
    try:
        os.fchmod(descriptor, mode)
        written = os.write(descriptor, data)
        while written < len(data):
            written += os.write(descriptor, data[written:])
        if durable:
            os.fsync(descriptor)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def _sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
