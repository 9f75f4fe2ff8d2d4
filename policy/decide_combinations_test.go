package policy_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// TestDecide_everyCombination compares the decisions for all combinations of facts with
// a second implementation of the rules, a list of faults: a request without a fault is
// allowed, and the reason of a refusal is one of the request's faults.
func TestDecide_everyCombination(t *testing.T) {
	t.Parallel()
	rule := addrs(t, "192.0.2.0/24")
	expiries := []policy.Expiry{policy.Never(), policy.ExpiresAt(expiry), policy.ExpiresAt(during + 1)}
	keys := []func(*policy.Key){
		func(*policy.Key) {},
		func(k *policy.Key) { k.DeletedAt = during },
		func(k *policy.Key) { k.RevokedAt = during },
		func(k *policy.Key) { k.RevokeFrom = after },
		func(k *policy.Key) { k.RevokeFrom = after + 1 },
		func(k *policy.Key) { k.AccountOpen = false },
		func(k *policy.Key) { k.AccountSuspended = true },
		func(k *policy.Key) { k.SuspendedAt = during },
		func(k *policy.Key) { k.CreatedAt = after + 1 },
		func(k *policy.Key) { k.DeletedAt, k.RevokedAt, k.AccountOpen = during, during, false },
	}
	jobs := []*policy.Job{nil, ownJob(), siblingJob(), foreignJob()}
	clients := []netip.Addr{{}, inside, outside}
	bools := []bool{false, true}
	tokens := []*policy.Token{nil, {ExpiresAt: after}, {ExpiresAt: after + 1}, nil, nil} // for each window
	seen := map[policy.Reason]int{}
	for _, op := range append(listed, policy.Unlisted, policy.Operation(99)) {
		for _, early := range bools {
			for _, change := range keys {
				for _, expires := range expiries {
					for _, bound := range bools {
						for _, issuable := range bools {
							key := keyWith(change)
							key.Expires, key.Issuable = expires, issuable
							if bound {
								key.Allow = rule
							}
							for _, client := range clients {
								for _, job := range jobs {
									for _, unrecorded := range bools {
										for i, window := range []time.Duration{0, time.Second, time.Hour, time.Hour, time.Hour} {
											f := facts{after, key, policy.Request{
												PathAccount: []string{"", key.AccountID, "", "acc_9", ""}[i], Operation: op, EarlyData: early, Client: client, Job: job, Token: tokens[i],
											}, policy.Rules{UnrecordedJobs: unrecorded, Grace: policy.Grace{Window: window}}}
											got := f.decide().Reason
											seen[got]++
											if want := faults(f, bound); !want[got] {
												t.Fatalf("%v early=%v key=%+v client=%v job=%+v unrecorded=%v window=%v token=%+v: %v, want one of %v",
													op, early, key, client, job, unrecorded, window, tokens[i], got, want)
											}
										}
									}
								}
							}
						}
					}
				}
			}
		}
	}
	for _, r := range []policy.Reason{
		policy.Allowed, policy.AllowedByGrace, policy.KeyUnknown, policy.KeyExpired, policy.KeyDeleted, policy.KeyRevoked,
		policy.AccountClosed, policy.AddressRefused, policy.AddressUnknown, policy.EarlyData, policy.OperationUnlisted,
		policy.JobUnknown, policy.JobForeign, policy.NoIssuanceRight, policy.KeySuspended, policy.AccountSuspended,
	} {
		if seen[r] == 0 {
			t.Errorf("%v never came up", r)
		}
		delete(seen, r)
	}
	if len(seen) > 0 {
		t.Errorf("these are not Decide's to give: %v", seen)
	}
}

// faults returns all reasons to refuse f or, without such a reason, the allowance.
func faults(f facts, bound bool) map[policy.Reason]bool {
	k, r := f.key, f.req
	is := map[policy.Reason]bool{}
	note := func(reason policy.Reason, applies bool) {
		if applies {
			is[reason] = true
		}
	}
	known := false
	for _, op := range listed {
		known = known || op == r.Operation
	}
	ofJob := r.Operation == policy.ReadJob || r.Operation == policy.DeleteJob
	note(policy.OperationUnlisted, !known || r.PathAccount != "" && r.PathAccount != k.AccountID)
	note(policy.EarlyData, r.EarlyData)
	note(policy.KeyUnknown, f.now < k.CreatedAt)
	note(policy.KeyDeleted, k.DeletedAt != 0)
	note(policy.KeyRevoked, k.RevokedAt != 0 || k.RevokeFrom != 0 && f.now >= k.RevokeFrom)
	note(policy.AccountClosed, !k.AccountOpen)
	note(policy.KeySuspended, k.SuspendedAt != 0)
	note(policy.AccountSuspended, k.AccountSuspended)
	note(policy.AddressUnknown, bound && !r.Client.IsValid())
	note(policy.AddressRefused, bound && r.Client == outside)
	note(policy.NoIssuanceRight, r.Operation == policy.IssueKey && !k.Issuable)
	note(policy.NoIssuanceRight, r.Token != nil && (r.Operation == policy.IssueKey || r.Operation == policy.Mint))
	note(policy.KeyExpired, r.Token != nil && f.now >= r.Token.ExpiresAt)
	note(policy.JobUnknown, ofJob && r.Job == nil && !f.rules.UnrecordedJobs)
	note(policy.JobForeign, ofJob && r.Job != nil && r.Job.AccountID != k.AccountID)
	at, expires := k.Expires.Time()
	if expires && f.now >= at {
		graced := r.Operation == policy.ReadJob && r.Job != nil && r.Job.KeyID == k.ID &&
			f.now < r.Job.CreatedAt+policy.Time(f.rules.Grace.Window.Milliseconds())
		if graced && len(is) == 0 {
			return map[policy.Reason]bool{policy.AllowedByGrace: true}
		}
		note(policy.KeyExpired, !graced)
	}
	if len(is) == 0 {
		is[policy.Allowed] = true
	}
	return is
}
