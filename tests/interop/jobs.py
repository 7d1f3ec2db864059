"""Clients with a CoAP of their own: a job goes in as JSON, and a line of JSON comes out for each response."""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import NotRequired, TypedDict

from tests.interop.gateway_process import REPOSITORY

Request = tuple[str, str, str]
"""Method, path, payload in hexadecimal."""


class Job(TypedDict):
    """What a client is to do; the last four are aiocoap's.

    Attributes:
        szx: Exponent of the block size that it asks for and sends.
        confirmable: Whether its requests are; they are, unless it is told otherwise.
        ack_timeout: Seconds after which it repeats.
        empty_token: Whether its first request has one.
    """

    port: int
    requests: Sequence[Request]
    identity: str
    key: str
    szx: NotRequired[int]
    confirmable: NotRequired[bool]
    ack_timeout: NotRequired[float]
    empty_token: NotRequired[bool]


def run_job(module: str, job: Job) -> list[tuple[str, bytes]]:
    """Has a client do a job; returns the responses: code ("2.05") and payload."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.interop.{module}"],
        cwd=REPOSITORY,
        input=json.dumps(job),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    responses = [json.loads(line) for line in done.stdout.splitlines()]
    return [(code, bytes.fromhex(payload)) for code, payload in responses]
