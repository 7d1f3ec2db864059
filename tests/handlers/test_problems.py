"""Refusals as problem details (RFC 9290), 4.29 and 5.03 with Max-Age."""

import cbor2
import pytest

from gateway.coap import Block, encode_block
from gateway.handlers import App, Code, ContentFormat, Reject, Request, Response, TestClient

TITLE, DETAIL = -1, -2
PROBLEM = ContentFormat.PROBLEM_DETAILS


def app() -> App:
    app = App()

    @app.put("/clock")
    def clock(request: Request) -> None:
        raise Reject(Code.FORBIDDEN, "not yours", detail="the clock belongs to dev2")

    @app.put("/busy")
    async def busy(request: Request) -> None:
        raise Reject(Code.TOO_MANY_REQUESTS, max_age=7)

    @app.put("/returned")
    def returned(request: Request) -> Reject:
        return Reject(Code.CONFLICT, "returned")

    @app.put("/json", consumes=[50])
    def json(request: Request) -> None:
        request.json()

    return app


def problem(response: Response) -> dict[int, str]:
    assert response.content_format == PROBLEM
    details: dict[int, str] = cbor2.loads(response.payload)
    return details


def test_a_device_that_accepts_them_gets_them() -> None:
    client = TestClient(app())
    response = client.put("/clock", accept=PROBLEM)
    assert response.code == Code.FORBIDDEN
    assert problem(response) == {TITLE: "not yours", DETAIL: "the clock belongs to dev2"}
    response = client.put("/busy", accept=PROBLEM)
    assert (response.code, response.max_age) == (Code.TOO_MANY_REQUESTS, 7)
    # RFC 9290 section 2: at least one key should be there; the name of the code says as much as the code.
    assert problem(response) == {TITLE: "Too many requests"}
    assert problem(client.put("/returned", accept=PROBLEM)) == {TITLE: "returned"}


@pytest.mark.parametrize(
    ("path", "title"),
    [("/nowhere", "Not found"), ("/json", "this takes content format 50")],
)
def test_what_the_app_refuses_itself(path: str, title: str) -> None:
    assert problem(TestClient(app()).put(path, accept=PROBLEM)) == {TITLE: title}


def test_a_refused_block() -> None:
    options = [(27, encode_block(Block(1, True, 6)))]
    response = TestClient(app()).put("/clock", bytes(1024), accept=PROBLEM, options=options)
    assert response.code == Code.REQUEST_ENTITY_INCOMPLETE
    assert problem(response) == {TITLE: "no such transfer: begin with block 0"}


def test_everybody_else_gets_text_unless_the_operator_wants_it_otherwise() -> None:
    plain = app()
    response = TestClient(plain).put("/clock")
    assert (response.text(), response.content_format) == ("not yours: the clock belongs to dev2", None)
    plain.problem_details = True
    assert problem(TestClient(plain).put("/clock")) == {TITLE: "not yours", DETAIL: "the clock belongs to dev2"}
    # A code that says all is not made longer.
    assert TestClient(plain).put("/nowhere").payload == b""


def test_a_success_in_another_format_is_4_06_with_details() -> None:
    plain = App()
    plain.get("/")(lambda request: "text")
    response = TestClient(plain).get("/", accept=PROBLEM)
    assert response.code == Code.NOT_ACCEPTABLE


def test_a_code_without_a_name() -> None:
    plain = App()

    @plain.get("/")
    def refuse(request: Request) -> None:
        raise Reject(0x9F)

    assert problem(TestClient(plain).get("/", accept=PROBLEM)) == {TITLE: "4.31"}
