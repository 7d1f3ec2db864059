"""The example application, driven as its author would drive it."""

from collections.abc import Iterator

import pytest

from gateway.handlers import Code, ContentFormat, TestClient
from tests.handlers.example_app import app, store


@pytest.fixture
def client() -> Iterator[TestClient]:
    store.settings.clear()
    store.readings.clear()
    with TestClient(app, device="thermostat-7") as client:
        yield client


def test_hooks_frame_the_requests(client: TestClient) -> None:
    assert store.is_open
    client.__exit__(None, None, None)
    assert not store.is_open


def test_reading_is_stored_for_the_device_that_sent_it(client: TestClient) -> None:
    response = client.post("/telemetry/kitchen", {"value": 21.5})
    assert (response.code, response.payload) == (Code.CHANGED, b"")
    client.post("/telemetry/hall", {"value": 19}, device="thermostat-8")
    assert store.readings == [("thermostat-7", "kitchen", 21.5), ("thermostat-8", "hall", 19)]


@pytest.mark.parametrize(
    ("payload", "code", "diagnostic"),
    [
        (b"\xff\xff", Code.BAD_REQUEST, "the payload is not valid JSON"),
        (b"[1]", Code.UNPROCESSABLE_ENTITY, 'send {"value": NUMBER}'),
        (b'{"value":"warm"}', Code.UNPROCESSABLE_ENTITY, 'send {"value": NUMBER}'),
    ],
)
def test_wrong_reading_is_refused(client: TestClient, payload: bytes, code: Code, diagnostic: str) -> None:
    response = client.post("/telemetry/kitchen", payload)
    assert (response.code, response.text(), response.content_format) == (code, diagnostic, None)
    assert store.readings == []


def test_setting_lives_from_put_to_delete(client: TestClient) -> None:
    assert client.get("/setting").code == Code.NOT_FOUND
    assert client.put("/setting", "21.5").code == Code.CREATED
    assert client.put("/setting", "22").code == Code.CHANGED
    response = client.get("/setting")
    assert (response.code, response.json()) == (Code.CONTENT, {"celsius": 22.0})
    assert (response.content_format, response.max_age) == (ContentFormat.JSON, 600)
    assert client.delete("/setting").code == Code.DELETED
    assert client.get("/setting").code == Code.NOT_FOUND


def test_setting_that_is_no_number_is_our_error_and_says_nothing(client: TestClient) -> None:
    response = client.put("/setting", "warm")
    assert (response.code, response.payload) == (Code.INTERNAL_SERVER_ERROR, b"")


def test_device_is_told_who_it_is(client: TestClient) -> None:
    assert client.get("/whoami").json() == {"device": "thermostat-7", "tenant": "default", "proved_by": "psk"}


def test_report_from_a_thread(client: TestClient) -> None:
    response = client.post("/report", b"x" * 300)
    assert (response.code, response.text()) == (Code.CHANGED, "300 bytes kept")
