"""One thing that an operator can have done: said once, carried out by a command, by a server, or asked of one."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, get_type_hints

from pydantic import BaseModel, ValidationError

from gateway.registry import InvalidValue, Registry

G = TypeVar("G", bound=BaseModel)
A = TypeVar("A", bound=BaseModel)

_PREFIX = "/api/v1"


@dataclass(frozen=True, slots=True)
class Context:
    """What an operation works with.

    Attributes:
        registry: Its changes are one transaction, and are written down as those of `registry.actor`.
        now: Seconds since the epoch, UTC.
    """

    registry: Registry
    now: float


@dataclass(frozen=True, slots=True)
class Operation(Generic[G, A]):
    """One row of the table.

    Attributes:
        name: `noun.verb`.
        method: HTTP's: GET reads, everything else changes.
        path: Template of the path, from the root on; each name in braces is a field of `given`.
        given: What has to be said. What is not in the path is in the query of GET and DELETE, else in the body.
        answer: What comes back.
        status: HTTP's, when it was done.
        summary: One line.
        description: More, or nothing.
        run: Does it.
    """

    name: str
    method: str
    path: str
    given: type[G]
    answer: type[A]
    status: int
    summary: str
    description: str
    run: Callable[[Context, G], A]

    @property
    def writes(self) -> bool:
        """Whether it changes anything."""
        return self.method != "GET"

    @property
    def path_fields(self) -> tuple[str, ...]:
        """Names of the fields that stand in the path, in this order."""
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))

    @property
    def has_body(self) -> bool:
        """Whether the other fields are in a body, not in the query."""
        return self.method not in ("GET", "DELETE")

    def perform(self, registry: Registry, given: G, now: float) -> A:
        """Carries it out: all of it, or nothing.

        Raises:
            RegistryError: It cannot be done; the text says what to do.
        """
        return registry.together(lambda: self.run(Context(registry, now), given), write=self.writes)

    def parse(self, given: dict[str, Any]) -> G:
        """What a caller of ours says.

        Raises:
            InvalidValue: A field is missing, unknown, or not of its kind.
        """
        try:
            return self.given.model_validate(given)
        except ValidationError as error:
            raise InvalidValue(refusal(error)) from None


def operation(
    name: str, method: str, path: str, *, status: int = 200
) -> Callable[[Callable[[Context, G], A]], Operation[G, A]]:
    """Makes an operation of a function, by its annotations and its docstring.

    Args:
        name: See `Operation`.
        method: See `Operation`.
        path: Below the prefix of this version of the API.
        status: See `Operation`.
    """

    def make(run: Callable[[Context, G], A]) -> Operation[G, A]:
        hints = get_type_hints(run)
        summary, _, rest = inspect.cleandoc(run.__doc__ or "").partition("\n")
        description = " ".join(rest.split())
        return Operation(
            name, method, _PREFIX + path, hints["given"], hints["return"], status, summary, description, run
        )

    return make


def refusal(error: ValidationError) -> str:
    """What is wrong with a request, in one line that repeats nothing of it: it may hold a key."""
    texts = []
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        where = ".".join(map(str, each["loc"]))
        if each["type"] == "string_unicode":
            text = "is not valid UTF-8"
        else:
            text = each["msg"].removeprefix("Value error, ")
            text = text[:1].lower() + text[1:]
        texts.append(f"{where}: {text}" if where else text)
    return "; ".join(texts)
