"""Clients that lose one in five of the datagrams that they send (`coap-client -l 20%`)."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.interop.devices import Certified, Psk, new_device
from tests.interop.gateway_process import Gateway
from tests.interop.libcoap import FLAVOURS, Answer, coap_client
from tests.interop.peers import program

pytestmark = pytest.mark.interop

WAYS = [(flavour, auth) for flavour in FLAVOURS for auth in ("psk", "certificate")]

LOSS = "20%"
AT_ONCE = 10
"""Clients side by side. They wait far more than they compute."""

GIVES_UP_AFTER = 5
"""Time-outs of a handshake, or copies of a request, after which libcoap gives up (RFC 7252 section 4.8: MAX_RETRANSMIT
4)."""


@dataclass(frozen=True, slots=True)
class Client:
    """One that can be run.

    Attributes:
        flavour: On which library.
        device: Who it is.
        source: Its address.
    """

    flavour: str
    device: Psk | Certified
    source: str

    def run(self, port: int, folder: Path) -> Answer:
        folder.mkdir()
        payload = folder.name
        options = ("-l", LOSS)
        answer = coap_client(
            self.flavour,
            port,
            self.device,
            "post",
            "/echo",
            payload,
            options=options,
            source=self.source,
            folder=folder,
        )
        if answer.code is not None:
            assert (answer.code, answer.payload) == ("2.04", payload.encode()), answer.transcript
        return answer


def out_of_luck(answer: Answer) -> bool:
    """Whether it may have lost something so often that it gave up, which no server can help.

    That has to be expected once in some fifty runs. A client that lost less and failed was failed by the gateway.
    """
    return answer.code is None and answer.dropped >= GIVES_UP_AFTER


def campaign(gateway: Gateway, flavour: str, auth: str, runs: int, folder: Path) -> list[Answer]:
    """Runs, some at once; all of them succeed."""
    program(f"coap-client-{flavour}")
    folder.mkdir()
    net = 1 + WAYS.index((flavour, auth))
    clients = [
        Client(
            flavour,
            Psk() if auth == "psk" else new_device(gateway.site, f"loss-{flavour}"),
            f"127.0.{net}.{number}",
        )
        for number in range(1, runs + 1)
    ]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        started = [pool.submit(client.run, gateway.port, folder / client.source) for client in clients]
        answers = [future.result() for future in started]
    unlucky = [number for number, answer in enumerate(answers) if out_of_luck(answer)]
    assert len(unlucky) <= 2 + runs // 12, "more than chance explains"
    for number in unlucky:
        client = clients[number]
        for again in range(3):
            answers[number] = client.run(gateway.port, folder / f"{client.source}-{again}")
            if not out_of_luck(answers[number]):
                break
    failed = [answer.transcript for answer in answers if answer.code is None]
    assert not failed, f"{len(failed)} of {runs} failed, the first so:\n{failed[0]}"
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


@pytest.mark.parametrize(("flavour", "auth"), WAYS)
def test_five_runs(five_runs: dict[tuple[str, str], Future[list[Answer]]], flavour: str, auth: str) -> None:
    assert len(five_runs[flavour, auth].result()) == 5


@pytest.mark.long
@pytest.mark.parametrize(("flavour", "auth"), WAYS)
def test_fifty_runs(gateway: Gateway, flavour: str, auth: str, tmp_path: Path) -> None:
    answers = campaign(gateway, flavour, auth, 50, tmp_path / "runs")
    # Fifty runs send more than 250 datagrams, of which 50 are one in five.
    assert sum(answer.dropped for answer in answers) >= 20
