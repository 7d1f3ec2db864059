"""`POST /devices/{id}/request` of a whole gateway: JSON in and out, by the standard library's HTTP client."""

import asyncio
import json
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import aiocoap  # type: ignore[import-untyped]
import pytest

from gateway.handlers import App
from gateway.server import device_api
from gateway.simulator import DeviceResources
from tests.server.support import PATIENCE_S, Gateway, empty, running, until
from tests.server.test_commands import FAST, answer, serving

pytestmark = pytest.mark.asyncio

ON = {"admin__device_requests": True}


def _call(gateway: Gateway, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, Any]:
    connection = HTTPConnection(gateway.bound.admin.host, gateway.bound.admin.port, timeout=PATIENCE_S)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


async def call(
    gateway: Gateway, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    return await asyncio.to_thread(_call, gateway, method, path, body, headers or {})


async def post(gateway: Gateway, device: str = "dev1", **fields: Any) -> tuple[int, Any]:
    headers = {"Content-Type": "application/json"}
    return await call(gateway, "POST", f"/devices/{device}/request", json.dumps(fields).encode(), headers)


@pytest.mark.parametrize(
    ("fields", "status", "body"),
    [
        (
            {"path": "/status"},
            200,
            {"status": "done", "code": "2.05", "content_format": None, "payload_encoding": "text", "payload": "ok"},
        ),
        (
            {"path": "/binary"},
            200,
            {"status": "done", "code": "2.05", "content_format": None, "payload_encoding": "base64", "payload": "/wA="},
        ),
        (
            {"path": "/nowhere"},
            200,
            {"status": "done", "code": "4.04", "content_format": None, "payload_encoding": "text", "payload": ""},
        ),
    ],
)
async def test_answered(tmp_path: Path, fields: dict[str, Any], status: int, body: dict[str, object]) -> None:
    resources = DeviceResources({"/status": b"ok", "/binary": b"\xff\x00"})
    async with running(tmp_path, App(), **ON) as gateway, serving(gateway, resources):
        assert await post(gateway, **fields) == (status, body)


@pytest.mark.parametrize(
    ("fields", "sent", "content_format"),
    [
        ({"payload": "21"}, b"21", 0),
        ({"payload": {"a": [1, None]}}, b'{"a":[1,null]}', 50),
        ({"payload": 21.5}, b"21.5", 50),
        ({"payload": None}, b"null", 50),
        ({"payload": "x", "payload_encoding": "json"}, b'"x"', 50),
        ({"payload": "x", "payload_encoding": "text"}, b"x", 0),
        ({"payload": "/wA=", "payload_encoding": "base64"}, b"\xff\x00", None),
        ({"payload": "/wA=", "payload_encoding": "base64", "content_format": 60, "accept": 60}, b"\xff\x00", 60),
        ({}, b"", None),
    ],
)
async def test_what_the_device_gets(
    tmp_path: Path, fields: dict[str, Any], sent: bytes, content_format: int | None
) -> None:
    async with running(tmp_path, App(), **ON) as gateway, gateway.wire() as device:
        asking = asyncio.create_task(post(gateway, method="put", path="/a/b?x=1", **fields))
        request = await device.message()
        assert (request.code, request.opt.uri_path, request.opt.uri_query) == (aiocoap.PUT, ("a", "b"), ("x=1",))
        assert (request.payload, request.opt.content_format) == (sent, content_format)
        assert request.opt.accept == fields.get("accept")
        answer(device, request, b"", aiocoap.CHANGED)
        assert (await asking)[1]["code"] == "2.04"


async def test_what_the_device_answers(tmp_path: Path) -> None:
    async with running(tmp_path, App(), **ON) as gateway, gateway.wire() as device:
        for payload, content_format, encoding, shown in (
            (b'{"a":1}', 50, "json", {"a": 1}),
            (b"{", 50, "base64", "ew=="),
            (b"1e999", 50, "base64", "MWU5OTk="),
            (b"\xff", 0, "base64", "/w=="),
            (b"\xa0", 60, "base64", "oA=="),
            (b"<a/>", 41, "text", "<a/>"),
        ):
            asking = asyncio.create_task(post(gateway, path="/a"))
            request = await device.message()
            response = aiocoap.Message(
                code=aiocoap.CREATED,
                payload=payload,
                content_format=content_format,
                max_age=9,
                etag=b"\x01\xff",
                location_path=("b", "c"),
            )
            response.mtype, response.mid, response.token = aiocoap.ACK, request.mid, request.token
            device.send(device.client.data(response.encode()))
            _, body = await asking
            assert (body["payload_encoding"], body["payload"]) == (encoding, shown)
            assert (body["max_age"], body["etag"], body["location"]) == (9, "01ff", "/b/c")


async def test_switched_off_by_default(tmp_path: Path) -> None:
    async with running(tmp_path, App()) as gateway, serving(gateway):
        status, body = await post(gateway, path="/status")
        assert (status, body) == (403, {"error": "switched off: set [admin] device_requests"})


async def test_not_from_a_web_page(tmp_path: Path) -> None:
    """A page in an operator's browser: a form can post text, and only a question of the browser's (CORS) JSON."""
    async with running(tmp_path, App(), **ON) as gateway, serving(gateway):
        path, body = "/devices/dev1/request", b'{"path":"/status"}'
        json_type = {"Content-Type": "application/json"}
        assert (await call(gateway, "POST", path, body, json_type | {"Origin": "http://evil.example"}))[0] == 403
        for content_type in ({}, {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}):
            assert (await call(gateway, "POST", path, body, content_type))[0] == 415
        with_parameter = {"Content-Type": "Application/JSON; charset=utf-8"}
        assert (await call(gateway, "POST", path, body, with_parameter))[0] == 200


async def test_no_answer(tmp_path: Path) -> None:
    async with running(tmp_path, App(), **ON, **FAST) as gateway:
        status, body = await post(gateway, path="/a")
        assert (status, body) == (404, {"error": "the device is not connected", "code": "4.04"})
        async with gateway.wire():
            status, body = await post(gateway, path="/a")
            assert (status, body["code"], body["sent"]) == (504, "5.04", True)
            status, body = await post(gateway, path="/a", timeout=0.05)
            assert (status, body["code"]) == (504, "5.04")
        async with gateway.wire() as device:
            asking = asyncio.create_task(post(gateway, path="/a"))
            device.send(device.client.data(empty(aiocoap.RST, (await device.message()).mid)))
            assert (await asking)[0] == 502


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b"", 400, "no JSON"),
        (b"{", 400, "no JSON"),
        (b"[" * 5000, 400, "no JSON"),
        (b"[]", 400, "no JSON object"),
        (b"{}", 400, "path must be a text"),
        (b'{"path":1}', 400, "path must be a text"),
        (b'{"path":"a"}', 400, "must start with a slash"),
        (b'{"path":"/a","method":"STEAL"}', 400, "no CoAP method"),
        (b'{"path":"/a","method":5}', 400, "method must be a text"),
        (b'{"path":"/a","metod":"GET"}', 400, "unknown: metod"),
        (b'{"path":"/a","payload":"?","payload_encoding":"base64"}', 400, "no base64"),
        (b'{"path":"/a","payload":5,"payload_encoding":"base64"}', 400, "no base64"),
        (b'{"path":"/a","payload":5,"payload_encoding":"text"}', 400, "no text"),
        (b'{"path":"/a","payload":5,"payload_encoding":"hex"}', 400, "payload_encoding is"),
        (b'{"path":"/a","timeout":0}', 400, "timeout must be above 0 and at most 300"),
        (b'{"path":"/a","timeout":301}', 400, "timeout must be above 0"),
        (b'{"path":"/a","timeout":NaN}', 400, "timeout must be above 0"),
        (b'{"path":"/a","timeout":true}', 400, "timeout must be above 0"),
        (b'{"path":"/a","queue_for":"long"}', 400, "queue_for must be"),
        (b'{"path":"/a","content_format":70000}', 400, "content_format must be 0 to 65535"),
        (b'{"path":"/a","accept":"json"}', 400, "accept must be the number"),
        (b'{"path":"/a","tenant":1}', 400, "tenant must be a text"),
        (b'{"path":"/' + b"x" * 1200 + b'"}', 400, "at least 16 bytes"),
        (b'{"path":"/a","payload":"' + b"x" * 70_000 + b'"}', 413, "at most"),
    ],
)
async def test_wrong_requests(tmp_path: Path, body: bytes, status: int, error: str) -> None:
    async with running(tmp_path, App(), **ON) as gateway, gateway.wire():
        headers = {"Content-Type": "application/json"}
        got, answer = await call(gateway, "POST", "/devices/dev1/request", body, headers)
        assert (got, error in answer["error"]) == (status, True), answer


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/devices/dev1/request", 405),
        ("POST", "/devices/dev1/requests/x", 405),
        ("GET", "/devices/dev1/requests/x", 404),
        ("GET", "/devices/dev1/requests/", 404),
        ("GET", "/devices/dev1/requests/x/y", 404),
        ("POST", "/devices//request", 404),
        ("POST", "/devices/dev1", 404),
        ("POST", "/devices/", 404),
        ("POST", "/devices", 404),
    ],
)
async def test_other_paths_and_methods(tmp_path: Path, method: str, path: str, status: int) -> None:
    async with running(tmp_path, App(), **ON) as gateway:
        assert (await call(gateway, method, path))[0] == status


async def test_a_body_that_is_shorter_than_it_says(tmp_path: Path) -> None:
    async with running(tmp_path, App(), **ON) as gateway:
        reader, writer = await asyncio.open_connection(gateway.bound.admin.host, gateway.bound.admin.port)
        writer.write(b"POST /devices/dev1/request HTTP/1.0\r\nContent-Length: 100\r\n\r\n{}")
        writer.write_eof()
        assert b" 400 " in await reader.readline()
        writer.close()
        await writer.wait_closed()


async def test_a_device_named_in_any_script(tmp_path: Path) -> None:
    async with running(tmp_path, App(), **ON) as gateway:
        assert (await post(gateway, device="d%C3%A9v%201", path="/a"))[0] == 404
        # It was understood as a name.
        status, body = await post(gateway, device="d%C3%A9v%201", path="/a", queue_for=60)
        assert (status, "'dév 1'" in body["error"]) == (404, True)


async def test_nothing_waits_for_a_device_that_is_not_there(tmp_path: Path) -> None:
    async with running(tmp_path, App(), **ON) as gateway:
        status, body = await post(gateway, device="dev-1", path="/a", queue_for=60)
        assert (status, body) == (
            404,
            {"error": "tenant 'default' has no device 'dev-1', for which a request could wait"},
        )
        assert (await post(gateway, path="/a", tenant="acme", queue_for=60))[0] == 404
        with gateway.registry() as registry:
            registry.add_device("dev-1")
        assert (await post(gateway, device="dev-1", path="/a", queue_for=60))[0] == 202


async def test_queued(tmp_path: Path) -> None:
    async with running(tmp_path, App(), **ON) as gateway:
        status, body = await post(gateway, path="/status", queue_for=3600)
        assert (status, body["status"]) == (202, "queued")
        path = f"/devices/dev1/requests/{body['id']}"
        assert await call(gateway, "GET", path) == (202, body)
        assert (await call(gateway, "GET", path.replace("dev1", "dev2")))[0] == 404
        second = (await post(gateway, path="/status", queue_for=3600))[1]
        assert await call(gateway, "DELETE", f"/devices/dev1/requests/{second['id']}") == (
            200,
            {
                "status": "failed",
                "id": second["id"],
                "error": "the request was taken back",
                "code": "5.04",
                "sent": False,
            },
        )
        async with serving(gateway) as device:
            await device.get("/nowhere")
            while (status := (await call(gateway, "GET", path))[0]) == 202:
                pass
            assert (status, (await call(gateway, "GET", path))[1]["payload"]) == (200, "ok")
            assert (await call(gateway, "DELETE", path))[0] == 409
            # A device that is awake answers at once.
            status, body = await post(gateway, path="/status", queue_for=3600)
            assert (status, body["status"], body["payload"]) == (200, "done", "ok")


async def test_queued_for_a_device_that_seems_awake(tmp_path: Path) -> None:
    async with running(tmp_path, App(), **ON) as gateway, gateway.wire() as device:
        status, body = await post(gateway, path="/a", queue_for=3600, timeout=0.05)
        assert (status, body["status"]) == (202, "sent")
        answer(device, await device.message(), b"1")
        while (got := await call(gateway, "GET", f"/devices/dev1/requests/{body['id']}"))[0] == 202:
            pass
        assert got[1]["payload"] == "1"


async def test_a_full_queue_and_a_full_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, App(), **ON) as gateway:
        answers = [await post(gateway, path="/a", queue_for=60) for _ in range(17)]
        assert [status for status, _ in answers] == [202] * 16 + [429]
    monkeypatch.setattr(device_api, "MAX_API_REQUESTS", 2)
    (tmp_path / "again").mkdir()
    async with running(tmp_path / "again", App(), **ON) as gateway, gateway.wire() as device:
        asking = [asyncio.create_task(post(gateway, path="/a")) for _ in range(2)]
        first = await device.message()
        link = gateway.worker._dispatcher.layer.outbound.link(device_session(gateway))
        await until(lambda: len(link.waiting) == 1)
        status, body = await post(gateway, path="/a")
        assert (status, "under way" in body["error"]) == (429, True)
        answer(device, first)
        answer(device, await device.message())
        assert [status for status, _ in await asyncio.gather(*asking)] == [200, 200]
        # The pages are there all the while, and so is a place again.
        assert (await gateway.get("/livez"))[0] == 200


def device_session(gateway: Gateway) -> Any:
    (association,) = gateway.worker._endpoint.associations.values()
    return association.context


async def test_a_loop_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread waits for the request's time and a little; it is not the loop's prisoner."""
    monkeypatch.setattr(device_api, "API_GRACE_S", 0.0)

    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    async with running(tmp_path, App(), **ON) as gateway, serving(gateway):
        assert gateway.worker._pushes is not None
        monkeypatch.setattr(gateway.worker._pushes, "request", never)
        status, body = await post(gateway, path="/status", timeout=0.05)
        assert (status, body["error"]) == (503, "the event loop does not answer")
