"""What a worker process of `gateway serve --workers N` runs. Its supervisor starts it; it is no command for people."""

import asyncio
import contextlib
import os
import select
import socket
import sys
import threading
import time
from pathlib import Path

from gateway.cli.common import EXIT_FAILURE, EXIT_USAGE, os_error_text
from gateway.cli.serve import limiter_of_the_log, on_signals, source_of
from gateway.config import ConfigError, Settings
from gateway.registry import InvalidValue, RegistryError
from gateway.server import BindError, Worker, tune_garbage_collector
from gateway.server.channel import Channel, ChannelError, Message, receive_message, send_message
from gateway.server.limits import WORKER_STOP_S
from gateway.server.plan import Secrets
from gateway.server.seat import Seat
from gateway.telemetry import configure_logging


def main() -> None:
    """Serves until SIGTERM, or until the supervisor has gone.

    The arguments are numbers of file descriptors: of the UDP socket, and of the channel to the supervisor.
    """
    udp, control = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    for each in (udp, control):
        each.set_inheritable(False)  # what a handler starts must not keep them open
    try:
        begin = receive_message(control)
    except ChannelError:
        sys.exit(EXIT_FAILURE)  # the supervisor has gone already
    settings = Settings.model_validate_json(begin["settings"])
    # Beside the event loop: a worker whose loop is stuck would keep the port from the next gateway.
    patience_s = settings.server.shutdown_grace + WORKER_STOP_S
    threading.Thread(
        target=_leave_with_the_supervisor, args=(os.dup(control.fileno()), patience_s), daemon=True
    ).start()
    sys.exit(asyncio.run(_run(udp, control, begin, settings)))


def _leave_with_the_supervisor(control: int, patience_s: float) -> None:
    """Ends the process some time after the other end of its channel has gone: by then it should have ended in order."""
    gone = select.poll()
    gone.register(control, 0)  # nothing but that the other end is gone
    gone.poll()
    time.sleep(patience_s)
    os._exit(EXIT_FAILURE)


async def _run(udp: socket.socket, control: socket.socket, begin: Message, settings: Settings) -> int:
    limiter = limiter_of_the_log()
    configure_logging(settings.log.level, settings.log.format, limiter=limiter, worker=begin["worker"])
    orphaned = False

    def on_close() -> None:
        nonlocal orphaned
        orphaned = True
        worker.stop()

    channel = Channel(control, on_close=on_close)
    secrets = Secrets(bytes.fromhex(begin["cookies"]), bytes.fromhex(begin["tickets"]))
    seat = Seat(begin["worker"], udp, secrets, Path(begin["admin"]), channel)
    config = None if begin["config"] is None else Path(begin["config"])
    async with contextlib.AsyncExitStack() as stack:
        try:
            worker = Worker(settings, limiter=limiter, source=source_of(config, begin["overrides"]), seat=seat)
            on_signals(worker)
            if begin["reload"]:
                worker.reload()
            await stack.enter_async_context(worker)
        except (ConfigError, BindError, InvalidValue) as error:
            return _failed(control, str(error), refused=True)
        except RegistryError as error:
            return _failed(control, str(error), refused=False)
        except OSError as error:
            return _failed(control, os_error_text(error), refused=False)
        tune_garbage_collector()
        await worker.wait()
    channel.close()
    if orphaned:
        # Nobody else is left to do it; the last worker finds the folder empty.
        seat.admin.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            seat.admin.parent.rmdir()
    return 0


def _failed(control: socket.socket, error: str, *, refused: bool) -> int:
    with contextlib.suppress(OSError):
        send_message(control, {"kind": "failed", "error": error, "refused": refused})
    return EXIT_USAGE if refused else EXIT_FAILURE


if __name__ == "__main__":
    main()
