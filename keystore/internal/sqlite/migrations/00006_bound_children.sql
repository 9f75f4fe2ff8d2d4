-- +goose Up
-- 1: the issuer's scheduled end is none of this key's (children free). Keys from
-- before this version end with their issuer, which is what children narrow says.
ALTER TABLE api_keys ADD COLUMN outlives_issuer BOOLEAN NOT NULL DEFAULT 0;

-- Since when every key that this one issued is revoked. NULL: they are not.
ALTER TABLE api_keys ADD COLUMN children_revoked_at BIGINT;
