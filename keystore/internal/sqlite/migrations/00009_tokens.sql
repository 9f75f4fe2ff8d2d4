-- +goose Up
-- Short-lived tokens that a backend has minted for a key, their owner. The digest is made
-- as in api_keys. A token belongs to the account of its owner, and goes with its owner's row.
CREATE TABLE tokens (
    digest     BLOB NOT NULL,
    backend    TEXT NOT NULL, -- name, as in jobs
    key_id     TEXT NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (digest, backend)
) WITHOUT ROWID;
CREATE INDEX tokens_key ON tokens (key_id);
CREATE INDEX tokens_expires ON tokens (expires_at);
