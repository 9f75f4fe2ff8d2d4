package policy_test

import (
	"strings"
	"testing"

	"github.com/speechgate/speechgate/policy"
)

func TestR6_DeletionByOrigin(t *testing.T) {
	t.Parallel()
	t.Run("a key issued on the console can be deleted", func(t *testing.T) {
		t.Parallel()
		if err := policy.CheckDelete(policy.OriginConsole); err != nil {
			t.Error(err)
		}
	})
	refused := []struct {
		name   string
		origin policy.Origin
		says   []string
	}{
		{"an initial key cannot, and the error says what can be done", policy.OriginInitial, []string{"initial", "cannot be deleted", "revoke"}},
		{"a key from the issuance API cannot, and the error says what can be done", policy.OriginAPI, []string{"issuance API", "api", "cannot be deleted", "revoke"}},
		{"a key of no origin cannot", policy.Origin(0), []string{"cannot be deleted"}},
		{"a key of an origin that does not exist cannot", policy.Origin(99), []string{"cannot be deleted"}},
	}
	for _, tt := range refused {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			wantError(t, policy.CheckDelete(tt.origin), tt.says...)
		})
	}
}

func TestR7_OnlyConsoleKeysCarryTheIssuanceRight(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		origin   policy.Origin
		issuable bool
		ok       bool
	}{
		{"a console key may carry it", policy.OriginConsole, true, true},
		{"a console key may go without", policy.OriginConsole, false, true},
		{"an initial key may not carry it", policy.OriginInitial, true, false},
		{"an initial key goes without", policy.OriginInitial, false, true},
		{"a key from the issuance API may not carry it", policy.OriginAPI, true, false},
		{"a key from the issuance API goes without", policy.OriginAPI, false, true},
		{"a key of no origin may not carry it", policy.Origin(0), true, false},
		{"a key of an origin that does not exist may not carry it", policy.Origin(99), true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := policy.CheckIssue(tt.origin, tt.issuable)
			if tt.ok && err != nil {
				t.Errorf("refused: %v", err)
			}
			if !tt.ok {
				wantError(t, err, tt.origin.String(), "issuance right", "console")
			}
		})
	}
}

func TestOrigin_wordsGoBothWays(t *testing.T) {
	t.Parallel()
	for word, origin := range map[string]policy.Origin{
		"initial": policy.OriginInitial, "console": policy.OriginConsole, "api": policy.OriginAPI,
	} {
		if origin.String() != word {
			t.Errorf("%d prints %q, want %q", origin, origin, word)
		}
		if got, err := policy.ParseOrigin(word); err != nil || got != origin {
			t.Errorf("ParseOrigin(%q) = %v, %v", word, got, err)
		}
	}
	for _, word := range []string{"", "Console", "API", "console ", "operator"} {
		got, err := policy.ParseOrigin(word)
		if got != 0 {
			t.Errorf("ParseOrigin(%q) = %v, want none", word, got)
		}
		wantError(t, err, `"`+word+`"`, "initial, console or api")
	}
	if got := policy.Origin(0).String() + policy.Origin(4).String() + policy.Origin(255).String(); got != "" {
		t.Errorf("values that are no origin print %q", got)
	}
}

func TestR9_StatusOfAKeyOfAClosedAccount(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		key  *policy.Key
		now  policy.Time
		want string
	}{
		{"a valid key is active", goodKey(), during, "active"},
		{"a key is active in the millisecond before its expiry", goodKey(), expiry - 1, "active"},
		{"a key is expired from its expiry on", goodKey(), expiry, "expired"},
		{"a key that never expires is active", keyWith(func(k *policy.Key) { k.Expires = policy.Never() }), after, "active"},
		{"a deleted key is deleted, expired or not", keyWith(func(k *policy.Key) { k.DeletedAt = during }), after, "deleted"},
		{"a revoked key is revoked, deleted or not", keyWith(func(k *policy.Key) { k.DeletedAt, k.RevokedAt = during, during }), during, "revoked"},
		{"a key is active before its scheduled revocation", keyWith(func(k *policy.Key) { k.RevokeFrom = during + 1 }), during, "active"},
		{"and revoked from it on", keyWith(func(k *policy.Key) { k.RevokeFrom = during }), during, "revoked"},
		{"and revoked, not expired, where both happened", keyWith(func(k *policy.Key) { k.RevokeFrom = during }), after, "revoked"},
		{"and expired, where that comes first", keyWith(func(k *policy.Key) { k.RevokeFrom = latest }), after, "expired"},
		{"a suspended key is suspended", keyWith(func(k *policy.Key) { k.SuspendedAt = created }), during, "suspended"},
		{"a key of a suspended account is suspended", keyWith(func(k *policy.Key) { k.AccountSuspended = true }), during, "suspended"},
		{"a suspended key expires all the same", keyWith(func(k *policy.Key) { k.SuspendedAt = created }), expiry, "expired"},
		{"a revoked key is revoked, suspended or not", keyWith(func(k *policy.Key) { k.SuspendedAt, k.RevokedAt = created, during }), during, "revoked"},
		{"a key of a closed account has ended, suspended or not", keyWith(func(k *policy.Key) { k.AccountOpen, k.AccountSuspended = false, true }), during, "revoked"},
		{"a key of a closed account has ended", keyWith(func(k *policy.Key) { k.AccountOpen = false }), during, "revoked"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := tt.key.Status(tt.now); got != tt.want {
				t.Errorf("Status = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestKey_isRevokedSinceTheEarlierRevocation(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name                  string
		revoked, scheduled    policy.Time
		before, at, following policy.Time // the answers around during
	}{
		{"never", 0, 0, 0, 0, 0},
		{"at once", during, 0, during, during, during},
		{"by schedule", 0, during, 0, during, during},
		{"before the schedule", created, during, created, created, created},
		{"after the schedule", after, during, after, during, during},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			key := keyWith(func(k *policy.Key) { k.RevokedAt, k.RevokeFrom = tt.revoked, tt.scheduled })
			for now, want := range map[policy.Time]policy.Time{during - 1: tt.before, during: tt.at, during + 1: tt.following} {
				if got := key.RevokedSince(now); got != want {
					t.Errorf("at %+d ms: %v, want %v", now-during, got, want)
				}
			}
		})
	}
}

func TestR9_AnAccountIsOpenUntilItIsClosed(t *testing.T) {
	t.Parallel()
	if !(policy.Account{CreatedAt: created}).Open() {
		t.Error("an account with no closing time is not open")
	}
	if (policy.Account{CreatedAt: created, ClosedAt: during}).Open() {
		t.Error("an account with a closing time is open")
	}
}

func TestAccount_Status(t *testing.T) {
	t.Parallel()
	for want, account := range map[string]policy.Account{
		"open":      {},
		"suspended": {SuspendedAt: during},
		"closed":    {SuspendedAt: during, ClosedAt: during},
	} {
		if got := account.Status(); got != want {
			t.Errorf("Status = %q, want %q", got, want)
		}
	}
}

func TestR8_TheServiceIDBeforeARotationLastsForTheOverlap(t *testing.T) {
	t.Parallel()
	rotated := policy.Account{ServiceID: "new", PreviousServiceID: "old", PreviousUntil: during}
	for _, tt := range []struct {
		account policy.Account
		id      string
		now     policy.Time
		want    bool
	}{
		{rotated, "new", after, true},
		{rotated, "old", during - 1, true},
		{rotated, "old", during, false},
		{rotated, "other", created, false},
		{rotated, "", created, false},
		{policy.Account{ServiceID: "new"}, "", created, false},
	} {
		if got := tt.account.HasServiceID(tt.id, tt.now); got != tt.want {
			t.Errorf("%q at %s: %t, want %t", tt.id, tt.now, got, tt.want)
		}
	}
}

func TestJobState_words(t *testing.T) {
	t.Parallel()
	want := map[string]struct {
		state policy.JobState
		ended bool
	}{
		"unknown":    {policy.JobUnseen, false},
		"queued":     {policy.JobQueued, false},
		"started":    {policy.JobStarted, false},
		"processing": {policy.JobProcessing, false},
		"completed":  {policy.JobCompleted, true},
		"error":      {policy.JobFailed, true},
	}
	for word, w := range want {
		if w.state.String() != word || policy.ParseJobState(word) != w.state {
			t.Errorf("%q: prints %q, parses to %v", word, w.state, policy.ParseJobState(word))
		}
		if w.state.Ended() != w.ended {
			t.Errorf("%q: Ended is %v, want %v", word, w.state.Ended(), w.ended)
		}
	}
	for _, word := range []string{"", "Completed", "done", "failed"} {
		if got := policy.ParseJobState(word); got != policy.JobUnseen {
			t.Errorf("ParseJobState(%q) = %v, want unseen", word, got)
		}
	}
	for i := len(want); i < 256; i++ {
		if s := policy.JobState(i); s.String() != "unknown" || s.Ended() {
			t.Errorf("JobState(%d): %q, ended %v", i, s, s.Ended())
		}
	}
}

// wantError checks that err is not nil and contains all of these texts.
func wantError(t *testing.T, err error, says ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one that says %q", says)
		return
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("error %q does not say %q", err, s)
		}
	}
}
