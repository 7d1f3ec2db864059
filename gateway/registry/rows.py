"""From rows to values."""

import json
import sys
from typing import Any

from gateway.model import Device, DeviceStatus
from gateway.registry.records import CredentialStatus, CredentialSummary
from gateway.registry.tables import credential, device

DEVICE_COLUMNS = (
    device.c.id,
    device.c.tenant_id,
    device.c.status,
    device.c.auto_provisioned,
    device.c.created_at,
    device.c.tags,
    device.c.attributes,
)
"""What `to_device` reads, in its order, at the beginning of a row."""

# Faster than the enum's constructor, on the way of every handshake.
DEVICE_STATUS: dict[str, DeviceStatus] = {status.value: status for status in DeviceStatus}
CREDENTIAL_STATUS: dict[str, CredentialStatus] = {status.value: status for status in CredentialStatus}

CREDENTIAL_COLUMNS = (
    credential.c.id,
    credential.c.kind,
    credential.c.lookup_key,
    credential.c.anchor_id,
    credential.c.version,
    credential.c.status,
    credential.c.generation,
    credential.c.not_before,
    credential.c.not_after,
    credential.c.last_used_at,
    credential.c.created_at,
)
"""What `to_summary` reads."""


def to_device(row: Any) -> Device:
    """The device of a row that begins with `DEVICE_COLUMNS`."""
    id, tenant_id, status, auto_provisioned, created_at, tags, attributes = row[:7]
    # A tenant has thousands of devices, and each row would bring its name anew.
    return Device(
        id,
        sys.intern(tenant_id),
        DEVICE_STATUS[status],
        auto_provisioned == 1,
        created_at,
        tuple(map(sys.intern, json.loads(tags))) if tags else (),
        tuple(sorted(json.loads(attributes).items())) if attributes else (),
    )


def to_summary(row: Any) -> CredentialSummary:
    """The credential of a row of `CREDENTIAL_COLUMNS`."""
    return CredentialSummary(
        credential_id=row.id,
        kind=row.kind,
        psk_identity=bytes(row.lookup_key) if row.kind == "psk" else None,
        anchor_id=row.anchor_id,
        version=row.version,
        status=CREDENTIAL_STATUS[row.status],
        public_key=bytes(row.lookup_key).hex() if row.kind == "rpk" else None,
        generation=row.generation,
        not_before=row.not_before,
        not_after=row.not_after,
        last_used_at=row.last_used_at,
        created_at=row.created_at,
    )
