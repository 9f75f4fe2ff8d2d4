package app

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/speechgate/speechgate/caddymodule/options"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/upstreamkey"
	"github.com/speechgate/speechgate/policy"
)

// upstreamKeys is what the gates of one backend name send upstream.
type upstreamKeys struct {
	mode credential.Mode
	keys []policy.Secret
}

func (k *upstreamKeys) same(other *upstreamKeys) bool {
	return k.mode == other.mode && slices.EqualFunc(k.keys, other.keys, func(a, b policy.Secret) bool { return a.Reveal() == b.Reveal() })
}

// sorted returns the keys in another order, to compare them.
func (k *upstreamKeys) sorted() *upstreamKeys {
	keys := slices.SortedFunc(slices.Values(k.keys), func(a, b policy.Secret) int { return strings.Compare(a.Reveal(), b.Reveal()) })
	return &upstreamKeys{k.mode, keys}
}

// AddGate tells the app the upstream keys of a gate, the key for new work first. It returns an error
// if another gate with the same backend name has other upstream keys, or another order of them.
func (a *App) AddGate(backend string, mode credential.Mode, keys []policy.Secret) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	added := upstreamKeys{mode, keys}
	other, exists := a.backends[backend]
	switch {
	case !exists || other.same(&added):
	case other.sorted().same(added.sorted()):
		return fmt.Errorf("backend %q: two gates of one backend have the same upstream keys in another order; the first key is for new work, so want the same order", backend)
	default:
		return fmt.Errorf("backend %q: two gates of one backend have different upstream keys; job IDs belong to one upstream account, so give one of them another backend name", backend)
	}
	for name := range a.backends {
		if name != backend && strings.EqualFold(name, backend) {
			return fmt.Errorf("backend %q: another gate has the backend %q, and only the case of a letter differs: want the same name for one upstream account, or names that people can tell apart", backend, name)
		}
	}
	a.backends[backend] = added
	return nil
}

// Upstreams returns the upstream keys of the gates, by backend name.
func (a *App) Upstreams() []upstreamkey.Backend {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.upstreams()
}

// upstreams does what Upstreams does. The caller holds mu.
func (a *App) upstreams() (all []upstreamkey.Backend) {
	for _, name := range slices.Sorted(maps.Keys(a.backends)) {
		all = append(all, upstreamkey.Backend{Name: name, Keys: a.backends[name].keys})
	}
	return all
}

// UpstreamKeyUse returns what tells how this process uses an upstream key of a backend. It outlives
// reloads.
func (a *App) UpstreamKeyUse(backend string, key policy.Secret) *upstreamkey.Use {
	return a.process.keyUses.Of(backend, key)
}

// UpstreamKeyMask masks the upstream keys of all gates that this process has ever had. A
// backend can send its key in an answer, and the proxy can log the answer.
type UpstreamKeyMask struct {
	keys atomic.Pointer[[]maskedKey]
}

type maskedKey struct {
	key      policy.Secret
	redactor *credential.Redactor
}

// MaskedUpstreamKeys returns the mask of this process. Log filters call this function, and not a
// method of App, because Caddy sets up log filters before the App.
func MaskedUpstreamKeys() *UpstreamKeyMask { return &theProcess().upstreamKeys }

// Add makes every log filter mask this key from now on. A key of fewer than
// options.MinKeyLenToMaskEverywhere bytes is masked only as a whole word, where no letter and
// no digit is next to it.
func (m *UpstreamKeyMask) Add(key policy.Secret) {
	added := maskedKey{key, credential.NewRedactor(key, 0)}
	if len(key.Reveal()) < options.MinKeyLenToMaskEverywhere {
		added.redactor = added.redactor.WholeWords() // the same letters within a longer word are not the key
	}
	for {
		known := m.keys.Load()
		var keys []maskedKey
		if known != nil {
			keys = *known
		}
		if slices.ContainsFunc(keys, func(k maskedKey) bool { return k.key.Reveal() == key.Reveal() }) {
			return
		}
		more := append(slices.Clone(keys), added)
		// A key can be the beginning of another one, which must be masked whole.
		slices.SortStableFunc(more, func(a, b maskedKey) int { return len(b.key.Reveal()) - len(a.key.Reveal()) })
		if m.keys.CompareAndSwap(known, &more) {
			return
		}
	}
}

// Mask returns text with each of the keys masked.
func (m *UpstreamKeyMask) Mask(text string) string {
	if known := m.keys.Load(); known != nil {
		for _, key := range *known {
			text = key.redactor.Text(text)
		}
	}
	return text
}
