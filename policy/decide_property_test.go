package policy_test

import (
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

// facts are the arguments of one decision.
type facts struct {
	now policy.Time
	key *policy.Key
	req policy.Request

	rules policy.Rules
}

func (f facts) decide() policy.Decision { return policy.Decide(f.now, f.key, &f.req, f.rules) }

// aTime returns instants near the boundaries.
func aTime() *rapid.Generator[policy.Time] {
	return rapid.Custom(func(t *rapid.T) policy.Time {
		base := rapid.SampledFrom([]policy.Time{created, during, expiry, after}).Draw(t, "near")
		return base + policy.Time(rapid.Int64Range(-3, 3).Draw(t, "by"))
	})
}

// rarely is true in fewer than one of n cases. Rapid prefers small values and first
// values, so the values that let a request through come first.
func rarely(t *rapid.T, n int, label string) bool {
	return rapid.IntRange(0, n-1).Draw(t, label) == n-1
}

// aHappening is an instant, and mostly zero.
func aHappening() *rapid.Generator[policy.Time] {
	return rapid.Custom(func(t *rapid.T) policy.Time {
		if rarely(t, 4, "happened") {
			return aTime().Draw(t, "at")
		}
		return 0
	})
}

func someFacts(t *testing.T) *rapid.Generator[facts] {
	rules := []policy.AddrSet{{}, addrs(t, "192.0.2.0/24"), addrs(t, "2001:db8::/32,192.0.2.1-192.0.2.9"), addrs(t, "203.0.113.1")}
	clients := []netip.Addr{inside, netip.MustParseAddr("::ffff:192.0.2.7"), outside, netip.MustParseAddr("2001:db8::1"), {}}
	operations := append([]policy.Operation{policy.ReadJob, policy.ReadJob, policy.Unlisted}, listed...)
	ids := []string{"1", "1", "1", "2"}
	return rapid.Custom(func(t *rapid.T) facts {
		f := facts{now: aTime().Draw(t, "now")}
		if rapid.Bool().Draw(t, "late") {
			f.now = after
		}
		expires := policy.ExpiresAt(aTime().Draw(t, "expiry"))
		if rarely(t, 3, "never") {
			expires = policy.Never()
		}
		f.key = &policy.Key{
			ID: "key_1", AccountID: "acc_1",
			AccountOpen: !rarely(t, 4, "closed"),
			Allow:       rapid.SampledFrom(rules).Draw(t, "allow"),
			Issuable:    rapid.Bool().Draw(t, "issuable"),
			CreatedAt:   created + policy.Time(rapid.Int64Range(-3, 3).Draw(t, "key created")),
			Expires:     expires,
			DeletedAt:   aHappening().Draw(t, "deleted"),
			RevokedAt:   aHappening().Draw(t, "revoked"),
			RevokeFrom:  aHappening().Draw(t, "revoked from"),
			SuspendedAt: aHappening().Draw(t, "suspended"),

			AccountSuspended: rarely(t, 4, "account suspended"),
		}
		if rarely(t, 4, "limited") {
			f.key.Limits.Operations, f.key.AccountLimits.Operations = policy.OperationSet(rapid.Uint16Range(0, 1<<11-1).Draw(t, "operations")), policy.OperationSet(rapid.Uint16Range(0, 1<<11-1).Draw(t, "account's operations"))
		}
		window := rapid.SampledFrom([]time.Duration{time.Hour, 50 * time.Second, 1<<63 - 1, time.Millisecond, 0}).Draw(t, "window")
		f.req = policy.Request{
			Operation: rapid.SampledFrom(operations).Draw(t, "operation"),
			EarlyData: rarely(t, 4, "early"),
			Client:    rapid.SampledFrom(clients).Draw(t, "client"),
		}
		f.rules = policy.Rules{
			UnrecordedJobs: rapid.Bool().Draw(t, "unrecorded"),
			Grace: policy.Grace{
				Window:   window,
				AfterEnd: rapid.SampledFrom([]time.Duration{0, 5 * time.Second, time.Millisecond}).Draw(t, "after end"),
			},
		}
		if f.req.Operation != policy.ReadJob && rarely(t, 4, "met") {
			f.req.Met, f.req.MetByAccount = rapid.SampledFrom(policy.LimitNames()).Draw(t, "limit"), rapid.Bool().Draw(t, "by account")
		}
		if rarely(t, 4, "path account") {
			f.req.PathAccount = "acc_" + rapid.SampledFrom(ids).Draw(t, "path's account")
		}
		if !rarely(t, 4, "unrecorded job") {
			f.req.Job = &policy.Job{
				AccountID: "acc_" + rapid.SampledFrom(ids).Draw(t, "job's account"),
				KeyID:     "key_" + rapid.SampledFrom(ids).Draw(t, "job's key"),
				CreatedAt: aTime().Draw(t, "job created"),
				EndedAt:   aHappening().Draw(t, "job ended"),
			}
		}
		if rarely(t, 3, "token") {
			f.req.Token = &policy.Token{CreatedAt: created, ExpiresAt: aTime().Draw(t, "token's expiry")}
		}
		if rapid.Bool().Draw(t, "reads its job after its expiry") {
			f.key.Expires = policy.ExpiresAt(expiry)
			f.now = max(f.now, expiry)
			f.req.Operation = policy.ReadJob
			if f.req.Job != nil {
				f.req.Job.KeyID, f.req.Job.AccountID = f.key.ID, f.key.AccountID
			}
		}
		return f
	})
}

// holds checks a property on random facts. The property reports whether it applies to
// the facts. It must apply sometimes, or the test proves nothing.
func holds(t *testing.T, property func(t *rapid.T, f facts) (applied bool)) {
	t.Helper()
	some, applied := someFacts(t), 0
	rapid.Check(t, func(t *rapid.T) {
		// Each check draws many facts, because a property applies to few of them.
		for range 40 {
			if property(t, some.Draw(t, "facts")) {
				applied++
			}
		}
	})
	t.Logf("the property applied %d times", applied)
	if applied < 20 {
		t.Errorf("only %d of the random facts were of the kind that the property is about", applied)
	}
}

func TestR3_ARefusedRequestStaysRefusedLater(t *testing.T) {
	t.Parallel()
	holds(t, func(t *rapid.T, f facts) bool {
		if f.now < f.key.CreatedAt || f.decide().Reason.OK() {
			return false
		}
		later := f
		later.now += policy.Time(rapid.Int64Range(0, 200_000).Draw(t, "later"))
		if d := later.decide(); d.Reason.OK() {
			t.Fatalf("denied (%v) at %v, but %v at %v", f.decide().Reason, f.now, d.Reason, later.now)
		}
		return true
	})
}

func TestR3_NoEventInAKeysLifeAllowsARefusedRequest(t *testing.T) {
	t.Parallel()
	holds(t, func(t *rapid.T, f facts) bool {
		if f.decide().Reason.OK() {
			return false
		}
		key := *f.key
		later := f
		later.key = &key
		switch rapid.IntRange(0, 6).Draw(t, "happens") {
		case 6:
			key.AccountSuspended = true
		case 5:
			key.SuspendedAt = f.now
		case 4:
			key.RevokeFrom = f.now
		case 0:
			key.DeletedAt = f.now
		case 1:
			key.RevokedAt = f.now
		case 2:
			key.AccountOpen = false
		case 3:
			if f.req.Job == nil || f.req.Job.EndedAt != 0 {
				return false
			}
			job := *f.req.Job
			job.EndedAt, job.State = f.now, policy.JobCompleted
			later.req.Job = &job
		}
		if d := later.decide(); d.Reason.OK() {
			t.Fatalf("denied (%v), then %v", f.decide().Reason, d.Reason)
		}
		return true
	})
}

func TestR12_GraceOnlyWidensReadingTheKeysOwnJob(t *testing.T) {
	t.Parallel()
	holds(t, func(t *rapid.T, f facts) bool {
		without := f
		without.rules.Grace = policy.Grace{}
		with, none := f.decide(), without.decide()
		if with == none {
			return false
		}
		if none.Reason != policy.KeyExpired || with.Reason != policy.AllowedByGrace {
			t.Fatalf("%v without grace, %v with it", none.Reason, with.Reason)
		}
		job := f.req.Job
		if f.req.Operation != policy.ReadJob || job == nil || job.KeyID != f.key.ID || job.AccountID != f.key.AccountID {
			t.Fatalf("grace for %v of job %+v", f.req.Operation, job)
		}
		if !f.key.Expires.Passed(f.now) {
			t.Fatal("grace for a key that has not expired")
		}
		if with.GraceUntil <= f.now || with.GraceUntil > job.CreatedAt.Add(f.rules.Grace.Window) {
			t.Fatalf("grace until %v, at %v, window to %v", with.GraceUntil, f.now, job.CreatedAt.Add(f.rules.Grace.Window))
		}
		return true
	})
}

func TestR12_NoGraceIsEverGivenWithoutAWindow(t *testing.T) {
	t.Parallel()
	holds(t, func(t *rapid.T, f facts) bool {
		f.rules.Grace.Window = 0
		d := f.decide()
		if d.Reason == policy.AllowedByGrace {
			t.Fatalf("grace until %v without a window", d.GraceUntil)
		}
		return d.Reason == policy.KeyExpired && f.req.Operation == policy.ReadJob
	})
}

func TestR12_ALongerGraceAllowsNoLess(t *testing.T) {
	t.Parallel()
	holds(t, func(t *rapid.T, f facts) bool {
		if f.decide().Reason != policy.AllowedByGrace {
			return false
		}
		f.rules.Grace.Window = max(f.rules.Grace.Window, time.Duration(rapid.Int64Range(0, 1<<62).Draw(t, "longer")))
		if d := f.decide(); d.Reason != policy.AllowedByGrace {
			t.Fatalf("with a longer window: %v", d.Reason)
		}
		f.rules.Grace.AfterEnd = 0
		if d := f.decide(); d.Reason != policy.AllowedByGrace {
			t.Fatalf("without the bound after the end: %v", d.Reason)
		}
		return true
	})
}

func TestR12_GraceForgivesOnlyTheExpiry(t *testing.T) {
	t.Parallel()
	holds(t, func(t *rapid.T, f facts) bool {
		if f.decide().Reason != policy.AllowedByGrace {
			return false
		}
		key := *f.key
		key.Expires = policy.Never()
		f.key = &key
		if d := f.decide(); d.Reason != policy.Allowed {
			t.Fatalf("allowed by grace, but %v without the expiry", d.Reason)
		}
		return true
	})
}

func TestR12_GraceForgivesExpiryWheneverItApplies(t *testing.T) {
	t.Parallel()
	holds(t, func(t *rapid.T, f facts) bool {
		job := f.req.Job
		if f.req.Operation != policy.ReadJob || job == nil || job.KeyID != f.key.ID || !f.key.Expires.Passed(f.now) {
			return false
		}
		key := *f.key
		key.Expires = policy.Never()
		unexpired := f
		unexpired.key = &key
		end := int64(job.CreatedAt) + f.rules.Grace.Window.Milliseconds()
		if f.rules.Grace.AfterEnd > 0 && job.EndedAt != 0 {
			end = min(end, int64(job.EndedAt)+f.rules.Grace.AfterEnd.Milliseconds())
		}
		if unexpired.decide().Reason != policy.Allowed || int64(f.now) >= end || f.rules.Grace.Window == 0 {
			return false
		}
		if d := f.decide(); d.Reason != policy.AllowedByGrace || int64(d.GraceUntil) != end {
			t.Fatalf("decided %v until %d, want grace until %d", d.Reason, int64(d.GraceUntil), end)
		}
		return true
	})
}
