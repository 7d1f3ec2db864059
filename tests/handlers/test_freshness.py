"""The check that an application can make by itself where the peer knows no return routability check."""

from gateway.coap import Option
from gateway.handlers import App, Code, Request, TestClient


def test_8_9_echo_makes_a_device_show_that_it_hears_us_at_its_address() -> None:
    """RFC 9175 section 2.3: the 4.01 goes to where the request came from, and within three times its size.

    Who sends back what it brought has heard it there, and its address is known to be right with that record (RFC 9146
    section 6).
    """
    app = App()
    done = []

    @app.post("/unlock", fresh=60)
    def unlock(request: Request) -> None:
        done.append(request.device.id)

    client = TestClient(app, device="dev1")
    refused = client.post("/unlock")
    challenge = refused.option(Option.ECHO)
    assert (refused.code, done) == (Code.UNAUTHORIZED, [])
    assert challenge is not None
    assert client.post("/unlock", options=[(int(Option.ECHO), challenge)]).code == Code.CHANGED
    assert done == ["dev1"]
    # What one device was told proves nothing of another.
    other = client.post("/unlock", options=[(int(Option.ECHO), challenge)], device="dev2")
    assert (other.code, done) == (Code.UNAUTHORIZED, ["dev1"])
