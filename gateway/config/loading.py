"""Reads the configuration: command line over environment over file over defaults, then makes paths absolute."""

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, TomlConfigSettingsSource

from gateway.config.environment import EnvironmentSource, variable_name
from gateway.config.errors import ConfigError
from gateway.config.explain import explain
from gateway.config.schema import section_models
from gateway.config.settings import HandlersSettings, Settings

_FILE_KEYS: Final = ("certificate", "private_key")
_PATH_KEYS: Final = (*_FILE_KEYS, "ticket_keys", "key_log")
_KEY_SOURCES: Final = ("master_key", "derivation_key")
_SQLITE: Final = "sqlite:///"
_PATH_OPTIONS: Final = ("path", "file")


def load_settings(
    path: Path | str | None = None,
    overrides: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    check_files: bool = True,
) -> Settings:
    """Read, check and complete the configuration.

    Args:
        path: The TOML file; None for none, paths then start at the working directory.
        overrides: What the command line set, by dotted name ("server.bind"); None values count as not set.
        environ: The environment, `os.environ` by default.
        check_files: Whether the server's certificate and key must be there to read. The commands that create them,
            and those that only need the registry, pass False.

    Returns:
        The settings, with absolute paths.

    Raises:
        ConfigError: One readable line; nothing was opened but the file.
    """
    file = None if path is None else Path(path)
    flags = _nest(overrides or {})
    environment = EnvironmentSource(Settings, os.environ if environ is None else environ)
    contents = None if file is None else _read(file)
    variables = environment()

    def where(location: tuple[str, ...]) -> str:
        return _where(location, flags, variables, file)

    class Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (init_settings, environment, *([contents] if contents else []))

    try:
        settings: Settings = Loaded(**flags)
    except ValidationError as error:
        raise explain(error, where) from None
    _check_handler_options(settings.handlers, where)
    settings = _resolve(settings, (Path() if file is None else file.parent).absolute())
    if check_files:
        for key in _FILE_KEYS:
            _check_readable(
                getattr(settings.dtls, key), where(("dtls", key)), "gateway cert server writes certificate and key"
            )
    return settings


def _nest(overrides: Mapping[str, object]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in overrides.items():
        section, _, key = name.partition(".")
        if section not in section_models() or key not in section_models()[section].model_fields:
            raise KeyError(f"no such setting: {name}")
        if value is not None:
            nested.setdefault(section, {})[key] = value
    return nested


def _read(file: Path) -> TomlConfigSettingsSource:
    remedy = "write one with: gateway init DIR"
    try:
        if not file.exists():
            raise ConfigError(str(file), "no such file", remedy)
        if not file.is_file():
            raise ConfigError(str(file), "cannot be read: not a file", remedy)
        return TomlConfigSettingsSource(Settings, toml_file=file)
    except tomllib.TOMLDecodeError as error:
        raise _not_toml(file, str(error)) from None
    except UnicodeDecodeError:
        raise ConfigError(str(file), "not valid TOML: not UTF-8", "save the file as UTF-8") from None
    except OSError as error:
        raise ConfigError(str(file), f"cannot be read: {error.strerror}", remedy) from None


def _not_toml(file: Path, complaint: str) -> ConfigError:
    """Explain the two mistakes that copying from documentation makes; the parser's words are of no help there."""
    line = re.search(r"at (line \d+|end of document)", complaint)
    second = f", the second time at {line[1]}" if line is not None else ""
    table = re.match(r"Cannot declare \((.+)\) twice", complaint)
    if table is not None:
        name = ".".join(re.findall(r"'([^']*)'", table[1]))
        problem = f"the table [{name}] stands there twice{second}"
        return ConfigError(str(file), problem, "put the keys into the first one")
    if complaint.startswith("Cannot overwrite a value"):
        return ConfigError(str(file), f"a key stands there twice{second}", "keep one of them")
    return ConfigError(str(file), f"not valid TOML: {complaint}", "texts need quotes")


def _where(location: tuple[str, ...], flags: Mapping[str, Any], variables: Mapping[str, Any], file: Path | None) -> str:
    """Name the place that set a key: the winning one, since a value that lost was never looked at."""
    section, key = location[0], location[1] if len(location) > 1 else ""
    if key and key in flags.get(section, {}):
        return f"command line, {section}.{key}"
    if key and key in variables.get(section, {}):
        return f"environment, {variable_name(section, key)}"
    name = "configuration" if file is None else str(file)
    if not key:
        return f"{name}: {section}" if section not in section_models() else f"{name}: [{section}]"
    if section == "handlers" and key == "options":
        return f"{name}: [handlers.{location[2]}]" if len(location) > 2 else f"{name}: [handlers]"
    return f"{name}: [{section}] {key}"


def _check_handler_options(handlers: HandlersSettings, where: Callable[[tuple[str, ...]], str]) -> None:
    """Refuse options that nobody will read."""
    for name in handlers.options:
        if name in handlers.enabled:
            continue
        near = get_close_matches(name, handlers.enabled, 1)
        meant = f"did you mean [handlers.{near[0]}]?" if near else f'add "{name}" to enabled, or remove its options'
        raise ConfigError(where(("handlers", "options", name)), "options of a handler that is not enabled", meant)


def _resolve(settings: Settings, base: Path) -> Settings:
    """Make every path absolute, starting at the folder of the file."""
    files = {key: base / path for key in _PATH_KEYS if (path := getattr(settings.dtls, key)) is not None}
    more = tuple(
        each.model_copy(update={key: base / getattr(each, key) for key in _FILE_KEYS})
        for each in settings.dtls.certificates
    )
    dtls = settings.dtls.model_copy(update={**files, "certificates": more})
    admin = settings.admin
    if admin.token_file is not None:
        admin = admin.model_copy(update={"token_file": base / admin.token_file})
    keys = {key: _resolve_source(getattr(settings.registry, key), base) for key in _KEY_SOURCES}
    registry = settings.registry.model_copy(update={"url": _resolve_url(settings.registry.url, base), **keys})
    options = {
        name: {key: _resolve_option(key, value, base) for key, value in table.items()}
        for name, table in settings.handlers.options.items()
    }
    handlers = settings.handlers.model_copy(update={"options": options})
    sections = {name: getattr(settings, name) for name in section_models()}
    return Settings(**(sections | {"dtls": dtls, "registry": registry, "handlers": handlers, "admin": admin}))


def _resolve_url(url: str, base: Path) -> str:
    path = url.removeprefix(_SQLITE)
    return url if path in (url, ":memory:") else f"{_SQLITE}{base / path}"


def _resolve_source(source: str | None, base: Path) -> str | None:
    path = (source or "").removeprefix("file:")
    return source if source is None or path == source else f"file:{base / Path(path).expanduser()}"


def _resolve_option(key: str, value: Any, base: Path) -> Any:
    """Options named `path`, `file`, `*_path` or `*_file` are files; "-" is standard output by old custom."""
    named = key in _PATH_OPTIONS or key.endswith(tuple(f"_{name}" for name in _PATH_OPTIONS))
    return str(base / value) if named and isinstance(value, str) and value not in ("", "-") else value


def _check_readable(path: Path | None, where: str, remedy: str) -> None:
    if path is None:
        return
    try:
        with path.open("rb"):
            pass
    except FileNotFoundError:
        raise ConfigError(where, f"no such file: {path}", remedy) from None
    except OSError as error:
        raise ConfigError(where, f"cannot be read: {path}: {error.strerror}", "check its owner and mode") from None
