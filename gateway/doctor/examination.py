"""All checks, in the order in which one depends on the other."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from gateway.config import ConfigError, Settings, environment_problems, misspelt_variables
from gateway.doctor.certificates import secret_files, server_certificates
from gateway.doctor.findings import Finding, ok, problem, warning
from gateway.doctor.handshake import handshakes
from gateway.doctor.machine import clock, clock_is_synchronised, process_limits, receive_buffer
from gateway.doctor.ports import ports
from gateway.doctor.store import registry
from gateway.server.opening import load_application, load_tokens
from gateway.server.plan import Plan, Secrets, files_of

_CORRECT: Final = "correct what the text names; `gateway serve --check` says it again"


def examine(
    load: Callable[[], Settings], *, file: Path | None, environ: Mapping[str, str], now: float
) -> list[Finding]:
    """Looks at everything; what cannot be looked at without a configuration is left out where that is wrong.

    Args:
        load: Reads the configuration; raises `ConfigError`.
        file: Of the configuration, if it has one.
        environ: The environment.
        now: Seconds since the epoch.
    """
    found = [*environment(environ)]
    settings: Settings | None = None
    try:
        settings = load()
    except ConfigError as error:
        found.append(problem("configuration", str(error), _CORRECT))
    known = [file] if file is not None else []
    if settings is not None:
        known += files_of(settings)
    found += [clock(now, known, synchronised=clock_is_synchronised()), receive_buffer(), *process_limits()]
    if settings is None:
        return found
    found += [*server_certificates(settings.dtls, now), *secret_files(settings)]
    store = settings.registry
    found += [*registry(store.url, now, store.master_key, store.derivation_key), *ports(settings)]
    try:
        plan = Plan.read(settings, Secrets())
        application = load_application(settings)
        load_tokens(settings)
    except ConfigError as error:
        return [problem("configuration", str(error), _CORRECT), *found]
    shown = str(file) if file is not None else "no file, defaults and environment"
    configuration = ok("configuration", f"{shown}: {len(application.routes)} routes")
    return [configuration, *found, *asyncio.run(handshakes(plan.engine))]


def environment(environ: Mapping[str, str]) -> list[Finding]:
    """Variables that are no settings although they look like some."""
    found = [
        problem("environment", f"{each.where}: {each.problem}", each.remedy) for each in environment_problems(environ)
    ]
    found += [
        warning("environment", f"{name} is read by nobody", f"did you mean {meant}?")
        for name, meant in misspelt_variables(environ)
    ]
    return found or [ok("environment", "no variable that looks like a setting and is none")]
