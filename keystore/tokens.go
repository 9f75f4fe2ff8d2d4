package keystore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/speechgate/speechgate/keystore/internal/recordcache"
	"github.com/speechgate/speechgate/policy"
)

// NewToken is a short-lived token that a backend has minted for a key, the token's owner.
type NewToken struct {
	Backend   string        // the name of the backend; the token is known there only
	Secret    policy.Secret // the token itself
	KeyID     string        // of the owner
	CreatedAt policy.Time   // the instant of the decision that allowed the mint
	ExpiresAt policy.Time   // as the backend says; the owner can end earlier

	UpstreamKey policy.Fingerprint // of the upstream key with which the backend minted it; 0 for none
}

func (n *NewToken) check() error {
	switch err := policy.CheckToken(n.Secret); {
	case n.Backend == "" || len(n.Backend) > maxJobName:
		return refuse(ErrInvalid, "a token of backend %q: want a name of 1 to %d bytes", n.Backend, maxJobName)
	case n.Secret.Empty():
		return refuse(ErrInvalid, "a token of backend %q is empty: want the text that the backend has minted", n.Backend)
	case err != nil:
		return refuse(ErrInvalid, "a token of backend %q %v", n.Backend, err)
	case n.CreatedAt.IsZero() || n.ExpiresAt <= n.CreatedAt:
		return refuse(ErrInvalid, "a token of backend %q, minted at %s, expires at %s: want a time, and a later one", n.Backend, n.CreatedAt, n.ExpiresAt)
	}
	return nil
}

// RecordToken records a token, so that [Store.FindToken] finds it. When it returns nil, the
// record is on the disk, and the client may get the token. The store keeps the digest of the
// token, and not the token.
//
// Before the request for the token goes to the backend, ask [Store.CheckRoom] whether the
// disk has space for the record, and announce the write with [Store.ReserveWrite]. r can be
// the zero WriteReservation.
//
// A backend may give the same token to the same key again. The later of the two expiries
// then counts. The error is ErrTokenExists if the backend has given the token to another
// key, and ErrInvalid if n lacks a field, does not expire after it was created, or has a
// secret that no client can show: see [policy.CheckToken].
//
// The audit trail has no entry for a token: clients get tokens all the time, and only by
// keys whose issue is in the trail. The metrics count them as the operation mint.
func (s *Store) RecordToken(ctx context.Context, r *WriteReservation, n NewToken) error {
	if err := n.check(); err != nil {
		return err
	}
	d := s.hash.secret(n.Secret)
	err := s.writeReserved(ctx, r, func(t *txn) error {
		if err := s.checkPepper(t); err != nil {
			return err
		}
		added, err := t.count(`INSERT INTO tokens (digest, backend, key_id, created_at, expires_at, upstream_key) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (digest, backend) DO NOTHING`, d[:], n.Backend, n.KeyID, n.CreatedAt, n.ExpiresAt, nullFingerprint(n.UpstreamKey))
		if err != nil || added == 1 {
			return err
		}
		var owner string
		if err := t.queryRow(`SELECT key_id FROM tokens WHERE digest = $1 AND backend = $2`, d[:], n.Backend).Scan(&owner); err != nil {
			return err
		}
		if owner != n.KeyID {
			return refuse(ErrTokenExists, "backend %q gave a token to %s that %s has already", n.Backend, n.KeyID, owner)
		}
		later, err := t.count(`UPDATE tokens SET expires_at = $1 WHERE digest = $2 AND backend = $3 AND expires_at < $1`, n.ExpiresAt, d[:], n.Backend)
		if err != nil || later == 0 {
			return err
		}
		return t.changed(n.CreatedAt, changedToken, d[:])
	})
	if err == nil {
		s.replica.keep(replicaItem{digest: d})
	}
	return err
}

// FindToken returns a token of the backend, and the record of the token's owner. The error is
// ErrNotFound if the backend has no such token, or if the owner is no longer in the store. Any
// other error means that the store failed.
//
// FindToken also returns tokens that have expired, and tokens whose owner has ended: give the
// token to [policy.Decide] in [policy.Request.Token], with the owner as the key. The owner's
// record is the one that [Store.FindKey] returns, so the end of the owner counts at once, and
// [Store.Watch] tells of it.
//
// Call FindToken only if FindKey has found no key, at a place where the API takes tokens, and
// call [policy.CheckToken] first. The cache does not remember absent tokens.
func (s *Store) FindToken(ctx context.Context, backend string, secret policy.Secret) (policy.Token, Record, error) {
	found, err := s.findToken(ctx, s.hash.secret(secret), backend)
	if err != nil {
		return policy.Token{}, Record{}, err
	}
	owner, err := s.find(ctx, found.owner)
	if err != nil {
		return policy.Token{}, Record{}, err
	}
	return found.Token, owner, nil
}

func (s *Store) findToken(ctx context.Context, d digest, backend string) (foundToken, error) {
	if s.fresh(s.state.Load()) {
		e := s.cache.tokens.Get(d)
		if p := packedToken(e.Record); e.State == recordcache.Present && p.backend() == backend {
			return p.token(), nil
		}
	}
	_, packed, err := lookup(ctx, s, d, s.cache.tokens, func(ctx context.Context, db *database) (none struct{}, packed string, err error) {
		p, err := readToken(ctx, db, d, backend)
		return none, string(p), err
	})
	if err != nil {
		return s.replica.token(ctx, d, backend, err)
	}
	s.replica.keep(replicaItem{digest: d})
	return packedToken(packed).token(), nil
}

func readToken(ctx context.Context, db *database, d digest, backend string) (packedToken, error) {
	t, err := scanToken(db.reader.QueryRowContext(ctx, db.text(tokenByDigest), d[:], backend))
	if errors.Is(err, sql.ErrNoRows) {
		return "", ErrNotFound
	}
	if err != nil {
		return "", err
	}
	return packToken(d, &t, backend), nil
}

// tokenByDigest reads what scanToken scans. (SELECT $1) is as in keyByDigest.
const tokenByDigest = `SELECT t.created_at, t.expires_at, COALESCE(t.upstream_key, 0), k.digest FROM tokens t JOIN api_keys k ON k.id = t.key_id
	WHERE t.digest = (SELECT $1) AND t.backend = (SELECT $2)`

// foundToken is a token, and the digest of its owner.
type foundToken struct {
	policy.Token
	owner digest
}

func scanToken(row scanner) (t foundToken, err error) {
	var owner []byte
	if err := row.Scan(&t.CreatedAt, &t.ExpiresAt, &t.UpstreamKey, &owner); err != nil {
		return t, err
	}
	t.owner, err = toDigest(owner)
	return t, err
}
