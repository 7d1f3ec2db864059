"""Who the devices of a load process are: what goes to it through its pipe, where no key object can go."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.pki import load_certified_key
from gateway.simulator.device import DeviceIdentity
from gateway.simulator.identities import certified


@dataclass(frozen=True, slots=True)
class PskFleet:
    """Devices with pre-shared keys.

    Attributes:
        template: Of their PSK identities; `{n}` becomes the number.
        key: Of all of them.
        first: Number of the first.
    """

    template: str
    key: bytes = field(repr=False)
    first: int = 1

    def identities(self, count: int) -> list[DeviceIdentity]:
        names = [self.template.replace("{n}", str(number)) for number in range(self.first, self.first + count)]
        return [DeviceIdentity(name, psk_identity=name.encode(), psk=self.key) for name in names]

    def shared(self, processes: int, count: int) -> list["PskFleet"]:
        """One for each of so many processes that have so many devices each."""
        return [PskFleet(self.template, self.key, self.first + index * count) for index in range(processes)]


@dataclass(frozen=True, slots=True)
class CertificateFleet:
    """Devices with certificates, out of files.

    Attributes:
        files: The certificate with its intermediates, and its key, of each. With fewer than there are devices they
            are used again.
    """

    files: Sequence[tuple[Path, Path]]

    def identities(self, count: int) -> list[DeviceIdentity]:
        """The devices.

        Raises:
            PkiError: A file is not what it should be.
        """
        known = [certified(path.stem, load_certified_key(path, key)) for path, key in self.files[:count]]
        return [known[number % len(known)] for number in range(count)]

    def shared(self, processes: int, count: int) -> list["CertificateFleet"]:
        """One for each of so many processes; none of them share a device where there are enough."""
        return [CertificateFleet(self.files[index::processes] or self.files) for index in range(processes)]


Fleet = PskFleet | CertificateFleet
