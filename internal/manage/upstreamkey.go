package manage

import (
	"context"

	"github.com/speechgate/speechgate/internal/upstreamkey"
)

// UpstreamKey says what still needs an upstream key of a backend.
type UpstreamKey struct {
	Backend string `json:"backend"`
	// Position is the place of the key in upstream_key. The key at 1 is for new work. It is null
	// if the key is not configured any more.
	Position *int `json:"position"`
	// Fingerprint tells the keys apart. The same key has another one in another keystore or
	// under another backend name.
	Fingerprint OrNull `json:"fingerprint"`
	Idle        bool   `json:"idle"` // nothing needs the key
	Jobs        int    `json:"jobs"` // the recorded jobs whose end no poll has seen
	LastJobAt   Time   `json:"last_job_at"`
	Tokens      int    `json:"tokens"`
	Streams     int    `json:"streams"`  // of this process
	Requests    int    `json:"requests"` // of this process
	LastUsedAt  Time   `json:"last_used_at"`
}

// UpstreamKeys returns what still needs the upstream keys of the configured gates, and those keys
// of their backends that are not configured any more and are still needed. It is for the operator
// only.
func (m *Manager) UpstreamKeys(ctx context.Context) ([]UpstreamKey, error) {
	if err := m.operatorOnly(); err != nil {
		return nil, err
	}
	recorded, err := m.Store.UpstreamKeyNeeds(ctx, m.Now)
	if err != nil {
		return nil, err
	}
	keys := []UpstreamKey{}
	for _, n := range upstreamkey.Needs(m.Store, m.Gates.Upstreams, recorded, m.Gates.KeyUses) {
		key := UpstreamKey{
			Backend: n.Backend, Fingerprint: OrNull(n.Fingerprint.String()), Idle: n.Idle(),
			Jobs: n.Jobs, LastJobAt: Time{n.LastJob}, Tokens: n.Tokens,
			Streams: n.Streams, Requests: n.Requests, LastUsedAt: Time{n.LastUsed},
		}
		if n.Position > 0 {
			key.Position = &n.Position
		}
		keys = append(keys, key)
	}
	return keys, nil
}
