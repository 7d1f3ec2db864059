"""Fetches the revocation lists of trust anchors that say where theirs are, well before the old ones are outdated.

What a list means while it cannot be had is the anchor's policy; nothing here lets anybody in or keeps anybody out.
Whoever answers at the URL proves nothing by it: a list counts only with its CA's signature, so that plain http is as
good as https.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from http.client import HTTPException
from typing import TypeVar
from urllib.request import Request, urlopen

from gateway.identity import IdentityService, import_crl
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
)
from gateway.telemetry import get_logger

T = TypeVar("T")
_PIECE = 65_536


class CrlRefresh:
    """One task for as long as the worker runs.

    Attributes:
        results: How often, by result: `stored`, `unchanged` or `failed`.
    """

    def __init__(self, registry: Registry, identity: IdentityService, *, clock: Callable[[], float]) -> None:
        """Knows whom to ask.

        Args:
            registry: Where lists are kept; used from the event loop's thread, unless it is behind a network.
            identity: Knows the anchors in use.
            clock: Seconds that never go back.
        """
        self.results: Counter[str] = Counter({"stored": 0, "unchanged": 0, "failed": 0})
        self._registry = registry
        self._identity = identity
        self._clock = clock
        self._due: dict[str, float] = {}
        self._failures: Counter[str] = Counter()
        self._log = get_logger("gateway.server").bind()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.look()
            except Exception as fault:  # a bug of ours must not end the task
                self._log.error("server.fault", exc_info=fault)
            await asyncio.sleep(CRL_LOOK_S)

    async def look(self) -> None:
        """Once: fetches every list that is due."""
        urls = self._identity.crl_urls
        self._due = {url: self._due.get(url, 0.0) for url in urls}
        for url in urls:
            if self._due[url] <= self._clock():
                await self._refresh(url)

    async def _refresh(self, url: str) -> None:
        try:
            data = await asyncio.to_thread(fetch, url)
            found, stored = await self._wait(
                lambda: import_crl(self._registry, data, datetime.now(UTC), url=url),
            )
        except (OSError, HTTPException, ValueError, CrlRefused, RegistryError) as error:
            self._failures[url] += 1
            self.results["failed"] += 1
            wait = min(CRL_RETRY_FIRST_S * 2.0 ** (self._failures[url] - 1), CRL_RETRY_MAX_S)
            self._due[url] = self._clock() + wait
            self._log.warning(
                "crl.refresh_failed", url=url, hint=str(error) or type(error).__name__, next_try_s=round(wait)
            )
            return
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

    async def _wait(self, work: Callable[[], T]) -> T:
        return await asyncio.to_thread(work) if self._registry.remote else work()


def fetch(url: str) -> bytes:
    """The bytes at a URL of http or https: at most so many, and not for longer than so. Waits.

    Raises:
        OSError: It cannot be had (with `URLError` and time-outs among them).
        HTTPException: What answers speaks no HTTP.
        ValueError: It is too large, or the URL is none of these.
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url} is no URL of http or https")
    until = time.monotonic() + CRL_FETCH_S
    request = Request(url, headers={"User-Agent": "dtls-gateway"})  # noqa: S310  checked above
    pieces = bytearray()
    with urlopen(request, timeout=CRL_FETCH_S) as answer:  # noqa: S310  as above
        while piece := answer.read1(_PIECE):
            pieces += piece
            if len(pieces) > 2 * MAX_CRL_BYTES:
                raise ValueError(f"what is there has more than {2 * MAX_CRL_BYTES} bytes")
            if time.monotonic() > until:
                raise TimeoutError(f"it took longer than {CRL_FETCH_S:g} seconds")
    return bytes(pieces)


def _interval(found: RevocationList) -> float:
    """When to ask again: halfway to the next list, so that a CA that is away for a while harms nobody."""
    left = (found.next_update - datetime.now(UTC)).total_seconds()
    return min(max(left / 2, CRL_REFRESH_MIN_S), CRL_REFRESH_MAX_S)
