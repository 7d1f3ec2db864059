"""Answers of any size that are read as far as they are asked for: files, and whatever else can be read at a place."""

import os
import stat
from hashlib import blake2b
from pathlib import Path
from typing import Final, Protocol

from gateway.coap import MAX_BLOCK_BYTES, Block, Code, Message, Option, encode_uint, find_block
from gateway.handlers.response import Reject, Response

_FIRST: Final = Block(0, False, 6)


class Body(Protocol):
    """Something that can be read at any place. Its methods run in a thread and may block."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def etag(self) -> bytes:
        """Names the version, 1 to 8 bytes: another one as soon as a single byte is different."""

    def read(self, offset: int, length: int) -> bytes:
        """Return that many bytes from a place on, fewer only at the end."""


class BodyContent(Response):
    """2.05 with a body of which each block is read when it is asked for.

    Nothing is remembered between two blocks, so that a download goes on at any block, after any interruption. The
    handler runs for each of them, and is to give the same body or one with another ETag.

    Attributes:
        body: What is read.
    """

    __slots__ = ("body",)

    def __init__(self, body: Body, *, content_format: int | None = None, max_age: int | None = None) -> None:
        own = [] if content_format is None else [(int(Option.CONTENT_FORMAT), encode_uint(content_format))]
        super().__init__(etag=body.etag, max_age=max_age, options=own)
        self.body = body


class FileContent(BodyContent):
    """2.05 with a file. Unless an ETag is given it is made of the file's identity, size and time of change.

    Opening a file can block: return one from an `async def` handler or from one with `thread=True`.
    """

    __slots__ = ()

    def __init__(
        self,
        path: str | Path,
        *,
        etag: bytes | None = None,
        content_format: int | None = None,
        max_age: int | None = None,
    ) -> None:
        """Look at the file.

        Raises:
            Reject: 4.04 when there is no such file.
        """
        super().__init__(FileBody(path, etag), content_format=content_format, max_age=max_age)


class Part(Response):
    """One part of a `BodyContent`, at most as large as a block can be.

    Attributes:
        offset: Its place in the body.
        total: Bytes of the whole body.
    """

    __slots__ = ("offset", "total")

    def __init__(self, code: int, options: list[tuple[int, bytes]], payload: bytes, offset: int, total: int) -> None:
        super().__init__(code=code)
        self.options = options
        self.payload = payload
        self.offset = offset
        self.total = total


class FileBody:
    """A regular file as a `Body`.

    Attributes:
        size: Bytes.
        etag: See `FileContent`.
    """

    __slots__ = ("_path", "_signature", "etag", "size")

    def __init__(self, path: str | Path, etag: bytes | None = None) -> None:
        """Look at the file.

        Raises:
            Reject: 4.04 when there is no such file.
        """
        self._path = path
        descriptor = open_file(path)
        try:
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        self._signature = signature(status)
        self.size = status.st_size
        self.etag = blake2b(repr(self._signature).encode(), digest_size=8).digest() if etag is None else etag

    def read(self, offset: int, length: int) -> bytes:
        """See `Body.read`.

        Raises:
            Reject: 4.04 when the file has gone, 5.03 when it has become another since it was looked at.
        """
        descriptor = open_file(self._path)
        try:
            data = os.pread(descriptor, length, offset)
            if signature(os.fstat(descriptor)) != self._signature:
                raise Reject(Code.SERVICE_UNAVAILABLE, "the file has changed: ask again", max_age=1)
        finally:
            os.close(descriptor)
        return data


def open_file(path: str | Path) -> int:
    """Open a regular file for reading.

    Raises:
        Reject: 4.04.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):  # no such file; a zero byte in its name
        raise Reject(Code.NOT_FOUND) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Reject(Code.NOT_FOUND)
    return descriptor


def signature(status: os.stat_result) -> tuple[int, ...]:
    """What is different when a file is another, or has been written to."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def read_part(message: Message, content: BodyContent) -> Part:
    """Read the part that a request asks for; beyond the end of the body it is empty."""
    body = content.body
    block = find_block(message, int(Option.BLOCK2)) or _FIRST
    size = body.size
    payload = body.read(block.offset, MAX_BLOCK_BYTES) if block.offset < size else b""
    return Part(content.code, content.options, payload, block.offset, size)
