"""What a running gateway remembers of failed handshakes: asked for by `explain`, and before a CA is trusted."""

import json
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.cli.common import UsageError, settings_for

_PAGE: Final = "/debug/failures"
_PATIENCE_S: Final = 10.0
_MAX_BODY: Final = 16 * 1024 * 1024
_NEWEST: Final = {"identity", "issuer", "issuer_key_id", "command"}


class NotRunning(Exception):
    """The gateway cannot be asked."""


def admin_url(config: Path | None) -> str:
    """Where the gateway of a configuration has its admin port."""
    bind = settings_for(config).admin.bind
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind.host, bind.host)  # noqa: S104  where to ask, not where to listen
    return f"http://[{host}]:{bind.port}" if ":" in host else f"http://{host}:{bind.port}"


def fetch_failures(url: str, *, chains: bool = False) -> list[dict[str, Any]]:
    """What a gateway remembers of failed handshakes, the newest first.

    Args:
        url: Of its admin port.
        chains: With the certificates that were presented, DER in base64, as `chain`.

    Raises:
        NotRunning: It cannot be asked.
        UsageError: That is no such URL.
    """
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise UsageError(f"--server {url}: give http://HOST:PORT")
    connection = HTTPConnection(parts.hostname, parts.port or 80, timeout=_PATIENCE_S)
    try:
        connection.request("GET", _PAGE + ("?chains=1" if chains else ""))
        response = connection.getresponse()
        body = response.read(_MAX_BODY)
    except (OSError, HTTPException) as error:
        raise NotRunning(f"{url} does not answer ({error}); is the gateway running? See [admin] bind") from error
    finally:
        connection.close()
    try:
        answer = json.loads(body)
        if response.status == HTTPStatus.FORBIDDEN and isinstance(answer["error"], str):
            raise NotRunning(f"{url} refuses: {answer['error']}")
        failures = list(answer["failures"])
        if not all(each.keys() >= _NEWEST for each in failures):
            raise KeyError("a gateway of another version")
        return failures
    except (ValueError, KeyError, TypeError) as error:
        raise NotRunning(f"{url}{_PAGE} answers {response.status}, but not as this version's gateway does") from error
