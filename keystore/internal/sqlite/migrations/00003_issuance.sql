-- +goose Up
CREATE INDEX api_keys_issuer ON api_keys (issuer_id) WHERE issuer_id IS NOT NULL;
CREATE INDEX accounts_spw ON accounts (spw_digest);

-- The first of a key's ends, by which keys are pruned.
DROP INDEX api_keys_expires;
CREATE INDEX api_keys_ended ON api_keys (MIN(
    COALESCE(expires_at, 9223372036854775807), COALESCE(deleted_at, 9223372036854775807),
    COALESCE(revoked_at, 9223372036854775807), COALESCE(revoke_from, 9223372036854775807)));

ALTER TABLE api_keys ADD COLUMN replaces TEXT; -- ID of the key that this one took the place of

ALTER TABLE dead_digests ADD COLUMN forget_at BIGINT; -- NULL: never
ALTER TABLE dead_digests ADD COLUMN key_id TEXT; -- the key that a restore may bring back; NULL: none
CREATE INDEX dead_digests_forget ON dead_digests (forget_at) WHERE forget_at IS NOT NULL;

ALTER TABLE audit ADD COLUMN hash BLOB NOT NULL DEFAULT x''; -- of this row and the hash before
