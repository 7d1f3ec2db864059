"""Keeps one worker process running: starts it, and starts it again when it ends, until it is told to stop."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.server.channel import Channel, Message, Switchboard, channel_pair
from gateway.server.limits import (
    HEARTBEAT_S,
    WORKER_LAST_WORDS_S,
    WORKER_RETRY_FIRST_S,
    WORKER_RETRY_MAX_S,
    WORKER_STACK_S,
    WORKER_STEADY_S,
)
from gateway.telemetry import get_logger

PRINT_STACKS: Final = signal.SIGUSR2
"""Has a process of the gateway print the Python stack of each of its threads to standard error, and go on."""

_HINTS: Final[dict[int, str]] = {
    0: "somebody stopped this one process; to stop the gateway, stop its first process",
    signal.SIGKILL: "somebody killed it, or the kernel for lack of memory: its log says so",
    signal.SIGSEGV: "native code crashed: keep the core dump and report it",
    signal.SIGABRT: "native code gave up: keep the core dump and report it",
}


@dataclass(frozen=True, slots=True)
class Failed:
    """A worker that ended before it served.

    Attributes:
        error: One line.
        refused: Whether the configuration or the command line is to blame.
    """

    error: str
    refused: bool


class Keeper:
    """Attributes:
    worker: The number.
    admin: Where its admin server listens, while it serves.
    serving: Whether it does.
    restarts: How often it was started again.
    first: Done at the end of the first start: what the worker said of itself, or why there is none.
    """

    def __init__(
        self,
        worker: int,
        udp: socket.socket,
        admin: Path,
        command: Sequence[str],
        board: Switchboard,
        begin: Callable[[int, int], Message],
    ) -> None:
        """Starts nothing yet.

        Args:
            worker: Its number.
            udp: Its socket, which is not closed here.
            admin: Where its admin server is to listen.
            command: Starts a worker; the numbers of two file descriptors are added, of `udp` and of its channel.
            board: Knows the channels of the workers that serve.
            begin: Makes the message that a worker waits for, from its number and that of the starts before.
        """
        self.worker = worker
        self.admin = admin
        self.serving = False
        self.restarts = 0
        self.first: asyncio.Future[Message | Failed] = asyncio.get_running_loop().create_future()
        self._udp = udp
        self._command = command
        self._board = board
        self._begin = begin
        self._failed: Failed | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._silent_beats = 0
        self._stuck = False
        self._log = get_logger("gateway.server")

    async def run(self) -> None:
        """Until `stop`, or until the first start has failed."""
        clock = asyncio.get_running_loop().time
        wait_s = WORKER_RETRY_FIRST_S
        while not self._stopping.is_set():
            began = clock()
            status = await self._live()
            if self._stopping.is_set():
                break
            if not self.first.done():
                how = _signal_name(status) or f"exit status {status}"
                error = f"worker {self.worker} ended before it served ({how}); what it printed says why"
                self.first.set_result(self._failed or Failed(error, False))
                return
            if clock() - began >= WORKER_STEADY_S:
                wait_s = WORKER_RETRY_FIRST_S
            self._report(status, wait_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait_s)
                break
            wait_s = min(2 * wait_s, WORKER_RETRY_MAX_S)
            self.restarts += 1
        if not self.first.done():
            self.first.set_result(Failed(f"worker {self.worker} was stopped before it served", False))

    def stop(self) -> None:
        """Asks the worker to end its sessions in order."""
        self._stopping.set()
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def beat(self, limit_s: float) -> None:
        """Kills a worker that serves and has not been heard of for long. To be called every `HEARTBEAT_S` seconds.

        It counts calls and not time: where the whole machine was held up, so was the worker.

        Args:
            limit_s: Seconds of silence that are too many; 0 for none.
        """
        if not self.serving or self._stopping.is_set() or not limit_s:
            return
        self._silent_beats += 1
        silent_s = self._silent_beats * HEARTBEAT_S
        if self._stuck:
            if silent_s >= limit_s + WORKER_STACK_S:
                self.kill()
        elif silent_s >= limit_s:
            self._stuck = True
            self._log.error(
                "worker.stuck",
                worker=self.worker,
                pid=self._process.pid if self._process is not None else None,
                silent_s=silent_s,
                hint="it is killed and started again; the stack that it prints to standard error says where it was",
            )
            self._signal(PRINT_STACKS)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _live(self) -> int:
        """One life of the process; its exit status."""
        self.admin.unlink(missing_ok=True)
        ours, theirs = channel_pair()
        gone = asyncio.Event()
        channel = Channel(ours, on_close=gone.set)
        channel.on("serving", lambda message: self._on_serving(channel, message))
        channel.on("failed", self._on_failed)
        channel.on("alive", self._on_alive)
        try:
            with theirs:
                ends = (self._udp.fileno(), theirs.fileno())
                process = await asyncio.create_subprocess_exec(
                    *self._command, *map(str, ends), stdin=asyncio.subprocess.DEVNULL, pass_fds=ends
                )
            self._process = process
            self._failed = None
            self._stuck = False
            if self._stopping.is_set():
                self.kill()  # nobody has told it yet, and it holds nothing
            channel.start(asyncio.get_running_loop())
            channel.send(self._begin(self.worker, self.restarts))
            status = await process.wait()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(gone.wait(), WORKER_LAST_WORDS_S)
            if self.serving and self._stopping.is_set():
                self._log.info("worker.stopped", worker=self.worker, status=max(status, 0), signal=_signal_name(status))
            return status
        except OSError as error:  # no memory, or no process left for us
            self._failed = Failed(f"worker {self.worker} cannot be started: {error.strerror or error}", False)
            return 1
        except Exception as fault:  # a bug of ours must not be the last start
            self._log.error("server.fault", exc_info=fault)
            self.kill()
            return 1
        finally:
            self._process = None
            self.serving = False
            self._board.unplug(self.worker)
            channel.close()

    def _on_serving(self, channel: Channel, message: Message) -> None:
        process = self._process
        self.serving = True
        self._silent_beats = 0
        self._board.plug(self.worker, channel)
        self._log.info(
            "worker.started",
            worker=self.worker,
            pid=process.pid if process is not None else None,
            restarts=self.restarts,
        )
        if not self.first.done():
            self.first.set_result(message)

    def _on_alive(self, message: Message) -> None:
        self._silent_beats = 0

    def _on_failed(self, message: Message) -> None:
        self._failed = Failed(str(message["error"]), bool(message["refused"]))

    def _report(self, status: int, wait_s: float) -> None:
        """It has ended, and nobody told it to."""
        failed = self._failed
        if failed is not None:
            hint = "correct it; the worker is started again by itself"
        elif self._stuck:
            hint = "its event loop stood still: a plain `def` handler must neither wait nor compute for long"
        else:
            hint = _HINTS.get(-status, "the last lines of this worker say why; the devices of the others go on")
        self._log.error(
            "worker.exited",
            worker=self.worker,
            status=max(status, 0),
            signal=_signal_name(status),
            error=None if failed is None else failed.error,
            hint=hint,
            next_in_s=wait_s,
        )


def _signal_name(status: int) -> str | None:
    """What ended a process, if it was a signal."""
    return signal.Signals(-status).name if status < 0 else None
