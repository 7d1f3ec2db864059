"""The configuration: its schema, how it is read, and the file that `gateway init` writes."""

from gateway.config.environment import CONFIG_VARIABLE, environment_problems, misspelt_variables, variable_name
from gateway.config.errors import ConfigError
from gateway.config.loading import load_settings
from gateway.config.reloading import RELOADABLE, Source, differences, successor
from gateway.config.settings import (
    AdminSettings,
    CoapSettings,
    DtlsSettings,
    HandlersSettings,
    LogSettings,
    RegistrySettings,
    ServerSettings,
    Settings,
)
from gateway.config.template import render_template
from gateway.config.values import Address, format_duration, parse_duration

__all__ = [
    "CONFIG_VARIABLE",
    "RELOADABLE",
    "Address",
    "AdminSettings",
    "CoapSettings",
    "ConfigError",
    "DtlsSettings",
    "HandlersSettings",
    "LogSettings",
    "RegistrySettings",
    "ServerSettings",
    "Settings",
    "Source",
    "differences",
    "environment_problems",
    "format_duration",
    "load_settings",
    "misspelt_variables",
    "parse_duration",
    "render_template",
    "successor",
    "variable_name",
]
