"""SenML packs (RFC 8428), in JSON or CBOR, as resolved records: every record says for itself what it is about."""

import math
import re
from typing import Any, Final

from gateway.handlers.limits import SENML_NAME_CHARACTERS, SENML_UNIT_CHARACTERS

# RFC 8428 section 6, table 6.
_LABELS: Final = {
    -1: "bver", -2: "bn", -3: "bt", -4: "bu", -5: "bv", -6: "bs", 0: "n", 1: "u", 2: "v", 3: "vs", 4: "vb", 5: "s",
    6: "t", 7: "ut", 8: "vd",
}  # fmt: skip
_BASES: Final = frozenset({"bver", "bn", "bt", "bu", "bv", "bs"})
_NUMBERS: Final = frozenset({"bver", "bt", "bv", "bs", "v", "s", "t", "ut"})
_TEXTS: Final = frozenset({"bn", "bu", "n", "u", "vs"})
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9:./_-]*")  # section 4.5.1
_VERSION: Final = 10
_RELATIVE_BELOW: Final = 1 << 28  # section 4.5.3
_SHOWN: Final = 40  # characters of a label that the device is told again


class NotSenml(ValueError):
    """What came is no SenML that is understood here; the text says why, to the developer of the device."""


def resolve_senml(pack: object, now: float) -> list[dict[str, Any]]:
    """Return the records of a pack that was decoded from JSON or CBOR, resolved (RFC 8428 section 4.6).

    Names are whole, base values are added, base fields are gone, and each record has an absolute time, since one that
    is not there or below 2**28 is relative to now (section 4.5.3). CBOR's labels have become names.

    Args:
        pack: The value of the payload.
        now: When it came, in seconds of Unix time.

    Raises:
        NotSenml: It is none, needs something that is not understood, or has a name or unit that is too long.
    """
    if not isinstance(pack, list) or not pack:
        raise NotSenml("a pack is a list of records")
    bases: dict[str, Any] = {}
    records = []
    for item in pack:
        fields = _fields(item)
        bases.update({name: value for name, value in fields.items() if name in _BASES})
        # Section 4.4: what is newer than the reader must not be used.
        if bases.get("bver", _VERSION) > _VERSION:
            raise NotSenml(f"SenML of version {_VERSION} at most is understood")
        record = _resolve(fields, bases, now)
        if record is not None:
            records.append(record)
    return records


def _fields(item: object) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise NotSenml("a record is a map")
    fields: dict[str, Any] = {}
    for key, value in item.items():
        name = _LABELS.get(key, key) if isinstance(key, int) and not isinstance(key, bool) else key
        if not isinstance(name, str) or name in fields:
            raise NotSenml(f"{repr(key)[:_SHOWN]} is no label, or is there twice")
        if name in _NUMBERS and not _is_number(value):
            raise NotSenml(f"{name} is a number")
        if name in _TEXTS and not isinstance(value, str):
            raise NotSenml(f"{name} is a text")
        if name.endswith("_"):
            # Section 4.4: who does not understand such a field must not go on.
            raise NotSenml(f"the field {name[-_SHOWN:]!r} must be understood, and is not")
        fields[name] = value
    return fields


def _resolve(fields: dict[str, Any], bases: dict[str, Any], now: float) -> dict[str, Any] | None:
    """One record with the bases that hold for it; None for one that only sets bases."""
    record = {name: value for name, value in fields.items() if name not in _BASES}
    if not record:
        return None
    record["n"] = _name(bases.get("bn", ""), record.get("n", ""))
    time = _sum(bases.get("bt", 0), record.get("t", 0))
    record["t"] = _sum(time, now) if time < _RELATIVE_BELOW else time
    if "bu" in bases and "u" not in record:
        record["u"] = bases["bu"]
    if len(record.get("u", "")) > SENML_UNIT_CHARACTERS:
        raise NotSenml(f"the unit of a record has at most {SENML_UNIT_CHARACTERS} characters")
    # Section 4.1: of a base and its value, the one that is missing counts as zero.
    if "bv" in bases and not record.keys() & {"vs", "vb", "vd"}:
        record["v"] = _sum(bases["bv"], record.get("v", 0))
    if "bs" in bases:
        record["s"] = _sum(bases["bs"], record.get("s", 0))
    return record


def _name(base: str, own: str) -> str:
    # Before they are put together: a base is said once, and would be copied for every record.
    if len(base) + len(own) > SENML_NAME_CHARACTERS:
        raise NotSenml(
            f"the name of a record, base name included, has at most {SENML_NAME_CHARACTERS} characters, not "
            f"{len(base) + len(own)}"
        )
    name = base + own
    if _NAME.fullmatch(name) is None:
        raise NotSenml("a record has no name, or one of other characters than are allowed")
    return name


def _sum(base: float, value: float) -> float:
    try:
        total = base + value
    except OverflowError:
        total = math.inf
    if not _is_number(total):
        raise NotSenml("a base and its value make no number together")
    return total


def _is_number(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False  # an integer that is no double (section 4.3)
