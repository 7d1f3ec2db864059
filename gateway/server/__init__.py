"""The asyncio shell: the UDP socket, the glue between the engines, timers, dispatch. No protocol rule lives here."""

from gateway.server.credentials import load_certificates
from gateway.server.garbage import tune_garbage_collector
from gateway.server.own_certificates import certificate_doubts
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
    "certificate_doubts",
    "check_carried",
    "load_certificates",
    "tune_garbage_collector",
    "worker_count",
]
