"""What it costs to look up a known pre-shared key in a large SQLite registry, without the cache in front of it.

    python -m tests.bench.registry_lookup [--devices 1000000] [--count 20000] [--rounds 5] [--file FILE]

Prints microseconds for each look-up of a random identity: of CPU (the kernel's reads included), which counts, for
others' work on the machine does not change it; and by the clock. With `--file`, the registry is kept, and used again by
the next run.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, insert, update

from gateway.model import DEFAULT_TENANT
from gateway.registry import Registry, open_registry
from gateway.registry.credentials import new_credential_id
from gateway.registry.tables import credential, device, tenant

TARGET_US = 50.0
_BATCH = 20_000


def identity_of(number: int) -> bytes:
    """Of a device; in no order."""
    return f"urn:dev:ops:32473-{number * 2_654_435_761 % 2**32:08x}-{number}".encode()


def fill(registry: Registry, devices: int) -> None:
    """Adds rows without asking the registry for each: devices with a pre-shared key each."""

    def work(connection: Connection, numbers: range) -> None:
        ids = [identity_of(number).decode() for number in numbers]
        times = {"created_at": 1.7e9, "updated_at": 1.7e9}
        same = {"tenant_id": DEFAULT_TENANT, **times}
        connection.execute(insert(device), [{"id": name, "status": "active", **same} for name in ids])
        keys = {"kind": "psk", "scope": DEFAULT_TENANT, "secret": b"k" * 16, **same}
        rows = [
            {"id": new_credential_id(), "device_id": name, "lookup_key": name.encode(), **keys} for name in sorted(ids)
        ]
        connection.execute(insert(credential), rows)
        count = {"device_count": tenant.c.device_count + len(ids)}
        connection.execute(update(tenant).where(tenant.c.id == DEFAULT_TENANT).values(**count))

    for start in range(registry.counts().devices, devices, _BATCH):
        registry._write(partial(work, numbers=range(start, min(start + _BATCH, devices))))


def measure(registry: Registry, identities: list[bytes]) -> tuple[float, float]:
    """Microseconds of a look-up: of CPU, and by the clock."""
    clock, cpu = time.perf_counter(), time.process_time()
    for identity in identities:
        assert registry.find_psk(DEFAULT_TENANT, identity) is not None
    each = 1e6 / len(identities)
    return (time.process_time() - cpu) * each, (time.perf_counter() - clock) * each


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=1_000_000)
    parser.add_argument("--count", type=int, default=20_000, help="look-ups a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--file", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.file or Path(folder) / "registry.db"
        with open_registry(f"sqlite:///{path}", create=True) as registry:
            started = time.perf_counter()
            fill(registry, options.devices)
            print(f"filled with {options.devices:,} devices in {time.perf_counter() - started:.0f} s", flush=True)
            rounds = []
            for number in range(options.rounds):
                draw = random.Random(number)
                identities = [identity_of(draw.randrange(options.devices)) for _ in range(options.count)]
                rounds.append(measure(registry, identities))
    cpu, clock = (statistics.median(times) for times in zip(*rounds, strict=True))
    print(f"look-up: {cpu:.1f} us of CPU, {clock:.1f} us by the clock (medians of {options.rounds} rounds)")
    print(f"target: {TARGET_US:g} us of CPU, {'met' if cpu < TARGET_US else 'missed'}")
    return int(cpu >= TARGET_US)


if __name__ == "__main__":
    sys.exit(main())
