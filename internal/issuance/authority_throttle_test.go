package issuance

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func TestIssue_ThrottlesByTheClientsAddress(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	authority := New(settings)
	wrong := &KeyRequest{serviceID: f.account.ServiceID, password: policy.NewSecret("wrong-password")}
	for range failuresAllowed {
		authority.Issue(t.Context(), start, client, false, f, wrong)
	}
	got := authority.Issue(t.Context(), start+1, client, false, f, wrong)
	if got.Status != http.StatusTooManyRequests || got.RetryAfter != 60 || got.Reason != policy.Throttled || got.Detail != "would be key_unknown" {
		t.Errorf("got %+v", got)
	}
	if got.Text != "Too many calls from your address came without valid credentials: wait 60 seconds. Calls with valid ones are answered all the same." || got.Challenge {
		t.Errorf("got %+v", got)
	}
	if got := authority.Issue(t.Context(), start+1, client, false, f, f.byService("", "")); got.Status != http.StatusOK {
		t.Errorf("the right password gets %+v", got)
	}
	if _, err := f.RevokeKey(t.Context(), start, operator, f.issuer.ID, ""); err != nil {
		t.Fatal(err)
	}
	got = authority.Issue(t.Context(), start+1, client, false, f, f.byKey("", ""))
	if got.Reason != policy.Throttled || got.Detail != "would be key_revoked" || got.KeyID != f.issuer.ID || got.AccountID != f.account.ID {
		t.Errorf("a revoked key gets %+v", got)
	}
	if got := authority.Issue(t.Context(), start.Add(time.Minute), client, false, f, wrong); got.Status != http.StatusUnauthorized {
		t.Errorf("a minute later %+v", got)
	}
}

// Only requests that would be answered with 401 are counted, and only they are throttled.
func TestIssue_ThrottlesNothingButWrongCredentials(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, plain := f.key(keystore.NewKey{Expires: policy.Never()})
	read := func(method, contentType, body string) *KeyRequest {
		r := httptest.NewRequestWithContext(t.Context(), method, "/issue_service_authorization", strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		return ReadKeyRequest(r)
	}
	const form = "application/x-www-form-urlencoded"
	for name, tt := range map[string]struct {
		call   *KeyRequest
		early  bool
		store  Store
		status int
	}{
		"a field twice":          {read("POST", form, "sid=a&sid=b"), false, f, http.StatusBadRequest},
		"a mistaken epi":         {f.byKey("soon", ""), false, f, http.StatusBadRequest},
		"no right":               {&KeyRequest{key: plain}, false, f, http.StatusForbidden},
		"more than the issuer's": {f.byKey("2h", ""), false, f, http.StatusForbidden},
		"no POST":                {read("GET", form, ""), false, f, http.StatusMethodNotAllowed},
		"a large body":           {read("POST", form, strings.Repeat("x", maxBody+1)), false, f, http.StatusRequestEntityTooLarge},
		"no form":                {read("POST", "application/json", "{}"), false, f, http.StatusUnsupportedMediaType},
		"early data":             {f.byKey("", ""), true, f, http.StatusTooEarly},
		"a store at fault":       {f.byKey("", ""), false, broken{f.Store}, http.StatusServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			authority := New(settings)
			issue := func() int { return authority.Issue(t.Context(), start, client, tt.early, tt.store, tt.call).Status }
			for range 2 * failuresAllowed {
				if got := issue(); got != tt.status {
					t.Fatalf("status %d, want %d", got, tt.status)
				}
			}
			wrong := func() int {
				return authority.Issue(t.Context(), start, client, false, f, &KeyRequest{key: policy.NewSecret("wrong")}).Status
			}
			for n := range failuresAllowed {
				if got := wrong(); got != http.StatusUnauthorized {
					t.Fatalf("wrong credentials %d: %d: the others were counted", n+1, got)
				}
			}
			if got := wrong(); got != http.StatusTooManyRequests {
				t.Errorf("wrong credentials too often: %d", got)
			}
			if got := issue(); got != tt.status {
				t.Errorf("beside them %d, want %d", got, tt.status)
			}
		})
	}
}

// A wrong password takes the same time for a known and for an unknown service ID. The
// code is the same for both; this test would find a shortcut that somebody adds.
func TestIssue_TimingDoesNotRevealServiceIDs(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for range 200 {
		if _, _, err := f.CreateAccount(t.Context(), start, operator, "Other"); err != nil {
			t.Fatal(err)
		}
	}
	known := &KeyRequest{serviceID: f.account.ServiceID, password: policy.NewSecret("wrong-password-1")}
	unknown := &KeyRequest{serviceID: "svc_" + strings.Repeat("x", 20), password: policy.NewSecret("wrong-password-1")}
	var times [2][]time.Duration
	for n := range 4000 {
		class := n % 2
		begun := time.Now()
		if got, _ := New(settings).authenticate(t.Context(), start, client, f, []*KeyRequest{known, unknown}[class]); got.account != "" {
			t.Fatal("authenticated")
		}
		times[class] = append(times[class], time.Since(begun))
	}
	middle := func(d []time.Duration) time.Duration { slices.Sort(d); return d[len(d)/2] }
	one, other := middle(times[0]), middle(times[1])
	if ratio := float64(one) / float64(other); ratio < 0.7 || ratio > 1.4 {
		t.Errorf("a known service ID takes %s, an unknown one %s", one, other)
	}
}
