package gate

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/jsonanswer"
	"github.com/speechgate/speechgate/policy"
)

// resources is an API with jobs, files and live sessions. The answer to a new session has a URL with a
// token. Another path mints a token whose answer is not JSON.
func resources() *dialect.API {
	key := dialect.Place{Location: dialect.Header, Name: "Authorization", Scheme: "Bearer"}
	token := dialect.Place{Location: dialect.Query, Name: "token", Takes: dialect.TokensOnly}
	refusals := &dialect.Refusals{
		Denied: dialect.Answer{Status: http.StatusUnauthorized, Body: `{}`},
		By: map[policy.Reason]dialect.Answer{
			policy.JobUnknown: {Status: http.StatusNotFound, Body: `{}`},
			policy.JobForeign: {Status: http.StatusNotFound, Body: `{}`},
		},
		Gateway: dialect.Answer{Status: http.StatusBadGateway, Body: `{}`},
	}
	jobs := &dialect.Jobs{
		ID:     jsonanswer.MustSet("self"),
		URL:    true,
		State:  jsonanswer.MustWants(jsonanswer.Want{Path: jsonanswer.MustPath("done"), Literal: true}),
		States: map[string]policy.JobState{"true": policy.JobCompleted, "false": policy.JobProcessing},
	}
	files := &dialect.Jobs{Kind: "file", ID: jsonanswer.MustSet("id")}
	sessions := &dialect.Jobs{Kind: "live", ID: jsonanswer.MustSet("id"), Ended: []int{http.StatusOK}}
	route := func(method, path string, op policy.Operation, jobs *dialect.Jobs) dialect.Route {
		return dialect.Route{Method: method, Path: path, Operation: op, Keys: []dialect.Place{key}, Refusals: refusals, Jobs: jobs}
	}
	session := route("POST", "/v1/live", policy.CreateJob, sessions)
	session.Mint = &dialect.Mint{Members: jsonanswer.MustSet("url"), Tokens: 1, Query: "token", Longest: time.Hour}
	session.Edits = jsonanswer.Changes{Replace: []jsonanswer.Path{jsonanswer.MustPath("url")}}.MustCompile()
	list := route("GET", "/v1/files", policy.ListJobs, files)
	list.Edits = jsonanswer.Changes{Entries: []jsonanswer.Path{jsonanswer.MustPath("[].id")}}.MustCompile()
	text := route("POST", "/v1/token", policy.Mint, nil)
	text.Mint = &dialect.Mint{Longest: 10 * time.Minute}
	page := route("GET", "/v1/page", policy.Info, nil)
	page.Edits = jsonanswer.Changes{Replace: []jsonanswer.Path{jsonanswer.MustPath("next")}}.MustCompile()
	work := route("GET", "/v1/work", policy.Info, nil)
	work.Keys = []dialect.Place{token}
	return &dialect.API{
		Name: "resources",
		Routes: []dialect.Route{
			route("POST", "/v1/jobs", policy.CreateJob, jobs), route("GET", "/v1/jobs/{job}", policy.ReadJob, jobs),
			route("POST", "/v1/files", policy.CreateJob, files), list, route("GET", "/v1/files/{job}", policy.ReadJob, files), route("DELETE", "/v1/files/{job}", policy.DeleteJob, files),
			session, route("GET", "/v1/live/{job}", policy.ReadJob, sessions),
			text, page, work,
		},
		Places: []dialect.Place{key, token}, Unlisted: *refusals,
	}
}

// newResources returns a rig whose gate speaks the API, and a function that sends a request with the
// key of the rig.
func newResources(t *testing.T) (g *rig, ask func(method, target string, status int, answer string) (int, string)) {
	t.Helper()
	return newResourcesWith(t, &Gate{UpstreamKey: backendKey})
}

// newResourcesWith is newResources with other settings of the gate.
func newResourcesWith(t *testing.T, gate *Gate) (g *rig, ask func(method, target string, status int, answer string) (int, string)) {
	t.Helper()
	g = newRigWith(t, gate)
	g.gate.api = resources()
	g.gate.places = g.gate.api.Places
	return g, func(method, target string, status int, answer string) (int, string) {
		t.Helper()
		c := &gateCase{method: method, target: target}
		if !strings.Contains(target, "token=") {
			c.authorization = "Bearer " + g.secret
		}
		got := g.ask(t, c, answering(status, answer))
		return got.Code, got.Body.String()
	}
}

// A file and a job with one ID are two things, each with its own owner.
func TestR10_EachKindOfResourceHasItsOwnIDs(t *testing.T) {
	g, ask := newResources(t)
	store := g.open(t)
	for target, answer := range map[string]string{"/v1/jobs": `{"self":"https://vendor.test/v1/jobs/r1"}`, "/v1/files": `{"id":"f1"}`, "/v1/live": `{"id":"s1"}`} {
		if code, body := ask("POST", target, 201, answer); code != 201 || body != answer {
			t.Errorf("%s: %d %s", target, code, body)
		}
	}
	ids := recorded(t, store)
	if slices.Sort(ids); !slices.Equal(ids, []string{"file/f1", "j1", "live/s1", "r1"}) {
		t.Errorf("recorded are %q", ids)
	}
	for target, want := range map[string]int{
		"/v1/jobs/r1": 200, "/v1/files/f1": 200, "/v1/live/s1": 200,
		"/v1/jobs/f1": 404, "/v1/files/r1": 404, "/v1/live/f1": 404, "/v1/jobs/file/f1": 401, "/v1/jobs/file%2Ff1": 401,
	} {
		if code, _ := ask("GET", target, 200, `{}`); code != want {
			t.Errorf("%s: status %d, want %d", target, code, want)
		}
	}
	// The backend can give the ID of a job to a file.
	if code, _ := ask("POST", "/v1/files", 201, `{"id":"r1"}`); code != 201 {
		t.Errorf("a file with the ID of a job: status %d", code)
	}
	if code, _ := ask("DELETE", "/v1/files/r1", 204, ""); code != 204 {
		t.Errorf("the deletion of this file: status %d", code)
	}
	if r1, ok := job(t, store, "r1"); !ok || r1.State.Ended() {
		t.Errorf("the job with the same ID is %+v, %v", r1, ok)
	}
	if code, body := ask("GET", "/v1/files", 200, `[{"id":"s1"},{"id":"f1"},{"id":"file/f1"},{"id":"j1"}]`); code != 200 || body != `[{"id":"f1"}]` {
		t.Errorf("the list: %d %s", code, body)
	}
	if code, _ := ask("DELETE", "/v1/files/f1", 204, ""); code != 204 {
		t.Errorf("the deletion: status %d", code)
	}
	if file, ok := job(t, store, "file/f1"); !ok || file.State != policy.JobFailed {
		t.Errorf("after its deletion the file is %+v, %v", file, ok)
	}
}

// A job ends when a member of the answer is true, or by the status of the answer alone.
func TestR12_AJobEndsByALiteralOrByAStatus(t *testing.T) {
	g, ask := newResources(t)
	store := g.open(t)
	_, _ = ask("POST", "/v1/jobs", 200, `{"self":"/v1/jobs/r1"}`)
	_, _ = ask("POST", "/v1/live", 200, `{"id":"s1"}`)
	for _, step := range []struct {
		target string
		status int
		answer string
		id     string
		want   policy.JobState
	}{
		{"/v1/jobs/r1", 200, `{"done":"true?"}`, "r1", policy.JobUnseen},
		{"/v1/jobs/r1", 200, `{"done":false}`, "r1", policy.JobProcessing},
		{"/v1/jobs/r1", 404, `{"done":true}`, "r1", policy.JobProcessing},
		{"/v1/jobs/r1", 200, `{"done":true}`, "r1", policy.JobCompleted},
		{"/v1/live/s1", 202, `{}`, "live/s1", policy.JobUnseen},
		{"/v1/live/s1", 200, `{}`, "live/s1", policy.JobCompleted},
	} {
		_, _ = ask("GET", step.target, step.status, step.answer)
		if got, ok := job(t, store, step.id); !ok || got.State != step.want {
			t.Errorf("%s, %d %s: the job is %+v", step.target, step.status, step.answer, got)
		}
	}
}

// The token of a session is in a URL, which leads to the gate.
func TestACreationCanHaveATokenInAURL(t *testing.T) {
	g, ask := newResources(t)
	code, body := ask("POST", "/v1/live", 201, `{"id":"s1","url":"wss://vendor.test/v1/live?a=b&token=tok%2D1;x&c=d#e"}`)
	if code != 201 || body != `{"id":"s1","url":"ws://example.com/v1/live?a=b&token=tok%2D1;x&c=d#e"}` {
		t.Errorf("%d %s", code, body)
	}
	for target, want := range map[string]int{"/v1/work?token=tok-1;x": 200, "/v1/work?token=tok%2D1%3Bx": 200, "/v1/work?token=tok-1": 401, "/v1/work?token=tok-2": 401} {
		if code, _ := ask("GET", target, 200, `{}`); code != want {
			t.Errorf("%s: status %d, want %d", target, code, want)
		}
	}
	store := g.open(t)
	for name, answer := range map[string]string{
		"two tokens":           `{"id":"s2","url":"wss://vendor.test/?token=one-1&token=two-2"}`,
		"an escape that fails": `{"id":"s2","url":"wss://vendor.test/?token=%zz"}`,
		"a key of the gate":    `{"id":"s2","url":"wss://vendor.test/?token=` + backendKey + `"}`,
		"a long answer":        `{"id":"s2","x":"` + strings.Repeat("x", maxHeld) + `","url":"wss://vendor.test/?token=long-1"}`,
		"two URLs":             `{"id":"s2","url":"wss://vendor.test/?token=one-1","url":"wss://vendor.test/?token=two-2"}`,
	} {
		if code, _ := ask("POST", "/v1/live", 201, answer); code != http.StatusBadGateway {
			t.Errorf("%s: status %d", name, code)
		}
		if _, ok := job(t, store, "live/s2"); ok {
			t.Errorf("%s: the session is recorded", name)
		}
	}
	for name, answer := range map[string]string{"no token": `{"id":"s3","url":"wss://vendor.test/v1/live"}`, "no URL": `{"id":"s4"}`} {
		if code, _ := ask("POST", "/v1/live", 201, answer); code != 201 {
			t.Errorf("%s: status %d", name, code)
		}
	}
}

// An answer that the gate changes must come as plain text, also if no other reason makes the gate read it.
func TestAnAnswerWithLinksIsAskedForAsPlainText(t *testing.T) {
	for _, key := range []string{backendKey, "pass", "drop"} {
		g, _ := newResourcesWith(t, &Gate{UpstreamKey: key})
		w := final{httptest.NewRecorder()}
		r := (&gateCase{method: "GET", target: "/v1/page", authorization: "Bearer " + g.secret}).request(w)
		r.Header.Set("Accept-Encoding", "gzip")
		err := g.gate.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			if got := r.Header.Get("Accept-Encoding"); got != "identity" {
				t.Errorf("upstream_key %s: the backend is asked for %s", key, got)
			}
			answering(http.StatusOK, `{"next":"https://vendor.test/v1/page?n=2"}`)(w)
			return nil
		}))
		if body := w.Body.String(); err != nil || body != `{"next":"http://example.com/v1/page?n=2"}` {
			t.Errorf("upstream_key %s: %d %s, %v", key, w.Code, body, err)
		}
	}
}

// Some backends answer with the token alone.
func TestAMintCanAnswerWithTheTokenAlone(t *testing.T) {
	g, ask := newResources(t)
	for name, test := range map[string]struct {
		answer, token string
		want          int
	}{
		"a token":           {"eyJ0.text-1", "eyJ0.text-1", 200},
		"a token in a line": {"eyJ0.text-2\r\n", "eyJ0.text-2", 200},
		"nothing":           {"", "", 200},
		"the upstream key":  {backendKey, "", http.StatusBadGateway},
		"a page":            {"<html>\n</html>", "", http.StatusBadGateway},
	} {
		code, body := ask("POST", "/v1/token", 200, test.answer)
		if code != test.want || code == 200 && body != test.answer {
			t.Errorf("%s: %d %q", name, code, body)
		}
		if test.token == "" {
			continue
		}
		if code, _ := ask("GET", "/v1/work?token="+test.token, 200, `{}`); code != 200 {
			t.Errorf("%s: with the token the status is %d", name, code)
		}
		token, _, err := g.open(t).FindToken(t.Context(), "amivoice", policy.NewSecret(test.token))
		if ends := token.CreatedAt.Add(10 * time.Minute); err != nil || token.ExpiresAt < ends || token.ExpiresAt > ends.Add(time.Minute) {
			t.Errorf("%s: the token is %+v, %v", name, token, err)
		}
	}
}
