"""Changes that are made only if nobody was faster: entity tags and If-Match (RFC 9110 section 13.1.1)."""

import hashlib
import json
from typing import Any, Final

from pydantic import BaseModel

from gateway.management.operation import Operation
from gateway.management.problems import Changed
from gateway.registry import InvalidValue, Registry

# What changes without an operator: a device that is seen again has not been edited.
_BY_THEMSELVES: Final = frozenset({"devices", "expired", "last_seen", "last_used", "usage"})


def entity_tag(answer: BaseModel) -> str:
    """The tag of what was shown: another one as soon as an operator or a policy has changed it."""
    text = json.dumps(_edited(answer.model_dump(mode="json")), sort_keys=True)
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def check_unchanged(
    registry: Registry, shown: Operation[Any, Any] | None, given: BaseModel, if_match: str, now: float
) -> None:
    """Whether a thing still is what the caller saw, within the transaction that changes it.

    Args:
        registry: Where it is.
        shown: The operation that shows it.
        given: The request that changes it.
        if_match: The tags that will do, as the header has them.
        now: Seconds since the epoch, UTC.

    Raises:
        Changed: It is another one by now.
        InvalidValue: Nothing shows it, so that nobody can have its tag.
        NotFound: It is gone.
    """
    if shown is None:
        raise InvalidValue("If-Match: nothing at this path has an ETag")
    fields = {name: getattr(given, name) for name in shown.given.model_fields if hasattr(given, name)}
    tag = entity_tag(shown.perform(registry, shown.parse(fields), now))
    if if_match.strip() != "*" and tag not in [each.strip() for each in if_match.split(",")]:
        raise Changed("somebody was faster: it is no longer what If-Match says; look at it again")


def _edited(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _edited(each) for name, each in value.items() if name not in _BY_THEMSELVES}
    return [_edited(each) for each in value] if isinstance(value, list) else value
