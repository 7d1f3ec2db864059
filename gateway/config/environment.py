"""The environment as a source of settings: GATEWAY_SECTION__KEY, and nothing else with that prefix.

pydantic-settings' own source accepts `GATEWAY_DTSL__MTU` silently, because it only looks up the names it knows. This
one goes the other way round: every variable with the prefix must be a key of the schema.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from gateway.config.errors import ConfigError
from gateway.config.schema import keys, section_models, suggest
from gateway.config.settings import ENV_DELIMITER, ENV_PREFIX, Settings
from gateway.config.values import Names, is_duration

CONFIG_VARIABLE: Final = "GATEWAY_CONFIG"
"""Names the configuration file itself; the command line reads it."""

# Kubernetes sets these in every container when some Service of the namespace is called "gateway"; they are not ours.
_SERVICE_LINK: Final = re.compile(
    r"GATEWAY_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)


_MISSPELT: Final = 0.9
"""How much alike a foreign variable's name must be to one of ours."""

_FILE_ONLY: Final = {
    ("dtls", "key_log"): "it gives every session away; set it in the configuration file",
    ("dtls", "certificates"): "write tables [[dtls.certificates]] into the configuration file",
}
"""Keys that no variable sets, and why: a variable is inherited, and easily forgotten."""


class EnvironmentSource(PydanticBaseSettingsSource):
    """Settings from the variables of `environ`."""

    def __init__(self, settings_cls: type[BaseSettings], environ: Mapping[str, str]) -> None:
        super().__init__(settings_cls)
        self._environ = environ

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Look up one section; the base class requires this."""
        return self().get(field_name), field_name, True

    def __call__(self) -> dict[str, Any]:
        """Collect the sections.

        Raises:
            ConfigError: A variable has the prefix but names no key, or its value is of the wrong kind.
        """
        collected: dict[str, Any] = {}
        for name in sorted(self._environ):
            # Windows folds the case of names; here only upper case is ours, and a lower-case one is somebody else's.
            if not name.startswith(ENV_PREFIX) or name == CONFIG_VARIABLE or _SERVICE_LINK.fullmatch(name):
                continue
            path = name.removeprefix(ENV_PREFIX).lower().split(ENV_DELIMITER)
            value = self._convert(name, path, self._environ[name])
            target = collected
            for part in path[:-1]:
                target = target.setdefault(part, {})
            target[path[-1]] = value
        return collected

    def _convert(self, name: str, path: list[str], text: str) -> Any:
        models = section_models()
        if len(path) == 3 and path[0] == "handlers" and all(path):
            return _free_value(text)
        if len(path) != 2 or path[0] not in models or path[1] not in models[path[0]].model_fields:
            raise ConfigError(name, "no such setting", _remedy(name, path))
        if remedy := _FILE_ONLY.get((path[0], path[1])):
            raise ConfigError(name, "cannot be set by a variable", remedy)
        field = models[path[0]].model_fields[path[1]]
        if field.annotation is bool:
            if text not in ("true", "false"):
                raise ConfigError(name, "must be true or false", f"for example {name}=false")
            return text == "true"
        if field.annotation is int:
            try:
                return int(text, 10)
            except ValueError:
                raise ConfigError(name, "must be a whole number", f"for example {name}={field.default}") from None
        if field.annotation is float and not is_duration(field):
            try:
                return float(text)
            except ValueError:
                raise ConfigError(name, "must be a number", f"for example {name}={field.default}") from None
        if field.annotation == Names.__origin__:  # type: ignore[attr-defined]
            return _names(name, text)
        if field.annotation is dict or path == ["handlers", "options"]:
            raise ConfigError(name, "is a table", f"set one option: {ENV_PREFIX}HANDLERS__NAME__OPTION=value")
        return text


def environment_problems(environ: Mapping[str, str]) -> list[ConfigError]:
    """All that `EnvironmentSource` would refuse, and not only the first."""
    found = []
    for name, value in sorted(environ.items()):
        try:
            EnvironmentSource(Settings, {name: value})()
        except ConfigError as error:
            found.append(error)
    return found


def misspelt_variables(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Variables that are somebody else's, each with the one of ours that was probably meant."""
    known = [CONFIG_VARIABLE, *(variable_name(section, key) for section in section_models() for key in keys(section))]
    found = []
    for name in sorted(environ):
        if not name.startswith(ENV_PREFIX) and (near := get_close_matches(name.upper(), known, 1, _MISSPELT)):
            found.append((name, near[0]))
    return found


def variable_name(section: str, key: str) -> str:
    """The variable that sets a key."""
    return f"{ENV_PREFIX}{section}{ENV_DELIMITER}{key}".upper()


def _remedy(name: str, path: list[str]) -> str:
    known = [variable_name(section, key) for section in section_models() for key in keys(section)]
    if near := get_close_matches(name, known, 1, 0.85):
        return f"did you mean {near[0]}?"
    section, key = suggest(path[0], "__".join(path[1:]) if len(path) > 1 else "")
    if section and key:
        return f"did you mean {variable_name(section, key)}?"
    return f"variables are named {ENV_PREFIX}SECTION__KEY, such as {ENV_PREFIX}DTLS__MTU; unset it"


def _names(name: str, text: str) -> list[str]:
    """Read a JSON array, or names between commas."""
    if text.lstrip().startswith("["):
        try:
            return list(json.loads(text))
        except ValueError:
            raise ConfigError(name, "is not a JSON list", f"for example {name}=time,echo") from None
    return [part.strip() for part in text.split(",") if part.strip()]


def _free_value(text: str) -> Any:
    """Read an option that only its handler knows: as TOML where it is TOML (numbers, true, lists), else as text."""
    try:
        return tomllib.loads(f"value = {text}\n")["value"] if "\n" not in text else text
    except tomllib.TOMLDecodeError:
        return text
