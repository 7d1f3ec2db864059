"""The names of successive pre-shared keys of a device: `meter-7`, then `meter-7#2`, `meter-7#3` and so on.

An identity names one key. The first generation has the bare name, so that devices which never rotate never see this.
A device can make the next name by itself: it counts the number up. In front of `@tenant`, where the identity ends with
the name of its tenant, for that is looked at first.
"""

import re

from gateway.registry.errors import InvalidValue
from gateway.registry.limits import MAX_GENERATION

_SUFFIX = re.compile(rb"(.+)#([1-9][0-9]{0,9})", re.DOTALL)


def split_identity(identity: bytes, tenant_id: str) -> tuple[bytes, int]:
    """An identity without its generation, and that generation; 1 for one that has none."""
    name, tenant = _without_tenant(identity, tenant_id)
    match = _SUFFIX.fullmatch(name)
    if match is None or not 2 <= int(match[2]) <= MAX_GENERATION:
        return identity, 1
    return match[1] + tenant, int(match[2])


def join_identity(base: bytes, generation: int, tenant_id: str) -> bytes:
    """The identity of a generation.

    Args:
        base: As from `split_identity`.
        generation: From 1 on.
        tenant_id: The tenant of the device.

    Raises:
        InvalidValue: There is no such generation.
    """
    if not 1 <= generation <= MAX_GENERATION:
        raise InvalidValue(f"a generation is a number from 1 to {MAX_GENERATION}, not {generation}")
    if generation == 1:
        return base
    name, tenant = _without_tenant(base, tenant_id)
    return b"%b#%d%b" % (name, generation, tenant)


def _without_tenant(identity: bytes, tenant_id: str) -> tuple[bytes, bytes]:
    tenant = b"@" + tenant_id.encode()
    name = identity.removesuffix(tenant)
    return (name, tenant) if name and name != identity else (identity, b"")
