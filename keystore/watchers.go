package keystore

import (
	"context"
	"sync"
)

// watchers are the callers that are notified when a record changes.
type watchers struct {
	mu    sync.Mutex
	all   map[*watcher]struct{}
	byKey map[digest]map[*watcher]struct{}
}

type watcher struct {
	record  Record
	changed func()
}

func newWatchers() *watchers {
	return &watchers{all: make(map[*watcher]struct{}), byKey: make(map[digest]map[*watcher]struct{})}
}

// Watch calls changed each time the record may be out of date: its key or account
// has changed, here or in another process, or the store does not know what has
// changed, such as after Config.MaxStaleness without the change feed. Read the
// record again with [Store.Reread]. changed must return at once, and may be called
// at any time until cancel is called.
//
// A change between the reading of the record and this call is not reported, so
// read the record again after this call.
func (s *Store) Watch(r *Record, changed func()) (cancel func()) {
	w := &watcher{*r, changed}
	s.watchers.add(w)
	return func() { s.watchers.remove(w) }
}

// Reread returns the record as it is now. The error is ErrNotFound if the key was
// pruned, or if its secret belongs to another key now: after a failover that has lost the key, it can be
// imported into another account, whose changes are not those that a watcher of r is notified of. Any other
// error is an ErrUnavailable.
func (s *Store) Reread(ctx context.Context, r *Record) (Record, error) {
	fresh, err := s.find(ctx, r.digest())
	if err != nil {
		return Record{}, err
	}
	id, _ := r.IDs()
	if now, _ := fresh.IDs(); now != id {
		return Record{}, ErrNotFound
	}
	return fresh, nil
}

func (ws *watchers) add(w *watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.all[w] = struct{}{}
	d := w.record.digest()
	same := ws.byKey[d]
	if same == nil {
		same = make(map[*watcher]struct{})
		ws.byKey[d] = same
	}
	same[w] = struct{}{}
}

func (ws *watchers) remove(w *watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.all, w)
	d := w.record.digest()
	if same := ws.byKey[d]; same != nil {
		if delete(same, w); len(same) == 0 {
			delete(ws.byKey, d)
		}
	}
}

// notifyKey notifies the watchers of the key with this digest.
func (ws *watchers) notifyKey(d digest) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.byKey[d] {
		w.changed()
	}
}

// notifyIf notifies the watchers whose record matches.
func (ws *watchers) notifyIf(match func(*Record) bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.all {
		if match(&w.record) {
			w.changed()
		}
	}
}

// notifyAll notifies every watcher.
func (ws *watchers) notifyAll() {
	ws.notifyIf(func(*Record) bool { return true })
}
