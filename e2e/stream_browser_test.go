package e2e_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"testing"
	"time"
)

// pageStream is what a page sees of a stream.
type pageStream struct {
	Messages   []string `json:"messages"`
	Extensions *string  `json:"extensions"`
	Code       int      `json:"code"`
}

// TestABrowserStreams holds that a page of another origin can recognize live,
// and learns why it cannot, with the browser as the judge.
func TestABrowserStreams(t *testing.T) {
	t.Parallel()
	browser := tool(t, "chromium", "chromium-browser", "google-chrome")
	p, _ := newStreamProgram(t, "")
	account := p.account()
	_, good := p.key(account)
	_, expired := p.key(account, "--expires", "1ms")
	revokedID, revoked := p.key(account)
	p.run("key", "revoke", revokedID)
	doomedID, doomed := p.key(account)
	deletedID, deleted := p.key(account)
	p.run("key", "delete", deletedID)
	closed := p.account()
	_, ofClosed := p.key(closed)
	p.run("account", "close", closed, "--yes")
	_, bound := p.key(account, "--allow", "203.0.113.0/24")
	refused := map[string]string{ // what follows authorization=
		"key_unknown": "nobody", "key_expired": expired, "key_revoked": revoked, "key_deleted": deleted,
		"account_closed": ofClosed, "address_refused": bound, "credential_missing": "",
		"credential_ambiguous": good + " authorization=" + doomed, "credential_malformed": good + "x",
	}
	settings, err := json.Marshal(map[string]any{
		"gateway": p.base, "keys": map[string]string{"good": good, "doomed": doomed}, "refused": refused,
	})
	if err != nil {
		t.Fatal(err)
	}
	ended, stopped := make(chan time.Time, 1), make(chan time.Time, 1)
	mux := http.NewServeMux()
	results := servePage(t, mux, "stream.html")
	mux.HandleFunc("POST /revoke", func(http.ResponseWriter, *http.Request) {
		p.run("key", "revoke", doomedID)
		ended <- time.Now()
	})
	mux.HandleFunc("POST /stopped", func(http.ResponseWriter, *http.Request) { stopped <- time.Now() })
	origin := httptest.NewServer(mux) // on another port, hence of another origin
	defer origin.Close()

	var seen map[string]pageStream
	body := browse(t, browser, origin.URL+"/#"+url.PathEscape(string(settings)), results)
	if err := json.Unmarshal(body, &seen); err != nil || len(seen) != 3+len(refused) {
		t.Fatalf("%v: the page reports %s; the gateway's output:\n%s", err, body, p.output)
	}
	for name, s := range seen {
		if s.Extensions == nil || *s.Extensions != "" {
			t.Errorf("%s: the browser has agreed on extensions, or on none of it: %+v", name, s)
		}
	}
	for _, name := range []string{"recognized", "unlogged"} {
		messages := seen[name].Messages
		if n := len(messages); n < 3 || messages[0] != "s" || messages[n-1] != "e" {
			t.Errorf("%s: the page sees %+v", name, seen[name])
			continue
		}
		recognized(t, messages[1:len(messages)-1])
	}
	for reason := range refused {
		if s := seen[reason]; !slices.Equal(s.Messages, []string{deniedStart}) || s.Code != 1008 {
			t.Errorf("%s: the page sees %+v", reason, s)
		}
		p.logsRefusal(reason)
	}
	cut := seen["cut"]
	if n := len(cut.Messages); n == 0 || cut.Messages[n-1] != cutText || cut.Code != 1008 {
		t.Errorf("cut: the page sees %+v", cut)
	}
	if took := (<-stopped).Sub(<-ended); took > time.Second {
		t.Errorf("the page was told %s after the revocation", took)
	}
	p.kept(good, expired, revoked, doomed)
}
