package policy_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

// allRules are the rules' words, in order.
var allRules = []string{
	"operation", "early_data", "key", "account", "revocation", "deletion", "address", "path", "expiry", "job", "issuance", "limits",
}

// ruleOf returns the rule that gives a reason.
var ruleOf = map[policy.Reason]string{
	policy.OperationUnlisted: "operation", policy.EarlyData: "early_data", policy.KeyUnknown: "key",
	policy.AccountClosed: "account", policy.AccountSuspended: "account", policy.KeyRevoked: "revocation", policy.KeySuspended: "revocation", policy.KeyDeleted: "deletion",
	policy.AddressRefused: "address", policy.AddressUnknown: "address", policy.KeyExpired: "expiry",
	policy.JobUnknown: "job", policy.JobForeign: "job", policy.NoIssuanceRight: "issuance",
	policy.OperationRefused: "limits", policy.LimitReached: "limits", policy.StreamLimit: "limits",
}

func TestExplain_agreesWithDecide(t *testing.T) {
	t.Parallel()
	holds(t, func(t *rapid.T, f facts) bool {
		results, d := policy.Explain(f.now, f.key, &f.req, f.rules)
		if d != f.decide() {
			t.Fatalf("explained %+v, decided %+v", d, f.decide())
		}
		if len(results) != len(allRules) {
			t.Fatalf("%d results, want %d", len(results), len(allRules))
		}
		decider := ruleOf[d.Reason]
		if d.Reason == policy.OperationUnlisted && f.req.PathAccount != "" && policy.CheckRequest(&f.req) == policy.Undecided {
			decider = "path"
		}
		ended := false
		for i, got := range results {
			if got.Rule.String() != allRules[i] || !strings.HasSuffix(got.Why.String(), ".") || strings.Contains(got.Why.String(), "%!") {
				t.Fatalf("result %d: %v %q", i, got.Rule, got.Why)
			}
			if (got.Outcome == policy.OutcomeNotReached) != ended {
				t.Fatalf("%v is %v, decided before: %v", got.Rule, got.Outcome, ended)
			}
			refused := got.Outcome == policy.OutcomeRefused
			if refused != (decider == allRules[i]) {
				t.Fatalf("%v is %v, but decided %v", got.Rule, got.Outcome, d.Reason)
			}
			ended = ended || refused || d.Reason == policy.AllowedByGrace && got.Rule == policy.RuleExpiry
		}
		return !d.Reason.OK()
	})
}

func TestExplain_saysWhy(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		now   policy.Time
		key   *policy.Key
		req   policy.Request
		rules policy.Rules
		rule  policy.RuleName
		want  string
	}{
		{"an operation", during, goodKey(), policy.Request{Operation: policy.Recognize}, policy.Rules{}, policy.RuleOperation, "ok: The operation is recognize."},
		{"an unlisted operation", during, goodKey(), policy.Request{}, policy.Rules{}, policy.RuleOperation, "refused: The gate does not let this operation through."},
		{"no early data", during, goodKey(), policy.Request{Operation: policy.Recognize}, policy.Rules{}, policy.RuleEarlyData, "ok: It is not TLS early data."},
		{"early data", during, goodKey(), policy.Request{Operation: policy.Recognize, EarlyData: true}, policy.Rules{}, policy.RuleEarlyData, "refused: It came as TLS early data, which anybody may have recorded and sent again."},
		{"a key", during, goodKey(), policy.Request{Operation: policy.Recognize}, policy.Rules{}, policy.RuleKey, "ok: The key is key_1, issued at 2023-11-14T22:13:20.000Z."},
		{"no key", during, nil, policy.Request{Operation: policy.Recognize}, policy.Rules{}, policy.RuleKey, "refused: There is no such key."},
		{"after no key", during, nil, policy.Request{Operation: policy.Recognize}, policy.Rules{}, policy.RuleExpiry, "not_reached: It was decided before."},
		{"a key of later", created - 1, goodKey(), policy.Request{Operation: policy.Recognize}, policy.Rules{}, policy.RuleKey, "refused: The key key_1 was issued at 2023-11-14T22:13:20.000Z, which is later."},
		{"a key of now", created, goodKey(), policy.Request{Operation: policy.Recognize}, policy.Rules{}, policy.RuleKey, "ok: The key is key_1, issued at 2023-11-14T22:13:20.000Z."},
		{"an open account", during, goodKey(), policy.Request{Operation: policy.Recognize}, policy.Rules{}, policy.RuleAccount, "ok: The key's account, acc_1, is open."},
		{"a suspended account", during, keyWith(func(k *policy.Key) { k.AccountSuspended = true }), policy.Request{Operation: policy.Recognize}, policy.Rules{}, policy.RuleAccount, "refused: The key's account, acc_1, is suspended."},
		{"a suspended key", during, keyWith(func(k *policy.Key) { k.SuspendedAt = created }), policy.Request{Operation: policy.Recognize}, policy.Rules{}, policy.RuleRevocation, "refused: The key was suspended at " + created.String() + ", and was not resumed."},
		{"a closed account", during, keyWith(func(k *policy.Key) { k.AccountOpen = false }), policy.Request{Operation: policy.Recognize}, policy.Rules{}, policy.RuleAccount, "refused: The key's account, acc_1, is closed."},
		{"no revocation", during, goodKey(), policy.Request{Operation: policy.Recognize}, policy.Rules{}, policy.RuleRevocation, "ok: The key is not revoked."},
		{"a revocation", after, keyWith(func(k *policy.Key) { k.RevokedAt = during }), policy.Request{Operation: policy.Recognize}, policy.Rules{}, policy.RuleRevocation, "refused: The key was revoked at 2023-11-14T22:14:10.000Z."},
		{"a later revocation", during, keyWith(func(k *policy.Key) { k.RevokedAt = expiry }), policy.Request{Operation: policy.Recognize}, policy.Rules{}, policy.RuleRevocation, "refused: The key was revoked at 2023-11-14T22:15:00.000Z, which counts at any instant."},
		{"a revocation to come", during, keyWith(func(k *policy.Key) { k.RevokeFrom = expiry }), policy.Request{Operation: policy.Recognize}, policy.Rules{}, policy.RuleRevocation, "ok: The key is not revoked before 2023-11-14T22:15:00.000Z."},
		{"a revocation that came", expiry, keyWith(func(k *policy.Key) { k.RevokeFrom = expiry }), policy.Request{Operation: policy.Recognize}, policy.Rules{}, policy.RuleRevocation, "refused: The key is revoked from 2023-11-14T22:15:00.000Z on."},
		{"no deletion", during, goodKey(), policy.Request{Operation: policy.Recognize}, policy.Rules{}, policy.RuleDeletion, "ok: The key is not deleted."},
		{"a deletion", during, keyWith(func(k *policy.Key) { k.DeletedAt = during }), policy.Request{Operation: policy.Recognize}, policy.Rules{}, policy.RuleDeletion, "refused: The key was deleted at 2023-11-14T22:14:10.000Z."},
		{"a later deletion", during, keyWith(func(k *policy.Key) { k.DeletedAt = expiry }), policy.Request{Operation: policy.Recognize}, policy.Rules{}, policy.RuleDeletion, "refused: The key was deleted at 2023-11-14T22:15:00.000Z, which counts at any instant."},
		{"any address", during, goodKey(), policy.Request{Operation: policy.Recognize}, policy.Rules{}, policy.RuleAddress, "not_applicable: The key may be used from any address."},
		{"an address of the rule", during, bound(t), policy.Request{Operation: policy.Recognize, Client: inside}, policy.Rules{}, policy.RuleAddress, "ok: The client's address, 192.0.2.7, is among those that the key may be used from: 192.0.2.0/24,10.0.0.1."},
		{"an address beside it", during, bound(t), policy.Request{Operation: policy.Recognize, Client: outside}, policy.Rules{}, policy.RuleAddress, "refused: The client's address, 198.51.100.7, is not among those that the key may be used from: 192.0.2.0/24,10.0.0.1."},
		{"an unknown address", during, bound(t), policy.Request{Operation: policy.Recognize, Client: netip.Addr{}}, policy.Rules{}, policy.RuleAddress, "refused: The client's address is not known, and the key may only be used from 192.0.2.0/24,10.0.0.1."},
		{"a path without an account", during, goodKey(), policy.Request{Operation: policy.Info}, policy.Rules{}, policy.RulePath, "not_applicable: The path names no account."},
		{"a path with the account", during, goodKey(), policy.Request{Operation: policy.Info, PathAccount: "acc_1"}, policy.Rules{}, policy.RulePath, "ok: The path names the key's account, acc_1."},
		{"a path with another account", during, goodKey(), policy.Request{Operation: policy.Info, PathAccount: "acc_9"}, policy.Rules{}, policy.RulePath, "refused: The path names another account than the key's, acc_1."},
		{"no expiry", after, keyWith(func(k *policy.Key) { k.Expires = policy.Never() }), policy.Request{Operation: policy.Recognize}, policy.Rules{}, policy.RuleExpiry, "ok: The key does not expire."},
		{"an expiry to come", during, goodKey(), policy.Request{Operation: policy.Recognize}, policy.Rules{}, policy.RuleExpiry, "ok: The key expires at 2023-11-14T22:15:00.000Z, which is later."},
		{"an expiry", after, goodKey(), policy.Request{Operation: policy.Recognize}, policy.Rules{}, policy.RuleExpiry, "refused: The key expired at 2023-11-14T22:15:00.000Z, and grace is for reading jobs only."},
		{"no record for a grace", after, goodKey(), policy.Request{Operation: policy.ReadJob}, policy.Rules{}, policy.RuleExpiry, "refused: The key expired at 2023-11-14T22:15:00.000Z, and there is no grace for a job that is not recorded."},
		{"another key's job", after, goodKey(), policy.Request{Operation: policy.ReadJob, Job: siblingJob()}, policy.Rules{}, policy.RuleExpiry, "refused: The key expired at 2023-11-14T22:15:00.000Z, and grace is for the key that created the job, which is key_2."},
		{"no grace", after, goodKey(), policy.Request{Operation: policy.ReadJob, Job: ownJob()}, policy.Rules{}, policy.RuleExpiry, "refused: The key expired at 2023-11-14T22:15:00.000Z, and no grace is configured."},
		{"a grace that is over", after, goodKey(), policy.Request{Operation: policy.ReadJob, Job: ownJob()}, policy.Rules{Grace: policy.Grace{Window: time.Second}}, policy.RuleExpiry, "refused: The key expired at 2023-11-14T22:15:00.000Z, and the grace for reading the job that it created ended at 2023-11-14T22:14:11.000Z."},
		{"a grace", after, goodKey(), policy.Request{Operation: policy.ReadJob, Job: ownJob()}, policy.Rules{Grace: policy.Grace{Window: time.Hour}}, policy.RuleExpiry, "ok: The key expired at 2023-11-14T22:15:00.000Z, but it created the job, and the grace for reading that lasts until 2023-11-14T23:14:10.000Z."},
		{"no job", during, goodKey(), policy.Request{Operation: policy.Recognize}, policy.Rules{}, policy.RuleJob, "not_applicable: It names no job."},
		{"a job", during, goodKey(), policy.Request{Operation: policy.ReadJob, Job: siblingJob()}, policy.Rules{}, policy.RuleJob, "ok: The job is of the same account, acc_1."},
		{"a foreign job", during, goodKey(), policy.Request{Operation: policy.ReadJob, Job: foreignJob()}, policy.Rules{}, policy.RuleJob, "refused: The job is of another account, acc_9."},
		{"no record", during, goodKey(), policy.Request{Operation: policy.DeleteJob}, policy.Rules{}, policy.RuleJob, "refused: The job is not recorded, and such jobs are refused."},
		{"no record needed", during, goodKey(), policy.Request{Operation: policy.DeleteJob}, policy.Rules{UnrecordedJobs: true}, policy.RuleJob, "ok: The job is not recorded, and such jobs are left to the backend."},
		{"a job with a record, where none is needed", during, goodKey(), policy.Request{Operation: policy.ReadJob, Job: siblingJob()}, policy.Rules{UnrecordedJobs: true}, policy.RuleJob, "ok: The job is of the same account, acc_1."},
		{"a foreign job, where no record is needed", during, goodKey(), policy.Request{Operation: policy.ReadJob, Job: foreignJob()}, policy.Rules{UnrecordedJobs: true}, policy.RuleJob, "refused: The job is of another account, acc_9."},
		{"no issuing", during, goodKey(), policy.Request{Operation: policy.Recognize}, policy.Rules{}, policy.RuleIssuance, "not_applicable: It does not ask for a key to be issued."},
		{"issuing", during, keyWith(func(k *policy.Key) { k.Issuable = true }), policy.Request{Operation: policy.IssueKey}, policy.Rules{}, policy.RuleIssuance, "ok: The key may issue keys."},
		{"a token", during, goodKey(), token(policy.Recognize), policy.Rules{}, policy.RuleKey, "ok: The token was minted at 2023-11-14T22:13:20.001Z for the key key_1, which was issued at 2023-11-14T22:13:20.000Z."},
		{"a token of a key of later", created - 1, goodKey(), token(policy.Recognize), policy.Rules{}, policy.RuleKey, "refused: The key key_1 was issued at 2023-11-14T22:13:20.000Z, which is later."},
		{"a token's expiry to come", during, goodKey(), token(policy.Recognize), policy.Rules{}, policy.RuleExpiry, "ok: The token expires at 2023-11-14T22:15:05.000Z, which is later. The key expires at 2023-11-14T22:15:00.000Z, which is later."},
		{"a token's expiry", after, goodKey(), token(policy.ReadJob), policy.Rules{Grace: policy.Grace{Window: time.Hour}}, policy.RuleExpiry, "refused: The token expired at 2023-11-14T22:15:05.000Z, which no grace forgives."},
		{"a token's grace", expiry, goodKey(), token(policy.ReadJob), policy.Rules{Grace: policy.Grace{Window: time.Hour}}, policy.RuleExpiry, "ok: The token expires at 2023-11-14T22:15:05.000Z, which is later. The key expired at 2023-11-14T22:15:00.000Z, but it created the job, and the grace for reading that lasts until 2023-11-14T23:14:10.000Z."},
		{"a token that recognizes", during, goodKey(), token(policy.Recognize), policy.Rules{}, policy.RuleIssuance, "not_applicable: It does not ask for a key to be issued."},
		{"a token that mints", during, goodKey(), token(policy.Mint), policy.Rules{}, policy.RuleIssuance, "refused: A token can neither issue a key nor mint another token."},
		{"minting", during, goodKey(), policy.Request{Operation: policy.Mint}, policy.Rules{}, policy.RuleIssuance, "not_applicable: It does not ask for a key to be issued."},
		{"no limits", during, goodKey(), policy.Request{Operation: policy.Recognize}, policy.Rules{}, policy.RuleLimits, "not_applicable: The key and its account have no limits."},
		{"limits", during, limited(t, "requests=60/m streams=2", ""), policy.Request{Operation: policy.Recognize}, policy.Rules{}, policy.RuleLimits, "ok: The key's limits are requests=60/m, streams=2."},
		{"an account's limits", during, limited(t, "", "audio=1h/d"), policy.Request{Operation: policy.Recognize}, policy.Rules{}, policy.RuleLimits, "ok: The limits of all the account's keys together are audio=3600s/d."},
		{"both", during, limited(t, "requests=60/m", "requests=6/m"), policy.Request{Operation: policy.Recognize}, policy.Rules{}, policy.RuleLimits, "ok: The key's limits are requests=60/m, and those of all its account's keys together are requests=6/m."},
		{"a limit that is met", during, limited(t, "requests=60/m", "requests=6/m"), policy.Request{Operation: policy.Recognize, Met: policy.LimitRequests}, policy.Rules{}, policy.RuleLimits, "refused: The request would exceed the key's limit requests=60/m."},
		{"the account's limit that is met", during, limited(t, "requests=60/m", "requests=6/m"), policy.Request{Operation: policy.Recognize, Met: policy.LimitRequests, MetByAccount: true}, policy.Rules{}, policy.RuleLimits, "refused: The request would exceed the account's limit requests=6/m."},
		{"another operation", during, limited(t, "operations=recognize,stream", ""), policy.Request{Operation: policy.CreateJob}, policy.Rules{}, policy.RuleLimits, "refused: The operation is not within the key's limit operations=recognize,stream."},
		{"another operation of the account", during, limited(t, "operations=recognize,stream", "operations=recognize"), policy.Request{Operation: policy.Stream}, policy.Rules{}, policy.RuleLimits, "refused: The operation is not within the account's limit operations=recognize."},
		{"a poll", during, limited(t, "operations=stream", ""), policy.Request{Operation: policy.ReadJob, Job: ownJob()}, policy.Rules{}, policy.RuleLimits, "not_applicable: Reading jobs is never limited."},
		{"issuing with limits", during, keyWith(func(k *policy.Key) { k.Issuable, k.Limits = true, limits(t, "operations=stream") }), policy.Request{Operation: policy.IssueKey}, policy.Rules{}, policy.RuleLimits, "not_applicable: The limits are for the backend's operations: the issuance API has limits of its own."},
		{"issuing without the right", during, goodKey(), policy.Request{Operation: policy.IssueKey}, policy.Rules{}, policy.RuleIssuance, "refused: The key may not issue keys."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			results, _ := policy.Explain(tt.now, tt.key, &tt.req, tt.rules)
			r := results[tt.rule]
			if got := r.Outcome.String() + ": " + r.Why.String(); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func bound(t *testing.T) *policy.Key {
	return keyWith(func(k *policy.Key) { k.Allow = addrs(t, "192.0.2.0/24,10.0.0.1") })
}

// limited is goodKey with limits, and with limits of its account.
func limited(t *testing.T, key, account string) *policy.Key {
	return keyWith(func(k *policy.Key) { k.Limits, k.AccountLimits = limits(t, key), limits(t, account) })
}

// token is a request with a token of goodKey that outlives the key by five seconds.
func token(op policy.Operation) policy.Request {
	return policy.Request{Operation: op, Job: ownJob(), Token: &policy.Token{CreatedAt: created + 1, ExpiresAt: expiry + 5000}}
}

func TestRuleAndOutcome_wordsOfUnknownValues(t *testing.T) {
	t.Parallel()
	for i := len(allRules); i < 256; i++ {
		if got := policy.RuleName(i).String(); got != "" {
			t.Errorf("rule %d, which does not exist, prints %q", i, got)
		}
	}
	for i := int(policy.OutcomeRefused) + 1; i < 256; i++ {
		if got := policy.Outcome(i).String(); got != "not_reached" {
			t.Errorf("outcome %d, which does not exist, prints %q", i, got)
		}
	}
}
