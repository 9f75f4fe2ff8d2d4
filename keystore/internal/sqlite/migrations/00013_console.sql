-- +goose Up
-- Users of the console: holders of accounts, and operators.
CREATE TABLE console_users (
    kind         TEXT NOT NULL, -- account or operator
    id           TEXT NOT NULL, -- the account's ID, or the operator's name
    created_at   BIGINT NOT NULL,
    password     TEXT, -- hash in PHC format; NULL: none is set yet
    second       BLOB, -- secret of the second factor, sealed if there is a pepper; NULL: none
    second_step  BIGINT NOT NULL DEFAULT 0, -- the last time step whose code was accepted
    setup_digest BLOB, -- of the token in the set-up link; NULL: no invitation is open
    setup_until  BIGINT,
    removed_at   BIGINT,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX console_users_setup ON console_users (setup_digest) WHERE setup_digest IS NOT NULL;

-- Codes that each replace one code of the second factor. A code that was used has no row.
CREATE TABLE console_recovery (
    digest BLOB NOT NULL, -- of kind, ID and code
    kind   TEXT NOT NULL,
    id     TEXT NOT NULL,
    PRIMARY KEY (kind, id, digest)
) WITHOUT ROWID;

CREATE TABLE console_sessions (
    digest   BLOB PRIMARY KEY, -- of the token in the cookie
    kind     TEXT NOT NULL,
    id       TEXT NOT NULL,
    passed   BOOLEAN NOT NULL, -- the second factor was checked, or is not needed
    begun_at BIGINT NOT NULL,
    seen_at  BIGINT NOT NULL, -- accurate to a minute
    until    BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX console_sessions_user ON console_sessions (kind, id);
CREATE INDEX console_sessions_until ON console_sessions (until);
