"""`gateway explain`: why devices could not connect, asked of the running gateway."""

import json
from http.client import HTTPConnection, HTTPException
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import typer

from gateway.cli.common import (
    ConfigOption,
    Output,
    OutputOption,
    UsageError,
    new_app,
    print_facts,
    print_json,
    readable_errors,
    settings_for,
)

_PAGE: Final = "/debug/failures"
_PATIENCE_S: Final = 10.0
_MAX_BODY: Final = 16 * 1024 * 1024

app = new_app()


class NotRunning(Exception):
    """The gateway cannot be asked."""


@app.command()
def explain(
    who: Annotated[
        str | None,
        typer.Argument(metavar="[DEVICE|PEER]", help="Only this device or address."),
    ] = None,
    last: Annotated[int, typer.Option(help="How many at most, the newest first.", min=1)] = 20,
    server: Annotated[
        str | None,
        typer.Option(help="Admin port of the gateway; [admin] bind of the configuration by default.", metavar="URL"),
    ] = None,
    output: OutputOption = Output.TABLE,
    config: ConfigOption = None,
) -> None:
    """Say why handshakes failed lately, and what to do about it."""
    with readable_errors(failure=(NotRunning,)):
        url = server if server is not None else _url(config)
        found = [each for each in _fetch(url) if who is None or _concerns(each, who)][:last]
        if output is Output.JSON:
            print_json(found)
        elif not found:
            print("no failed handshake is remembered" + (f" of {who}" if who is not None else ""))
        else:
            # One under the other: a hint is a sentence or two, for which a column is too narrow.
            for place, failure in enumerate(found):
                if place:
                    print()
                print_facts(_facts(failure), output)


def _url(config: Any) -> str:
    bind = settings_for(config).admin.bind
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind.host, bind.host)  # noqa: S104  where to ask, not where to listen
    return f"http://[{host}]:{bind.port}" if ":" in host else f"http://{host}:{bind.port}"


def _fetch(url: str) -> list[dict[str, Any]]:
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise UsageError(f"--server {url}: give http://HOST:PORT")
    connection = HTTPConnection(parts.hostname, parts.port or 80, timeout=_PATIENCE_S)
    try:
        connection.request("GET", _PAGE)
        response = connection.getresponse()
        body = response.read(_MAX_BODY)
    except (OSError, HTTPException) as error:
        raise NotRunning(f"{url} does not answer ({error}); is the gateway running? See [admin] bind") from error
    finally:
        connection.close()
    try:
        return list(json.loads(body)["failures"])
    except (ValueError, KeyError, TypeError) as error:
        raise NotRunning(f"{url}{_PAGE} answers {response.status}, but not as this version's gateway does") from error


def _facts(failure: dict[str, Any]) -> dict[str, Any]:
    """What a human wants to see of it, and no line for what is not known."""
    count = failure["count"]
    facts = {
        "reason": failure["reason"],
        "at": failure["last_at"] + (f", {count} times since {failure['first_at']}" if count > 1 else ""),
        "peer": failure["peer"],
        "device": failure["device"],
        "alert": failure["alert"],
        "suite": failure["suite"],
        "hint": failure["hint"],
        "remedy": failure["remedy"],
    }
    return {name: value for name, value in facts.items() if value is not None}


def _concerns(failure: dict[str, Any], who: str) -> bool:
    """Whether it is about this device or address; an unknown identity stands in the hint only."""
    peer = failure["peer"]
    host = peer.rpartition(":")[0].strip("[]")
    return who in (failure["device"], peer, host) or f"'{who}'" in failure["hint"]
