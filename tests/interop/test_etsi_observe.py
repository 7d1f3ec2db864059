"""The cases TD_COAP_OBS of the ETSI CoAP plugtests, over DTLS.

libcoap's client drives those that its command line can express; where a case needs a client that does a certain thing
at a certain time, one does whose messages aiocoap encodes and decodes. OBS_03 was taken out of the list.
"""

import re
from pathlib import Path

import aiocoap  # type: ignore[import-untyped]
import pytest

from gateway.handlers import App, Changed, Code, Content, Deleted, Reject, Request, Response
from tests.interop.libcoap import FLAVOURS
from tests.interop.test_observe import FAST, IDENTITY, KEY, begun, libcoap
from tests.server.relay import Relay
from tests.server.support import WireDevice, empty, encoded, running, until

pytestmark = [pytest.mark.interop, pytest.mark.asyncio]


class Obs:
    """The resource /obs of the test descriptions: it changes, and can be updated and deleted."""

    def __init__(self) -> None:
        self.app = App()
        self.state: Response | None = Content("obs-0", max_age=5)
        self.app.get("/obs", observable=True)(self.read)
        self.app.put("/obs")(self.write)
        self.app.delete("/obs")(self.delete)

    def read(self, request: Request) -> Response:
        if self.state is None:
            raise Reject(Code.NOT_FOUND)
        return self.state

    async def write(self, request: Request) -> Response:
        self.state = Content(request.payload, content_format=request.content_format, max_age=5)
        await self.app.notify("/obs")
        return Changed()

    async def delete(self, request: Request) -> Response:
        self.state = None
        await self.app.notify("/obs")
        return Deleted()

    async def change(self, text: str, *, confirmable: bool = False) -> int:
        self.state = Content(text, max_age=5)
        return await self.app.notify("/obs", confirmable=confirmable)


def get(token: bytes, mid: int, *, observe: int | None = 0, non: bool = False) -> bytes:
    message = aiocoap.Message(code=aiocoap.GET, uri_path=("obs",), observe=observe)
    return encoded(message, aiocoap.NON if non else aiocoap.CON, mid, token)


async def registered(device: WireDevice, token: bytes = b"obs") -> aiocoap.Message:
    answer = await device.ask(get(token, 1))
    assert (answer.code, answer.payload, answer.token) == (aiocoap.CONTENT, b"obs-0", token)
    assert answer.opt.observe is not None
    assert answer.opt.content_format == 0
    return answer


async def confirmed(device: WireDevice) -> aiocoap.Message:
    """The next notification, acknowledged."""
    message = await device.message()
    assert message.mtype is aiocoap.CON
    device.send(device.client.data(empty(aiocoap.ACK, message.mid)))
    return message


async def seen_by_libcoap(tmp_path: Path, flavour: str, *, confirmable: bool, loss: float = 0.0) -> list[str]:
    obs = Obs()
    async with running(tmp_path, obs.app, **FAST) as gateway, Relay(gateway.port, every=1, loss=loss) as relay:
        with gateway.registry() as registry:
            registry.add_psk_device(IDENTITY, IDENTITY.encode(), KEY)
        async with await libcoap(flavour, relay.port, "/obs", 6 if loss else 2) as client:
            await begun(gateway)
            (observation,) = gateway.worker._dispatcher.layer.observations.find(("obs",))
            for number in range(1, 6):
                assert await obs.change(f"obs-{number}", confirmable=confirmable) == 1
                await until(lambda: observation.notification is None)
            assert not observation.ended
            await client.ended()
            kind = "CON" if confirmable else "NON"
            assert any(f"t:{kind} c:2.05" in line for line in client.lines)
            if not loss:  # else it may be lost that the client ends
                await gateway.event("coap.observation_ended")
            return client.states


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_td_coap_obs_01_confirmable_notifications(tmp_path: Path, flavour: str) -> None:
    states = await seen_by_libcoap(tmp_path, flavour, confirmable=True)
    assert states == [f"obs-{number}" for number in range(6)]


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_td_coap_obs_02_non_confirmable_notifications(tmp_path: Path, flavour: str) -> None:
    states = await seen_by_libcoap(tmp_path, flavour, confirmable=False)
    assert states == [f"obs-{number}" for number in range(6)]


async def test_td_coap_obs_02_non_confirmable_registration(tmp_path: Path) -> None:
    obs = Obs()
    async with running(tmp_path, obs.app) as gateway, gateway.wire() as device:
        answer = await device.ask(get(b"non", 1, non=True))
        assert (answer.mtype, answer.payload, answer.token) == (aiocoap.NON, b"obs-0", b"non")
        assert answer.opt.observe is not None
        await obs.change("obs-1")
        assert (await confirmed(device)).token == b"non"  # the first one asks whether the client is there
        await device.ask(get(b"x", 2, observe=None))
        await obs.change("obs-2")
        assert (await device.message()).mtype is aiocoap.NON


async def test_td_coap_obs_04_the_server_has_forgotten_and_the_client_registers_again(tmp_path: Path) -> None:
    """That it hears nothing for longer than Max-Age is the client's part; the server knows the token anew."""
    for life in ("first", "second"):
        obs, folder = Obs(), tmp_path / life
        folder.mkdir()
        async with running(folder, obs.app) as gateway, gateway.wire() as device:
            assert await obs.change("obs-0") == 0
            answer = await registered(device)
            assert answer.mtype is aiocoap.ACK
            assert await obs.change("obs-1") == 1
            notification = await confirmed(device)
            assert (notification.payload, notification.token) == (b"obs-1", b"obs")
            assert notification.opt.content_format == 0


async def test_td_coap_obs_05_the_client_is_switched_off(tmp_path: Path) -> None:
    obs = Obs()
    async with running(tmp_path, obs.app, **{**FAST, "coap__max_retransmit": 2}) as gateway, gateway.wire() as device:
        await registered(device)
        await obs.change("obs-1", confirmable=True)
        copies = [(await device.message()).payload for _ in range(3)]  # none of which it acknowledges
        assert copies == [b"obs-1"] * 3
        assert (await gateway.event("coap.observation_ended"))["reason"] == "timed_out"
        assert await obs.change("obs-2") == 0


async def test_td_coap_obs_06_the_client_resets(tmp_path: Path) -> None:
    obs = Obs()
    async with running(tmp_path, obs.app) as gateway, gateway.wire() as device:
        await registered(device)
        await obs.change("obs-1")
        message = await device.message()
        device.send(device.client.data(empty(aiocoap.RST, message.mid)))
        assert (await gateway.event("coap.observation_ended"))["reason"] == "reset"
        assert await obs.change("obs-2") == 0


async def test_td_coap_obs_07_the_resource_is_deleted(tmp_path: Path) -> None:
    obs = Obs()
    async with running(tmp_path, obs.app) as gateway:
        async with gateway.wire() as device:
            await registered(device)
            answer = await device.ask(encoded(aiocoap.Message(code=aiocoap.DELETE, uri_path=("obs",)), aiocoap.CON, 2))
            # The notification may come before the answer.
            messages = {answer.code.dotted: answer}
            message = await device.message()
            messages[message.code.dotted] = message
            assert messages.keys() == {"2.02", "4.04"}
            last = messages["4.04"]
            assert (last.token, last.opt.observe) == (b"obs", None)
        assert (await gateway.event("coap.observation_ended"))["reason"] == "error"
        assert await obs.change("obs-2") == 0


async def test_td_coap_obs_08_the_content_format_changes(tmp_path: Path) -> None:
    obs = Obs()
    async with running(tmp_path, obs.app) as gateway, gateway.wire() as device:
        await registered(device)
        obs.state = Content({"obs": 1})
        assert await obs.app.notify("/obs") == 1
        last = await confirmed(device)
        assert (last.code, last.token, last.opt.observe) == (aiocoap.NOT_ACCEPTABLE, b"obs", None)
        assert await obs.app.notify("/obs") == 0


async def test_td_coap_obs_09_the_resource_is_updated(tmp_path: Path) -> None:
    obs = Obs()
    async with running(tmp_path, obs.app) as gateway, gateway.wire() as device:
        await registered(device)
        update = aiocoap.Message(code=aiocoap.PUT, uri_path=("obs",), payload=b"updated", content_format=0)
        device.send(device.client.data(encoded(update, aiocoap.CON, 2, b"put")))
        first, second = await device.message(), await device.message()
        assert {first.code.dotted, second.code.dotted} == {"2.04", "2.05"}
        notification = first if first.code is aiocoap.CONTENT else second
        assert (notification.payload, notification.token) == (b"updated", b"obs")
        assert await obs.app.notify("/obs") == 1


async def test_td_coap_obs_10_a_get_does_not_cancel(tmp_path: Path) -> None:
    obs = Obs()
    async with running(tmp_path, obs.app) as gateway, gateway.wire() as device:
        await registered(device)
        answer = await device.ask(get(b"other", 2, observe=None))
        assert (answer.payload, answer.opt.observe) == (b"obs-0", None)
        assert await obs.change("obs-1") == 1
        assert (await confirmed(device)).payload == b"obs-1"


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_td_coap_obs_11_confirmable_notifications_with_loss(tmp_path: Path, flavour: str) -> None:
    states = await seen_by_libcoap(tmp_path, flavour, confirmable=True, loss=0.1)
    assert states == [f"obs-{number}" for number in range(6)]


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_td_coap_obs_12_observe_1_cancels(tmp_path: Path, flavour: str) -> None:
    """libcoap says so when the time that it observes for is over."""
    obs = Obs()
    async with running(tmp_path, obs.app) as gateway:
        with gateway.registry() as registry:
            registry.add_psk_device(IDENTITY, IDENTITY.encode(), KEY)
        async with await libcoap(flavour, gateway.port, "/obs", 1) as client:
            await client.ended()
            assert any("Observe:1," in line for line in client.lines)
        assert (await gateway.event("coap.observation_ended"))["reason"] == "deregistered"


_FIRST_BLOCK_OF_STATE = re.compile(r" c:2\.05 i:([0-9a-f]{4}) .*Observe:\d+.*Block2:0/M/1024")


async def large_states(tmp_path: Path, flavour: str, sizes: list[int]) -> None:
    """States of these sizes: what fits no message comes with its first block, and the client fetches the rest."""
    obs, shown = Obs(), tmp_path / "shown"
    states = [f"{number}, " * (size // 3) for number, size in enumerate(sizes)]
    async with running(tmp_path, obs.app, **FAST) as gateway:
        with gateway.registry() as registry:
            registry.add_psk_device(IDENTITY, IDENTITY.encode(), KEY)
        obs.state = Content(states[0], max_age=5)
        async with await libcoap(flavour, gateway.port, "/obs", 3, "-o", str(shown)) as client:
            await begun(gateway)
            for number, state in enumerate(states):
                if number:
                    assert await obs.change(state, confirmable=True) == 1
                so_far = "".join(states[: number + 1])
                await until(lambda so_far=so_far: read(shown) == so_far)  # type: ignore[misc]
            await client.ended()
        # Of one message there may be several lines.
        with_blocks = {found[1] for line in client.lines if (found := _FIRST_BLOCK_OF_STATE.search(line)) is not None}
        assert len(with_blocks) == sum(size > 1024 for size in sizes)
        assert (await gateway.event("coap.observation_ended"))["reason"] == "deregistered"
        assert read(shown) == "".join(states)


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_td_coap_obs_13_large_states(tmp_path: Path, flavour: str) -> None:
    await large_states(tmp_path, flavour, [3000, 2000, 3000, 5001])


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("sizes", [[30, 3000, 30, 60, 2100], [3000, 30, 3000]], ids=["first-small", "first-large"])
async def test_td_coap_obs_14_states_of_varying_sizes(tmp_path: Path, flavour: str, sizes: list[int]) -> None:
    await large_states(tmp_path, flavour, sizes)
