package policy_test

import (
	"net/netip"
	"testing"

	"github.com/speechgate/speechgate/policy"
)

// The instants of a key's life, in order.
const (
	created policy.Time = 1_700_000_000_000
	during  policy.Time = created + 50_000
	expiry  policy.Time = created + 100_000
	after   policy.Time = expiry + 10_000
)

var (
	inside  = netip.MustParseAddr("192.0.2.7")
	outside = netip.MustParseAddr("198.51.100.7")
)

func addrs(t testing.TB, list string) policy.AddrSet {
	t.Helper()
	s, err := policy.ParseAddrSet(list)
	if err != nil {
		t.Fatalf("ParseAddrSet(%q): %v", list, err)
	}
	return s
}

// goodKey is valid from created to expiry, from anywhere.
func goodKey() *policy.Key {
	return &policy.Key{
		ID: "key_1", AccountID: "acc_1", AccountOpen: true, Origin: policy.OriginConsole,
		CreatedAt: created, Expires: policy.ExpiresAt(expiry),
	}
}

func keyWith(change func(*policy.Key)) *policy.Key {
	k := goodKey()
	change(k)
	return k
}

// ownJob was created by goodKey while it was valid.
func ownJob() *policy.Job {
	return &policy.Job{Backend: "amivoice", ID: "j1", AccountID: "acc_1", KeyID: "key_1", CreatedAt: during}
}

// siblingJob was created by another key of goodKey's account, foreignJob by a
// key of another account.
func siblingJob() *policy.Job {
	j := ownJob()
	j.KeyID = "key_2"
	return j
}

func foreignJob() *policy.Job {
	j := ownJob()
	j.KeyID, j.AccountID = "key_9", "acc_9"
	return j
}

var listed = []policy.Operation{
	policy.Recognize, policy.CreateJob, policy.ReadJob, policy.DeleteJob, policy.Stream,
	policy.ListJobs, policy.Info, policy.Mint, policy.IssueKey, policy.Upload,
}

func wantReason(t *testing.T, got policy.Decision, want policy.Reason) {
	t.Helper()
	if got.Reason != want {
		t.Errorf("decided %v, want %v", got.Reason, want)
	}
	if got.Reason != policy.AllowedByGrace && got.GraceUntil != 0 {
		t.Errorf("decided %v with a grace until %v, which is for allowed_by_grace alone", got.Reason, got.GraceUntil)
	}
}

func limits(t testing.TB, text string) policy.Limits {
	t.Helper()
	l, err := policy.ParseLimits(text)
	if err != nil {
		t.Fatalf("ParseLimits(%q): %v", text, err)
	}
	return l
}
