"""Opens what the settings name: handlers, registry, tokens. What cannot be opened is the configuration's fault."""

from pathlib import Path

from gateway.admin import TokenError, TokenFile
from gateway.config import ConfigError, Settings
from gateway.handlers import App, HandlerError, load_app, load_handlers
from gateway.identity import IdentityService
from gateway.registry import CachedReads, Registry, RegistryError, Secrets, open_registry


def load_application(settings: Settings) -> App:
    """What answers requests: the handlers that are named, and the operator's own application.

    Raises:
        ConfigError: One of them cannot be loaded.
    """
    handlers = settings.handlers
    try:
        app = load_handlers(handlers.enabled, handlers.options)
        if handlers.app is not None:
            app.include(load_app(handlers.app, directory=Path.cwd()))
    except HandlerError as error:
        raise ConfigError("handlers", str(error)) from error
    return app


def load_tokens(settings: Settings) -> TokenFile | None:
    """Who may use the management API; None where it is off.

    Raises:
        ConfigError: The file cannot be used.
    """
    path = settings.admin.token_file
    try:
        return TokenFile(path) if path is not None else None
    except TokenError as error:
        raise ConfigError("admin.token_file", str(error)) from error


def open_store(settings: Settings) -> Registry:
    """One more handle of the registry.

    Raises:
        RegistryError: It cannot be opened.
    """
    keys = settings.registry
    return open_registry(keys.url, secrets=Secrets(keys.master_key, keys.derivation_key))


def open_identity(settings: Settings) -> tuple[Registry, CachedReads, IdentityService]:
    """The registry, what handshakes read of it, and who answers for identities.

    Raises:
        ConfigError: It cannot be opened, or a key that its secrets need is missing.
    """
    try:
        registry = open_store(settings)
        try:
            reads = CachedReads(registry)
            identity = IdentityService(reads)
            _check_keys(registry)
            return registry, reads, identity
        except BaseException:
            registry.close()
            raise
    except RegistryError as error:
        raise ConfigError("registry.url", str(error)) from error


def _check_keys(registry: Registry) -> None:
    """A key that is missing is found here, not by each device."""
    try:
        registry.check_keys()
    except RegistryError as error:
        raise ConfigError("registry.master_key, registry.derivation_key", str(error)) from error
