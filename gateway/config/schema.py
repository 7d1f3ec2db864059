"""Questions to the schema: which sections and keys there are, and which one somebody probably meant."""

from difflib import get_close_matches
from functools import cache

from gateway.config.settings import Section, Settings

_CUTOFF = 0.6
_TABLES = {("handlers", "options"), ("dtls", "certificates")}


@cache
def section_models() -> dict[str, type[Section]]:
    """The sections in the order of the file, with their models."""
    models = {}
    for name, field in Settings.model_fields.items():
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, Section)):
            raise TypeError(f"the section {name} is not a Section")
        models[name] = field.annotation
    return models


def keys(section: str) -> list[str]:
    """The keys of a section that stand on a line of a file; the others are spelt as tables."""
    return [key for key in section_models()[section].model_fields if (section, key) not in _TABLES]


def suggest(section: str, key: str = "") -> tuple[str, str]:
    """Guess what was meant.

    Args:
        section: The section as it was written, known or not.
        key: The key as it was written; "" when the section itself is in question.

    Returns:
        Section and key, each "" where there is no good guess.
    """
    sections = list(section_models())
    near_section = section if section in sections else next(iter(get_close_matches(section, sections, 1, _CUTOFF)), "")
    if not key:
        # A bare name is either a mistyped section or a key that lost its section.
        owner = next((other for other in sections if section in keys(other)), "")
        return (near_section, "") if near_section else (owner, section if owner else "")
    if near_section and (near := get_close_matches(key, keys(near_section), 1, _CUTOFF)):
        return near_section, near[0]
    # The right key in the wrong section.
    for other in sections:
        if key in keys(other):
            return other, key
    for other in sections:
        if near := get_close_matches(key, keys(other), 1, 0.8):
            return other, near[0]
    return near_section, ""
