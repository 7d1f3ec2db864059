"""One answer out of those of several workers: metrics, health, failed handshakes. Pure functions."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from gateway.admin import Health

_OF_ALL: Final = frozenset({"gateway_certificate_expiry_timestamp_seconds", "gateway_crl_refreshes"})
"""Families that say the same in each worker, or that one has: exported once, without a number."""

_OURS: Final = frozenset({"gateway_build_info"})
"""Families that the supervisor has itself, under another name than their text has."""

_SUPERVISOR: Final = "supervisor"


def merge_metrics(own: Iterable[Metric], texts: Mapping[int, str]) -> Iterator[Metric]:
    """What a scrape of all together shows.

    Args:
        own: The supervisor's families. Those that workers have too get `worker="supervisor"`.
        texts: What the workers show, in Prometheus' text format, by their numbers; in the order in which they are to
            come.

    Raises:
        ValueError: A text is none.
    """
    merged: dict[str, Metric] = {}
    for worker, text in texts.items():
        for family in text_string_to_metric_families(text):
            if family.name in _OURS:
                continue
            if family.name not in merged:
                merged[family.name] = Metric(family.name, family.documentation, family.type, family.unit)
            elif family.name in _OF_ALL:
                continue
            label = None if family.name in _OF_ALL else str(worker)
            merged[family.name].samples += [_labelled(sample, label) for sample in family.samples]
    for family in own:
        if (found := merged.get(family.name)) is None:
            yield family
        else:
            found.samples += [_labelled(sample, _SUPERVISOR) for sample in family.samples]
    yield from merged.values()


def merge_liveness(own: Mapping[str, Any], answers: Mapping[int, Mapping[str, Any] | None]) -> Health:
    """Whether every event loop turns. A worker that is being started again is not asked: a restart of all would not
    help it.

    Args:
        own: What the supervisor says of its own loop.
        answers: What the workers that serve say, by their numbers; None of one that does not answer.
    """
    said = {str(worker): dict(answer or {"status": "no answer"}) for worker, answer in answers.items()}
    alive = own["status"] == "alive" and all(answer.get("status") == "alive" for answer in said.values())
    return Health(alive, {**own, "status": "alive" if alive else "stuck", "workers": said})


def merge_readiness(
    missing: Iterable[int], answers: Mapping[int, Mapping[str, Any] | None], *, stopping: bool
) -> Health:
    """Whether devices should be sent here: every check of every worker must pass.

    Args:
        missing: Numbers of the workers that do not serve.
        answers: As for `merge_liveness`.
        stopping: Whether the gateway is.
    """
    problems: dict[str, list[str]] = {"registry": [], "draining": [], "workers": []}
    if stopping:
        problems["draining"].append("the gateway is stopping")
    problems["workers"] += [f"worker {worker} is being started" for worker in missing]
    for worker, answer in answers.items():
        if answer is None or not isinstance(answer.get("checks"), dict):
            problems["workers"].append(f"worker {worker} does not answer")
            continue
        for name, text in answer["checks"].items():
            if text != "ok":
                problems.setdefault(name, []).append(f"worker {worker}: {text}")
    failing = sorted(name for name, texts in problems.items() if texts)
    body = {
        "status": "not ready" if failing else "ready",
        "failing": failing,
        "checks": {name: "; ".join(texts) or "ok" for name, texts in problems.items()},
    }
    return Health(not failing, body)


def merge_failures(answers: Mapping[int, Mapping[str, Any] | None]) -> dict[str, Any]:
    """All failed handshakes, the newest first, each with the number of its worker."""
    found = [
        {"worker": worker, **failure}
        for worker, answer in answers.items()
        if answer is not None
        for failure in answer.get("failures", ())
    ]
    # RFC 3339 in one time zone and with as many digits: the order of the texts is that of the times.
    return {"failures": sorted(found, key=lambda failure: str(failure["last_at"]), reverse=True)}


def _labelled(sample: Sample, worker: str | None) -> Sample:
    return sample if worker is None else sample._replace(labels={"worker": worker, **sample.labels})
