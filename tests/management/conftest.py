"""A served registry for those who ask for one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.management.support import Served, serving


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path) as running:
        yield running
