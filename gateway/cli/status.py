"""`gateway status`: what there is."""

from gateway.cli.common import Output, OutputOption, new_app
from gateway.cli.managed import command, show
from gateway.management import Management, trail

app = new_app()


@command(app)
def status(manage: Management, output: OutputOption = Output.TABLE) -> None:
    """Show how much the registry holds."""
    show(manage.do(trail.status), output)
