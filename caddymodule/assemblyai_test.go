package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func (g *gateway) jobOf(id string) (policy.Job, error) {
	return g.keys.Job(g.t.Context(), g.dialect, id)
}

func TestR10_AssemblyAI_AJobIsRecordedAndReadByItsAccount(t *testing.T) {
	g := newDialectGateway(t, "assemblyai", "")
	key, secret := g.issue(keystore.NewKey{})
	other := g.newAccount("Other")
	_, foreign := g.issue(keystore.NewKey{AccountID: other.ID})
	g.backend.respondText(http.StatusOK, `{"id":"tr-1","status":"queued","audio_url":"https://x.example/a.wav"}`)
	const creation = `{"audio_url":"https://x.example/a.wav?authorization=not-a-key"}`
	if got := g.ask("POST", "/v2/transcript", secret, creation); got.status != http.StatusOK {
		t.Fatalf("creation: status %d, %s", got.status, got.body)
	}
	if got := g.backend.received(); strings.Count(got, "Authorization: "+backendKey+"\r\n") != 1 || strings.Contains(got, secret) || !strings.HasSuffix(got, "\r\n\r\n"+creation) {
		t.Errorf("the backend got %q", got)
	}
	job, err := g.jobOf("tr-1")
	if err != nil || job.KeyID != key.ID || job.Dialect != "assemblyai" {
		t.Fatalf("the job is recorded as %+v, %v", job, err)
	}
	g.backend.respondText(http.StatusOK, `{"id":"tr-1","status":"completed","text":"hello"}`)
	if got := g.ask("GET", "/v2/transcript/tr-1", secret, ""); got.status != http.StatusOK || !strings.Contains(got.body, "hello") {
		t.Errorf("poll: status %d, %s", got.status, got.body)
	}
	if job, _ = g.jobOf("tr-1"); job.State != policy.JobCompleted || job.EndedAt.IsZero() {
		t.Errorf("after the poll the job is %+v", job)
	}
	for _, path := range []string{"/v2/transcript/tr-1/srt", "/v2/transcript/tr-1/vtt", "/v2/transcript/tr-1/word-search?words=a,b", "/v2/transcript/tr-1/redacted-audio"} {
		if got := g.ask("GET", path, secret, ""); got.status != http.StatusOK {
			t.Errorf("%s: status %d", path, got.status)
		}
	}
	_ = g.backend.received()
	unknown := g.ask("GET", "/v2/transcript/never", foreign, "")
	for _, method := range []string{"GET", "DELETE"} {
		if got := g.ask(method, "/v2/transcript/tr-1", foreign, ""); got.status != http.StatusBadRequest || got.body != unknown.body {
			t.Errorf("%s by another account: status %d, %s; an unknown job: %s", method, got.status, got.body, unknown.body)
		}
	}
	for _, target := range []string{"PUT /v2/transcript/tr-1", "GET /v2/account", "POST /v2/lemur", "GET /v2/transcript/tr-1/a/b"} {
		method, path, _ := strings.Cut(target, " ")
		if got := g.ask(method, path, secret, ""); got.status != http.StatusNotFound {
			t.Errorf("%s: status %d", target, got.status)
		}
	}
	if got := g.backend.received(); got != "" {
		t.Errorf("the backend got %q", got)
	}
}

func TestR12_AssemblyAI_AnExpiredKeyReadsItsOwnJob(t *testing.T) {
	g := newDialectGateway(t, "assemblyai", "")
	key, secret := g.expired()
	g.recordJob("tr-1", key, now().Add(-time.Minute))
	g.backend.respondText(http.StatusOK, `{"id":"tr-1","status":"processing"}`)
	for path, want := range map[string]int{"/v2/transcript/tr-1": 200, "/v2/transcript/tr-1/sentences": 200, "/v2/transcript/tr-2": 401} {
		if got := g.ask("GET", path, secret, ""); got.status != want {
			t.Errorf("%s: status %d, want %d", path, got.status, want)
		}
	}
	for target, want := range map[string]int{"POST /v2/transcript": 401, "DELETE /v2/transcript/tr-1": 401, "GET /v2/transcript": 401, "GET /v3/token?expires_in_seconds=60": 401} {
		method, path, _ := strings.Cut(target, " ")
		if got := g.ask(method, path, secret, ""); got.status != want {
			t.Errorf("%s: status %d, want %d", target, got.status, want)
		}
	}
}

func TestR11_AssemblyAI_AListHasTheAccountsOwnJobs(t *testing.T) {
	g := newDialectGateway(t, "assemblyai", "")
	key, secret := g.issue(keystore.NewKey{})
	other := g.newAccount("Other")
	theirs, foreign := g.issue(keystore.NewKey{AccountID: other.ID})
	var entries []string
	for n := range 100 {
		owner, id := key, fmt.Sprintf("tr-%d", n)
		if n%3 == 1 {
			owner = theirs
		}
		if n%3 != 2 { // the others are not recorded
			g.recordJob(id, owner, now())
		}
		entries = append(entries, fmt.Sprintf(`{"id":%q,"status":"completed","text":"a, ]} \"b","resource_url":"https:\/\/api.assemblyai.com/v2/transcript/%s"}`, id, id))
	}
	list := `{"page_details":{"limit":100,"result_count":100,"current_url":"https://api.assemblyai.com/v2/transcript?limit=100","prev_url":"https://api.assemblyai.com/v2/transcript?limit=100&before_id=tr-0","next_url":null},"transcripts":[` + strings.Join(entries, ",\n") + `]}`
	g.backend.respondPieces(http.StatusOK, len(list), list[:777], list[777:5000], list[5000:])
	for name, test := range map[string]struct {
		secret string
		rest   int
	}{"own": {secret, 0}, "the other account's": {foreign, 1}} {
		got := g.ask("GET", "/v2/transcript?limit=100", test.secret, "")
		var page struct {
			Details struct {
				Current string  `json:"current_url"`
				Prev    string  `json:"prev_url"`
				Next    *string `json:"next_url"`
			} `json:"page_details"`
			Transcripts []struct {
				ID  string
				URL string `json:"resource_url"`
			}
		}
		if err := json.Unmarshal([]byte(got.body), &page); err != nil || got.status != http.StatusOK {
			t.Fatalf("%s: status %d, %v: %s", name, got.status, err, got.body)
		}
		var want, ids []string
		for n := range 100 {
			if n%3 == test.rest {
				want = append(want, fmt.Sprintf("tr-%d", n))
			}
		}
		for _, entry := range page.Transcripts {
			ids = append(ids, entry.ID)
			if entry.URL != "http://"+g.addr+"/v2/transcript/"+entry.ID {
				t.Errorf("%s: the entry leads to %s", name, entry.URL)
			}
		}
		if !slices.Equal(ids, want) {
			t.Errorf("%s: the list has %v, want %v", name, ids, want)
		}
		if page.Details.Prev != "http://"+g.addr+"/v2/transcript?limit=100&before_id=tr-0" || page.Details.Next != nil || strings.Contains(got.body, "assemblyai.com") {
			t.Errorf("%s: the page has the links %+v", name, page.Details)
		}
	}
	g.backend.respond(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Etag", `"of all entries"`)
		w.Header().Set("Repr-Digest", "sha-256=:x:")
		_, _ = io.WriteString(w, list)
	})
	if got := g.ask("GET", "/v2/transcript", secret, ""); got.header.Get("Etag") != "" || got.header.Get("Repr-Digest") != "" || got.header.Get("Content-Length") != "" {
		t.Errorf("a changed answer has the header %v", got.header)
	}
	// Behind a proxy that Caddy trusts, the links lead to the proxy.
	got := g.ask("GET", "/v2/transcript", secret, "", "X-Forwarded-Proto: https", "X-Forwarded-Host: asr.example.com")
	if !strings.Contains(got.body, `"current_url":"https://asr.example.com/v2/transcript?limit=100"`) {
		t.Errorf("behind a proxy: %.200s", got.body)
	}
	for name, broken := range map[string]string{
		"no JSON":       "<html>",
		"a second list": `{"transcripts":[],"Transcripts":[{"id":"tr-1"}]}`,
		"another type":  `{"transcripts":{"id":"tr-1"}}`,
		"an array":      `[{"id":"tr-1"}]`,
		"another list":  `{"items":[{"id":"tr-1"}],"text":"` + strings.Repeat("a", 10<<10) + `"}`,
		"another first": `{"items":[{"id":"tr-1"}],"text":"` + strings.Repeat("a", 70<<10) + `","transcripts":[]}`,
	} {
		g.backend.respondText(http.StatusOK, broken)
		if got := g.ask("GET", "/v2/transcript", secret, ""); got.status != http.StatusBadGateway || strings.Contains(got.body, "tr-1") {
			t.Errorf("%s: status %d, %s", name, got.status, got.body)
		}
	}
}

// Clients can reach the gate below a prefix, and the gate its backend below another one.
func TestAssemblyAI_LinksHaveThePrefixOfTheGate(t *testing.T) {
	g := newGatewayWith(t, &gateway{dialect: "assemblyai", options: "upstream_key " + backendKey, site: "uri strip_prefix /gate\nroute {\n rewrite * /asr{uri}\n reverse_proxy {backend}\n}"})
	_, secret := g.issue(keystore.NewKey{})
	g.backend.respondText(http.StatusOK, `{"page_details":{"next_url":"https://api.assemblyai.com/v2/transcript?limit=1"},"transcripts":[]}`)
	got := g.ask("GET", "/gate/v2/transcript", secret, "")
	if received := g.backend.received(); !strings.HasPrefix(received, "GET /asr/v2/transcript HTTP/1.1\r\n") {
		t.Fatalf("the backend got %q: the test tests nothing", received)
	}
	if !strings.Contains(got.body, `"next_url":"http://`+g.addr+`/gate/v2/transcript?limit=1"`) {
		t.Errorf("status %d, %s", got.status, got.body)
	}
}

func TestAssemblyAI_ATokenIsItsOwnersAndGoesUpstreamAsItIs(t *testing.T) {
	g := newDialectGateway(t, "assemblyai", "")
	key, secret := g.issue(keystore.NewKey{})
	const token = "eyJhbGciOi.tok_0123456789-abcdefgh"
	g.backend.respondText(http.StatusOK, `{"token":"`+token+`","expires_in_seconds":60}`)
	if got := g.ask("GET", "/v3/token?expires_in_seconds=60", secret, ""); got.status != http.StatusOK || !strings.Contains(got.body, token) {
		t.Fatalf("the mint: status %d, %s", got.status, got.body)
	}
	if stored := g.storeBytes(); strings.Contains(stored, token) {
		t.Error("the keystore has the token itself")
	}
	_ = g.backend.received()
	g.backend.realtime(t, "", say(`{"type":"Begin"}`))
	c, _ := g.dialKeyed(t, "/v3/ws?sample_rate=16000&token="+token+"&x=y")
	c.WantText(`{"type":"Begin"}`)
	if got := g.backend.received(); !strings.HasPrefix(got, "GET /v3/ws?sample_rate=16000&token="+token+"&x=y HTTP/1.1\r\n") || strings.Contains(got, backendKey) || strings.Contains(got, "Authorization") {
		t.Errorf("the backend got %q", got)
	}
	connections := g.backend.connections()
	for name, test := range map[string]struct {
		path  string
		lines []string
	}{
		"a key in the place of a token":  {"/v3/ws?token=" + secret, nil},
		"a token in the place of a key":  {"/v3/ws", []string{"Authorization: " + token}},
		"an unknown token":               {"/v3/ws?token=" + token + "x", nil},
		"a token beside a key":           {"/v3/ws?token=" + token, []string{"Authorization: " + secret}},
		"the token under another scheme": {"/v3/ws", []string{"Authorization: Bearer " + token}},
	} {
		t.Run(name, func(t *testing.T) {
			refused, _ := g.dialKeyed(t, test.path, test.lines...)
			wantLast(t, refused, 4001, `"error_code":4001`)
		})
	}
	const tokensOnly = `"an unknown token, or a key: the place takes tokens only"`
	eventually(t, func() bool { return strings.Count(g.log(), tokensOnly) >= 2 }) // a refused stream may end before its line is written
	if n := strings.Count(g.log(), tokensOnly); n != 2 {
		t.Errorf("the log says %d times that the place takes tokens only, want 2", n)
	}
	for _, authorization := range []string{token, "Bearer " + token} {
		if got := g.ask("GET", "/v2/transcript", authorization, ""); got.status != http.StatusUnauthorized {
			t.Errorf("a list by a token: status %d", got.status)
		}
	}
	if n := g.backend.connections(); n != connections {
		t.Errorf("the backend has had %d more connections", n-connections)
	}
	// The stream ends with the owner of the token, and so does the token.
	g.revoke(key)
	wantLast(t, c, 4001, `"type":"Error"`)
	again, _ := g.dialKeyed(t, "/v3/ws?token="+token)
	again.WantText(`{"type":"Error","error_code":4001,"error":"Unauthorized Connection: Missing/invalid Authorization header"}`)
	if text := g.log(); strings.Contains(text, token) || strings.Contains(text, secret) || strings.Contains(text, backendKey) {
		t.Error("the log has a credential")
	}
}

func TestR15_AssemblyAI_PreflightsAllowTheFieldsThatTheLibrarySends(t *testing.T) {
	g := newDialectGateway(t, "assemblyai", "cors_headers traceparent")
	for path, method := range map[string]string{"/v2/upload": "POST", "/v1/transcribe/live": "POST", "/v2/transcript/tr-1": "DELETE", "/v3/token": "GET"} {
		got := g.ask("OPTIONS", path, "", "", "Origin: https://app.example.com", "Access-Control-Request-Method: "+method,
			"Access-Control-Request-Headers: assemblyai-agent,authorization,content-type,user-agent,x-aai-model")
		const want = "Authorization, Content-Type, User-Agent, AssemblyAI-Agent, X-AAI-Model, traceparent"
		if allowed := got.header.Get("Access-Control-Allow-Headers"); got.status != http.StatusNoContent || allowed != want || !strings.Contains(got.header.Get("Access-Control-Allow-Methods"), method) {
			t.Errorf("%s: status %d, %v", path, got.status, got.header)
		}
	}
}

func TestAssemblyAI_AMintThatCannotBeReadGivesNoToken(t *testing.T) {
	g := newDialectGateway(t, "assemblyai", "")
	_, secret := g.issue(keystore.NewKey{})
	for name, test := range map[string]struct {
		status, want int
		body         string
	}{
		"a token twice":    {200, 502, `{"token":"tok-0123456789","token":"tok-abcdefghij"}`},
		"no string":        {200, 502, `{"token":5}`},
		"a bad expiry":     {200, 502, `{"token":"tok-0123456789","expires_in_seconds":"soon"}`},
		"an expiry before": {200, 502, `{"token":"tok-0123456789","expires_in_seconds":-5}`},
		"no JSON":          {200, 502, `token=tok-0123456789`},
		"the upstream key": {200, 502, `{"token":"` + backendKey + `"}`},
		"too large":        {200, 502, `{"x":"` + strings.Repeat("x", 70_000) + `","token":"tok-0123456789"}`},
		"no token":         {200, 200, `{"error":"not today"}`},
		"an error":         {400, 400, `{"error":"expires_in_seconds is too large"}`},
		"the key refused":  {401, 502, `{"error":"Unauthorized"}`},
	} {
		g.backend.respondText(test.status, test.body)
		got := g.ask("GET", "/v3/token", secret, "")
		if got.status != test.want || test.want == 502 && strings.Contains(got.body, "tok-") || strings.Contains(got.body, backendKey) {
			t.Errorf("%s: status %d, %s", name, got.status, got.body)
		}
	}
}
