-- +goose Up
-- Each index of jobs is a page or two to write for each job that is created: what
-- another finds as well has none. Jobs are named by an ID that is hardly ever that
-- of two backends, and belong to the account of their key.
CREATE TABLE jobs_again (
    id         TEXT NOT NULL,
    backend    TEXT NOT NULL,
    dialect    TEXT NOT NULL,
    account_id TEXT NOT NULL, -- the key's
    key_id     TEXT NOT NULL REFERENCES api_keys (id),
    client     TEXT NOT NULL, -- address; empty if it was not known
    created_at BIGINT NOT NULL,
    state      TEXT NOT NULL,
    ended_at   BIGINT
);
INSERT INTO jobs_again (id, backend, dialect, account_id, key_id, client, created_at, state, ended_at)
SELECT id, backend, dialect, account_id, key_id, client, created_at, state, ended_at FROM jobs;
DROP TABLE jobs;
ALTER TABLE jobs_again RENAME TO jobs;
CREATE UNIQUE INDEX jobs_name ON jobs (id, backend); -- made at last, which is faster
CREATE INDEX jobs_key ON jobs (key_id);
CREATE INDEX jobs_created ON jobs (created_at);
