-- +goose Up
-- The order of labels, and the search in them, in a form that PostgreSQL has too.
DROP INDEX api_keys_label;
CREATE INDEX api_keys_label ON api_keys (account_id, lower(label));

-- The audit trail of an account, among a million entries of others. SQLite adds the number of the
-- row, which is seq.
CREATE INDEX audit_account ON audit (account_id);

-- The oldest version of programs that work with these tables.
INSERT INTO meta (name, value) VALUES ('compatible', '20') ON CONFLICT (name) DO UPDATE SET value = excluded.value;
