"""Runs the steps of the identity room: in place as far as nothing has to wait, the rest in threads.

A registry in a file never waits, so that its answers come before this returns. One behind a network, or a webhook, is
asked in a thread; the engine bounds how many handshakes wait for answers.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from gateway.registry import Steps
from gateway.server.limits import LOOKUP_THREADS

T = TypeVar("T")


class Lookups:
    """Threads, and who is told when they have done their work."""

    def __init__(self, flush_soon: Callable[[], None]) -> None:
        """Starts no thread before one is needed.

        Args:
            flush_soon: Called after an answer that came late, so that what it caused goes out.
        """
        self._flush_soon = flush_soon
        self._threads = ThreadPoolExecutor(LOOKUP_THREADS, thread_name_prefix="lookup")

    def run(self, steps: Steps[T], done: Callable[[T | None, Exception | None], None]) -> None:
        """Runs steps to their end.

        Args:
            steps: They have not begun.
            done: Called once, in the event loop, perhaps before this returns: with the result, or with what was raised.
        """
        self._go_on(steps, None, None, done, late=False)

    def stop(self) -> None:
        """Waits for nothing: what is under way ends by its own time limits."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _go_on(
        self,
        steps: Steps[T],
        value: Any,
        error: BaseException | None,
        done: Callable[[T | None, Exception | None], None],
        *,
        late: bool,
    ) -> None:
        try:
            work = steps.throw(error) if error is not None else steps.send(value)
        except StopIteration as end:
            done(end.value, None)
        except Exception as refused:
            done(None, refused)
        else:
            future = asyncio.get_running_loop().run_in_executor(self._threads, work)
            future.add_done_callback(lambda ended: self._worked(steps, ended, done))
            return
        if late:
            self._flush_soon()

    def _worked(
        self, steps: Steps[T], ended: "asyncio.Future[object]", done: Callable[[T | None, Exception | None], None]
    ) -> None:
        if ended.cancelled():
            steps.close()
            return
        error = ended.exception()
        self._go_on(steps, None if error is not None else ended.result(), error, done, late=True)
