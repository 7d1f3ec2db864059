-- What made version 2 of the schema, as released; of no use but for tests.
CREATE TABLE new_credential (
    id TEXT PRIMARY KEY NOT NULL,
    tenant_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('psk', 'x509', 'rpk')),
    lookup_key BLOB NOT NULL CHECK (typeof(lookup_key) = 'blob'),
    secret BLOB,
    key_id TEXT,
    anchor_id TEXT,
    status TEXT NOT NULL CHECK (status IN ('active', 'next', 'retired', 'revoked')),
    version INTEGER NOT NULL DEFAULT 1,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    FOREIGN KEY (tenant_id, device_id) REFERENCES device (tenant_id, id) ON DELETE CASCADE,
    UNIQUE (kind, lookup_key)
);
INSERT INTO new_credential
    SELECT id, tenant_id, device_id, kind, lookup_key, secret, key_id, anchor_id, status, version, created_at,
        updated_at
    FROM credential ORDER BY rowid;
DROP TABLE credential;
ALTER TABLE new_credential RENAME TO credential;
CREATE INDEX credential_of_device ON credential (tenant_id, device_id);
