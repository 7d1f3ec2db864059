"""Words for the operator: identities, commands to paste, and the refusal that several places say."""

import shlex

from gateway.identity.limits import SHOWN_IDENTITY_BYTES
from gateway.identity.reasons import IdentityRefused, Refusal
from gateway.model import DEFAULT_TENANT, Device, DeviceStatus

_NOT_ACTIVE = {
    DeviceStatus.DISABLED: Refusal.DEVICE_DISABLED,
    DeviceStatus.PENDING: Refusal.DEVICE_PENDING,
    DeviceStatus.QUARANTINED: Refusal.DEVICE_QUARANTINED,
}


def add_command(device: Device) -> str:
    """The command that adds a device."""
    return device_command("add", device)


def device_command(verb: str, device: Device, *, noun: str = "device") -> str:
    """A command about a device."""
    tenant = "" if device.tenant_id == DEFAULT_TENANT else f" --tenant {shlex.quote(device.tenant_id)}"
    return f"gateway {noun} {verb} {shlex.quote(device.id)}{tenant}"


def shown_psk_identity(identity: bytes) -> tuple[str, str]:
    """An identity for a log line, and as a command line word where it can be one."""
    cut = identity[:SHOWN_IDENTITY_BYTES]
    dots = "..." if len(identity) > len(cut) else ""
    try:
        text = cut.decode("ascii")
    except UnicodeDecodeError:
        text = ""
    if not identity:
        return "'' (the device sent an empty one)", "TEXT"
    if not text.isprintable() or not text:
        return f"0x{cut.hex()}{dots}", "TEXT"
    return f"{text!r}{dots}", "TEXT" if dots else shlex.quote(text)


def not_active(device: Device) -> IdentityRefused:
    """The refusal of a device that is not active."""
    return IdentityRefused(
        _NOT_ACTIVE[device.status],
        f"device '{device.id}' is {device.status}; let it in with `{device_command('enable', device)}`",
        device,
    )
