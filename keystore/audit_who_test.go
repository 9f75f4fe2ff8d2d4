package keystore

import (
	"net/netip"
	"testing"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// The audit trail has an entry for every change: who, from where, when, and what.
func TestAudit_SaysWhoFromWhereWhenAndWhat(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	by := Actor{Kind: ActorOperator, ID: "alice", From: netip.MustParseAddr("198.51.100.9")}
	at := start.Add(time.Minute)
	a := f.account()
	k, _ := f.key(a.ID)
	rotated, _ := f.key(a.ID)
	deleted, _ := f.key(a.ID)
	var subject string
	for action, act := range map[string]func() error{
		actionAccountCreate: func() error {
			made, _, err := f.CreateAccount(t.Context(), at, by, "New")
			subject = made.ID
			return err
		},
		actionAccountRotate: func() error {
			_, _, err := f.RotateAccount(t.Context(), at, by, a.ID, 0)
			subject = a.ID
			return err
		},
		actionKeyIssue: func() error {
			made, _, err := f.IssueKey(t.Context(), at, by, NewKey{AccountID: a.ID, Origin: policy.OriginConsole, Expires: policy.Never()})
			subject = made.ID
			return err
		},
		actionKeyImport: func() error {
			made, err := f.ImportKeys(t.Context(), at, by, Import{AccountID: a.ID, Expires: policy.Never(), Secrets: []policy.Secret{policy.NewSecret("a-vendors-key")}})
			if err == nil {
				subject = made[0].Key.ID
			}
			return err
		},
		actionKeyRotate: func() error {
			_, err := f.RotateKey(t.Context(), at, by, rotated.ID, time.Minute)
			subject = rotated.ID
			return err
		},
		actionKeyDelete: func() error {
			_, err := f.DeleteKey(t.Context(), at, by, deleted.ID)
			subject = deleted.ID
			return err
		},
		actionAccountRename: func() error {
			_, err := f.RenameAccount(t.Context(), at, by, a.ID, "Other")
			subject = a.ID
			return err
		},
		actionAccountLimit: func() error {
			_, err := f.LimitAccount(t.Context(), at, by, a.ID, limitChange(t, "requests=60/m"))
			subject = a.ID
			return err
		},
		actionKeyRename: func() error {
			_, err := f.RenameKey(t.Context(), at, by, k.ID, "other")
			subject = k.ID
			return err
		},
		actionKeyRevoke: func() error {
			_, err := f.RevokeKey(t.Context(), at, by, k.ID, "")
			subject = k.ID
			return err
		},
	} {
		if err := act(); err != nil {
			t.Fatalf("%s: %v", action, err)
		}
		wantEntry(t, f, action, at, by, subject)
	}
	if _, err := f.CloseAccount(t.Context(), at, by, a.ID); err != nil {
		t.Fatal(err)
	}
	wantEntry(t, f, actionAccountClose, at, by, a.ID)
	wantWhole(t, f.verify(nil), 4+1+1+2+1+2+1+1+1+2) // the entries of trail, and one for each change; a rotation has two
}

func wantEntry(t *testing.T, f fixture, action string, at policy.Time, by Actor, subject string) {
	t.Helper()
	for _, e := range actions(t, f, "", action) {
		if e.Subject == subject && e.At == at && e.Actor == by {
			return
		}
	}
	t.Errorf("no entry %s by %+v at %s on %s", action, by, at, subject)
}
