"""`gateway cert bulk`: the certificates of a production lot."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509

from gateway.cli.book import RecordOption, book_if_wanted
from gateway.cli.cert_options import CaKeyOption, CaOption, DaysOption, issuing_ca, lifetime_of
from gateway.cli.common import (
    ConfigOption,
    Output,
    OutputOption,
    TenantOption,
    UsageError,
    certificates_folder,
    print_facts,
    readable_errors,
)
from gateway.cli.progress import progress
from gateway.model import DEFAULT_TENANT
from gateway.pki import (
    BulkJob,
    IssuedDevice,
    Layout,
    OtherJob,
    PkiError,
    Profile,
    counted,
    fingerprint,
    from_csv,
    issue_into,
    load_certificates,
)
from gateway.pki.limits import DEVICE_LIFETIME
from gateway.registry import Conflict, IssuedCertificate, Registry

_PREFIX = "device-"


def bulk(
    out: Annotated[Path, typer.Option(help="Where to: a folder, or the file of --format.", metavar="OUT")],
    count: Annotated[int | None, typer.Option(help="How many devices, named by --prefix and a number.", min=1)] = None,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", help="Devices out of the column device_id, or serial, of a CSV.", metavar="FILE"),
    ] = None,
    prefix: Annotated[str, typer.Option(help="How the names begin that --count makes.")] = _PREFIX,
    first: Annotated[int, typer.Option(help="The first number.", min=0)] = 1,
    format: Annotated[Layout, typer.Option(help="What to write.")] = Layout.FOLDER,
    profile: Annotated[Profile, typer.Option(help="What the firmware takes.")] = Profile.PEM,
    server_ca: Annotated[
        Path | None,
        typer.Option(
            help="By what devices check the gateway, for profiles but pem; certs/root.pem by default.", metavar="FILE"
        ),
    ] = None,
    sec_tag: Annotated[int, typer.Option(help="Security tag, for the profiles zephyr and nrf-cmng.", min=0)] = 42,
    ca: CaOption = None,
    ca_key: CaKeyOption = None,
    days: DaysOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    tenant: TenantOption = DEFAULT_TENANT,
    record: RecordOption = None,
    output: OutputOption = Output.TABLE,
    config: ConfigOption = None,
) -> None:
    """Make keys and certificates by the thousand. Run again after an interruption, it goes on where it was."""
    with readable_errors(failure=(PkiError,)):
        names = _names(count, csv, prefix, first)
        job = BulkJob(
            issuing_ca(ca, ca_key, config),
            names,
            profile,
            _server_ca(profile, server_ca, config),
            sec_tag,
            lifetime_of(days, DEVICE_LIFETIME),
        )
        job.check()
        facts = {"devices": len(names), "first": names[0], "last": names[-1], "out": str(out)}
        if dry_run:
            print_facts({**facts, "issued": 0, "kept": 0, "dry_run": True}, output)
            return
        with book_if_wanted(config, record) as book, progress("certificates", len(names)) as advance:
            try:
                outcome = issue_into(job, out, format, on_batch=_reporter(book, advance, job, tenant))
            except OtherJob as error:
                raise Conflict(str(error)) from error
        print_facts({**facts, "issued": outcome.issued, "kept": outcome.kept}, output)


def _names(count: int | None, csv: Path | None, prefix: str, first: int) -> list[str]:
    if (count is None) == (csv is None):
        raise UsageError("say either how many with --count, or which ones with --csv")
    if csv is None:
        return counted(prefix, first, count or 0)
    if prefix != _PREFIX or first != 1:
        raise UsageError("--prefix and --first are for --count; the names of --csv are in it")
    try:
        return from_csv(csv)
    except PkiError as error:
        raise UsageError(str(error)) from error


def _server_ca(profile: Profile, file: Path | None, config: Path | None) -> x509.Certificate | None:
    if profile is Profile.PEM:
        if file is not None:
            raise UsageError("--server-ca goes into the other profiles; --profile pem is the device's own files alone")
        return None
    return load_certificates(file if file is not None else certificates_folder(config) / "root.pem")[0]


def _reporter(
    book: Registry | None, advance: Callable[[int], None], job: BulkJob, tenant: str
) -> Callable[[Sequence[IssuedDevice]], None]:
    issuer = fingerprint(job.ca.certificate)

    def report(batch: Sequence[IssuedDevice]) -> None:
        if book is not None:
            book.record_issued([_line(each, issuer, tenant) for each in batch])
        advance(len(batch))

    return report


def _line(device: IssuedDevice, issuer: str, tenant: str) -> IssuedCertificate:
    return IssuedCertificate(
        issuer_id=issuer,
        serial=device.serial,
        tenant_id=tenant,
        device_id=device.device_id,
        fingerprint=device.fingerprint,
        not_before=device.not_before.timestamp(),
        not_after=device.not_after.timestamp(),
    )
