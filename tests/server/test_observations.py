"""Observed routes of a whole gateway (RFC 7641); the device's messages are made and read by aiocoap's codec."""

import asyncio
from pathlib import Path

import aiocoap  # type: ignore[import-untyped]
import pytest

from gateway.handlers import App, Code, Content, NotServed, Reject, Request, Response, RouteError
from gateway.simulator import DeviceError
from tests.server.support import Gateway, WireDevice, empty, encoded, no_lines, running

pytestmark = pytest.mark.asyncio


class Setpoint:
    """An app whose state a test sets."""

    def __init__(self) -> None:
        self.app = App()
        self.value = "20"
        self.asked = 0
        self.app.get("/setpoint", observable=True)(self.read)
        self.app.get("/rooms/{room}", observable=True)(self.room)
        self.app.fetch("/setpoint", observable=True)(self.fetch)
        self.app.get("/slow", observable=True)(self.slow)
        self.app.get("/plain")(lambda request: "plain")
        self.app.get("/no", observable=True)(self.refuse)

    def read(self, request: Request) -> Content:
        self.asked += 1
        if self.value == "gone":
            raise Reject(Code.NOT_FOUND)
        return Content(f"{self.value} for {request.device.id}", max_age=30)

    def room(self, request: Request, room: str) -> str:
        return f"{room} {self.value}"

    def fetch(self, request: Request) -> str:
        return f"{request.text()} {self.value}"

    async def slow(self, request: Request) -> str:
        await asyncio.sleep(0)
        return self.value

    def refuse(self, request: Request) -> None:
        raise Reject(Code.FORBIDDEN)


def registration(
    path: str,
    token: bytes,
    *,
    observe: int | None = 0,
    mid: int = 1,
    code: aiocoap.Code = aiocoap.GET,
    body: bytes = b"",
) -> bytes:
    message = aiocoap.Message(code=code, uri_path=tuple(path.strip("/").split("/")), payload=body, observe=observe)
    return encoded(message, aiocoap.CON, mid, token)


async def acknowledged(device: WireDevice) -> aiocoap.Message:
    """The next notification, which is confirmable."""
    message = await device.message()
    assert message.mtype is aiocoap.CON
    device.send(device.client.data(empty(aiocoap.ACK, message.mid)))
    return message


async def open_observations(gateway: Gateway) -> int:
    return sum((await gateway.samples("gateway_coap_observations")).values())


async def test_notified_by_handler_and_by_payload(tmp_path: Path) -> None:
    state = Setpoint()
    async with running(tmp_path, state.app) as gateway, gateway.wire() as device:
        first = await device.ask(registration("/setpoint", b"t1"))
        assert (first.code, first.payload, first.mtype) == (aiocoap.CONTENT, b"20 for dev1", aiocoap.ACK)
        assert first.opt.observe is not None
        assert await open_observations(gateway) == 1
        state.value = "21"
        assert await state.app.notify("/setpoint") == 1
        second = await acknowledged(device)
        assert (second.code, second.payload, second.token) == (aiocoap.CONTENT, b"21 for dev1", b"t1")
        assert (second.opt.max_age, second.opt.content_format) == (30, 0)
        assert second.opt.observe > first.opt.observe
        asked = state.asked
        assert await state.app.notify("/setpoint", "22", max_age=5, etag=b"v3") == 1
        third = await device.message()
        assert (third.mtype, third.payload) == (aiocoap.NON, b"22")
        assert (third.opt.max_age, third.opt.content_format, third.opt.etag) == (5, 0, b"v3")
        assert third.opt.observe > second.opt.observe
        assert state.asked == asked  # a payload that is given runs nothing again
        assert sum((await gateway.samples("gateway_coap_notifications_total")).values()) == 2
        no_lines(gateway.lines, "warning", "error")


@pytest.mark.parametrize(
    ("path", "body", "code", "expected"),
    [
        ("/rooms/kitchen", b"", aiocoap.GET, b"kitchen 21"),
        ("/setpoint", b"kelvin", aiocoap.FETCH, b"kelvin 21"),
        ("/slow", b"", aiocoap.GET, b"21"),
    ],
)
async def test_what_is_asked_again(tmp_path: Path, path: str, body: bytes, code: aiocoap.Code, expected: bytes) -> None:
    state = Setpoint()
    async with running(tmp_path, state.app) as gateway, gateway.wire() as device:
        await device.ask(registration(path, b"t1", code=code, body=body))
        state.value = "21"
        assert await state.app.notify(path) == 1
        assert (await acknowledged(device)).payload == expected
        assert await state.app.notify("/rooms/bath") == 0


@pytest.mark.parametrize(("path", "code"), [("/plain", "2.05"), ("/no", "4.03"), ("/nowhere", "4.04")])
async def test_what_cannot_be_observed_is_answered_without_the_option(tmp_path: Path, path: str, code: str) -> None:
    # RFC 7641 section 4.1: without the option in the response, the client knows that it is not on the list.
    state = Setpoint()
    async with running(tmp_path, state.app) as gateway, gateway.wire() as device:
        answer = await device.ask(registration(path, b"t1"))
        assert (answer.code.dotted, answer.opt.observe) == (code, None)
        assert await open_observations(gateway) == 0
        assert await state.app.notify(path) == 0


@pytest.mark.parametrize("observe", [None, 2, 0xFFFFFF])
async def test_other_values_of_the_option_are_no_registration(tmp_path: Path, observe: int | None) -> None:
    async with running(tmp_path, Setpoint().app) as gateway, gateway.wire() as device:
        answer = await device.ask(registration("/setpoint", b"t1", observe=observe))
        assert (answer.code, answer.opt.observe) == (aiocoap.CONTENT, None)
        assert await open_observations(gateway) == 0


async def test_deregistered(tmp_path: Path) -> None:
    state = Setpoint()
    async with running(tmp_path, state.app) as gateway, gateway.wire() as device:
        await device.ask(registration("/setpoint", b"t1"))
        answer = await device.ask(registration("/setpoint", b"t2", observe=1, mid=2))
        assert answer.opt.observe is None
        assert await open_observations(gateway) == 1  # another token is another observation
        answer = await device.ask(registration("/setpoint", b"t1", observe=1, mid=3))
        assert (answer.payload, answer.opt.observe) == (b"20 for dev1", None)
        assert await state.app.notify("/setpoint") == 0
        assert [line["reason"] for line in gateway.events("coap.observation_ended")] == ["deregistered"]


@pytest.mark.parametrize("number", [1, 2])
async def test_a_reset_ends_it(tmp_path: Path, number: int) -> None:
    """The first notification is confirmable, the second is not; a RST ends it by either (section 3.6)."""
    state = Setpoint()
    async with running(tmp_path, state.app) as gateway, gateway.wire() as device:
        await device.ask(registration("/setpoint", b"t1"))
        await state.app.notify("/setpoint")
        message = await device.message()
        if number == 2:
            device.send(device.client.data(empty(aiocoap.ACK, message.mid)))
            await device.ask(device.request(aiocoap.GET, "/plain", mid=9))  # by now the ACK was read
            await state.app.notify("/setpoint")
            message = await device.message()
            assert message.mtype is aiocoap.NON
        device.send(device.client.data(empty(aiocoap.RST, message.mid)))
        await device.ask(device.request(aiocoap.GET, "/plain", mid=10))
        assert await state.app.notify("/setpoint") == 0
        assert await gateway.samples("gateway_coap_observations_ended_total") == {("reset",): 1}
        (line,) = gateway.events("coap.observation_ended")
        assert (line["device"], line["tenant"], line["route"], line["reason"]) == (
            "dev1",
            "default",
            "/setpoint",
            "reset",
        )


async def test_a_notification_that_nobody_acknowledges_ends_it(tmp_path: Path) -> None:
    state = Setpoint()
    fast = {"coap__ack_timeout": 0.1, "coap__max_retransmit": 1, "coap__processing_delay": 0.05}
    async with running(tmp_path, state.app, **fast) as gateway, gateway.wire() as device:
        await device.ask(registration("/setpoint", b"t1"))
        await state.app.notify("/setpoint")
        first, again = await device.message(), await device.message()
        assert (first.mid, first.payload) == (again.mid, again.payload)
        await gateway.event("coap.observation_ended")
        assert [line["reason"] for line in gateway.events("coap.observation_ended")] == ["timed_out"]


async def test_an_error_is_the_last_that_is_heard(tmp_path: Path) -> None:
    state = Setpoint()
    async with running(tmp_path, state.app) as gateway, gateway.wire() as device:
        await device.ask(registration("/setpoint", b"t1"))
        state.value = "gone"
        assert await state.app.notify("/setpoint") == 1
        message = await acknowledged(device)
        assert (message.code, message.opt.observe) == (aiocoap.NOT_FOUND, None)
        assert await state.app.notify("/setpoint") == 0
        await device.ask(registration("/rooms/a", b"t2", mid=2))
        await state.app.notify("/rooms/a", Response(code=Code.SERVICE_UNAVAILABLE, max_age=60))
        message = await acknowledged(device)
        assert (message.code, message.opt.max_age) == (aiocoap.SERVICE_UNAVAILABLE, 60)
        assert await gateway.samples("gateway_coap_observations_ended_total") == {("error",): 2}


async def test_only_one_device_or_all(tmp_path: Path) -> None:
    state = Setpoint()
    async with running(tmp_path, state.app) as gateway:
        one, two = gateway.psk_device(), gateway.certificate_device("line-1-0001")
        async with one, two:
            of_one, of_two = await one.observe("/setpoint"), await two.observe("/setpoint")
            for observation, name in ((of_one, b"dev1"), (of_two, b"line-1-0001")):
                assert (await observation.next()).payload == b"20 for " + name
            state.value = "21"
            assert await state.app.notify("/setpoint", device="dev1") == 1
            assert (await of_one.next()).payload == b"21 for dev1"
            state.value = "22"
            assert await state.app.notify("/setpoint", device="line-1-0001") == 1
            assert await state.app.notify("/setpoint", device="line-1-0001", tenant="elsewhere") == 0
            assert await state.app.notify("/setpoint", "all") == 2
            assert (await of_one.next()).payload == b"all"
            while (message := await of_two.next()).payload != b"all":
                assert message.payload == b"22 for line-1-0001"


async def test_the_end_of_the_last_session(tmp_path: Path) -> None:
    state = Setpoint()
    async with running(tmp_path, state.app) as gateway:
        async with gateway.psk_device() as device:
            await device.observe("/setpoint")
            assert await open_observations(gateway) == 1
        await gateway.event("coap.observation_ended")
        assert [line["reason"] for line in gateway.events("coap.observation_ended")] == ["session_ended"]
        assert await open_observations(gateway) == 0
        assert await state.app.notify("/setpoint") == 0


async def test_it_survives_a_change_of_address(tmp_path: Path) -> None:
    state = Setpoint()
    async with running(tmp_path, state.app) as gateway, gateway.psk_device() as device:
        observation = await device.observe("/setpoint")
        await observation.next()
        for number in range(5):
            await device.move()
            await device.get("/plain")  # the gateway hears where the device is now
            await state.app.notify("/setpoint", str(number))
            assert (await observation.next()).payload == str(number).encode()
        assert len(gateway.events("dtls.handshake_completed")) == 1


async def test_it_survives_a_new_handshake(tmp_path: Path) -> None:
    """By device and token: the notification goes to the newest session, and ends when the last one does."""
    state = Setpoint()
    async with running(tmp_path, state.app) as gateway:
        old, new = gateway.wire(), gateway.wire()
        await old.connect()
        await old.ask(registration("/setpoint", b"t1"))
        await new.connect()
        await state.app.notify("/setpoint", "21")
        message = await acknowledged(new)
        assert (message.payload, message.token) == (b"21", b"t1")
        old.send(old.client.alert(1, 0, epoch=1))  # close_notify
        await gateway.event("dtls.session_closed")
        await state.app.notify("/setpoint", "22")
        assert (await new.message()).payload == b"22"
        new.send(new.client.alert(1, 0, epoch=1))
        await gateway.event("coap.observation_ended")
        old.udp.close()
        new.udp.close()


async def test_it_goes_on_in_an_older_session_when_the_newest_ends(tmp_path: Path) -> None:
    state = Setpoint()
    async with running(tmp_path, state.app) as gateway:
        old, new = gateway.wire(), gateway.wire()
        await old.connect()
        await new.connect()
        await new.ask(registration("/setpoint", b"t1"))
        await state.app.notify("/setpoint", "21")
        assert (await new.message()).payload == b"21"  # which it does not acknowledge
        new.send(new.client.alert(1, 0, epoch=1))
        assert (await acknowledged(old)).payload == b"21"
        assert gateway.events("coap.observation_ended") == []
        old.udp.close()
        new.udp.close()


async def test_a_thousand_states_at_once_are_one_notification(tmp_path: Path) -> None:
    state = Setpoint()
    async with running(tmp_path, state.app) as gateway, gateway.wire() as device:
        await device.ask(registration("/setpoint", b"t1"))
        await state.app.notify("/setpoint", "first")
        for number in range(1000):
            await state.app.notify("/setpoint", str(number))
        assert (await acknowledged(device)).payload == b"first"
        assert (await device.message()).payload == b"999"
        assert sum((await gateway.samples("gateway_coap_notifications_total")).values()) == 2
        assert sum((await gateway.samples("gateway_coap_notifications_skipped_total")).values()) == 999


async def test_bounds(tmp_path: Path) -> None:
    state = Setpoint()
    bounds = {"coap__max_observations_per_device": 3, "coap__max_observations": 4}
    async with running(tmp_path, state.app, **bounds) as gateway, gateway.wire() as device:
        for number in range(5):
            answer = await device.ask(registration("/setpoint", b"t%d" % number, mid=number))
            assert (answer.opt.observe is not None) is (number < 3)
            assert answer.code is aiocoap.CONTENT
        async with gateway.certificate_device("line-1-0001") as other:
            for _ in range(3):
                await other.observe("/setpoint")
        assert await open_observations(gateway) <= 4
        assert sum((await gateway.samples("gateway_coap_observations_refused_total")).values()) == 4
        assert {line["route"] for line in gateway.events("coap.observation_refused")} == {"/setpoint"}


async def test_large_state_comes_with_its_first_block_and_the_rest_is_asked_for(tmp_path: Path) -> None:
    """RFC 7959 section 2.6, and figure 12: the blocks behind the first are asked for without Observe."""
    state, large = Setpoint(), "".join(f"{number:05}" for number in range(1000))
    async with running(tmp_path, state.app) as gateway, gateway.wire() as device:
        await device.ask(registration("/setpoint", b"t1"))
        await state.app.notify("/setpoint", large)
        message = await acknowledged(device)
        assert message.opt.observe is not None
        assert (message.opt.block2.block_number, message.opt.block2.more) == (0, True)
        body, size, number, mid = message.payload, message.opt.block2.size, 0, 100
        assert len(body) == size
        while message.opt.block2.more:
            number, mid = number + 1, mid + 1
            ask = aiocoap.Message(code=aiocoap.GET, uri_path=("setpoint",), block2=(number, False, 6))
            message = await device.ask(encoded(ask, aiocoap.CON, mid, b"t2"))
            assert (message.code, message.opt.observe) == (aiocoap.CONTENT, None)
            assert message.opt.block2.block_number == number
            body += message.payload
        assert body.decode() == large


async def test_observation_that_begins_with_a_large_state(tmp_path: Path) -> None:
    state, large = Setpoint(), "x" * 3000
    state.value = large
    async with running(tmp_path, state.app) as gateway, gateway.wire() as device:
        first = await device.ask(registration("/rooms/attic", b"t1"))
        assert first.opt.observe is not None
        assert (first.opt.block2.block_number, first.opt.block2.more) == (0, True)
        assert await open_observations(gateway) == 1


async def test_a_state_that_cannot_be_sent_is_said_in_the_log(tmp_path: Path) -> None:
    state = Setpoint()
    async with running(tmp_path, state.app) as gateway, gateway.wire() as device:
        await device.ask(registration("/setpoint", b"t1"))
        await state.app.notify("/setpoint", Response("x", options=[(2048, bytes(5000))]))
        (line,) = gateway.events("coap.notification_failed")
        assert line["error"]
        await state.app.notify("/setpoint", "21")
        assert (await acknowledged(device)).payload == b"21"


async def test_a_handler_that_takes_too_long_says_nothing(tmp_path: Path) -> None:
    app, release = App(), asyncio.Event()
    release.set()

    @app.get("/slow", observable=True)
    async def slow(request: Request) -> str:
        await release.wait()
        return "done"

    async with running(tmp_path, app, handlers__time_limit=0.05) as gateway, gateway.wire() as device:
        await device.ask(registration("/slow", b"t1"))
        release.clear()
        assert await app.notify("/slow") == 1
        (line,) = gateway.events("coap.notification_failed")
        assert (line["error"], line["device"], line["route"]) == ("the handler timed out", "dev1", "/slow")
        assert await open_observations(gateway) == 1


async def test_an_answer_behind_the_end_of_its_session_registers_nothing(tmp_path: Path) -> None:
    app, entered, release = App(), asyncio.Event(), asyncio.Event()

    @app.get("/slow", observable=True)
    async def slow(request: Request) -> str:
        entered.set()
        await release.wait()
        return "done"

    async with running(tmp_path, app) as gateway, gateway.wire() as device:
        device.send(device.client.data(registration("/slow", b"t1")))
        await entered.wait()
        device.send(device.client.alert(1, 0, epoch=1))
        await gateway.event("dtls.session_closed")
        release.set()
        await asyncio.sleep(0)
        assert await open_observations(gateway) == 0


async def test_an_included_app_notifies_by_its_own_paths(tmp_path: Path) -> None:
    rooms, app = App(), App()
    rooms.get("/{room}", observable=True)(lambda request, room: room)
    rooms.get("/", observable=True)(lambda request: "all rooms")
    app.include(rooms, prefix="/v1/rooms")
    async with running(tmp_path, app) as gateway, gateway.psk_device() as device:
        kitchen, every = await device.observe("/v1/rooms/kitchen"), await device.observe("/v1/rooms")
        await kitchen.next()
        await every.next()
        assert await rooms.notify("/kitchen") == 1
        assert await rooms.notify("/", "changed") == 1
        assert (await kitchen.next()).payload == b"kitchen"
        assert (await every.next()).payload == b"changed"
        assert rooms.device("dev1").connected


async def test_who_is_not_served_has_nobody_to_tell() -> None:
    with pytest.raises(NotServed, match="not being served"):
        await App().notify("/a", "1")
    with pytest.raises(NotServed):
        App().device("dev1")
    with pytest.raises(RouteError, match="GET and FETCH only"):
        App().route("/a", methods=["POST"], observable=True)


async def test_observation_by_simulated_devices(tmp_path: Path) -> None:
    state = Setpoint()
    async with running(tmp_path, state.app) as gateway, gateway.psk_device() as device:
        observation = await device.observe("/setpoint")
        assert (await observation.next()).payload == b"20 for dev1"
        assert (await device.deregister(observation)).payload == b"20 for dev1"
        assert await state.app.notify("/setpoint") == 0
        observation = await device.observe("/setpoint")
        device.forget(observation)
        assert await state.app.notify("/setpoint") == 1  # which it resets
        await gateway.event("coap.observation_ended", 2)
        refused = await device.observe("/no")
        assert (await refused.next()).code == Code.FORBIDDEN
        observation = await device.observe("/setpoint")
        await observation.next()
        gateway.worker._endpoint.shut_down(asyncio.get_running_loop().time())
        gateway.worker._flush()
        for _ in range(2):
            with pytest.raises(DeviceError, match="has ended"):
                await observation.next()


async def test_after_the_interval_it_is_asked_again_and_must_be_confirmed(tmp_path: Path) -> None:
    """By the engine's own clock: the day is moved, and not waited for."""
    state = Setpoint()
    async with running(tmp_path, state.app) as gateway, gateway.wire() as device:
        await device.ask(registration("/setpoint", b"t1"))
        layer = gateway.worker._dispatcher.layer
        (observation,) = layer.observations.find(("setpoint",))
        layer._timers.schedule(observation, asyncio.get_running_loop().time())
        gateway.worker._flush()
        state.value = "21"
        assert (await acknowledged(device)).payload == b"21 for dev1"
