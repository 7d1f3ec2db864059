"""The keys that are not in the registry: from a file, the environment, a systemd credential or a plug-in.

A plug-in is a function that an installed package offers under a name in the entry point group `gateway.key_providers`.
It gets what stands behind its name in the configuration and returns a `MasterKey`; a device or a service that never
hands its key out does the work itself.
"""

import os
import re
import stat
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final, Protocol

from gateway.registry.errors import InvalidValue, Unavailable
from gateway.registry.limits import DERIVED_PSK_BYTES, MASTER_KEY_BYTES

PROVIDER_GROUP: Final = "gateway.key_providers"

_SPEC = re.compile(r"(file|env|systemd|plugin):(.+)", re.DOTALL)
_DIGITS = MASTER_KEY_BYTES * 2
_HEX = re.compile(f"[0-9A-Fa-f]{{{_DIGITS}}}", re.ASCII)
_MAX_FILE = 4096
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_HOW = "file:PATH, env:NAME, systemd:NAME or plugin:NAME"


class MasterKey(Protocol):
    """A key that wraps data keys, or that device keys are derived from. Every method may raise `Unavailable`.

    Attributes:
        name: Where it comes from, as the registry and `gateway keys status` show it; never a secret.
    """

    name: str

    def wrap(self, key: bytes) -> bytes:
        """A data key of 32 bytes as it is stored; bound to its value, so that a changed one does not unwrap."""

    def unwrap(self, wrapped: bytes) -> bytes:
        """The data key again.

        Raises:
            ValueError: Another key wrapped it, or it was changed.
        """

    def derive(self, info: bytes) -> bytes:
        """HKDF with SHA-256 (RFC 5869), without a salt, of 16 bytes."""


class LocalKey:
    """A `MasterKey` in the memory of this process: AES-256 key wrap (RFC 3394), HKDF with SHA-256."""

    def __init__(self, name: str, key: bytes) -> None:
        """Takes a key.

        Args:
            name: Where it comes from.
            key: 32 bytes.

        Raises:
            InvalidValue: It has another length.
        """
        if len(key) != MASTER_KEY_BYTES:
            raise InvalidValue(f"a master key has {MASTER_KEY_BYTES} bytes; {name} has {len(key)}")
        self.name = name
        self._key = key

    def __repr__(self) -> str:
        return f"LocalKey({self.name!r})"

    def wrap(self, key: bytes) -> bytes:
        from cryptography.hazmat.primitives.keywrap import aes_key_wrap

        return aes_key_wrap(self._key, key)

    def unwrap(self, wrapped: bytes) -> bytes:
        from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

        try:
            return aes_key_unwrap(self._key, wrapped)
        except InvalidUnwrap as error:
            raise ValueError("the wrapped key does not authenticate") from error

    def derive(self, info: bytes) -> bytes:
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        return HKDF(SHA256(), DERIVED_PSK_BYTES, salt=None, info=info).derive(self._key)


def load_master_key(spec: str) -> MasterKey:
    """The key that a setting names.

    Args:
        spec: `file:PATH` (64 hex digits in a file of mode 0600), `env:NAME` (the same in a variable), `systemd:NAME`
            (a file of that name in `$CREDENTIALS_DIRECTORY`), or `plugin:NAME` and `plugin:NAME:ARGUMENT`.

    Raises:
        InvalidValue: It is none of these, or what is there is no key.
        Unavailable: It cannot be read.
    """
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise InvalidValue(f"a master key is named as {_HOW}")
    kind, argument = match.groups()
    if kind == "plugin":
        return _plugin(argument)
    if kind == "env":
        return _local(spec, _variable(argument))
    if kind == "systemd":
        return _local(spec, _read(_credential(argument), private=False))
    return _local(spec, _read(Path(argument), private=True))


def create_master_key(path: Path) -> None:
    """Makes a file with a new key, of mode 0600, on the disk when this returns.

    Raises:
        FileExistsError: It is there already.
        OSError: It cannot be written.
    """
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(os.urandom(MASTER_KEY_BYTES).hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _local(name: str, text: str) -> LocalKey:
    text = text.strip()
    if _HEX.fullmatch(text) is None:
        # The text is left out: it may be a secret that was misspelt.
        raise InvalidValue(f"{name} must hold {_DIGITS} hex digits; make one with `gateway keys create FILE`")
    return LocalKey(name, bytes.fromhex(text))


def _variable(name: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise Unavailable(f"the environment variable {name}, which is to hold a master key, is not set")
    return value


def _credential(name: str) -> Path:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder is None:
        raise Unavailable(
            f"the systemd credential {name} is not there: $CREDENTIALS_DIRECTORY is not set; add LoadCredential={name} "
            "to the unit, and run commands with `systemd-run --pipe -p LoadCredential=...`"
        )
    if "/" in name or name in (".", ".."):
        raise InvalidValue(f"{name!r} cannot be the name of a systemd credential")
    return Path(folder) / name


def _read(path: Path, *, private: bool) -> str:
    """A key file's text. systemd's own files may have other modes: it lets nobody else into their folder."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MAX_FILE)
    except OSError as error:
        raise Unavailable(f"the master key {path} cannot be read: {error.strerror}") from error
    if private and mode & _OTHERS:
        raise Unavailable(f"others can read the master key {path}; run `chmod 600 {path}`")
    return data.decode("ascii", "replace")


def _plugin(argument: str) -> MasterKey:
    name, _, rest = argument.partition(":")
    found = sorted({entry.value: entry for entry in entry_points(group=PROVIDER_GROUP, name=name)}.items())
    if len(found) != 1:
        said = "no installed package offers" if not found else "several installed packages offer"
        raise InvalidValue(f"{said} the key provider {name!r} (entry points of the group {PROVIDER_GROUP})")
    try:
        key: MasterKey = found[0][1].load()(rest)
    except (InvalidValue, Unavailable):
        raise
    except Exception as error:
        # Its words may hold what it was given.
        raise Unavailable(f"the key provider {name!r} failed: {type(error).__name__}") from None
    return key
