"""Clients with a CoAP of their own: a job goes in as JSON, and a line of JSON comes out for each response."""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import TypedDict

from tests.interop.gateway_process import REPOSITORY

Request = tuple[str, str, str]
"""Method, path, payload in hexadecimal."""


class Job(TypedDict):
    """What a client is to do."""

    port: int
    requests: Sequence[Request]
    identity: str
    key: str


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
