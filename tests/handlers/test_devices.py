"""Asking devices and telling them, in tests without a network: `TestClient` plays both."""

import asyncio

import pytest

from gateway.handlers import (
    App,
    Code,
    Content,
    Created,
    DeviceNotConnected,
    DeviceTimeout,
    QueueState,
    Reject,
    Request,
    Response,
    TestClient,
    encode_request,
)


def lamp() -> App:
    app = App()
    state = {"on": False}

    @app.get("/lamp")
    def read(request: Request) -> dict[str, bool]:
        return state

    @app.put("/lamp")
    async def write(request: Request) -> None:
        state.update(request.json())

    return app


def test_an_app_plays_the_device() -> None:
    app = App()

    @app.post("/switch/{device}")
    async def switch(request: Request, device: str) -> Response:
        changed = await app.device(device).put("/lamp", request.json())
        return Response(code=changed.code)

    client = TestClient(app, devices={"lamp-1": lamp()})
    assert client.post("/switch/lamp-1", {"on": True}).code == Code.CHANGED
    assert client.post("/switch/lamp-2", {"on": True}).code == Code.NOT_FOUND
    assert app.device("lamp-1").connected
    assert not app.device("lamp-2").connected
    assert asyncio.run(app.device("lamp-1").get("/lamp")).json() == {"on": True}
    assert repr(app.device("lamp-1")) == "<RemoteDevice default/lamp-1>"


def test_observing_it() -> None:
    app = App()
    TestClient(app, devices={"lamp-1": lamp()})

    async def states() -> list[object]:
        return [state.json() async for state in app.device("lamp-1").observe("/lamp")]

    assert asyncio.run(states()) == [{"on": False}]


def test_waiting_for_it() -> None:
    app = App()
    TestClient(app, devices={"lamp-1": lamp()})

    async def story() -> None:
        queued = app.device("lamp-1").queue("GET", "/lamp")
        assert (queued.state, app.queued(queued.id)) == (QueueState.QUEUED, queued)
        assert (await queued.wait()).json() == {"on": False}
        assert (await queued.wait()).json() == {"on": False}
        assert (queued.state, queued.cancel()) == (QueueState.DONE, False)
        absent = app.device("lamp-2").queue("GET", "/lamp")
        with pytest.raises(DeviceTimeout):
            await absent.wait()
        assert (absent.state, absent.error is None) == (QueueState.EXPIRED, False)
        taken_back = app.device("lamp-1").queue("GET", "/lamp")
        assert taken_back.cancel()
        with pytest.raises(DeviceTimeout, match="taken back"):
            await taken_back.wait()
        assert app.queued("nothing") is None
        with pytest.raises(DeviceNotConnected):
            await app.device("lamp-2").get("/lamp")

    asyncio.run(story())


def test_observers() -> None:
    app = App()
    values = {"a": 1}

    @app.get("/values/{name}", observable=True)
    def value(request: Request, name: str) -> Content:
        if name not in values:
            raise Reject(Code.NOT_FOUND)
        return Content(f"{values[name]} {request.query.get('unit', '')}", max_age=5)

    @app.get("/slow", observable=True)
    async def slow(request: Request) -> str:
        return str(values["a"])

    @app.get("/plain")
    def plain(request: Request) -> str:
        return "plain"

    client = TestClient(app)
    one = client.observe("/values/a?unit=c")
    two = client.observe("/values/a", device="dev2")
    later, never, refused = client.observe("/slow"), client.observe("/plain"), client.observe("/values/b")
    assert [each.ended for each in (one, two, later, never, refused)] == [False, False, False, True, True]
    values["a"] = 2
    assert asyncio.run(app.notify("/values/a")) == 2
    assert ([state.text() for state in one.states], two.last.text()) == (["1 c", "2 c"], "2 ")
    assert asyncio.run(app.notify("/values/a", "all", device="dev2", max_age=9)) == 1
    assert (one.last.text(), two.last.text(), two.last.max_age) == ("2 c", "all", 9)
    assert asyncio.run(app.notify("/slow")) == 1
    assert later.last.text() == "2"
    assert asyncio.run(app.notify("/plain")) == 0
    del values["a"]
    assert asyncio.run(app.notify("/values/a")) == 2
    assert (one.ended, one.last.code) == (True, Code.NOT_FOUND)
    assert asyncio.run(app.notify("/values/a", Created())) == 0


def test_what_is_no_request() -> None:
    with pytest.raises(ValueError, match="no CoAP method"):
        encode_request("STEAL", "/a", b"", None, None, (), ())
    request = encode_request(Code.POST, "/a", "x", None, 60, ["y"], [(4, b"e")])
    assert request.options == [(4, b"e"), (11, b"a"), (15, b"y"), (17, b"\x3c")]
    assert (request.code, request.payload) == (Code.POST, b"x")
