"""Tags that find equal pre-shared keys."""

import sqlalchemy as sa
from alembic import op

from gateway.registry.secrets import Secrets

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("credential", sa.Column("key_tag", sa.LargeBinary()))
    op.create_index("credential_of_key", "credential", ["key_tag"])
    # Nothing could be sealed before.
    credential = sa.table("credential", sa.column("number"), sa.column("secret"), sa.column("key_tag"))
    connection, secrets = op.get_bind(), Secrets()
    rows = connection.execute(
        sa.select(credential.c.number, credential.c.secret).where(credential.c.secret.is_not(None))
    )
    for number, secret in rows.all():
        tag = secrets.tag(bytes(secret), None)
        connection.execute(credential.update().where(credential.c.number == number).values(key_tag=tag))
