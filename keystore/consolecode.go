package keystore

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"errors"
)

// ConsoleCode returns a code by which every server with this keystore recognises a message of the console
// that one of them has made: an HMAC-SHA256 (RFC 2104), in 32 bytes. Its key is in the keystore, and it
// depends on the pepper too, if there is one. The first call makes the key.
func (s *Store) ConsoleCode(ctx context.Context, message []byte) ([]byte, error) {
	db, err := s.database()
	if err != nil {
		return nil, err
	}
	const find = `SELECT value FROM meta WHERE name = 'console_key'`
	var key string
	err = db.reader.QueryRowContext(ctx, find).Scan(&key)
	if errors.Is(err, sql.ErrNoRows) {
		err = s.write(ctx, func(t *txn) error {
			t.exec(`INSERT INTO meta (name, value) VALUES ('console_key', $1) ON CONFLICT (name) DO NOTHING`, rand.Text())
			if t.err != nil {
				return t.err
			}
			return t.queryRow(find).Scan(&key)
		})
		if err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, fault(err)
	}
	sum := s.hash.sum(append([]byte("console\x00"), message...))
	code := hmac.New(sha256.New, []byte(key))
	code.Write(sum[:])
	return code.Sum(nil), nil
}
