"""What a worker process of `gateway serve --workers N` runs. Its supervisor starts it; it is no command for people."""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from gateway.cli.common import EXIT_FAILURE, EXIT_USAGE, locate_config, os_error_text, settings_for
from gateway.config import ConfigError, Settings, Source
from gateway.registry import InvalidValue, RegistryError
from gateway.server import BindError, Supervisor, Worker, tune_garbage_collector
from gateway.server.channel import Channel, ChannelError, Message, receive_message, send_message
from gateway.server.plan import Secrets
from gateway.server.seat import Seat
from gateway.telemetry import EventLimiter, configure_logging

_LIMITED_EVENTS = (
    "dtls.handshake_failed",
    "server.fault",
    "handler.slow",
    "handler.failed",
    "handler.timed_out",
    "identity.failed",
    "admin.token_refused",
    "admin.tokens_unusable",
)


def limiter_of_the_log() -> EventLimiter:
    """Leaves out surplus lines of what strangers can cause."""
    return EventLimiter(_LIMITED_EVENTS)


def source_of(config: Path | None, overrides: Mapping[str, object]) -> Source:
    """Where the settings of a server come from, so that it can read them again."""
    return Source(partial(settings_for, config, overrides, check=True), locate_config(config))


def on_signals(gateway: Worker | Supervisor) -> None:
    """Signals stop a gateway, or have it read its configuration again: from before the first device can be there on."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, gateway.stop)
    loop.add_signal_handler(signal.SIGHUP, gateway.reload)


def main() -> None:
    """Serves until SIGTERM, or until the supervisor has gone.

    The arguments are numbers of file descriptors: of the UDP socket, and of the channel to the supervisor.
    """
    udp, control = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    try:
        begin = receive_message(control)
    except ChannelError:
        sys.exit(EXIT_FAILURE)  # the supervisor has gone already
    sys.exit(asyncio.run(_run(udp, control, begin)))


async def _run(udp: socket.socket, control: socket.socket, begin: Message) -> int:
    settings = Settings.model_validate_json(begin["settings"])
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
