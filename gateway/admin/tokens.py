"""Who may manage the gateway: tokens, each with a name for the audit trail, in a file.

The file is read anew when it changes.

A line is `NAME:TOKEN`, or `NAME:sha256:HEX` with the token's digest, which is what `add_token` writes: who reads that
file cannot use it. A digest without salt will do, because tokens are random.
"""

import fcntl
import hashlib
import os
import re
import secrets
import stat
import threading
from hmac import compare_digest
from pathlib import Path
from typing import Final

from gateway.admin.limits import MAX_TOKEN, MAX_TOKENS, MIN_TOKEN
from gateway.management.limits import MAX_TOKEN_FILE
from gateway.telemetry import get_logger

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", re.ASCII)
_TOKEN: Final = re.compile(rf"[A-Za-z0-9._~+/=-]{{{MIN_TOKEN},{MAX_TOKEN}}}", re.ASCII)
_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})", re.ASCII)
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_TOKEN_BYTES: Final = 32


class TokenError(Exception):
    """The file cannot be used; `str()` is one line with what to do, and no part of a token."""


class TokenFile:
    """The tokens of a file. May be used from several threads."""

    def __init__(self, path: Path) -> None:
        """Reads the file.

        Raises:
            TokenError: It cannot be used.
        """
        self._path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] | None = _state(path)
        self._digests: dict[str, bytes] = _parse(_read(path), path)

    def name_of(self, token: str) -> str | None:
        """Whose a token is; None for nobody's. Takes as long for any token, right or wrong.

        Raises:
            TokenError: The file has changed, and cannot be used any more: nobody is let in then.
        """
        shown = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        found = None
        for name, digest in self._current().items():
            if compare_digest(shown, digest):
                found = name
        return found

    def _current(self) -> dict[str, bytes]:
        with self._lock:
            try:
                state = _state(self._path)
                if state != self._seen:
                    self._digests = {}
                    self._digests = _parse(_read(self._path), self._path)
                    self._seen = state
                    get_logger("gateway.admin").info("admin.tokens_read", tokens=len(self._digests))
            except TokenError:
                # What was true is no longer: whoever takes the file away means it.
                self._digests, self._seen = {}, None
                raise
            return self._digests


def add_token(path: Path, name: str) -> str:
    """Makes a token and writes its digest into a file, which is made with mode 0600 if it is not there.

    Returns:
        The token, which nothing remembers.

    Raises:
        TokenError: The file cannot be used, or has a token of that name.
    """
    if _NAME.fullmatch(name) is None:
        raise TokenError(f"{name[:80]!r} cannot name a token: use 1-64 ASCII letters, digits and . _ @ -")
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    try:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        with open(os.open(path, flags, 0o600), "r+b", buffering=0) as file:
            # Two at once would both find the name free.
            fcntl.flock(file, fcntl.LOCK_EX)
            there = _checked(file.fileno(), path)
            known = _parse(there, path) if there.strip() else {}
            if name in known:
                raise TokenError(f"{path} has a token {name!r} already; choose another name, or take its line out")
            if len(known) >= MAX_TOKENS:
                raise TokenError(f"{path} has {MAX_TOKENS} tokens already; take the lines out that nobody uses")
            line = f"{name}:sha256:{hashlib.sha256(token.encode()).hexdigest()}\n"
            # In one write, so that there is all of the line or nothing of it.
            os.write(file.fileno(), (b"" if there.endswith(b"\n") or not there else b"\n") + line.encode())
            os.fsync(file.fileno())
    except OSError as error:
        raise TokenError(f"{path} cannot be written: {error.strerror}") from error
    return token


def _state(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError as error:
        raise TokenError(
            f"{path} cannot be read: {error.strerror}; make it with `gateway token create --name NAME`"
        ) from error
    return found.st_ino, found.st_dev, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode


def _read(path: Path) -> bytes:
    try:
        with path.open("rb", buffering=0) as file:
            return _checked(file.fileno(), path)
    except OSError as error:
        raise TokenError(f"{path} cannot be read: {error.strerror}") from error


def _checked(descriptor: int, path: Path) -> bytes:
    """What is in the file, if nobody else can read it."""
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        raise TokenError(f"{path} is no plain file; name one of mode 0600")
    if mode & _OTHERS:
        raise TokenError(f"{path} can be read or written by others; chmod 600 {path}")
    data = os.pread(descriptor, MAX_TOKEN_FILE + 1, 0)
    if len(data) > MAX_TOKEN_FILE:
        raise TokenError(f"{path} has more than {MAX_TOKEN_FILE} bytes; that is no file with tokens")
    return data


def _parse(data: bytes, path: Path) -> dict[str, bytes]:
    """Name -> SHA-256 of the token."""
    digests: dict[str, bytes] = {}
    for number, line in enumerate(data.decode("ascii", "replace").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.strip().partition(":")
        digest = _DIGEST.fullmatch(rest)
        # The line is not repeated: it may be a token that was written without a name.
        if _NAME.fullmatch(name) is None or not (digest or _TOKEN.fullmatch(rest)):
            raise TokenError(
                f"{path}, line {number}, is no NAME:TOKEN with a token of {MIN_TOKEN}-{MAX_TOKEN} characters; write it "
                "with `gateway token create --name NAME`"
            )
        if name in digests:
            raise TokenError(f"{path}, line {number}, has a name that stands there already; take one of the two out")
        digests[name] = bytes.fromhex(digest[1]) if digest else hashlib.sha256(rest.encode()).digest()
    if not 1 <= len(digests) <= MAX_TOKENS:
        raise TokenError(
            f"{path} must hold 1 to {MAX_TOKENS} tokens; write one with `gateway token create --name NAME`"
        )
    return digests
