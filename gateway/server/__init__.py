"""The asyncio shell: the UDP socket, the glue between the engines, timers, dispatch. No protocol rule lives here."""

from gateway.server.garbage import tune_garbage_collector
from gateway.server.udp import BindError
from gateway.server.worker import Bound, Worker

__all__ = ["BindError", "Bound", "Worker", "tune_garbage_collector"]
