package keystore

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// Last-used times are bookkeeping: approximate, and lost rather than waited for.
const (
	useInterval    = time.Minute // a key's last use is written at most this often
	useRare        = time.Hour   // room is kept for keys of which none was noted for so long
	maxPendingUses = 4096        // what finds no room is noted when the key is used again
	useBatch       = 32          // written at a time, in a fifth of a millisecond
	usePause       = 100 * time.Millisecond
)

// use names a key by its digest, since thousands of strings are work for the garbage
// collector.
type use struct {
	digest digest
	at     policy.Time
}

// NoteUse notes that the key was used at now, to the minute. It never waits
// and never fails; a time that finds room is written within half a minute, and by Close.
// With more keys in use than can be written each minute, those that are used all the
// time take turns, and leave room for those that are not.
func (s *Store) NoteUse(r *Record, now policy.Time) {
	room := cap(s.uses)
	if now < r.lastUsed.Add(useRare) {
		room /= 2
	}
	if now < r.lastUsed.Add(useInterval) || len(s.uses) >= room {
		return
	}
	d, cached := r.digest(), false
	if st := s.state.Load(); st.fault == nil {
		st.db.keys.Update(d, func(lastUsed *policy.Time) {
			// Another use may have been noted meanwhile.
			if cached = true; now >= lastUsed.Add(useInterval) && s.queueUse(d, now) {
				*lastUsed = now
			}
			r.lastUsed = *lastUsed
		})
	}
	if !cached && s.queueUse(d, now) {
		r.lastUsed = now
	}
}

// queueUse reports whether there was room for the use.
func (s *Store) queueUse(d digest, now policy.Time) bool {
	select {
	case s.uses <- use{d, now}:
		return true
	default:
		return false
	}
}

// flushUses writes the uses that were noted, some at a time, with a pause for requests
// in between. What cannot be written stays for the next time.
func (s *Store) flushUses(ctx context.Context, pause time.Duration) {
	for s.takeUses() {
		noted := make([]use, 0, len(s.pending))
		for d, at := range s.pending {
			noted = append(noted, use{d, at})
		}
		// In the order of the table, of which a batch then touches few pages.
		slices.SortFunc(noted, func(a, b use) int { return bytes.Compare(a.digest[:], b.digest[:]) })
		for batch := range slices.Chunk(noted, useBatch) {
			if s.note(ctx, func(t *txn) error { return writeUses(t, batch) }) != nil {
				return
			}
			for _, u := range batch {
				delete(s.pending, u.digest)
			}
			if pause > 0 {
				select {
				case <-ctx.Done():
					return
				case <-time.After(pause):
				}
			}
		}
	}
}

// takeUses gathers what was noted, and reports whether there is anything to write.
func (s *Store) takeUses() bool {
	for len(s.pending) < maxPendingUses && len(s.uses) > 0 {
		u := <-s.uses
		s.pending[u.digest] = max(s.pending[u.digest], u.at)
	}
	return len(s.pending) > 0
}

// Other processes note uses too: it is decided here who writes. A key may be gone; its
// digest is compared as in keyByDigest.
const noteUse = `INSERT INTO last_uses (digest, at)
	SELECT digest, $1 FROM api_keys WHERE digest = (SELECT $2)
	ON CONFLICT (digest) DO UPDATE SET at = excluded.at WHERE last_uses.at <= excluded.at - $3`

func writeUses(t *txn, batch []use) error {
	for _, u := range batch {
		t.exec(noteUse, u.at, u.digest[:], useInterval.Milliseconds())
	}
	return t.err
}
