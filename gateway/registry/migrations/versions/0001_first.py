"""The tables of the first release. See `gateway.registry.tables` for what they mean."""

import time

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_COUNTER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _what_is_trusted()
    _who_is_known()
    _what_happened()
    tenant = sa.table("tenant", sa.column("id"), sa.column("name"), sa.column("created_at"))
    op.execute(tenant.insert().values(id="default", name="Default", created_at=time.time()))


def _what_is_trusted() -> None:
    op.create_table(
        "tenant",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("limits", sa.Text(), server_default="", nullable=False),
        sa.Column("device_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.CheckConstraint("status IN ('active', 'disabled')", name="status_is_known"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "tenant_sni",
        sa.Column("name", _ID, nullable=False),
        sa.Column("tenant_id", _ID, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "trust_anchor",
        sa.Column("number", _COUNTER, autoincrement=True, nullable=False),
        sa.Column("id", _ID, nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("certificate", sa.LargeBinary(), nullable=False),
        sa.Column("policy", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("id"),
    )
    op.create_table(
        "anchor_tenant",
        sa.Column("anchor_id", _ID, nullable=False),
        sa.Column("tenant_id", _ID, nullable=False),
        sa.ForeignKeyConstraint(["anchor_id"], ["trust_anchor.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("anchor_id", "tenant_id"),
    )
    op.create_table(
        "anchor_manifest",
        sa.Column("anchor_id", _ID, nullable=False),
        sa.Column("name", _ID, nullable=False),
        sa.ForeignKeyConstraint(["anchor_id"], ["trust_anchor.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("anchor_id", "name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "anchor_usage",
        sa.Column("anchor_id", _ID, nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("admitted", sa.Integer(), server_default="0", nullable=False),
        sa.Column("quarantined", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("anchor_id", "day"),
    )
    op.create_table(
        "intermediate",
        sa.Column("number", _COUNTER, autoincrement=True, nullable=False),
        sa.Column("id", _ID, nullable=False),
        sa.Column("certificate", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("id"),
    )
    op.create_table(
        "ban",
        sa.Column("fingerprint", _ID, nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("fingerprint"),
    )
    op.create_table(
        "crl",
        sa.Column("issuer", _ID, nullable=False),
        sa.Column("crl_number", sa.Text(), nullable=False),
        sa.Column("this_update", sa.Double(), nullable=False),
        sa.Column("next_update", sa.Double(), nullable=True),
        sa.Column("der", sa.LargeBinary(), nullable=False),
        sa.Column("url", sa.Text(), server_default="", nullable=False),
        sa.Column("stored_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("issuer"),
    )


def _who_is_known() -> None:
    op.create_table(
        "device",
        sa.Column("tenant_id", _ID, nullable=False),
        sa.Column("id", _ID, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("auto_provisioned", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("tags", sa.Text(), server_default="", nullable=False),
        sa.Column("attributes", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.Column("last_seen_at", sa.Double(), nullable=True),
        sa.CheckConstraint("status IN ('pending', 'active', 'disabled', 'quarantined')", name="status_is_known"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"]),
        sa.PrimaryKeyConstraint("tenant_id", "id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "credential",
        sa.Column("number", _COUNTER, autoincrement=True, nullable=False),
        sa.Column("id", _ID, nullable=False),
        sa.Column("tenant_id", _ID, nullable=False),
        sa.Column("device_id", _ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("scope", _ID, nullable=False),
        sa.Column("lookup_key", sa.LargeBinary(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=True),
        sa.Column("key_id", _ID, nullable=True),
        sa.Column("generation", sa.Integer(), nullable=True),
        sa.Column("anchor_id", _ID, nullable=True),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("not_before", sa.Double(), nullable=True),
        sa.Column("not_after", sa.Double(), nullable=True),
        sa.Column("last_used_at", sa.Double(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.CheckConstraint("kind IN ('psk', 'x509', 'rpk')", name="kind_is_known"),
        sa.CheckConstraint("status IN ('active', 'next', 'retired', 'revoked')", name="status_is_known"),
        sa.ForeignKeyConstraint(["tenant_id", "device_id"], ["device.tenant_id", "device.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("id"),
        sa.UniqueConstraint("kind", "scope", "lookup_key"),
    )
    op.create_index("credential_of_device", "credential", ["tenant_id", "device_id"], unique=False)
    op.create_table(
        "data_key",
        sa.Column("number", _COUNTER, autoincrement=True, nullable=False),
        sa.Column("id", _ID, nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.CheckConstraint("state IN ('active', 'old')", name="state_is_known"),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("id"),
    )


def _what_happened() -> None:
    op.create_table(
        "setting",
        sa.Column("name", _ID, nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "issued_certificate",
        sa.Column("number", _COUNTER, autoincrement=True, nullable=False),
        sa.Column("issuer_id", _ID, nullable=False),
        sa.Column("serial", _ID, nullable=False),
        sa.Column("tenant_id", _ID, nullable=False),
        sa.Column("device_id", _ID, nullable=False),
        sa.Column("fingerprint", _ID, nullable=False),
        sa.Column("not_before", sa.Double(), nullable=False),
        sa.Column("not_after", sa.Double(), nullable=False),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("issuer_id", "serial"),
    )
    op.create_index("issued_to_device", "issued_certificate", ["tenant_id", "device_id"], unique=False)
    op.create_table(
        "crl_number",
        sa.Column("issuer_id", _ID, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("issuer_id"),
    )
    op.create_table(
        "audit",
        sa.Column("number", _COUNTER, autoincrement=True, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("tenant_id", _ID, server_default="", nullable=False),
        sa.Column("object", sa.Text(), server_default="", nullable=False),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_table(
        "change_log",
        sa.Column("seq", _COUNTER, autoincrement=True, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("tenant_id", _ID, server_default="", nullable=False),
        sa.Column("key", _ID, server_default="", nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sqlite_autoincrement=True,
    )
