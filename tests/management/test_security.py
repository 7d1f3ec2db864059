"""Who is let in, what is refused before it is looked at, and what never comes out."""

import hmac
import json
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from gateway.admin import ApiRequest, ManagementApi, TokenError, TokenFile, add_token
from gateway.admin import tokens as tokens_module
from gateway.admin.limits import MAX_MANAGEMENT_BODY, MAX_REMEMBERED_PEERS, TOKEN_FAILURES
from gateway.admin.patience import Patience
from gateway.management import Remote, ServerError, devices, tenants, trail
from gateway.management.table import OPERATIONS
from gateway.registry import InvalidValue, NotFound
from tests.management.support import Served, registry_at

KEY = "9b1d0f62a7e44c53bd1177c05e2a9f38"
DEVICES = "/api/v1/tenants/default/devices"


@pytest.fixture(autouse=True)
def _own_logging(logging_restored: None) -> None:
    structlog.reset_defaults()


# --- who is let in ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_nobody_is_let_in_without_a_token(served: Served, operation: Any) -> None:
    path = operation.path.replace("{", "").replace("}", "")
    body: dict[str, Any] | None = {} if operation.has_body else None
    answer = served.ask(operation.method, path, body, token=None)
    assert answer.refused(401, "unauthorized") == ""
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert served.opened == 0


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic {}",
        "{}",
        "Bearer {}x",
        "Bearer x{}",
        "Bearer ops:{}",
        "bearer\t{}",
    ],
)
def test_a_wrong_token_gets_no_word_on_what_is_wrong(served: Served, authorization: str) -> None:
    answer = served.ask("GET", "/api/v1/status", Authorization=authorization.format(served.token))
    assert answer.json == {"title": "Unauthorized", "status": 401, "code": "unauthorized"}


def test_the_scheme_is_written_in_any_case(served: Served) -> None:
    assert served.ask("GET", "/api/v1/status", Authorization=f"bEARER {served.token}").status == 200


def test_without_a_token_file_it_is_off(tmp_path: Path) -> None:
    def never() -> Any:
        raise AssertionError("no registry is opened")

    admit = ManagementApi(None, never).guarded.admit
    answer = admit(ApiRequest("GET", "/api/v1/status", "", "", b""))
    assert not isinstance(answer, ApiRequest)
    assert (answer.status, answer.body["detail"]) == (403, "switched off: set [admin] token_file")


def test_tokens_are_compared_in_constant_time_and_all_of_them(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    second = add_token(served.file, "second")
    compared: list[int] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append(len(a))
        return bool(a == b)

    monkeypatch.setattr(tokens_module, "compare_digest", compare)
    file = TokenFile(served.file)
    for token, name in ((served.token, "ops"), (second, "second"), ("wrong", None), ("", None)):
        compared.clear()
        assert file.name_of(token) == name
        # Digests of one length, and the first that fits ends nothing.
        assert compared == [32, 32]


def test_the_comparison_is_the_library_s() -> None:
    assert vars(tokens_module)["compare_digest"] is hmac.compare_digest


def test_an_address_that_shows_wrong_tokens_has_to_wait(served: Served) -> None:
    for _ in range(TOKEN_FAILURES):
        served.ask("GET", "/api/v1/status", token="x" * 43).refused(401, "unauthorized")
    answer = served.ask("GET", "/api/v1/status", token="x" * 43)
    answer.refused(429, "refused")
    wait_s = int(answer.headers["Retry-After"])
    served.now += wait_s
    served.ask("GET", "/api/v1/status", token="x" * 43).refused(401, "unauthorized")
    served.ask("GET", "/api/v1/status", token="x" * 43).refused(429, "refused")


def test_a_right_token_is_let_in_beside_a_stranger_of_its_address(served: Served) -> None:
    """Behind a reverse proxy or ssh all who ask have one address."""
    for _ in range(2 * TOKEN_FAILURES):
        served.ask("GET", "/api/v1/status", token="x" * 43)
    last = served.ask("GET", "/api/v1/status", token="x" * 43)
    last.refused(429, "refused")
    served.ask("POST", DEVICES, {"device": "dev1"})
    assert served.ask("PATCH", f"{DEVICES}/dev1", {"status": "disabled"}).status == 200
    # And gives the stranger nothing back: neither the next try, nor a shorter wait.
    again = served.ask("GET", "/api/v1/status", token="x" * 43)
    again.refused(429, "refused")
    assert again.headers["Retry-After"] == last.headers["Retry-After"]


def test_all_wrong_tokens_of_an_address_that_waits_look_the_same(served: Served) -> None:
    for _ in range(TOKEN_FAILURES):
        served.ask("GET", "/api/v1/status", token="x" * 43)
    authorizations = ["", "Bearer", f"Bearer {served.token[:-1]}", f"Bearer {served.token}x", f"Basic {served.token}"]
    bodies = {served.ask("GET", "/api/v1/status", Authorization=each).body for each in authorizations}
    assert len(bodies) == 1
    assert b'"status":429' in bodies.pop()


def test_addresses_that_are_counted_are_bounded_and_wait_for_themselves() -> None:
    patience = Patience(lambda: 0.0)
    for number in range(3 * MAX_REMEMBERED_PEERS):
        patience.failed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(patience) == MAX_REMEMBERED_PEERS
    for number in range(TOKEN_FAILURES):
        assert patience.wait_s("2001:db8::1") == 0
        patience.failed(f"2001:db8::{number:x}")
    # A whole /64 is one customer; another address is not.
    assert patience.wait_s("2001:db8::ffff") > 0
    assert patience.wait_s("2001:db8:0:1::1") == patience.wait_s("192.0.2.1") == 0


# --- the file with the tokens ----------------------------------------------------------------------------------------


def test_the_file_has_no_token_in_it(served: Served) -> None:
    assert served.token not in served.file.read_text()
    assert served.file.stat().st_mode & 0o777 == 0o600
    assert len(served.token) >= 43  # 256 bits


def test_a_token_that_an_operator_wrote_is_taken(served: Served) -> None:
    mine = "correct-horse-battery-staple-correct-horse"
    with served.file.open("a") as file:
        file.write(f"# mine\n\nme:{mine}\n")
    assert served.ask("GET", "/api/v1/status", token=mine).status == 200
    served.ask("PATCH", "/api/v1/tenants/default", {"name": "x"}, token=mine)
    assert served.remote().do(trail.audit).entries[0].actor == "api:me"


def test_the_file_is_read_anew_when_it_changes(served: Served) -> None:
    second = add_token(served.file, "second")
    assert served.ask("GET", "/api/v1/status", token=second).status == 200
    lines = served.file.read_text().splitlines()
    replacement = served.file.with_suffix(".new")
    replacement.write_text(lines[1] + "\n")
    replacement.chmod(0o600)
    os.replace(replacement, served.file)
    served.ask("GET", "/api/v1/status").refused(401, "unauthorized")
    assert served.ask("GET", "/api/v1/status", token=second).status == 200


@pytest.mark.parametrize("spoil", ["mode", "gone", "text", "empty"])
def test_a_file_that_is_spoilt_lets_nobody_in_until_it_is_good_again(served: Served, spoil: str) -> None:
    good = served.file.read_bytes()
    match spoil:
        case "mode":
            served.file.chmod(0o640)
        case "gone":
            served.file.unlink()
        case "text":
            served.file.write_text(f"{good.decode()}nonsense\n")
        case _:
            served.file.write_text("")
    with capture_logs() as logs:
        for _ in range(2):
            served.ask("GET", "/api/v1/status").refused(503, "unavailable")
    assert {line["event"] for line in logs if line["log_level"] != "debug"} == {"admin.tokens_unusable"}
    served.file.write_bytes(good)
    served.file.chmod(0o600)
    assert served.ask("GET", "/api/v1/status").status == 200


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "1 to 100 tokens"),
        ("ops:short", "line 1"),
        ("secretsecretsecretsecretsecretsecret", "line 1"),
        (":secretsecretsecretsecretsecretsecret", "line 1"),
        ("ops:secretsecretsecretsecretsecretse cret", "line 1"),
        ("ops:sha256:1234", "line 1"),
        (f"a:{'x' * 40}\na:{'y' * 40}", "line 2"),
        ("x" * 70_000, "bytes"),
    ],
)
def test_what_is_no_file_with_tokens(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(TokenError, match=why) as caught:
        TokenFile(path)
    assert "secretsecret" not in str(caught.value)


def test_a_name_has_one_token_however_many_ask_at_once(tmp_path: Path) -> None:
    path, made, refused = tmp_path / "tokens", [], []

    def make() -> None:
        try:
            made.append(add_token(path, "ops"))
        except TokenError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(refused)) == (1, 7)
    assert TokenFile(path).name_of(made[0]) == "ops"


# --- requests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", ["http://example.org", "null", "http://127.0.0.1:9464"])
def test_a_browser_is_refused_token_or_not(served: Served, origin: str) -> None:
    served.ask("DELETE", f"{DEVICES}/dev1", Origin=origin).refused(403, "refused")
    served.ask("GET", "/api/v1/status", token=None, Origin=origin).refused(403, "refused")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_body_is_json_or_nothing(served: Served, content_type: str) -> None:
    served.ask("POST", DEVICES, b'{"device": "d"}', Content_Type=content_type).refused(415, "refused")


def test_a_body_that_is_too_large_is_not_read(served: Served) -> None:
    for token, status in ((served.token, 413), ("wrong" * 10, 401)):
        with socket.create_connection(served.server.address, timeout=10) as client:
            head = f"POST {DEVICES} HTTP/1.0\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
            client.sendall(f"{head}Content-Length: {MAX_MANAGEMENT_BODY + 1}\r\n\r\n".encode())
            if status == 401:
                client.shutdown(socket.SHUT_WR)
            assert client.recv(100).split()[1] == str(status).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"\xff",
        b"[" * 100_000,
        b'{"device": "\\ud800"}',
        b'{"device": 7}',
        b'{"device": "d", "certificate": 1}',
        b'{"device": "d", "certificate": "true"}',
        b'{"device": "d", "tenant": "acme"}',
        b'{"device": "d", "generate": true}',
        b'{"device": "d", "psk_identity": "i", "psk_hex": "xyz"}',
        b'{"device": "d", "colour": "red"}',
        b'{"device": null}',
        b'{"device": "a\\u0000b"}',
        b'{"device": "' + b"a" * 5000 + b'"}',
    ],
)
def test_what_is_no_request_is_refused_and_adds_nothing(served: Served, body: bytes) -> None:
    answer = served.ask("POST", DEVICES, body, Content_Type="application/json")
    answer.refused(400, "invalid")
    assert served.remote().do(trail.status).devices == 0
    assert len(answer.body) < 1000


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("limit=x", "limit"),
        ("limit=1&limit=2", "twice"),
        ("limit", "not understood"),
        ("colour=red", "colour"),
        ("tag=%ff", "not understood"),
        ("tag=%00", "NUL"),
        ("last_seen_before=yesterday", "last_seen_before"),
        ("last_seen_before=2026-01-01T00:00:00", "timezone"),
        ("&".join(f"a{n}=1" for n in range(100)), "not understood"),
    ],
)
def test_what_is_no_query_is_refused(served: Served, query: str, why: str) -> None:
    assert why in served.ask("GET", f"/api/v1/devices?{query}").refused(400, "invalid")


def test_methods_that_a_path_does_not_have(served: Served) -> None:
    for method in ("POST", "PUT", "HEAD", "OPTIONS", "TRACE", "BREW"):
        answer = served.ask(method, f"{DEVICES}/dev1")
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, PATCH, DELETE")
    served.ask("GET", f"{DEVICES}/dev1", {"device": "dev2"}).refused(400, "invalid")
    served.ask("POST", f"{DEVICES}?device=dev1", {"device": "dev1"}).refused(400, "invalid")


@pytest.mark.parametrize(
    "path",
    [
        "/api/",
        "/api/v2/status",
        "/api/v1",
        "/api/v1/",
        "/api/v1/status/",
        "/api/v1//status",
        "/api/v1/../v1/status",
        "/api/v1/tenants/default/../default",
        "/api/v1/%73tatus",
        "/api/openapi%2ejson",
        "/api/v1/tenants/default/devices/a/b",
    ],
)
def test_paths_that_there_are_not(served: Served, path: str) -> None:
    served.ask("GET", path).refused(404, "refused")


@pytest.mark.parametrize(
    "name", ["../../status", "..", ".", "a/b", "a?b", "a#b", "a%2fb", "a b", "ü", "\u202e", "'; --"]
)
def test_a_name_in_a_path_is_a_name_and_nothing_else(served: Served, name: str) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        served.remote().do(devices.show, device=name)
    with pytest.raises(NotFound, match="does not exist"):
        served.remote().do(tenants.show, tenant=name)


def test_a_path_that_is_no_text(served: Served) -> None:
    served.ask("GET", f"{DEVICES}/%ff").refused(400, "invalid")
    served.ask("GET", f"{DEVICES}/a%00b").refused(400, "invalid")


@pytest.mark.parametrize("name", ["urn:dev:mac:00-1b/c5", "a/b/c", "a%2Fb", "a+b@c,d=e~f", "x..", "a:b"])
def test_a_name_with_characters_of_urls_goes_there_and_back(served: Served, name: str) -> None:
    with served.remote() as remote:
        remote.do(devices.add, device=name)
        assert remote.do(devices.show, device=name).device == name
        remote.do(devices.delete, device=name)
    with registry_at(served.registry) as registry:
        assert registry.list_devices() == []


# --- changes that somebody else was faster with ----------------------------------------------------------------------


def test_a_change_of_what_has_changed_is_refused(served: Served) -> None:
    served.ask("POST", DEVICES, {"device": "dev1"})
    tag = served.ask("GET", f"{DEVICES}/dev1").headers["ETag"]
    change = {"status": "disabled"}
    assert served.ask("PATCH", f"{DEVICES}/dev1", change, If_Match=tag).status == 200
    assert "faster" in served.ask("PATCH", f"{DEVICES}/dev1", {"status": "active"}, If_Match=tag).refused(
        412, "changed"
    )
    served.ask("DELETE", f"{DEVICES}/dev1", If_Match=tag).refused(412, "changed")
    assert served.ask("GET", f"{DEVICES}/dev1").json["status"] == "disabled"
    assert served.ask("DELETE", f"{DEVICES}/dev1", If_Match="*").status == 200
    served.ask("DELETE", f"{DEVICES}/dev1", If_Match="*").refused(404, "not_found")


def test_a_device_that_is_seen_again_has_not_been_edited(served: Served) -> None:
    served.ask("POST", DEVICES, {"device": "dev1"})
    tag = served.ask("GET", f"{DEVICES}/dev1").headers["ETag"]
    with registry_at(served.registry) as registry:
        registry.seen([("default", "dev1", 1_900_000_000.0)])
    answer = served.ask("GET", f"{DEVICES}/dev1")
    assert (answer.json["last_seen"], answer.headers["ETag"]) == ("2030-03-17T17:46:40Z", tag)


# --- what never comes out --------------------------------------------------------------------------------------------


def test_keys_and_tokens_are_in_no_log_no_answer_and_no_audit(served: Served) -> None:
    with capture_logs() as logs:
        body = {"device": "dev1", "psk_identity": "id1", "psk_hex": KEY}
        answers = [served.ask("POST", DEVICES, body), served.ask("POST", DEVICES, body)]
        answers.append(served.ask("POST", DEVICES, {**body, "psk_hex": KEY + "zz"}))
        answers.append(served.ask("POST", DEVICES, {**body, "colour": KEY}))
        made = served.ask("POST", DEVICES, {"device": "dev2", "psk_identity": "id2", "generate": True}).json["psk_hex"]
        answers += [served.ask("GET", f"{DEVICES}/{name}") for name in ("dev1", "dev2", "dev3")]
        answers += [
            served.ask("GET", path) for path in ("/api/v1/devices", "/api/v1/audit", f"{DEVICES}/dev2/credentials")
        ]
        served.ask("GET", "/api/v1/status", token=served.token + "x")
    assert [answer.status for answer in answers] == [201, 409, 400, 400, 200, 200, 404, 200, 200, 200]
    said = b"".join(answer.body for answer in answers).decode() + json.dumps(logs, default=repr)
    for secret in (KEY, made, served.token):
        assert secret[:20] not in said
    assert {"admin.change_made", "admin.token_refused"} <= {line["event"] for line in logs}
    request = ApiRequest("GET", "/", "", "", b"", authorization=f"Bearer {served.token}")
    given = devices.New(device="d", psk_identity="i", psk_hex=KEY)
    for value in (request, given, served.remote(), devices.Added(device="d", tenant="t", psk_hex=KEY)):
        assert served.token not in repr(value)
        assert KEY not in repr(value)


def test_the_log_says_who_made_a_change_as_the_audit_does(served: Served) -> None:
    with capture_logs() as logs:
        served.ask("POST", DEVICES, {"device": "dev1"})
    [line] = [line for line in logs if line["event"] == "admin.change_made"]
    assert (line["operation"], line["actor"]) == ("device.add", "api:ops")
    assert served.ask("GET", "/api/v1/audit").json["entries"][0]["actor"] == line["actor"]


def test_changes_are_written_down_with_the_token_s_name(served: Served) -> None:
    served.ask("POST", DEVICES, {"device": "dev1"})
    served.ask("PATCH", f"{DEVICES}/dev1", {"status": "disabled", "note": "stolen"})
    entries = served.ask("GET", "/api/v1/audit").json["entries"]
    assert [(e["actor"], e["action"], e["object"]) for e in entries[:2]] == [
        ("api:ops", "device.disabled", "dev1"),
        ("api:ops", "device.added", "dev1"),
    ]


# --- the client ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://gateway.example.com:9464",
        "http://192.0.2.7:9464",
        "http://[2001:db8::1]:9464",
        "http://127.0.0.1.example.com/",
        "http://localhost.example.com",
        "http://0.0.0.0:9464",
    ],
)
def test_a_token_is_not_sent_in_plain_text_to_another_machine(url: str) -> None:
    with pytest.raises(InvalidValue, match="plain text"):
        Remote(url, "token")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:9464",
        "ftp://127.0.0.1",
        "http://",
        "http://127.0.0.1:x",
        "http://[::1",
        "https://h/?a=1",
        "https://h/#a",
    ],
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(InvalidValue, match="not understood"):
        Remote(url, "token")


def test_a_url_with_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidValue) as caught:
        Remote("https://ops:hunter2@gateway.example.com", "token")
    assert "hunter2" not in str(caught.value)


def test_a_name_of_this_machine_that_leads_elsewhere_gets_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere:
        sent = b""

        def getpeername(self) -> tuple[str, int]:
            return "192.0.2.7", 80

        def sendall(self, data: bytes) -> None:
            self.sent += data

        def close(self) -> None:
            pass

        def setsockopt(self, *_: object) -> None:
            pass

    elsewhere = Elsewhere()
    monkeypatch.setattr("socket.create_connection", lambda *_, **__: elsewhere)
    with pytest.raises(ServerError, match="no token is sent"):
        Remote("http://localhost:9464", "token").do(trail.status)
    assert elsewhere.sent == b""


def answering(reply: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Somebody who is no gateway."""
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                seen.append(client.recv(65536))
                client.sendall(reply)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen
        thread.join(10)


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.0 302 Found\r\nLocation: http://192.0.2.7/steal\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\n\r\n[]",
        b"HTTP/1.0 200 OK\r\n\r\n{}",
        b"HTTP/1.0 500 Oops\r\n\r\n{}",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
        b'HTTP/1.0 404 Not Found\r\n\r\n{"code": 7, "detail": ["x"]}',
    ],
)
def test_an_answer_that_is_none_is_a_failure_and_no_redirect_is_followed(reply: bytes) -> None:
    for url, _ in answering(reply):
        with pytest.raises(ServerError):
            Remote(url, "token", timeout_s=10).do(trail.status)


def test_a_gateway_that_does_not_run() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ServerError, match="is the gateway running"):
        Remote(f"http://127.0.0.1:{port}", "token").do(trail.status)


def test_https_verifies_the_server(tmp_path: Path) -> None:
    from gateway.pki import create_root, issue_server, write_certificates, write_certified_key

    root = create_root("Operator CA")
    owner = issue_server(root, ["127.0.0.1"])
    write_certified_key(owner, tmp_path / "server.pem", tmp_path / "server.key")
    write_certificates(tmp_path / "root.pem", [root.certificate])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    seen: list[bytes] = []
    body = b'{"version":"1","tenants":1,"devices":7,"psk_credentials":0,"certificate_credentials":0,"trust_anchors":0}'
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for _ in range(2):
                client, _ = listener.accept()
                try:
                    with context.wrap_socket(client, server_side=True) as secured:
                        seen.append(secured.recv(65536))
                        secured.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                except OSError:
                    client.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/behind/proxy/"
        with pytest.raises(ServerError, match="cannot be verified"):
            Remote(url, "token").do(trail.status)
        assert seen == []
        trusted = ssl.create_default_context(cafile=str(tmp_path / "root.pem"))
        with Remote(url, "the-token", tls=trusted) as remote:
            assert remote.do(trail.status).devices == 7
        thread.join(10)
    assert seen[0].startswith(b"GET /behind/proxy/api/v1/status HTTP/1.1\r\n")
    assert b"Authorization: Bearer the-token\r\n" in seen[0]
