"""The tables, once for SQLite and PostgreSQL. What changes here needs a migration beside it (`migrations/versions`).

Ids are text that compares byte by byte. What a handshake looks up by (`lookup_key`) is bytes: identities may be
anything. Times are seconds since the epoch, UTC. Lists and objects are JSON as text, empty text where there is none,
so that a row without them costs no decoding.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    false,
)

metadata = MetaData()

# SQLite compares text byte by byte already; PostgreSQL would go by the language of the database.
Id = Text().with_variant(Text(collation="C"), "postgresql")
# SQLite counts rows by itself only for a column that is INTEGER to the letter.
Counter = BigInteger().with_variant(Integer(), "sqlite")


def _one_of(column: str, *values: str) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_is_known")


tenant = Table(
    "tenant",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False, server_default=""),
    Column("status", Text, nullable=False, server_default="active"),
    Column("limits", Text, nullable=False, server_default=""),
    Column("device_count", Integer, nullable=False, server_default="0"),
    Column("created_at", Double, nullable=False),
    _one_of("status", "active", "disabled"),
)

tenant_sni = Table(
    "tenant_sni",
    metadata,
    Column("name", Id, primary_key=True),
    Column("tenant_id", Id, ForeignKey("tenant.id", ondelete="CASCADE"), nullable=False),
)

device = Table(
    "device",
    metadata,
    Column("tenant_id", Id, ForeignKey("tenant.id"), nullable=False),
    Column("id", Id, nullable=False),
    Column("status", Text, nullable=False),
    Column("note", Text, nullable=False, server_default=""),
    Column("auto_provisioned", Boolean, nullable=False, server_default=false()),
    Column("tags", Text, nullable=False, server_default=""),
    Column("attributes", Text, nullable=False, server_default=""),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("last_seen_at", Double),
    PrimaryKeyConstraint("tenant_id", "id"),
    _one_of("status", "pending", "active", "disabled", "quarantined"),
    sqlite_with_rowid=False,
)

credential = Table(
    "credential",
    metadata,
    Column("number", Counter, primary_key=True, autoincrement=True),
    Column("id", Id, nullable=False, unique=True),
    Column("tenant_id", Id, nullable=False),
    Column("device_id", Id, nullable=False),
    Column("kind", Text, nullable=False),
    # What lookup_key is unique in: the tenant, or "" for keys that are unique by nature.
    Column("scope", Id, nullable=False),
    Column("lookup_key", LargeBinary, nullable=False),
    # A pre-shared key, as it is or sealed under the data key that key_id names; NULL for one that is derived.
    Column("secret", LargeBinary),
    Column("key_id", Id),
    # What equal keys have in common (`secrets`); NULL for one that is derived.
    Column("key_tag", LargeBinary),
    # Of a derived key: which one, counted from 1.
    Column("generation", Integer),
    Column("anchor_id", Id),
    Column("status", Text, nullable=False, server_default="active"),
    Column("not_before", Double),
    Column("not_after", Double),
    Column("last_used_at", Double),
    Column("version", Integer, nullable=False, server_default="1"),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    ForeignKeyConstraint(["tenant_id", "device_id"], ["device.tenant_id", "device.id"], ondelete="CASCADE"),
    UniqueConstraint("kind", "scope", "lookup_key"),
    _one_of("kind", "psk", "x509", "rpk"),
    _one_of("status", "active", "next", "retired", "revoked"),
    Index("credential_of_device", "tenant_id", "device_id"),
    Index("credential_of_key", "key_tag"),
)

trust_anchor = Table(
    "trust_anchor",
    metadata,
    Column("number", Counter, primary_key=True, autoincrement=True),
    Column("id", Id, nullable=False, unique=True),
    Column("subject", Text, nullable=False),
    Column("certificate", LargeBinary, nullable=False),
    Column("policy", Text, nullable=False, server_default=""),
    Column("created_at", Double, nullable=False),
)

anchor_tenant = Table(
    "anchor_tenant",
    metadata,
    Column("anchor_id", Id, ForeignKey("trust_anchor.id", ondelete="CASCADE"), nullable=False),
    Column("tenant_id", Id, ForeignKey("tenant.id", ondelete="CASCADE"), nullable=False),
    PrimaryKeyConstraint("anchor_id", "tenant_id"),
)

# Which serials a manufacturer said it would make.
anchor_manifest = Table(
    "anchor_manifest",
    metadata,
    Column("anchor_id", Id, ForeignKey("trust_anchor.id", ondelete="CASCADE"), nullable=False),
    Column("name", Id, nullable=False),
    PrimaryKeyConstraint("anchor_id", "name"),
    sqlite_with_rowid=False,
)

# How many devices came by themselves, by day. Counted apart from the devices, which may be deleted. No foreign key: an
# anchor that is taken away and trusted again has not got a new quota by that.
anchor_usage = Table(
    "anchor_usage",
    metadata,
    Column("anchor_id", Id, nullable=False),
    Column("day", Integer, nullable=False),
    Column("admitted", Integer, nullable=False, server_default="0"),
    Column("quarantined", Integer, nullable=False, server_default="0"),
    PrimaryKeyConstraint("anchor_id", "day"),
)

intermediate = Table(
    "intermediate",
    metadata,
    Column("number", Counter, primary_key=True, autoincrement=True),
    Column("id", Id, nullable=False, unique=True),
    Column("certificate", LargeBinary, nullable=False),
    Column("created_at", Double, nullable=False),
)

issued_certificate = Table(
    "issued_certificate",
    metadata,
    Column("number", Counter, primary_key=True, autoincrement=True),
    Column("issuer_id", Id, nullable=False),
    Column("serial", Id, nullable=False),
    Column("tenant_id", Id, nullable=False),
    Column("device_id", Id, nullable=False),
    Column("fingerprint", Id, nullable=False),
    Column("not_before", Double, nullable=False),
    Column("not_after", Double, nullable=False),
    Column("revoked_at", Double),
    Column("reason", Text),
    UniqueConstraint("issuer_id", "serial"),
    Index("issued_to_device", "tenant_id", "device_id"),
)

# The number of the last list that one of our own CAs published.
crl_number = Table(
    "crl_number",
    metadata,
    Column("issuer_id", Id, primary_key=True),
    Column("number", BigInteger, nullable=False),
)

# Lists of others' CAs, one of each key: the newest.
crl = Table(
    "crl",
    metadata,
    Column("issuer", Id, primary_key=True),
    # Decimal text: a number may have 160 bits (RFC 5280 section 5.2.3).
    Column("crl_number", Text, nullable=False),
    Column("this_update", Double, nullable=False),
    Column("next_update", Double),
    Column("der", LargeBinary, nullable=False),
    Column("url", Text, nullable=False, server_default=""),
    Column("stored_at", Double, nullable=False),
)

ban = Table(
    "ban",
    metadata,
    Column("fingerprint", Id, primary_key=True),
    Column("reason", Text, nullable=False, server_default=""),
    Column("created_at", Double, nullable=False),
)

# Data keys, wrapped by a key that is not in this database.
data_key = Table(
    "data_key",
    metadata,
    Column("number", Counter, primary_key=True, autoincrement=True),
    Column("id", Id, nullable=False, unique=True),
    Column("provider", Text, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    _one_of("state", "active", "old"),
)

# What is made once for a registry, such as the secret behind registration codes.
setting = Table(
    "setting",
    metadata,
    Column("name", Id, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("number", Counter, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("tenant_id", Id, nullable=False, server_default=""),
    Column("object", Text, nullable=False, server_default=""),
    Column("detail", Text, nullable=False, server_default=""),
)

# What other processes' caches must forget. Pruned: a reader that comes too late forgets all.
change_log = Table(
    "change_log",
    metadata,
    Column("seq", Counter, primary_key=True, autoincrement=True),
    Column("kind", Text, nullable=False),
    Column("tenant_id", Id, nullable=False, server_default=""),
    Column("key", Id, nullable=False, server_default=""),
    sqlite_autoincrement=True,
)
