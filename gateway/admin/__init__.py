"""The HTTP port for operators: metrics, liveness, readiness, requests to devices. Takes callables only."""

from gateway.admin.api import Api, ApiAnswer, ApiRequest
from gateway.admin.health import Check
from gateway.admin.limits import MAX_CONNECTIONS
from gateway.admin.server import AdminError, AdminServer

__all__ = ["MAX_CONNECTIONS", "AdminError", "AdminServer", "Api", "ApiAnswer", "ApiRequest", "Check"]
