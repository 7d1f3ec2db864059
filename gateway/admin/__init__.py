"""The HTTP port for operators: metrics, liveness, readiness. Takes callables; knows no other room but telemetry."""

from gateway.admin.health import Check
from gateway.admin.server import AdminError, AdminServer

__all__ = ["AdminError", "AdminServer", "Check"]
