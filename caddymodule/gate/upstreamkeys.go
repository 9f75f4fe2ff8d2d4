package gate

import (
	"errors"
	"fmt"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/caddymodule/options"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/upstreamkey"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// upstreamKeys are the upstream keys of a gate, which are used in turn. New work takes the first
// key. What has begun with another key goes on with that key.
type upstreamKeys struct {
	keys     []policy.Secret       // in the order of the configuration; empty with drop and pass
	old      []credential.Upstream // of the keys after the first one
	uses     []*upstreamkey.Use    // of all keys
	redactor *credential.Redactor  // masks all keys; nil if there is no key

	// results masks the keys that are long enough to be masked in the result of a success; nil if no
	// key is.
	results *credential.Redactor

	prints atomic.Pointer[keystore.Fingerprints] // of the keys, in the keystore that was used last
	missed atomic.Bool                           // the log has that a key is not configured any more
}

// noKey is the position of the upstream key of a request that belongs to none.
const noKey = -1

func (g *Gate) provisionUpstream() error {
	switch g.UpstreamKey {
	case "", options.UpstreamDrop:
		g.upstream.Mode = credential.Drop
	case options.UpstreamPass:
		g.upstream.Mode = credential.Pass
	default:
		return g.provisionKeys()
	}
	if len(g.OldUpstreamKeys) > 0 {
		return fmt.Errorf("upstream_key: there are several values, and the first is %q, which is no key: want it alone, or keys only", g.UpstreamKey)
	}
	return nil
}

func (g *Gate) provisionKeys() error {
	texts := append([]string{g.UpstreamKey}, g.OldUpstreamKeys...)
	if len(texts) > upstreamkey.Most {
		return fmt.Errorf("upstream_key: want %d keys at most, and there are %d", upstreamkey.Most, len(texts))
	}
	ordinals := [upstreamkey.Most]string{"first", "second", "third", "fourth"}
	for i, text := range texts {
		key, err := g.resolveKey(text)
		switch {
		case err != nil && len(texts) > 1:
			return fmt.Errorf("upstream_key: the %s key: %w", ordinals[i], err)
		case err != nil:
			return fmt.Errorf("upstream_key: %w", err)
		}
		for j, other := range g.keys {
			if other.Reveal() == key.Reveal() {
				return fmt.Errorf("upstream_key: the %s key is the same as the %s: want each key once", ordinals[i], ordinals[j])
			}
		}
		g.keys = append(g.keys, key)
	}
	g.useKeys(g.keys)
	for _, key := range g.keys {
		app.MaskedUpstreamKeys().Add(key)
	}
	return nil
}

// resolveKey returns one upstream key of the configuration.
func (*Gate) resolveKey(text string) (policy.Secret, error) {
	if text == "" {
		return policy.Secret{}, errors.New("it is empty: want the backend's key")
	}
	if text == options.UpstreamDrop || text == options.UpstreamPass {
		return policy.Secret{}, fmt.Errorf("%q is no key: want it alone, or keys only", text)
	}
	key, err := options.ResolveSecret(text)
	if err != nil {
		return key, err
	}
	if err := options.CheckUpstreamKey(key); err != nil {
		return key, err
	}
	return key, credential.CheckUpstreamKey(key)
}

// useKeys sets the keys that the gate sends upstream.
func (g *Gate) useKeys(keys []policy.Secret) {
	g.keys, g.upstream, g.old = keys, credential.ReplaceWith(keys[0]), nil
	for _, key := range keys[1:] {
		g.old = append(g.old, credential.ReplaceWith(key))
	}
	g.redactor = credential.NewRedactor(keys[0], 0, keys[1:]...)
	var long []policy.Secret
	for _, key := range keys {
		if len(key.Reveal()) >= options.MinKeyLenToMaskEverywhere {
			long = append(long, key)
		}
	}
	switch len(long) {
	case len(keys):
		g.results = g.redactor
	case 0:
	default:
		g.results = credential.NewRedactor(long[0], 0, long[1:]...)
	}
}

// noteUses finds what notes the uses of the keys. The gate's app must be there.
func (g *Gate) noteUses() {
	for _, key := range g.keys {
		g.uses = append(g.uses, g.app.UpstreamKeyUse(g.Backend, key))
	}
}

// useOf returns the use of the key with this index; nil for noKey.
func (k *upstreamKeys) useOf(index int) *upstreamkey.Use {
	if index < 0 || index >= len(k.uses) {
		return nil
	}
	return k.uses[index]
}

// fingerprints returns the fingerprints of the keys in a keystore. It is fast: it looks whether
// those that were made last are still right.
func (g *Gate) fingerprints(store *keystore.Store) *keystore.Fingerprints {
	if store == nil {
		return nil
	}
	known := g.prints.Load()
	prints := store.Fingerprints(known, g.Backend, g.keys)
	if prints != known {
		g.prints.Store(prints)
	}
	return prints
}

// upstreamOf says what the backend gets in place of what the client has shown, and which of the
// upstream keys this belongs to. A request about a recorded job gets the key with which the job was
// created. A token that the backend has minted goes to the backend as it is, and belongs to the key
// with which it was minted.
func (g *Gate) upstreamOf(f *facts) (up credential.Upstream, index int) {
	switch {
	case g.upstream.Mode != credential.Replace:
		return g.upstream, noKey
	case f.hasToken:
		return credential.Upstream{Mode: credential.Pass}, g.keyOf(f.token.UpstreamKey, f)
	case f.hasJob:
		index = g.keyOf(f.job.UpstreamKey, f)
	}
	if index > 0 {
		return g.old[index-1], index
	}
	return g.upstream, index
}

// keyOf returns the index of the key for what began with the key of this fingerprint.
func (g *Gate) keyOf(began policy.Fingerprint, f *facts) int {
	prints := g.fingerprints(f.store)
	index, known := upstreamkey.Choose(prints, len(g.keys), began)
	if !known && prints != nil && !g.missed.Swap(true) {
		g.logger.Warn("a job or a token of an upstream key that is not configured any more: requests for such jobs go out with the first key",
			zap.String("backend", g.Backend), zap.Stringer("fingerprint", began), zap.String("job_id", f.job.ID))
	}
	return index
}
