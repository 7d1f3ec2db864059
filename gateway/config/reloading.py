"""Which settings can change while the gateway runs, and what became of the others."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.config.schema import section_models
from gateway.config.settings import Settings

RELOADABLE: Final = frozenset(
    {
        "server.shutdown_grace",
        "server.worker_timeout",
        "server.watch_files",
        "dtls.certificate",
        "dtls.private_key",
        "dtls.certificates",
        "dtls.cipher_suites",
        "dtls.mtu",
        "dtls.retransmit_initial",
        "dtls.handshake_timeout",
        "dtls.idle_timeout",
        "dtls.ticket_lifetime",
        "dtls.resume_without_cookie",
        "dtls.ticket_keys",
        "dtls.raw_public_keys",
        "dtls.unknown_session",
        "dtls.max_sessions_per_device",
        "dtls.max_auth_failures",
        "dtls.psk_hint",
        "dtls.require_extended_master_secret",
        "handlers.time_limit",
        "handlers.max_concurrent",
        "handlers.max_concurrent_per_device",
        "coap.max_payload",
        "coap.device_requests_per_minute",
        "coap.device_burst",
        "coap.tenant_requests_per_minute",
        "coap.tenant_burst",
        "coap.problem_details",
        "coap.max_observations",
        "coap.max_observations_per_device",
        "log.level",
    }
)
"""By dotted name. What is not here is bound to a socket, to what devices hold (connection ids, message ids), to code
that is loaded once, or is a switch that nobody should turn by accident: it takes a restart."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a configuration comes from, so that it can be read again.

    Attributes:
        load: Reads it; raises `ConfigError`. It is called in a thread.
        file: The file that it reads; None for none.
        watched: Whether the files are watched, if the configuration wants that.
    """

    load: Callable[[], Settings]
    file: Path | None = None
    watched: bool = True


def differences(old: Settings, new: Settings) -> list[str]:
    """The keys, by dotted name and in the order of the file, in which two configurations differ."""
    return [
        f"{section}.{key}"
        for section, model in section_models().items()
        for key in model.model_fields
        if getattr(getattr(old, section), key) != getattr(getattr(new, section), key)
    ]


def successor(running: Settings, new: Settings) -> Settings:
    """The new configuration as far as it can be taken up now; the rest stays as it is running.

    No check of the schema spans a key of `RELOADABLE` and one that is not, so the mixture is as valid as the two.
    """
    kept: dict[str, dict[str, object]] = {}
    for name in differences(running, new):
        if name not in RELOADABLE:
            section, _, key = name.partition(".")
            kept.setdefault(section, {})[key] = getattr(getattr(running, section), key)
    sections = {section: getattr(new, section).model_copy(update=values) for section, values in kept.items()}
    return new.model_copy(update=sections)
