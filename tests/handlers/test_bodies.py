"""Answers that are read as far as they are asked for: files, and bodies of one's own."""

import os
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.coap import Block, decode_block, encode_block
from gateway.handlers import App, BodyContent, Code, ContentFormat, FileBody, FileContent, Reject, Request, TestClient

BODY = bytes(n * 31 & 0xFF for n in range(5000))
BLOCK2 = 23


def block2(number: int, szx: int = 6) -> tuple[int, bytes]:
    return BLOCK2, encode_block(Block(number, False, szx))


class Generated:
    """A body that nobody could hold: each byte follows from its place."""

    size = 10_000_000_000
    etag = b"counting"

    def __init__(self) -> None:
        self.read_at = list[tuple[int, int]]()
        self.threads = set[int]()

    def read(self, offset: int, length: int) -> bytes:
        self.read_at.append((offset, length))
        self.threads.add(threading.get_ident())
        return bytes(n & 0xFF for n in range(offset, min(offset + length, self.size)))


@pytest.mark.parametrize("kind", ["plain", "async", "thread"])
def test_only_what_is_asked_for_is_read_and_never_on_the_data_path(kind: str) -> None:
    app, body = App(), Generated()

    async def later(request: Request) -> BodyContent:
        return BodyContent(body, content_format=60, max_age=5)

    if kind == "async":
        app.get("/")(later)
    else:
        app.get("/", thread=kind == "thread")(lambda request: BodyContent(body, content_format=60, max_age=5))
    response = TestClient(app).get("/", options=[block2(1000, 2)])
    assert response.payload == bytes(n & 0xFF for n in range(64_000, 64_064))
    assert body.read_at == [(64_000, 1024)]
    assert threading.get_ident() not in body.threads
    assert (response.etag, response.content_format, response.max_age) == (b"counting", 60, 5)
    assert decode_block(response.option(BLOCK2) or b"") == Block(1000, True, 2)


def test_a_client_that_has_it_gets_2_03_and_nothing_is_read() -> None:
    app, body = App(), Generated()
    app.get("/")(lambda request: BodyContent(body))
    response = TestClient(app).get("/", options=[(4, b"old"), (4, b"counting")])
    assert (response.code, response.etag, response.payload) == (Code.VALID, b"counting", b"")
    assert body.read_at == []


def test_a_body_that_cannot_be_read_is_a_failure_of_the_handler() -> None:
    class Broken(Generated):
        def read(self, offset: int, length: int) -> bytes:
            raise OSError("the disk is gone")

    app = App()
    app.get("/")(lambda request: BodyContent(Broken()))
    with capture_logs() as logs:
        assert TestClient(app).get("/").code == Code.INTERNAL_SERVER_ERROR
    assert [entry["event"] for entry in logs] == ["handler.failed"]


def files(folder: Path) -> App:
    app = App()

    @app.get("/{name}", thread=True)
    def file(request: Request, name: str) -> FileContent:
        return FileContent(folder / name, content_format=ContentFormat.OCTET_STREAM)

    return app


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 2048, 5000])
def test_a_file_of_any_size(tmp_path: Path, size: int) -> None:
    (tmp_path / "a").write_bytes(BODY[:size])
    response = TestClient(files(tmp_path)).get("/a")
    assert (response.code, response.payload, response.content_format) == (Code.CONTENT, BODY[:size], 42)


def test_each_version_of_a_file_has_its_own_etag(tmp_path: Path) -> None:
    path = tmp_path / "a"
    etags = set[bytes]()
    for content in (b"one", b"two", b"longer"):
        new = tmp_path / "new"
        new.write_bytes(content)
        new.rename(path)
        etags.add(FileBody(path).etag)
        assert FileBody(path).etag in etags
    assert len(etags) == 3


@pytest.mark.parametrize("name", ["missing", "folder", "pipe"])
def test_what_is_no_file_is_4_04(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")  # opening one would wait for a writer
    assert TestClient(files(tmp_path)).get(f"/{name}").code == Code.NOT_FOUND


def test_a_zero_byte_in_a_name_is_4_04(tmp_path: Path) -> None:
    assert TestClient(files(tmp_path)).get("/a%00b").code == Code.NOT_FOUND


def test_a_file_that_becomes_another_while_it_is_read_is_5_03(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(BODY)
    body = FileBody(path)
    assert body.read(4000, 1024) == BODY[4000:]
    path.write_bytes(BODY[:100])
    with pytest.raises(Reject) as caught:
        body.read(0, 16)
    assert caught.value.code == Code.SERVICE_UNAVAILABLE
    path.unlink()
    with pytest.raises(Reject) as caught:
        body.read(0, 16)
    assert caught.value.code == Code.NOT_FOUND
