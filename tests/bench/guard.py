"""A guard against getting slower: machine instructions of a fixed replay, which no other work on the machine changes.

    python -m tests.bench.guard [--update]

Counts with valgrind what `tests.bench.counted` does, and compares it with `tests/bench/guard.json`. Fails where a kind
of work takes a tenth more than what is written there; `--update` writes the file.

The same source takes other numbers of instructions with another build of Python. So a baseline belongs to a build (its
version, compiler and options, the versions of `cryptography` and of its OpenSSL, the architecture), and
there counts are compared as they are. With a build that the file does not know, they are compared in yardsticks: a
fixed piece of work, counted in the same way with both builds. That takes out most of what the build changes, not all:
between two builds of 3.11, with and without profile-guided optimisation, up to 3% were left of 6 to 9.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Final

from cryptography import __version__ as cryptography_version
from cryptography.hazmat.backends.openssl.backend import backend

import gateway
from tests.bench.counted import ROUNDS

BASELINES: Final = Path(__file__).with_name("guard.json")
LIMIT: Final = 1.10
YARDSTICK: Final = "yardstick"

Counts = dict[str, int]
"""Instructions of a round, by kind of work."""
Baselines = dict[str, Counts]
"""By build; see `build`."""


def build() -> str:
    """What the counts depend on besides the source; begins with the version of Python."""
    options = hashlib.sha256(
        " ".join(str(sysconfig.get_config_var(name)) for name in ("CONFIG_ARGS", "CFLAGS", "LDFLAGS")).encode()
    ).hexdigest()[:8]
    return (
        f"{platform.python_version()} {platform.machine()} {platform.python_compiler()} options {options}, "
        f"cryptography {cryptography_version}, {backend.openssl_version_text()}"
    )


def count(valgrind: str) -> Counts:
    """Instructions of a round, by kind.

    Raises:
        SystemExit: The work failed, or valgrind did.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        done = subprocess.run(
            [
                *(valgrind, "--tool=cachegrind", "--cache-sim=no", f"--cachegrind-out-file={folder}/%p"),
                *("--log-file=" + str(folder / "log.%p"), "--trace-children=no"),
                *(sys.executable, "-m", "tests.bench.counted", name),
            ],
            env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"guard: the work ended with status {done.returncode} under {valgrind}")
        counted: dict[str, dict[int, int]] = {}
        for line in (folder / "forks").read_text().splitlines():
            process, kind, rounds = line.split()
            counted.setdefault(kind, {})[int(rounds)] = _summary((folder / process).read_text())
    few_and_many = ((kind, *lengths) for kind, lengths in ROUNDS.items())
    return {kind: round((counted[kind][m] - counted[kind][f]) / (m - f)) for kind, f, m in few_and_many}


def _summary(report: str) -> int:
    for line in reversed(report.splitlines()):
        if line.startswith("summary: "):
            return int(line.split()[1])
    raise SystemExit("guard: valgrind wrote a report without a summary")


def judge(counts: Counts, this_build: str, baselines: Baselines) -> tuple[list[str], bool]:
    """Lines to show, and whether nothing has become too slow.

    Args:
        counts: Of now.
        this_build: See `build`.
        baselines: As they are kept.
    """
    lines, baseline, scale = [], baselines.get(this_build), 1.0
    if baseline is None:
        relative = next((known for known in baselines if _minor(known) == _minor(this_build)), None)
        if relative is None:
            return [f"no baseline for Python {_minor(this_build)}: write one with make guard-update"], False
        baseline = baselines[relative]
        scale = counts[YARDSTICK] / baseline[YARDSTICK]
        lines.append(f"not a known build: {this_build}")
        lines.append(f"compared with: {relative}, by a yardstick that takes {scale:.3f} times as much here")
    good = True
    for kind, expected in baseline.items():
        ratio = counts[kind] / (expected * scale)
        slower = kind != YARDSTICK and ratio > LIMIT
        good &= not slower
        lines.append(f"{kind:12} {counts[kind]:>10,} {ratio - 1:+7.1%}{'  TOO SLOW' if slower else ''}")
    if not good:
        lines.append(
            f"more than {LIMIT - 1:.0%} above tests/bench/guard.json: take something away (where it goes is shown by "
            "python -m tests.bench.replay --bytecode), or run make guard-update and say in the commit what it is for"
        )
    return lines, good


def _minor(of_build: str) -> str:
    return of_build.split()[0].rpartition(".")[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="write the counts of this build down as its baseline")
    options = parser.parse_args()
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        print("guard: valgrind not found: run make peers, or install it (Debian and Ubuntu: apt install valgrind)")
        return 2
    if gateway.is_compiled():
        print("guard: it counts the sources, and what runs here is compiled: run make install-pure")
        return 2
    counts, this_build = count(valgrind), build()
    baselines: Baselines = json.loads(BASELINES.read_text()) if BASELINES.exists() else {}
    if options.update:
        baselines[this_build] = counts
        BASELINES.write_text(json.dumps(baselines, indent=2, sort_keys=True) + "\n")
    lines, good = judge(counts, this_build, baselines)
    print("Machine instructions of a round, and how they have changed:")
    print("\n".join(f"  {line}" for line in lines))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
