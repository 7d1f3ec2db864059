"""What an operator says of a trust anchor and of a tenant, as values and as JSON.

Stored as JSON, so that a new wish needs no new column. Fields that stand at their default are left out, and fields that
this release does not know are an error: an older release must not overlook a limit that a newer one set.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Self

from gateway.registry.errors import InvalidValue, Unavailable


class Provision(StrEnum):
    """What becomes of a device that nobody registered, with a good certificate."""

    OFF = "off"
    PENDING = "pending"
    ACTIVE = "active"


class TenantBy(StrEnum):
    """How the tenant is found for an anchor that may name devices of several."""

    ANCHOR = "anchor"
    SNI = "sni"
    ORGANIZATION = "organization"


class CrlPolicy(StrEnum):
    """What a missing or outdated revocation list means."""

    IGNORE = "ignore"
    FAIL_OPEN = "fail_open"
    FAIL_CLOSED = "fail_closed"


class _Stored:
    """JSON of a flat dataclass."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """From what is stored.

        Raises:
            Unavailable: A newer release wrote it, or nobody we know.
        """
        if not text:
            return cls()
        try:
            return cls.from_json(json.loads(text))
        except (ValueError, InvalidValue) as error:
            raise Unavailable(f"the registry holds a policy that this release cannot read: {error}") from error

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From names and values.

        Raises:
            InvalidValue: An unknown name, or a value that is not of its kind.
        """
        known = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]  # subclasses are dataclasses
        for name in values:
            if name not in known:
                raise InvalidValue(f"there is no setting {name!r}; there are: {', '.join(known)}")
        return cls(**{name: _value(name, known[name].type, value) for name, value in values.items()})

    def as_json(self) -> dict[str, Any]:
        """What differs from the default."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        default = type(self)()
        return {name: value for name, value in values.items() if value != getattr(default, name)}

    def encode(self) -> str:
        """What is stored."""
        values = self.as_json()
        return json.dumps(values, sort_keys=True) if values else ""


@dataclass(frozen=True, slots=True)
class AnchorPolicy(_Stored):
    """How far a trust anchor is trusted.

    Attributes:
        strict: CAs under it must follow the web PKI's profile.
        provision: What becomes of devices that nobody registered.
        webhook: Asked before a device is created (https, or http to loopback); empty for none.
        tenant_by: How the tenant is found.
        identity_rule: Where the device's name is in its certificate (`gateway.pki`); empty for the usual order.
        crl: What a missing or outdated revocation list means.
        crl_url: Where its revocation lists are fetched, its own and those of CAs below it: URLs with blanks between
            them; empty for none.
        expired_grace_s: Seconds that a certificate is accepted after its end, for devices without a clock.
        max_devices: How many devices may ever come by themselves; 0 for no bound but the tenant's.
        max_devices_per_day: The same for each day (UTC).
        provision_from: Seconds since the epoch, UTC; before it no device comes by itself. 0 for no bound.
        provision_until: The same for after it.
        name_pattern: Regular expression that the name of a device that comes by itself must match whole.
        manifest: Only devices whose serial or name is in the anchor's list come by themselves.
    """

    strict: bool = False
    provision: Provision = Provision.OFF
    webhook: str = ""
    tenant_by: TenantBy = TenantBy.ANCHOR
    identity_rule: str = ""
    crl: CrlPolicy = CrlPolicy.FAIL_OPEN
    crl_url: str = ""
    expired_grace_s: float = 0.0
    max_devices: int = 0
    max_devices_per_day: int = 0
    provision_from: float = 0.0
    provision_until: float = 0.0
    name_pattern: str = ""
    manifest: bool = False


class OnClone(StrEnum):
    """What happens when one identity is alive from two places at once."""

    FLAG = "flag"
    QUARANTINE = "quarantine"
    NEWEST_WINS = "newest_wins"


@dataclass(frozen=True, slots=True)
class TenantLimits(_Stored):
    """What a tenant may have, and how its devices prove themselves.

    Attributes:
        max_devices: How many devices; 0 for the registry's own limit.
        psk_until: Seconds since the epoch, UTC, after which pre-shared keys are refused; 0 for never.
        psk_ends_with_certificate: A device's pre-shared keys are retired at its first handshake with a certificate.
        on_clone: What happens when one identity is alive from two places at once.
    """

    max_devices: int = 0
    psk_until: float = 0.0
    psk_ends_with_certificate: bool = False
    on_clone: OnClone = OnClone.FLAG


_ENUMS: dict[str, type[StrEnum]] = {each.__name__: each for each in (Provision, TenantBy, CrlPolicy, OnClone)}


def _value(name: str, kind: Any, value: Any) -> Any:
    kind = kind if isinstance(kind, str) else kind.__name__
    if (enum := _ENUMS.get(kind)) is not None:
        if value not in list(enum):
            raise InvalidValue(f"{name} is one of {', '.join(enum)}, not {value!r}")
        return enum(value)
    if kind == "float" and isinstance(value, int | float) and not isinstance(value, bool):
        if not 0 <= value < float("inf"):
            raise InvalidValue(f"{name} must be a number from 0 on, not {value!r}")
        return float(value)
    wanted = {"bool": bool, "int": int, "str": str, "float": float}[kind]
    if type(value) is not wanted or (isinstance(value, int) and value < 0):
        raise InvalidValue(f"{name} must be {'a whole number from 0 on' if kind == 'int' else kind}, not {value!r}")
    return value
