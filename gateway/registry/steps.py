"""Work that may have to wait for a network, written as if it did not.

A function that yields is given back what its yielded work returned. Whoever runs it decides where the work is done: in
place (`run`), or in a thread while an event loop goes on. What never yields costs next to nothing: a registry in a file
is read in place.
"""

from collections.abc import Callable, Generator
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")

Work: TypeAlias = Callable[[], object]
Steps: TypeAlias = Generator[Work, Any, T]


def wait_for(work: Callable[[], T]) -> Steps[T]:
    """The result of work that may wait: `found = yield from wait_for(...)`."""
    result: T = yield work
    return result


def run(steps: Steps[T]) -> T:
    """Does everything in place."""
    try:
        work = next(steps)
        while True:
            try:
                result = work()
            except Exception as error:
                work = steps.throw(error)
            else:
                work = steps.send(result)
    except StopIteration as end:
        value: T = end.value
        return value
