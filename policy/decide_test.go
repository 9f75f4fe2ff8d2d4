package policy_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/speechgate/speechgate/policy"
)

func TestR2_EveryRequestIsDecidedFromTheRecordAgain(t *testing.T) {
	t.Parallel()
	key := keyWith(func(k *policy.Key) { k.Allow = addrs(t, "192.0.2.0/24") })
	// The order matters: if a decision were stored, the next line would show it.
	steps := []struct {
		name string
		now  policy.Time
		req  policy.Request
		want policy.Reason
	}{
		{"it is good here", during, policy.Request{Operation: policy.Recognize, Client: inside}, policy.Allowed},
		{"and bad there", during, policy.Request{Operation: policy.Recognize, Client: outside}, policy.AddressRefused},
		{"and good here again", during, policy.Request{Operation: policy.Stream, Client: inside}, policy.Allowed},
		{"and too weak to issue", during, policy.Request{Operation: policy.IssueKey, Client: inside}, policy.NoIssuanceRight},
		{"and expired later", expiry, policy.Request{Operation: policy.Recognize, Client: inside}, policy.KeyExpired},
		{"and good at the earlier instant", during, policy.Request{Operation: policy.Recognize, Client: inside}, policy.Allowed},
	}
	for _, tt := range steps {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			wantReason(t, policy.Decide(tt.now, key, &tt.req, policy.Rules{}), tt.want)
		})
	}
}

func TestR3_AKeyIsValidFromCreationUpToExpiry(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		now  policy.Time
		want policy.Reason
	}{
		{"1 ms before its creation it is unknown", created - 1, policy.KeyUnknown},
		{"at its creation it is valid", created, policy.Allowed},
		{"1 ms after its creation it is valid", created + 1, policy.Allowed},
		{"1 ms before its expiry it is valid", expiry - 1, policy.Allowed},
		{"at its expiry it is expired", expiry, policy.KeyExpired},
		{"1 ms after its expiry it is expired", expiry + 1, policy.KeyExpired},
		{"at the end of time it is expired", latest, policy.KeyExpired},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, op := range []policy.Operation{policy.Recognize, policy.CreateJob, policy.Stream, policy.ListJobs, policy.Info, policy.Mint} {
				wantReason(t, policy.Decide(tt.now, goodKey(), &policy.Request{Operation: op}, policy.Rules{}), tt.want)
			}
		})
	}
	t.Run("a key without expiry is valid at the end of time", func(t *testing.T) {
		t.Parallel()
		key := keyWith(func(k *policy.Key) { k.Expires = policy.Never() })
		wantReason(t, policy.Decide(latest, key, &policy.Request{Operation: policy.Recognize}, policy.Rules{}), policy.Allowed)
	})
	t.Run("a key without expiry too is unknown before its creation", func(t *testing.T) {
		t.Parallel()
		key := keyWith(func(k *policy.Key) { k.Expires = policy.Never() })
		wantReason(t, policy.Decide(created-1, key, &policy.Request{Operation: policy.Recognize}, policy.Rules{}), policy.KeyUnknown)
	})
	t.Run("a key whose expiry was forgotten is expired", func(t *testing.T) {
		t.Parallel()
		key := keyWith(func(k *policy.Key) { k.Expires = policy.Expiry{} })
		wantReason(t, policy.Decide(during, key, &policy.Request{Operation: policy.Recognize}, policy.Rules{}), policy.KeyExpired)
	})
	t.Run("a key that was to expire at its creation was never valid", func(t *testing.T) {
		t.Parallel()
		key := keyWith(func(k *policy.Key) { k.Expires = policy.ExpiresAt(created) })
		for _, now := range []policy.Time{created - 1, created, created + 1} {
			if d := policy.Decide(now, key, &policy.Request{Operation: policy.Recognize}, policy.Rules{}); d.Reason.OK() {
				t.Errorf("at %+d ms: %v", now-created, d.Reason)
			}
		}
	})
}

func TestR4_TheClientsAddressDecides(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		allow  string
		client netip.Addr
		want   policy.Reason
	}{
		{"no rule lets any address in", "", outside, policy.Allowed},
		{"no rule lets an unknown address in", "", netip.Addr{}, policy.Allowed},
		{"an address in the rule is let in", "192.0.2.0/24", inside, policy.Allowed},
		{"an address beside the rule is refused", "192.0.2.0/24", outside, policy.AddressRefused},
		{"an unknown address is refused, and said to be unknown", "192.0.2.0/24", netip.Addr{}, policy.AddressUnknown},
		{"an unknown address is refused by the rule for everybody, too", "0.0.0.0/0,::/0", netip.Addr{}, policy.AddressUnknown},
		{"a mapped address is the IPv4 address it carries", "192.0.2.7", netip.MustParseAddr("::ffff:192.0.2.7"), policy.Allowed},
		{"a rule of IPv4 holds no IPv6 address", "0.0.0.0/0", netip.MustParseAddr("2001:db8::1"), policy.AddressRefused},
		{"a rule of IPv6 holds no IPv4 address", "::/0", inside, policy.AddressRefused},
		{"a rule of IPv6 holds no mapped IPv4 address", "::/0", netip.MustParseAddr("::ffff:192.0.2.7"), policy.AddressRefused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			key := keyWith(func(k *policy.Key) { k.Allow = addrs(t, tt.allow); k.Issuable = true })
			for _, op := range listed {
				wantReason(t, policy.Decide(during, key, &policy.Request{Operation: op, Client: tt.client, Job: ownJob()}, policy.Rules{}), tt.want)
			}
		})
	}
}

func TestR4_EarlyDataIsRefusedWhateverTheKey(t *testing.T) {
	t.Parallel()
	for _, op := range listed {
		t.Run(op.String()+" in early data is refused", func(t *testing.T) {
			t.Parallel()
			r := &policy.Request{Operation: op, EarlyData: true, Client: inside, Job: ownJob()}
			if got := policy.CheckRequest(r); got != policy.EarlyData {
				t.Errorf("CheckRequest = %v", got)
			}
			for _, key := range []*policy.Key{nil, goodKey(), keyWith(func(k *policy.Key) { k.Allow = addrs(t, "192.0.2.7") })} {
				wantReason(t, policy.Decide(during, key, r, policy.Rules{}), policy.EarlyData)
			}
		})
	}
}

func TestR5_DecidingChangesNothing(t *testing.T) {
	t.Parallel()
	key := keyWith(func(k *policy.Key) { k.Allow = addrs(t, "192.0.2.7,192.0.2.0/24,10.0.0.1-10.0.0.9") })
	before, entries := *key, key.Allow.Entries()
	job := ownJob()
	jobBefore := *job
	for _, op := range listed {
		for _, now := range []policy.Time{created - 1, during, after} {
			policy.Decide(now, key, &policy.Request{
				Operation: op, Client: inside, Job: job,
			}, policy.Rules{Grace: policy.Grace{Window: time.Hour, AfterEnd: time.Minute}})
		}
	}
	if key.Expires != before.Expires || key.Issuable != before.Issuable || key.Status(during) != before.Status(during) ||
		!slices.Equal(key.Allow.Entries(), entries) || *job != jobBefore {
		t.Errorf("key or job changed: %+v, %+v", key, job)
	}
	t.Run("what Entries gave away is a copy", func(t *testing.T) {
		t.Parallel()
		got := key.Allow.Entries()
		got[0] = "0.0.0.0/0"
		if !slices.Equal(key.Allow.Entries(), entries) || key.Allow.Contains(outside) {
			t.Errorf("the set is now %v", key.Allow)
		}
	})
}

func TestR6_DeletedAndRevokedKeysEndAtOnce(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		key  *policy.Key
		want policy.Reason
	}{
		{"a deleted key is refused", keyWith(func(k *policy.Key) { k.DeletedAt = during }), policy.KeyDeleted},
		{"a key deleted by a clock ahead of ours is refused", keyWith(func(k *policy.Key) { k.DeletedAt = latest }), policy.KeyDeleted},
		{"a revoked key is refused", keyWith(func(k *policy.Key) { k.RevokedAt = during }), policy.KeyRevoked},
		{"a key revoked by a clock ahead of ours is refused", keyWith(func(k *policy.Key) { k.RevokedAt = latest }), policy.KeyRevoked},
		{"the operator's act is told where both happened", keyWith(func(k *policy.Key) { k.DeletedAt, k.RevokedAt = during, during }), policy.KeyRevoked},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, op := range listed {
				for _, now := range []policy.Time{created, during, after} {
					wantReason(t, policy.Decide(now, tt.key, forOwnJob(op), generous), tt.want)
				}
			}
		})
	}
}

func TestR6_AScheduledRevocationEndsAKeyAndItsGrace(t *testing.T) {
	t.Parallel()
	scheduled := func(at policy.Time) *policy.Key {
		return keyWith(func(k *policy.Key) { k.RevokeFrom, k.Issuable = at, true })
	}
	for _, op := range listed {
		for offset, revoked := range map[policy.Time]bool{-1: false, 0: true, 1: true} {
			want := policy.Allowed
			if revoked {
				want = policy.KeyRevoked
			}
			wantReason(t, policy.Decide(during+offset, scheduled(during), forOwnJob(op), generous), want)
		}
	}
	wantReason(t, policy.Decide(after-1, scheduled(after), forOwnJob(policy.ReadJob), generous), policy.AllowedByGrace)
	wantReason(t, policy.Decide(after, scheduled(after), forOwnJob(policy.ReadJob), generous), policy.KeyRevoked)
	both := scheduled(latest)
	both.RevokedAt = latest
	wantReason(t, policy.Decide(created, both, forOwnJob(policy.Recognize), generous), policy.KeyRevoked)
}

// generous are the rules that let the most requests through.
var generous = policy.Rules{UnrecordedJobs: true, Grace: policy.Grace{Window: 1 << 62}}

// forOwnJob is a request that generous rules let through, also after the key's
// expiry if the operation reads a job.
func forOwnJob(op policy.Operation) *policy.Request {
	return &policy.Request{Operation: op, Client: inside, Job: ownJob()}
}

func TestR7_TheIssuanceRight(t *testing.T) {
	t.Parallel()
	issuer := func(change func(*policy.Key)) *policy.Key {
		return keyWith(func(k *policy.Key) { k.Issuable = true; change(k) })
	}
	same := func(*policy.Key) {}
	tests := []struct {
		name   string
		key    *policy.Key
		now    policy.Time
		op     policy.Operation
		client netip.Addr
		want   policy.Reason
	}{
		{"a key without the right may not issue", goodKey(), during, policy.IssueKey, inside, policy.NoIssuanceRight},
		{"a key with the right may", issuer(same), during, policy.IssueKey, inside, policy.Allowed},
		{"a key with the right recognizes", issuer(same), during, policy.Recognize, inside, policy.Allowed},
		{"and creates jobs", issuer(same), during, policy.CreateJob, inside, policy.Allowed},
		{"and streams", issuer(same), during, policy.Stream, inside, policy.Allowed},
		{"its expiry binds the issuing", issuer(same), expiry, policy.IssueKey, inside, policy.KeyExpired},
		{"its addresses bind the issuing", issuer(func(k *policy.Key) { k.Allow = addrs(t, "192.0.2.7") }), during, policy.IssueKey, outside, policy.AddressRefused},
		{"and let it through from where they say", issuer(func(k *policy.Key) { k.Allow = addrs(t, "192.0.2.7") }), during, policy.IssueKey, inside, policy.Allowed},
		{"deleted, it issues nothing", issuer(func(k *policy.Key) { k.DeletedAt = during }), during, policy.IssueKey, inside, policy.KeyDeleted},
		{"an unknown key issues nothing", nil, during, policy.IssueKey, inside, policy.KeyUnknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			wantReason(t, policy.Decide(tt.now, tt.key, &policy.Request{Operation: tt.op, Client: tt.client}, policy.Rules{}), tt.want)
		})
	}
	t.Run("no grace lets an expired key issue", func(t *testing.T) {
		t.Parallel()
		wantReason(t, policy.Decide(after, issuer(same), forOwnJob(policy.IssueKey), generous), policy.KeyExpired)
	})
}

func TestR9_AClosedAccountEndsItsKeysAndTheirGrace(t *testing.T) {
	t.Parallel()
	keys := map[string]*policy.Key{
		"a valid key":                 goodKey(),
		"a key without expiry":        keyWith(func(k *policy.Key) { k.Expires = policy.Never() }),
		"a key with the right":        keyWith(func(k *policy.Key) { k.Issuable = true }),
		"a key bound to this address": keyWith(func(k *policy.Key) { k.Allow = addrs(t, "192.0.2.7") }),
	}
	for name, key := range keys {
		key.AccountOpen = false
		t.Run(name+" is refused, in its grace too", func(t *testing.T) {
			t.Parallel()
			for _, op := range listed {
				for _, now := range []policy.Time{created, during, after} {
					wantReason(t, policy.Decide(now, key, forOwnJob(op), generous), policy.AccountClosed)
				}
			}
		})
	}
}

func TestR3_AKeyOfLaterSaysWhyItIsUnknown(t *testing.T) {
	t.Parallel()
	const want = "the key was issued at 2023-11-14T22:13:20.000Z, and by this process's clock it is 2023-11-14T22:13:18.500Z, which is 1.5s earlier: set the clock"
	if got := policy.NotYet(created-1500, goodKey()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := policy.NotYet(created, goodKey()); got != "" {
		t.Errorf("from its creation on: %s", got)
	}
	if got := policy.NotYet(created, nil); got != "" {
		t.Errorf("an unknown key: %s", got)
	}
}
