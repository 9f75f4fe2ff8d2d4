package console

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/speechgate/speechgate/internal/refusals"
)

const (
	// eventsLast is how long a stream of events lasts. Then the browser connects again.
	eventsLast = 20 * time.Second
	// eventsEvery is the time between two looks for refusals.
	eventsEvery = 300 * time.Millisecond
	// eventsAtOnce is how many refusals a look sends at most. The others are counted.
	eventsAtOnce = 100
	// eventsOpen is how many streams of events can be open at a time.
	eventsOpen = 32
)

// refusalEvents sends refusals as they happen, as server-sent events. An event missed has the
// number of refusals that were not sent. The stream ends with the session of its reader, and does
// not keep the session from ending.
func refusalEvents(v *visit) error {
	defer v.watched.Add(-1)
	if v.watched.Add(1) > eventsOpen {
		v.w.Header().Set("Retry-After", "20")
		v.w.WriteHeader(http.StatusServiceUnavailable)
		return nil
	}
	filter, feed := v.refusalFilter(), v.settings.Gateway.Refusals()
	last, ok := v.lastEvent()
	if !ok {
		_, _, last = feed.Since(0)
	}
	v.w.Header().Set("Content-Type", "text/event-stream")
	v.w.Header().Set("X-Accel-Buffering", "no") // for nginx in front
	controller := http.NewResponseController(v.w)
	// A reader that takes nothing must not keep the place of another one.
	if controller.SetWriteDeadline(time.Now().Add(2*eventsLast)) == nil {
		defer func() { _ = controller.SetWriteDeadline(time.Time{}) }() // the connection goes on
	}
	if _, err := fmt.Fprint(v.w, "retry: 500\n\n"); err != nil {
		return nil // the reader is gone
	}
	look, over := time.NewTicker(eventsEvery), time.NewTimer(eventsLast)
	defer look.Stop()
	defer over.Stop()
	for {
		if err := controller.Flush(); err != nil {
			return nil // the reader is gone
		}
		select {
		case <-v.r.Context().Done():
			return nil
		case <-over.C:
			return nil
		case <-look.C:
		}
		if !v.goesOn() {
			return nil
		}
		all, missed, at := feed.Since(last)
		if at == last {
			continue
		}
		last = at
		if err := sendRefusals(v.w, filter, all, missed, at); err != nil {
			return nil // the reader is gone
		}
	}
}

// lastEvent returns the number of the last refusal that the reader has seen, if the request says it.
func (v *visit) lastEvent() (number uint64, ok bool) {
	after := v.r.Header.Get("Last-Event-ID")
	if after == "" {
		after = v.r.URL.Query().Get("after")
	}
	number, err := strconv.ParseUint(after, 10, 64)
	return number, err == nil
}

// goesOn reports whether the session of the reader goes on now.
func (v *visit) goesOn() bool {
	try := v.try()
	try.Now = v.settings.Gateway.Now()
	session, err := v.settings.SignIn.Peek(v.r.Context(), try, v.token)
	return err == nil && watchers.admit(&session) == enter
}

// sendRefusals writes the events of some refusals. The last event ID of the reader is then at, also
// if the filter selects none of them: the reader goes on from there when it connects again.
func sendRefusals(w http.ResponseWriter, filter refusalFilter, all []refusals.Refusal, missed, at uint64) error {
	sent := 0
	for i := range all {
		shown, ok := filter.shown(&all[i])
		if !ok {
			continue
		}
		if sent++; sent > eventsAtOnce {
			missed++
			continue
		}
		text, err := json.Marshal(shown)
		if err == nil {
			_, err = fmt.Fprintf(w, "id: %d\ndata: %s\n\n", shown.Seq, text)
		}
		if err != nil {
			return err
		}
	}
	if missed > 0 {
		if _, err := fmt.Fprintf(w, "event: missed\ndata: %d\n\n", missed); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "id: %d\n\n", at)
	return err
}
