package manage

import (
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/issuance"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func TestManager_ExplainSaysWhichRuleDecides(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	account := newAccount(t, m, "One")
	key := newKey(t, m, NewKey{AccountID: account.ID, Expires: "1h", Allow: []string{"192.0.2.0/24"}})
	issuer := newKey(t, m, NewKey{AccountID: account.ID, Issuable: true})
	job := policy.Job{ID: "j", Backend: "amivoice", Dialect: "amivoice", AccountID: account.ID, KeyID: key.ID, CreatedAt: noon}
	if err := m.Store.CreateJob(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	later := noon.Add(90 * time.Minute).String()
	for name, test := range map[string]struct {
		change func(*ExplainRequest)
		rule   string // the rule that refuses; empty if the request is allowed
		reason policy.Reason
		status int
	}{
		"a good key":          {func(*ExplainRequest) {}, "", policy.Allowed, 0},
		"the key itself":      {func(r *ExplainRequest) { r.KeyID, r.Key = "", key.Secret.Secret }, "", policy.Allowed, 0},
		"another address":     {func(r *ExplainRequest) { r.ClientIP = "10.0.0.1" }, "address", policy.AddressRefused, 200},
		"an IPv4 in IPv6":     {func(r *ExplainRequest) { r.ClientIP = "::ffff:192.0.2.7" }, "", policy.Allowed, 0},
		"a later instant":     {func(r *ExplainRequest) { r.At = later }, "expiry", policy.KeyExpired, 200},
		"grace, the longest":  {func(r *ExplainRequest) { r.At, r.Method, r.Path = later, "GET", "/v2/recognitions/j" }, "", policy.AllowedByGrace, 0},
		"a backend of no job": {func(r *ExplainRequest) { r.Backend, r.Method, r.Path = "none", "GET", "/v2/recognitions/j" }, "job", policy.JobUnknown, 404},
		"no key":              {func(r *ExplainRequest) { r.KeyID = "" }, "credential", policy.CredentialMissing, 200},
		"a mistyped key":      {func(r *ExplainRequest) { r.KeyID, r.Key = "", policy.NewSecret("sgk_mistyped") }, "credential", policy.CredentialMalformed, 200},
		"an unknown key":      {func(r *ExplainRequest) { r.KeyID, r.Key = "", policy.NewSecret("the-key-of-somebody") }, "key", policy.KeyUnknown, 200},
		"no operation":        {func(r *ExplainRequest) { r.Path = "/nowhere" }, "operation", policy.OperationUnlisted, 404},
		"a stream":            {func(r *ExplainRequest) { r.Method, r.Path, r.ClientIP = "GET", "/v1/", "10.0.0.1" }, "address", policy.AddressRefused, 101},
		"an issuance call":    {func(r *ExplainRequest) { r.KeyID, r.Path = issuer.ID, "/issue" }, "", policy.Allowed, 0},
		"no issuance right":   {func(r *ExplainRequest) { r.Path = "/issue" }, "issuance", policy.NoIssuanceRight, 403},
		"not a POST":          {func(r *ExplainRequest) { r.Method, r.Path = "GET", "/issue" }, "operation", policy.OperationUnlisted, 405},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := ExplainRequest{KeyID: key.ID, ClientIP: "192.0.2.7", Method: "POST", Path: "/v1/recognize", Dialect: "amivoice", Backend: "amivoice"}
			test.change(&r)
			e := must(m.Explain(t.Context(), r))(t)
			if e.Reason != test.reason.String() || e.Allowed != (test.rule == "") || (e.Answer == nil) != e.Allowed {
				t.Fatalf("got %+v", e)
			}
			if !e.Allowed && e.Answer.Status != test.status {
				t.Errorf("the client sees %d, want %d", e.Answer.Status, test.status)
			}
			checkRules(t, e, test.rule)
			if text := string(must(json.Marshal(e))(t)); strings.Contains(text, "sgk_") {
				t.Errorf("the explanation shows the key: %s", text)
			}
		})
	}
}

// The client of a stream sees a message and a Close frame if its API refuses on the stream, and the answer
// to the handshake if its API refuses there.
func TestManager_ExplainSaysHowAStreamIsRefused(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	m.Gates = GateConfigs{Fallback: func(name, backend string) GateConfig {
		api, _ := dialect.ByName(name)
		return GateConfig{Dialect: name, Backend: backend, Classify: func(method string, path *url.URL) (dialect.Call, string) {
			return api.Classify(method, path.EscapedPath()), ""
		}}
	}}
	account := newAccount(t, m, "One")
	key := newKey(t, m, NewKey{AccountID: account.ID, Allow: []string{"192.0.2.0/24"}})
	for name, test := range map[string]struct {
		dialect, path, ip string
		want              Refusal // without its body
		body              string  // a part of it; empty if the request is allowed
	}{
		"openai":             {"openai", "/v1/realtime", "10.0.0.1", Refusal{Status: 101, CloseCode: 3000, CloseReason: "invalid_request_error"}, `"code":"ip_not_authorized"`},
		"openai, allowed":    {"openai", "/v1/realtime", "192.0.2.7", Refusal{}, ""},
		"deepgram":           {"deepgram", "/v1/listen", "10.0.0.1", Refusal{Status: 403}, `"err_code":"INSUFFICIENT_PERMISSIONS"`},
		"deepgram, Flux":     {"deepgram", "/v2/listen", "10.0.0.1", Refusal{Status: 403}, `"err_code":"INSUFFICIENT_PERMISSIONS"`},
		"no stream's path":   {"deepgram", "/v3/listen", "192.0.2.7", Refusal{Status: 404}, `"err_code":"NOT_FOUND"`},
		"not openai's path":  {"openai", "/v1/listen", "192.0.2.7", Refusal{Status: 404}, `"message":"Invalid URL."`},
		"amivoice, no Close": {"amivoice", "/v1/", "10.0.0.1", Refusal{Status: 101}, "s received illegal service authorization"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := must(m.Explain(t.Context(), ExplainRequest{KeyID: key.ID, ClientIP: test.ip, Method: "GET", Path: test.path, Dialect: test.dialect}))(t)
			if e.Allowed != (test.body == "") || e.Allowed && (e.Answer != nil || e.Operation != "stream") {
				t.Fatalf("got %+v", e)
			}
			if e.Allowed {
				return
			}
			got := *e.Answer
			got.Body = ""
			if got != test.want || !strings.Contains(e.Answer.Body, test.body) {
				t.Errorf("the client sees %+v, want %+v with %s", *e.Answer, test.want, test.body)
			}
		})
	}
}

// checkRules wants the rule that refuses, the rules before it not to refuse, and the
// rules after it not to be reached.
func checkRules(t *testing.T, e *Explanation, refuses string) {
	t.Helper()
	refused := false
	for _, r := range e.Rules {
		switch {
		case refused && r.Verdict != "not_reached",
			!refused && (r.Verdict == "refused") != (r.Rule == refuses),
			r.Why.String() == "":
			t.Errorf("the rule %s is %s: %s", r.Rule, r.Verdict, r.Why)
		}
		refused = refused || r.Rule == refuses
	}
	if refused != (refuses != "") {
		t.Errorf("no rule is %q", refuses)
	}
}

// For the holder of an account, keys and jobs of other accounts are unknown.
func TestManager_ExplainHidesOtherAccounts(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	own, foreign := newAccount(t, m, "Own"), newAccount(t, m, "Foreign")
	key := newKey(t, m, NewKey{AccountID: own.ID})
	other := newKey(t, m, NewKey{AccountID: foreign.ID})
	job := policy.Job{ID: "j", Backend: "amivoice", Dialect: "amivoice", AccountID: foreign.ID, KeyID: other.ID, CreatedAt: noon}
	if err := m.Store.CreateJob(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	holder := m.as(keystore.ActorAccount, own.ID)
	ask := func(r ExplainRequest) *Explanation {
		t.Helper()
		r.ClientIP, r.Dialect, r.Backend = "192.0.2.7", "amivoice", "amivoice"
		return must(holder.Explain(t.Context(), r))(t)
	}
	if e := ask(ExplainRequest{Key: other.Secret.Secret, Method: "POST", Path: "/v1/recognize"}); e.Reason != policy.KeyUnknown.String() || e.KeyID != "" || e.AccountID != "" {
		t.Errorf("the secret of a key of another account: %+v", e)
	}
	if e := ask(ExplainRequest{KeyID: key.ID, Method: "GET", Path: "/v2/recognitions/j"}); e.Reason != policy.JobUnknown.String() {
		t.Errorf("a job of another account: %+v", e)
	}
	if _, err := holder.Explain(t.Context(), ExplainRequest{KeyID: other.ID, ClientIP: "192.0.2.7", Method: "POST", Path: "/v1/recognize", Dialect: "amivoice"}); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("the ID of a key of another account: %v", err)
	}
	r := ExplainRequest{KeyID: key.ID, ClientIP: "192.0.2.7", Method: "POST", Path: "/v1/recognize", Dialect: "amivoice", Backend: "amivoice"}
	if _, err := m.as(keystore.ActorKey, key.ID).Explain(t.Context(), r); !errors.Is(err, ErrOperatorOnly) {
		t.Errorf("a key asks: %v", err)
	}
	if e := ask(ExplainRequest{Key: key.Secret.Secret, Method: "POST", Path: "/v1/recognize"}); !e.Allowed || e.KeyID != OrNull(key.ID) {
		t.Errorf("the own key: %+v", e)
	}
}

// An explanation says for which backend it is, and what is not reached before the key.
func TestManager_ExplainSaysWhatItIsAbout(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	key := newKey(t, m, NewKey{AccountID: newAccount(t, m, "One").ID, Issuable: true})
	for name, test := range map[string]struct {
		method, path                string
		dialect, backend, jobID, op string
	}{
		"a request":        {"POST", "/v1/recognize", "amivoice", "amivoice", "", "recognize"},
		"a poll of a job":  {"GET", "/v2/recognitions/j-1", "amivoice", "amivoice", "j-1", "read_job"},
		"an issuance call": {"POST", "/issue", "", issuance.BackendName, "", "issue_key"},
	} {
		for _, id := range []string{key.ID, ""} {
			e := must(m.Explain(t.Context(), ExplainRequest{KeyID: id, ClientIP: "192.0.2.7", Method: test.method, Path: test.path, Dialect: "amivoice", Backend: "amivoice"}))(t)
			if string(e.Dialect) != test.dialect || e.Backend != test.backend || string(e.JobID) != test.jobID || e.Operation != test.op || string(e.KeyID) != id {
				t.Errorf("%s: %+v", name, e)
			}
			if first := e.Rules[0]; id == "" && (first.Verdict != "ok" || first.Rule == "credential") {
				t.Errorf("%s without a key: the first rule is %+v, want one that is passed without a key", name, first)
			}
		}
	}
}

func TestExplainRequest_NeedsAPathWithoutQuery(t *testing.T) {
	t.Parallel()
	for path, good := range map[string]bool{
		"/": true, "/v1/recognize": true, "/a%2Fb": true,
		"v1": false, "http://a/v1/recognize": false, "/v1?u=x": false, "/v1#x": false, "/%zz": false, "*": false,
	} {
		r := ExplainRequest{ClientIP: "192.0.2.7", Method: "POST", Path: path, Dialect: "amivoice"}
		var wrong *FieldError
		if err := r.Validate(noon); good && err != nil || !good && (!errors.As(err, &wrong) || wrong.Field != "path") {
			t.Errorf("%s: %v", path, err)
		}
	}
}
