"""The HTTP port for operators: metrics, liveness, readiness, requests to devices, and management."""

from gateway.admin.api import Api, ApiAnswer, ApiRequest, Guarded
from gateway.admin.health import Check, Health, liveness
from gateway.admin.limits import MAX_CONNECTIONS
from gateway.admin.management import PREFIX as MANAGEMENT_PREFIX
from gateway.admin.management import ManagementApi
from gateway.admin.server import AdminError, AdminServer
from gateway.admin.tokens import TokenError, TokenFile, add_token

__all__ = [
    "MANAGEMENT_PREFIX",
    "MAX_CONNECTIONS",
    "AdminError",
    "AdminServer",
    "Api",
    "ApiAnswer",
    "ApiRequest",
    "Check",
    "Guarded",
    "Health",
    "ManagementApi",
    "TokenError",
    "TokenFile",
    "add_token",
    "liveness",
]
