"""`gateway simulate`: load from simulated devices."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.common import (
    EXIT_FAILURE,
    ConfigOption,
    UsageError,
    key_beside,
    new_app,
    print_json,
    read_key,
    readable_errors,
    settings_for,
)
from gateway.config import Address
from gateway.pki import PkiError, load_certified_key
from gateway.simulator import (
    FleetPlan,
    certificate_identities,
    lot_identities,
    psk_identities,
    raw_key_identities,
    run_fleet,
)

app = new_app()

_WHICH = "say either --psk-identity with --psk-file, or --ca, or --lot, or --private-key"


@app.command()
def simulate(
    devices: Annotated[
        int | None, typer.Option("--devices", "-n", min=1, max=10_000, help="How many; 1, or all of a --lot.")
    ] = None,
    psk_identity: Annotated[
        str | None, typer.Option(help="PSK identity; {n} in it becomes the device's number.", metavar="TEXT")
    ] = None,
    psk_file: Annotated[Path | None, typer.Option(help="File with their key, in hex.", metavar="FILE")] = None,
    psk_text: Annotated[bool, typer.Option("--psk-text", help="The key in the file is text, not hex.")] = False,
    ca: Annotated[
        Path | None, typer.Option(help="Certificate of a CA: gives each device a certificate.", metavar="FILE")
    ] = None,
    ca_key: Annotated[
        Path | None, typer.Option(help="Its key; the certificate's path with .key by default.", metavar="FILE")
    ] = None,
    lot: Annotated[
        Path | None,
        typer.Option(help="Folder that `gateway cert bulk` made: the first devices of it, or all.", metavar="FOLDER"),
    ] = None,
    private_key: Annotated[
        Path | None,
        typer.Option(
            help="File with a private key: the device proves itself with its raw public key; {n} in the path becomes "
            "the number.",
            metavar="FILE",
        ),
    ] = None,
    device_id: Annotated[
        str, typer.Option(help="Name in the certificates; {n} becomes the number.", metavar="TEXT")
    ] = "simulated-{n}",
    target: Annotated[
        str | None, typer.Option(help="The gateway, host:port; the configuration's port here by default.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Requests a device.")] = 1,
    rate: Annotated[float, typer.Option(min=0.001, max=1000, help="Requests a second, a device.")] = 1.0,
    path: Annotated[str, typer.Option(help="Where they post to.")] = "telemetry/simulated",
    non_confirmable: Annotated[bool, typer.Option("--non", help="Send non-confirmable requests.")] = False,
    connection_id: Annotated[
        bool, typer.Option("--connection-id/--no-connection-id", help="Offer a connection id.")
    ] = True,
    serve: Annotated[
        bool, typer.Option("--serve", help="Answer requests of the gateway while connected: GET /status.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Connect devices and let them post. Prints a JSON object; exit status 1 if anything failed."""
    with readable_errors(failure=(PkiError,)):
        with_psk = psk_identity is not None or psk_file is not None or psk_text
        with_ca = ca is not None or ca_key is not None
        number = devices if devices is not None else 1
        if (with_psk, with_ca, lot is not None, private_key is not None).count(True) != 1:
            raise UsageError(_WHICH)
        if psk_identity is not None and psk_file is not None:
            identities = psk_identities(number, psk_identity, read_key(psk_file, text=psk_text))
        elif ca is not None:
            identities = certificate_identities(number, device_id, load_certified_key(ca, key_beside(ca, ca_key)))
        elif lot is not None:
            identities = lot_identities(lot, devices)
        elif private_key is not None:
            identities = raw_key_identities(number, str(private_key))
        else:
            raise UsageError(_WHICH)
        address = _target(target, config)
        plan = FleetPlan(
            path=path,
            count=count,
            interval_s=1 / rate,
            confirmable=not non_confirmable,
            connection_id=connection_id,
            serves=serve,
        )
        result = asyncio.run(run_fleet(identities, address.host, address.port, plan))
        print_json(result.summary())
        if not result.ok:
            raise typer.Exit(EXIT_FAILURE)


def _target(target: str | None, config: Path | None) -> Address:
    if target is None:
        bind = settings_for(config).server.bind
        if bind.port == 0:
            raise UsageError("the configuration leaves the port to the system; name the gateway with --target")
        return Address({"::": "::1", "0.0.0.0": "127.0.0.1"}.get(bind.host, bind.host), bind.port)  # noqa: S104
    try:
        return Address.parse(target)
    except ValueError as error:
        raise UsageError(f"--target {error}") from error
