"""Requests that prove their age: the Echo option (RFC 9175 section 2).

The value is the time at which it was made, and a MAC over that time and the device. Nothing is remembered for it, and a
device can neither make one itself nor use that of another.
"""

import hmac
import os
import time
from collections.abc import Callable
from typing import Final

from gateway.model import Device

# Together no more than the 40 bytes of an Echo (RFC 9175 section 2.2.1). A device that guesses a tag in 2**63 attempts
# has made its own request look fresh.
_TIME_BYTES: Final = 6
_TAG_BYTES: Final = 8
_PER_SECOND: Final = 1000


class Freshness:
    """Makes and verifies Echo values. They do not outlive the process: a device is then asked once more."""

    __slots__ = ("_clock", "_secret")

    def __init__(self, secret: bytes | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Take a secret, a random one by default, and a clock that never goes back."""
        self._secret = os.urandom(32) if secret is None else secret
        self._clock = clock

    def challenge(self, device: Device) -> bytes:
        """The value that this device is to send back."""
        moment = int(self._clock() * _PER_SECOND).to_bytes(_TIME_BYTES, "big")
        return moment + self._tag(moment, device)

    def is_fresh(self, value: bytes | None, device: Device, within_s: float) -> bool:
        """Whether a value was given to this device, and no longer ago than that."""
        if value is None or len(value) != _TIME_BYTES + _TAG_BYTES:
            return False
        moment, tag = value[:_TIME_BYTES], value[_TIME_BYTES:]
        if not hmac.compare_digest(tag, self._tag(moment, device)):
            return False
        return self._clock() - int.from_bytes(moment, "big") / _PER_SECOND <= within_s

    def _tag(self, moment: bytes, device: Device) -> bytes:
        # Neither name holds a zero byte, so that no two devices have one text.
        whose = f"{device.tenant_id}\0{device.id}".encode()
        return hmac.digest(self._secret, moment + whose, "sha256")[:_TAG_BYTES]
