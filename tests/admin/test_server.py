"""The admin port over real sockets, with the standard library's HTTP client as the foreign side."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from gateway.admin import AdminError, AdminServer, ApiAnswer, ApiRequest, Guarded, Health
from gateway.telemetry import CounterTable, Metrics
from tests.admin.support import Bench, running


@pytest.fixture
def bench() -> Iterator[Bench]:
    with running() as bench:
        yield bench


def test_port_zero_reports_the_real_port(bench: Bench) -> None:
    host, port = bench.server.address
    assert (host, port > 0) == ("127.0.0.1", True)
    assert bench.server.url == f"http://127.0.0.1:{port}"


def test_metrics_in_the_classic_format(bench: Bench) -> None:
    table = CounterTable("gateway_things_total", "Things.")
    bench.metrics.add_tables("things", table)
    table.add(by=7)
    response, body = bench.ask("/metrics")
    assert response.status == 200
    assert (response.getheader("Content-Type") or "").startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    assert families["gateway_things"].samples[0].value == 7
    assert "gateway_build_info" in families


def test_metrics_as_openmetrics_for_those_who_accept_it(bench: Bench) -> None:
    response, body = bench.ask("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert (response.getheader("Content-Type") or "").startswith("application/openmetrics-text; version=1.0.0")
    names = {family.name for family in parse_openmetrics(body.decode())}  # type: ignore[no-untyped-call]
    assert "gateway_build" in names


def test_a_query_changes_nothing(bench: Bench) -> None:
    _, body = bench.ask("/metrics?name[]=process_open_fds")
    names = {family.name for family in text_string_to_metric_families(body.decode())}
    assert names > {"process_open_fds", "gateway_build_info"}


def test_live_while_the_loop_beats(bench: Bench) -> None:
    bench.now = 10.0
    assert bench.json("/livez") == (200, {"status": "alive", "loop_age_seconds": 10.0, "limit_seconds": 10.0})
    bench.now = 10.5
    assert bench.json("/livez") == (503, {"status": "stuck", "loop_age_seconds": 10.5, "limit_seconds": 10.0})
    bench.heartbeat.beat()
    assert bench.json("/livez")[0] == 200


def test_liveness_does_not_depend_on_readiness(bench: Bench) -> None:
    bench.checks["registry"] = lambda: "gone"
    assert bench.json("/livez")[0] == 200


def test_ready_without_checks_and_with_passing_ones(bench: Bench) -> None:
    assert bench.json("/readyz") == (200, {"status": "ready", "failing": [], "checks": {}})
    bench.checks["socket"] = lambda: None
    assert bench.json("/readyz") == (200, {"status": "ready", "failing": [], "checks": {"socket": "ok"}})


def test_not_ready_lists_what_fails_and_hides_what_an_exception_says(bench: Bench) -> None:
    def raises() -> str | None:
        raise OSError("/secret/path")

    bench.checks.update(
        {
            "socket": lambda: None,
            "registry": raises,
            "drain": lambda: "the gateway is stopping",
            "long": lambda: "a" * 999,
        }
    )
    status, body = bench.json("/readyz")
    assert status == 503
    assert body["status"] == "not ready"
    assert body["failing"] == ["drain", "long", "registry"]
    assert body["checks"]["socket"] == "ok"
    assert body["checks"]["drain"] == "the gateway is stopping"
    assert body["checks"]["registry"] == "check raised OSError"
    assert len(body["checks"]["long"]) == 200


@pytest.mark.parametrize("path", ["/metrics", "/livez", "/readyz"])
def test_head_has_the_headers_and_no_body(bench: Bench, path: str) -> None:
    response, body = bench.ask(path, "HEAD")
    assert (response.status, body) == (200, b"")
    assert int(response.getheader("Content-Length") or 0) > 0


@pytest.mark.parametrize("path", ["/metrics", "/livez", "/readyz"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "NONSENSE"])
def test_other_methods_get_405(bench: Bench, path: str, method: str) -> None:
    response, _ = bench.ask(path, method)
    assert response.status == 405
    assert response.getheader("Allow") == "GET, HEAD"


@pytest.mark.parametrize("path", ["/", "/metrics/", "/favicon.ico", "/livez/../metrics", "/LIVEZ"])
def test_other_paths_get_404(bench: Bench, path: str) -> None:
    response, body = bench.ask(path)
    assert response.status == 404
    assert json.loads(body)["pages"] == ["/metrics", "/livez", "/readyz"]


def test_a_page_that_breaks_gets_500_and_the_next_one_is_served() -> None:
    def broken() -> float:
        raise RuntimeError("no clock")

    bench = Bench()
    server = AdminServer("127.0.0.1", 0, registry=bench.metrics.registry, loop_age_s=broken, checks={})
    bench.server.stop()
    bench.server = server
    with server:
        response, body = bench.ask("/livez")
        assert (response.status, json.loads(body)) == (500, {"error": "see the log"})
        assert bench.json("/readyz")[0] == 200


def test_an_address_in_use_is_one_line_with_what_to_do() -> None:
    with running() as first:
        host, port = first.server.address
        with pytest.raises(AdminError) as caught:
            AdminServer(host, port, registry=first.metrics.registry, loop_age_s=lambda: 0.0, checks={})
    line = str(caught.value)
    assert line.startswith(f"admin port 127.0.0.1:{port} is in use")
    assert "[admin] bind" in line
    assert "\n" not in line


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_ours(host: str) -> None:
    with pytest.raises(AdminError, match=r"cannot be opened: .*\[admin\] bind"):
        AdminServer(host, 0, registry=Metrics().registry, loop_age_s=lambda: 0.0, checks={})


def ask_locally(path: Path, target: str) -> tuple[int, Any]:
    """By hand, over a local socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(10)
        client.connect(str(path))
        client.sendall(f"GET {target} HTTP/1.0\r\n\r\n".encode())
        head, _, body = b"".join(iter(lambda: client.recv(65536), b"")).partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def test_a_local_socket(tmp_path: Path) -> None:
    path = tmp_path / "admin"
    with running(host=path) as bench:
        assert bench.server.address == (str(path), 0)
        assert ask_locally(path, "/readyz") == (200, {"status": "ready", "failing": [], "checks": {}})
        bench.now = 100.0
        assert ask_locally(path, "/livez")[0] == 503
    with pytest.raises(ConnectionRefusedError):
        ask_locally(path, "/readyz")


def test_a_local_socket_whose_path_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(AdminError, match="give another folder with TMPDIR"):
        Bench(tmp_path / ("x" * 108))


def test_a_page_may_fail_and_may_take_the_place_of_another() -> None:
    pages = {"/livez": lambda query: Health(False, {"status": "stuck", "asked": query.get("by")})}
    with running(pages=pages) as bench:
        assert bench.json("/livez?by=me") == (503, {"status": "stuck", "asked": "me"})
        assert bench.json("/readyz")[0] == 200


def test_ipv6() -> None:
    try:
        bench = Bench("::1")
    except AdminError:
        pytest.skip("this machine has no IPv6")
    with bench.server:
        assert bench.server.url.startswith("http://[::1]:")
        assert bench.json("/livez")[0] == 200


def test_connections_beyond_the_bound_are_told_to_come_back() -> None:
    entered, release = threading.Semaphore(0), threading.Event()

    def waits() -> str | None:
        entered.release()
        release.wait(30)
        return None

    with running(max_connections=2) as bench:
        bench.checks["slow"] = waits
        held = [socket.create_connection(bench.server.address, timeout=30) for _ in range(2)]
        try:
            for connection in held:
                connection.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
            # Both threads are now inside the check, which only `release` ends.
            assert entered.acquire(timeout=30)
            assert entered.acquire(timeout=30)
            response, _ = bench.ask("/livez")
            assert response.status == 503
            assert response.getheader("Retry-After") == "1"
            release.set()
            for connection in held:
                with connection.makefile("rb") as stream:
                    assert stream.readline() == b"HTTP/1.0 200 OK\r\n"
                    stream.read()
        finally:
            release.set()
            for connection in held:
                connection.close()


def test_a_client_that_says_nothing_is_hung_up_on_and_frees_its_thread() -> None:
    with (
        running(io_timeout_s=0.05, max_connections=1) as bench,
        socket.create_connection(bench.server.address, timeout=30) as silent,
    ):
        # The end of the stream: the server gave up, not we.
        assert silent.recv(100) == b""


@pytest.mark.parametrize("head", [b"", b"GET /livez HTTP/1.0\r\nX-Slow: "])
def test_a_client_that_drips_is_hung_up_on(head: bytes) -> None:
    with (
        running(io_timeout_s=0.2, max_connections=1) as bench,
        socket.create_connection(bench.server.address, timeout=30) as dripping,
    ):
        dripping.sendall(head)
        # Each byte comes well before the time-out of a single read would have passed.
        dripping.settimeout(0.01)
        for _ in range(500):
            try:
                assert dripping.recv(100) == b""
                return
            except TimeoutError:
                pass
            except ConnectionError:
                return
            try:
                dripping.send(b"G")
            except ConnectionError:
                return
    pytest.fail("500 drips, and the server still listens")


@pytest.mark.parametrize(
    "garbage",
    [b"\r\n\r\n", b"\x16\x03\x01\x02\x00", b"GET", b"GET /livez\r\n", b"G" * 70_000 + b"\r\n", b"GET / X\r\n\r\n"],
)
def test_garbage_does_not_stop_it(bench: Bench, garbage: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_connection(bench.server.address, timeout=30) as stranger:
        stranger.sendall(garbage)
        stranger.shutdown(socket.SHUT_WR)
        try:
            while stranger.recv(4096):
                pass
        except ConnectionResetError:
            pass
    assert bench.json("/livez")[0] == 200
    assert "Traceback" not in capfd.readouterr().err


def test_stopping_closes_the_port_and_can_be_repeated() -> None:
    with running() as bench:
        address = bench.server.address
    bench.server.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=30).close()


def test_stopping_without_starting() -> None:
    Bench().server.stop()


def test_an_api_gets_what_stands_below_its_path() -> None:
    seen = []

    def api(request: ApiRequest) -> ApiAnswer:
        seen.append(request)
        return ApiAnswer(202, {"taken": True}, (("Retry-After", "7"),))

    with running(apis={"/things/": api}) as bench:
        host, port = bench.server.address
        connection = HTTPConnection(host, port, timeout=10)
        headers = {"Content-Type": "Application/JSON; charset=utf-8", "Origin": "http://example.org"}
        connection.request("POST", "/things/a%20b/%C3%A9?x=1", b"{}", headers)
        response = connection.getresponse()
        assert (response.status, response.getheader("Retry-After"), response.read()) == (202, "7", b'{"taken":true}\n')
        connection.close()
        assert bench.ask("/things")[0].status == 404
        assert bench.ask("/things/", "DELETE")[0].status == 202
        assert bench.ask("/livez")[0].status == 200
    assert seen[0] == ApiRequest(
        *("POST", "/things/a b/\u00e9", "application/json", "http://example.org", b"{}"),
        raw_path="/things/a%20b/%C3%A9",
        query="x=1",
        peer="127.0.0.1",
    )
    assert seen[1] == ApiRequest(*("DELETE", "/things/", "text/plain", "", b""), raw_path="/things/", peer="127.0.0.1")


@pytest.mark.parametrize("size", ["65537", "99999999999999999999", "-1", "1e3", "\u0662"])
def test_a_body_that_is_too_large_is_not_read(size: str) -> None:
    with (
        running(apis={"/things/": lambda request: ApiAnswer(200, {})}) as bench,
        socket.create_connection(bench.server.address, timeout=10) as client,
    ):
        client.sendall(f"POST /things/a HTTP/1.0\r\nContent-Length: {size}\r\n\r\n".encode())
        assert b" 413 " in client.recv(1000)


def test_an_api_that_breaks_gets_500() -> None:
    def api(request: ApiRequest) -> ApiAnswer:
        raise OSError("/secret/path")

    with running(apis={"/things/": api}) as bench:
        response, body = bench.ask("/things/a", "POST")
        assert (response.status, body) == (500, b'{"error":"see the log"}\n')


# --- a full house ----------------------------------------------------------------------------------------------------

UNFINISHED = [
    b"",
    b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ",
    b"POST /things/a HTTP/1.0\r\nContent-Length: 1000\r\n\r\n{",
]


@pytest.mark.parametrize("head", UNFINISHED)
def test_who_never_finishes_a_request_keeps_nobody_out(head: bytes) -> None:
    apis = {"/things/": lambda request: ApiAnswer(200, {})}
    with running(max_connections=4, io_timeout_s=60.0, apis=apis) as bench, ExitStack() as stack:
        held = []
        for _ in range(3):
            for _ in range(4):
                held.append(stack.enter_context(socket.create_connection(bench.server.address, timeout=30)))
                held[-1].sendall(head)
            assert bench.json("/livez")[0] == 200
        # The oldest had to go, long before their time was up; the newest is still listened to.
        for connection in held[:8]:
            assert ended(connection)
        held[-1].settimeout(0.1)
        with pytest.raises(TimeoutError):
            held[-1].recv(1)


def ended(connection: socket.socket) -> bool:
    """Waits until the server has closed a connection, and says whether that was without a word."""
    try:
        return connection.recv(100) == b""
    except ConnectionError:
        return True


def test_who_does_not_read_its_answer_keeps_nobody_out() -> None:
    entered = threading.Semaphore(0)

    def long(query: object) -> dict[str, object]:
        entered.release()
        return {"text": "x" * 30_000_000}  # more than the kernel keeps for anybody

    with running(max_connections=2, io_timeout_s=60.0, pages={"/long": long}) as bench, ExitStack() as stack:
        for _ in range(2):
            connection = stack.enter_context(socket.create_connection(bench.server.address, timeout=30))
            connection.sendall(b"GET /long HTTP/1.0\r\n\r\n")
            assert entered.acquire(timeout=30)
            connection.recv(1)  # its answer is on its way
        assert bench.json("/livez")[0] == 200


def test_who_is_being_answered_does_not_yield_to_others() -> None:
    entered, release = threading.Event(), threading.Event()

    def waits() -> str | None:
        entered.set()
        release.wait(30)
        return None

    with running(max_connections=2, io_timeout_s=60.0) as bench, ExitStack() as stack:
        bench.checks["slow"] = waits
        asking, silent = stack.enter_context(socket.create_connection(bench.server.address, timeout=30)), []
        asking.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
        try:
            assert entered.wait(30)
            for _ in range(4):
                silent.append(stack.enter_context(socket.create_connection(bench.server.address, timeout=30)))
            assert bench.json("/livez")[0] == 200
            assert ended(silent[0])
        finally:
            release.set()
        with asking.makefile("rb") as stream:
            assert stream.readline() == b"HTTP/1.0 200 OK\r\n"


@pytest.mark.parametrize("guarded", [False, True])
def test_a_body_that_does_not_come_is_no_fault_of_ours(guarded: bool) -> None:
    def refused(request: ApiRequest) -> ApiAnswer:
        return ApiAnswer(401, {})

    def never(request: ApiRequest) -> ApiAnswer:
        raise AssertionError("not asked")

    apis = {"/things/": Guarded(refused, never) if guarded else never}
    with (
        capture_logs() as logs,
        running(io_timeout_s=0.05, apis=apis) as bench,
        socket.create_connection(bench.server.address, timeout=30) as client,
    ):
        client.sendall(b"POST /things/a HTTP/1.0\r\nContent-Length: 1000\r\n\r\n{")
        with client.makefile("rb") as stream:
            assert stream.readline().split()[1] == (b"401" if guarded else b"400")
    assert "admin.request_failed" not in {line["event"] for line in logs}


def test_half_a_request_is_none_when_its_client_had_to_go() -> None:
    """Or a change would be made without the If-Match that was still to come."""
    asked = []

    def api(request: ApiRequest) -> ApiAnswer:
        asked.append(request)
        return ApiAnswer(200, {})

    with running(max_connections=1, io_timeout_s=60.0, apis={"/things/": api}) as bench:
        with socket.create_connection(bench.server.address, timeout=30) as client:
            client.sendall(b"DELETE /things/a HTTP/1.0\r\nAuthorization: Bearer x\r\n")
            assert bench.json("/livez")[0] == 200
            assert ended(client)
        assert asked == []
