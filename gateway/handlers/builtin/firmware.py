"""`firmware`: GET /firmware/{file} gives the files of a folder, byte for byte, from any block on and after any restart.

A file's ETag is made of its content, so that it is the same in every process and on every machine that has the file.
Put a new version into the folder under another name, or rename it over the old one: a file that is written in place may
be read half old and half new.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

from gateway.coap import Code, ContentFormat
from gateway.handlers.app import App
from gateway.handlers.bodies import FileContent, open_file, signature
from gateway.handlers.errors import LoadError
from gateway.handlers.limits import ETAG_BYTES, FIRMWARE_ETAGS
from gateway.handlers.loading import known_options
from gateway.handlers.request import Request
from gateway.handlers.response import Reject

_READ_BYTES: Final = 1024 * 1024


def install(app: App, options: Mapping[str, object]) -> None:
    """Register the handler.

    Args:
        app: Where to register it.
        options: `path`: the folder.

    Raises:
        LoadError: There is another option, or `path` is no folder.
        RouteError: The paths are taken.
    """
    known_options(options, "path")
    folder = Folder(_path(options.get("path")))

    @app.get("/firmware/{file:path}", thread=True, listed=False)
    def firmware(request: Request) -> FileContent:
        return folder.content(request.segments[1:])


class Folder:
    """A folder whose files are served; nothing outside it ever is."""

    def __init__(self, root: Path) -> None:
        """Take a folder, which may be a link itself."""
        self._root = os.path.realpath(root)
        # What a file was when its ETag was made -> the ETag, the one used longest ago first.
        self._etags: OrderedDict[tuple[int, ...], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def content(self, segments: tuple[str, ...]) -> FileContent:
        """The file at a path below the folder.

        Raises:
            Reject: 4.04 when there is none: what is no file, is hidden, or lies outside is none.
        """
        path = self._find(segments)
        return FileContent(path, etag=self.etag(path), content_format=ContentFormat.OCTET_STREAM)

    def etag(self, path: str) -> bytes:
        """The first bytes of the SHA-256 of a file's content.

        Raises:
            Reject: 4.04 when it has gone.
        """
        descriptor = open_file(path)
        try:
            # One file at a time, so that a fleet that asks for a new one makes its ETag once.
            with self._lock:
                now = signature(os.fstat(descriptor))
                etag = self._etags.get(now)
                if etag is None:
                    etag = self._etags[now] = _digest(descriptor)
                self._etags.move_to_end(now)
                while len(self._etags) > FIRMWARE_ETAGS:
                    self._etags.popitem(last=False)
        finally:
            os.close(descriptor)
        return etag

    def _find(self, segments: tuple[str, ...]) -> str:
        for segment in segments:
            # A segment is one name: a slash in it would make it two, and a leading dot is "..", or a file that hides.
            if not segment or segment.startswith(".") or "/" in segment or "\0" in segment:
                raise Reject(Code.NOT_FOUND)
        path = os.path.realpath(os.path.join(self._root, *segments))
        # Links are followed, within the folder: "latest" may be one.
        if os.path.commonpath([self._root, path]) != self._root:
            raise Reject(Code.NOT_FOUND)
        return path


def _digest(descriptor: int) -> bytes:
    digest = sha256()
    offset = 0
    while data := os.pread(descriptor, _READ_BYTES, offset):
        digest.update(data)
        offset += len(data)
    return digest.digest()[:ETAG_BYTES]


def _path(value: object) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise LoadError(f"the option path must be the folder with the files, not {value!r}")
    path = Path(value)
    if not path.is_dir():
        raise LoadError(f"the option path: {path} is no folder")
    return path
