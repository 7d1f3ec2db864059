"""`gateway explain`: why devices could not connect, asked of the running gateway."""

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Any

import typer

from gateway.cli.common import (
    ConfigOption,
    Output,
    OutputOption,
    UsageError,
    new_app,
    print_facts,
    print_rows,
    printable,
    readable_errors,
)
from gateway.cli.failures import NotRunning, admin_url, fetch_failures

app = new_app()


@app.command()
def explain(
    who: Annotated[
        str | None,
        typer.Argument(metavar="[WHO]", help="Only this device, identity or address, whichever it is."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Only this device, as the registry or its certificate names it.", metavar="ID")
    ] = None,
    identity: Annotated[
        str | None, typer.Option(help="Only this PSK identity, or name in a certificate.", metavar="TEXT")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Only from this address or network (192.0.2.0/24).", metavar="ADDR")
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
        url = server if server is not None else admin_url(config)
        network = _network(source) if source is not None else None
        found = [
            each
            for each in fetch_failures(url)
            if (who is None or _concerns(each, who))
            and device in (None, each["device"], _certificate_name(each))
            and identity in (None, each["identity"])
            and (network is None or _comes_from(each, network))
        ][:last]
        if output is not Output.TABLE:
            print_rows(found, (), output)
        elif not found:
            asked = [word for word in (who, device, identity, source) if word is not None]
            print(printable("no failed handshake is remembered" + (f" of {', '.join(asked)}" if asked else "")))
        else:
            # One under the other: a hint is a sentence or two, for which a column is too narrow.
            for place, failure in enumerate(found):
                if place:
                    print()
                print_facts(_facts(failure), output)


def _facts(failure: dict[str, Any]) -> dict[str, Any]:
    """What a human wants to see of it, and no line for what is not known."""
    count = failure["count"]
    facts = {
        "reason": failure["reason"],
        "at": failure["last_at"] + (f", {count} times since {failure['first_at']}" if count > 1 else ""),
        "peer": failure["peer"],
        "device": failure["device"],
        "identity": failure["identity"],
        "server name": failure["server_name"],
        "issuer": _issuer(failure),
        "alert": failure["alert"],
        "suite": failure["suite"],
        "hint": failure["hint"],
        "remedy": failure["remedy"],
        "command": failure["command"],
    }
    return {name: value for name, value in facts.items() if value is not None}


def _concerns(failure: dict[str, Any], who: str) -> bool:
    """Whether it is about this device, identity or address."""
    return who in (failure["device"], failure["identity"], failure["peer"], _host(failure))


def _certificate_name(failure: dict[str, Any]) -> str | None:
    name: str | None = failure["identity"]
    return name if failure["auth"] == "x509" else None


def _issuer(failure: dict[str, Any]) -> str | None:
    if failure["issuer"] is None:
        return None
    return f"{failure['issuer']}, key id {failure['issuer_key_id'] or 'not stated'}"


def _host(failure: dict[str, Any]) -> str:
    host: str = failure["peer"].rpartition(":")[0].strip("[]")
    return host


def _network(source: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(source, strict=False)
    except ValueError as error:
        raise UsageError(f"--source {source}: give an address such as 192.0.2.7, or a network: 192.0.2.0/24") from error


def _comes_from(failure: dict[str, Any], network: IPv4Network | IPv6Network) -> bool:
    # An address of an interface has its name at the end: fe80::1%eth0.
    return ip_address(_host(failure).partition("%")[0]) in network
