"""The asyncio shell: the UDP socket, the glue between the engines, timers, dispatch. No protocol rule lives here."""

from gateway.server.garbage import tune_garbage_collector
from gateway.server.service import Bound
from gateway.server.supervisor import StartFailed, StartRefused, Supervisor, check_carried, worker_count
from gateway.server.udp import BindError
from gateway.server.worker import Worker

__all__ = [
    "BindError",
    "Bound",
    "StartFailed",
    "StartRefused",
    "Supervisor",
    "Worker",
    "check_carried",
    "tune_garbage_collector",
    "worker_count",
]
