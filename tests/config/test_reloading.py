"""Which keys differ, and the mixture of a running and a new configuration."""

from pathlib import Path

import pytest

from gateway.config import RELOADABLE, ConfigError, Settings, differences, load_settings, successor
from gateway.config.schema import section_models


def load(**values: object) -> Settings:
    return load_settings(None, {name.replace("__", "."): value for name, value in values.items()}, environ={})


def test_differences_are_named_in_the_order_of_the_file() -> None:
    assert differences(load(), load()) == []
    assert differences(load(), load(log__level="debug", server__bind="[::1]:1", dtls__mtu=900)) == [
        "server.bind",
        "dtls.mtu",
        "log.level",
    ]


def test_what_cannot_change_stays() -> None:
    running = load(coap__ack_timeout="3s", registry__url="sqlite:////a.db")
    new = load(coap__ack_timeout="9s", coap__device_burst=7, registry__url="sqlite:////b.db", log__level="debug")
    mixed = successor(running, new)
    assert (mixed.coap.ack_timeout, mixed.coap.device_burst, mixed.log.level) == (3.0, 7, "debug")
    assert mixed.registry.url == running.registry.url
    assert differences(running, mixed) == ["coap.device_burst", "log.level"]
    assert [name for name in differences(mixed, new) if name in RELOADABLE] == []


def test_no_check_of_the_schema_spans_what_can_change_and_what_cannot(tmp_path: Path) -> None:
    """A mixture is never checked as a whole: the keys of each check across keys must be on one side."""
    checked = {("dtls.certificate", "dtls.private_key"), ("coap.processing_delay", "coap.ack_timeout")}
    found = {
        f"{section}.{name}"
        for section, model in section_models().items()
        for name in model.__pydantic_decorators__.model_validators
    }
    # A new one is to be listed above with its keys. `_gather_options` only moves tables.
    assert found == {"dtls._certificate_with_key", "coap._acknowledged_in_time", "handlers._gather_options"}
    for keys in checked:
        assert len({key in RELOADABLE for key in keys}) == 1
    with pytest.raises(ConfigError):
        load(coap__processing_delay="9s")
