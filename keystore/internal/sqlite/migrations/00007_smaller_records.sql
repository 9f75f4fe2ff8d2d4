-- +goose Up
-- Each index is a row more for each key that is issued. No query used these:
DROP INDEX audit_account;
DROP INDEX audit_at;
DROP INDEX feed_at;

-- Counts an account's keys that have not ended, without a look at their rows. The
-- expression is that of api_keys_ended.
DROP INDEX api_keys_account;
CREATE INDEX api_keys_account ON api_keys (account_id, origin, MIN(
    COALESCE(expires_at, 9223372036854775807), COALESCE(deleted_at, 9223372036854775807),
    COALESCE(revoked_at, 9223372036854775807), COALESCE(revoke_from, 9223372036854775807)));
