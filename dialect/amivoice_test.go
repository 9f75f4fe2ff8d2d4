package dialect_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

const job = "017ac8786c5b0a0504399999"

func TestByName(t *testing.T) {
	if diff := cmp.Diff([]string{"amivoice"}, dialect.Names()); diff != "" {
		t.Errorf("Names (-want +got):\n%s", diff)
	}
	for _, name := range dialect.Names() {
		api, ok := dialect.ByName(name)
		if !ok || api == nil || api.Name != name {
			t.Errorf("ByName(%q) = %v, %v", name, api, ok)
		}
	}
	if api, _ := dialect.ByName("amivoice"); api != dialect.AmiVoice {
		t.Error("ByName gives another AmiVoice")
	}
	for _, name := range []string{"", "AmiVoice", "amivoice ", "openai-next"} {
		if api, ok := dialect.ByName(name); ok || api != nil {
			t.Errorf("ByName(%q) = %v, %v", name, api, ok)
		}
	}
}

type listedCall struct {
	method, path string
	op           policy.Operation
	job          string
}

// amiListed is what the protocol lists, and nothing else.
var amiListed = []listedCall{
	{"POST", "/v1/recognize", policy.Recognize, ""},
	{"POST", "/v1/nolog/recognize", policy.Recognize, ""},
	{"POST", "/v1/recognitions", policy.CreateJob, ""},
	{"POST", "/v2/recognitions", policy.CreateJob, ""},
	{"GET", "/v1/recognitions/" + job, policy.ReadJob, job},
	{"GET", "/v2/recognitions/" + job, policy.ReadJob, job},
	{"GET", "/v1/", policy.Stream, ""},
	{"GET", "/v1/nolog/", policy.Stream, ""},
}

var methods = []string{
	"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "",
	"get", "post", "Get", "Post", "GET ", " POST", "POST\x00",
}

func unlisted(t *testing.T, method, path string) {
	t.Helper()
	if diff := cmp.Diff(dialect.Call{}, dialect.AmiVoice.Classify(method, path)); diff != "" {
		t.Errorf("%s %q is listed:\n%s", method, path, diff)
	}
}

func TestR15_EveryListedOperationIsRead(t *testing.T) {
	for _, want := range amiListed {
		t.Run(want.method+" "+want.path, func(t *testing.T) {
			got := dialect.AmiVoice.Classify(want.method, want.path)
			if got.Operation != want.op || got.JobID != want.job || got.Route == nil {
				t.Fatalf("%+v, want %v of job %q", got, want.op, want.job)
			}
			if got.Route.Operation != want.op || got.Route.Method != want.method {
				t.Errorf("the route is of %s for %v", got.Route.Method, got.Route.Operation)
			}
		})
	}
	if got := len(dialect.AmiVoice.Routes); got != len(amiListed) {
		t.Errorf("%d routes, want %d", got, len(amiListed))
	}
}

func TestR15_EveryOtherMethodIsUnlisted(t *testing.T) {
	for _, want := range amiListed {
		for _, method := range methods {
			if method != want.method {
				unlisted(t, method, want.path)
			}
		}
		if diff := cmp.Diff([]string{want.method}, dialect.AmiVoice.Methods(want.path)); diff != "" {
			t.Errorf("methods of %s (-want +got):\n%s", want.path, diff)
		}
	}
}

func TestR15_EveryOtherPathIsUnlisted(t *testing.T) {
	paths := []string{
		"", "/", "*", "/v1", "/v2", "/v2/", "/v3/recognitions", "/v3/recognitions/" + job, "/issue_service_authorization",
		"/v1/recognizer", "/v1/recognize2", "/v1/recognition", "/v1/nolog", "/v2/recognize", "/v2/nolog/recognize", "/v1/nolog/recognitions",
		"v1/recognize", "v1/", "http://acp-api.amivoice.com/v1/recognize", "//acp-api.amivoice.com/v1/recognize", "/v1/jobs/" + job,
		"/v1/recognitions/" + job + "/segments", "/x/v1/recognize", "/x/v1/recognitions/" + job, "/recognitions/" + job,
		"/v1/recognitions//" + job, "/v1/recognitions/{job}/", "/v1/recognitions/{job}", "/v1/recognitions//",
	}
	for _, listed := range amiListed {
		p := listed.path
		paths = append(paths,
			p+"/", p+"//", p+"/.", p+"/..", p+"/./", p+"/../", p+"%2f", p+"%2F", p+"/%2e", p+"/%2e%2e", p+"%00", p+"%20", p+" ", p+"\x00", p+"\t", p+"\r\n",
			p+";x", p+";jsessionid=1", p+"?", p+"?u=x", p+"#", p+"#f", p+"\\", p+"%5c", p+"%", p+"%zz", p+":", p+"@", p+"&", p+"+", p+"é",
			"/"+p, "/."+p, "/.."+p, "/x/.."+p, "/%2e"+p, "/%2e%2e"+p, "%2f"+p[1:], "/;x"+p, " "+p, "\\"+p[1:],
			strings.Replace(p, "/v", "/V", 1), strings.ToUpper(p), strings.Replace(p, "/v", "/%76", 1),
			strings.Replace(p, "1/", "1//", 1), strings.Replace(p, "1/", "1/./", 1), strings.Replace(p, "1/", "1/x/../", 1), strings.Replace(p, "1/", "1;x/", 1),
			strings.Replace(p, "1/", "1%2f", 1), strings.Replace(p, "1/", "1%2F", 1), strings.Replace(p, "1/", "1/%2e/", 1), strings.Replace(p, "1/", "1\\", 1), strings.Replace(p, "1/", "1%5C", 1),
			strings.Replace(p, "recogni", "%72ecogni", 1), strings.Replace(p, "recogni", "Recogni", 1),
		)
		if listed.op != policy.ReadJob { // there a dot is part of the ID
			paths = append(paths, p+".", p+"~", p+"_", p+"-")
		}
	}
	tried := 0
	for _, path := range paths {
		if slices.ContainsFunc(amiListed, func(l listedCall) bool { return l.path == path }) {
			continue // a replacement that found nothing to replace
		}
		tried++
		for _, method := range methods {
			unlisted(t, method, path)
		}
		if got := dialect.AmiVoice.Methods(path); len(got) != 0 {
			t.Errorf("%q has the methods %q", path, got)
		}
	}
	if tried < 200 {
		t.Errorf("only %d paths were tried", tried)
	}
}

func TestR19_JobIDs(t *testing.T) {
	tests := []struct {
		name, id string
		ok       bool
	}{
		{"the vendor's form", job, true},
		{"one character", "0", true},
		{"128 characters", strings.Repeat("a", 128), true},
		{"every unreserved character", "ABCXYZabcxyz0189-_.~", true},
		{"dots that are no dot segment", "...", true},
		{"a leading dot", ".a", true},
		{"129 characters", strings.Repeat("a", 129), false},
		{"a mebibyte", strings.Repeat("a", 1<<20), false},
		{"nothing", "", false},
		{"the dot segment of this place", ".", false},
		{"the dot segment of the place above", "..", false},
		{"an escape", "%61", false},
		{"an escaped slash", "a%2Fb", false},
		{"an escaped dot segment", "%2e%2e", false},
		{"a slash", "a/b", false},
		{"a trailing slash", "a/", false},
		{"a leading slash", "/a", false},
		{"a path parameter", "a;x", false},
		{"a query", "a?b", false},
		{"a fragment", "a#b", false},
		{"a backslash", `a\b`, false},
		{"a space", "a b", false},
		{"a plus", "a+b", false},
		{"a NUL", "a\x00b", false},
		{"a line's end", "a\r\nb", false},
		{"a letter beyond ASCII", "é", false},
		{"the pattern itself", "{job}", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := dialect.ValidJobID(tt.id); got != tt.ok {
				t.Errorf("ValidJobID is %v, want %v", got, tt.ok)
			}
			for _, version := range []string{"/v1", "/v2"} {
				call := dialect.AmiVoice.Classify("GET", version+"/recognitions/"+tt.id)
				if tt.ok && (call.Operation != policy.ReadJob || call.JobID != tt.id) {
					t.Errorf("%s: %v of job %q", version, call.Operation, call.JobID)
				}
				if !tt.ok && (call != dialect.Call{}) {
					t.Errorf("%s: %v of job %q, want unlisted", version, call.Operation, call.JobID)
				}
			}
		})
	}
	t.Run("every byte is either unreserved or refused", func(t *testing.T) {
		const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~"
		for c := range 256 {
			id := "a" + string([]byte{byte(c)}) + "b"
			if got, want := dialect.ValidJobID(id), strings.Contains(unreserved, string([]byte{byte(c)})); got != want {
				t.Errorf("byte %#x: %v, want %v", c, got, want)
			}
		}
	})
}

func TestR19_WhatIsListedIsThePathItself(t *testing.T) {
	pieces := []string{"/", "v1", "v2", "nolog", "recognize", "recognitions", job, ".", "..", "%2e", "%2F", ";x", "//", "a", "?", "", "é"}
	listed := 0
	rapid.Check(t, func(t *rapid.T) {
		for range 50 {
			path := "/" + strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 1, 7).Draw(t, "pieces"), "")
			method := rapid.SampledFrom([]string{"GET", "POST", "HEAD"}).Draw(t, "method")
			call := dialect.AmiVoice.Classify(method, path)
			if call.Route == nil {
				if (call != dialect.Call{}) {
					t.Fatalf("%s %q: no route, but %+v", method, path, call)
				}
				continue
			}
			listed++
			// The route and the ID give the path back, byte for byte.
			if again := strings.Replace(call.Route.Path, "{job}", call.JobID, 1); again != path || call.Route.Method != method {
				t.Fatalf("%s %q was read as %s %q", method, path, call.Route.Method, again)
			}
			if !slices.Contains(dialect.AmiVoice.Methods(path), method) {
				t.Fatalf("Methods(%q) lacks %s", path, method)
			}
		}
	})
	if listed == 0 {
		t.Error("no random path was listed")
	}
}

func TestR15_KnownPathsAreThoseThatABackendCouldTakeForOne(t *testing.T) {
	for path, want := range map[string]bool{
		"/v1/recognize": true, "/v1/recognize/": true, "/V1/Recognize": true, "/v1/recognitions": true, "/v1/recognitions/": true,
		"/v1/recognitions/j": true, "/v1/recognitions/j/": true, "/v1/recognitions/j/more": true, "/V2/recognitions/J": true,
		"/v1": true, "/v1/": true, "/v1/nolog": true, "/v1/nolog/recognize": true,
		"/v1/engines": false, "/": false, "/v3/recognize": false, "/v1/recognize2": false, "/v1/recognitions2": false, "/v1/nolog/x": false,
	} {
		if got := dialect.AmiVoice.Knows(path); got != want {
			t.Errorf("Knows(%q) is %v", path, got)
		}
	}
	for path, want := range map[string]bool{
		"/v1/engines": true, "/v1/engines/": true, "/v1/speech:recognize": true, "/": true, "/a-b_c.d~e": true,
		"": false, "v1": false, "//": false, "/v1//x": false, "/v1/../x": false, "/./x": false, "/v1/*": false, "/a%2fb": false, "/a b": false, "/a;b": false, "/a\\b": false,
	} {
		if got := dialect.CleanPath(path); got != want {
			t.Errorf("CleanPath(%q) is %v", path, got)
		}
	}
}

func TestR1_WhereEachOperationsKeyIs(t *testing.T) {
	form := []dialect.Place{
		{In: dialect.Query, Name: "u"},
		{In: dialect.Query, Name: "d", Pair: "authorization"},
		{In: dialect.Part, Name: "u"},
		{In: dialect.Part, Name: "d", Pair: "authorization"},
	}
	bearer := []dialect.Place{{In: dialect.Header, Name: "Authorization", Scheme: "Bearer"}}
	for _, l := range amiListed {
		route := dialect.AmiVoice.Classify(l.method, l.path).Route
		var keys []dialect.Place
		switch l.op {
		case policy.Recognize, policy.CreateJob:
			keys = form
		case policy.ReadJob:
			keys = bearer
		}
		if diff := cmp.Diff(keys, route.Keys); diff != "" {
			t.Errorf("%s %s: keys (-want +got):\n%s", l.method, l.path, diff)
		}
		for _, place := range route.Keys {
			if !slices.Contains(dialect.AmiVoice.Places, place) {
				t.Errorf("%s %s: place %+v is not among the API's, so its key would go upstream", l.method, l.path, place)
			}
		}
	}
	if diff := cmp.Diff(append(form, bearer...), dialect.AmiVoice.Places); diff != "" {
		t.Errorf("places of the API (-want +got):\n%s", diff)
	}
	for in, want := range map[dialect.In][]dialect.Place{
		dialect.Query: form[:2], dialect.Part: form[2:4], dialect.Header: bearer, dialect.In(0): nil, dialect.In(9): nil,
	} {
		if diff := cmp.Diff(want, dialect.AmiVoice.PlacesIn(in)); diff != "" {
			t.Errorf("PlacesIn(%d) (-want +got):\n%s", in, diff)
		}
	}
}

// The answers of amivoice-protocol.md, byte for byte. What it leaves open (the
// bodies of the polls' errors and of 5xx) is pinned here as it was chosen.
const (
	recognitionDenied      = `{"results":[{"tokens":[],"tags":[],"rulename":"","text":""}],"text":"","code":"-","message":"received illegal service authorization"}` + "\r\n"
	recognitionUnavailable = `{"results":[{"tokens":[],"tags":[],"rulename":"","text":""}],"text":"","code":"?","message":"service temporarily unavailable"}` + "\r\n"
	recognitionGateway     = `{"results":[{"tokens":[],"tags":[],"rulename":"","text":""}],"text":"","code":"!","message":"can't connect to recognizer server"}` + "\r\n"
	pollDenied             = `{"message":"received illegal service authorization"}`
	pollNotFound           = `{"message":"not found"}`
	plainUnavailable       = `{"message":"service temporarily unavailable"}`
	plainGateway           = `{"message":"can't connect to recognizer server"}`
)

// calls are one call of every operation, by a name for the tests.
func calls() map[string]dialect.Call {
	all := map[string]dialect.Call{"an unlisted call": dialect.AmiVoice.Classify("DELETE", "/v1/recognitions/"+job)}
	for _, l := range amiListed {
		all[l.method+" "+l.path] = dialect.AmiVoice.Classify(l.method, l.path)
	}
	return all
}

func refusals() []policy.Reason {
	return slices.DeleteFunc(policy.Reasons(), policy.Reason.OK)
}

func wantAnswer(op policy.Operation, reason policy.Reason) dialect.Answer {
	upload := op == policy.Recognize || op == policy.CreateJob
	switch {
	case reason == policy.EarlyData:
		return dialect.Answer{Status: http.StatusTooEarly, Body: `{}`}
	case reason == policy.OperationUnlisted:
		return dialect.Answer{Status: http.StatusNotFound, Body: `{}`}
	case reason == policy.StoreUnavailable && upload:
		return dialect.Answer{Status: http.StatusServiceUnavailable, Body: recognitionUnavailable, Session: true, RetryAfter: 5}
	case reason == policy.StoreUnavailable:
		return dialect.Answer{Status: http.StatusServiceUnavailable, Body: plainUnavailable, RetryAfter: 5}
	case upload:
		return dialect.Answer{Status: http.StatusOK, Body: recognitionDenied, Session: true}
	case op == policy.ReadJob && (reason == policy.JobUnknown || reason == policy.JobForeign):
		return dialect.Answer{Status: http.StatusNotFound, Body: pollNotFound}
	case op == policy.ReadJob:
		return dialect.Answer{Status: http.StatusUnauthorized, Body: pollDenied}
	}
	return dialect.Answer{Status: http.StatusNotFound, Body: `{}`}
}

func TestR16_RefusalsLookLikeTheBackends(t *testing.T) {
	for name, call := range calls() {
		for _, reason := range refusals() {
			t.Run(fmt.Sprintf("%s refused for %v", name, reason), func(t *testing.T) {
				if diff := cmp.Diff(wantAnswer(call.Operation, reason), dialect.AmiVoice.Refusal(call, reason)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
	if dialect.AmiVoice.SessionHeader != "X-Session-ID" {
		t.Errorf("the session header is spelled %q", dialect.AmiVoice.SessionHeader)
	}
}

func TestR16_ClientsAreNotToldWhichRuleRefused(t *testing.T) {
	alike := []policy.Reason{
		policy.CredentialMissing, policy.CredentialAmbiguous, policy.CredentialMalformed, policy.KeyUnknown, policy.KeyExpired,
		policy.KeyDeleted, policy.KeyRevoked, policy.AccountClosed, policy.AddressRefused, policy.AddressUnknown,
	}
	for name, call := range calls() {
		for _, reason := range alike[1:] {
			if diff := cmp.Diff(dialect.AmiVoice.Refusal(call, alike[0]), dialect.AmiVoice.Refusal(call, reason)); diff != "" {
				t.Errorf("%s: %v and %v can be told apart:\n%s", name, alike[0], reason, diff)
			}
		}
	}
}

func TestR16_NoAnswerGivesItsReasonAway(t *testing.T) {
	for name, call := range calls() {
		for _, reason := range refusals() {
			answer := dialect.AmiVoice.Refusal(call, reason)
			if strings.Contains(answer.Body, reason.String()) || strings.Contains(strings.ToLower(answer.Body), "speechgate") {
				t.Errorf("%s, %v: body %s", name, reason, answer.Body)
			}
		}
	}
}

func TestR11_AForeignJobAnswersLikeAnUnknownOne(t *testing.T) {
	for name, call := range calls() {
		if diff := cmp.Diff(dialect.AmiVoice.Refusal(call, policy.JobUnknown), dialect.AmiVoice.Refusal(call, policy.JobForeign)); diff != "" {
			t.Errorf("%s (-unknown +foreign):\n%s", name, diff)
		}
	}
}

func TestR17_AStoreFaultIs503WithRetryAfter(t *testing.T) {
	for name, call := range calls() {
		answer := dialect.AmiVoice.Refusal(call, policy.StoreUnavailable)
		if answer.Status != http.StatusServiceUnavailable || answer.RetryAfter <= 0 {
			t.Errorf("%s: %+v", name, answer)
		}
		if strings.Contains(answer.Body, "authorization") {
			t.Errorf("%s: blames the key: %s", name, answer.Body)
		}
	}
}

func TestR18_TheGatewayErrorIsTheDialects(t *testing.T) {
	for name, call := range calls() {
		want := dialect.Answer{Status: http.StatusBadGateway, Body: plainGateway}
		if call.Operation == policy.Recognize || call.Operation == policy.CreateJob {
			want = dialect.Answer{Status: http.StatusBadGateway, Body: recognitionGateway, Session: true}
		}
		if diff := cmp.Diff(want, dialect.AmiVoice.GatewayError(call)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestR16_EveryDialectsAnswersAreWellFormed holds for dialects to come, too.
func TestR16_EveryDialectsAnswersAreWellFormed(t *testing.T) {
	for _, name := range dialect.Names() {
		api, _ := dialect.ByName(name)
		all := []dialect.Call{{}}
		for i := range api.Routes {
			all = append(all, dialect.Call{Operation: api.Routes[i].Operation, Route: &api.Routes[i], JobID: job})
		}
		for _, call := range all {
			answers := map[string]dialect.Answer{"gateway error": api.GatewayError(call)}
			for _, reason := range append(refusals(), policy.Undecided, policy.Reason(200)) {
				answers[reason.String()] = api.Refusal(call, reason)
			}
			for what, a := range answers {
				if !json.Valid([]byte(a.Body)) {
					t.Errorf("%s, %v, %s: body is no JSON: %q", name, call.Operation, what, a.Body)
				}
				if http.StatusText(a.Status) == "" {
					t.Errorf("%s, %v, %s: status %d", name, call.Operation, what, a.Status)
				}
				if a.Session && api.SessionHeader == "" {
					t.Errorf("%s, %v, %s: wants a session, but the API has no header for it", name, call.Operation, what)
				}
				if (a.RetryAfter > 0) != (a.Status == http.StatusServiceUnavailable || a.Status == http.StatusTooManyRequests) {
					t.Errorf("%s, %v, %s: status %d with Retry-After %d", name, call.Operation, what, a.Status, a.RetryAfter)
				}
			}
		}
	}
}

func TestR12_TheJobStatesOfThePolls(t *testing.T) {
	want := map[string]policy.JobState{
		"queued": policy.JobQueued, "started": policy.JobStarted, "processing": policy.JobProcessing,
		"completed": policy.JobCompleted, "error": policy.JobFailed,
	}
	if diff := cmp.Diff(dialect.Jobs{ID: "sessionid", State: "status", States: want}, dialect.AmiVoice.Jobs); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := dialect.AmiVoice.Jobs.States["cancelled"]; got != policy.JobUnseen {
		t.Errorf("a word that the API does not know is %v", got)
	}
}

func TestR15_WhatABrowserMaySend(t *testing.T) {
	if diff := cmp.Diff([]string{"Authorization", "Content-Type"}, dialect.AmiVoice.RequestHeaders); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestClassify_allocatesNothing(t *testing.T) {
	for _, l := range amiListed {
		if n := testing.AllocsPerRun(200, func() { sink = dialect.AmiVoice.Classify(l.method, l.path) }); n != 0 {
			t.Errorf("%s %s: %v allocations", l.method, l.path, n)
		}
	}
}

var sink dialect.Call

func BenchmarkClassify(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		sink = dialect.AmiVoice.Classify("GET", "/v2/recognitions/"+job)
	}
}
