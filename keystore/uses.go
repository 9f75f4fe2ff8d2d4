package keystore

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// Last-used times are bookkeeping: they are approximate, and are dropped if there
// is no space for them.
const (
	useInterval = time.Minute            // a key's last use is written at most this often
	useRare     = time.Hour              // the second half of the queue is for keys that were not used in this time
	maxUses     = 4096                   // uses in the queue; if it is full, the key's next use is noted instead
	useBatch    = 32                     // uses in one transaction, which takes a fifth of a millisecond
	usePause    = 100 * time.Millisecond // between two transactions, for the writes of requests
	useEvery    = 5 * time.Second        // between two runs of the background flush
)

// use is a last use to write. It names the key by its digest: thousands of
// strings would be work for the garbage collector.
type use struct {
	digest digest
	at     policy.Time
}

// useRecorder writes the last-used times of keys. Requests put uses into the
// queue and never wait. The goroutine that calls flush writes them.
type useRecorder struct {
	queue chan use
	write func(context.Context, func(*txn) error) error

	pending map[digest]policy.Time // taken from the queue and not yet written; only flush uses it
}

func newUseRecorder(write func(context.Context, func(*txn) error) error) *useRecorder {
	return &useRecorder{
		queue:   make(chan use, maxUses),
		write:   write,
		pending: make(map[digest]policy.Time),
	}
}

// NoteUse notes that the key was used at now, to the minute. It never waits and
// never fails. A use that finds space is written within half a minute, and by
// Close. If more keys are in use than can be written each minute, the busy keys
// take turns, and leave half of the queue to keys that are used rarely.
func (s *Store) NoteUse(r *Record, now policy.Time) {
	u := s.uses
	space := cap(u.queue)
	if now < r.lastUsed.Add(useRare) {
		space /= 2
	}
	if now < r.lastUsed.Add(useInterval) || len(u.queue) >= space {
		return
	}
	d, cached := r.digest(), false
	if st := s.state.Load(); st.fault == nil {
		s.cache.keys.Update(d, func(lastUsed *policy.Time) {
			// Another request may have noted a use since r was found.
			if cached = true; now >= lastUsed.Add(useInterval) && u.add(d, now) {
				*lastUsed = now
			}
			r.lastUsed = *lastUsed
		})
	}
	if !cached && u.add(d, now) {
		r.lastUsed = now
	}
}

// add reports whether the queue had space for the use.
func (u *useRecorder) add(d digest, now policy.Time) bool {
	select {
	case u.queue <- use{d, now}:
		return true
	default:
		return false
	}
}

// flush writes the uses of the queue, with a pause after each transaction. Uses
// that cannot be written stay pending for the next call.
func (u *useRecorder) flush(ctx context.Context, pause time.Duration) {
	for u.take() {
		uses := make([]use, 0, len(u.pending))
		for d, at := range u.pending {
			uses = append(uses, use{d, at})
		}
		// Sort as the table is sorted, so that each transaction changes few pages.
		slices.SortFunc(uses, func(a, b use) int { return bytes.Compare(a.digest[:], b.digest[:]) })
		for batch := range slices.Chunk(uses, useBatch) {
			if u.write(ctx, func(t *txn) error { return writeUses(t, batch) }) != nil {
				return
			}
			for _, use := range batch {
				delete(u.pending, use.digest)
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

// take moves uses from the queue to pending, and reports whether there are any
// to write.
func (u *useRecorder) take() bool {
	for len(u.pending) < maxUses && len(u.queue) > 0 {
		use := <-u.queue
		u.pending[use.digest] = max(u.pending[use.digest], use.at)
	}
	return len(u.pending) > 0
}

// The database decides which use is written, because other processes note uses
// too. The key may have been pruned since. The digest is compared as in
// keyByDigest.
const insertUse = `INSERT INTO last_uses (digest, at)
	SELECT digest, CAST($1 AS BIGINT) FROM api_keys WHERE digest = (SELECT $2)
	ON CONFLICT (digest) DO UPDATE SET at = excluded.at WHERE last_uses.at <= excluded.at - $3`

func writeUses(t *txn, batch []use) error {
	insert := t.store.engine.Text(insertUse)
	for _, u := range batch {
		t.exec(insert, u.at, u.digest[:], useInterval.Milliseconds())
	}
	return t.err
}
