"""`gateway db`: the registry's schema."""

from gateway.cli.common import ConfigOption, Output, OutputOption, new_app, print_facts, readable_errors, site_settings
from gateway.registry import HEAD, open_registry, schema_version

app = new_app("Look after the schema of the registry.")


@app.command("current")
def current(output: OutputOption = Output.TABLE, config: ConfigOption = None) -> None:
    """Show the version of the registry's schema, and the one that this release works with."""
    with readable_errors():
        found = schema_version(site_settings(config).registry.url)
        print_facts({"version": found, "wanted": HEAD, "up_to_date": found == HEAD}, output)


@app.command("upgrade")
def upgrade(output: OutputOption = Output.TABLE, config: ConfigOption = None) -> None:
    """Bring the schema up to date. Stop the gateways of an older release first."""
    with readable_errors():
        url = site_settings(config).registry.url
        before = schema_version(url)
        open_registry(url, migrate=True).close()
        print_facts({"before": before, "version": schema_version(url)}, output)
