"""One process's devices, and the loop that keeps a number of them busy.

Closed loop: so many devices do something at any time, and the next one begins when one has ended. A gateway that
is slow is thus asked less often, and its latency looks better than a fleet on a fixed schedule would see it.
"""

import gc
import resource
import select
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from time import monotonic, process_time

from gateway.coap import Code, Option
from gateway.simulator.bench.devices import Fleet
from gateway.simulator.bench.errors import BenchError
from gateway.simulator.bench.limits import BEGUN_A_TURN, DRAIN_S, KEPT_SOCKETS, MAX_FAILURES_IN_A_ROW
from gateway.simulator.bench.load_device import LoadDevice, Step
from gateway.simulator.bench.tally import Tally

_UNANSWERED = "no end in time"
_Act = Callable[[LoadDevice, float], None]


@dataclass(frozen=True, slots=True)
class Pace:
    """How much at once, and for how long.

    Attributes:
        busy: Devices that are busy at once.
        seconds: After which nothing more is begun; None for until every device had its turn once.
        rate: Operations begun a second at most; None for no bound beside `busy`.
        patience_s: Seconds for what was begun to end, from the end of `seconds` on, or from the start without it.
    """

    busy: int
    seconds: float | None = None
    rate: float | None = None
    patience_s: float = DRAIN_S


class Loader:
    """The devices of one process."""

    def __init__(self, host: str, port: int, source: str | None = None) -> None:
        """Prepares a loader; opens no socket.

        Args:
            host: The gateway's address.
            port: Its UDP port.
            source: The address of this machine that the devices have; the system's choice by default.
        """
        self._host, self._port, self._source = host, port, source
        self._devices: list[LoadDevice] = []
        self._by_file: dict[int, LoadDevice] = {}
        self._poll = select.epoll()
        self._timers: list[tuple[float, int]] = []

    def open(self, fleet: Fleet, count: int) -> None:
        """So many devices more, each with a socket; nothing is sent.

        Raises:
            BenchError: The system does not grant so many sockets, or the gateway's name means nothing.
            PkiError: A file of a certificate or key is not what it should be.
        """
        _allow_files(len(self._devices) + count + KEPT_SOCKETS)
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)[0]
            for identity in fleet.identities(count):
                udp = socket.socket(family, kind, protocol)
                udp.setblocking(False)
                if self._source is not None:
                    udp.bind((self._source, 0))
                udp.connect(address)
                device = LoadDevice(identity, udp)
                self._devices.append(device)
                self._by_file[udp.fileno()] = device
                self._poll.register(udp, select.EPOLLIN)
        except OSError as error:
            raise BenchError(f"{self._host}:{self._port}: {error.strerror or error}") from error

    def handshakes(self, pace: Pace, *, resume: bool = False) -> Tally:
        """Handshakes one after the other, each ended with a close_notify.

        Args:
            pace: `seconds` is set.
            resume: Each takes up the session of the device's handshake before it.
        """
        return self._run(
            self._devices,
            lambda device, now: device.connect(now, resume=resume),
            pace,
            after=lambda device, now: device.close(now),
        )

    def connect(self, pace: Pace, *, since: float | None = None) -> Tally:
        """Every device without a session makes a handshake, and keeps the session.

        Args:
            pace: `seconds` is None.
            since: When all of them lost their sessions, on the monotonic clock: their latencies are counted from it,
                and one that fails tries again until it is connected.
        """
        if since is not None:
            for device in self._devices:
                device.forget()
        waiting = [device for device in self._devices if not device.connected]
        tally = self._run(waiting, lambda device, now: device.connect(now), pace, since=since)
        # Else the collector looks at ten thousand sessions in the middle of a round.
        gc.collect()
        gc.freeze()
        return tally

    def requests(self, pace: Pace, path: str, payload: bytes, *, first: int | None = None) -> Tally:
        """Confirmable POST requests over the sessions that are there, each device in turn.

        Args:
            pace: With `seconds` None each device sends one.
            path: Where to.
            payload: What.
            first: So many of the devices take part; None for all.
        """
        options = [(int(Option.URI_PATH), segment.encode()) for segment in path.strip("/").split("/") if segment]
        return self._run(
            [device for device in self._devices[:first] if device.connected],
            lambda device, now: device.request(Code.POST, options, payload, now),
            pace,
        )

    def close(self) -> None:
        """Ends all sessions and closes the sockets."""
        now = monotonic()
        for device in self._devices:
            device.close(now)
            device.udp.close()
        self._devices.clear()
        self._by_file.clear()
        self._timers.clear()
        gc.unfreeze()

    def _run(
        self,
        devices: list[LoadDevice],
        act: _Act,
        pace: Pace,
        *,
        after: _Act | None = None,
        since: float | None = None,
    ) -> Tally:
        run = _Run(deque(devices), act, after, pace, since)
        cpu = process_time()
        while run.goes_on(monotonic()):
            for device in run.begin():
                self._arm(device)
            wait_s = 0.0 if run.could_begin(now := monotonic()) else self._until_timer(now)
            for file, _ in self._poll.poll(wait_s):
                self._receive(run, file)
            self._handle_timers(run)
        run.give_up()
        run.tally.cpu_s = process_time() - cpu
        return run.tally

    def _receive(self, run: "_Run", file: int) -> None:
        device = self._by_file.get(file)
        if device is not None:
            was_busy = device.busy
            run.note(device, was_busy, device.receive(monotonic()))
            self._arm(device)

    def _arm(self, device: LoadDevice) -> None:
        due = device.next_timer()
        if due is not None and (device.timer_at is None or due < device.timer_at):
            device.timer_at = due
            heappush(self._timers, (due, device.udp.fileno()))

    def _until_timer(self, now: float) -> float:
        """Seconds; at most a tenth of one, as a round may be over."""
        return min(0.1, max(0.0, self._timers[0][0] - now)) if self._timers else 0.1

    def _handle_timers(self, run: "_Run") -> None:
        now = monotonic()
        while self._timers and self._timers[0][0] <= now:
            at, file = heappop(self._timers)
            device = self._by_file.get(file)
            if device is None or device.timer_at != at:
                continue
            device.timer_at = None
            due = device.next_timer()
            if due is not None and due <= now:
                was_busy = device.busy
                run.note(device, was_busy, device.handle_timer(now))
            self._arm(device)


class _Run:
    """One round: who is next, and what was counted."""

    def __init__(
        self,
        ready: deque[LoadDevice],
        act: _Act,
        after: _Act | None,
        pace: Pace,
        since: float | None,
    ) -> None:
        self.tally = Tally(began_at=monotonic())
        self.tally.ended_at = self.tally.began_at
        self._ready, self._act, self._after, self._pace = ready, act, after, pace
        self._since = since
        self._busy: set[LoadDevice] = set()
        self._begun = 0
        self._failures = 0

    def goes_on(self, now: float) -> bool:
        if not self._busy and not self.could_begin(now) and (not self._ready or self._over(now)):
            return False
        if self._failures >= MAX_FAILURES_IN_A_ROW:
            return False
        end = self.tally.began_at + (self._pace.seconds or 0.0) + self._pace.patience_s
        return now < end

    def could_begin(self, now: float) -> bool:
        """Whether a device may begin at once."""
        pace = self._pace
        if not self._ready or len(self._busy) >= pace.busy or self._over(now):
            return False
        return pace.rate is None or self._begun < (now - self.tally.began_at) * pace.rate

    def begin(self) -> list[LoadDevice]:
        """Some of those whose turn it is."""
        begun: list[LoadDevice] = []
        while len(begun) < BEGUN_A_TURN and self.could_begin(now := monotonic()):
            device = self._ready.popleft()
            if device.busy:
                continue
            self._act(device, now)
            self._busy.add(device)
            self._begun += 1
            begun.append(device)
        return begun

    def note(self, device: LoadDevice, was_busy: bool, step: Step | None) -> None:
        """Counts what has ended."""
        if step is None:
            return
        if not was_busy:
            if step is Step.FAILED:
                self.tally.errors[device.failure] += 1  # a session that was lost while it was idle
            return
        now = monotonic()
        self._busy.discard(device)
        if step is Step.FAILED:
            if self._since is None:
                self._failures += 1
            else:
                self._ready.append(device)
            self.tally.errors[device.failure] += 1
        else:
            self._count(device, now)
        if self._after is not None:
            self._after(device, now)
        # One whose request failed may have no session any more; a handshake begins with nothing.
        if self._pace.seconds is not None and (step is not Step.FAILED or self._after is not None):
            self._ready.append(device)

    def give_up(self) -> None:
        """What is still under way is not waited for any more."""
        for device in self._busy:
            self.tally.errors[_UNANSWERED] += 1
            device.forget()
        if self._pace.seconds is None and self._ready and self._failures < MAX_FAILURES_IN_A_ROW:
            self.tally.errors["not begun in time"] += len(self._ready)

    def _count(self, device: LoadDevice, now: float) -> None:
        tally = self.tally
        self._failures = 0
        tally.done += 1
        tally.latencies_s.append(now - (device.began_at if self._since is None else self._since))
        tally.bytes_sent += device.bytes_sent
        tally.bytes_received += device.bytes_received
        tally.suites[device.suite] += 1
        tally.ended_at = now

    def _over(self, now: float) -> bool:
        return self._pace.seconds is not None and now >= self.tally.began_at + self._pace.seconds


def _allow_files(wanted: int) -> None:
    """Raises the limit of open files as far as is needed and allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and wanted > hard:
        raise BenchError(
            f"a load process needs {wanted} open files, and {hard} are allowed: "
            "take more --processes or fewer --sessions, or raise the limit (ulimit -Hn)"
        )
    if soft != resource.RLIM_INFINITY and wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
