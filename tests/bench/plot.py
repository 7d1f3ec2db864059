"""Draws what `tests.bench.many_sessions` has measured: cost against sessions, for the documentation.

    python -m tests.bench.plot docs/sessions.json docs/sessions.png

Needs matplotlib, which is no dependency of the gateway: `make benchmark-report` installs it.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

_BLUE, _ORANGE, _GREY = "#1f5a96", "#c85a14", "#777777"
_MARK_BYTES = 2500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("json", type=Path)
    parser.add_argument("png", type=Path)
    options = parser.parse_args()
    draw(json.loads(options.json.read_text()), options.png)


def draw(result: dict[str, Any], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (above, below) = pyplot.subplots(2, 1, sharex=True, figsize=(7.5, 6.5), dpi=80)
    for name, label, colour in (
        ("requests_of_some", "100 of the sessions send", _BLUE),
        ("requests_of_all", "all of them send in turn", _ORANGE),
    ):
        steps = result[name]
        sessions = [step["sessions"] for step in steps]
        _with_spread(above, sessions, [step["us"] for step in steps], label, colour)
    beside = [
        us for name in ("requests_of_some", "requests_of_all") for step in result[name] for us in step["beside_us"]
    ]
    above.axhline(
        statistics.median(beside), color=_GREY, linestyle=":", label="a gateway with 100 sessions, in the same minutes"
    )
    above.set_ylabel("CPU time of a request, us")
    above.set_ylim(bottom=0)
    above.legend(loc="lower right", fontsize="small")

    steps = [step for step in result["sessions"]["steps"] if step["bytes_a_session"] is not None]
    below.plot(
        [step["sessions"] for step in steps],
        [step["bytes_a_session"] for step in steps],
        marker="o",
        color=_BLUE,
        label="resident, after the handshakes",
    )
    below.axhline(_MARK_BYTES, color=_GREY, linestyle=":", label="mark")
    below.set_ylabel("memory of an idle session, bytes")
    below.set_ylim(bottom=0)
    below.legend(loc="lower right", fontsize="small")
    below.set_xscale("log")
    below.set_xlabel("sessions")
    ticks = [step["sessions"] for step in result["requests_of_some"]]
    below.set_xticks(ticks, [f"{tick:,}" for tick in ticks], rotation=30)
    below.minorticks_off()
    for axes in (above, below):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(file)


def _with_spread(axes: Any, sessions: list[int], rounds: list[list[float]], label: str, colour: str) -> None:
    """Medians as a line, and between the quartiles a band."""
    quartiles = [statistics.quantiles(each, n=4) for each in rounds]
    axes.plot(sessions, [middle for _, middle, _ in quartiles], marker="o", color=colour, label=label)
    axes.fill_between(sessions, [q[0] for q in quartiles], [q[2] for q in quartiles], color=colour, alpha=0.15)


if __name__ == "__main__":
    main()
