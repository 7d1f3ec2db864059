"""Where a worker's metrics come from: each part that counts, by the name it has when it cannot be read."""

import socket
from collections.abc import Mapping

from gateway.dtls import ServerEndpoint
from gateway.handlers import SinkStats
from gateway.identity import IdentityService
from gateway.server.clones import Clones
from gateway.server.dispatch import Dispatcher
from gateway.server.metrics import (
    SessionMetrics,
    certificate_families,
    clone_families,
    engine_families,
    message_families,
    push_families,
    sink_families,
    socket_families,
    transfer_families,
)
from gateway.server.pushes import Pushes
from gateway.server.reloading import Reloads
from gateway.server.udp import UdpServer
from gateway.telemetry import MetricSource


def metric_sources(
    *,
    server: UdpServer,
    endpoint: ServerEndpoint,
    sessions: SessionMetrics,
    dispatcher: Dispatcher,
    pushes: Pushes,
    clones: Clones,
    identity: IdentityService,
    sinks: Mapping[str, SinkStats],
    reloads: Reloads,
) -> dict[str, MetricSource]:
    """Those of every worker, in the order of a scrape."""
    family = "ipv6" if server.udp.family == socket.AF_INET6 else "ipv4"
    return {
        "socket": lambda: socket_families(server, family),
        "engine": lambda: engine_families(endpoint),
        "sessions": sessions.families,
        "messages": lambda: message_families(dispatcher.layer),
        "transfers": lambda: transfer_families(dispatcher.transfers),
        "requests": dispatcher.metrics.families,
        "pushes": lambda: push_families(pushes),
        "clones": lambda: clone_families(clones),
        "certificates": lambda: certificate_families(reloads.plan.certificates, identity),
        "sinks": lambda: sink_families(sinks),
        "reloads": reloads.families,
    }
