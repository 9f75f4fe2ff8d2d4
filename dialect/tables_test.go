package dialect_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

// The tests of this file hold for every dialect, also for future ones.

// facts have characters that JSON escapes.
var facts = dialect.Facts{RequestID: "0123456789abcdef", Time: time.Date(2026, 11, 28, 9, 30, 0, 123, time.FixedZone("JST", 9*3600)), Path: `/v1/"\models`}

// placeholder finds what Fill should have replaced.
var placeholder = regexp.MustCompile(`\{[a-z_]+\}`)

// reasons are all reasons, and one that does not exist.
func reasons() []policy.Reason { return append(refusals(), policy.Undecided, policy.Reason(200)) }

// eachAPI calls use for every dialect.
func eachAPI(t *testing.T, use func(t *testing.T, api *dialect.API)) {
	t.Helper()
	for _, name := range dialect.Names() {
		api, _ := dialect.ByName(name)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			use(t, api)
		})
	}
}

func TestR16_EveryAnswerIsFilled(t *testing.T) {
	t.Parallel()
	eachAPI(t, func(t *testing.T, api *dialect.API) {
		calls := []dialect.Call{{}}
		for i := range api.Routes {
			calls = append(calls, dialect.Call{Operation: api.Routes[i].Operation, Route: &api.Routes[i], JobID: job})
		}
		for _, call := range calls {
			answers := map[string]dialect.Answer{"gateway error": api.GatewayError(call)}
			for _, reason := range reasons() {
				answers[reason.String()] = api.Refusal(call, reason)
			}
			for what, template := range answers {
				a := template.Fill(func() dialect.Facts { return facts })
				if !json.Valid([]byte(a.Body)) || placeholder.MatchString(a.Body) {
					t.Errorf("%v, %s: the body is %q", call.Operation, what, a.Body)
				}
				// AmiVoice answers refused recognitions with 200.
				if a.Status < 400 && (a.Status != http.StatusOK || api != dialect.AmiVoice) {
					t.Errorf("%v, %s: status %d", call.Operation, what, a.Status)
				}
				// Libraries ignore a Retry-After above 60, or wait for all of it.
				if a.RetryAfter < 0 || a.RetryAfter > 60 {
					t.Errorf("%v, %s: Retry-After %d", call.Operation, what, a.RetryAfter)
				}
				for _, field := range a.Header {
					if field.Name != http.CanonicalHeaderKey(field.Name) || field.Value == "" || strings.ContainsAny(field.Value, "\r\n") || placeholder.MatchString(field.Value) {
						t.Errorf("%v, %s: the header field %+v", call.Operation, what, field)
					}
				}
				if template.Template != (a.Body != template.Body || !slices.Equal(a.Header, template.Header)) {
					t.Errorf("%v, %s: Template is %v, and Fill makes %q, %v of %q, %v", call.Operation, what, template.Template, a.Body, a.Header, template.Body, template.Header)
				}
			}
		}
	})
}

func TestR16_PlaceholdersAreFilledAsJSON(t *testing.T) {
	t.Parallel()
	a := dialect.Answer{
		Status: 401, Template: true, Body: `{"id":"{request_id}","at":"{time}","path":"{path}"}`,
		Header: []dialect.Field{{Name: "X-Id", Value: "req_{request_id}"}},
	}
	got := a.Fill(func() dialect.Facts { return facts })
	var body struct{ ID, At, Path string }
	if err := json.Unmarshal([]byte(got.Body), &body); err != nil || body.ID != facts.RequestID || body.At != "2026-11-28T00:30:00.000000123Z" || body.Path != facts.Path {
		t.Errorf("%q: %+v, %v", got.Body, body, err)
	}
	if got.Header[0].Value != "req_0123456789abcdef" || a.Header[0].Value != "req_{request_id}" {
		t.Errorf("the header is %v, and the template %v", got.Header, a.Header)
	}
	a.Template = false
	if got := a.Fill(func() dialect.Facts { t.Error("an answer without placeholders asks for facts"); return facts }); got.Body != a.Body {
		t.Errorf("%q", got.Body)
	}
}

func TestEveryRouteIsComplete(t *testing.T) {
	t.Parallel()
	eachAPI(t, func(t *testing.T, api *dialect.API) {
		for i := range api.Routes {
			route := &api.Routes[i]
			name := route.Method + " " + route.Path
			if route.Refusals == nil {
				t.Fatalf("%s has no Refusals", name)
			}
			inCommands := route.Stream != nil && route.Stream.Commands != nil
			if (len(route.Keys) == 0) != inCommands {
				t.Errorf("%s reads its key from %v, and its stream is %+v", name, route.Keys, route.Stream)
			}
			if (route.Operation == policy.Stream) != (route.Stream != nil) || route.Stream != nil && inCommands == (route.Stream.Handshake != nil) {
				t.Errorf("%s: the operation is %v, and the stream %+v", name, route.Operation, route.Stream)
			}
			if up := route.UpstreamKey; up != nil && (up.Location != dialect.Header || up.Takes == dialect.TokensOnly || !slices.Contains(api.Places, *up)) {
				t.Errorf("%s: the upstream key cannot go to %+v", name, *up)
			}
			if mint := route.Mint; route.Operation == policy.Mint && mint == nil || mint != nil && !canMint(route) {
				t.Errorf("%s: the operation is %v, and the token is at %+v", name, route.Operation, mint)
			}
			switch jobs := route.Jobs; route.Operation {
			case policy.CreateJob, policy.ReadJob, policy.DeleteJob, policy.ListJobs:
				if jobs == nil || jobs.ID == nil && !jobs.URL || strings.Contains(jobs.Kind, "/") || (jobs.State == nil) != (len(jobs.States) == 0) {
					t.Errorf("%s: the operation is %v, and the jobs are %+v", name, route.Operation, jobs)
				}
			default:
				if jobs != nil {
					t.Errorf("%s: the operation %v has jobs", name, route.Operation)
				}
			}
			if route.Operation == policy.ListJobs && route.Edits == nil {
				t.Errorf("%s has no Edits, so that a list has the jobs of all accounts", name)
			}
			for _, place := range route.Keys {
				if !slices.Contains(api.Places, place) {
					t.Errorf("%s: the API does not have the place %+v, so its key would go upstream", name, place)
				}
				if place.Location == dialect.Subprotocol && route.UpstreamKey == nil {
					t.Errorf("%s: a key in a subprotocol is removed, and no place gets the upstream key", name)
				}
			}
			if strings.Count(route.Path, "{job}") > 1 || strings.Contains(route.Path, "{name}") && !strings.HasSuffix(route.Path, "/{name}") {
				t.Errorf("%s: the path cannot be matched", name)
			}
		}
	})
}

// canMint reports whether the token can be read from the answer. A client that shows a token gets no new
// one: a stolen token could be renewed without end. The rules refuse this for the operation Mint.
func canMint(route *dialect.Route) bool {
	mint := route.Mint
	switch {
	case mint.Longest <= 0 || route.Operation != policy.Mint && route.Operation != policy.CreateJob:
		return false
	case route.Operation == policy.CreateJob && slices.ContainsFunc(route.Keys, func(p dialect.Place) bool { return p.Takes != dialect.Keys }):
		return false
	case mint.Members == nil:
		return mint.Tokens == 0 && mint.Query == ""
	default:
		return mint.Tokens >= 1 && mint.Tokens <= mint.Members.Len()
	}
}

func TestPlaces_CanBeFound(t *testing.T) {
	t.Parallel()
	eachAPI(t, func(t *testing.T, api *dialect.API) {
		for i, p := range api.Places {
			if p.Location == 0 || (p.Name == "") != (p.Prefix != "") || p.Prefix != "" && p.Location != dialect.Subprotocol || p.Prefix != strings.ToLower(p.Prefix) {
				t.Errorf("no key can be found in %+v", p)
			}
			if (p.Scheme != "" || p.User != "") && p.Location != dialect.Header || p.User != "" && p.Scheme != "Basic" {
				t.Errorf("%+v cannot have a scheme or a user", p)
			}
			if slices.Contains(api.Places[:i], p) {
				t.Errorf("%+v is there twice", p)
			}
			if p.Location != dialect.Header && p.Location != dialect.Subprotocol && p.HeaderName() != "" {
				t.Errorf("%+v is masked in the header %s", p, p.HeaderName())
			}
		}
	})
}

// A client gets the reason of its Close frame in 123 bytes (RFC 6455, section 5.5), and its text as JSON.
func TestR16_EveryStreamEndsInTheFormOfItsAPI(t *testing.T) {
	t.Parallel()
	eachAPI(t, func(t *testing.T, api *dialect.API) {
		for _, route := range api.Routes {
			if route.Stream == nil || route.Stream.Handshake == nil {
				continue
			}
			rules := route.Stream.Handshake
			ends := map[string]dialect.StreamEnd{"a cut": rules.Cut}
			for _, reason := range reasons() {
				ends[reason.String()] = rules.End(reason)
			}
			if !rules.InBand && (len(rules.By) > 0 || len(rules.KeyRefused) > 0) {
				t.Errorf("%s: the backend refuses handshakes, and some reasons end the stream: %v, %q", route.Path, rules.By, rules.KeyRefused)
			}
			for what, end := range ends {
				text := end.Fill(facts).Text
				if len(end.Reason) > 123 || placeholder.MatchString(end.Reason) || placeholder.MatchString(text) {
					t.Errorf("%s, %s: %+v", route.Path, what, end)
				}
				if end.Code < 1000 || end.Code > 4999 || end.Code >= 1004 && end.Code <= 1006 || end.Code == 1011 {
					t.Errorf("%s, %s: clients come back after the code %d, or cannot get it", route.Path, what, end.Code)
				}
				if text == "" && end.Reason == "" || text != "" && !json.Valid([]byte(text)) {
					t.Errorf("%s, %s: the text is %q", route.Path, what, text)
				}
			}
			for _, word := range rules.KeyRefused {
				if !rules.InBand || word == "" || word != strings.ToLower(word) {
					t.Errorf("%s: %q does not tell that a key is refused", route.Path, word)
				}
				if strings.Contains(strings.ToLower(rules.End(policy.UpstreamRefused).Text), word) {
					t.Errorf("%s: the text for the client says of its key what %q says of the upstream key", route.Path, word)
				}
			}
			for _, name := range rules.Subprotocols {
				for _, place := range api.Places {
					if place.Prefix != "" && strings.HasPrefix(name, place.Prefix) {
						t.Errorf("%s: %q can be a key", route.Path, name)
					}
				}
			}
		}
	})
}

func TestR15_EveryRoutesPathIsItsOwn(t *testing.T) {
	t.Parallel()
	eachAPI(t, func(t *testing.T, api *dialect.API) {
		for i, path := range api.Paths() {
			route := &api.Routes[i]
			call := api.Classify(route.Method, path)
			if call.Route != route || call.Operation != route.Operation || (call.JobID != "") != strings.Contains(route.Path, "{job}") {
				t.Errorf("%s %s is classified as %+v", route.Method, path, call)
			}
			if !api.Knows(path) || !api.Knows(strings.ToUpper(path)) || !api.Knows(path+"/") || !slices.Contains(api.Methods(path), route.Method) {
				t.Errorf("%s is not known, or lacks its method: %q", path, api.Methods(path))
			}
			if path != "/" && !dialect.CleanPath(path) {
				t.Errorf("%s can be read in two ways", path)
			}
			for _, other := range []string{path + "/x//y", path + "/..", path + "%2f", "/" + path, path + ";x"} {
				if call := api.Classify(route.Method, other); call.Route != nil {
					t.Errorf("%s %s is an operation: %v", route.Method, other, call.Operation)
				}
			}
		}
	})
}

func TestR19_ANameIsTheLastSegment(t *testing.T) {
	t.Parallel()
	api := &dialect.API{Routes: []dialect.Route{
		{Method: "GET", Path: "/v1/models", Operation: policy.Info},
		{Method: "GET", Path: "/v1/models/{name}", Operation: policy.Info},
		{Method: "GET", Path: "/v1/jobs/{job}/{name}", Operation: policy.ReadJob},
		{Method: "POST", Path: "/v1/jobs/{job}", Operation: policy.ReadJob},
	}}
	for path, want := range map[string]string{
		"/v1/models": "/v1/models", "/v1/models/whisper-1": "/v1/models/{name}", "/v1/models/ft:gpt~4_o.1:org": "/v1/models/{name}",
		"/v1/jobs/j1/srt": "/v1/jobs/{job}/{name}", "/v1/jobs/j1/transcript": "/v1/jobs/{job}/{name}",
		"/v1/models/": "", "/v1/models/a/b": "", "/v1/models/..": "", "/v1/models/.": "", "/v1/models/a%2Fb": "", "/v1/models/a?b": "", "/v1/models/a b": "", "/v1/models/a;b": "", "/v1/models/é": "",
		"/v1/jobs/j1/": "", "/v1/jobs/j1": "", "/v1/jobs//srt": "", "/v1/jobs/a:b/srt": "", "/v1/jobs/../srt": "", "/v1/jobs/j1/a/srt": "", "/v1/jobs/srt": "", "models/a": "", "": "",
	} {
		call := api.Classify("GET", path)
		got := ""
		if call.Route != nil {
			got = call.Route.Path
		}
		if got != want || (call.JobID == "j1") != strings.Contains(want, "{job}") {
			t.Errorf("%q: %q with the job %q, want %q", path, got, call.JobID, want)
		}
	}
	if got := api.Paths(); !slices.Equal(got, []string{"/v1/models", "/v1/models/name", "/v1/jobs/job/name", "/v1/jobs/job"}) {
		t.Errorf("Paths() = %q", got)
	}
	for path, want := range map[string][]string{"/v1/jobs/j1": {"POST"}, "/v1/models/x": {"GET"}, "/v1/models/a/b": nil, "/v1/jobs/j1/srt": {"GET"}} {
		if got := api.Methods(path); !slices.Equal(got, want) {
			t.Errorf("Methods(%q) = %q, want %q", path, got, want)
		}
	}
	for path, want := range map[string]bool{"/V1/Models": true, "/v1/models/": true, "/v1/models/a/b": true, "/v1/jobs": true, "/v1/jobs/j1/srt/more": true, "/v1/model": false, "/v1": false, "/v1/models2": false} {
		if got := api.Knows(path); got != want {
			t.Errorf("Knows(%q) is %v", path, got)
		}
	}
}
