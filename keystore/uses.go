package keystore

import (
	"bytes"
	"context"
	"runtime"
	"slices"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// Last-used times are bookkeeping: approximate, and lost rather than waited for.
const (
	useInterval    = time.Minute            // a key's last use is written at most this often
	maxPendingUses = 8192                   // what is noted beyond it is forgotten
	useBatch       = 32                     // for each core, written in a third of a millisecond
	usePause       = 100 * time.Millisecond // then, for requests
)

// use names a key by its digest, since thousands of strings are work for the garbage
// collector.
type use struct {
	digest digest
	at     policy.Time
}

// NoteUse notes that the key was used at now, to the minute. It never waits
// and never fails; the time is written within half a minute, and by Close.
func (s *Store) NoteUse(r *Record, now policy.Time) {
	if now < r.noted.Add(useInterval) {
		return
	}
	if st := s.state.Load(); st.fault == nil {
		noted := false // by another use meanwhile
		st.db.keys.edit(r.digest, func(cached *recordEntry) {
			if noted = now < cached.noted.Add(useInterval); !noted {
				cached.noted = now
			}
		})
		if r.noted = now; noted {
			return
		}
	}
	select {
	case s.uses <- use{r.digest, now}:
	default:
	}
}

// flushUses writes the uses that were noted, some at a time. What cannot be written
// stays for the next time.
func (s *Store) flushUses(ctx context.Context, pause time.Duration) {
	for s.takeUses() {
		noted := make([]use, 0, len(s.pending))
		for d, at := range s.pending {
			noted = append(noted, use{d, at})
		}
		// In the order of the table, of which a batch then touches few pages.
		slices.SortFunc(noted, func(a, b use) int { return bytes.Compare(a.digest[:], b.digest[:]) })
		for batch := range slices.Chunk(noted, useBatch*runtime.GOMAXPROCS(0)) {
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

// Other processes note uses too: it is decided here who writes. A key may be gone.
const noteUse = `INSERT INTO last_uses (digest, at)
	SELECT digest, $1 FROM api_keys WHERE digest = (SELECT $2)
	ON CONFLICT (digest) DO UPDATE SET at = excluded.at WHERE last_uses.at <= excluded.at - $3`

func writeUses(t *txn, batch []use) error {
	for _, u := range batch {
		t.exec(noteUse, u.at, u.digest[:], useInterval.Milliseconds())
	}
	return t.err
}
