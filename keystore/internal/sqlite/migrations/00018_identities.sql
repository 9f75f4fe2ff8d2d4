-- +goose Up
-- Who an operator is at an OpenID Connect provider. Such an operator has no password.
ALTER TABLE console_users ADD COLUMN issuer TEXT; -- the provider's; NULL: none
ALTER TABLE console_users ADD COLUMN subject TEXT;
