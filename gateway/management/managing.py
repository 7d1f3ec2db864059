"""Having operations done, here or by a running gateway: the commands do not know which."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self

from gateway.management.operation import A, G, Operation
from gateway.registry import Registry


class Management(Protocol):
    """Whoever carries operations out. A context manager, which closes what was opened."""

    def do(self, operation: Operation[G, A], /, **given: Any) -> A:
        """Carries one out.

        Args:
            operation: Which.
            given: The fields of its request.

        Raises:
            RegistryError: It cannot be done; the text says what to do.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class Local:
    """`Management` on a registry, which is opened when it is first needed."""

    def __init__(self, open_registry: Callable[[], Registry], *, clock: Callable[[], float] = time.time) -> None:
        """Takes what opens the registry.

        Args:
            open_registry: Called once at most; closed at the end.
            clock: Seconds since the epoch, UTC.
        """
        self._open = open_registry
        self._clock = clock
        self._registry: Registry | None = None

    def do(self, operation: Operation[G, A], /, **given: Any) -> A:
        parsed = operation.parse(given)
        if self._registry is None:
            self._registry = self._open()
        return operation.perform(self._registry, parsed, self._clock())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._registry is not None:
            self._registry.close()
