"""The data path's metrics: what is counted here, and what is read from engine and message layer at a scrape."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from prometheus_client.core import Metric

from gateway.coap import Code as CoapCode
from gateway.coap import MessageLayer, MessageType, code_text
from gateway.dtls import CipherSuite, ContentType, FailureReason, KeyExchange, ResumptionOutcome, ServerEndpoint
from gateway.handlers import Request, SinkStats, Transfers
from gateway.model import AuthKind
from gateway.pki import fingerprint
from gateway.server.limits import MAX_ANCHOR_SERIES
from gateway.telemetry import (
    HANDSHAKE_BUCKETS_S,
    REQUEST_BUCKETS_S,
    CounterTable,
    Histogram,
    counter_family,
    gauge_family,
    udp_receive_drops,
)

if TYPE_CHECKING:
    from gateway.identity import IdentityService
    from gateway.pki import ServerCertificate
    from gateway.server.clones import Clones
    from gateway.server.crl_refresh import CrlRefresh
    from gateway.server.pushes import Pushes
    from gateway.server.udp import UdpServer

UNMATCHED: Final = "none"
"""The `route` label of a request whose path or method nobody registered."""

AUTH_FOR: Final[dict[KeyExchange | None, AuthKind]] = {
    KeyExchange.PSK: AuthKind.PSK,
    KeyExchange.ECDHE_PSK: AuthKind.PSK,
    KeyExchange.ECDHE_ECDSA: AuthKind.X509,
    KeyExchange.ECDHE_RSA: AuthKind.X509,
    None: AuthKind.UNKNOWN,
}
"""How a peer of that key exchange proves itself."""

AUTHS: Final = (AuthKind.PSK, AuthKind.X509, AuthKind.RPK)

CLOSE_REASONS: Final = {
    "alert": "error",
    "exhausted": "error",
    "authentication_failures": "error",
    "local": "disabled",
    "revoked": "revoked",
    "close_notify": "close_notify",
    "superseded": "superseded",
    "idle": "idle",
    "evicted": "evicted",
    "too_many": "evicted",
    "drain": "drain",
}
"""The engine's word for the end of an association, and the label for it."""


class _RequestCell:
    """Requests that are alike: how many, and where their durations go."""

    __slots__ = ("count", "observe")

    def __init__(self, observe: Callable[[float], None]) -> None:
        self.count = 0
        self.observe = observe


class RequestMetrics:
    """Counts and durations of requests. On the data path: one addition and one bisect a request.

    Attributes:
        limited: Requests turned away, by scope: because too many asynchronous handlers ran in all ("global") or for one
            device, or because a device or a tenant sent too many.
    """

    def __init__(self) -> None:
        self.limited = {"global": 0, "tenant": 0, "device": 0}
        self._durations = Histogram(
            "gateway_coap_request_duration_seconds",
            "Time from the request to its response, in seconds.",
            REQUEST_BUCKETS_S,
            {"route": None, "method": None},
        )
        # By method, route, type and code.
        self._cells: dict[tuple[int, str, int, int], _RequestCell] = {}

    def observe(self, request: Request, code: int, took_s: float) -> None:
        message, route = request.message, request.route
        key = message.code, UNMATCHED if route is None else route.template, message.type, code
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = _RequestCell(self._durations.cell(key[1], _method(message.code)).observe)
        cell.count += 1
        cell.observe(took_s)

    def families(self) -> Iterable[Metric]:
        counts: Counter[tuple[str, ...]] = Counter()
        for (method, route, kind, code), cell in self._cells.copy().items():
            counts[_method(method), route, MessageType(kind).name.lower(), code_text(code)] += cell.count
        yield counter_family(
            "gateway_coap_requests_total",
            "CoAP requests answered.",
            ("method", "route", "type", "code"),
            counts,
        )
        yield self._durations.family()
        yield counter_family(
            "gateway_rate_limited_total",
            "Requests turned away because too many came or too many handlers were running.",
            ("scope", "action"),
            {(scope, "rejected"): count for scope, count in self.limited.items()},
        )


class SessionMetrics:
    """Handshakes and sessions, counted from the engine's events."""

    def __init__(self) -> None:
        reasons = [*FailureReason, "none"]
        self.handshakes = CounterTable(
            "gateway_dtls_handshakes_total",
            "Handshakes that ended, and why those failed that did.",
            {"auth": AuthKind, "mode": ("full", "resumed"), "result": ("success", "failure"), "reason": reasons},
        )
        self.durations = Histogram(
            "gateway_dtls_handshake_duration_seconds",
            "Time from the verified cookie to Finished, in seconds.",
            HANDSHAKE_BUCKETS_S,
            {"auth": AuthKind, "mode": ("full", "resumed")},
        )
        self.retransmissions = CounterTable(
            "gateway_dtls_handshake_retransmissions_total",
            "Flights that were sent again.",
            {"side": ("server", "client")},
        )
        self.suites = CounterTable(
            "gateway_dtls_cipher_suite_sessions_total",
            "Sessions established, by cipher suite.",
            {"suite": [suite.name for suite in CipherSuite]},
        )
        self.closed = CounterTable(
            "gateway_dtls_sessions_closed_total",
            "Sessions that ended, and why.",
            {"reason": sorted(set(CLOSE_REASONS.values()))},
        )
        self.lookups = CounterTable(
            "gateway_registry_lookups_total",
            "Questions to the registry during handshakes.",
            {"kind": ("psk", "x509", "rpk"), "result": ("hit", "miss", "negative", "error")},
        )
        self.lookup_durations = Histogram(
            "gateway_registry_lookup_duration_seconds",
            "Time of a question to the registry, with the verification of the chain if there is one, in seconds.",
            REQUEST_BUCKETS_S,
            {"backend": ("sqlite", "postgresql")},
        )
        self.sessions: Counter[tuple[str, str]] = Counter({(auth, cid): 0 for auth in AUTHS for cid in ("yes", "no")})

    def families(self) -> Iterable[Metric]:
        tables = (self.handshakes, self.retransmissions, self.suites, self.closed, self.lookups)
        yield from (table.family() for table in tables)
        yield self.durations.family()
        yield self.lookup_durations.family()
        yield gauge_family(
            "gateway_dtls_sessions",
            "Sessions established now, with or without a connection id.",
            ("auth", "cid"),
            {(str(auth), cid): float(count) for (auth, cid), count in self.sessions.copy().items()},
        )


def engine_families(endpoint: ServerEndpoint) -> Iterable[Metric]:
    """What the DTLS engine counts."""
    counters = endpoint.counters
    yield counter_family(
        "gateway_dtls_hello_verify_total",
        "The stateless cookie exchange.",
        ("result",),
        {
            ("sent",): counters.hello_verify_sent,
            ("valid",): counters.hello_verify_valid,
            ("invalid",): counters.hello_verify_invalid,
        },
    )
    yield counter_family(
        "gateway_dtls_records_dropped_total",
        "Records dropped without an answer.",
        ("reason",),
        {(str(reason),): count for reason, count in counters.drops.items()},
    )
    outcomes = endpoint.sessions.outcomes if endpoint.sessions is not None else {}
    yield counter_family(
        "gateway_dtls_resumptions_total",
        "Offers of devices to take up a session again; all but the resumed ones got a full handshake.",
        ("result",),
        {(str(outcome),): outcomes.get(outcome, 0) for outcome in ResumptionOutcome},
    )
    yield counter_family(
        "gateway_dtls_address_changes_total",
        "Sessions that went on from another address, by their connection id.",
        (),
        {(): counters.address_changes},
    )
    yield counter_family(
        "gateway_dtls_records_withheld_total",
        "Records not sent to a new address, which gets three times what came from there until it has proven itself.",
        (),
        {(): counters.withheld},
    )
    alerts: dict[tuple[str, ...], int] = {(*key,): count for key, count in counters.alerts.copy().items()}
    yield counter_family("gateway_dtls_alerts_total", "Alerts.", ("direction", "level", "description"), alerts)
    records: dict[tuple[str, ...], int] = {}
    for content_type in ContentType:
        name = content_type.name.lower()
        records["received", name] = counters.received[content_type]
        records["sent", name] = counters.sent[content_type]
    records["received", "application_data"] += counters.direct_received
    records["sent", "application_data"] += counters.application_data_sent
    yield counter_family("gateway_dtls_records_total", "Records used or sent.", ("direction", "content_type"), records)
    yield counter_family(
        "gateway_dtls_lookups_held_total",
        "Looks at a credential that were held back, because it or its network had failed lately.",
        (),
        {(): counters.questions_held},
    )
    yield gauge_family(
        "gateway_dtls_handshakes_in_progress",
        "Handshakes that have neither finished nor failed.",
        (),
        {(): float(endpoint.handshakes_in_progress)},
    )


def transfer_families(transfers: Transfers) -> Iterable[Metric]:
    yield gauge_family(
        "gateway_coap_block_transfers_in_progress",
        "Bodies that are being transferred in blocks and take memory.",
        ("direction",),
        {("upload",): float(transfers.uploads), ("download",): float(transfers.downloads)},
    )


def sink_families(sinks: Mapping[str, SinkStats]) -> Iterable[Metric]:
    """What handlers write to."""
    events: dict[tuple[str, ...], int] = {}
    waiting: dict[tuple[str, ...], float] = {}
    for name, sink in sinks.items():
        events[name, "delivered"] = sink.delivered
        events[name, "dropped"] = sink.dropped + sink.failed
        waiting[name,] = float(sink.queued)
    yield counter_family(
        "gateway_sink_events_total", "Events handed to where handlers write them.", ("sink", "result"), events
    )
    yield gauge_family("gateway_sink_queue_events", "Events that wait to be written.", ("sink",), waiting)


def message_families(layer: MessageLayer) -> Iterable[Metric]:
    """What the CoAP message layer counts."""
    counters = layer.counters
    for name, documentation, value in (
        ("duplicates", "Repeated requests that were answered from memory.", counters.duplicates),
        ("malformed", "Datagrams of a session that were no CoAP message.", counters.malformed),
        ("retransmissions", "Confirmable messages of ours that were sent again.", counters.retransmissions),
        ("refused", "Requests refused before any handler saw them (4.02, 4.05, 4.13, 5.03, 5.05).", counters.refused),
        ("gave_up", "Confirmable messages of ours that no device acknowledged.", counters.gave_up),
        ("notifications", "Notifications sent to devices, without their repetitions.", counters.notifications),
        (
            "notifications_skipped",
            "Notifications that a newer state replaced before they were sent.",
            counters.notifications_skipped,
        ),
        ("observations_refused", "Requests to observe that found no place.", counters.observations_refused),
        (
            "message_ids_exhausted",
            "Messages held back or dropped because all message ids of a device were in use.",
            counters.exhausted,
        ),
        ("overflows", "Messages dropped because too many waited to be sent.", counters.overflows),
    ):
        yield counter_family(f"gateway_coap_{name}_total", documentation, (), {(): value})


def push_families(pushes: "Pushes") -> Iterable[Metric]:
    """What goes from the cloud to devices."""
    yield gauge_family(
        "gateway_coap_observations", "Observations of our resources.", (), {(): float(pushes.observations)}
    )
    yield counter_family(
        "gateway_coap_observations_ended_total",
        "Observations that ended, and why.",
        ("reason",),
        {(reason.value,): count for reason, count in pushes.routes.ends.copy().items()},
    )
    yield counter_family(
        "gateway_coap_device_requests_total",
        "Requests to devices.",
        ("result",),
        {(result,): count for result, count in pushes.commands.counts.copy().items()},
    )
    yield gauge_family(
        "gateway_coap_queued_requests",
        "Requests that wait for devices that sleep.",
        (),
        {(): float(len(pushes.queue_of_requests))},
    )


def crl_families(refresh: "CrlRefresh") -> Iterable[Metric]:
    """The fetching of revocation lists."""
    yield counter_family(
        "gateway_crl_refreshes_total",
        "Revocation lists fetched, by what came of it.",
        ("result",),
        {(result,): count for result, count in refresh.results.copy().items()},
    )


def certificate_families(
    certificates: tuple["ServerCertificate", ...], identity: "IdentityService"
) -> Iterable[Metric]:
    """Ends of the certificates that the gateway goes by; the names are bounded by the configuration."""
    expiries: dict[tuple[str, ...], float] = {}
    for number, certificate in enumerate(certificates, 1):
        name = "server" if number == 1 else f"server_{number}"
        expiries["server", name] = certificate.chain[0].not_valid_after_utc.timestamp()
    for anchor in identity.trust_anchors[:MAX_ANCHOR_SERIES]:
        expiries["ca", anchor.id[:16]] = anchor.certificate.not_valid_after_utc.timestamp()
    for found in identity.revocation_lists[:MAX_ANCHOR_SERIES]:
        expiries["crl", fingerprint(found.issuer)[:16]] = found.next_update.timestamp()
    yield gauge_family(
        "gateway_certificate_expiry_timestamp_seconds",
        "When a certificate ends, in seconds since the epoch.",
        ("kind", "name"),
        expiries,
    )


def clone_families(clones: "Clones") -> Iterable[Metric]:
    """Identities that are alive from two places."""
    yield counter_family(
        "gateway_device_clones_total",
        "Devices whose identity was alive from two hosts at once, by what was done about it.",
        ("action",),
        {(action.value,): count for action, count in clones.found.copy().items()},
    )


def socket_families(server: "UdpServer", family: str) -> Iterable[Metric]:
    """What the socket counts."""
    counters = server.counters
    labels = ("direction", "family")
    yield counter_family(
        "gateway_udp_datagrams_total",
        "Datagrams.",
        labels,
        {("received", family): counters.datagrams_in, ("sent", family): counters.datagrams_out},
    )
    yield counter_family(
        "gateway_udp_bytes_total",
        "Bytes of UDP payload.",
        labels,
        {("received", family): counters.bytes_in, ("sent", family): counters.bytes_out},
    )
    yield counter_family(
        "gateway_udp_receive_drops_total",
        "Datagrams that the kernel dropped because the receive buffer was full.",
        (),
        {(): udp_receive_drops([server.udp])},
    )
    yield counter_family(
        "gateway_udp_send_failures_total",
        "Datagrams that could not be sent.",
        ("reason",),
        {("queue_full",): counters.send_dropped, ("error",): counters.send_errors},
    )


def _method(code: int) -> str:
    try:
        return CoapCode(code).name
    except ValueError:
        return "other"
