"""aiocoap's own `coaps://` client, over DTLSSocket (tinydtls): `python -m tests.interop.aiocoap_client` (see `jobs`).

A process of its own, because the C library may not be trusted with the one that runs the tests.
"""

import asyncio
import json
import sys

import aiocoap  # type: ignore[import-untyped]

from tests.interop.jobs import Job


def tuning(job: Job) -> aiocoap.TransportTuning:
    made = aiocoap.TransportTuning()
    made.reliability = job.get("confirmable", True)
    if "ack_timeout" in job:
        made.ACK_TIMEOUT = job["ack_timeout"]
        made.MAX_RETRANSMIT = 10  # 4 would be no time at all, on a machine that does something else for a moment
    return made


async def run(job: Job) -> None:
    host = f"coaps://127.0.0.1:{job['port']}"
    context = await aiocoap.Context.create_client_context()
    credentials = {"psk": bytes.fromhex(job["key"]), "client-identity": job["identity"].encode()}
    context.client_credentials.load_from_dict({f"{host}/*": {"dtls": credentials}})
    if job.get("empty_token"):
        # It counts its tokens, and writes them without leading zeros: this is the one before 0.
        for interface in context.request_interfaces:
            interface._token = 2**64 - 1
    try:
        for method, path, payload in job["requests"]:
            code = aiocoap.Code[method]
            request = aiocoap.Message(
                code=code, uri=f"{host}{path}", payload=bytes.fromhex(payload), transport_tuning=tuning(job)
            )
            if "szx" in job:
                await context.find_remote_and_interface(request)
                # Of all connections: one has it as a property that cannot be set.
                type(request.remote).maximum_block_size_exp = job["szx"]
                if not payload:
                    request.opt.block2 = (0, False, job["szx"])
            response = await context.request(request).response
            if job.get("empty_token") and response.token:
                raise AssertionError(f"the token {response.token.hex()} is not empty")
            print(json.dumps([response.code.dotted, response.payload.hex()]), flush=True)
    finally:
        await context.shutdown()


if __name__ == "__main__":
    asyncio.run(run(json.load(sys.stdin)))
