-- +goose Up
-- Passkeys, with which users of the console sign in.
CREATE TABLE console_passkeys (
    credential BLOB PRIMARY KEY, -- the ID that the authenticator has given the passkey
    kind       TEXT NOT NULL, -- with id: the user, as in console_users
    id         TEXT NOT NULL,
    site       TEXT NOT NULL, -- the host name that the passkey is for
    name       TEXT NOT NULL,
    public_key BLOB NOT NULL, -- COSE_Key
    sign_count BIGINT NOT NULL, -- 0: the authenticator does not count
    synced     BOOLEAN NOT NULL, -- the passkey can be copied to other devices
    added_at   BIGINT NOT NULL,
    used_at    BIGINT -- NULL: never
) WITHOUT ROWID;
CREATE INDEX console_passkeys_user ON console_passkeys (kind, id, added_at);

-- Random bytes by which authenticators tell users apart. NULL: the user has never had a passkey.
ALTER TABLE console_users ADD COLUMN handle BLOB;
