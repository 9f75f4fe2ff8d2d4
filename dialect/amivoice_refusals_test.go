package dialect_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

// calls returns one call of every operation, by a name for the tests.
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
	case reason == policy.RequestMalformed && upload:
		return dialect.Answer{Status: http.StatusOK, Body: recognitionUnreadable, Session: true}
	case reason == policy.RequestMalformed:
		return dialect.Answer{Status: http.StatusBadRequest, Body: plainUnreadable}
	case reason == policy.UpstreamRefused && upload:
		return dialect.Answer{Status: http.StatusBadGateway, Body: recognitionGateway, Session: true}
	case reason == policy.LimitReached && upload:
		return dialect.Answer{Status: http.StatusTooManyRequests, Body: recognitionTooMany, Session: true, RetryAfter: 5}
	case reason == policy.LimitReached:
		return dialect.Answer{Status: http.StatusTooManyRequests, Body: plainTooMany, RetryAfter: 5}
	case reason == policy.UpstreamRefused:
		return dialect.Answer{Status: http.StatusBadGateway, Body: plainGateway}
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
	t.Parallel()
	for name, call := range calls() {
		for _, reason := range refusals() {
			t.Run(fmt.Sprintf("%s refused for %v", name, reason), func(t *testing.T) {
				t.Parallel()
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
	t.Parallel()
	alike := []policy.Reason{
		policy.CredentialMissing, policy.CredentialAmbiguous, policy.CredentialMalformed, policy.KeyUnknown, policy.KeyExpired,
		policy.KeyDeleted, policy.KeyRevoked, policy.AccountClosed, policy.AddressRefused, policy.AddressUnknown,
		policy.KeySuspended, policy.AccountSuspended,
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
	t.Parallel()
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
	t.Parallel()
	for name, call := range calls() {
		if diff := cmp.Diff(dialect.AmiVoice.Refusal(call, policy.JobUnknown), dialect.AmiVoice.Refusal(call, policy.JobForeign)); diff != "" {
			t.Errorf("%s (-unknown +foreign):\n%s", name, diff)
		}
	}
}

func TestR17_AStoreFaultIs503WithRetryAfter(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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

// TestR16_EveryDialectsAnswersAreWellFormed also covers future dialects.
func TestR16_EveryDialectsAnswersAreWellFormed(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
	want := map[string]policy.JobState{
		"queued": policy.JobQueued, "started": policy.JobStarted, "processing": policy.JobProcessing,
		"completed": policy.JobCompleted, "error": policy.JobFailed,
	}
	jobs := dialect.AmiVoice.Classify("GET", "/v2/recognitions/"+job).Route.Jobs
	if diff := cmp.Diff(want, jobs.States); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if id, state := jobs.ID.Path(0).String(), jobs.State.Path(0).String(); id != "sessionid" || state != "status" {
		t.Errorf("the ID is at %s, and the state at %s", id, state)
	}
	if got := jobs.States["cancelled"]; got != policy.JobUnseen {
		t.Errorf("a word that the API does not know is %v", got)
	}
}

func TestR15_TheMethodsAndHeadersOfABrowser(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff([]string{"Authorization", "Content-Type"}, dialect.AmiVoice.RequestHeaders); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestClassify_allocatesNothing(t *testing.T) { //nolint:paralleltest // measures allocations
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
