"""The two files with secrets that the engine does not read or write itself: ticket keys and the key log."""

import os
import re
import stat
from pathlib import Path

from gateway.config import ConfigError
from gateway.dtls import TicketKeys
from gateway.dtls.limits import MAX_TICKET_SECRETS
from gateway.telemetry import get_logger

_SECRET = re.compile(r"[0-9A-Fa-f]{64,128}")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_MAX_FILE = 4096
_MAKE_KEYS = "make one with `(umask 077; openssl rand -hex 32 > FILE)`"


def load_ticket_keys(path: Path, period_s: float) -> TicketKeys:
    """Reads secrets for tickets, one a line, as hex digits; the first seals.

    Args:
        path: Of mode 0600.
        period_s: See `TicketKeys`; the same in all processes that share the file.

    Raises:
        ConfigError: The file cannot be used.
    """
    key = "dtls.ticket_keys"
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_MAX_FILE).decode("ascii", "replace")
    except OSError as error:
        raise ConfigError(key, f"cannot be read: {path}: {error.strerror}", _MAKE_KEYS) from error
    if mode & _OTHERS:
        raise ConfigError(key, f"{path} can be read by others", f"chmod 600 {path}")
    secrets = [line.strip() for line in text.splitlines() if line.strip()]
    if not 1 <= len(secrets) <= MAX_TICKET_SECRETS or not all(
        _SECRET.fullmatch(secret) and len(secret) % 2 == 0 for secret in secrets
    ):
        # The text is left out: it may be a secret that was misspelt.
        raise ConfigError(key, f"{path} must hold 1 to {MAX_TICKET_SECRETS} lines of 64 hex digits or more", _MAKE_KEYS)
    return TicketKeys([bytes.fromhex(secret) for secret in secrets], period_s)


class KeyLogFile:
    """Appends to a file in the NSS key log format, which Wireshark reads.

    A line goes out in one write to a file opened for appending, so that several processes can share it.
    """

    def __init__(self, path: Path) -> None:
        """Opens the file, made with mode 0600 if it is not there.

        Raises:
            ConfigError: It cannot be written, is no plain file, or others can read it.
        """
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        key = "dtls.key_log"
        try:
            self._file = os.open(path, flags, 0o600)
        except OSError as error:
            raise ConfigError(key, f"cannot be written: {path}: {error.strerror}", "name a file to be made") from error
        mode = os.fstat(self._file).st_mode
        if not stat.S_ISREG(mode) or mode & _OTHERS:
            os.close(self._file)
            raise ConfigError(key, f"{path} is no file that only its owner can read", f"remove it, or chmod 600 {path}")
        self._failed = False

    def __call__(self, client_random: bytes, master: bytes) -> None:
        """Writes a line. A disk that is full ends no handshake."""
        try:
            os.write(self._file, f"CLIENT_RANDOM {client_random.hex()} {master.hex()}\n".encode())
        except OSError as error:
            if not self._failed:
                self._failed = True
                get_logger("gateway.server").error("dtls.key_log_failed", error=error.strerror)

    def close(self) -> None:
        os.close(self._file)
