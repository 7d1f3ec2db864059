"""The schema of the configuration: every key with its kind, its default, its bounds and the text for `gateway.toml`.

Strict and closed: a number in quotes is refused, and so is a key that nobody reads, because a typo that is ignored is
found at night. The descriptions end up as comments in the file that `gateway init` writes.
"""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.config.values import (
    Address,
    AppName,
    BindAddress,
    Duration,
    FilePath,
    HostNames,
    KeySource,
    Names,
    as_tuple,
)

ENV_PREFIX: Final = "GATEWAY_"
ENV_DELIMITER: Final = "__"

MAX_WORKERS: Final = 256
"""Worker processes: a connection id has one byte for the worker's number."""

MAX_CERTIFICATES: Final = 16
"""Certificates beside the first: each name that a gateway goes by is looked for among them in every handshake."""


class Section(BaseModel):
    """One table of the file."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, validate_default=True)


class ServerSettings(Section):
    """The UDP port that devices talk to."""

    bind: BindAddress = Field(
        default=Address("::", 5684),
        description="Address and UDP port. [::] is every IPv6 and IPv4 address of this machine, 0.0.0.0 only IPv4.",
    )
    workers: int = Field(
        default=0,
        ge=0,
        le=MAX_WORKERS,
        description="Worker processes, which share the port and the load: 0 is one for each processor that the gateway "
        "may use. Set it where a container has less time than processors. docs/operations.md says what they share.",
    )
    shutdown_grace: Duration = Field(
        default=10.0,
        ge=0,
        le=3600,
        description="How long a stop waits for running requests before the sessions are closed.",
    )
    worker_timeout: Duration = Field(
        default=30.0,
        ge=0,
        le=3600,
        description="One of several workers whose event loop has not turned for so long, because a handler computes or "
        "waits in it, is killed and started again. 0s leaves it to whoever watches /livez.",
    )
    watch_files: bool = Field(
        default=True,
        description="Whether this file, the certificates with their keys and the ticket keys are read again when they "
        "change. SIGHUP does it in any case. docs/operations.md lists the keys that can change without a restart.",
    )


class CertificateFiles(Section):
    """One more certificate of the server."""

    certificate: FilePath = Field(description="The certificate and its intermediates, PEM, leaf first.")
    private_key: FilePath = Field(description="Its private key, PEM, not encrypted, mode 0600.")


class DtlsSettings(Section):
    """DTLS 1.2: who the server is, what it agrees to, and how long sessions last."""

    certificate: FilePath | None = Field(
        default=None,
        description="The server's certificate and its intermediates, PEM, leaf first. Without it: PSK only.",
        examples=["server.pem"],
    )
    private_key: FilePath | None = Field(
        default=None,
        description="The private key of that certificate, PEM, not encrypted, mode 0600.",
        examples=["server.key"],
    )
    certificates: Annotated[tuple[CertificateFiles, ...], BeforeValidator(as_tuple)] = Field(
        default=(),
        max_length=MAX_CERTIFICATES,
        description="More certificates, each as a table [[dtls.certificates]].",
    )
    cipher_suites: Names = Field(
        default=(),
        description="Cipher suites by IANA name, the one that is preferred first. Empty: all that are listed in "
        "docs/dtls.md, in that order.",
        examples=[["TLS_PSK_WITH_AES_128_CCM_8"]],
    )
    mtu: int = Field(
        default=1280,
        ge=256,
        le=65535,
        description="Largest packet that the path to the devices carries, in bytes, with the IP and UDP headers. "
        "Handshakes are cut to it, and answers come in blocks that fit.",
    )
    retransmit_initial: Duration = Field(
        default=2.0,
        ge=0.1,
        le=60,
        description="Time to the first retransmission of a handshake flight; it doubles each time. Devices should be "
        "the first to repeat theirs, usually after 1s. RFC 7925 suggests 9s for slow radio links.",
    )
    handshake_timeout: Duration = Field(
        default=120.0, ge=1, le=3600, description="A handshake that has not finished by then is given up."
    )
    idle_timeout: Duration = Field(
        default=86400.0,
        ge=1,
        le=30 * 86400,
        description="A session that was silent for so long is dropped; the device needs a new handshake then.",
    )
    resumption: bool = Field(
        default=True,
        description="Whether a device that comes back may take up its session again without a full handshake, by a "
        "ticket or a session id. A device that was disabled or got another credential never may.",
    )
    resume_without_cookie: bool = Field(
        default=False,
        description="Let a device that comes back with a good ticket begin without the cookie exchange, which saves it "
        "a round trip. Whoever has recorded its hello can then have answers sent to an address that is not theirs, "
        "never more bytes than they send.",
    )
    ticket_lifetime: Duration = Field(
        default=86400.0,
        ge=60,
        le=7 * 86400,
        description="How long after a full handshake its session can be taken up again. Ticket keys change as often.",
    )
    ticket_keys: FilePath | None = Field(
        default=None,
        description="A file of mode 0600 with 1 to 3 secrets, a line of 64 hex digits each, that ticket keys are made "
        "of: the first seals, all open. Gateways that share it and ticket_lifetime take each other's tickets. Without "
        "it tickets end with the process.",
        examples=["ticket.keys"],
    )
    key_log: FilePath | None = Field(
        default=None,
        description="For debugging only: the secrets of every session are appended to this file (NSS key log, for "
        "Wireshark). Whoever has it can read the traffic. No environment variable can set this key.",
        examples=["dtls-keys.log"],
    )
    raw_public_keys: bool = Field(
        default=True,
        description="Let devices prove themselves by a raw public key (RFC 7250) that `gateway device add "
        "--public-key` has put into the registry, instead of a certificate.",
    )
    connection_id: bool = Field(
        default=True,
        description="Give a connection id (RFC 9146), of 8 bytes, to each device that offers the extension: its "
        "session then survives a change of its address, as behind a NAT.",
    )
    unknown_session: Literal["drop", "alert"] = Field(
        default="drop",
        description='What a device hears whose session is gone, as after a restart of the gateway. "drop": nothing, '
        'its requests time out. "alert": an alert, at most 50 a second in all, which hardly any DTLS library believes.',
    )
    max_sessions_per_device: int = Field(
        default=4,
        ge=0,
        le=1_000_000,
        description="Sessions that one device may have at once: beyond it the one that was silent longest is closed. "
        "0 is no limit, for test benches where many devices share one identity.",
    )
    max_auth_failures: int = Field(
        default=1 << 20,
        ge=1000,
        le=1 << 23,
        description="A session with a CCM_8 suite is closed after so many records from its device's address that did "
        "not authenticate: somebody is guessing.",
    )
    psk_hint: Annotated[str, Field(max_length=128)] | None = Field(
        default=None,
        description="PSK identity hint that is sent to every client (RFC 4279). Most devices ignore it.",
        examples=["gateway"],
    )

    require_extended_master_secret: bool = Field(
        default=False,
        description="Refuse clients that do not offer the extended master secret (RFC 7627). Some constrained ones do "
        "not.",
    )

    @model_validator(mode="after")
    def _certificate_with_key(self) -> Self:
        if (self.certificate is None) != (self.private_key is None):
            missing = "private_key" if self.private_key is None else "certificate"
            raise ValueError(f"certificate and private_key belong together: {missing} is missing")
        return self


class RegistrySettings(Section):
    """Where tenants, devices, credentials and trust anchors are kept."""

    # A database URL may carry a password.
    url: str = Field(
        default="sqlite:///registry.db",
        repr=False,
        pattern=r"^(sqlite:///|postgres(ql)?://|postgresql\+asyncpg://).+",
        description="sqlite:/// and a path, or postgresql://USER@HOST/DATABASE. It holds the devices' keys: a file is "
        "created with mode 0600, and a password is better in PGPASSFILE than here.",
    )
    master_key: KeySource | None = Field(
        default=None,
        description="What the devices' keys are sealed under: file:PATH with 64 hex digits and mode 0600 (gateway keys "
        "create makes one), env:NAME for a variable, systemd:NAME for a credential of the unit, or plugin:NAME for an "
        "installed provider. Without it they are stored as they are. Keys that are there are sealed by gateway keys "
        "rotate.",
        examples=["file:master.key"],
    )
    derivation_key: KeySource | None = Field(
        default=None,
        description="What keys of devices are derived from that are not stored (docs/psk.md), named in the same way.",
        examples=["file:derivation.key"],
    )


class AdminSettings(Section):
    """The HTTP port for operators: /metrics, /livez, /readyz, what `gateway explain` reads, with the devices' names and
    addresses, and the management API. Only the last one has authentication: keep the port private.
    """

    bind: BindAddress = Field(default=Address("127.0.0.1", 9464), description="Address and TCP port.")
    hosts: HostNames = Field(
        default=(),
        description="Names by which others ask for /debug/failures and /devices/: of a reverse proxy, or a service. IP "
        "addresses, localhost and the host of bind always do. Anything else is refused there, since it may be a web "
        "page that had its own name lead here.",
        examples=[["gateway.example.com"]],
    )
    device_requests: bool = Field(
        default=False,
        description="Whether POST /devices/ID/request sends a request to a device. Whoever reaches the port may then "
        "command every device.",
    )
    token_file: FilePath | None = Field(
        default=None,
        description="A file of mode 0600 with the tokens of those who may manage the gateway over HTTP, a line "
        "NAME:TOKEN each, as `gateway token create` writes it. Read anew when it changes. Without it the management "
        "API is off.",
        examples=["admin.tokens"],
    )


class HandlersSettings(Section):
    """What answers the devices' requests."""

    app: AppName | None = Field(
        default=None,
        description="Your own application, as package.module:name of an App object. Each worker process runs one of "
        "its own, with variables of its own: docs/handlers.md says what they share.",
        examples=["mycompany.devices:app"],
    )
    enabled: Names = Field(
        default=("time", "echo", "telemetry"),
        description='Installed handlers to switch on, by name (entry points of the group "gateway.handlers").',
    )
    time_limit: Duration = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="An asynchronous handler that takes longer is cancelled, and the device gets an error.",
    )
    max_concurrent: int = Field(
        default=1000,
        ge=1,
        le=1_000_000,
        description="Asynchronous handlers running at once; a request beyond it is told to come back later.",
    )
    max_concurrent_per_device: int = Field(
        default=16,
        ge=1,
        le=1_000_000,
        description="Those that work for one device, in all its sessions; a request beyond it gets 4.29.",
    )
    options: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Options of each enabled handler, from the tables [handlers.NAME]."
    )

    @model_validator(mode="before")
    @classmethod
    def _gather_options(cls, data: Any) -> Any:
        """Move the tables [handlers.NAME] into `options`; a key that is no table and no field stays, and is refused."""
        if not isinstance(data, dict) or not isinstance(data.get("options", {}), dict):
            return data
        tables = {key: value for key, value in data.items() if isinstance(value, dict) and key not in cls.model_fields}
        rest = {key: value for key, value in data.items() if key not in tables}
        return {**rest, "options": {**data.get("options", {}), **tables}}


class CoapSettings(Section):
    """The CoAP messages inside the sessions."""

    max_payload: int = Field(
        default=65536,
        ge=16,
        le=16 * 1024 * 1024,
        description="Bytes that the body of a request may have, in one message or in blocks, where the handler does "
        "not say otherwise; a larger one gets 4.13.",
    )
    device_requests_per_minute: int = Field(
        default=0,
        ge=0,
        le=60_000_000,
        description="Requests that a device may send, each block of a body being one; one too many gets 4.29 with the "
        "time after which to try again. 0 is no limit.",
    )
    device_burst: int = Field(
        default=60, ge=1, le=1_000_000, description="Requests that it may send at once after it was silent."
    )
    tenant_requests_per_minute: int = Field(
        default=0, ge=0, le=60_000_000, description="The same for all devices of a tenant together. 0 is no limit."
    )
    tenant_burst: int = Field(default=6000, ge=1, le=100_000_000, description="The same for a tenant's burst.")
    problem_details: bool = Field(
        default=False,
        description="Give the reason of a refusal as problem details (RFC 9290), which is CBOR, instead of plain text. "
        "Devices that accept them get them in any case.",
    )
    block_size: Literal[16, 32, 64, 128, 256, 512, 1024] = Field(
        default=1024,
        description="Bytes of the largest block of a body that is sent, and that devices are asked for: a power of two "
        "from 16 to 1024. A device that takes smaller records gets smaller blocks by itself, and so do all with a "
        "smaller [dtls] mtu.",
    )
    ack_timeout: Duration = Field(
        default=2.0,
        ge=0.1,
        le=120,
        description="How long the gateway waits at least for a device's acknowledgement before it repeats a message; "
        "it doubles each time (ACK_TIMEOUT of RFC 7252). For NB-IoT, with round trips of 10 seconds: 15s or more.",
    )
    ack_random_factor: float = Field(
        default=1.5, ge=1.0, le=10.0, description="The first wait is up to so many times as long (ACK_RANDOM_FACTOR)."
    )
    max_retransmit: int = Field(
        default=4,
        ge=0,
        le=10,
        description="How often a message is repeated before the gateway gives up (MAX_RETRANSMIT).",
    )
    nstart: int = Field(
        default=1,
        ge=1,
        le=16,
        description="Requests and notifications to one device that may be under way at once (NSTART).",
    )
    max_latency: Duration = Field(
        default=100.0,
        ge=1,
        le=3600,
        description="The longest that a datagram may be on its way (MAX_LATENCY): message ids are remembered for twice "
        "that, and a minute.",
    )
    processing_delay: Duration = Field(
        default=0.5,
        ge=0,
        le=60,
        description="A request whose handler takes longer is acknowledged, and answered later. Below ack_timeout.",
    )
    max_observations: int = Field(
        default=100_000,
        ge=0,
        le=10_000_000,
        description="Observations at once (RFC 7641); a further one is answered once. About 2 kB each.",
    )
    max_observations_per_device: int = Field(default=16, ge=0, le=1000, description="The same for one device.")
    confirm_notifications: int = Field(
        default=10,
        ge=1,
        le=1000,
        description="One in so many notifications must be acknowledged by the device; 1 is all of them.",
    )
    confirm_interval: Duration = Field(
        default=86400.0,
        ge=60,
        le=86400,
        description="A device that has acknowledged none for so long is notified and must acknowledge it, or is taken "
        "off the list.",
    )
    awake_time: Duration = Field(
        default=10.0,
        ge=0,
        le=3600,
        description="A device that spoke within this time is taken to be awake: a request that may wait for it is then "
        "sent at once, and else when it next speaks.",
    )

    @model_validator(mode="after")
    def _acknowledged_in_time(self) -> Self:
        if self.processing_delay > self.ack_timeout:
            raise ValueError("processing_delay must not be above ack_timeout: devices would repeat requests first")
        return self


class LogSettings(Section):
    """The log, on standard output."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug, info, warning or error."
    )
    format: Literal["auto", "json", "console"] = Field(
        default="auto", description="json, console, or auto: console on a terminal, json otherwise."
    )


class Settings(BaseSettings):
    """The whole configuration. Built by `load_settings`; direct construction takes keyword arguments only."""

    model_config = SettingsConfigDict(strict=True, extra="forbid", frozen=True, case_sensitive=True)

    server: ServerSettings = ServerSettings()
    dtls: DtlsSettings = DtlsSettings()
    registry: RegistrySettings = RegistrySettings()
    handlers: HandlersSettings = HandlersSettings()
    admin: AdminSettings = AdminSettings()
    coap: CoapSettings = CoapSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read nothing but the arguments: only `load_settings` reads files and the environment."""
        return (init_settings,)
