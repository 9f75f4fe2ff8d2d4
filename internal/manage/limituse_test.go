package manage

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// usingManager returns a manager, and a key with limits whose account has limits too.
func usingManager(t *testing.T) (*Manager, Key) {
	t.Helper()
	m := newManager(t)
	account := newAccount(t, m, "One")
	if _, err := m.LimitAccount(t.Context(), account.ID, []string{"requests=9/m", "audio-total=1h"}); err != nil {
		t.Fatal(err)
	}
	return m, newKey(t, m, NewKey{AccountID: account.ID, Limits: []string{"requests=2/m concurrent=3 streams=1 audio=60s/d operations=recognize"}})
}

func limitsText(t *testing.T, limits []UsedLimit) string {
	t.Helper()
	return string(must(json.Marshal(limits))(t))
}

// Without a server, only the audio is known.
func TestManager_LimitUseWithoutAServer(t *testing.T) {
	t.Parallel()
	m, key := usingManager(t)
	m.Store.CountUsage(noon, &keystore.UsageOf{KeyID: key.ID, AccountID: key.AccountID, Operation: policy.Recognize, Reason: policy.Allowed}, keystore.UsageCounts{AudioTime: 12900 * time.Millisecond})
	m.Store.CountUsage(noon, &keystore.UsageOf{KeyID: "key_other", AccountID: key.AccountID, Operation: policy.Recognize, Reason: policy.Allowed}, keystore.UsageCounts{AudioTime: time.Minute})
	const want = `[{"limit":"requests=2/m","of":"key","used":null},{"limit":"concurrent=3","of":"key","used":null},{"limit":"streams=1","of":"key","used":null},` +
		`{"limit":"audio=60s/d","of":"key","used":12},{"limit":"operations=recognize","of":"key","used":null},` +
		`{"limit":"requests=9/m","of":"account","used":null},{"limit":"audio-total=3600s","of":"account","used":72}]`
	used := must(m.KeyLimits(t.Context(), key.ID, "recognize"))(t)
	if got := limitsText(t, used.Limits); got != want || used.KeyID != key.ID || used.AccountID != key.AccountID || used.Met != nil {
		t.Errorf("%+v, the limits are\n%s, want\n%s", used, got, want)
	}
	e := must(m.Explain(t.Context(), ExplainRequest{KeyID: key.ID, ClientIP: "192.0.2.7", Method: "POST", Path: "/v1/recognize", Dialect: "amivoice", Backend: "amivoice"}))(t)
	if got := limitsText(t, e.Limits); got != want || !e.Allowed {
		t.Errorf("the explanation is %+v", e)
	}
}

func TestManager_ExplainKnowsWhatTheServerCounts(t *testing.T) {
	t.Parallel()
	m, key := usingManager(t)
	var met policy.LimitName
	var byAccount bool
	var fails error
	asked := policy.Unlisted
	m.LimitUse = func(_ context.Context, k *policy.Key, op policy.Operation) (LimitUse, error) {
		asked = op
		return NewLimitUse(k, &Use{Requests: 2, Concurrent: 1}, &Use{Requests: 7}, met, byAccount, 17), fails
	}
	explain := func(method, path, at string) (*Explanation, error) {
		return m.Explain(t.Context(), ExplainRequest{KeyID: key.ID, ClientIP: "192.0.2.7", Method: method, Path: path, At: at, Dialect: "amivoice", Backend: "amivoice"})
	}
	for name, test := range map[string]struct {
		met              policy.LimitName
		byAccount        bool
		method, path, at string
		reason           policy.Reason
		why              string
		retryAfter       int
	}{
		"nothing is met":            {0, false, "POST", "/v1/recognize", "", policy.Allowed, "The key's limits are requests=2/m, ", 0},
		"a limit of the key":        {policy.LimitRequests, false, "POST", "/v1/recognize", "", policy.LimitReached, "The request would exceed the key's limit requests=2/m.", 17},
		"a limit of the account":    {policy.LimitRequests, true, "POST", "/v1/recognize", "", policy.LimitReached, "The request would exceed the account's limit requests=9/m.", 17},
		"the audio of the account":  {policy.LimitAudioTotal, true, "POST", "/v1/recognize", "", policy.LimitReached, "The account's limit audio-total=3600s is used up.", 17},
		"another instant":           {policy.LimitRequests, false, "POST", "/v1/recognize", noon.Add(time.Minute).String(), policy.Allowed, "The key's limits are ", 0},
		"an operation is not in it": {policy.LimitStreams, false, "GET", "/v1/", "", policy.OperationRefused, "The operation is not within the key's limit operations=recognize.", 0},
	} {
		met, byAccount = test.met, test.byAccount
		e := must(explain(test.method, test.path, test.at))(t)
		last := e.Rules[len(e.Rules)-1]
		if e.Reason != test.reason.String() || last.Rule != "limits" || !strings.HasPrefix(last.Why.String(), test.why) {
			t.Errorf("%s: %s, %+v", name, e.Reason, last)
		}
		if test.retryAfter > 0 && e.Answer.RetryAfter != test.retryAfter {
			t.Errorf("%s: the client sees %+v", name, e.Answer)
		}
		if !strings.Contains(limitsText(t, e.Limits), `{"limit":"requests=9/m","of":"account","used":7}`) {
			t.Errorf("%s: the limits are %+v", name, e.Limits)
		}
	}
	fails = errors.New("no keystore")
	if _, err := explain("POST", "/v1/recognize", ""); !errors.Is(err, fails) {
		t.Error(err)
	}
	asked = policy.Unlisted
	plain := newKey(t, m, NewKey{AccountID: newAccount(t, m, "Two").ID, Limits: []string{"operations=recognize"}})
	if used := must(m.KeyLimits(t.Context(), plain.ID, "recognize"))(t); asked != policy.Unlisted || limitsText(t, used.Limits) != `[{"limit":"operations=recognize","of":"key","used":null}]` {
		t.Errorf("%v was asked about a key for which nothing is counted: %+v", asked, used)
	}
	if _, err := m.KeyLimits(t.Context(), plain.ID, "recognise"); err == nil || !strings.Contains(Text(err, plainNames{}), `operation "recognise": want the word of an operation, such as recognize or stream`) {
		t.Error(err)
	}
	if _, err := m.KeyLimits(t.Context(), "key_00000000000000000000", ""); err == nil || !strings.Contains(err.Error(), "there is no key") {
		t.Error(err)
	}
}

func TestNewLimitUse_ShowsHowMuchOfEachLimitIsUsed(t *testing.T) {
	t.Parallel()
	limits := must(policy.ParseLimits("requests=2/m concurrent=3 streams=1 audio=60s/d audio-total=1h operations=recognize"))(t)
	use := Use{Requests: 11, Concurrent: 12, Streams: 13, AudioDay: 14900 * time.Millisecond, AudioTotal: 15 * time.Second}
	const want = `[{"limit":"requests=2/m","of":"key","used":11},{"limit":"concurrent=3","of":"key","used":12},{"limit":"streams=1","of":"key","used":13},` +
		`{"limit":"audio=60s/d","of":"key","used":14},{"limit":"audio-total=3600s","of":"key","used":15},{"limit":"operations=recognize","of":"key","used":null}]`
	used := NewLimitUse(&policy.Key{Limits: limits}, &use, new(Use), policy.NoLimit, false, 0)
	if got := limitsText(t, used.Limits); got != want || used.Met != nil {
		t.Errorf("%s, met %+v; want %s", got, used.Met, want)
	}
}

// The server is asked if it counts something for the limits of the key, or for those of its account.
func TestManager_TheServerIsAskedAboutWhatItCounts(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	asked := false
	m.LimitUse = func(_ context.Context, k *policy.Key, _ policy.Operation) (LimitUse, error) {
		asked = true
		return NewLimitUse(k, new(Use), new(Use), policy.NoLimit, false, 0), nil
	}
	for _, test := range []struct {
		key, account []string
		want         bool
	}{
		{nil, nil, false},
		{[]string{"operations=recognize"}, []string{"operations=recognize"}, false},
		{[]string{"requests=2/m"}, nil, true},
		{nil, []string{"audio-total=1h"}, true},
		{[]string{"streams=1"}, []string{"concurrent=2"}, true},
	} {
		account := newAccount(t, m, "One")
		if test.account != nil {
			must(m.LimitAccount(t.Context(), account.ID, test.account))(t)
		}
		key := newKey(t, m, NewKey{AccountID: account.ID, Limits: test.key})
		asked = false
		if must(m.KeyLimits(t.Context(), key.ID, "recognize"))(t); asked != test.want {
			t.Errorf("limits of the key %q and of its account %q: the server is asked: %t", test.key, test.account, asked)
		}
	}
}

func TestManager_AnAccountThatHasTheLimitsIsChangedNoMore(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	account := newAccount(t, m, "One")
	for _, step := range []struct {
		changes []string
		already bool
	}{{[]string{"requests=9/m"}, false}, {[]string{"requests=9/m"}, true}, {[]string{"streams=1"}, false}, {[]string{"none"}, false}, {[]string{"none"}, true}} {
		if got := must(m.LimitAccount(t.Context(), account.ID, step.changes))(t); got.Already != step.already {
			t.Errorf("%q: the account had these limits before: %t, want %t", step.changes, got.Already, step.already)
		}
	}
	if _, err := m.LimitAccount(t.Context(), "acc_none", []string{"none"}); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("an account that does not exist: %v", err)
	}
}

// The client of a request over a limit sees when it can come again, if that is known, and if its answer can
// say so.
func TestManager_ExplainSaysWhenARefusedRequestCanComeAgain(t *testing.T) {
	t.Parallel()
	m, key := usingManager(t)
	for name, test := range map[string]struct {
		method, path string
		met          policy.LimitName
		retryAfter   int
		want         func(int) bool
	}{
		"the time is known":        {"POST", "/v1/recognize", policy.LimitRequests, 17, func(n int) bool { return n == 17 }},
		"the time is not known":    {"POST", "/v1/recognize", policy.LimitConcurrent, 0, func(n int) bool { return n > 0 }},
		"an answer of a WebSocket": {"GET", "/v1/", policy.LimitRequests, 17, func(n int) bool { return n == 0 }},
	} {
		m := *m
		m.LimitUse = func(_ context.Context, k *policy.Key, _ policy.Operation) (LimitUse, error) {
			k.Limits.Operations = 0
			return NewLimitUse(k, new(Use), new(Use), test.met, false, test.retryAfter), nil
		}
		e := must(m.Explain(t.Context(), ExplainRequest{KeyID: key.ID, ClientIP: "192.0.2.7", Method: test.method, Path: test.path, Dialect: "amivoice", Backend: "amivoice"}))(t)
		if e.Answer == nil || e.Reason != policy.LimitReached.String() || !test.want(e.Answer.RetryAfter) {
			t.Errorf("%s: %s, %+v", name, e.Reason, e.Answer)
		}
	}
}
