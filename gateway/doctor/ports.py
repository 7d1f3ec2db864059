"""The two ports: whether they can be had, or a gateway has them already."""

import json
import socket
from http.client import HTTPConnection, HTTPException

from gateway.config import Address, Settings
from gateway.doctor.findings import Finding, ok, problem
from gateway.doctor.limits import ASK_S, MAX_ANSWER
from gateway.server.udp import BindError, open_socket


def ports(settings: Settings) -> list[Finding]:
    """Binds both for a moment."""
    running = gateway_answers(settings.admin.bind)
    udp, admin = settings.server.bind, settings.admin.bind
    found = []
    try:
        open_socket(udp.host, udp.port).close()
        found.append(ok("UDP port", f"{udp} is free"))
    except BindError as error:
        # That the two are of one process is a guess: a gateway that runs has both.
        taken = ok("UDP port", f"{udp} is taken, and a gateway runs")
        found.append(taken if running else problem("UDP port", str(error), "or set another one: [server] bind"))
    if running:
        found.append(ok("admin port", f"a gateway answers at {admin}"))
    elif (text := _tcp_problem(admin)) is not None:
        found.append(problem("admin port", f"{admin}: {text}", "stop what has it, or set another one: [admin] bind"))
    else:
        found.append(ok("admin port", f"{admin} is free"))
    return found


def gateway_answers(admin: Address) -> bool:
    """Whether what listens there answers as a gateway does."""
    if not admin.port:
        return False
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(admin.host, admin.host)  # noqa: S104  where to ask
    connection = HTTPConnection(host, admin.port, timeout=ASK_S)
    try:
        connection.request("GET", "/livez")
        body = json.loads(connection.getresponse().read(MAX_ANSWER))
    except (OSError, HTTPException, ValueError):
        return False
    finally:
        connection.close()
    return isinstance(body, dict) and body.get("status") in ("alive", "stuck")


def _tcp_problem(address: Address) -> str | None:
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
    except OSError as error:
        return error.strerror or str(error)
    return None
