"""What an import takes, and what sealing costs a look-up.

    python -m tests.bench.device_keys [--rows 100000] [--plain]

Makes a file of devices, imports it with the installed command into a new registry, sealed unless `--plain`, imports it
again, and then looks devices up: once as stored, once as the cipher alone. Times are the machine's: compare, do not
promise.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from gateway.registry import Registry, Secrets, create_master_key, open_registry

GATEWAY = str(Path(sys.executable).with_name("gateway"))
LOOKUPS = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--plain", action="store_true", help="without a master key")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        master = None if chosen.plain else f"file:{folder / 'master.key'}"
        if master is not None:
            create_master_key(folder / "master.key")
        setting = "" if master is None else f'master_key = "{master}"\n'
        (folder / "gateway.toml").write_text(f'[registry]\nurl = "sqlite:///registry.db"\n{setting}')
        url = f"sqlite:///{folder / 'registry.db'}"
        open_registry(url, create=True).close()
        write_rows(folder / "devices.csv", chosen.rows)
        for what in ("import", "the same again"):
            took, cpu = imported(folder)
            print(f"{what}: {chosen.rows} rows in {took:.1f} s, of which {cpu:.1f} s of CPU time", flush=True)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"at most {peak:.0f} MB, file {(folder / 'registry.db').stat().st_size / 1e6:.0f} MB")
        with open_registry(url, secrets=Secrets(master)) as registry:
            print(f"look-up: {per_lookup(registry, chosen.rows):.1f} us")
            if master is not None:
                print(f"of which opening: {per_opening(registry._secrets):.2f} us")


def write_rows(path: Path, rows: int) -> None:
    with path.open("w") as file:
        file.write("device_id,tenant,psk_identity,psk_hex,tags\n")
        for number in range(rows):
            file.write(f"meter-{number},default,meter-{number},{os.urandom(16).hex()},floor-{number % 9}\n")


def imported(folder: Path) -> tuple[float, float]:
    began, used = perf_counter(), children_s()
    subprocess.run(
        [GATEWAY, "device", "import", "devices.csv"], cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=600
    )
    return perf_counter() - began, children_s() - used


def children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def per_lookup(registry: Registry, rows: int) -> float:
    identities = [b"meter-%d" % (number * 7919 % rows) for number in range(LOOKUPS)]
    position = iter(identities)
    return _microseconds(lambda: registry.find_psk("default", next(position)))


def per_opening(secrets: Secrets) -> float:
    key_id = secrets.new_data_key().id
    sealed, _ = secrets.seal(bytes(16), key_id, b"row")
    return _microseconds(lambda: secrets.open(sealed, key_id, b"row"))


def _microseconds(work: Callable[[], object]) -> float:
    began = perf_counter()
    for _ in range(LOOKUPS):
        work()
    return (perf_counter() - began) / LOOKUPS * 1e6


if __name__ == "__main__":
    main()
