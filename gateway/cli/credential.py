"""`gateway credential`: what devices prove themselves with."""

from typing import Annotated

import typer

from gateway.cli.common import Output, OutputOption, TenantOption, new_app, print_rows
from gateway.cli.managed import YesOption, command, confirm, facts_of, show
from gateway.management import Management, credentials
from gateway.model import DEFAULT_TENANT

_COLUMNS = ("id", "kind", "status", "version", "psk_identity", "public_key_sha256", "last_used")

app = new_app("List, retire and revoke credentials.")

CredentialArgument = Annotated[
    str, typer.Argument(help="The credential's id, as `credential list` prints it.", metavar="CREDENTIAL")
]


@command(app, "list")
def list_credentials(
    manage: Management,
    device: Annotated[str, typer.Argument(help="The device's name.", metavar="DEVICE")],
    tenant: TenantOption = DEFAULT_TENANT,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the credentials of a device; never a key."""
    found = manage.do(credentials.list_all, device=device, tenant=tenant)
    print_rows(map(facts_of, found.credentials), _COLUMNS, output)


@command(app, "retire")
def retire(
    manage: Management, credential: CredentialArgument, yes: YesOption = False, output: OutputOption = Output.TABLE
) -> None:
    """Take a credential out of use that another one replaces. Sessions that began with it end."""
    confirm(f"Retire credential {credential}? A key does not come back.", yes=yes, otherwise=f"retiring {credential}")
    show(manage.do(credentials.set_, credential=credential, status="retired"), output)


@command(app, "revoke")
def revoke(
    manage: Management, credential: CredentialArgument, yes: YesOption = False, output: OutputOption = Output.TABLE
) -> None:
    """Refuse a credential that is in wrong hands. Sessions that began with it end within two seconds."""
    confirm(f"Revoke credential {credential}? A key does not come back.", yes=yes, otherwise=f"revoking {credential}")
    show(manage.do(credentials.set_, credential=credential, status="revoked"), output)
