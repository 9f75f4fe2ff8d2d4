-- +goose Up
-- Uses are written again and again, each as a page of what it stands in: here some
-- eighty are on a page. A server of the schema before, which may still run, goes on
-- writing them to api_keys.
CREATE TABLE last_uses (
    digest BLOB PRIMARY KEY REFERENCES api_keys (digest) ON DELETE CASCADE ON UPDATE CASCADE,
    at     BIGINT NOT NULL
) WITHOUT ROWID;
INSERT INTO last_uses (digest, at) SELECT digest, last_used_at FROM api_keys WHERE last_used_at IS NOT NULL ORDER BY digest;
-- +goose StatementBegin
CREATE TRIGGER last_uses_before AFTER UPDATE OF last_used_at ON api_keys WHEN NEW.last_used_at IS NOT NULL BEGIN
    INSERT INTO last_uses (digest, at) VALUES (NEW.digest, NEW.last_used_at)
    ON CONFLICT (digest) DO UPDATE SET at = MAX(at, excluded.at);
END;
-- +goose StatementEnd
