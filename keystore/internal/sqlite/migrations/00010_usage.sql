-- +goose Up
-- Usage is counted for all requests, for each account and for each key. So a sum over an
-- account, or over all requests, does not read the rows of every key.
CREATE TABLE usage_scopes (
    id         INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice, because usage_days can have rows of a scope that is gone
    account_id TEXT NOT NULL, -- empty: no account, or all requests
    key_id     TEXT NOT NULL  -- empty: all requests of the account, or all requests
);
CREATE UNIQUE INDEX usage_scopes_name ON usage_scopes (account_id, key_id);

-- What was asked for, and what came of it.
CREATE TABLE usage_kinds (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    operation TEXT NOT NULL,
    reason    TEXT NOT NULL,
    backend   TEXT NOT NULL -- name, as in jobs
);
CREATE UNIQUE INDEX usage_kinds_name ON usage_kinds (operation, reason, backend);

-- The hours of the last days. Older hours are added up in usage_days.
CREATE TABLE usage_hours (
    hour        BIGINT NOT NULL, -- since 1970
    scope       BIGINT NOT NULL,
    kind        BIGINT NOT NULL,
    requests    BIGINT NOT NULL,
    refused     BIGINT NOT NULL,
    audio_bytes BIGINT NOT NULL,
    audio_ms    BIGINT NOT NULL,
    stream_ms   BIGINT NOT NULL,
    PRIMARY KEY (hour, scope, kind)
) WITHOUT ROWID;
CREATE TABLE usage_days (
    day         BIGINT NOT NULL, -- since 1970, in UTC
    scope       BIGINT NOT NULL,
    kind        BIGINT NOT NULL,
    requests    BIGINT NOT NULL,
    refused     BIGINT NOT NULL,
    audio_bytes BIGINT NOT NULL,
    audio_ms    BIGINT NOT NULL,
    stream_ms   BIGINT NOT NULL,
    PRIMARY KEY (day, scope, kind)
) WITHOUT ROWID;

-- All that was ever counted. The totals of a key go with the key's row.
CREATE TABLE usage_totals (
    scope       BIGINT NOT NULL REFERENCES usage_scopes (id) ON DELETE CASCADE,
    kind        BIGINT NOT NULL,
    requests    BIGINT NOT NULL,
    refused     BIGINT NOT NULL,
    audio_bytes BIGINT NOT NULL,
    audio_ms    BIGINT NOT NULL,
    stream_ms   BIGINT NOT NULL,
    PRIMARY KEY (scope, kind)
) WITHOUT ROWID;
