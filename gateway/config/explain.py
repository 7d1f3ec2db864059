"""Turns what pydantic says about a configuration into one line for an operator."""

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from gateway.config.errors import ConfigError
from gateway.config.schema import keys, section_models, suggest
from gateway.config.template import render_assignment
from gateway.config.values import format_duration, is_duration

_EXPECTED = {
    "int_type": "must be a whole number without quotes",
    "int_from_float": "must be a whole number",
    "float_type": 'must be a number of seconds or a text such as "30s"',
    "string_type": "must be a text in quotes",
    "tuple_type": "must be a list",
    "bool_type": "must be true or false",
    "is_instance_of": "must be a text in quotes",
    "model_type": "must be a table",
    "dict_type": "must be a table",
}
_BOUNDS = {
    "greater_than_equal": ("ge", "must be at least"),
    "greater_than": ("gt", "must be more than"),
    "less_than_equal": ("le", "must be at most"),
    "less_than": ("lt", "must be less than"),
}


def explain(error: ValidationError, where: Callable[[tuple[str, ...]], str]) -> ConfigError:
    """Describe the first problem, and say how many more there are.

    Args:
        error: What validation found. The offending values are not repeated: one of them could hold a password.
        where: Tells for a section and key which file, variable or option set it.
    """
    problems = error.errors(include_url=False, include_input=False)
    first = problems[0]
    location = tuple(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        problem, remedy = _unknown(location)
    else:
        problem, remedy = _problem(dict(first), location), _example(location)
    if len(problems) > 1:
        remedy = f"{remedy}; {len(problems) - 1} more after this" if remedy else f"{len(problems) - 1} more after this"
    return ConfigError(where(location), problem, remedy)


def _unknown(location: tuple[str, ...]) -> tuple[str, str]:
    if len(location) > 2:
        return f"unknown key {location[-1]}", "known: certificate, private_key"
    section, key = suggest(location[0], location[1] if len(location) > 1 else "")
    if len(location) == 1:
        if key:
            return "unknown key", f"{key} belongs into [{section}]"
        known = ", ".join(f"[{name}]" for name in section_models())
        return "unknown section", f"did you mean [{section}]?" if section else f"known: {known}"
    if key and section == location[0]:
        return "unknown key", f"did you mean {key}?"
    if key:
        return "unknown key", f"did you mean {key} in [{section}]?"
    return "unknown key", f"known in [{location[0]}]: {', '.join(keys(location[0]))}"


def _problem(error: dict[str, Any], location: tuple[str, ...]) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        duration = is_duration(section_models()[location[0]].model_fields[location[1]])
        return f"{words} {format_duration(context[name]) if duration else context[name]}"
    if kind == "float_type" and not is_duration(section_models()[location[0]].model_fields[location[1]]):
        return "must be a number without quotes"
    if kind == "missing":
        return f"{location[-1]} is missing"
    if kind == "too_long":
        return f"must not have more than {context['max_length']} entries"
    if kind == "literal_error":
        return f"must be one of {context['expected']}"
    if kind == "string_pattern_mismatch":
        return "is not of the expected form"
    if kind == "string_too_long":
        return f"must not be longer than {context['max_length']} characters"
    if kind == "value_error":
        return str(context["error"])
    return _EXPECTED.get(kind, str(error["msg"]))


def _example(location: tuple[str, ...]) -> str:
    if len(location) < 2 or location[0] not in section_models() or location[1] not in keys(location[0]):
        return ""
    return f"for example {render_assignment(location[0], location[1])}"
