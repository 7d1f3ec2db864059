"""Measures one worker against several, in turn, with the load generator of `beside_libcoap`.

    python -m tests.bench.workers --load ./coapload [--workers 2] [--only work] [--rounds 5] [--seconds 4] [--json FILE]

Two numbers belong together: operations a second, which have to grow with the workers where the processor is what there
is too little of, and the server's processor time for each, which must not. The load generator needs processor time as
well: on a machine of two processors only `work`, whose handler computes for a millisecond, leaves two workers one each.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.beside_libcoap import gateway, measure, prepare

_APP = """

@app.get('/work')
def work(request):
    return str(sum(number * number for number in range(10_000)))
"""
_REQUEST = ["-mode", "req", "-n", "64", "-hs", "8", "-path"]
WORKLOADS = {
    "work": [*_REQUEST, "work"],
    "request": [*_REQUEST, "time"],
    "psk handshake": ["-mode", "hs", "-n", "32", "-hs", "16", "-path", "time"],
    "certificate handshake": ["-mode", "hs", "-n", "32", "-hs", "16", "-path", "time"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load", required=True, type=Path, help="the load generator's binary")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", choices=WORKLOADS, help="one of the operations")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--json", type=Path, help="where to write every round's raw result")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    chosen = {what: words for what, words in WORKLOADS.items() if options.only in (None, what)}
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as name:
        folder = Path(name)
        prepare(folder)
        with (folder / "benchapp.py").open("a") as app:
            app.write(_APP)
        with gateway(folder) as one, gateway(folder, options.workers) as several:
            for number in range(options.rounds):
                for workers, server in ((1, one), (options.workers, several)):
                    for what, arguments in chosen.items():
                        result = measure(options.load, server, what, arguments, options.seconds)
                        rows.append({**result, "round": number, "workers": workers, "what": what})
                        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    if options.json is not None:
        options.json.write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(table(rows, list(chosen), options.workers))
    return 0


def table(rows: list[dict[str, Any]], operations: list[str], workers: int) -> str:
    """Medians over the rounds, what several workers are to one, and the least time, which noise has touched least."""
    pair = f"1 worker | {workers} workers | ratio"
    lines = [f"| operation | per second, {pair} | CPU us, {pair} | least, {pair} |", "|" + "---|" * 10]
    for what in operations:
        cells = []
        for name, choose in (
            ("per_s", statistics.median),
            ("server_cpu_us", statistics.median),
            ("server_cpu_us", min),
        ):
            one, several = (
                choose(row[name] for row in rows if (row["workers"], row["what"]) == (count, what))
                for count in (1, workers)
            )
            cells += [f"{one:.0f}", f"{several:.0f}", f"{several / one:.2f}"]
        lines.append(f"| {what} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
