"""aiocoap's `coaps://` client, which observes, over DTLSSocket: `python -m tests.interop.aiocoap_observer JSON`.

A process of its own, because the C library may not be trusted with the one that runs the tests.
"""

import asyncio
import json
import sys
from typing import Any

import aiocoap  # type: ignore[import-untyped]

_STAYS_S = 60.0


async def run(job: dict[str, Any]) -> None:
    host = f"coaps://127.0.0.1:{job['port']}"
    context = await aiocoap.Context.create_client_context()
    credentials = {"psk": bytes.fromhex(job["key"]), "client-identity": job["identity"].encode()}
    context.client_credentials.load_from_dict({f"{host}/*": {"dtls": credentials}})
    request = context.request(aiocoap.Message(code=aiocoap.GET, uri=f"{host}{job['path']}", observe=0))
    first = await request.response
    print(f"state {first.payload.decode()}", flush=True)
    async for notification in request.observation:
        state = notification.payload.decode()
        print(f"state {state}", flush=True)
        if state == job["until"]:
            break
    request.observation.cancel()
    # It stays in its session, so that the gateway can hear that it does not observe any more.
    await asyncio.sleep(_STAYS_S)


if __name__ == "__main__":
    asyncio.run(run(json.loads(sys.argv[1])))
