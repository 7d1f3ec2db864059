"""Find applications and handlers by name. Nothing is loaded that the configuration does not name."""

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from gateway.handlers.app import App
from gateway.handlers.blame import place, told
from gateway.handlers.errors import HandlerError, LoadError, RouteError

ENTRY_POINT_GROUP: Final = "gateway.handlers"
"""A package offers a handler as `name = "package.module:install"` in this group."""

Options = Mapping[str, object]
"""The options of one handler, as the configuration holds them."""


def load_app(spec: str, *, directory: Path | None = None) -> App:
    """Import an application.

    Args:
        spec: "package.module:name"; name may be dotted.
        directory: Where to look first, before the installed packages.

    Raises:
        LoadError: It is not there, cannot be imported, or is no `App`.
    """
    module_name, _, attribute = spec.partition(":")
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise LoadError(f"app {spec!r} must look like 'package.module:name', for example 'myhandlers.main:app'")
    if not attribute:
        raise LoadError(f"app {spec!r} lacks the App's name: put it behind a colon, such as '{module_name}:app'")
    module = _import(module_name, spec, directory)
    target: Any = module
    for part in attribute.split("."):
        if not hasattr(target, part):
            raise LoadError(f"app {spec!r}: {module_name} has no {attribute!r}; {_apps_in(module)}")
        target = getattr(target, part)
    if not isinstance(target, App):
        hint = "call it in the module and name the result" if callable(target) else _apps_in(module)
        raise LoadError(f"app {spec!r} is {type(target).__name__}, not a gateway.handlers.App; {hint}")
    return target


def installed_handlers() -> dict[str, list[EntryPoint]]:
    """Return the handlers that the installed packages offer, by name; more than one if packages disagree."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name):
        same = found.setdefault(entry.name, [])
        # An editable installation beside a built one offers the same entry twice.
        if entry.value not in [other.value for other in same]:
            same.append(entry)
    return found


def load_handlers(names: Iterable[str], options: Mapping[str, Options] | None = None, *, app: App | None = None) -> App:
    """Install handlers by name into an app, a new one unless given, and return it.

    Args:
        names: Names in the entry point group `gateway.handlers`, built-in ones among them.
        options: The options of each, by name.
        app: Where to install them.

    Raises:
        LoadError: A name is unknown, ambiguous or given twice, options are for a handler that is not named, or the
            handler cannot be imported or refuses its options.
    """
    target = App() if app is None else app
    wanted = list(names)
    given = {} if options is None else options
    for name in wanted:
        if wanted.count(name) > 1:
            raise LoadError(f"the handler {name!r} is named twice")
    for name in given:
        if name not in wanted:
            raise LoadError(f"there are options for the handler {name!r}, which is not to be installed; add its name")
    installed = installed_handlers()
    for entry in [_entry(name, installed) for name in wanted]:
        install = _load(entry)
        try:
            install(target, given.get(entry.name, {}))
        except RouteError as error:
            raise LoadError(f"handler {entry.name!r}: {error}{place(error, entry.module)}") from error
        except HandlerError as error:
            raise LoadError(f"handler {entry.name!r}: {error}") from error
        except Exception as error:
            raise LoadError(
                f"handler {entry.name!r} ({entry.value}) failed to install: {told(error, entry.module)}"
            ) from error
    return target


def known_options(options: Options, *known: str) -> None:
    """Refuse options that a handler does not have.

    Raises:
        LoadError: There is another one.
    """
    for name in options:
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise LoadError(f"unknown option {name!r}; {has}")


def _import(module_name: str, spec: str, directory: Path | None) -> ModuleType:
    if directory is not None and str(directory) not in sys.path:
        # It stays there: a handler may import more of its package at its first request.
        sys.path.insert(0, str(directory))
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(error.name + ".")):
            looked, remedy = "", "check the spelling, or install the package there"
            if directory is not None:
                looked, remedy = f" in {directory} or", f"{remedy}, or start the gateway in the folder of the file"
            raise LoadError(
                f"app {spec!r}: there is no module {error.name!r}{looked} among the packages of {sys.executable}; "
                f"{remedy}"
            ) from error
        raise LoadError(
            f"app {spec!r}: {module_name} needs {error.name!r}, which is not installed{place(error, module_name)}"
        ) from error
    except HandlerError as error:
        raise LoadError(f"app {spec!r}: {error}{place(error, module_name)}") from error
    except SyntaxError as error:
        line = f": {error.text.strip()!r}" if error.text else ""
        raise LoadError(f"app {spec!r}: {error.filename}, line {error.lineno}: {error.msg}{line}") from error
    except Exception as error:
        raise LoadError(f"app {spec!r}: importing {module_name} failed: {told(error, module_name)}") from error


def _apps_in(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, App)]
    if not names:
        return "the module holds no App: write app = App() in it"
    return "the apps in it: " + ", ".join(f"{module.__name__}:{name}" for name in names)


def _entry(name: str, installed: Mapping[str, list[EntryPoint]]) -> EntryPoint:
    found = installed.get(name, [])
    if not found:
        have = ", ".join(installed) or "none (is dtls-gateway itself installed in this environment?)"
        raise LoadError(f"there is no handler {name!r}; installed handlers: {have}")
    if len(found) > 1:
        raise LoadError(
            f"more than one package offers a handler {name!r}: {', '.join(entry.value for entry in found)}; "
            "uninstall all but one"
        )
    return found[0]


def _load(entry: EntryPoint) -> Callable[[App, Options], None]:
    try:
        install = entry.load()
    except Exception as error:
        raise LoadError(
            f"handler {entry.name!r} ({entry.value}) cannot be imported: {told(error, entry.module)}"
        ) from error
    if not callable(install):
        raise LoadError(f"handler {entry.name!r} ({entry.value}) is no function install(app, options)")
    return install  # type: ignore[no-any-return]
