"""A campaign without a fuzzer: a million datagrams, out of programs that are the kept corpus changed at random.

    python -m tests.fuzz.campaign [--inputs 1000000] [--jobs 2] [--seed 1]

`make fuzz-million` runs it. Each input is a datagram that the endpoint is given in the middle of some handshake or
session; what must hold is checked after each, as the atheris target does (see `endpoint`). The same seed gives the same
inputs. A program that breaks a promise is written to .fuzz/, ready to be kept in the corpus. A campaign in which
some kind of handshake was never completed has not tested it, and fails too.
"""

import argparse
import random
import sys
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.dtls.kinds import KINDS
from tests.fuzz.endpoint import run
from tests.fuzz.kept import programs

FOUND = Path(".fuzz")
MAX_PROGRAM = 1200
"""Bytes of a program: more than its steps use, and no more."""


@dataclass(slots=True)
class Result:
    """Attributes:
    inputs: Datagrams that endpoints were given.
    programs: Out of how many programs.
    completed: Handshakes that came to their end, by kind: a campaign that never gets there tests the gate alone.
    failed: Handshakes that failed.
    broken: Files with programs that broke a promise.
    """

    inputs: int = 0
    programs: int = 0
    completed: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    broken: list[Path] = field(default_factory=list)

    @property
    def missing(self) -> list[str]:
        """The kinds of handshake that were never completed."""
        return [kind for kind in KINDS if not self.completed[kind]]

    def add(self, other: "Result") -> None:
        self.inputs += other.inputs
        self.programs += other.programs
        self.completed += other.completed
        self.failed += other.failed
        self.broken += other.broken


class Corpus:
    """The kept programs, by what they come to: there are many of some kinds of handshake, and few of others."""

    def __init__(self, kept: list[bytes]) -> None:
        self._kept = kept
        by_kind: dict[str, list[bytes]] = {}
        for program in kept:
            for kind in _kinds(program):
                by_kind.setdefault(kind, []).append(program)
        self._by_kind = [by_kind[kind] for kind in sorted(by_kind)]

    def choose(self, source: random.Random) -> bytes:
        """Any one, or any kind and then any one of that kind."""
        by_kind = self._by_kind and source.random() < 0.5
        return source.choice(source.choice(self._by_kind) if by_kind else self._kept)


def _kinds(program: bytes) -> Counter[str]:
    try:
        return run(program).kinds
    except Exception:  # `test_replay` says what is wrong with it
        return Counter()


def mutated(source: random.Random, corpus: Corpus) -> bytes:
    """One or two programs of the corpus, cut, joined and changed in some places."""
    program = bytearray(corpus.choose(source))
    if source.random() < 0.4:
        other = corpus.choose(source)
        program = program[: source.randrange(len(program) + 1)] + bytearray(other[source.randrange(len(other) + 1) :])
    for _ in range(source.choice((0, 1, 1, 2, 4, 8, 16))):
        at = source.randrange(len(program) + 1)
        match source.randrange(5):
            case 0:
                program[at:at] = source.randbytes(source.randrange(1, 9))
            case 1:
                del program[at : at + source.randrange(1, 9)]
            case 2:  # the step that is rare otherwise
                program[at:at] = bytes((source.randrange(240, 256),)) + source.randbytes(4)
            case 3:
                program[at : at + 8] = program[at : at + 8] * 2
            case _ if at < len(program):
                program[at] = source.randrange(256)
    program += source.randbytes(source.randrange(40))
    return bytes(program[:MAX_PROGRAM])


def work(inputs: int, seed: int) -> Result:
    """Runs programs until the endpoints have been given that many datagrams."""
    source, corpus, result = random.Random(seed), Corpus(list(programs().values())), Result()
    while result.inputs < inputs:
        program = mutated(source, corpus)
        result.programs += 1
        try:
            ran = run(program)
        except Exception:  # whatever it is: an endpoint declares none
            FOUND.mkdir(exist_ok=True)
            path = FOUND / f"campaign-{seed}-{result.programs}"
            path.write_bytes(program)
            traceback.print_exc()
            result.broken.append(path)
            result.inputs += 1
            continue
        result.inputs += ran.delivered
        result.completed += ran.kinds
        result.failed += len(ran.world.failures)
    return result


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Give endpoints a million datagrams")
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    total, share = Result(), -(-options.inputs // options.jobs)
    with ProcessPoolExecutor(options.jobs) as pool:
        for result in pool.map(work, [share] * options.jobs, range(options.seed, options.seed + options.jobs)):
            total.add(result)
    print(
        f"{total.inputs} inputs in {total.programs} programs: "
        f"{total.completed.total()} handshakes completed, {total.failed} failed, {len(total.broken)} promises broken"
    )
    for kind in KINDS:
        print(f"  {kind:<20} {total.completed[kind]:>7} completed")
    for path in total.broken:
        print(f"kept: {path}")
    return 1 if total.broken or total.missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
