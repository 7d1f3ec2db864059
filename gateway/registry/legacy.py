"""Takes over a registry file of the releases that had no alembic: `PRAGMA user_version` 1 or 2.

In the transaction of the upgrade: the old tables are set aside under other names, the new ones are made, all rows are
copied, and the old tables go. What differs: pre-shared keys are unique within their device's tenant, a certificate
credential is found by its device's name within the tenant, and what an anchor allows is its policy.
"""

from sqlalchemy import Connection, text

from gateway.registry.policy import AnchorPolicy, Provision
from gateway.registry.secrets import Secrets

_VERSIONS = (1, 2)
_TABLES = ("credential", "trust_anchor", "intermediate", "device", "tenant")  # whoever refers to another one first

_COPY = (
    "DELETE FROM tenant",  # the new schema brings the default one
    """
    INSERT INTO tenant (id, name, device_count, created_at)
    SELECT id, name, (SELECT count(*) FROM old_device WHERE tenant_id = old_tenant.id), created_at FROM old_tenant
    """,
    """
    INSERT INTO device (tenant_id, id, status, auto_provisioned, created_at, updated_at)
    SELECT tenant_id, id, status, auto_provisioned, created_at, updated_at FROM old_device
    """,
    # A certificate's key was the tenant, a zero byte, and the device.
    """
    INSERT INTO credential
        (id, tenant_id, device_id, kind, scope, lookup_key, secret, key_id, anchor_id, status, version, created_at,
        updated_at)
    SELECT id, tenant_id, device_id, kind, CASE kind WHEN 'rpk' THEN '' ELSE tenant_id END,
        CASE kind WHEN 'x509' THEN CAST(device_id AS BLOB) ELSE lookup_key END, secret, key_id, anchor_id, status,
        version, created_at, updated_at
    FROM old_credential ORDER BY rowid
    """,
    """
    INSERT INTO trust_anchor (id, subject, certificate, created_at)
    SELECT id, subject, certificate, created_at FROM old_trust_anchor ORDER BY rowid
    """,
    "INSERT INTO anchor_tenant (anchor_id, tenant_id) SELECT id, tenant_id FROM old_trust_anchor",
    """
    INSERT INTO intermediate (id, certificate, created_at)
    SELECT id, certificate, created_at FROM old_intermediate ORDER BY rowid
    """,
)


def is_legacy(connection: Connection) -> bool:
    """Whether a database with tables, but without alembic's, is such a registry."""
    if connection.dialect.name != "sqlite":
        return False
    version = connection.exec_driver_sql("PRAGMA user_version").scalar()
    tables = set(connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars())
    return version in _VERSIONS and tables >= {*_TABLES, "revision"}


def set_aside(connection: Connection) -> None:
    """Gives the old tables other names, and drops what would be in the way of the new ones."""
    triggers = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    for name in connection.exec_driver_sql(triggers).scalars().all():
        connection.exec_driver_sql(f'DROP TRIGGER "{name}"')
    connection.exec_driver_sql("DROP INDEX credential_of_device")
    connection.exec_driver_sql("DROP TABLE revision")
    for table in _TABLES:
        connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO old_{table}")


def take_over(connection: Connection) -> None:
    """Copies all rows from the tables that were set aside into the new ones, and drops the old ones."""
    for statement in _COPY:
        connection.exec_driver_sql(statement)
    policy = text("UPDATE trust_anchor SET policy = :policy WHERE id = :id")
    for row in connection.exec_driver_sql("SELECT id, auto_provision, strict FROM old_trust_anchor").all():
        said = AnchorPolicy(
            strict=bool(row.strict), provision=Provision.ACTIVE if row.auto_provision else Provision.OFF
        )
        connection.execute(policy, {"policy": said.encode(), "id": row.id})
    tag, secrets = text("UPDATE credential SET key_tag = :tag WHERE id = :id"), Secrets()
    for row in connection.exec_driver_sql("SELECT id, secret FROM credential WHERE secret IS NOT NULL").all():
        connection.execute(tag, {"tag": secrets.tag(row.secret, None), "id": row.id})
    for table in _TABLES:
        connection.exec_driver_sql(f"DROP TABLE old_{table}")
    connection.exec_driver_sql("PRAGMA user_version = 0")
