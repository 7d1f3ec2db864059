"""The kinds of value in requests and answers."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema

from gateway.management.limits import MAX_NOTE, MAX_TEXT
from gateway.model import DEFAULT_TENANT


class Given(BaseModel):
    """What a request says: nothing that nobody reads."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Answer(BaseModel):
    """What an answer says. A newer gateway may say more."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Nothing(Given):
    """Nothing has to be said."""


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain a NUL character")
    return text


Text = Annotated[str, StringConstraints(max_length=MAX_TEXT), AfterValidator(_no_nul)]
"""A name; whether there is such a thing, and whether there can be, is for the registry to know."""

Note = Annotated[str, StringConstraints(max_length=MAX_NOTE), AfterValidator(_no_nul)]
"""What people write for people."""

TenantName = Annotated[Text, Field(description="The tenant's id.", examples=[DEFAULT_TENANT])]
DeviceName = Annotated[Text, Field(description="The device's id within its tenant.", examples=["meter-17"])]

Instant = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
"""A time in an answer: RFC 3339, UTC, whole seconds."""


def instant(seconds: float) -> str:
    """A time of the registry as it is shown."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def maybe_instant(seconds: float | None) -> str | None:
    """The same for one that may be missing."""
    return None if seconds is None else instant(seconds)
