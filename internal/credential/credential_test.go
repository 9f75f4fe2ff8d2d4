package credential

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

// Details that many faults have.
const (
	noKey       = "the request has no key: want it in "
	noKeyInForm = "the form has no key before the part a, and none is read from there on"
	twoKeys     = "two keys that differ"
	notVisible  = "the key has a space, a control character or a character that is not ASCII"
	otherScheme = "the header Authorization has another scheme than "
)

const (
	clientKey   = "CLIENTKEY0123456789+/="
	otherKey    = "OTHERKEY9876543210"
	upstreamKey = "UPSTREAM/KEY+with=all&of;it%20\"<>"
	testMaxHead = 64 << 10
)

var (
	api       = dialect.AmiVoice
	drop      = Upstream{Mode: Drop}
	pass      = Upstream{Mode: Pass}
	replace   = ReplaceWith(policy.NewSecret(upstreamKey))
	upstreams = map[string]Upstream{"drop": drop, "pass": pass, "replace": replace}
)

// tester is what testing.T and rapid.T have in common.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
}

// upload returns a recognition request. The query may be broken.
func upload(query, contentType, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/v1/recognize", strings.NewReader(body))
	r.URL.RawQuery = query
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

func poll(query string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/v1/recognitions/job1", nil)
	r.URL.RawQuery = query
	return r
}

// find makes the calls that a gate makes, up to Key.
func find(t tester, r *http.Request, maxHead int) (*Found, policy.Secret, *Fault) {
	t.Helper()
	f := Scan(r, api, api.Classify(r.Method, r.URL.EscapedPath()).Route)
	if f.NeedsForm() {
		if err := f.ReadForm(nil, r, maxHead, nil); err != nil {
			t.Fatalf("ReadForm: %v", err)
		}
	}
	secret, fault := f.Key()
	return &f, secret, fault
}

// accept expects the client's key, and rewrites it.
func accept(t tester, r *http.Request, up Upstream) {
	t.Helper()
	f, secret, fault := find(t, r, testMaxHead)
	if fault != nil {
		t.Fatalf("refused: %v", fault)
	}
	if secret.Reveal() != clientKey {
		t.Fatalf("found the key %q, want %q", secret.Reveal(), clientKey)
	}
	f.Rewrite(r, up)
}

// refuse expects a fault with this reason. The detail must begin with detail, so that no
// other rule than the expected one refuses the request, and must quote no key.
func refuse(t tester, r *http.Request, want policy.Reason, detail string) {
	t.Helper()
	_, _, fault := find(t, r, testMaxHead)
	if fault == nil {
		t.Fatalf("accepted, want %v: %s", want, detail)
	}
	if fault.Reason != want || detail == "" || !strings.HasPrefix(fault.Detail, detail) {
		t.Fatalf("refused as %v, want %v: %s", fault, want, detail)
	}
	for _, key := range []string{clientKey, otherKey} {
		if strings.Contains(fault.Error(), key) {
			t.Fatalf("the fault quotes a key: %v", fault)
		}
	}
}

func readBody(t tester, r *http.Request) string {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatalf("reading the body: %v", err)
	}
	return string(body)
}

func TestR1_ABearerKeyAuthenticatesAPoll(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		values []string
		want   policy.Reason // Undecided if the key is found
		detail string
	}{
		{"as it should be", []string{"Bearer " + clientKey}, policy.Undecided, ""},
		{"in small letters", []string{"bearer " + clientKey}, policy.Undecided, ""},
		{"in capitals", []string{"BEARER " + clientKey}, policy.Undecided, ""},
		{"behind two spaces", []string{"Bearer  " + clientKey}, policy.Undecided, ""},
		{"twice the same", []string{"Bearer " + clientKey, "bearer " + clientKey}, policy.Undecided, ""},
		{"once empty", []string{"", "Bearer " + clientKey}, policy.Undecided, ""},
		{"no header", nil, policy.CredentialMissing, noKey},
		{"an empty header", []string{""}, policy.CredentialMissing, noKey},
		{"the scheme alone", []string{"Bearer"}, policy.CredentialMissing, noKey},
		{"the scheme and a space", []string{"Bearer "}, policy.CredentialMissing, noKey},
		{"another scheme", []string{"Basic " + clientKey}, policy.CredentialMalformed, otherScheme + "Bearer"},
		{"a tab behind the scheme", []string{"Bearer\t" + clientKey}, policy.CredentialMalformed, notVisible},
		{"two keys in a list", []string{"Bearer " + clientKey + ", Bearer " + otherKey}, policy.CredentialMalformed, notVisible},
		{"twice, different", []string{"Bearer " + clientKey, "Bearer " + otherKey}, policy.CredentialAmbiguous, twoKeys},
		{"two schemes", []string{"Bearer " + clientKey, "Basic " + clientKey}, policy.CredentialAmbiguous, twoKeys},
		{"too long", []string{"Bearer " + strings.Repeat("x", policy.MaxSecretLen+1)}, policy.CredentialMalformed, "the key is longer than "},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			request := func() *http.Request {
				r := poll("")
				r.Header["Authorization"] = test.values
				return r
			}
			if test.want != policy.Undecided {
				refuse(t, request(), test.want, test.detail)
				return
			}
			r := request()
			accept(t, r, replace)
			if got := r.Header.Values("Authorization"); len(got) != 1 || got[0] != "Bearer "+upstreamKey {
				t.Errorf("Authorization went upstream as %q", got)
			}
			r = request()
			accept(t, r, drop)
			if got := r.Header.Values("Authorization"); len(got) != 0 {
				t.Errorf("Authorization was not dropped: %q", got)
			}
			r = request()
			accept(t, r, pass)
			if got := r.Header.Values("Authorization"); len(got) != len(test.values) {
				t.Errorf("Authorization did not pass: %q", got)
			}
		})
	}
}

func TestR1_AKeyInAnUnreadPlaceCountsAndIsRemoved(t *testing.T) {
	t.Parallel()
	for mode, up := range upstreams {
		t.Run("the query on a poll, "+mode, func(t *testing.T) {
			t.Parallel()
			r := poll("x=1&u=CLIENTKEY0123456789%2B%2F%3D&y=2&d=a+authorization%3DCLIENTKEY0123456789%252B%252F%253D")
			r.Header.Set("Authorization", "Bearer "+clientKey)
			accept(t, r, up)
			if r.URL.RawQuery != "x=1&y=2&d=a" {
				t.Errorf("the query went upstream as %q", r.URL.RawQuery)
			}
		})
	}
	t.Run("it authenticates nothing", func(t *testing.T) {
		t.Parallel()
		refuse(t, poll("u="+otherKey), policy.CredentialMissing, "the key is in the query's u, where this operation reads none: ")
	})
	t.Run("it is ambiguous where it differs", func(t *testing.T) {
		t.Parallel()
		r := poll("u=" + otherKey)
		r.Header.Set("Authorization", "Bearer "+clientKey)
		refuse(t, r, policy.CredentialAmbiguous, twoKeys)
		r = upload("u="+otherKey, "audio/wav", "RIFF")
		r.Header.Set("Authorization", "Bearer "+clientKey)
		refuse(t, r, policy.CredentialAmbiguous, twoKeys)
		r = upload("u="+otherKey, "audio/wav", "RIFF")
		r.Header.Set("Authorization", "Basic Og==")
		refuse(t, r, policy.CredentialAmbiguous, twoKeys)
	})
}

func TestR1_TheBodyOfARequestThatIsRefusedAnywayIsNotRead(t *testing.T) {
	t.Parallel()
	for query, read := range map[string]bool{"": true, "u=" + escaped: true, "u=" + escaped + "&u=" + otherKey: false, "U=" + escaped: false} {
		r := upload(query, formType, uPart+aPart+end)
		f := Scan(r, api, api.Classify(r.Method, r.URL.Path).Route)
		if f.NeedsForm() != read || f.FormMayHoldKey() != read {
			t.Errorf("%q: the form is needed: %t, and may hold a key: %t, want %t", query, f.NeedsForm(), f.FormMayHoldKey(), read)
		}
	}
}

func TestR1_WithoutARouteEveryPlaceAuthenticates(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodPost, "/other", nil)
	r.Header.Set("Authorization", "Bearer "+clientKey)
	f := Scan(r, api, nil)
	if f.NeedsForm() {
		t.Error("an operation without audio needs no form")
	}
	if secret, fault := f.Key(); fault != nil || secret.Reveal() != clientKey {
		t.Errorf("Credential() = %q, %v", secret.Reveal(), fault)
	}
}
