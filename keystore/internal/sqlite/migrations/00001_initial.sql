-- Times are UTC milliseconds since 1970. A NULL time never happened, except
-- that api_keys.expires_at NULL states that the key does not expire.
-- Digests are SHA-256 of the secret, or HMAC-SHA-256(pepper, that).

-- +goose Up
PRAGMA application_id = 1397181267; -- "SGKS": tells a keystore from other SQLite files

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
INSERT INTO meta (name, value) VALUES ('store_id', lower(hex(randomblob(16))));
INSERT INTO meta (name, value) VALUES ('feed_pruned', '0'); -- highest feed.seq that was pruned

CREATE TABLE accounts (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    service_id TEXT NOT NULL UNIQUE,
    spw_digest BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    closed_at  BIGINT
);

CREATE TABLE api_keys (
    id             TEXT PRIMARY KEY,
    account_id     TEXT NOT NULL REFERENCES accounts (id),
    digest         BLOB NOT NULL UNIQUE,
    prefix         TEXT NOT NULL,
    origin         TEXT NOT NULL,
    label          TEXT NOT NULL,
    allow          TEXT NOT NULL, -- JSON array of address entries; [] is any address
    issuable       BOOLEAN NOT NULL,
    issuer_id      TEXT, -- may outlive the issuing key's row
    created_at     BIGINT NOT NULL,
    expires_at     BIGINT,
    deleted_at     BIGINT,
    revoked_at     BIGINT,
    revoked_reason TEXT,
    last_used_at   BIGINT
);
CREATE INDEX api_keys_account ON api_keys (account_id, created_at);
CREATE INDEX api_keys_expires ON api_keys (expires_at);

CREATE TABLE jobs (
    backend    TEXT NOT NULL,
    id         TEXT NOT NULL,
    dialect    TEXT NOT NULL,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    key_id     TEXT NOT NULL REFERENCES api_keys (id),
    client     TEXT NOT NULL, -- address; empty if it was not known
    created_at BIGINT NOT NULL,
    state      TEXT NOT NULL,
    ended_at   BIGINT,
    PRIMARY KEY (backend, id)
);
CREATE INDEX jobs_account ON jobs (account_id, created_at);
CREATE INDEX jobs_key ON jobs (key_id);
CREATE INDEX jobs_created ON jobs (created_at);
CREATE INDEX jobs_id ON jobs (id);

-- Digests of keys whose rows were pruned: a dead key never comes back.
CREATE TABLE dead_digests (
    digest BLOB PRIMARY KEY,
    at     BIGINT NOT NULL
);

CREATE TABLE audit (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    at         BIGINT NOT NULL,
    actor_kind TEXT NOT NULL,
    actor_id   TEXT NOT NULL,
    actor_from TEXT NOT NULL, -- address; empty if there was none
    action     TEXT NOT NULL,
    account_id TEXT NOT NULL, -- empty where the action is no account's
    subject    TEXT NOT NULL, -- ID of what was acted on
    detail     TEXT NOT NULL
);
CREATE INDEX audit_account ON audit (account_id, seq);
CREATE INDEX audit_at ON audit (at);

-- What other processes' caches must drop. Numbers are never used twice, so a
-- reader can tell that it missed some.
CREATE TABLE feed (
    seq  INTEGER PRIMARY KEY AUTOINCREMENT,
    at   BIGINT NOT NULL,
    kind TEXT NOT NULL,
    ref  BLOB NOT NULL
);
CREATE INDEX feed_at ON feed (at);
