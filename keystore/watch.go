package keystore

import (
	"context"
	"sync"
)

// watchers are those who want to hear of changes to a record.
type watchers struct {
	mu  sync.Mutex
	all map[*watcher]struct{}
	by  map[digest]map[*watcher]struct{}
}

type watcher struct {
	record  Record
	changed func()
}

func newWatchers() *watchers {
	return &watchers{all: make(map[*watcher]struct{}), by: make(map[digest]map[*watcher]struct{})}
}

// Watch has changed called whenever the record may no longer be current: its key
// or account has changed, here or in another process, or it is not known what
// has. Changed must return at once, and may be called at any time until cancel
// is; [Store.Reread] says what the record is then.
//
// What changed between the reading of the record and this call is not told, so
// the record is to be read again after it.
func (s *Store) Watch(r *Record, changed func()) (cancel func()) {
	w := &watcher{*r, changed}
	s.watchers.add(w)
	return func() { s.watchers.remove(w) }
}

// Reread returns the record as it is now. The error is ErrNotFound where the
// key was pruned, and otherwise a fault of the store.
func (s *Store) Reread(ctx context.Context, r *Record) (Record, error) {
	return s.find(ctx, r.digest())
}

func (ws *watchers) add(w *watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.all[w] = struct{}{}
	d := w.record.digest()
	same := ws.by[d]
	if same == nil {
		same = make(map[*watcher]struct{})
		ws.by[d] = same
	}
	same[w] = struct{}{}
}

func (ws *watchers) remove(w *watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.all, w)
	d := w.record.digest()
	if same := ws.by[d]; same != nil {
		if delete(same, w); len(same) == 0 {
			delete(ws.by, d)
		}
	}
}

// tellKey tells those who watch the key with this digest.
func (ws *watchers) tellKey(d digest) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.by[d] {
		w.changed()
	}
}

// tellIf tells those whose record matches; all of them if match is nil.
func (ws *watchers) tellIf(match func(*Record) bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.all {
		if match == nil || match(&w.record) {
			w.changed()
		}
	}
}
