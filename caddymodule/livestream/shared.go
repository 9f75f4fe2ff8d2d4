package livestream

import (
	"maps"
	"slices"

	"github.com/speechgate/speechgate/internal/share"
	"github.com/speechgate/speechgate/policy"
)

var _ share.Source = (*Registry)(nil)

// note notes that the streams of an owner have changed. The caller has locked r.
func (r *Registry) note(owner policy.Identity) {
	if r.tell == nil {
		return
	}
	if len(r.changed) == 0 {
		r.tell()
	}
	r.changed[owner.KeyID], r.changed[owner.AccountID] = true, true
}

// Share implements [share.Source].
func (r *Registry) Share(changed func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tell = changed
	clear(r.changed)
	if r.tell != nil {
		r.noteAll()
	}
}

// noteAll notes the keys and accounts that have streams. The caller has locked r.
func (r *Registry) noteAll() {
	for _, counts := range []map[string]int{r.byKey, r.byAccount} {
		for id := range counts {
			r.changed[id] = true
		}
	}
}

// Changes implements [share.Source].
func (r *Registry) Changes(all bool) []share.Change {
	r.mu.Lock()
	defer r.mu.Unlock()
	if all {
		r.noteAll()
	}
	list := make([]share.Change, 0, len(r.changed))
	for _, id := range slices.Sorted(maps.Keys(r.changed)) {
		// IDs of keys and of accounts differ.
		list = append(list, share.Change{ID: id, Now: r.byKey[id] + r.byAccount[id]})
	}
	clear(r.changed)
	return list
}

// Add implements [share.Source].
func (r *Registry) Add(_ policy.Time, c share.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.others[c.ID] += c.Now; r.others[c.ID] <= 0 {
		delete(r.others, c.ID)
	}
}
