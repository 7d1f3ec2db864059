"""Fetches the revocation lists of trust anchors that say where theirs are, well before the old ones are outdated.

What a list means while it cannot be had is the anchor's policy; nothing here lets anybody in or keeps anybody out.
Whoever answers at the URL proves nothing by it: a list counts only with its CA's signature, so that plain http is as
good as https.

Each list is fetched in a daemon thread of its own, so that neither another list nor the end of the process waits for
a server that is slow. A fetch that is given up half-way leaves nothing behind: what came is stored here, in the loop.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

from gateway.identity import IdentityService, WebError, ask_web, import_crl, in_background
from gateway.pki import CrlRefused, RevocationList, describe
from gateway.registry import Registry, RegistryError
from gateway.registry.limits import MAX_CRL_BYTES
from gateway.server.limits import (
    CRL_FETCH_S,
    CRL_LOOK_S,
    CRL_REFRESH_MAX_S,
    CRL_REFRESH_MIN_S,
    CRL_RETRY_FIRST_S,
    CRL_RETRY_MAX_S,
    MAX_CRL_FETCHES,
)
from gateway.telemetry import get_logger


class CrlRefresh:
    """One task for as long as the worker runs.

    Attributes:
        results: How often, by result: `stored`, `unchanged` or `failed`.
    """

    def __init__(
        self,
        registry: Registry,
        identity: IdentityService,
        *,
        clock: Callable[[], float],
        fetch_s: float = CRL_FETCH_S,
    ) -> None:
        """Knows whom to ask.

        Args:
            registry: Where lists are kept; used from the event loop's thread, unless it is behind a network.
            identity: Knows the anchors in use.
            clock: Seconds that never go back.
            fetch_s: Seconds for one fetch.
        """
        self.results: Counter[str] = Counter({"stored": 0, "unchanged": 0, "failed": 0})
        self._registry = registry
        self._identity = identity
        self._clock = clock
        self._fetch_s = fetch_s
        self._due: dict[str, float] = {}
        self._failures: Counter[str] = Counter()
        self._under_way: set[str] = set()
        self._slots = asyncio.Semaphore(MAX_CRL_FETCHES)
        # A registry behind a network has few connections, and handshakes wait for them.
        self._storing = asyncio.Lock()
        self._log = get_logger("gateway.server").bind()

    async def run(self) -> None:
        """Until cancelled; then it waits for no fetch."""
        async with asyncio.TaskGroup() as fetches:
            while True:
                try:
                    self._begin(fetches)
                except Exception as fault:  # a bug of ours must not end the task
                    self._log.error("server.fault", exc_info=fault)
                await asyncio.sleep(CRL_LOOK_S)

    async def look(self) -> None:
        """Once: fetches every list that is due, and waits for them."""
        async with asyncio.TaskGroup() as fetches:
            self._begin(fetches)

    def _begin(self, fetches: asyncio.TaskGroup) -> None:
        urls = self._identity.crl_urls
        self._due = {url: self._due.get(url, 0.0) for url in urls}
        for url in urls:
            if self._due[url] <= self._clock() and url not in self._under_way:
                self._under_way.add(url)
                fetches.create_task(self._refresh(url))

    async def _refresh(self, url: str) -> None:
        try:
            async with self._slots:
                data = await asyncio.wrap_future(in_background(lambda: fetch(url, limit_s=self._fetch_s), "crl"))
            found, stored = await self._store(url, data)
        except (WebError, CrlRefused, RegistryError) as error:
            self._failed(url, str(error) or type(error).__name__)
        except Exception as fault:  # a bug of ours must not end the other fetches
            self._log.error("server.fault", exc_info=fault)
            self._failed(url, type(fault).__name__)
        else:
            self._came(url, found, stored=stored)
        finally:
            self._under_way.discard(url)

    async def _store(self, url: str, data: bytes) -> tuple[RevocationList, bool]:
        def work() -> tuple[RevocationList, bool]:
            return import_crl(self._registry, data, datetime.now(UTC), url=url)

        async with self._storing:
            return await asyncio.to_thread(work) if self._registry.remote else work()

    def _failed(self, url: str, hint: str) -> None:
        self._failures[url] += 1
        self.results["failed"] += 1
        wait = min(CRL_RETRY_FIRST_S * 2.0 ** (self._failures[url] - 1), CRL_RETRY_MAX_S)
        self._due[url] = self._clock() + wait
        self._log.warning("crl.refresh_failed", url=url, hint=hint, next_try_s=round(wait))

    def _came(self, url: str, found: RevocationList, *, stored: bool) -> None:
        del self._failures[url]
        self.results["stored" if stored else "unchanged"] += 1
        self._due[url] = self._clock() + _interval(found)
        if stored:
            self._log.info(
                "crl.refreshed",
                url=url,
                issuer=describe(found.issuer.subject),
                number=found.number,
                entries=len(found),
                next_update=found.next_update.isoformat(),
            )


def fetch(url: str, *, limit_s: float = CRL_FETCH_S) -> bytes:
    """The bytes at a URL of http or https: at most so many, and not for longer than so. Waits.

    Raises:
        WebError: They cannot be had, not in time, or are too many.
    """
    answer = ask_web(url, limit_s=limit_s, max_bytes=2 * MAX_CRL_BYTES)
    if not 200 <= answer.status < 300:
        raise WebError(f"it answers with HTTP {answer.status}")
    return answer.body


def _interval(found: RevocationList) -> float:
    """When to ask again: halfway to the next list, so that a CA that is away for a while harms nobody."""
    left = (found.next_update - datetime.now(UTC)).total_seconds()
    return min(max(left / 2, CRL_REFRESH_MIN_S), CRL_REFRESH_MAX_S)
