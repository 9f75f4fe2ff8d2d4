-- +goose Up
-- NULL: not suspended. A suspended account or key can be resumed.
ALTER TABLE accounts ADD COLUMN suspended_at BIGINT;
ALTER TABLE accounts ADD COLUMN suspend_reason TEXT;
ALTER TABLE api_keys ADD COLUMN suspended_at BIGINT;
ALTER TABLE api_keys ADD COLUMN suspend_reason TEXT;

-- The service ID and the service password before the last rotation, and until when
-- they work. NULL: the rotation had no overlap.
ALTER TABLE accounts ADD COLUMN previous_service_id TEXT;
ALTER TABLE accounts ADD COLUMN previous_spw_digest BLOB;
ALTER TABLE accounts ADD COLUMN previous_until BIGINT;
CREATE INDEX accounts_previous_spw ON accounts (previous_spw_digest);
