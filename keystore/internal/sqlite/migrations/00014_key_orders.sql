-- +goose Up
-- The orders of keys by label and by last use. Those by end have an index already.
CREATE INDEX api_keys_label ON api_keys (account_id, label COLLATE NOCASE);
CREATE INDEX last_uses_at ON last_uses (at);

-- The keys whose rotation has an overlap, which ends the keys that they have issued too.
CREATE INDEX api_keys_revoke_from ON api_keys (revoke_from) WHERE revoke_from IS NOT NULL;
