"""Writes `gateway.toml`: every key with its meaning and its default, so that the file is its own manual."""

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic.fields import FieldInfo

from gateway.config.schema import keys, section_models
from gateway.config.values import Address, format_duration, is_duration

_WIDTH: Final = 100
_HEADER: Final = """\
# Configuration of the gateway. A line that is commented out shows the default.
#
# A flag of the command line wins over an environment variable, which wins over this file. The variable of a key is
# GATEWAY_SECTION__KEY: GATEWAY_DTLS__MTU=1400. Relative paths start at the folder of this file. Durations are numbers
# of seconds, or texts such as "500ms", "30s", "5m", "1h30m". A key that is not listed here is refused.
"""
_CERTIFICATES: Final = """\
# More certificates stand in tables of their own, after the keys above. A client gets one for the name that it asks for
# and of a kind that it can verify, such as one with an RSA key; else the first of all:
#
#     [[dtls.certificates]]
#     certificate = "rsa.pem"
#     private_key = "rsa.key"
"""
_HANDLER_OPTIONS: Final = """\
# Options of one handler stand in a table of its name, after the keys above; its documentation lists them:
#
#     [handlers.telemetry]
#     path = "telemetry.jsonl"
"""
_TABLES: Final = {"dtls": _CERTIFICATES, "handlers": _HANDLER_OPTIONS}
"""What a section has beside its keys."""


def render_template(values: Mapping[str, object] | None = None) -> str:
    """Compose the file.

    Args:
        values: Settings that differ from the default, by dotted name ("dtls.certificate"): these lines are written
            in force, all others commented out.

    Raises:
        KeyError: A name that is not in the schema.
    """
    remaining = dict(values or {})
    parts = [_HEADER]
    for section, model in section_models().items():
        lines = [f"\n# {line}" if not index else f"# {line}" for index, line in enumerate(_wrap(model.__doc__ or ""))]
        lines.append(f"[{section}]")
        for key in keys(section):
            field = model.model_fields[key]
            lines += ["", *(f"# {line}" for line in _wrap(field.description or ""))]
            name = f"{section}.{key}"
            if name in remaining:
                lines.append(f"{key} = {_toml(field, remaining.pop(name))}")
            else:
                lines.append(f"# {render_assignment(section, key)}")
        parts.append("\n".join(lines) + "\n")
        if section in _TABLES:
            parts.append("\n" + _TABLES[section])
    if remaining:
        raise KeyError(f"not in the schema: {', '.join(sorted(remaining))}")
    return "".join(parts)


def render_assignment(section: str, key: str) -> str:
    """One line of TOML that sets a key to its default, or to an example where the default is "not set"."""
    field = section_models()[section].model_fields[key]
    default = field.get_default(call_default_factory=False)
    if default is None:
        default = (field.examples or [""])[0]
    return f"{key} = {_toml(field, default)}"


def _toml(field: FieldInfo, value: Any) -> str:
    if isinstance(value, float):
        return json.dumps(format_duration(value)) if is_duration(field) else str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml(field, item) for item in value)}]"
    if isinstance(value, (str, Path, Address)):
        # A JSON string is a TOML basic string as long as nothing is escaped beyond what both know.
        return json.dumps(str(value), ensure_ascii=False)
    raise TypeError(f"no TOML for a {type(value).__name__}")


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), _WIDTH)
