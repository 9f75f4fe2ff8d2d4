package console

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// eventStream is the answer to a request for events.
type eventStream struct {
	*bufio.Scanner

	resp *http.Response
}

// events opens a stream of events that continues after one with this ID, which may be empty.
func (b *browser) events(query, last string) eventStream {
	b.f.t.Helper()
	r, err := http.NewRequestWithContext(b.f.t.Context(), http.MethodGet, b.f.server.URL+"/console/operator/refusals/events"+query, nil)
	if err != nil {
		b.f.t.Fatal(err)
	}
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	resp, err := b.Do(r)
	if err != nil {
		b.f.t.Fatal(err)
	}
	b.f.t.Cleanup(func() { _ = resp.Body.Close() })
	return eventStream{bufio.NewScanner(resp.Body), resp}
}

// opened checks that the stream is open.
func (e eventStream) opened(t *testing.T) eventStream {
	t.Helper()
	if got := e.resp.Header.Get("Content-Type"); e.resp.StatusCode != http.StatusOK || got != "text/event-stream" {
		t.Fatalf("status %d, %s", e.resp.StatusCode, got)
	}
	if !e.Scan() || e.Text() != "retry: 500" {
		t.Fatalf("the first line is %q, %v", e.Text(), e.Err())
	}
	return e
}

// next returns what follows a prefix in the next line that has it, and whether there is such a line.
func (e eventStream) next(prefix string) (rest string, ok bool) {
	for e.Scan() {
		if rest, ok := strings.CutPrefix(e.Text(), prefix); ok {
			return rest, true
		}
	}
	return "", false
}

func TestRefusalEvents_AreSentAsTheyHappen(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.refusals.Add(aRefusal(policy.KeyUnknown, ""))
	b := f.operatorBrowser("tanaka")
	events := b.events("?reason=key_expired", "").opened(t)
	f.refusals.Add(aRefusal(policy.AddressRefused, "key_1"))
	f.refusals.Add(aRefusal(policy.KeyExpired, "key_2"))
	text, ok := events.next("data: ")
	if !ok {
		t.Fatal(events.Err())
	}
	var got shownRefusal
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if got.KeyID != "key_2" || got.Reason != "key_expired" || got.Seq != 3 || got.Client != "192.0.2.9" || got.At != start.String() {
		t.Errorf("%+v", got)
	}
}

// A reader whose filter selects few refusals learns how far the server has looked. Otherwise the
// reader would be told, at the next connection, that it has missed the others.
func TestRefusalEvents_SayHowFarTheyAre(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.operatorBrowser("tanaka")
	events := b.events("?reason=key_expired", "0").opened(t)
	f.refusals.Add(aRefusal(policy.AddressRefused, "key_1"))
	id, ok := events.next("id: ")
	if !ok || id != "1" {
		t.Fatalf("the ID is %q, %v", id, events.Err())
	}
	for range 600 { // more than the feed keeps
		f.refusals.Add(aRefusal(policy.AddressRefused, "key_1"))
	}
	if missed, ok := b.events("?reason=key_expired", id).opened(t).next("data: "); !ok || missed != "88" {
		t.Errorf("%s refusals are missed, want 88", missed)
	}
}

// The stream ends with the session of its reader, for whatever reason, and sends nothing after it.
func TestRefusalEvents_EndWithTheSession(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*fixture, *browser){
		"signed out": func(_ *fixture, b *browser) { b.wantRedirect(b.post("sign-out"), "sign-in?done=signed-out") },
		"signed out everywhere": func(f *fixture, _ *browser) {
			u, err := f.store.ConsoleUser(f.t.Context(), "operator", "tanaka")
			if err == nil {
				err = f.store.EndConsoleSessions(f.t.Context(), f.Now(), root, &u)
			}
			if err != nil {
				f.t.Fatal(err)
			}
		},
		"the operator is removed": func(f *fixture, _ *browser) {
			if _, err := f.operator().RemoveOperator(f.t.Context(), "tanaka", true); err != nil {
				f.t.Fatal(err)
			}
		},
		"30 minutes without a page": func(f *fixture, _ *browser) { f.advance(30 * time.Minute) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			b := f.operatorBrowser("tanaka")
			began := time.Now()
			events := b.events("", "").opened(t)
			end(f, b)
			f.refusals.Add(aRefusal(policy.KeyExpired, "key_2"))
			if text, ok := events.next("data: "); ok {
				t.Errorf("it sends %s afterwards", text)
			}
			if took := time.Since(began); took > eventsLast/2 {
				t.Errorf("the stream has ended after %s", took)
			}
		})
	}
}

// A page that nobody looks at connects again and again.
func TestRefusalEvents_DoNotKeepTheSessionFromEnding(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.operatorBrowser("tanaka")
	for range 3 {
		f.advance(9 * time.Minute)
		_ = b.events("", "").opened(t).resp.Body.Close()
	}
	f.advance(9 * time.Minute)
	if got := b.events("", ""); got.resp.StatusCode != http.StatusSeeOther {
		t.Errorf("status %d after 36 minutes without a page", got.resp.StatusCode)
	}
}

func TestRefusalEvents_AreBounded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.operatorBrowser("tanaka")
	var last eventStream
	for range eventsOpen {
		last = b.events("", "").opened(t)
	}
	full := b.events("", "")
	if full.resp.StatusCode != http.StatusServiceUnavailable || full.resp.Header.Get("Retry-After") == "" {
		t.Errorf("status %d with %d open streams", full.resp.StatusCode, eventsOpen)
	}
	_ = last.resp.Body.Close()
	for b.events("", "").resp.StatusCode != http.StatusOK { // as soon as the server has noticed the end
		if t.Context().Err() != nil {
			t.Fatal("the place of a stream that has ended is not free again")
		}
	}
}

// The filter has every operation that there is.
func TestRefusalsPage_FiltersByEveryOperation(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	page := f.operatorBrowser("tanaka").get("operator/refusals")
	for _, operation := range append(policy.Operations(), policy.Unlisted) {
		if !strings.Contains(page.body, "<option>"+operation.String()+"</option>") {
			t.Errorf("the filter lacks %s", operation)
		}
	}
}
