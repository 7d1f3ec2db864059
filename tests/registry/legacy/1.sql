-- What made version 1 of the schema, as released; of no use but for tests.
CREATE TABLE tenant (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL DEFAULT '',
    device_count INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL
);

CREATE TABLE device (
    tenant_id TEXT NOT NULL REFERENCES tenant (id),
    id TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'active', 'disabled', 'quarantined')),
    auto_provisioned INTEGER NOT NULL CHECK (auto_provisioned IN (0, 1)),
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    PRIMARY KEY (tenant_id, id)
) WITHOUT ROWID;

CREATE TRIGGER device_added AFTER INSERT ON device BEGIN
    UPDATE tenant SET device_count = device_count + 1 WHERE id = NEW.tenant_id;
END;
CREATE TRIGGER device_deleted AFTER DELETE ON device BEGIN
    UPDATE tenant SET device_count = device_count - 1 WHERE id = OLD.tenant_id;
END;

CREATE TABLE trust_anchor (
    id TEXT PRIMARY KEY NOT NULL,
    tenant_id TEXT NOT NULL REFERENCES tenant (id),
    subject TEXT NOT NULL,
    certificate BLOB NOT NULL,
    auto_provision INTEGER NOT NULL CHECK (auto_provision IN (0, 1)),
    strict INTEGER NOT NULL CHECK (strict IN (0, 1)),
    created_at REAL NOT NULL
);

CREATE TABLE intermediate (
    id TEXT PRIMARY KEY NOT NULL,
    certificate BLOB NOT NULL,
    created_at REAL NOT NULL
);

CREATE TABLE credential (
    id TEXT PRIMARY KEY NOT NULL,
    tenant_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('psk', 'x509')),
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
CREATE INDEX credential_of_device ON credential (tenant_id, device_id);

CREATE TABLE revision (
    subject TEXT PRIMARY KEY NOT NULL,
    number INTEGER NOT NULL
);
INSERT INTO revision VALUES ('trust', 1);

CREATE TRIGGER anchor_added AFTER INSERT ON trust_anchor BEGIN
    UPDATE revision SET number = number + 1 WHERE subject = 'trust';
END;
CREATE TRIGGER anchor_changed AFTER UPDATE ON trust_anchor BEGIN
    UPDATE revision SET number = number + 1 WHERE subject = 'trust';
END;
CREATE TRIGGER anchor_deleted AFTER DELETE ON trust_anchor BEGIN
    UPDATE revision SET number = number + 1 WHERE subject = 'trust';
END;
CREATE TRIGGER intermediate_added AFTER INSERT ON intermediate BEGIN
    UPDATE revision SET number = number + 1 WHERE subject = 'trust';
END;
CREATE TRIGGER intermediate_deleted AFTER DELETE ON intermediate BEGIN
    UPDATE revision SET number = number + 1 WHERE subject = 'trust';
END;

INSERT INTO tenant (id, name, created_at) VALUES ('default', 'Default', strftime('%s', 'now'));
