package app

import (
	"slices"
	"sync/atomic"

	"github.com/speechgate/speechgate/caddymodule/options"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/policy"
)

// UpstreamKeyMask masks the upstream keys of all gates that this process has ever had. A
// backend can send its key in an answer, and the proxy can log the answer.
type UpstreamKeyMask struct {
	keys atomic.Pointer[[]upstreamKey]
}

type upstreamKey struct {
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
	added := upstreamKey{key, credential.NewRedactor(key, 0)}
	if len(key.Reveal()) < options.MinKeyLenToMaskEverywhere {
		added.redactor = added.redactor.WholeWords() // the same letters within a longer word are not the key
	}
	for {
		known := m.keys.Load()
		var keys []upstreamKey
		if known != nil {
			keys = *known
		}
		if slices.ContainsFunc(keys, func(k upstreamKey) bool { return k.key.Reveal() == key.Reveal() }) {
			return
		}
		more := append(slices.Clone(keys), added)
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
