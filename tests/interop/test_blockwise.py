"""Bodies of any size with libcoap's and aiocoap's clients: every block size, both ways, with loss, byte for byte.

libcoap's client waits two to three seconds before it repeats (ACK_TIMEOUT, which its library allows no less than one
of), so a megabyte in 65,536 blocks over a path that loses one in ten would take it five hours with any server. There
its clock runs faster than ours, by `faketime`. And libcoap 4.3 forgets a download 93 s after its first block
(MAX_TRANSMIT_WAIT; its log says `lg_crcv released`), however well it goes on: there it is given another MAX_RETRANSMIT.
aiocoap's client can be told to wait less.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.interop.compiled import patient_download
from tests.interop.devices import Psk
from tests.interop.gateway_process import KEY, REPOSITORY, Gateway, total
from tests.interop.libcoap import FLAVOURS, coap_client_command
from tests.interop.lossy import LosesData
from tests.interop.peers import program
from tests.interop.store import MEGABYTE, body, build_store

pytestmark = pytest.mark.interop

SIZES = (16, 32, 64, 128, 256, 512, 1024)
PATIENCE_S = 1800
HURRY = 100
IMPATIENT_S = 0.01
"""Seconds (ACK_TIMEOUT) after which aiocoap repeats where it is told to: some times what loopback takes."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(build_store(tmp_path_factory.mktemp("store"))) as running:
        yield running


@dataclass(frozen=True, slots=True)
class Client:
    """`coap-client`, one run for each call.

    Attributes:
        flavour: On which library.
        port: The gateway's.
        folder: For what it reads and writes.
        source: Its own address.
        hurry: How many of its seconds one of ours has.
        environ: Variables for it, over ours.
    """

    flavour: str
    port: int
    folder: Path
    source: str = "127.0.0.1"
    hurry: int = 1
    environ: dict[str, str] = field(default_factory=dict)

    def run(self, method: str, path: str, *words: str, sent: bytes | None = None) -> bytes:
        """What it received; empty when it received nothing."""
        program(f"coap-client-{self.flavour}")
        self.folder.mkdir(exist_ok=True)
        received = self.folder / "received"
        own = ["-a", self.source, "-v", "3", "-B", str(self.hurry * PATIENCE_S), *words]
        received.unlink(missing_ok=True)
        if sent is not None:
            (self.folder / "sent").write_bytes(sent)
            own += ["-f", str(self.folder / "sent")]
        command = coap_client_command(
            self.flavour, self.port, Psk(), *own, "-m", method, "-o", str(received), path=path
        )
        if self.hurry > 1:
            command = [program("faketime"), "-f", f"+0 x{self.hurry}", *command]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE_S + 30,
            check=False,
            env={**os.environ, **self.environ},
        )
        # What it says about errors, for the report of a failed test.
        print(done.stdout.decode(errors="replace")[-2000:], done.stderr.decode(errors="replace")[-2000:])
        return received.read_bytes() if received.exists() else b""


def told(method: str, sent: bytes) -> bytes:
    return f"{method} {sha256(sent).hexdigest()}".encode()


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("size", SIZES)
def test_bodies_go_and_come(store: Gateway, flavour: str, size: int, tmp_path: Path) -> None:
    client, sent = Client(flavour, store.port, tmp_path), body(20_001)
    block = ("-b", str(size))
    assert client.run("put", "/up", *block, sent=sent) == told("PUT", sent)
    assert client.run("post", "/stream", *block, sent=sent) == told("POST", sent)
    assert client.run("get", "/named/20001", *block) == sent
    assert client.run("get", "/kept/20001", *block) == sent
    assert client.run("post", "/mirror", *block, sent=sent[:5000]) == sent[:5000][::-1]


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("method", ["fetch", "patch", "ipatch"])
@pytest.mark.parametrize("size", [9, 3001])
def test_the_methods_of_rfc_8132(store: Gateway, flavour: str, method: str, size: int, tmp_path: Path) -> None:
    client = Client(flavour, store.port, tmp_path)
    assert client.run(method, "/up", "-b", "256", sent=body(size)) == told(method.upper(), body(size))


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_fetch_with_a_large_answer(store: Gateway, flavour: str, tmp_path: Path) -> None:
    assert Client(flavour, store.port, tmp_path).run("fetch", "/mirror", sent=body(900)) == body(900)[::-1]


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_non_confirmable_blocks(store: Gateway, flavour: str, tmp_path: Path) -> None:
    client = Client(flavour, store.port, tmp_path)
    assert client.run("put", "/up", "-N", "-b", "256", sent=body(5000)) == told("PUT", body(5000))
    assert client.run("get", "/named/5000", "-N", "-b", "256") == body(5000)
    assert client.run("get", "/kept/5000", "-N", "-b", "256") == body(5000)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_firmware_from_its_folder_and_from_any_block(store: Gateway, flavour: str, tmp_path: Path) -> None:
    client = Client(flavour, store.port, tmp_path)
    assert client.run("get", "/firmware/image.bin") == body(MEGABYTE)
    # `-b num,size` begins in the middle, as a device does that was interrupted; libcoap ends after one block.
    for number, size in ((1, 1024), (1000, 1024), (1023, 1024), (65_535, 16)):
        part = client.run("get", "/firmware/image.bin", "-b", f"{number},{size}")
        assert part == body(MEGABYTE)[number * size : (number + 1) * size]


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_client_is_asked_for_an_echo_and_gives_it_by_itself(store: Gateway, flavour: str, tmp_path: Path) -> None:
    # RFC 9175 section 2.3.
    assert Client(flavour, store.port, tmp_path).run("post", "/unlock", sent=b"now") == b"unlocked"
    assert total(store.samples(), "gateway_coap_requests_total", route="/unlock", code="4.01") >= 1


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_body_that_is_too_large_is_not_taken(store: Gateway, flavour: str, tmp_path: Path) -> None:
    client, before = Client(flavour, store.port, tmp_path), store.samples()
    client.run("post", "/echo", "-b", "1024", sent=body(70_000))
    after = store.samples()
    refused = {"route": "/echo", "code": "4.13"}
    name = "gateway_coap_requests_total"
    assert total(after, name, **refused) == total(before, name, **refused) + 1
    # libcoap says in its first block how large the body is (Size1), and sends no second one.
    assert total(after, name, route="/echo", code="2.31") == total(before, name, route="/echo", code="2.31")


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_bodies_over_a_path_that_loses(store: Gateway, flavour: str, tmp_path: Path) -> None:
    """A tenth of what the client sends is lost, the handshake's datagrams too. Twenty blocks: a few repetitions."""

    def up(number: int) -> bool:
        client = Client(flavour, store.port, tmp_path / f"up{number}", f"127.0.1.{number + 1}")
        return client.run("put", "/up", "-l", "10%", "-b", "512", sent=body(10_000)) == told("PUT", body(10_000))

    def down(number: int) -> bool:
        client = Client(flavour, store.port, tmp_path / f"down{number}", f"127.0.2.{number + 1}")
        return client.run("get", "/named/10000", "-l", "10%", "-b", "512") == body(10_000)

    with ThreadPoolExecutor(8) as pool:
        done = [*pool.map(up, range(4)), *pool.map(down, range(4))]
    # One in a hundred runs may lose its handshake, whoever the server is; none ends with other bytes.
    assert done.count(True) >= 7


@pytest.mark.long
@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("size", SIZES)
def test_a_megabyte(store: Gateway, flavour: str, size: int, tmp_path: Path) -> None:
    client, sent, block = Client(flavour, store.port, tmp_path), body(MEGABYTE), ("-b", str(size))
    assert client.run("put", "/up", *block, sent=sent) == told("PUT", sent)
    assert client.run("post", "/stream", *block, sent=sent) == told("POST", sent)
    assert client.run("get", "/firmware/image.bin", *block) == sent
    assert client.run("get", f"/kept/{MEGABYTE - 1024}", *block) == sent[: MEGABYTE - 1024]


@pytest.mark.long
@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("size", SIZES)
def test_a_megabyte_over_a_path_that_loses(store: Gateway, flavour: str, size: int, tmp_path: Path) -> None:
    """Up and down, side by side; a tenth of what either side sends is lost.

    In a hurry, a machine that is busy elsewhere is a slow path: then libcoap writes blocks twice into its output.
    """
    sent = body(MEGABYTE)
    with LosesData(store.port, seed=1) as path, ThreadPoolExecutor(2) as pool:
        up, down = (
            Client(flavour, path.port, tmp_path / name, f"127.0.3.{number}", HURRY)
            for number, name in enumerate(("up", "down"), start=1)
        )
        down.environ["LD_PRELOAD"] = patient_download()
        went = pool.submit(up.run, "put", "/up", "-b", str(size), sent=sent)
        came = pool.submit(down.run, "get", "/firmware/image.bin", "-b", str(size))
        assert went.result() == told("PUT", sent)
        assert came.result() == sent
        lost = [flow.lost for flow in path.flows.values()]
        # A tenth of the requests, and of the answers.
        assert len(lost) == 2
        assert min(lost) > 0.15 * MEGABYTE / size


def aiocoap_requests(port: int, requests: list[tuple[str, str, bytes]], **settings: Any) -> list[Any]:
    """aiocoap's client in a process of its own, with `settings` of `Job`: code and payload of each answer."""
    job = {
        "port": port,
        "identity": Psk().identity,
        "key": KEY.hex(),
        "requests": [(method, path, payload.hex()) for method, path, payload in requests],
        **settings,
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.interop.aiocoap_client"],
        cwd=REPOSITORY,
        input=json.dumps(job),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [(code, bytes.fromhex(payload)) for code, payload in map(json.loads, done.stdout.splitlines())]


@pytest.mark.parametrize("confirmable", [True, False], ids=["con", "non"])
def test_aiocoap_transfers_bodies_both_ways(store: Gateway, confirmable: bool) -> None:
    pytest.importorskip("DTLSSocket")
    sent = body(100_000)
    answers = aiocoap_requests(
        store.port,
        [
            ("PUT", "/up", sent),
            ("POST", "/stream", sent),
            ("GET", "/named/100000", b""),
            ("GET", "/kept/100000", b""),
            ("POST", "/mirror", sent),
            ("FETCH", "/mirror", sent[:900]),
            ("FETCH", "/up", sent[:5000]),
            ("PATCH", "/up", sent[:5000]),
            ("iPATCH", "/up", b"small"),
        ],
        confirmable=confirmable,
    )
    assert answers == [
        ("2.04", told("PUT", sent)),
        ("2.04", told("POST", sent)),
        ("2.05", sent),
        ("2.05", sent),
        ("2.04", sent[::-1]),
        ("2.05", sent[:900][::-1]),
        ("2.05", told("FETCH", sent[:5000])),
        ("2.04", told("PATCH", sent[:5000])),
        ("2.04", told("IPATCH", b"small")),
    ]


def aiocoap_transfers(port: int, path: str, size: int, block: int, **settings: Any) -> None:
    """A body of that size up, and one down, in blocks of a size."""
    pytest.importorskip("DTLSSocket")
    szx = SIZES.index(block)
    answers = aiocoap_requests(port, [("PUT", "/up", body(size)), ("GET", path, b"")], szx=szx, **settings)
    assert answers == [("2.04", told("PUT", body(size))), ("2.05", body(size))]


@pytest.mark.parametrize("block", SIZES)
def test_aiocoap_transfers_in_every_block_size(store: Gateway, block: int) -> None:
    name, before = "gateway_coap_requests_total", store.samples()
    aiocoap_transfers(store.port, "/named/20001", 20_001, block)
    after, blocks = store.samples(), 20_001 // block + 1
    of_up, of_down = {"route": "/up", "code": "2.31"}, {"route": "/named/{size}", "code": "2.05"}
    assert total(after, name, **of_up) - total(before, name, **of_up) == blocks - 1
    assert total(after, name, **of_down) - total(before, name, **of_down) == blocks


@pytest.mark.parametrize("block", SIZES)
def test_aiocoap_transfers_in_every_block_size_over_a_path_that_loses(store: Gateway, block: int) -> None:
    with LosesData(store.port, seed=1) as path:
        aiocoap_transfers(path.port, f"/kept/{50 * block}", 50 * block, block, ack_timeout=IMPATIENT_S)
        assert sum(flow.lost for flow in path.flows.values()) > 10


@pytest.mark.long
@pytest.mark.parametrize("block", SIZES)
def test_aiocoap_transfers_a_megabyte(store: Gateway, block: int) -> None:
    aiocoap_transfers(store.port, "/firmware/image.bin", MEGABYTE, block)


@pytest.mark.long
@pytest.mark.parametrize("block", SIZES)
def test_aiocoap_transfers_a_megabyte_over_a_path_that_loses(store: Gateway, block: int) -> None:
    with LosesData(store.port, seed=1) as path:
        aiocoap_transfers(path.port, "/firmware/image.bin", MEGABYTE, block, ack_timeout=IMPATIENT_S)
        assert sum(flow.lost for flow in path.flows.values()) > 0.3 * MEGABYTE / block
