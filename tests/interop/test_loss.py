"""Clients that lose one in five of the datagrams they send (`coap-client -l 20%`), and paths that are bad both ways.

libcoap gives up when its timer has fired five times in a handshake, or a request has gone out five times (RFC 7252
section 4.8: MAX_RETRANSMIT 4). A client that lost five datagrams or more may therefore fail with any server, once in
some fifty runs. One that lost fewer and failed was failed by the gateway.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.interop.devices import Certified, Psk, new_device
from tests.interop.gateway_process import Gateway
from tests.interop.libcoap import FLAVOURS, Answer, coap_client
from tests.interop.lossy import LossyPath
from tests.interop.peers import program

pytestmark = pytest.mark.interop

WAYS = [(flavour, auth) for flavour in FLAVOURS for auth in ("psk", "certificate")]
AT_ONCE = 10
"""Clients side by side. They wait far more than they compute."""
GIVES_UP_AFTER = 5

# Without GnuTLS and a certificate: of a server's flight in two datagrams it must not lose just one. It then neither
# repeats its hello nor anything else, and libcoap ends the handshake after five seconds, whoever the server is.
TWO_WAY = [way for way in WAYS if way != ("gnutls", "certificate")]


@dataclass(frozen=True, slots=True)
class Client:
    """One that can be run.

    Attributes:
        flavour: On which library.
        device: Who it is.
        source: Its address, which no other has.
    """

    flavour: str
    device: Psk | Certified
    source: str

    def run(self, port: int, folder: Path, *options: str) -> Answer:
        folder.mkdir()
        request = ("post", "/echo", folder.name)
        answer = coap_client(
            self.flavour, port, self.device, *request, options=options, source=self.source, folder=folder
        )
        if answer.code is not None:
            assert (answer.code, answer.payload) == ("2.04", folder.name.encode()), answer.transcript
        return answer


def fleet(gateway: Gateway, flavour: str, auth: str, size: int, net: str) -> list[Client]:
    program(f"coap-client-{flavour}")
    return [
        Client(
            flavour,
            Psk() if auth == "psk" else new_device(gateway.site, f"loss-{flavour}"),
            f"{net}.{1 + WAYS.index((flavour, auth))}.{number}",
        )
        for number in range(1, size + 1)
    ]


def run_all(clients: list[Client], port: int, folder: Path, *options: str) -> list[Answer]:
    folder.mkdir()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs = [pool.submit(client.run, port, folder / client.source, *options) for client in clients]
        return [run.result() for run in runs]


def check(answers: list[Answer], lost: list[int]) -> None:
    """Nobody failed who lost fewer datagrams than it takes, and few did at all."""
    pairs = list(zip(answers, lost, strict=True))
    failed = [answer.transcript for answer, count in pairs if answer.code is None and count < GIVES_UP_AFTER]
    assert not failed, f"{len(failed)} of {len(answers)} failed, the first so:\n{failed[0]}"
    assert sum(answer.code is None for answer in answers) <= 2 + len(answers) // 12, "more than chance explains"


def campaign(gateway: Gateway, flavour: str, auth: str, runs: int, folder: Path) -> list[Answer]:
    """Runs, some at once; in the end all of them have succeeded."""
    clients, loss = fleet(gateway, flavour, auth, runs, "127.1"), ("-l", "20%")
    answers = run_all(clients, gateway.port, folder, *loss)
    check(answers, [answer.dropped for answer in answers])
    for number, client in enumerate(clients):
        for again in range(3):  # with better luck
            if answers[number].code is None:
                answers[number] = client.run(gateway.port, folder / f"{client.source}-{again}", *loss)
    check(answers, [0] * runs)
    return answers


@pytest.fixture(scope="module")
def five_runs(
    gateway: Gateway, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[tuple[str, str], Future[list[Answer]]]]:
    """Begins all the short campaigns together: each of them is mostly waiting."""
    folder = tmp_path_factory.mktemp("loss")
    with ThreadPoolExecutor(len(WAYS)) as pool:
        yield {
            (flavour, auth): pool.submit(campaign, gateway, flavour, auth, 5, folder / f"{flavour}-{auth}")
            for flavour, auth in WAYS
        }


@pytest.mark.peer("libcoap-{flavour}", "loss")
@pytest.mark.parametrize(("flavour", "auth"), WAYS)
def test_five_runs(five_runs: dict[tuple[str, str], Future[list[Answer]]], flavour: str, auth: str) -> None:
    assert len(five_runs[flavour, auth].result()) == 5


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_whole_flight_gets_lost(gateway: Gateway, flavour: str, tmp_path: Path) -> None:
    """ClientKeyExchange, ChangeCipherSpec and Finished, and once more when they are repeated."""
    for number, lost in enumerate(("3-5", "3-8")):
        [client] = fleet(gateway, flavour, "psk", 1, f"127.{3 + number}")
        answer = client.run(gateway.port, tmp_path / lost, "-l", lost)
        assert answer.code is not None, answer.transcript
        assert answer.dropped >= 3


@pytest.mark.long
@pytest.mark.parametrize(("flavour", "auth"), WAYS)
def test_fifty_runs(gateway: Gateway, flavour: str, auth: str, tmp_path: Path) -> None:
    answers = campaign(gateway, flavour, auth, 50, tmp_path / "runs")
    # Fifty runs send more than 250 datagrams, of which 50 are one in five.
    assert sum(answer.dropped for answer in answers) >= 20


@pytest.mark.long
@pytest.mark.parametrize(("flavour", "auth"), TWO_WAY)
def test_fifty_runs_on_a_path_that_is_bad_both_ways(gateway: Gateway, flavour: str, auth: str, tmp_path: Path) -> None:
    clients = fleet(gateway, flavour, auth, 50, "127.2")
    with LossyPath(gateway.port, seed=1, loss=0.1, repeated=0.1, delayed=0.1) as path:
        answers = run_all(clients, path.port, tmp_path / "runs")
    check(answers, [path.flows[client.source].lost for client in clients])
    assert sum(flow.lost for flow in path.flows.values()) >= 20
