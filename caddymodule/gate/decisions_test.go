package gate

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// passes sends a request, and reports whether the next handler got it.
func (g *rig) passes(t *testing.T, w http.ResponseWriter, r *http.Request) (passed bool) {
	t.Helper()
	err := g.gate.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		passed = true
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusOK)
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	return passed
}

// While the database cannot be read, the cache answers for the account's own job. A job of another
// account is looked up, so that the time tells a client nothing about it.
func TestR11_TheCacheAnswersForTheJobsOfTheAccountOnly(t *testing.T) {
	g := newRig(t)
	store := g.open(t)
	account, _, err := store.CreateAccount(t.Context(), now(), operator, "Other")
	if err != nil {
		t.Fatal(err)
	}
	_, stranger, err := store.IssueKey(t.Context(), now(), operator, keystore.NewKey{AccountID: account.ID, Origin: policy.OriginConsole, Expires: policy.Never()})
	if err != nil {
		t.Fatal(err)
	}
	poll := func(secret string) int {
		c := *g.cases()["poll"]
		c.authorization = "Bearer " + secret
		return g.ask(t, &c, answering(200, `{"status":"processing"}`)).Code
	}
	if own, foreign := poll(g.secret), poll(stranger.Reveal()); own != http.StatusOK || foreign != http.StatusNotFound {
		t.Fatalf("status %d and, for another account, %d", own, foreign)
	}
	if _, err := g.place.Database(t).ExecContext(t.Context(), "ALTER TABLE jobs RENAME TO jobs_elsewhere"); err != nil {
		t.Fatal(err)
	}
	if unknown := poll("unknown"); unknown != http.StatusUnauthorized {
		t.Errorf("status %d for an unknown key, whose jobs are not looked up", unknown)
	}
	logs := g.logs()
	if own, foreign := poll(g.secret), poll(stranger.Reveal()); own != http.StatusOK || foreign != http.StatusServiceUnavailable {
		t.Errorf("status %d and, for another account, %d", own, foreign)
	}
	if refused := logs.FilterMessage("refused").All(); len(refused) != 1 || refused[0].Level != zapcore.ErrorLevel || !strings.HasPrefix(refused[0].ContextMap()["detail"].(string), "looking up the job: ") {
		t.Errorf("the log is %v", refused)
	}
}

// A use of a key is written when the store is closed, at the latest.
func TestTheLastUseOfAKeyIsNoted(t *testing.T) {
	g := newRig(t)
	g.serve(t, g.cases()["poll"], true)
	store, err := g.gate.app.Store()
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	all, _, err := g.open(t).Keys(t.Context(), keystore.KeyList{Limit: 10})
	if err != nil || len(all) != 1 || all[0].LastUsedAt.IsZero() {
		t.Errorf("%v: the keys are %+v", err, all)
	}
}

// The log has the method and the path of a request only if the API does not list it.
func TestR15_ARefusalIsLoggedOnce(t *testing.T) {
	g := newRig(t)
	for target, want := range map[string]struct {
		reason policy.Reason
		path   any
	}{
		"GET /v9/none?u=any":           {policy.OperationUnlisted, "/v9/none"},
		"POST /v1/recognize?u=unknown": {policy.KeyUnknown, nil},
		"POST /v1/recognize":           {policy.CredentialMissing, nil},
		"POST /v1/recognize?u=a%20b":   {policy.CredentialMalformed, nil},
	} {
		logs := g.logs()
		method, uri, _ := strings.Cut(target, " ")
		w := httptest.NewRecorder()
		r := (&gateCase{method: method, target: uri}).request(w)
		r.Header["Upgrade"] = []string{"h2c"}
		if g.passes(t, w, r) {
			t.Errorf("%s went through", target)
		}
		refused := logs.FilterMessage("refused").All()
		if len(refused) != 1 {
			t.Errorf("%s: the log is %v", target, logs.All())
			continue
		}
		fields := refused[0].ContextMap()
		if refused[0].Level != zapcore.InfoLevel || fields["reason"] != want.reason.String() || fields["path"] != want.path || fields["client_ip"] != "192.0.2.7" {
			t.Errorf("%s: the entry is %v", target, refused[0])
		}
		if r.Header["Upgrade"] != nil {
			t.Errorf("%s: a handler in front can wait for another protocol: %v", target, r.Header)
		}
		if shown, _ := caddyReplacer(r).GetString("speechgate.reason"); shown != want.reason.String() {
			t.Errorf("%s: the placeholder is %q", target, shown)
		}
	}
}

func TestR15_ThePathOfAnotherAccountIsUnlisted(t *testing.T) {
	g := newRigWith(t, &Gate{UpstreamKey: backendKey, AlsoAllow: []Allowance{{"GET", "/words/{speechgate.account_id}"}}})
	logs := g.logs()
	got := g.ask(t, &gateCase{method: "GET", target: "/words/acc_other", authorization: "Bearer " + g.secret}, answering(http.StatusOK, "words"))
	refused := logs.FilterMessage("refused").All()
	if got.Code != http.StatusNotFound || len(refused) != 1 || refused[0].ContextMap()["detail"] != "the path names another account than the key's" {
		t.Errorf("status %d, the log is %v", got.Code, logs.All())
	}
}

func TestR17_AKeystoreThatCannotBeOpenedIsNotARefusedKey(t *testing.T) {
	g := newRig(t)
	g.place.Spoil(t)
	logs := g.logs()
	for _, test := range []struct {
		secret string
		status int
		reason policy.Reason
	}{{g.secret, http.StatusServiceUnavailable, policy.StoreUnavailable}, {"a b", http.StatusUnauthorized, policy.CredentialMalformed}} {
		c := *g.cases()["poll"]
		c.authorization = "Bearer " + test.secret
		if got := g.ask(t, &c, answering(http.StatusOK, "{}")); got.Code != test.status || logs.FilterField(zap.Stringer("reason", test.reason)).Len() != 1 {
			t.Errorf("status %d, the log is %v", got.Code, logs.All())
		}
	}
}

func TestR16_AQueryThatNoRequestLineCanCarry(t *testing.T) {
	g := newRig(t)
	w := httptest.NewRecorder()
	r := (&gateCase{method: "POST", target: "/v1/recognize?u=" + g.secret}).request(w)
	r.URL.RawQuery += "&d=a b"
	if passed := g.passes(t, w, r); passed || w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "unreadable request") {
		t.Errorf("passed: %v; status %d, body %q", passed, w.Code, w.Body)
	}
}

// A request is decided by its method and its path, whatever else it asks for.
func TestR15_WhatARequestIsTakenFor(t *testing.T) {
	t.Parallel()
	handshake := handshakeRequest(t).Header
	g := &Gate{AlsoAllow: []Allowance{{"GET", "/words/{speechgate.account_id}"}, {"GET", "/engines"}, {"CONNECT", "/engines"}}}
	for name, test := range map[string]struct {
		method, path string
		change       func(*http.Request)
		operation    policy.Operation
		account      string
	}{
		"a recognition":                   {"POST", "/v1/recognize", nil, policy.Recognize, ""},
		"an offer of h2c":                 {"POST", "/v1/recognize", func(r *http.Request) { r.Header["Upgrade"] = []string{"h2c"} }, policy.Recognize, ""},
		"an offer that a POST cannot do":  {"POST", "/v1/recognize", func(r *http.Request) { r.Header["Upgrade"] = []string{"websocket"} }, policy.Recognize, ""},
		"a proxy's target":                {"POST", "/v1/recognize", func(r *http.Request) { r.URL.Opaque = "x" }, policy.Unlisted, ""},
		"a poll":                          {"GET", "/v1/recognitions/j", nil, policy.ReadJob, ""},
		"a poll that offers a WebSocket":  {"GET", "/v1/recognitions/j", func(r *http.Request) { r.Header["Upgrade"] = []string{"a, WebSocket/13"} }, policy.Unlisted, ""},
		"a complete handshake on it":      {"GET", "/v1/recognitions/j", func(r *http.Request) { r.Header = handshake }, policy.Unlisted, ""},
		"a path of the account":           {"GET", "/words/acc_1", nil, policy.Info, "acc_1"},
		"a path of the account, a socket": {"GET", "/words/acc_1", func(r *http.Request) { r.Header["Upgrade"] = []string{"websocket"} }, policy.Unlisted, "acc_1"},
		"a path that is opened":           {"GET", "/engines", nil, policy.Info, ""},
		"a tunnel to it":                  {"CONNECT", "/engines", nil, policy.Unlisted, ""},
		"a path that is not opened":       {"GET", "/other", nil, policy.Unlisted, ""},
		"a stream's path":                 {"GET", "/v1/", nil, policy.Unlisted, ""},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.Method, r.URL = test.method, &url.URL{Path: test.path}
		if test.change != nil {
			test.change(r)
		}
		if call, account := g.classify(dialect.AmiVoice, r); call.Operation != test.operation || account != test.account {
			t.Errorf("%s: %s, account %q", name, call.Operation, account)
		}
	}
}

// ClassifyPath is for checks of the configuration, before the gate is provisioned.
func TestClassifyPath(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		dialect, method, path string
		operation             policy.Operation
	}{
		{"amivoice", "GET", "/v1/", policy.Stream},
		{"amivoice", "POST", "/v1/", policy.Unlisted},
		{"amivoice", "GET", "/v1/recognitions/j", policy.ReadJob},
		{"amivoice", "POST", "/v1/recognize", policy.Recognize},
		{"another", "POST", "/v1/recognize", policy.Unlisted},
	} {
		call, account := (&Gate{Dialect: test.dialect}).ClassifyPath(test.method, &url.URL{Path: test.path})
		if call.Operation != test.operation || account != "" {
			t.Errorf("%s of %s: %s", test.path, test.dialect, call.Operation)
		}
	}
}

func TestR15_WhichPreflightsTheGateAnswers(t *testing.T) {
	rigs := make(map[string]*rig) // by cors
	for _, cors := range []string{"*", "https://a.example", "https://b.example", "off"} {
		rigs[cors] = newRigWith(t, &Gate{UpstreamKey: backendKey, AlsoAllow: []Allowance{{"GET", "/words/*"}, {"PUT", "/words/*"}}, CORS: []string{cors}})
	}
	for name, test := range map[string]struct {
		cors             string
		method           string // that the page asks for
		path             string
		answered         bool
		methods, allowed string
	}{
		"a recognition":         {"*", "POST", "/v1/recognize", true, "POST", "*"},
		"an opened path":        {"*", "PUT", "/words/a", true, "GET, PUT", "*"},
		"a method not opened":   {"*", "POST", "/words/a", false, "", "*"},
		"an unlisted path":      {"*", "GET", "/words", false, "", "*"},
		"another method":        {"*", "PUT", "/v1/recognize", false, "", "*"},
		"a stream":              {"*", "GET", "/v1/", false, "", "*"},
		"no method":             {"*", "", "/v1/recognize", false, "", "*"},
		"another origin":        {"https://b.example", "POST", "/v1/recognize", false, "", ""},
		"an origin that may":    {"https://a.example", "POST", "/v1/recognize", true, "POST", "https://a.example"},
		"left to the backend":   {"off", "POST", "/v1/recognize", false, "", ""},
		"an opened path, later": {"*", "GET", "/words/b", true, "GET, PUT", "*"},
	} {
		g := rigs[test.cors]
		w := httptest.NewRecorder()
		r := (&gateCase{method: "OPTIONS", target: test.path}).request(w)
		r.Header["Origin"] = []string{"https://a.example"}
		if test.method != "" {
			r.Header["Access-Control-Request-Method"] = []string{test.method}
		}
		passed := g.passes(t, w, r)
		want := http.StatusNotFound
		if test.answered {
			want = http.StatusNoContent
		}
		header := w.Header()
		if passed || w.Code != want || (w.Body.Len() == 0) != test.answered || header.Get("Access-Control-Allow-Methods") != test.methods || header.Get("Access-Control-Allow-Origin") != test.allowed {
			t.Errorf("%s: passed %v, status %d, header %v", name, passed, w.Code, header)
		}
	}
}

// slowBody notes, before each read, how many bytes of heads are reserved.
type slowBody struct {
	io.Reader
	held func() int64
	most int64
}

func (b *slowBody) Read(p []byte) (int, error) {
	b.most = max(b.most, b.held())
	return b.Reader.Read(p[:min(len(p), 1<<10)])
}

func (*slowBody) Close() error { return nil }

// deadlines counts the changes of the read deadline.
type deadlines struct {
	*httptest.ResponseRecorder

	changes int
}

func (d *deadlines) SetReadDeadline(time.Time) error {
	d.changes++
	return nil
}

// The head of a form takes memory of the budget until its key is known. The head of a form whose
// key came before takes none, because the key bounds who can send it.
func TestR21_OnlyUnknownClientsUseTheHeadBudget(t *testing.T) {
	g := newRig(t)
	held := func() int64 {
		n, _ := g.gate.app.HeadBudget().Memory.Held()
		return n
	}
	part := func(name, value string) string {
		return "--B\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n"
	}
	words := part("d", strings.Repeat("w ", 20<<10))
	for name, test := range map[string]struct {
		query, body string
		breaks      error // of the body
		passes      bool
		reserves    bool
		status      int
	}{
		"the key is in the form":        {"", words + part("u", g.secret) + part("a", "RIFF") + "--B--\r\n", nil, true, true, 200},
		"the key is in the query":       {"?u=" + g.secret, words + part("a", "RIFF") + "--B--\r\n", nil, true, false, 200},
		"the key is unknown":            {"", words + part("u", "unknown") + part("a", "RIFF") + "--B--\r\n", nil, false, true, 200},
		"another key is in the query":   {"?u=" + g.secret, words + part("u", "unknown") + part("a", "RIFF") + "--B--\r\n", nil, false, false, 200},
		"an unknown key in the query":   {"?u=unknown", words + part("a", "RIFF") + "--B--\r\n", nil, false, false, 200},
		"another scheme in the header":  {"", words + part("u", g.secret) + part("a", "RIFF") + "--B--\r\n", nil, false, false, 200},
		"the body breaks off":           {"", words, io.ErrUnexpectedEOF, false, true, 200},
		"the body is larger than asked": {"", words, caddyhttp.Error(http.StatusRequestEntityTooLarge, errors.New("too large")), false, true, 413},
	} {
		w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		r := (&gateCase{method: "POST", target: "/v1/recognize" + test.query, contentType: "multipart/form-data; boundary=B", body: []byte(test.body)}).request(w)
		body := &slowBody{Reader: bytes.NewReader([]byte(test.body)), held: held}
		if test.breaks != nil {
			body.Reader = io.MultiReader(body.Reader, failingReader{test.breaks})
		}
		r.Body = body
		if name == "another scheme in the header" {
			r.Header["Authorization"] = []string{"Basic dXNlcjpwYXNz"}
		}
		passed := g.passes(t, w, r)
		if passed != test.passes || w.Code != test.status || (body.most > 0) != test.reserves {
			t.Errorf("%s: passed %v, status %d, body %q, %d bytes were reserved", name, passed, w.Code, w.Body, body.most)
		}
		if n := held(); n != 0 {
			t.Errorf("%s: %d bytes are left reserved", name, n)
		}
		if passed && w.changes != 0 {
			t.Errorf("%s: the read deadline of the server is changed", name)
		}
	}
}

type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }
