"""ETSI CoAP plugtests, the cases TD_COAP_BLOCK, by their names. The client is libcoap's."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from tests.interop.gateway_process import Gateway
from tests.interop.libcoap import FLAVOURS
from tests.interop.peers import program
from tests.interop.store import body, build_store
from tests.interop.test_etsi_core import Client
from tests.interop.transcript import Line, lines_of

pytestmark = [pytest.mark.interop, pytest.mark.parametrize("flavour", FLAVOURS)]

TEXT = "".join(chr(97 + n * n % 26) for n in range(2500))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(build_store(tmp_path_factory.mktemp("etsi-block"))) as running:
        yield running


@pytest.fixture
def client(store: Gateway, flavour: str, tmp_path: Path) -> Client:
    program(f"coap-client-{flavour}")
    return Client(flavour, store.port, tmp_path)


def blocks(lines: list[Line], option: str) -> list[str]:
    """The values of a block option in the responses, such as "0/M/64"."""
    return [value for line in lines if line.is_response for value in line.values(option)]


def numbered(count: int, size: int) -> list[str]:
    return [f"{number}/{'M' if number < count - 1 else '_'}/{size}" for number in range(count)]


def test_td_coap_block_01_get_with_early_negotiation(client: Client) -> None:
    answer = client.ask("get", "/large", None, "-b", "64")
    lines = lines_of(answer)
    assert lines[0].values("Block2") == ["0/_/64"]
    assert blocks(lines, "Block2") == numbered(79, 64)
    assert answer.payload[-64:] == body(5000)[-64:]


def test_td_coap_block_02_get_with_late_negotiation(client: Client) -> None:
    lines = lines_of(client.ask("get", "/large"))
    assert lines[0].values("Block2") == []
    assert blocks(lines, "Block2") == numbered(5, 1024)
    # The first block says how much there is, and each which version of it.
    assert next(line.values("Size2") for line in lines if line.is_response) == ["5000"]
    assert {tuple(line.values("ETag")) for line in lines if line.is_response} == {("0x6c61726765",)}


def test_td_coap_block_03_put(client: Client) -> None:
    answer = client.ask("put", "/large-update", TEXT, "-b", "256")
    lines = lines_of(answer)
    assert blocks(lines, "Block1") == numbered(10, 256)
    assert [line.code for line in lines if line.is_response] == ["2.31"] * 9 + ["2.04"]
    assert answer.payload == sha256(TEXT.encode()).hexdigest().encode()
    assert lines_of(client.ask("get", "/large-update"))[-1].code == "2.05"


def test_td_coap_block_04_post_that_creates(client: Client) -> None:
    lines = lines_of(client.ask("post", "/large-create", TEXT, "-b", "512"))
    responses = [line for line in lines if line.is_response]
    assert [line.code for line in responses] == ["2.31"] * 4 + ["2.01"]
    assert responses[-1].values("Location-Path") == ["large-create", "newest"]
    # Only the last one: until then nothing has been created.
    assert all(line.values("Location-Path") == [] for line in responses[:-1])
    assert client.ask("get", "/large-create/newest").payload == TEXT.encode()


def test_td_coap_block_05_post_in_both_directions(client: Client) -> None:
    lines = lines_of(client.ask("post", "/large-post", TEXT, "-b", "512"))
    assert blocks(lines, "Block1") == numbered(5, 512)
    answered = blocks(lines, "Block2")
    total, size = len(TEXT) + 3000, int(answered[0].rsplit("/")[-1])
    assert answered == numbered(-(-total // size), size)


def test_td_coap_block_06_get_with_the_smallest_block(client: Client) -> None:
    lines = lines_of(client.ask("get", "/large", None, "-b", "16"))
    assert lines[0].values("Block2") == ["0/_/16"]
    assert blocks(lines, "Block2") == numbered(313, 16)
