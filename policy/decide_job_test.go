package policy_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/speechgate/speechgate/policy"
)

func TestR11_JobsBelongToTheAccount(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		op   policy.Operation
		job  *policy.Job
		want policy.Reason
	}{
		{"a key reads the job that it created", policy.ReadJob, ownJob(), policy.Allowed},
		{"a key reads the job of another key of its account", policy.ReadJob, siblingJob(), policy.Allowed},
		{"a key does not read a job of another account", policy.ReadJob, foreignJob(), policy.JobForeign},
		{"a key deletes the job of another key of its account", policy.DeleteJob, siblingJob(), policy.Allowed},
		{"a key does not delete a job of another account", policy.DeleteJob, foreignJob(), policy.JobForeign},
		{"a job that says it is this key's but lies in another account is foreign", policy.ReadJob, &policy.Job{ID: "j1", AccountID: "acc_9", KeyID: "key_1", CreatedAt: during}, policy.JobForeign},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, unrecorded := range []bool{false, true} {
				wantReason(t, policy.Decide(during, goodKey(), &policy.Request{Operation: tt.op, Job: tt.job}, policy.Rules{UnrecordedJobs: unrecorded}), tt.want)
			}
		})
	}
}

func TestR12_GraceIsForReadingTheKeysOwnJob(t *testing.T) {
	t.Parallel()
	grace := policy.Grace{Window: time.Hour}
	end := during.Add(time.Hour)
	t.Run("an expired key reads the job it created, until an hour after its creation", func(t *testing.T) {
		t.Parallel()
		d := policy.Decide(after, goodKey(), &policy.Request{Operation: policy.ReadJob, Job: ownJob()}, policy.Rules{Grace: grace})
		if want := (policy.Decision{Reason: policy.AllowedByGrace, GraceUntil: end}); d != want {
			t.Errorf("decided %+v, want %+v", d, want)
		}
	})
	t.Run("a valid key needs no grace", func(t *testing.T) {
		t.Parallel()
		wantReason(t, policy.Decide(expiry-1, goodKey(), &policy.Request{Operation: policy.ReadJob, Job: ownJob()}, policy.Rules{Grace: grace}), policy.Allowed)
	})
	for _, op := range listed {
		if op == policy.ReadJob {
			continue
		}
		t.Run("grace is not for "+op.String(), func(t *testing.T) {
			t.Parallel()
			key := keyWith(func(k *policy.Key) { k.Issuable = true })
			wantReason(t, policy.Decide(after, key, forOwnJob(op), generous), policy.KeyExpired)
		})
	}
	restricted := func(k *policy.Key) { k.Allow = addrs(t, "192.0.2.7") }
	refused := []struct {
		name   string
		key    *policy.Key
		job    *policy.Job
		client netip.Addr
		want   policy.Reason
	}{
		{"another key's job, though of the same account", goodKey(), siblingJob(), inside, policy.KeyExpired},
		{"another account's job", goodKey(), foreignJob(), inside, policy.KeyExpired},
		{"a job that says it is this key's but lies in another account", goodKey(), &policy.Job{AccountID: "acc_9", KeyID: "key_1", CreatedAt: during}, inside, policy.KeyExpired},
		{"a job that is not recorded", goodKey(), nil, inside, policy.KeyExpired},
		{"a deleted key", keyWith(func(k *policy.Key) { k.DeletedAt = during }), ownJob(), inside, policy.KeyDeleted},
		{"a revoked key", keyWith(func(k *policy.Key) { k.RevokedAt = during }), ownJob(), inside, policy.KeyRevoked},
		{"a key of a closed account", keyWith(func(k *policy.Key) { k.AccountOpen = false }), ownJob(), inside, policy.AccountClosed},
		{"a suspended key", keyWith(func(k *policy.Key) { k.SuspendedAt = created }), ownJob(), inside, policy.KeySuspended},
		{"a key of a suspended account", keyWith(func(k *policy.Key) { k.AccountSuspended = true }), ownJob(), inside, policy.AccountSuspended},
		{"a key at an address that its rule does not hold", keyWith(restricted), ownJob(), outside, policy.AddressRefused},
		{"a bound key at an unknown address", keyWith(restricted), ownJob(), netip.Addr{}, policy.AddressUnknown},
	}
	for _, tt := range refused {
		t.Run("grace is not for "+tt.name, func(t *testing.T) {
			t.Parallel()
			r := forOwnJob(policy.ReadJob)
			r.Job, r.Client = tt.job, tt.client
			wantReason(t, policy.Decide(after, tt.key, r, generous), tt.want)
		})
	}
	t.Run("grace is for a bound key at an address of its rule", func(t *testing.T) {
		t.Parallel()
		wantReason(t, policy.Decide(after, keyWith(restricted), forOwnJob(policy.ReadJob), generous), policy.AllowedByGrace)
	})
	t.Run("grace is not for early data", func(t *testing.T) {
		t.Parallel()
		r := forOwnJob(policy.ReadJob)
		r.EarlyData = true
		wantReason(t, policy.Decide(after, goodKey(), r, generous), policy.EarlyData)
	})
	t.Run("no window is no grace, whatever the clock says", func(t *testing.T) {
		t.Parallel()
		for _, window := range []time.Duration{0, -1, -time.Hour, -1 << 63} {
			job := ownJob()
			for _, at := range []policy.Time{during, after, after + 1, latest} { // the last ones by a clock that was ahead
				job.CreatedAt = at
				r := &policy.Request{Operation: policy.ReadJob, Job: job}
				rules := policy.Rules{Grace: policy.Grace{Window: window}}
				wantReason(t, policy.Decide(after, goodKey(), r, rules), policy.KeyExpired)
			}
		}
	})
}

func TestR12_TheGracesBounds(t *testing.T) {
	t.Parallel()
	ended := func(at policy.Time) *policy.Job {
		j := ownJob()
		j.State, j.EndedAt = policy.JobCompleted, at
		return j
	}
	tests := []struct {
		name  string
		grace policy.Grace
		job   *policy.Job
		until policy.Time
	}{
		{"it ends a window after the job's creation", policy.Grace{Window: time.Hour}, ownJob(), during + 3_600_000},
		{"the job's end changes nothing where grace_after_end is off", policy.Grace{Window: time.Hour}, ended(after), during + 3_600_000},
		{"grace_after_end changes nothing while the job runs", policy.Grace{Window: time.Hour, AfterEnd: time.Minute}, ownJob(), during + 3_600_000},
		{"it ends grace_after_end after the job's end", policy.Grace{Window: time.Hour, AfterEnd: time.Minute}, ended(after), after + 60_000},
		{"grace_after_end never makes it longer", policy.Grace{Window: time.Hour, AfterEnd: 2 * time.Hour}, ended(after), during + 3_600_000},
		{"a window beyond the end of time stops there", policy.Grace{Window: 1<<63 - 1}, &policy.Job{AccountID: "acc_1", KeyID: "key_1", CreatedAt: latest - 5_000}, latest},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := tt.grace.Until(tt.job); got != tt.until {
				t.Errorf("Until = %v, want %v", got, tt.until)
			}
			for offset, want := range map[policy.Time]policy.Reason{-1: policy.AllowedByGrace, 0: policy.KeyExpired, 1: policy.KeyExpired} {
				if tt.until == latest && offset > 0 {
					continue
				}
				r := &policy.Request{Operation: policy.ReadJob, Job: tt.job}
				if d := policy.Decide(tt.until+offset, goodKey(), r, policy.Rules{Grace: tt.grace}); d.Reason != want {
					t.Errorf("%+d ms from its end: %v, want %v", offset, d.Reason, want)
				}
			}
		})
	}
	t.Run("it begins in the very millisecond of the expiry", func(t *testing.T) {
		t.Parallel()
		for offset, want := range map[policy.Time]policy.Reason{-1: policy.Allowed, 0: policy.AllowedByGrace, 1: policy.AllowedByGrace} {
			wantReason(t, policy.Decide(expiry+offset, goodKey(), forOwnJob(policy.ReadJob), generous), want)
		}
	})
	t.Run("a window that closed before the expiry leaves none", func(t *testing.T) {
		t.Parallel()
		r := &policy.Request{Operation: policy.ReadJob, Job: ownJob()}
		rules := policy.Rules{Grace: policy.Grace{Window: time.Duration(expiry-during) * time.Millisecond}}
		wantReason(t, policy.Decide(expiry-1, goodKey(), r, rules), policy.Allowed)
		wantReason(t, policy.Decide(expiry, goodKey(), r, rules), policy.KeyExpired)
	})
}

func TestR13_UnrecordedJobs(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name       string
		op         policy.Operation
		job        *policy.Job
		now        policy.Time
		unrecorded bool
		want       policy.Reason
	}{
		{"refuse: a valid key finds no such job", policy.ReadJob, nil, during, false, policy.JobUnknown},
		{"refuse: and can delete none", policy.DeleteJob, nil, during, false, policy.JobUnknown},
		{"backend: a valid key may ask", policy.ReadJob, nil, during, true, policy.Allowed},
		{"backend: and may delete", policy.DeleteJob, nil, during, true, policy.Allowed},
		{"backend: an expired key may not ask", policy.ReadJob, nil, after, true, policy.KeyExpired},
		{"backend: a recorded job of another account stays foreign", policy.ReadJob, foreignJob(), during, true, policy.JobForeign},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := &policy.Request{Operation: tt.op, Job: tt.job}
			rules := policy.Rules{UnrecordedJobs: tt.unrecorded, Grace: policy.Grace{Window: 1 << 62}}
			wantReason(t, policy.Decide(tt.now, goodKey(), r, rules), tt.want)
		})
	}
	t.Run("backend: an unknown key may not ask", func(t *testing.T) {
		t.Parallel()
		wantReason(t, policy.Decide(during, nil, &policy.Request{Operation: policy.ReadJob}, policy.Rules{UnrecordedJobs: true}), policy.KeyUnknown)
	})
}

func TestR15_AnUnlistedOperationIsRefused(t *testing.T) {
	t.Parallel()
	key := keyWith(func(k *policy.Key) { k.Issuable, k.Expires = true, policy.Never() })
	for i := range 256 {
		op := policy.Operation(i)
		isListed := slices.Contains(listed, op)
		for _, early := range []bool{false, true} {
			r := &policy.Request{Operation: op, Client: inside, Job: ownJob(), EarlyData: early}
			want := policy.OperationUnlisted
			if isListed && early {
				want = policy.EarlyData
			} else if isListed {
				want = policy.Undecided
			}
			if got := policy.CheckRequest(r); got != want {
				t.Errorf("operation %d, early data %v: CheckRequest = %v, want %v", i, early, got, want)
			}
			if want == policy.Undecided {
				want = policy.Allowed
			}
			if got := policy.Decide(during, key, r, policy.Rules{UnrecordedJobs: true}); got.Reason != want {
				t.Errorf("operation %d, early data %v: Decide = %v, want %v", i, early, got.Reason, want)
			}
			if got := policy.Decide(during, nil, r, policy.Rules{UnrecordedJobs: true}); got.Reason.OK() {
				t.Errorf("operation %d, early data %v: an unknown key is %v", i, early, got.Reason)
			}
		}
	}
}

func TestR17_MissingFactsAreRefused(t *testing.T) {
	t.Parallel()
	for _, op := range append([]policy.Operation{policy.Unlisted}, listed...) {
		t.Run("an unknown key may not "+op.String(), func(t *testing.T) {
			t.Parallel()
			for _, now := range []policy.Time{earliest, 0, during, latest} {
				if d := policy.Decide(now, nil, forOwnJob(op), generous); d.Reason.OK() {
					t.Errorf("at %v: %v", now, d.Reason)
				}
			}
		})
		t.Run("the zero key may not "+op.String(), func(t *testing.T) {
			t.Parallel()
			for _, now := range []policy.Time{0, during, latest} {
				r := forOwnJob(op)
				r.Job = &policy.Job{CreatedAt: during} // without a key and an account, like the key
				if d := policy.Decide(now, &policy.Key{}, r, generous); d.Reason.OK() {
					t.Errorf("at %v: %v", now, d.Reason)
				}
			}
		})
	}
	t.Run("the zero request is refused", func(t *testing.T) {
		t.Parallel()
		wantReason(t, policy.Decide(during, goodKey(), &policy.Request{}, policy.Rules{}), policy.OperationUnlisted)
	})
	t.Run("a decision that was not made is none", func(t *testing.T) {
		t.Parallel()
		if (policy.Decision{}).Reason.OK() {
			t.Error("the zero decision allows")
		}
	})
}

func TestDecide_allocatesNothing(t *testing.T) { //nolint:paralleltest // measures allocations
	for name, f := range benchmarks(t) {
		t.Run("deciding on "+name, func(t *testing.T) {
			if d := policy.Decide(f.now, f.key, f.req, benchRules); d.Reason != f.want {
				t.Fatalf("decided %v, want %v", d.Reason, f.want)
			}
			if n := testing.AllocsPerRun(1000, func() { sink = policy.Decide(f.now, f.key, f.req, benchRules) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

func BenchmarkDecide(b *testing.B) {
	for name, f := range benchmarks(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				sink = policy.Decide(f.now, f.key, f.req, benchRules)
			}
		})
	}
}

var sink policy.Decision

// benchRules give grace, so that the benchmarks also measure the grace window.
var benchRules = policy.Rules{Grace: policy.Grace{Window: time.Hour, AfterEnd: time.Minute}}

type benchmark struct {
	now  policy.Time
	key  *policy.Key
	req  *policy.Request
	want policy.Reason
}

func benchmarks(tb testing.TB) map[string]benchmark {
	rule := ""
	for i := range 64 {
		rule += netip.AddrFrom4([4]byte{10, 0, byte(i), 0}).String() + "/28 "
		rule += netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, byte(i)}).String() + "/48 "
	}
	restricted := keyWith(func(k *policy.Key) { k.Allow = addrs(tb, rule) })
	v6 := netip.MustParseAddr("2001:db8:1700::5")
	mapped := netip.MustParseAddr("::ffff:10.0.17.3")
	zoned := netip.MustParseAddr("2001:db8:ffff::5%eth0")
	ask := func(op policy.Operation, client netip.Addr) *policy.Request {
		return &policy.Request{Operation: op, Client: client, Job: ownJob()}
	}
	return map[string]benchmark{
		"an open key":                              {during, goodKey(), ask(policy.Recognize, inside), policy.Allowed},
		"a restricted key, IPv4":                   {during, restricted, ask(policy.Recognize, mapped.Unmap()), policy.Allowed},
		"a restricted key, mapped":                 {during, restricted, ask(policy.Recognize, mapped), policy.Allowed},
		"a restricted key, IPv6":                   {during, restricted, ask(policy.ReadJob, v6), policy.Allowed},
		"a restricted key, refused address":        {during, restricted, ask(policy.Recognize, outside), policy.AddressRefused},
		"a restricted key, refused zoned address":  {during, restricted, ask(policy.Recognize, zoned), policy.AddressRefused},
		"a restricted key in its grace":            {after, restricted, ask(policy.ReadJob, mapped), policy.AllowedByGrace},
		"a restricted key that has simply expired": {after, restricted, ask(policy.Recognize, mapped), policy.KeyExpired},
	}
}
