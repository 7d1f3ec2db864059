"""`gateway bench`: the numbers of this machine."""

import ipaddress
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.common import (
    EXIT_FAILURE,
    Output,
    OutputOption,
    UsageError,
    key_beside,
    new_app,
    print_json,
    print_rows,
    printable,
    read_key,
    readable_errors,
)
from gateway.config import Address
from gateway.pki import PkiError
from gateway.simulator.bench import (
    COLUMNS,
    COMPARISON_COLUMNS,
    BenchError,
    BenchPlan,
    CertificateFleet,
    Operation,
    PskFleet,
    Target,
    compare,
    differences,
    make_document,
    measure,
    read_document,
    remarks,
    rows,
)
from gateway.simulator.bench.limits import (
    MAX_BUSY_DEVICES,
    MAX_IDLE_SESSIONS,
    MAX_PROCESSES,
    MAX_ROUND_S,
    MAX_ROUNDS,
    REMOTE_BUSY_DEVICES,
    REMOTE_OPERATIONS_PER_S,
    REMOTE_ROUND_S,
)

app = new_app()


@app.command()
def bench(
    operations: Annotated[
        list[Operation] | None,
        typer.Argument(help="What to measure; everything that the gateway's devices can do by default."),
    ] = None,
    duration: Annotated[float, typer.Option(min=0.1, max=MAX_ROUND_S, help="Seconds of a round.")] = 2.0,
    rounds: Annotated[int, typer.Option(min=1, max=MAX_ROUNDS, help="Rounds of each operation.")] = 5,
    devices: Annotated[
        int, typer.Option("--devices", "-n", min=1, max=MAX_BUSY_DEVICES, help="Busy at once, a load process.")
    ] = 25,
    processes: Annotated[
        int | None, typer.Option(min=1, max=MAX_PROCESSES, help="Load processes; as many as cores, 2 to 4.")
    ] = None,
    sessions: Annotated[
        int, typer.Option(min=100, max=MAX_IDLE_SESSIONS, help="Idle sessions, for the memory of one.")
    ] = 5000,
    workers: Annotated[int, typer.Option(min=1, help="Workers of the throw-away gateway.")] = 1,
    target: Annotated[
        str | None, typer.Option(help="A gateway that runs, host:port, in place of a throw-away one.")
    ] = None,
    pid: Annotated[int | None, typer.Option(min=1, help="With --target: its process, for its CPU time.")] = None,
    path: Annotated[str, typer.Option(help="With --target: where devices post 32 bytes to.")] = "telemetry/bench",
    psk_identity: Annotated[
        str | None,
        typer.Option(help="With --target: PSK identity; {n} becomes the device's number, from 1.", metavar="TEXT"),
    ] = None,
    psk_file: Annotated[Path | None, typer.Option(help="File with their key, in hex.", metavar="FILE")] = None,
    psk_text: Annotated[bool, typer.Option("--psk-text", help="The key in the file is text, not hex.")] = False,
    certificate: Annotated[
        Path | None,
        typer.Option(help="With --target: certificate of a device, with its intermediates.", metavar="FILE"),
    ] = None,
    private_key: Annotated[
        Path | None,
        typer.Option(help="Its key; the certificate's path with .key by default.", metavar="FILE"),
    ] = None,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Let --target be on another machine: slower, and only your own.")
    ] = False,
    save: Annotated[Path | None, typer.Option(help="Write the result as JSON, for --compare.", metavar="FILE")] = None,
    compare_with: Annotated[
        Path | None, typer.Option("--compare", help="Print old, new and their ratio.", metavar="FILE")
    ] = None,
    fail_above: Annotated[
        float | None,
        typer.Option(min=0, help="With --compare: exit status 1 if a number is worse by more percent than this."),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Measure handshakes, requests and memory, of a throw-away gateway or of one that runs.

    Devices are simulated on this machine. Nothing else should need its processors meanwhile.
    """
    with readable_errors(usage=(), failure=(BenchError, PkiError)):
        if fail_above is not None and compare_with is None:
            raise UsageError("--fail-above needs --compare FILE")
        old = read_document(compare_with) if compare_with is not None else None
        chosen = _target(
            target,
            allow_remote,
            pid,
            path,
            _psk(psk_identity, psk_file, text=psk_text),
            _certificate(certificate, private_key),
        )
        plan = BenchPlan(
            operations=_operations(operations, chosen),
            seconds=duration,
            rounds=rounds,
            devices=devices,
            processes=processes if processes is not None else min(4, max(2, len(os.sched_getaffinity(0)))),
            sessions=sessions,
            workers=workers,
            target=chosen,
        )
        if chosen is not None and chosen.rate is not None:
            _keep_to_remote_bounds(plan)
        with _ended_in_order():
            document = make_document(plan, measure(plan, _say))
        if save is not None:
            save.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        if _print(document, old, output, fail_above):
            raise typer.Exit(EXIT_FAILURE)


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """SIGTERM ends the throw-away gateway and the load too, and removes the temporary folder."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _psk(identity: str | None, file: Path | None, *, text: bool) -> PskFleet | None:
    if (identity is None) != (file is None) or (text and file is None):
        raise UsageError("--psk-identity and --psk-file belong together")
    return None if identity is None else PskFleet(identity, read_key(file, text=text))


def _certificate(certificate: Path | None, key: Path | None) -> CertificateFleet | None:
    if certificate is None:
        if key is not None:
            raise UsageError("--private-key needs --certificate")
        return None
    return CertificateFleet([(certificate, key_beside(certificate, key))])


def _target(
    target: str | None,
    allow_remote: bool,
    pid: int | None,
    path: str,
    psk: PskFleet | None,
    certificates: CertificateFleet | None,
) -> Target | None:
    if target is None:
        if psk is not None or certificates is not None or pid is not None or allow_remote:
            raise UsageError("credentials, --pid and --allow-remote are for a gateway that runs: name it with --target")
        return None
    if psk is None and certificates is None:
        raise UsageError("--target needs devices: --psk-identity with --psk-file, or --certificate, or both")
    try:
        address = Address.parse(target)
    except ValueError as error:
        raise UsageError(f"--target {error}") from error
    remote = not _is_loopback(address.host)
    if remote and not allow_remote:
        raise UsageError(
            f"{address} is not this machine, and a benchmark is load: name one on loopback, or say --allow-remote if "
            "the gateway is yours and its operator knows"
        )
    if remote:
        print(
            f"gateway: {address} is another machine: at most {REMOTE_OPERATIONS_PER_S} operations a second; latencies "
            "hold the network's",
            file=sys.stderr,
        )
    return Target(address, path, psk, certificates, pid, float(REMOTE_OPERATIONS_PER_S) if remote else None)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _operations(asked: list[Operation] | None, target: Target | None) -> list[Operation]:
    """What was asked for, or what can be measured: memory only where nobody else has a session."""
    if target is None:
        return list(dict.fromkeys(asked)) if asked else list(Operation)
    possible = [Operation.RESUMED, Operation.REQUEST]
    if target.certificates is not None:
        possible.insert(0, Operation.CERTIFICATE)
    if target.psk is not None:
        possible.insert(0, Operation.PSK)
    if not asked:
        return possible
    for operation in asked:
        if operation is Operation.IDLE:
            raise UsageError("idle is measured on a throw-away gateway only: leave out --target")
        if operation not in possible:
            needed = "--psk-identity" if operation is Operation.PSK else "--certificate"
            raise UsageError(f"{operation} needs {needed}")
    return list(dict.fromkeys(asked))


def _keep_to_remote_bounds(plan: BenchPlan) -> None:
    if plan.devices * plan.processes > REMOTE_BUSY_DEVICES or plan.seconds > REMOTE_ROUND_S:
        raise UsageError(
            f"with another machine --devices times --processes is at most {REMOTE_BUSY_DEVICES}, and --duration at "
            f"most {REMOTE_ROUND_S:g}: say --processes 1 --devices {REMOTE_BUSY_DEVICES}"
        )


def _print(document: dict[str, Any], old: dict[str, Any] | None, output: Output, fail_above: float | None) -> bool:
    """Prints the result, or the comparison; returns whether something failed, or became worse than is allowed."""
    compared = compare(old, document) if old is not None else []
    if output is Output.JSON:
        print_json({**document, "comparison": [each.row() for each in compared]} if old is not None else document)
    elif old is None:
        print_rows(rows(document), COLUMNS, output)
    else:
        print_rows([each.row() for each in compared], COMPARISON_COLUMNS, output)
    for line in remarks(document):
        _say(line)
    for line in differences(old, document) if old is not None else []:
        _say(f"not the same as before: {line}")
    worse = [each for each in compared if fail_above is not None and each.worse_by_percent > fail_above]
    for each in worse:
        _say(f"{each.operation}, {each.measure}: worse by {each.worse_by_percent:.0f}%")
    failed = any(operation["errors"] for operation in document["operations"].values())
    return failed or bool(worse)


def _say(text: str) -> None:
    print(printable(text), file=sys.stderr, flush=True)
