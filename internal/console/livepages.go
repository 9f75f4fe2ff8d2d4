package console

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/internal/refusals"
	"github.com/speechgate/speechgate/policy"
)

// LiveStream is a live stream of the server.
type LiveStream struct {
	ID, Backend, Client string
	KeyID, AccountID    string // empty before the first accepted start command
	Begun, Accepted     policy.Time
}

// BegunAt returns when the stream began.
func (s *LiveStream) BegunAt() manage.Time { return manage.Time{Time: s.Begun} }

// AcceptedAt returns when its last start command was accepted.
func (s *LiveStream) AcceptedAt() manage.Time { return manage.Time{Time: s.Accepted} }

// streamList is the data of the page streams.
type streamList struct {
	Streams []LiveStream
	More    int // how many are not shown
	Done    string
	Problem string
}

// streamsShown is how many live streams the page shows.
const streamsShown = 200

func streamsPage(v *visit) error { return v.showStreams("") }

func (v *visit) showStreams(problem string) error {
	oldest, all := v.settings.Gateway.Streams(streamsShown)
	return v.show("streams", "Live streams", &streamList{Streams: oldest, More: all - len(oldest), Done: v.done(), Problem: problem})
}

func cutStream(v *visit) error {
	cut, err := v.manager.CutStream(v.r.Context(), v.form("id"))
	switch {
	case cut && err != nil:
		v.settings.Failed(v.r, fmt.Errorf("the audit trail has no entry about a stream that the operator cut: %w", err))
		return v.showStreams(v.T("The stream is cut. The audit trail has no entry about it, because the keystore cannot be written."))
	case err != nil:
		return err
	case cut:
		return v.redirect(v.below("operator/streams") + "?done=stream-cut")
	}
	return v.redirect(v.below("operator/streams") + "?done=stream-over")
}

// graceRows is how many jobs the page grace shows.
const graceRows = 200

func gracePage(v *visit) error {
	jobs, err := v.manager.JobsOnGrace(v.r.Context(), graceRows)
	if err != nil {
		return err
	}
	return v.show("grace", "Jobs on grace", jobs)
}

// shownRefusal is a refusal as the page and its events have it.
type shownRefusal struct {
	Seq       uint64 `json:"seq"`
	At        string `json:"at"`
	Reason    string `json:"reason"`
	Operation string `json:"operation"`
	Backend   string `json:"backend"`
	KeyID     string `json:"key_id"`
	AccountID string `json:"account_id"`
	Client    string `json:"client"`
	Hops      string `json:"hops"`

	time policy.Time
}

// Time returns the instant of the refusal.
func (r *shownRefusal) Time() manage.Time { return manage.Time{Time: r.time} }

// refusalFilter selects refusals. An empty field selects all.
type refusalFilter struct{ Reason, Operation, Key, Client string }

func (v *visit) refusalFilter() refusalFilter {
	query := v.r.URL.Query()
	return refusalFilter{query.Get("reason"), query.Get("operation"), query.Get("key"), query.Get("client")}
}

func (f refusalFilter) shown(r *refusals.Refusal) (s shownRefusal, ok bool) {
	s = shownRefusal{
		Seq: r.Seq, At: r.At.String(), Reason: r.Reason.String(), Operation: r.Operation.String(), Backend: r.Backend,
		KeyID: r.KeyID, AccountID: r.AccountID, Hops: r.Hops, time: r.At,
	}
	if r.Client.IsValid() {
		s.Client = r.Client.String()
	}
	ok = (f.Reason == "" || f.Reason == s.Reason) && (f.Operation == "" || f.Operation == s.Operation) &&
		(f.Key == "" || f.Key == s.KeyID || f.Key == s.AccountID) && (f.Client == "" || f.Client == s.Client)
	return s, ok
}

// refusalList is the data of the page refusals.
type refusalList struct {
	refusalFilter

	Refusals            []shownRefusal // newest first
	Last                uint64         // the number of the newest
	Events              string         // the URL of the events
	Reasons, Operations []string
}

func refusalsPage(v *visit) error {
	l := &refusalList{refusalFilter: v.refusalFilter()}
	all, _, last := v.settings.Gateway.Refusals().Since(0)
	for i := range slices.Backward(all) {
		if s, ok := l.shown(&all[i]); ok && len(l.Refusals) < rowsPerPage {
			l.Refusals = append(l.Refusals, s)
		}
	}
	l.Last = last
	l.Events = v.below("operator/refusals/events")
	if v.r.URL.RawQuery != "" {
		l.Events += "?" + v.r.URL.Query().Encode()
	}
	for _, reason := range policy.Reasons() {
		if !reason.OK() {
			l.Reasons = append(l.Reasons, reason.String())
		}
	}
	l.Operations = []string{"recognize", "create_job", "read_job", "delete_job", "stream", "list_jobs", "info", "mint", "issue_key", "unlisted"}
	return v.show("refusals", "Refusals", l)
}

const (
	// eventsLast is how long a stream of events lasts. Then the browser connects again, and its
	// session is checked again.
	eventsLast = 20 * time.Second
	// eventsEvery is the time between two looks for refusals.
	eventsEvery = 300 * time.Millisecond
	// eventsAtOnce is how many refusals a look sends at most. The others are counted.
	eventsAtOnce = 100
)

// refusalEvents sends refusals as they happen, as server-sent events. An event missed has the
// number of refusals that were not sent.
func refusalEvents(v *visit) error {
	filter := v.refusalFilter()
	after := v.r.Header.Get("Last-Event-ID")
	if after == "" {
		after = v.r.URL.Query().Get("after")
	}
	feed := v.settings.Gateway.Refusals()
	last, err := strconv.ParseUint(after, 10, 64)
	if err != nil {
		_, _, last = feed.Since(0)
	}
	v.w.Header().Set("Content-Type", "text/event-stream")
	v.w.Header().Set("X-Accel-Buffering", "no") // for nginx in front
	controller := http.NewResponseController(v.w)
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
		var all []refusals.Refusal
		var missed uint64
		all, missed, last = feed.Since(last)
		if err := sendRefusals(v.w, filter, all, missed); err != nil {
			return nil // the reader is gone
		}
	}
}

// sendRefusals writes the events of some refusals.
func sendRefusals(w http.ResponseWriter, filter refusalFilter, all []refusals.Refusal, missed uint64) error {
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
	return nil
}
