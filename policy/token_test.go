package policy_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

// A token is decided on as its owner is, and it must not have expired.
func TestR3_ATokenIsValidUpToItsExpiryAndItsOwners(t *testing.T) {
	t.Parallel()
	never := keyWith(func(k *policy.Key) { k.Expires = policy.Never() })
	tests := []struct {
		name    string
		now     policy.Time
		key     *policy.Key
		expires policy.Time // of the token
		want    policy.Reason
	}{
		{"1 ms before its owner's creation it is unknown", created - 1, goodKey(), expiry, policy.KeyUnknown},
		{"before its expiry it is valid", during, goodKey(), expiry, policy.Allowed},
		{"1 ms before its expiry it is valid", during - 1, goodKey(), during, policy.Allowed},
		{"at its expiry it is expired", during, goodKey(), during, policy.KeyExpired},
		{"1 ms after its expiry it is expired", during + 1, goodKey(), during, policy.KeyExpired},
		{"1 ms before its owner's expiry it is valid", expiry - 1, goodKey(), after, policy.Allowed},
		{"at its owner's expiry it is expired", expiry, goodKey(), after, policy.KeyExpired},
		{"1 ms before its expiry it is valid if its owner does not expire", after - 1, never, after, policy.Allowed},
		{"at its expiry it is expired even if its owner does not expire", after, never, after, policy.KeyExpired},
		{"a token whose expiry was forgotten is expired", during, never, 0, policy.KeyExpired},
		{"a token without an owner is unknown", during, nil, expiry, policy.KeyUnknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := &policy.Request{Token: &policy.Token{CreatedAt: created, ExpiresAt: tt.expires}}
			for _, op := range []policy.Operation{policy.Recognize, policy.CreateJob, policy.Stream, policy.ListJobs, policy.Info} {
				r.Operation = op
				wantReason(t, policy.Decide(tt.now, tt.key, r, policy.Rules{}), tt.want)
			}
		})
	}
}

func TestR4_ATokenHasTheAddressRuleOfItsOwner(t *testing.T) {
	t.Parallel()
	r := &policy.Request{Operation: policy.Stream, Token: &policy.Token{CreatedAt: created, ExpiresAt: expiry}}
	key := keyWith(func(k *policy.Key) { k.Allow = addrs(t, "192.0.2.0/24") })
	wantReason(t, policy.Decide(during, key, r, policy.Rules{}), policy.AddressUnknown)
	r.Client = outside
	wantReason(t, policy.Decide(during, key, r, policy.Rules{}), policy.AddressRefused)
	r.Client = inside
	wantReason(t, policy.Decide(during, key, r, policy.Rules{}), policy.Allowed)
}

func TestR6_R9_ATokenEndsWithItsOwner(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		end  func(*policy.Key)
		want policy.Reason
	}{
		{"revoked", func(k *policy.Key) { k.RevokedAt = during }, policy.KeyRevoked},
		{"revoked by a schedule", func(k *policy.Key) { k.RevokeFrom = during }, policy.KeyRevoked},
		{"revoked later by a schedule", func(k *policy.Key) { k.RevokeFrom = during + 1 }, policy.Allowed},
		{"deleted", func(k *policy.Key) { k.DeletedAt = during }, policy.KeyDeleted},
		{"suspended", func(k *policy.Key) { k.SuspendedAt = during }, policy.KeySuspended},
		{"account closed", func(k *policy.Key) { k.AccountOpen = false }, policy.AccountClosed},
		{"account suspended", func(k *policy.Key) { k.AccountSuspended = true }, policy.AccountSuspended},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := &policy.Request{Operation: policy.Stream, Token: &policy.Token{CreatedAt: created, ExpiresAt: expiry}}
			wantReason(t, policy.Decide(during, keyWith(tt.end), r, policy.Rules{}), tt.want)
		})
	}
}

// A credential that a token gets could outlive the token.
func TestR7_ATokenGetsNoOtherCredential(t *testing.T) {
	t.Parallel()
	key := keyWith(func(k *policy.Key) { k.Issuable = true })
	for _, op := range []policy.Operation{policy.IssueKey, policy.Mint} {
		r := &policy.Request{Operation: op}
		wantReason(t, policy.Decide(during, key, r, policy.Rules{}), policy.Allowed)
		r.Token = &policy.Token{CreatedAt: created, ExpiresAt: expiry}
		wantReason(t, policy.Decide(during, key, r, policy.Rules{}), policy.NoIssuanceRight)
	}
}

// The grace window forgives the expiry of a token's owner, and not the token's own.
func TestR12_GraceForgivesTheOwnersExpiryOnly(t *testing.T) {
	t.Parallel()
	rules := policy.Rules{Grace: policy.Grace{Window: time.Hour}}
	decide := func(now policy.Time, j *policy.Job, op policy.Operation) policy.Decision {
		r := &policy.Request{Operation: op, Job: j, Token: &policy.Token{CreatedAt: created, ExpiresAt: after}}
		return policy.Decide(now, goodKey(), r, rules)
	}
	d := decide(after-1, ownJob(), policy.ReadJob)
	if wantReason(t, d, policy.AllowedByGrace); d.GraceUntil != ownJob().CreatedAt.Add(time.Hour) {
		t.Errorf("grace until %s", d.GraceUntil)
	}
	wantReason(t, decide(after, ownJob(), policy.ReadJob), policy.KeyExpired)
	wantReason(t, decide(after-1, siblingJob(), policy.ReadJob), policy.KeyExpired)
	wantReason(t, decide(after-1, foreignJob(), policy.ReadJob), policy.KeyExpired)
	wantReason(t, decide(after-1, ownJob(), policy.DeleteJob), policy.KeyExpired)
	wantReason(t, decide(during, siblingJob(), policy.ReadJob), policy.Allowed)
	wantReason(t, decide(during, foreignJob(), policy.ReadJob), policy.JobForeign)
}

func TestR7_ATokenNeverGivesMoreThanItsOwner(t *testing.T) {
	t.Parallel()
	holds(t, func(t *rapid.T, f facts) bool {
		if f.req.Token == nil {
			f.req.Token = &policy.Token{CreatedAt: created, ExpiresAt: aTime().Draw(t, "token's expiry")}
		}
		byToken := f.decide()
		byOwner := f
		byOwner.req.Token = nil
		owner := byOwner.decide()
		if byToken.Reason.OK() && byToken != owner {
			t.Fatalf("%+v by the token, %+v by its owner", byToken, owner)
		}
		// The token loses nothing else than what its own expiry and the ban on other
		// credentials take.
		may := !f.req.Token.Expired(f.now) && f.req.Operation != policy.Mint && f.req.Operation != policy.IssueKey
		if may && byToken != owner {
			t.Fatalf("%+v by the token, %+v by its owner", byToken, owner)
		}
		return owner.Reason.OK()
	})
}

func TestCheckToken_AllowsLongerTokensThanKeys(t *testing.T) {
	t.Parallel()
	ours := newSecret(t, policy.KeyPrefix, 1)
	for _, tt := range []struct {
		name, text string
		want       error
	}{
		{"a short one", "ek_123", nil},
		{"as long as a key can be", strings.Repeat("x", policy.MaxSecretLen), nil},
		{"a signed one that is longer", strings.Repeat("x", 4096), nil},
		{"one byte too long", strings.Repeat("x", 4097), policy.ErrTokenLength},
		{"with a space", "ek_ 123", policy.ErrSecretChars},
		{"a key", ours, nil},
		{"a key that was mistyped", ours[:len(ours)-1], policy.ErrSecretChecksum},
	} {
		if err := policy.CheckToken(policy.NewSecret(tt.text)); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		// Only the length sets it apart from a key.
		if asKey := check(tt.text); len(tt.text) <= policy.MaxSecretLen && !errors.Is(asKey, tt.want) {
			t.Errorf("%s: %v as a key, want %v", tt.name, asKey, tt.want)
		}
	}
	if err := check(strings.Repeat("x", policy.MaxTokenLen)); !errors.Is(err, policy.ErrSecretLength) {
		t.Errorf("a key as long as a token: %v", err)
	}
}
