package handler

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/speechgate/speechgate/policy"
)

// The placeholders of a request show the last decision on it.
func TestPlaceholders_ShowTheLastDecision(t *testing.T) {
	counters := NewMetrics(nil).CountersOf("test")
	allowed := DecisionRecord{Counters: counters, Operation: policy.Recognize, Reason: policy.Allowed, Owner: policy.Identity{KeyID: "key_1", AccountID: "acc_1"}}
	other := DecisionRecord{Counters: counters, Operation: policy.ReadJob, Reason: policy.AllowedByGrace, Owner: policy.Identity{KeyID: "key_2", AccountID: "acc_2"}}
	refused := DecisionRecord{Counters: counters, Operation: policy.Recognize, Reason: policy.KeyExpired, Owner: policy.Identity{KeyID: "key_3", AccountID: "acc_3"}}
	const text = "{speechgate.reason} {speechgate.key_id} {http.auth.user.id}"
	for name, c := range map[string]struct {
		before    func(*caddy.Replacer)
		decisions []DecisionRecord
		want      string
	}{
		"one":                        {decisions: []DecisionRecord{allowed}, want: "allowed key_1 acc_1"},
		"a refusal names no user":    {decisions: []DecisionRecord{refused}, want: "key_expired key_3 {http.auth.user.id}"},
		"two that admit":             {decisions: []DecisionRecord{allowed, other}, want: "allowed_by_grace key_2 acc_2"},
		"refused, and then admitted": {decisions: []DecisionRecord{refused, allowed}, want: "allowed key_1 acc_1"},
		"three":                      {decisions: []DecisionRecord{allowed, refused, other}, want: "allowed_by_grace key_2 acc_2"},
		"behind another authentication": {
			before:    func(r *caddy.Replacer) { r.Set("http.auth.user.id", "somebody") },
			decisions: []DecisionRecord{allowed}, want: "allowed key_1 acc_1",
		},
	} {
		repl := caddy.NewReplacer()
		if c.before != nil {
			c.before(repl)
		}
		r := caddyhttp.PrepareRequest(httptest.NewRequest(http.MethodGet, "/", nil), repl, nil, new(caddyhttp.Server))
		for _, d := range c.decisions {
			d.Report(r)
		}
		if got := repl.ReplaceKnown(text, ""); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
