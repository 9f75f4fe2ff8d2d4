-- +goose Up
ALTER TABLE api_keys ADD COLUMN revoke_from BIGINT; -- the key counts as revoked from then on
