"""The load processes: started, told what to do all at once, and taken down."""

import contextlib
import multiprocessing
import multiprocessing.connection
import signal
import sys
from collections.abc import Iterator, Sequence
from multiprocessing import resource_tracker
from typing import Any, Self

from gateway.pki import PkiError
from gateway.simulator.bench.devices import Fleet
from gateway.simulator.bench.errors import BenchError
from gateway.simulator.bench.limits import INTERRUPTED_S, START_S, STOP_S
from gateway.simulator.bench.loader import Loader, Pace
from gateway.simulator.bench.tally import Tally

_Pipe = multiprocessing.connection.Connection


class LoadProcesses:
    """So many processes with a `Loader` each.

    with LoadProcesses(2, "127.0.0.1", 5684) as load:
        load.open(fleet, 100)
        tallies = load.connect(Pace(20))
    """

    def __init__(self, count: int, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._count = count
        self._pipes: list[_Pipe] = []
        self._processes: list[multiprocessing.process.BaseProcess] = []

    def __enter__(self) -> Self:
        # Spawned: a fork would take along what the caller has open, its threads' locks among it.
        context = multiprocessing.get_context("spawn")
        try:
            for number in range(self._count):
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=_serve, args=(theirs, self._host, self._port, self._source(number)), daemon=True
                )
                with _without_interrupts():
                    process.start()
                theirs.close()
                self._pipes.append(ours)
                self._processes.append(process)
            for pipe in self._pipes:
                self._answer(pipe, START_S)
        except BaseException:
            self._end(INTERRUPTED_S)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._end(STOP_S if kind is None else INTERRUPTED_S)

    def _end(self, patience_s: float) -> None:
        for pipe in self._pipes:
            with contextlib.suppress(OSError):
                pipe.send(None)
            pipe.close()
        for process in self._processes:
            process.join(patience_s)
            if process.is_alive():
                process.kill()
                process.join()
            process.close()
        self._pipes.clear()
        self._processes.clear()

    def open(self, fleet: Fleet, count: int) -> None:
        """So many devices more in each process.

        Raises:
            BenchError: A process cannot have them, or has ended.
        """
        self._call("open", [(part, count) for part in fleet.shared(len(self._pipes), count)])

    def handshakes(self, pace: Pace, *, resume: bool = False) -> list[Tally]:
        """See `Loader.handshakes`; the pace is each process's."""
        return self._call("handshakes", [(pace,)] * len(self._pipes), resume=resume)

    def connect(self, pace: Pace, *, since: float | None = None) -> list[Tally]:
        """See `Loader.connect`; the pace is each process's."""
        return self._call("connect", [(pace,)] * len(self._pipes), since=since)

    def requests(self, pace: Pace, path: str, payload: bytes, *, first: int | None = None) -> list[Tally]:
        """See `Loader.requests`; the pace and `first` are each process's."""
        return self._call("requests", [(pace, path, payload)] * len(self._pipes), first=first)

    def close(self) -> None:
        """Ends all sessions, closes all sockets."""
        self._call("close", [()] * len(self._pipes))

    def _call(self, name: str, arguments: Sequence[tuple[Any, ...]], **options: Any) -> list[Any]:
        for pipe, each in zip(self._pipes, arguments, strict=True):
            with contextlib.suppress(BrokenPipeError):  # which its answer will tell
                pipe.send((name, each, options))
        return [self._answer(pipe, None) for pipe in self._pipes]

    def _answer(self, pipe: _Pipe, within_s: float | None) -> Any:
        try:
            if not pipe.poll(within_s):
                raise BenchError(f"a load process was not there after {START_S:.0f} seconds: the machine is too busy")
            answer = pipe.recv()
        except (EOFError, OSError) as error:
            raise BenchError("a load process has ended: see above, or the kernel's log, for the reason") from error
        if isinstance(answer, BenchError):
            raise answer
        return answer

    def _source(self, number: int) -> str | None:
        """An address of its own for each process on loopback: the kernel has only so many ports for one address."""
        # Only Linux has all of 127.0.0.0/8 without being told.
        return f"127.0.0.{number + 2}" if sys.platform == "linux" and self._host.startswith("127.") else None


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """What is started meanwhile never hears of Ctrl-C: its parent does, and tells it to end."""
    resource_tracker.ensure_running()  # with the first process it would be started then, and let them through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: _Pipe, host: str, port: int, source: str | None) -> None:
    """A load process: carries out what comes through the pipe until it is told to end, or its parent is gone."""
    loader = Loader(host, port, source)
    with contextlib.suppress(EOFError, BrokenPipeError):
        pipe.send("ready")
        while (order := pipe.recv()) is not None:
            name, arguments, options = order
            try:
                answer = getattr(loader, name)(*arguments, **options)
            except (BenchError, PkiError) as error:
                answer = BenchError(str(error))
            pipe.send(answer)
