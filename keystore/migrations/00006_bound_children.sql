-- +goose Up
-- 1: the issuer's scheduled end is none of this key's (children free). Keys from
-- before this version end with their issuer, which is what children narrow says.
ALTER TABLE api_keys ADD COLUMN outlives_issuer BOOLEAN NOT NULL DEFAULT 0;
