-- +goose Up
-- When a user of the console has signed in last. NULL: never, or before the audit trail begins.
ALTER TABLE console_users ADD COLUMN signed_in_at BIGINT;
UPDATE console_users SET signed_in_at = last.at FROM
    (SELECT actor_kind, actor_id, MAX(at) AS at FROM audit WHERE action = 'console_sign_in' GROUP BY actor_kind, actor_id) AS last
    WHERE last.actor_kind = kind AND last.actor_id = id;
