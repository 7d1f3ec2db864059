"""aiocoap's own `coaps://` client, over DTLSSocket (tinydtls): `python -m tests.interop.aiocoap_client` (see `jobs`).

A process of its own, because the C library may not be trusted with the one that runs the tests.
"""

import asyncio
import json
import sys

import aiocoap  # type: ignore[import-untyped]

from tests.interop.jobs import Job


async def run(job: Job) -> None:
    host = f"coaps://127.0.0.1:{job['port']}"
    context = await aiocoap.Context.create_client_context()
    credentials = {"psk": bytes.fromhex(job["key"]), "client-identity": job["identity"].encode()}
    context.client_credentials.load_from_dict({f"{host}/*": {"dtls": credentials}})
    try:
        for method, path, payload in job["requests"]:
            code = aiocoap.Code[method]
            request = aiocoap.Message(code=code, uri=f"{host}{path}", payload=bytes.fromhex(payload))
            response = await context.request(request).response
            print(json.dumps([response.code.dotted, response.payload.hex()]), flush=True)
    finally:
        await context.shutdown()


if __name__ == "__main__":
    asyncio.run(run(json.load(sys.stdin)))
