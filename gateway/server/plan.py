"""A configuration together with what it names: everything that can be wrong with it is found before it is taken up."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gateway.coap import MessageLayer, TransmissionParameters
from gateway.config import CoapSettings, DtlsSettings, Settings
from gateway.dtls import ResumptionConfig, ServerConfig, TicketKeys
from gateway.pki import ServerCertificate
from gateway.server.credentials import load_certificates, server_parameters
from gateway.server.dispatch import SERVER_OPTIONS
from gateway.server.secret_files import load_ticket_keys

# IPv6 and UDP headers: with them a datagram of this many bytes less fits the path whatever the address family.
_HEADERS = 40 + 8
# There is one node so far.
_NODE = 0


@dataclass(frozen=True, slots=True)
class Secrets:
    """What a gateway makes for itself, once: cookies and tickets stay good over a reload, and in each of its workers.

    Attributes:
        cookies: For the cookies.
        tickets: Ticket keys are made of it where no file has any.
    """

    cookies: bytes = field(default_factory=lambda: os.urandom(32), repr=False)
    tickets: bytes = field(default_factory=lambda: os.urandom(32), repr=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """Attributes:
    settings: The configuration.
    certificates: The server's, the default first.
    engine: What the DTLS engine goes by.
    worker: The number that stands in the connection ids.
    """

    settings: Settings
    certificates: tuple[ServerCertificate, ...]
    engine: ServerConfig
    worker: int = 0

    @classmethod
    def read(cls, settings: Settings, secrets: Secrets, worker: int = 0) -> "Plan":
        """Reads certificates and keys.

        Args:
            settings: The configuration.
            secrets: Of this gateway.
            worker: Whose plan it is: 0 to 255.

        Raises:
            ConfigError: Something that the settings name is missing or unusable.
        """
        dtls = settings.dtls
        certificates = load_certificates(dtls)
        engine = ServerConfig(
            server_parameters(dtls, certificates),
            cookie_secret=secrets.cookies,
            datagram_limit=dtls.mtu - _HEADERS,
            retransmit_initial_s=dtls.retransmit_initial,
            handshake_timeout_s=dtls.handshake_timeout,
            idle_timeout_s=dtls.idle_timeout,
            connection_ids=dtls.connection_id,
            connection_id_prefix=bytes((_NODE, worker)),
            alert_unknown_sessions=dtls.unknown_session == "alert",
            resumption=_resumption(dtls, secrets),
            resume_without_cookie=dtls.resume_without_cookie,
            max_auth_failures=dtls.max_auth_failures,
        )
        return cls(settings, certificates, engine, worker)


def message_layer(coap: CoapSettings, max_payload: int) -> MessageLayer:
    """The CoAP engine that goes by these settings.

    Args:
        coap: Settings.
        max_payload: Bytes of request payload; more gets 4.13.
    """
    parameters = TransmissionParameters(
        ack_timeout_s=coap.ack_timeout,
        ack_random_factor=coap.ack_random_factor,
        max_retransmit=coap.max_retransmit,
        nstart=coap.nstart,
        max_latency_s=coap.max_latency,
        processing_delay_s=coap.processing_delay,
    )
    return MessageLayer(
        random=os.urandom,
        parameters=parameters,
        max_payload=max_payload,
        critical_options=SERVER_OPTIONS,
        max_observations=coap.max_observations,
        max_observations_of_one=coap.max_observations_per_device,
        confirm_every=coap.confirm_notifications,
        confirm_after_s=coap.confirm_interval,
    )


def files_of(settings: Settings) -> Iterator[Path]:
    """The files that a configuration names and that can be read again while it is in force."""
    dtls = settings.dtls
    named = [dtls.certificate, dtls.private_key, dtls.ticket_keys]
    for each in dtls.certificates:
        named += [each.certificate, each.private_key]
    return (path for path in named if path is not None)


def _resumption(dtls: DtlsSettings, secrets: Secrets) -> ResumptionConfig | None:
    if not dtls.resumption:
        return None
    lifetime_s = dtls.ticket_lifetime
    if dtls.ticket_keys is not None:
        keys = load_ticket_keys(dtls.ticket_keys, lifetime_s)
    else:
        keys = TicketKeys([secrets.tickets], lifetime_s)
    return ResumptionConfig(time.time, keys, lifetime_s)
