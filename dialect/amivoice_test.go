package dialect_test

import (
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
	t.Parallel()
	if diff := cmp.Diff([]string{"amivoice", "assemblyai", "deepgram", "openai", "speechmatics"}, dialect.Names()); diff != "" {
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

// amiListed are all operations of the protocol.
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
	t.Parallel()
	for _, want := range amiListed {
		t.Run(want.method+" "+want.path, func(t *testing.T) {
			t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
		if listed.op != policy.ReadJob { // a dot can be a part of a job ID
			paths = append(paths, p+".", p+"~", p+"_", p+"-")
		}
	}
	tried := 0
	for _, path := range paths {
		if slices.ContainsFunc(amiListed, func(l listedCall) bool { return l.path == path }) {
			continue // there was nothing to replace
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
	t.Parallel()
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
			t.Parallel()
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
		t.Parallel()
		const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~"
		for c := range 256 {
			id := "a" + string([]byte{byte(c)}) + "b"
			if got, want := dialect.ValidJobID(id), strings.Contains(unreserved, string([]byte{byte(c)})); got != want {
				t.Errorf("byte %#x: %v, want %v", c, got, want)
			}
		}
	})
}

func TestR19_OnlyTheExactPathIsListed(t *testing.T) {
	t.Parallel()
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
			// The route and the ID make the same path again, byte for byte.
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
	t.Parallel()
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
	t.Parallel()
	form := []dialect.Place{
		{Location: dialect.Query, Name: "u"},
		{Location: dialect.Query, Name: "d", SubKey: "authorization"},
		{Location: dialect.Part, Name: "u"},
		{Location: dialect.Part, Name: "d", SubKey: "authorization"},
	}
	bearer := []dialect.Place{{Location: dialect.Header, Name: "Authorization", Scheme: "Bearer"}}
	upload := slices.Concat(form, bearer)
	for _, l := range amiListed {
		route := dialect.AmiVoice.Classify(l.method, l.path).Route
		var keys []dialect.Place
		switch l.op {
		case policy.Recognize, policy.CreateJob:
			keys = upload
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
	if diff := cmp.Diff(upload, dialect.AmiVoice.Places); diff != "" {
		t.Errorf("places of the API (-want +got):\n%s", diff)
	}
}

// The answers of the vendor's manual, byte for byte. The manual does not say the bodies
// of the polls' errors and of 5xx, so these are this project's choice.
const (
	recognitionDenied      = `{"results":[{"tokens":[],"tags":[],"rulename":"","text":""}],"text":"","code":"-","message":"received illegal service authorization"}` + "\r\n"
	recognitionUnavailable = `{"results":[{"tokens":[],"tags":[],"rulename":"","text":""}],"text":"","code":"?","message":"service temporarily unavailable"}` + "\r\n"
	recognitionGateway     = `{"results":[{"tokens":[],"tags":[],"rulename":"","text":""}],"text":"","code":"!","message":"can't connect to recognizer server"}` + "\r\n"
	recognitionUnreadable  = `{"results":[{"tokens":[],"tags":[],"rulename":"","text":""}],"text":"","code":"?","message":"received unreadable request"}` + "\r\n"
	recognitionTooMany     = `{"results":[{"tokens":[],"tags":[],"rulename":"","text":""}],"text":"","code":"?","message":"too many requests"}` + "\r\n"
	plainTooMany           = `{"message":"too many requests"}`
	plainUnreadable        = `{"message":"received unreadable request"}`
	pollDenied             = `{"message":"received illegal service authorization"}`
	pollNotFound           = `{"message":"not found"}`
	plainUnavailable       = `{"message":"service temporarily unavailable"}`
	plainGateway           = `{"message":"can't connect to recognizer server"}`
)

func TestPlaces_HeadersAreSpelledAsRequestsHaveThem(t *testing.T) {
	t.Parallel()
	for _, name := range dialect.Names() {
		api, _ := dialect.ByName(name)
		places := slices.Clone(api.Places)
		for _, route := range api.Routes {
			places = append(places, route.Keys...)
		}
		for _, place := range places {
			if place.Location == dialect.Header && place.Name != http.CanonicalHeaderKey(place.Name) {
				t.Errorf("%s: header %s would never be found: want %s", name, place.Name, http.CanonicalHeaderKey(place.Name))
			}
		}
	}
}

// Package credential compares a part's name with names in lower case.
func TestPlaces_PartsHaveNamesInLowerCase(t *testing.T) {
	t.Parallel()
	for _, name := range dialect.Names() {
		api, _ := dialect.ByName(name)
		names := []string{api.Audio}
		for _, place := range api.Places {
			if place.Location == dialect.Part {
				names = append(names, place.Name)
			}
		}
		for _, part := range names {
			if part != strings.ToLower(part) {
				t.Errorf("%s: the part %s has a name that is not in lower case", name, part)
			}
		}
	}
}

// An API can have a path that goes on after the job.
func TestR19_APathCanGoOnAfterTheJob(t *testing.T) {
	t.Parallel()
	api := &dialect.API{Routes: []dialect.Route{{Method: "GET", Path: "/jobs/{job}/result", Operation: policy.ReadJob}}}
	for path, job := range map[string]string{
		"/jobs/a/result": "a", "/jobs/result/result": "result", "/jobs/0123456789/result": "0123456789",
		"/jobs/result": "", "/jobs/abcdefghijklmnop": "", "/jobs//result": "", "/jobs/a": "", "/jobs/a/": "", "/jobs/a/other": "", "/jobs/a/b/result": "", "/jobs/a/resultx": "", "/other/a/result": "",
	} {
		call := api.Classify("GET", path)
		if call.JobID != job || (call.Route != nil) != (job != "") {
			t.Errorf("%s is the job %q, route %v", path, call.JobID, call.Route)
		}
		if methods := api.Methods(path); (len(methods) == 1) != (job != "") {
			t.Errorf("%s has the methods %q", path, methods)
		}
	}
	if paths := api.Paths(); len(paths) != 1 || paths[0] != "/jobs/job/result" {
		t.Errorf("the paths are %q", paths)
	}
}
