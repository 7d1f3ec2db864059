"""The kinds of value that a key can have beyond TOML's own: durations, addresses, paths, lists."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, InstanceOf, PlainSerializer
from pydantic.fields import FieldInfo

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_BARE_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_ADDRESS: Final = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[\w.-]+)):(?P<port>\d{1,5})", re.ASCII
)
_HOST_NAME: Final = re.compile(r"[\w-]+(?:\.[\w-]+)*\.?(?::\d{1,5})?", re.ASCII)
_KEY_SOURCE: Final = re.compile(r"(file|env|systemd|plugin):[^\0]+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens.

    Attributes:
        host: A host name, an IPv4 address, or an IPv6 address without brackets.
        port: 0 to 65535; 0 lets the system choose.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read `host:port` or `[ipv6]:port`.

        Raises:
            ValueError: The text is neither; the message says what is expected.
        """
        match = _ADDRESS.fullmatch(text)
        if match is None:
            raise ValueError('must be an address and a port, such as "127.0.0.1:5684" or "[::]:5684"')
        port = int(match["port"])
        if port > 65535:
            raise ValueError("has a port above 65535")
        return cls(match["six"] or match["host"], port)

    @property
    def is_ipv6(self) -> bool:
        """Whether the host is an IPv6 address (a host name is not)."""
        return ":" in self.host

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if self.is_ipv6 else f"{self.host}:{self.port}"


def parse_duration(text: str) -> float:
    """Read "500ms", "30s", "5m", "1h30m", "1d" or a bare number of seconds.

    Returns:
        Seconds.

    Raises:
        ValueError: The text is none of these; the message says what is expected.
    """
    if _BARE_NUMBER.fullmatch(text):
        return float(text)
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError('must be a duration, such as "500ms", "30s", "5m", "1h30m", or a number of seconds')
    # Milliseconds are summed as whole numbers, so that "1s500ms" is exactly 1.5.
    return sum(float(number) * (_UNITS[unit] * 1000) for number, unit in parts) / 1000


def format_duration(seconds: float) -> str:
    """Write seconds in the largest unit that keeps them a whole number: the inverse of `parse_duration`."""
    for unit in ("d", "h", "m", "s"):
        count = seconds / _UNITS[unit]
        if count >= 1 and count.is_integer():
            return f"{int(count)}{unit}"
    milliseconds = round(seconds * 1000)
    return f"{milliseconds}ms" if milliseconds / 1000 == seconds else f"{seconds}s"


def _duration(value: object) -> object:
    if isinstance(value, str):
        return parse_duration(value)
    # TOML keeps whole and broken numbers apart; bool is an int to Python, but not to an operator.
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def is_duration(field: FieldInfo) -> bool:
    """Whether a key's value is a `Duration`, and not some other number with a point in it."""
    return _DURATION in field.metadata


def _address(value: object) -> object:
    return Address.parse(value) if isinstance(value, str) else value


def _path(value: object) -> object:
    if isinstance(value, str):
        if not value or "\0" in value:
            raise ValueError("must be the path of a file")
        return Path(value).expanduser()
    return value


def _key_source(value: object) -> object:
    if isinstance(value, str):
        if _KEY_SOURCE.fullmatch(value) is None:
            # Not shown: it may be the key itself.
            raise ValueError("must be file:PATH, env:NAME, systemd:NAME or plugin:NAME, and never the key itself")
        if value.startswith("env:GATEWAY_"):
            raise ValueError("must name a variable that does not begin with GATEWAY_: those are settings")
    return value


def _app_name(value: object) -> object:
    if isinstance(value, str):
        module, _, name = value.partition(":")
        if not all(part.isidentifier() for part in module.split(".")):
            raise ValueError("must be a module as Python imports it, a colon and the name of the App in it")
        if not name.isidentifier():
            raise ValueError("must end in the name of the App, behind a colon")
    return value


def _host_names(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if _HOST_NAME.fullmatch(name) is None:
            raise ValueError('must hold names as URLs have them, such as "gateway" or "gateway.example.com:9464"')
    return names


def as_tuple(value: object) -> object:
    """A list of TOML as the tuple that strict models want; anything else is left for them to refuse."""
    return tuple(value) if isinstance(value, list) else value


_DURATION: Final = BeforeValidator(_duration)
Duration = Annotated[float, _DURATION]
"""Seconds, written as "30s" or as a number."""
BindAddress = Annotated[InstanceOf[Address], BeforeValidator(_address), PlainSerializer(str, when_used="json")]
"""An `Address`, written as "host:port"."""
FilePath = Annotated[InstanceOf[Path], BeforeValidator(_path)]
"""A path; a relative one is meant from the folder of the configuration file."""
KeySource = Annotated[str, BeforeValidator(_key_source)]
"""Where a master key comes from."""
AppName = Annotated[str, BeforeValidator(_app_name)]
"""Where an application is: "package.module:name"."""
Names = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]
"""A list of names."""
HostNames = Annotated[Names, AfterValidator(_host_names)]
"""A list of host names, each with or without a port."""
