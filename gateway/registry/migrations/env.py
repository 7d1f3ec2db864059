"""Run by alembic for each upgrade, on the connection and in the transaction that `gateway.registry.migrating` gives."""

from alembic import context

from gateway.registry.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
