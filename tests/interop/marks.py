"""A plug-in of pytest that prints the marks `peer` of what was collected: `--collect-only -p tests.interop.marks`."""

import json

import pytest

PREFIX = "peer marks: "


def pytest_collection_finish(session: pytest.Session) -> None:
    print(PREFIX + json.dumps(sorted({pair for item in session.items for pair in _marks_of(item)})))


def _marks_of(item: pytest.Item) -> set[tuple[str, str]]:
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    pairs = [mark.args for mark in item.iter_markers("peer")]
    return {(client.format(**parameters), feature.format(**parameters)) for client, feature in pairs}
