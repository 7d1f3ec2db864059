"""The operations of a benchmark: rounds of each, and what a round comes to."""

import contextlib
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from gateway.config import Address
from gateway.simulator.bench.devices import CertificateFleet, Fleet, PskFleet
from gateway.simulator.bench.errors import BenchError
from gateway.simulator.bench.gateway_process import PATH, ThrowAwayGateway
from gateway.simulator.bench.limits import DRAIN_S
from gateway.simulator.bench.loader import Pace
from gateway.simulator.bench.processes import LoadProcesses
from gateway.simulator.bench.tally import Tally, percentile
from gateway.simulator.bench.usage import ProcessTree, machine_busy_s

_BUSY_SHARE = 0.85
_WARM_UP_S = 0.3
_FEW_SESSIONS_SHARE = 10
_PAYLOAD = b"0123456789abcdef0123456789abcdef"

Say = Callable[[str], None]


class Operation(StrEnum):
    """What can be measured."""

    PSK = "psk"
    CERTIFICATE = "certificate"
    RESUMED = "resumed"
    REQUEST = "request"
    IDLE = "idle"


@dataclass(frozen=True, slots=True)
class Target:
    """A gateway that runs already.

    Attributes:
        address: Where it listens.
        path: Where the devices post to.
        psk: Devices that it knows by pre-shared keys.
        certificates: Devices that it knows by certificates.
        pid: Its process on this machine; None leaves out what it takes of it.
        rate: Operations a second at most, in all; None for no bound.
    """

    address: Address
    path: str
    psk: PskFleet | None = None
    certificates: CertificateFleet | None = None
    pid: int | None = None
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """What is measured, and for how long.

    Attributes:
        operations: Which.
        seconds: Of a round.
        rounds: Of each operation.
        devices: Busy at once in each load process.
        processes: Load processes.
        sessions: Idle ones, for their memory.
        workers: Of the throw-away gateway.
        target: A gateway to be measured in place of a throw-away one.
    """

    operations: Sequence[Operation]
    seconds: float
    rounds: int
    devices: int
    processes: int
    sessions: int
    workers: int = 1
    target: Target | None = None


@dataclass(slots=True)
class Measured:
    """An operation.

    Attributes:
        operation: Which.
        rounds: The numbers of each round by the name of the measure, see `document.MEASURES`.
        suites: Cipher suites that were agreed on.
        errors: How often what went wrong.
        limits: What held the rounds up: the "gateway", the "load", the "machine" (its processors were busy, and
            neither of the two had a whole one), or "nothing" (all of them waited); so many rounds each.
    """

    operation: Operation
    rounds: list[dict[str, float]] = field(default_factory=list)
    suites: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    limits: Counter[str] = field(default_factory=Counter)


def measure(plan: BenchPlan, say: Say) -> list[Measured]:
    """Measures everything in the plan.

    Args:
        plan: What.
        say: Gets a line when an operation begins.

    Raises:
        BenchError: Something that it takes cannot be had, or ended.
        PkiError: A file of a certificate or key is not what it should be.
    """
    measured = []
    with_load = [each for each in plan.operations if each is not Operation.IDLE]
    if with_load:
        with _subject(plan) as subject, _load(plan, subject) as load:
            for operation in with_load:
                say(f"{operation}: {plan.rounds} rounds of {plan.seconds:g} s")
                measured.append(_rounds(plan, subject, load, operation))
    if Operation.IDLE in plan.operations:
        measured.append(Measured(Operation.IDLE))
        for _ in range(plan.rounds):
            say(f"{Operation.IDLE}: {plan.sessions} sessions")
            _idle(plan, measured[-1])
    return measured


@dataclass(frozen=True, slots=True)
class _Subject:
    """The gateway that is measured."""

    address: Address
    path: str
    psk: PskFleet | None
    certificates: CertificateFleet | None
    usage: ProcessTree | None
    rate: float | None = None


@contextlib.contextmanager
def _subject(plan: BenchPlan) -> Iterator[_Subject]:
    target = plan.target
    if target is not None:
        usage = ProcessTree(target.pid) if target.pid is not None else None
        yield _Subject(target.address, target.path, target.psk, target.certificates, usage, target.rate)
        return
    with _throw_away(2 * plan.devices * plan.processes, plan.workers) as gateway:
        yield _Subject(gateway.address, PATH, gateway.psk, gateway.certificates, gateway.usage)


@contextlib.contextmanager
def _throw_away(devices: int, workers: int) -> Iterator[ThrowAwayGateway]:
    with (
        tempfile.TemporaryDirectory(prefix="gateway-bench-") as name,
        ThrowAwayGateway(Path(name), devices, workers) as gateway,
    ):
        yield gateway


def _load(plan: BenchPlan, subject: _Subject) -> LoadProcesses:
    return LoadProcesses(plan.processes, subject.address.host, subject.address.port)


def _rounds(plan: BenchPlan, subject: _Subject, load: LoadProcesses, operation: Operation) -> Measured:
    fleet: Fleet | None = subject.psk or subject.certificates
    if operation in (Operation.PSK, Operation.CERTIFICATE):
        fleet = subject.psk if operation is Operation.PSK else subject.certificates
    if fleet is None:
        raise BenchError(f"{operation}: no devices for it were given")
    # Two for each that is busy: what the gateway answers to a close_notify has come before a device begins again.
    load.open(fleet, 2 * plan.devices)
    rate = subject.rate / plan.processes if subject.rate is not None else None

    def once(seconds: float) -> list[Tally]:
        pace = Pace(plan.devices, seconds, rate)
        if operation is Operation.REQUEST:
            return load.requests(pace, subject.path, _PAYLOAD, first=plan.devices)
        return load.handshakes(pace, resume=operation is Operation.RESUMED)

    measured = Measured(operation)
    if operation is Operation.REQUEST:
        _must_all_succeed(load.connect(Pace(plan.devices, rate=rate)))
    elif operation is Operation.RESUMED:
        # Each device needs a ticket before the first round; this is one handshake of each.
        load.handshakes(Pace(plan.devices, None, rate))
    once(_WARM_UP_S)
    for _ in range(plan.rounds):
        before = _Used.until_now(subject.usage)
        tallies = once(plan.seconds)
        _note(measured, tallies, _Used.until_now(subject.usage).since(before), plan.workers)
    load.close()
    return measured


@dataclass(frozen=True, slots=True)
class _Used:
    """Seconds of processor time of the gateway and of the whole machine; None where they are not known."""

    gateway_s: float | None
    machine_s: float | None

    @classmethod
    def until_now(cls, usage: ProcessTree | None) -> "_Used":
        return cls(usage.cpu_s() if usage is not None else None, machine_busy_s())

    def since(self, before: "_Used") -> "_Used":
        both = ((self.gateway_s, before.gateway_s), (self.machine_s, before.machine_s))
        return _Used(*(now - then if now is not None and then is not None else None for now, then in both))


def _note(measured: Measured, tallies: list[Tally], used: _Used, workers: int) -> None:
    """Adds a round."""
    for tally in tallies:
        measured.errors.update(tally.errors)
    done = sum(tally.done for tally in tallies)
    if not done:
        raise BenchError(f"{measured.operation}: nothing succeeded: {_most_frequent(measured.errors)}")
    elapsed_s = max(tally.ended_at for tally in tallies) - min(tally.began_at for tally in tallies)
    latencies = [latency for tally in tallies for latency in tally.latencies_s]
    numbers = {
        "rate": done / elapsed_s,
        "p50": percentile(latencies, 50) * 1000,
        "p99": percentile(latencies, 99) * 1000,
        "sent": sum(tally.bytes_sent for tally in tallies) / done,
        "received": sum(tally.bytes_received for tally in tallies) / done,
        "load_cpu": sum(tally.cpu_s for tally in tallies) / done * 1e6,
    }
    if used.gateway_s is not None:
        numbers["cpu"] = used.gateway_s / done * 1e6
        load_s = sum(tally.cpu_s for tally in tallies) / len(tallies)
        machine_s = (used.machine_s or 0.0) / (os.cpu_count() or 1)
        shares = (used.gateway_s / workers / elapsed_s, load_s / elapsed_s, machine_s / elapsed_s)
        measured.limits[_limit(*shares)] += 1
    measured.rounds.append(numbers)
    measured.suites = sorted({*measured.suites, *(suite for tally in tallies for suite in tally.suites)})


def _limit(gateway: float, load: float, machine: float) -> str:
    """What had no more processor time to spend, by the share of its cores that each was busy."""
    for share, name in ((gateway, "gateway"), (load, "load"), (machine, "machine")):
        if share >= _BUSY_SHARE:
            return name
    return "nothing"


def _idle(plan: BenchPlan, measured: Measured) -> None:
    """Resident memory of a session, on a gateway that did nothing else before: the growth from few sessions to many."""
    few = max(1, plan.sessions // _FEW_SESSIONS_SHARE // plan.processes)
    more = max(1, plan.sessions // plan.processes - few)
    pace = Pace(plan.devices, patience_s=DRAIN_S + plan.sessions / 100)
    resident = []
    with (
        _throw_away((few + more) * plan.processes, plan.workers) as gateway,
        LoadProcesses(plan.processes, gateway.address.host, gateway.address.port) as load,
    ):
        fleet = gateway.psk
        for count in (few, more):
            load.open(fleet, count)
            fleet = replace(fleet, first=fleet.first + count * plan.processes)
            _must_all_succeed(load.connect(pace))
            if (bytes_now := gateway.usage.resident_bytes()) is None:
                raise BenchError(f"{Operation.IDLE}: this system has no /proc to read the memory of a process from")
            resident.append(bytes_now)
    measured.rounds.append({"memory": (resident[1] - resident[0]) / (more * plan.processes)})


def _must_all_succeed(tallies: list[Tally]) -> None:
    errors = sum((tally.errors for tally in tallies), Counter[str]())
    if errors:
        raise BenchError(f"devices could not connect: {_most_frequent(errors)}")


def _most_frequent(errors: Counter[str]) -> str:
    return ", ".join(f"{text} ({count} times)" for text, count in errors.most_common(3)) or "no reason was told"
