"""One gateway for all interop tests that do not need their own."""

from collections.abc import Iterator

import pytest

from tests.interop.gateway_process import Gateway, build_site


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(build_site(tmp_path_factory.mktemp("gateway"))) as running:
        yield running
