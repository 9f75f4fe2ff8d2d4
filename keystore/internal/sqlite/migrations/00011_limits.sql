-- +goose Up
-- Limits as policy.ParseLimits reads them, such as "requests=60/m concurrent=4". NULL: no
-- limit. Those of a key never change.
ALTER TABLE accounts ADD COLUMN limits TEXT;
ALTER TABLE api_keys ADD COLUMN limits TEXT;
