"""ETSI CoAP plugtests, the cases TD_COAP_CORE, by their names. The client is libcoap's, and aiocoap's in one case.

Cases 24 to 30, of the lists before 2014, are about a proxy between client and server; the gateway is none, and answers
5.05 to what asks for one.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.devices import Psk
from tests.interop.gateway_process import IDENTITY, KEY, Gateway
from tests.interop.jobs import Job, run_job
from tests.interop.libcoap import FLAVOURS, Answer, coap_client
from tests.interop.lossy import LossyPath
from tests.interop.peers import library, program
from tests.interop.store import build_store
from tests.interop.transcript import exchange, lines_of

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(build_store(tmp_path_factory.mktemp("etsi-core"))) as running:
        yield running


@pytest.fixture(params=FLAVOURS)
def flavour(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def client(store: Gateway, flavour: str, tmp_path: Path) -> "Client":
    program(f"coap-client-{flavour}")
    return Client(flavour, store.port, tmp_path)


class Client:
    """One run of `coap-client` for each request."""

    def __init__(self, flavour: str, port: int, folder: Path) -> None:
        self.flavour = flavour
        self.port = port
        self._folder = folder
        self._runs = 0

    def ask(self, method: str, path: str, payload: str | None = None, *options: str, port: int | None = None) -> Answer:
        self._runs += 1
        folder = self._folder / f"run{self._runs}"
        folder.mkdir()
        return coap_client(
            self.flavour, port or self.port, Psk(), method, path, payload, options=options, folder=folder
        )


METHODS = {"get": "2.05", "delete": "2.02", "put": "2.04", "post": "2.01"}
PAYLOADS = {"get": None, "delete": None, "put": "TD_COAP_CORE", "post": "TD_COAP_CORE"}


def confirmable(client: Client, method: str) -> None:
    """Request CON with a message id; response ACK with the same one, and the same token."""
    answer = client.ask(method, "/test", PAYLOADS[method])
    request, response = exchange(answer)
    assert (request.type, request.code, request.values("Uri-Path")) == ("CON", method.upper(), ["test"])
    assert (response.type, response.code) == ("ACK", METHODS[method])
    assert (response.message_id, response.token) == (request.message_id, request.token)
    assert answer.payload.startswith(b"method GET") == (method == "get")
    if method == "get":
        assert response.values("Content-Format") == ["text/plain"]


def non_confirmable(client: Client, method: str) -> None:
    """Request NON; response NON with a message id of its own, and the same token."""
    answer = client.ask(method, "/test", PAYLOADS[method], "-N")
    request, response = exchange(answer)
    assert (request.type, request.code) == ("NON", method.upper())
    assert (response.type, response.code, response.token) == ("NON", METHODS[method], request.token)
    assert answer.payload.startswith(b"method GET") == (method == "get")


def test_td_coap_core_01_get_con(client: Client) -> None:
    confirmable(client, "get")


def test_td_coap_core_02_delete_con(client: Client) -> None:
    confirmable(client, "delete")


def test_td_coap_core_03_put_con(client: Client) -> None:
    confirmable(client, "put")


def test_td_coap_core_04_post_con(client: Client) -> None:
    confirmable(client, "post")


def test_td_coap_core_05_get_non(client: Client) -> None:
    non_confirmable(client, "get")


def test_td_coap_core_06_delete_non(client: Client) -> None:
    non_confirmable(client, "delete")


def test_td_coap_core_07_put_non(client: Client) -> None:
    non_confirmable(client, "put")


def test_td_coap_core_08_post_non(client: Client) -> None:
    non_confirmable(client, "post")


def separate(client: Client, *options: str, port: int | None = None) -> None:
    """An empty ACK, then a CON with the response and the request's token, which the client acknowledges."""
    answer = client.ask("get", "/separate", None, *options, port=port)
    lines = lines_of(answer)
    request, response = exchange(answer)
    assert (response.type, response.code, response.token) == ("CON", "2.05", request.token)
    assert response.message_id != request.message_id
    acks = [line.message_id for line in lines if (line.type, line.code) == ("ACK", "0.00")]
    assert acks[0] == request.message_id
    assert acks[-1] == response.message_id
    assert answer.payload == b"separate"


def test_td_coap_core_09_get_con_with_a_delayed_response(client: Client) -> None:
    separate(client)


def test_td_coap_core_10_a_request_with_a_token(client: Client) -> None:
    answer = client.ask("get", "/test", None, "-T", "12345678")
    request, response = exchange(answer)
    # `-T` is the token before the first one.
    assert request.token == response.token == b"12345679".hex()


def test_td_coap_core_11_a_token_with_a_separate_response(client: Client) -> None:
    separate(client, "-T", "12345678")


def test_td_coap_core_12_a_request_with_an_empty_token(store: Gateway) -> None:
    # libcoap's client cannot be made to send one. aiocoap's looks whether it comes back.
    library("DTLSSocket")
    job = Job(port=store.port, identity=IDENTITY, key=KEY.hex(), requests=[("GET", "/test", "")], empty_token=True)
    [(code, payload)] = run_job("aiocoap_client", job)
    assert (code, payload[:10]) == ("2.05", b"method GET")


def test_td_coap_core_12_a_request_with_a_token_of_one_byte(client: Client) -> None:
    request, response = exchange(client.ask("get", "/test", None, "-T", "1"))
    assert request.token == response.token == b"2".hex()


def test_td_coap_core_13_several_uri_path_options(client: Client) -> None:
    answer = client.ask("get", "/seg1/seg2/seg3")
    request, response = exchange(answer)
    assert request.values("Uri-Path") == ["seg1", "seg2", "seg3"]
    assert (response.code, answer.payload) == ("2.05", b"seg3")


def test_td_coap_core_14_several_uri_query_options(client: Client) -> None:
    answer = client.ask("get", "/query?first=1&second=2&third=3")
    request, response = exchange(answer)
    assert request.values("Uri-Query") == ["first=1", "second=2", "third=3"]
    assert (response.code, answer.payload) == ("2.05", b"first=1&second=2&third=3")


class LosesRequest(LossyPath):
    """A path that loses the first record of application data in one direction, and the first one in the other."""

    def __init__(self, server_port: int) -> None:
        super().__init__(server_port, seed=0, loss=0.0, repeated=0.0, delayed=0.0)
        self.lost: list[bool] = []

    def _take(self, flow: "object", *, up: bool, data: bytes) -> None:
        if data[0] == 23 and up not in self.lost:
            self.lost.append(up)
            return
        super()._take(flow, up=up, data=data)  # type: ignore[arg-type]


def test_td_coap_core_15_a_path_that_loses_a_request_and_its_ack(client: Client, store: Gateway) -> None:
    with LosesRequest(store.port) as path:
        answer = client.ask("get", "/test", None, port=path.port)
        assert path.lost == [True, False]
    request, response = exchange(answer)
    assert (response.type, response.code, response.message_id) == ("ACK", "2.05", request.message_id)


def test_td_coap_core_16_the_same_with_a_delayed_response(client: Client, store: Gateway) -> None:
    with LosesRequest(store.port) as path:
        answer = client.ask("get", "/separate", None, port=path.port)
        assert path.lost == [True, False]
    _, response = exchange(answer)
    assert (response.type, response.code, answer.payload) == ("CON", "2.05", b"separate")


def test_td_coap_core_17_get_non_with_a_delayed_response(client: Client) -> None:
    answer = client.ask("get", "/separate", None, "-N")
    request, response = exchange(answer)
    assert (request.type, response.type, response.code) == ("NON", "NON", "2.05")
    assert [line for line in lines_of(answer) if line.type == "ACK"] == []
    assert answer.payload == b"separate"


def test_td_coap_core_18_several_location_path_options(client: Client) -> None:
    _, response = exchange(client.ask("post", "/test", "TD_COAP_CORE"))
    assert (response.code, response.values("Location-Path")) == ("2.01", ["location1", "location2", "location3"])


def test_td_coap_core_19_several_location_query_options(client: Client) -> None:
    _, response = exchange(client.ask("post", "/test", "TD_COAP_CORE"))
    assert (response.code, response.values("Location-Query")) == ("2.01", ["first=1", "second=2"])


@pytest.mark.parametrize(
    ("accept", "name", "payload"), [("text", "text/plain", b"21"), ("xml", "application/xml", b"<value>21</value>")]
)
def test_td_coap_core_20_accept(client: Client, accept: str, name: str, payload: bytes) -> None:
    answer = client.ask("get", "/multi-format", None, "-A", accept)
    request, response = exchange(answer)
    assert (request.values("Accept"), response.code) == ([name], "2.05")
    assert (response.values("Content-Format"), answer.payload) == ([name], payload)


def test_td_coap_core_20_accept_of_what_is_not_there(client: Client) -> None:
    _, response = exchange(client.ask("get", "/multi-format", None, "-A", "json"))
    assert response.code == "4.06"


def etag_of(answer: Answer) -> str:
    [etag] = exchange(answer)[1].values("ETag")
    return etag


def test_td_coap_core_21_validation_by_etag(client: Client) -> None:
    client.ask("put", "/validate", "first")
    first = client.ask("get", "/validate")
    etag = etag_of(first)
    assert first.payload == b"first"
    valid = client.ask("get", "/validate", None, "-O", f"4,{etag}")
    _, response = exchange(valid)
    assert (response.code, response.values("ETag"), valid.payload) == ("2.03", [etag], b"")
    client.ask("put", "/validate", "second")
    changed = client.ask("get", "/validate", None, "-O", f"4,{etag}")
    assert (changed.code, changed.payload) == ("2.05", b"second")
    assert etag_of(changed) != etag


def test_td_coap_core_22_if_match(client: Client) -> None:
    client.ask("put", "/validate", "before")
    etag = etag_of(client.ask("get", "/validate"))
    assert client.ask("put", "/validate", "after", "-O", f"1,{etag}").code == "2.04"
    assert client.ask("put", "/validate", "too late", "-O", f"1,{etag}").code == "4.12"
    assert client.ask("get", "/validate").payload == b"after"


def test_td_coap_core_23_if_none_match(client: Client, flavour: str) -> None:
    path = f"/create/{flavour}"
    assert client.ask("put", path, "first", "-O", "5,").code == "2.01"
    assert client.ask("put", path, "second", "-O", "5,").code == "4.12"
    assert client.ask("get", path).payload == b"first"


def test_td_coap_core_24_to_30_there_is_no_proxy(client: Client) -> None:
    # RFC 7252 section 5.10.2: a proxy that is none says so. 35 is Proxy-Uri; Proxy-Scheme sends the client elsewhere.
    assert client.ask("get", "/test", None, "-O", "35,coap://elsewhere/test").code == "5.05"


def test_td_coap_core_31_ping(client: Client) -> None:
    # RFC 7252 section 4.3: an empty CON is answered by RST. libcoap sends one after a second of silence (-K).
    answer = client.ask("get", "/separate", None, "-K", "1", "-w")
    pings = [line for line in lines_of(answer) if (line.type, line.code) == ("CON", "0.00")]
    resets = [line.message_id for line in lines_of(answer) if line.type == "RST"]
    assert [ping.message_id for ping in pings] == resets
