-- +goose Up
-- Uses are written again and again, each as a page of what it stands in: here more
-- than ninety are on a page. The column of api_keys that they were in stays for a
-- server of the schema before, which may still run, and is not looked at.
CREATE TABLE last_uses (
    digest BLOB PRIMARY KEY REFERENCES api_keys (digest) ON DELETE CASCADE ON UPDATE CASCADE,
    at     BIGINT NOT NULL
) WITHOUT ROWID;
INSERT INTO last_uses (digest, at) SELECT digest, last_used_at FROM api_keys WHERE last_used_at IS NOT NULL ORDER BY digest;
