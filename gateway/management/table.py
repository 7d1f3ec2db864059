"""All operations. Read by whoever serves them; a command imports the module of its own noun."""

from typing import Any, Final

from gateway.management import anchors, bans, certificates, credentials, devices, fleet, psk, tenants, trail
from gateway.management.operation import Operation

OPERATIONS: Final[tuple[Operation[Any, Any], ...]] = (
    trail.status,
    tenants.list_all,
    tenants.add,
    tenants.show,
    tenants.set_,
    tenants.delete,
    devices.list_page,
    devices.add,
    devices.show,
    devices.set_,
    devices.delete,
    fleet.import_devices,
    credentials.list_all,
    credentials.set_,
    psk.add,
    psk.rotate,
    psk.end,
    fleet.migrate,
    fleet.status,
    fleet.keys,
    anchors.list_all,
    anchors.trust,
    anchors.show,
    anchors.untrust,
    bans.list_all,
    bans.add,
    bans.remove,
    certificates.list_page,
    certificates.record,
    certificates.revoke,
    certificates.crl_number,
    trail.audit,
)
