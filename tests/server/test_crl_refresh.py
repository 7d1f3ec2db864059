"""Revocation lists fetched from a web server."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gateway.identity import WebError
from gateway.pki import fingerprint, issue_device
from gateway.server import crl_refresh
from gateway.server.crl_refresh import fetch
from gateway.simulator import DeviceError, SimulatedDevice, certified
from tests.server.support import Gateway, pki, running
from tests.server.test_revocation import crl
from tests.slow_web import slow_web

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def only_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway's own task would fetch in between."""

    async def rest(self: crl_refresh.CrlRefresh) -> None:
        pass

    monkeypatch.setattr(crl_refresh.CrlRefresh, "run", rest)


@dataclass
class Publisher:
    """Attributes:
    body: What it answers with; None for 503.
    redirect: Where it sends everybody instead.
    asked: The paths.
    """

    url: str = ""
    body: bytes | None = b""
    redirect: str = ""
    asked: list[str] = field(default_factory=list)


@contextmanager
def publishing() -> Iterator[Publisher]:
    publisher = Publisher()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            publisher.asked.append(self.path)
            body = publisher.body
            if publisher.redirect:
                self.send_response(302)
                self.send_header("Location", publisher.redirect)
            else:
                self.send_response(200 if body is not None else 503)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        publisher.url = f"http://127.0.0.1:{server.server_address[1]}/factory.crl"
        try:
            yield publisher
        finally:
            server.shutdown()
            thread.join()


def point_at(gateway: Gateway, url: str) -> None:
    registry = gateway.worker.registry
    [anchor] = registry.trust_anchors()
    registry.add_intermediate(pki().factory.presented_der[0])
    registry.set_trust_anchor(anchor.id, policy=replace(anchor.policy, crl_url=url))


async def look(gateway: Gateway) -> crl_refresh.CrlRefresh:
    worker = gateway.worker
    await gateway.watch.look()
    refresh = crl_refresh.CrlRefresh(worker.registry, worker._identity, clock=lambda: 1.0)
    await refresh.look()
    return refresh


async def test_a_list_is_fetched_and_counts(tmp_path: Path) -> None:
    made = issue_device(pki().factory, "stolen")
    async with running(tmp_path) as gateway:
        with publishing() as publisher:
            publisher.body = crl(pki().factory, made.certificate.serial_number)
            point_at(gateway, publisher.url)
            refresh = await look(gateway)
            assert refresh.results == {"stored": 1, "unchanged": 0, "failed": 0}
            asked = len(publisher.asked)
            await refresh.look()
            assert len(publisher.asked) == asked  # not due yet
        [line] = gateway.events("crl.refreshed")
        assert (line["number"], line["entries"]) == (1, 1)
        [kept] = gateway.worker.registry.crls()
        assert (kept.issuer, kept.crl_number) == (fingerprint(pki().factory.certificate), 1)
        with pytest.raises(DeviceError):
            await SimulatedDevice(certified("stolen", made), "127.0.0.1", gateway.port).connect()
        assert gateway.events("dtls.handshake_failed")[-1]["reason"] == "certificate_revoked"
        _, text = await gateway.get("/metrics")
        assert 'gateway_certificate_expiry_timestamp_seconds{kind="crl"' in text


@pytest.mark.parametrize("body", [None, b"", b"garbage", crl(issue_device(pki().factory, "no-ca"))])
async def test_what_is_no_list_of_a_known_ca_leaves_the_old_one(tmp_path: Path, body: bytes | None) -> None:
    async with running(tmp_path) as gateway:
        with publishing() as publisher:
            publisher.body = crl(pki().factory, 1, number=7)
            point_at(gateway, publisher.url)
            await look(gateway)
            publisher.body = body
            refresh = await look(gateway)
        assert refresh.results["failed"] == 1
        [line] = gateway.events("crl.refresh_failed")
        assert line["hint"]
        assert [each.crl_number for each in gateway.worker.registry.crls()] == [7]


async def test_an_old_list_does_not_come_back(tmp_path: Path) -> None:
    """Whoever is on the way may send the list of last week, in which a stolen device was still good."""
    async with running(tmp_path) as gateway:
        with publishing() as publisher:
            point_at(gateway, publisher.url)
            publisher.body = crl(pki().factory, 1, number=7)
            await look(gateway)
            publisher.body = crl(pki().factory, number=6)
            assert (await look(gateway)).results["failed"] == 1
        assert "older" in gateway.events("crl.refresh_failed")[0]["hint"]
        assert [each.crl_number for each in gateway.worker.registry.crls()] == [7]


async def test_failures_are_tried_again_later_and_later(tmp_path: Path) -> None:
    now = [0.0]
    async with running(tmp_path) as gateway:
        with publishing() as publisher:
            publisher.body = None
            point_at(gateway, publisher.url)
            await gateway.watch.look()
            worker = gateway.worker
            refresh = crl_refresh.CrlRefresh(worker.registry, worker._identity, clock=lambda: now[0])
            waits = []
            for _ in range(8):
                await refresh.look()
                due = refresh._due[publisher.url]
                waits.append(due - now[0])
                now[0] = due
        assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600]


async def test_what_is_fetched_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crl_refresh, "MAX_CRL_BYTES", 1000)
    with publishing() as publisher:
        publisher.body = bytes(2001)
        with pytest.raises(WebError, match="more than 2000"):
            fetch(publisher.url)
        publisher.body = bytes(2000)
        assert fetch(publisher.url) == bytes(2000)
    for url in ("file:///etc/passwd", "ftp://127.0.0.1/x"):
        with pytest.raises(WebError, match="no URL"):
            fetch(url)


async def test_a_list_that_comes_slowly_has_failed_and_delays_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = crl(pki().factory, 1, number=7)
    async with running(tmp_path) as gateway:
        worker = gateway.worker
        with slow_web(b"HTTP/1.1 200 OK\r\nX: ") as web, publishing() as publisher:
            publisher.body = made
            point_at(gateway, f"{web.url()} {publisher.url}")
            await gateway.watch.look()
            refresh = crl_refresh.CrlRefresh(worker.registry, worker._identity, clock=lambda: 1.0, fetch_s=2.0)
            looking = asyncio.create_task(refresh.look())
            while not gateway.events("crl.refreshed"):
                await asyncio.sleep(0.01)
                assert not looking.done()
            assert refresh.results == {"stored": 1, "unchanged": 0, "failed": 0}
            await looking
            assert refresh.results == {"stored": 1, "unchanged": 0, "failed": 1}
            assert await asyncio.to_thread(web.left.wait, 10)
        [line] = gateway.events("crl.refresh_failed")
        assert (line["url"], line["hint"], line["next_try_s"]) == (web.url(), "it took longer than 2 seconds", 60)


async def test_a_list_under_way_is_not_asked_for_again(tmp_path: Path) -> None:
    now = [1.0]
    async with running(tmp_path) as gateway:
        worker = gateway.worker
        with slow_web(b"HTTP/1.1 200 OK\r\nX: ") as web:
            point_at(gateway, web.url())
            await gateway.watch.look()
            refresh = crl_refresh.CrlRefresh(worker.registry, worker._identity, clock=lambda: now[0], fetch_s=1.0)
            looking = asyncio.create_task(refresh.look())
            assert await asyncio.to_thread(web.asked.wait, 10)
            now[0] += 86_400.0
            await refresh.look()
            assert not looking.done()
            await looking
        assert refresh.results["failed"] == 1


async def test_so_many_lists_are_fetched_at_once_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Future[bytes]] = []

    def in_background(work: object, name: str) -> Future[bytes]:
        begun.append(Future())
        return begun[-1]

    async def turns() -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    monkeypatch.setattr(crl_refresh, "MAX_CRL_FETCHES", 3)
    monkeypatch.setattr(crl_refresh, "in_background", in_background)
    async with running(tmp_path) as gateway:
        worker = gateway.worker
        point_at(gateway, " ".join(f"http://127.0.0.1:9/{number}" for number in range(5)))
        await gateway.watch.look()
        refresh = crl_refresh.CrlRefresh(worker.registry, worker._identity, clock=lambda: 1.0)
        looking = asyncio.create_task(refresh.look())
        for ended in range(5):
            await turns()
            assert len(begun) == min(ended + 3, 5)
            begun[ended].set_exception(WebError("nobody there"))
        await looking
    assert refresh.results["failed"] == 5


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    """Whoever answers at a plain http URL could have the gateway ask for anything that only it can reach."""
    async with running(tmp_path) as gateway:
        with publishing() as inner, publishing() as outer:
            inner.body = crl(pki().factory, 1)
            outer.redirect = inner.url
            point_at(gateway, outer.url)
            refresh = await look(gateway)
        assert refresh.results["failed"] == 1
        assert (len(outer.asked), inner.asked) == (1, [])
        [line] = gateway.events("crl.refresh_failed")
        assert inner.url in line["hint"]
        assert "not followed" in line["hint"]


async def test_a_fault_of_ours_is_told_and_counts_as_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(url: str, *, limit_s: float) -> bytes:
        raise RuntimeError("a bug")

    monkeypatch.setattr(crl_refresh, "fetch", fetch)
    async with running(tmp_path) as gateway:
        point_at(gateway, "http://127.0.0.1:9/a.crl")
        refresh = await look(gateway)
        assert refresh.results["failed"] == 1
        assert len(gateway.events("server.fault")) == 1
        assert gateway.events("crl.refresh_failed")[0]["next_try_s"] == 60
