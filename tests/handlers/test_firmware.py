"""The built-in handler `firmware`: byte-exact, from any block on, and nothing but the files of its folder."""

import os
from hashlib import sha256
from pathlib import Path

import pytest

from gateway.coap import Block, encode_block
from gateway.handlers import App, Code, ContentFormat, LoadError, TestClient
from gateway.handlers.builtin import firmware
from gateway.handlers.builtin.firmware import Folder
from gateway.handlers.limits import FIRMWARE_ETAGS

IMAGE = bytes(n * n & 0xFF for n in range(70_001))
ETAG, BLOCK2 = 4, 23


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "board" / "v1").mkdir(parents=True)
    (folder / "app.bin").write_bytes(IMAGE)
    (folder / "board" / "v1" / "boot.bin").write_bytes(b"boot")
    (folder / "empty.bin").write_bytes(b"")
    (folder / ".hidden").write_bytes(b"secret")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "images-of-others").mkdir()
    (tmp_path / "images-of-others" / "secret").write_bytes(b"secret")
    return folder


def client(folder: Path) -> TestClient:
    app = App()
    firmware.install(app, {"path": str(folder)})
    return TestClient(app)


def test_a_file_is_byte_exact_and_named_by_its_content(folder: Path) -> None:
    response = client(folder).get("/firmware/app.bin")
    assert (response.code, response.payload) == (Code.CONTENT, IMAGE)
    assert response.content_format == ContentFormat.OCTET_STREAM
    assert response.etag == sha256(IMAGE).digest()[:8]


def test_files_in_folders_and_files_without_content(folder: Path) -> None:
    assert client(folder).get("/firmware/board/v1/boot.bin").payload == b"boot"
    empty = client(folder).get("/firmware/empty.bin")
    assert (empty.code, empty.payload) == (Code.CONTENT, b"")


@pytest.mark.parametrize("szx", range(7))
def test_any_block_from_any_process(folder: Path, szx: int) -> None:
    size = 16 << szx
    for number in (0, 1, 7, len(IMAGE) // size):
        # A new app each time: nothing is remembered between two blocks.
        response = client(folder).get("/firmware/app.bin", options=[(BLOCK2, encode_block(Block(number, False, szx)))])
        assert response.payload == IMAGE[number * size : (number + 1) * size]
        assert response.etag == sha256(IMAGE).digest()[:8]
    beyond = client(folder).get("/firmware/app.bin", options=[(BLOCK2, encode_block(Block(5000, False, szx)))])
    assert beyond.code == (Code.BAD_REQUEST if 5000 * size > len(IMAGE) else Code.CONTENT)


def test_who_has_it_gets_2_03(folder: Path) -> None:
    etag = sha256(IMAGE).digest()[:8]
    response = client(folder).get("/firmware/app.bin", options=[(ETAG, etag)])
    assert (response.code, response.etag, response.payload) == (Code.VALID, etag, b"")
    assert client(folder).get("/firmware/app.bin", options=[(ETAG, b"another")]).code == Code.CONTENT
    # A later block is asked for because it is not there.
    later = client(folder).get("/firmware/app.bin", options=[(ETAG, etag), (BLOCK2, encode_block(Block(1, False, 6)))])
    assert later.payload == IMAGE[1024:2048]


def test_a_new_version_has_another_etag_even_in_the_same_second(folder: Path) -> None:
    images = client(folder)
    before = images.get("/firmware/app.bin").etag
    (folder / "new").write_bytes(IMAGE[:-1] + b"\1")
    (folder / "new").rename(folder / "app.bin")
    after = images.get("/firmware/app.bin")
    assert after.etag == sha256(IMAGE[:-1] + b"\1").digest()[:8]
    assert after.etag != before


@pytest.mark.parametrize(
    "path",
    [
        "/firmware/missing",
        "/firmware/board",
        "/firmware/board/v1",
        "/firmware/app.bin/more",
        "/firmware/app.bin/",
        "/firmware/",
        "/firmware//app.bin",
        "/firmware/.hidden",
        # RFC 7252 section 5.10.1 forbids the segments "." and "..", and the message layer refuses them: so these come
        # to the handler only hidden in a segment.
        "/firmware/..%2Fsecret",
        "/firmware/board%2F..%2F..%2Fsecret",
        "/firmware/%2E%2E%2Fimages-of-others%2Fsecret",
        "/firmware/%2Fetc%2Fpasswd",
        "/firmware/board%2Fv1%2Fboot.bin",
        "/firmware/app.bin%00",
        "/firmware/%00",
        "/firmware/" + "x" * 255,
        "/firmware/" + "/".join(["x"] * 200),
    ],
)
def test_everything_else_is_4_04(folder: Path, path: str) -> None:
    response = client(folder).get(path)
    assert (response.code, response.payload) == (Code.NOT_FOUND, b"")


@pytest.mark.parametrize("segment", ["..", "."])
def test_dots_would_not_help_if_they_came_through(folder: Path, segment: str) -> None:
    assert client(folder).get(f"/firmware/{segment}/secret").code == Code.NOT_FOUND


def test_links_lead_no_further_than_the_folder(folder: Path, tmp_path: Path) -> None:
    (folder / "latest").symlink_to("app.bin")
    (folder / "current").symlink_to(folder / "board" / "v1")
    (folder / "out").symlink_to(tmp_path / "secret")
    (folder / "up").symlink_to("..")
    (folder / "beside").symlink_to(tmp_path / "images-of-others")
    (folder / "loop").symlink_to("loop")
    images = client(folder)
    assert images.get("/firmware/latest").payload == IMAGE
    assert images.get("/firmware/current/boot.bin").payload == b"boot"
    for path in ("out", "up/secret", "up/images-of-others/secret", "beside/secret", "loop", "up"):
        assert images.get(f"/firmware/{path}").code == Code.NOT_FOUND, path


def test_the_folder_may_be_a_link_itself(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert client(tmp_path / "link").get("/firmware/board/v1/boot.bin").payload == b"boot"


def test_what_is_no_regular_file_is_none(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    assert client(folder).get("/firmware/pipe").code == Code.NOT_FOUND


def test_etags_are_made_once_and_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = list[int]()
    real = firmware._digest

    def counted(descriptor: int) -> bytes:
        made.append(descriptor)
        return real(descriptor)

    monkeypatch.setattr(firmware, "_digest", counted)
    images = Folder(folder)
    for _ in range(3):
        images.content(("app.bin",))
    assert len(made) == 1
    for number in range(FIRMWARE_ETAGS + 10):
        path = folder / f"{number}.bin"
        path.write_bytes(b"%d" % number)
        images.content((path.name,))
        images.content(("app.bin",))
    assert len(images._etags) == FIRMWARE_ETAGS
    # What is in use stays.
    assert len(made) == 1 + FIRMWARE_ETAGS + 10


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "must be the folder"),
        ({"path": ""}, "must be the folder"),
        ({"path": 7}, "must be the folder"),
        ({"path": "/nowhere/at/all"}, "is no folder"),
        ({"path": "x", "extra": 1}, "unknown option 'extra'"),
    ],
)
def test_options_are_checked(options: dict[str, object], says: str) -> None:
    with pytest.raises(LoadError, match=says):
        firmware.install(App(), options)
