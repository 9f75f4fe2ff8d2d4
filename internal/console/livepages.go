package console

import (
	"fmt"
	"net/http"
	"slices"

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

// graceList is the data of the page grace.
type graceList struct {
	Jobs    []manage.JobOnGrace
	Next    string
	First   bool
	Problem string
}

func gracePage(v *visit) error {
	cursor := v.r.URL.Query().Get("cursor")
	l := &graceList{First: cursor == ""}
	jobs, err := v.manager.JobsOnGrace(v.r.Context(), manage.Page{Limit: rowsPerPage, Cursor: cursor})
	if v.isMistake(err) {
		l.Problem = v.mistake(err)
		return v.render(http.StatusBadRequest, "grace", "Jobs on grace", l)
	}
	if err != nil {
		return err
	}
	l.Jobs, l.Next = jobs.Items, string(jobs.Next)
	return v.show("grace", "Jobs on grace", l)
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
	for _, operation := range append(policy.Operations(), policy.Unlisted) {
		l.Operations = append(l.Operations, operation.String())
	}
	return v.show("refusals", "Refusals", l)
}
