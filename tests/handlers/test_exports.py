"""The package's public names."""

import gateway.handlers
from gateway.coap import ContentFormat
from gateway.handlers import RouteError


def test_all_names_the_public_api() -> None:
    assert sorted(gateway.handlers.__all__) == sorted(set(gateway.handlers.__all__))
    for name in gateway.handlers.__all__:
        assert getattr(gateway.handlers, name) is not None
    promised = {"App", "Request", "Response", "Changed", "Content", "Created", "Deleted", "Reject", "TestClient"}
    assert promised | {"Code", "ContentFormat", "load_app", "load_handlers"} <= set(gateway.handlers.__all__)


def test_reexports_are_the_same_objects() -> None:
    assert gateway.handlers.ContentFormat is ContentFormat
    assert issubclass(RouteError, ValueError)


def test_pytest_does_not_collect_the_client() -> None:
    assert gateway.handlers.TestClient.__test__ is False
