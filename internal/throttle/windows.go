package throttle

import (
	"container/list"

	"github.com/speechgate/speechgate/policy"
)

// windows are the windows of a limited number of keys.
type windows[K comparable] struct {
	length policy.Time // of a window
	limit  int
	byKey  map[K]*list.Element
	order  *list.List // of *window[K]; the window that began first is in front
}

// window counts the failing requests of a key from its start on.
type window[K comparable] struct {
	key   K
	start policy.Time
	count int
}

func newWindows[K comparable](r Rule) windows[K] {
	return windows[K]{
		length: policy.Time(r.Window.Milliseconds()), limit: max(r.Keys, 1),
		byKey: make(map[K]*list.Element), order: list.New(),
	}
}

// window returns the window of a key that includes now. It begins a new window if there is no
// such window.
func (ws *windows[K]) window(key K, now policy.Time) *window[K] {
	if e, ok := ws.byKey[key]; ok {
		w := windowOf[K](e)
		if ws.over(w.start, now) {
			*w = window[K]{key: key, start: now}
			ws.order.MoveToBack(e)
		}
		return w
	}
	for e := ws.order.Front(); e != nil && (len(ws.byKey) >= ws.limit || ws.over(windowOf[K](e).start, now)); e = ws.order.Front() {
		delete(ws.byKey, windowOf[K](e).key)
		ws.order.Remove(e)
	}
	w := &window[K]{key: key, start: now}
	ws.byKey[key] = ws.order.PushBack(w)
	return w
}

// at returns the window of a key that includes now. If there is no such window, it returns one that
// has counted nothing.
func (ws *windows[K]) at(key K, now policy.Time) window[K] {
	e, ok := ws.byKey[key]
	if !ok || ws.over(windowOf[K](e).start, now) {
		return window[K]{key: key, start: now}
	}
	w := *windowOf[K](e)
	w.start = min(w.start, now)
	return w
}

// left returns the seconds until a window with this start ends, at least 1.
func (ws *windows[K]) left(start, now policy.Time) int {
	return (int(ws.length) - int(now-start) + 999) / 1000
}

// over reports whether now is outside the window with this start. The differences are unsigned,
// because a signed difference of two extreme instants can overflow.
func (ws *windows[K]) over(start, now policy.Time) bool {
	if now < start {
		return uint64(start-now) > clockSlack
	}
	return uint64(now-start) >= uint64(ws.length)
}

func windowOf[K comparable](e *list.Element) *window[K] {
	w, _ := e.Value.(*window[K]) // the list has no other values
	return w
}
