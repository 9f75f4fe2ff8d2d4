-- +goose Up
-- The order of the lists: without these indexes, each page of a list read and sorted all rows.
CREATE INDEX api_keys_created ON api_keys (created_at, id);
CREATE INDEX api_keys_account_created ON api_keys (account_id, created_at, id);
CREATE INDEX accounts_created ON accounts (created_at, id);
