-- +goose Up
-- The fingerprint of the upstream key that created the job or minted the token. NULL: the backend
-- got no upstream key, or the record is older than this column.
ALTER TABLE jobs ADD COLUMN upstream_key BIGINT;
ALTER TABLE tokens ADD COLUMN upstream_key BIGINT;
