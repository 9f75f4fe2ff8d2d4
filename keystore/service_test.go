package keystore

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/policy"
)

func TestFindService(t *testing.T) {
	for name, options := range map[string][]func(*Config){"plain": nil, "peppered": {withPepper("salt")}} {
		t.Run(name, func(t *testing.T) {
			f := openStore(t, newPath(t), options...)
			a, password, err := f.CreateAccount(t.Context(), start, operator, "One")
			if err != nil {
				t.Fatal(err)
			}
			b, other, err := f.CreateAccount(t.Context(), start, operator, "Two")
			if err != nil {
				t.Fatal(err)
			}
			want := func(sid string, spw policy.Secret, account string) {
				t.Helper()
				got, err := f.FindService(t.Context(), sid, spw)
				if account == "" {
					wantIs(t, err, ErrNotFound)
				} else if err != nil || got.ID != account {
					t.Errorf("found %q, %v; want %s", got.ID, err, account)
				}
			}
			want(a.ServiceID, password, a.ID)
			want(b.ServiceID, other, b.ID)
			for _, pair := range []struct{ id, password string }{
				{a.ServiceID, other.Reveal()},
				{b.ServiceID, password.Reveal()},
				{"svc_unknown", password.Reveal()},
				{"", ""},
				{a.ServiceID, ""},
				{"", password.Reveal()},
				{a.ID, password.Reveal()},
				{a.ServiceID, password.Reveal() + "x"},
				{strings.ToUpper(a.ServiceID), password.Reveal()},
				{a.ServiceID + "' OR '1'='1", password.Reveal()},
				{a.ServiceID, "' OR '1'='1"},
				{a.ServiceID + "\x00", password.Reveal()},
				{strings.Repeat("x", 16<<10), strings.Repeat("y", 16<<10)},
			} {
				want(pair.id, policy.NewSecret(pair.password), "")
			}

			rotated, next, err := f.RotateAccount(t.Context(), start, operator, a.ID)
			if err != nil {
				t.Fatal(err)
			}
			want(a.ServiceID, password, "")
			want(rotated.ServiceID, password, "")
			want(rotated.ServiceID, next, a.ID)

			if _, err := f.CloseAccount(t.Context(), start, operator, b.ID); err != nil {
				t.Fatal(err)
			}
			if got, err := f.FindService(t.Context(), b.ServiceID, other); err != nil || got.Open() {
				t.Errorf("a closed account: %+v, %v; want it, closed", got, err)
			}
		})
	}
}

// One way for an unknown service ID and a wrong password: nothing is found by
// the password's digest, and the service ID is never looked at alone.
func TestFindService_OneWayToNo(t *testing.T) {
	path := newPath(t)
	f := openStore(t, path)
	f.account()
	var plan string
	var n int
	err := rawDB(t, path).QueryRow("EXPLAIN QUERY PLAN "+findService, []byte{0}, "svc").Scan(&n, &n, &n, &plan)
	if err != nil || !strings.Contains(plan, "INDEX accounts_spw (spw_digest=?)") {
		t.Errorf("the query runs as %q, %v", plan, err)
	}
}

func TestImportAccount(t *testing.T) {
	f := openStore(t, newPath(t))
	password := policy.NewSecret("p@ss w&rd")
	a, err := f.ImportAccount(t.Context(), start, operator, "Example K.K.", "vendor-sid", password)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := f.FindService(t.Context(), "vendor-sid", password); err != nil || got.ID != a.ID {
		t.Errorf("found %+v, %v", got, err)
	}
	// Two accounts may have one password, as far as they know.
	b, err := f.ImportAccount(t.Context(), start, operator, "Other", "other-sid", password)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := f.FindService(t.Context(), "other-sid", password); err != nil || got.ID != b.ID {
		t.Errorf("found %+v, %v", got, err)
	}
	_, ours, err := f.CreateAccount(t.Context(), start, operator, "Third")
	if err != nil {
		t.Fatal(err)
	}
	for want, tt := range map[string]struct {
		by       Actor
		id       string
		password string
	}{
		"is that of account " + a.ID: {operator, "vendor-sid", "another password"},
		"for the operator only":      {Actor{Kind: ActorAccount, ID: a.ID}, "third-sid", "another password"},
		"visible ASCII":              {operator, "third sid", "another password"},
		"1 to 200":                   {operator, strings.Repeat("x", 201), "another password"},
		`service ID "": want`:        {operator, "", "another password"},
		"has a key or service":       {operator, ours.Reveal(), "another password"},
		"7 bytes: want 8":            {operator, "third-sid", "seven c"},
		"1025 bytes":                 {operator, "third-sid", strings.Repeat("x", 1025)},
		"control characters":         {operator, "third-sid", "pass\tword"},
		"not UTF-8":                  {operator, "third-sid", "pass\xffword"},
	} {
		_, err := f.ImportAccount(t.Context(), start, tt.by, "X", tt.id, policy.NewSecret(tt.password))
		if wantIs(t, err, ErrInvalid); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), tt.password) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	if _, err := f.ImportAccount(t.Context(), start, operator, "", "third-sid", password); err == nil {
		t.Error("an account without a name")
	}
}

// child makes one of a key as the issuance API does.
func (f fixture) child(issuer policy.Key, edit ...func(*NewKey)) (policy.Key, policy.Secret) {
	f.t.Helper()
	return f.key(issuer.AccountID, append([]func(*NewKey){func(k *NewKey) { k.Origin, k.Issuer = policy.OriginAPI, issuer.ID }}, edit...)...)
}

func TestRevokeTree_EndsEveryChildAtOnce(t *testing.T) {
	path := newPath(t)
	f, elsewhere := openStore(t, path), openStore(t, path)
	issuable := func(k *NewKey) { k.Issuable = true }
	a := f.account()
	root, rootSecret := f.key(a.ID, issuable)
	other, _ := f.key(a.ID, issuable)
	var children []policy.Key
	secrets := []policy.Secret{rootSecret}
	for i := range 3 {
		k, secret := f.child(root, func(k *NewKey) { k.Expires = policy.ExpiresAt(start.Add(time.Duration(i+1) * 20 * time.Hour)) })
		children, secrets = append(children, k), append(secrets, secret)
	}
	stranger, strangerSecret := f.child(other)
	for _, secret := range secrets { // both caches know them
		if r := f.find(secret); r == nil || elsewhere.find(secret) == nil {
			t.Fatal("a new key is not found")
		}
	}
	if r := f.find(secrets[1]); r.Key().IssuerID != root.ID || r.Key().Issuable {
		t.Errorf("the child's record %+v, want issuer %s, and no issuance right", r.Key(), root.ID)
	}

	// One of them was revoked before, and stays as it was.
	early := start.Add(time.Second)
	if _, err := f.RevokeKey(t.Context(), early, operator, children[0].ID, "early"); err != nil {
		t.Fatal(err)
	}
	now := start.Add(48 * time.Hour) // the second has expired, and has grace
	f.job(children[1], "job")
	useless, uselessSecret := f.child(root)
	key, n, err := f.RevokeTree(t.Context(), now, operator, root.ID, "leaked")
	if err != nil || n != 2 || key.RevokedAt != now {
		t.Fatalf("got %+v, %d children, %v", key, n, err)
	}
	for i, secret := range secrets {
		want := now
		if i == 1 {
			want = early
		}
		if r := f.find(secret); r.Key().RevokedAt != want {
			t.Errorf("key %d is revoked at %s, want %s", i, r.Key().RevokedAt, want)
		}
		waitFor(t, time.Second, "the other process's cache heeds it", func() bool { return elsewhere.find(secret).Key().RevokedAt == want })
	}
	// A key that can do nothing any more ends with its issuer too, and neither counts
	// nor has a line in the audit trail.
	if r := f.find(uselessSecret); r.Key().RevokedAt != now || r.Key().ID != useless.ID {
		t.Errorf("a key that can do nothing any more is %+v", r.Key())
	}
	if r := f.find(strangerSecret); !r.Key().RevokedAt.IsZero() || r.Key().ID != stranger.ID {
		t.Error("another key's child was revoked")
	}
	var subjects []string
	for _, e := range actions(t, f, a.ID, "key_revoke") {
		subjects = append(subjects, e.Subject)
	}
	slices.Sort(subjects)
	if want := slices.Sorted(slices.Values([]string{root.ID, children[0].ID, children[1].ID, children[2].ID})); !slices.Equal(subjects, want) {
		t.Errorf("audit entries of %v, want of %v", subjects, want)
	}

	// Again, for children that came by a clock behind: the key itself stays as it was.
	if _, n, err := f.RevokeTree(t.Context(), now+1, operator, root.ID, ""); err != nil || n != 0 {
		t.Errorf("the second time: %d children, %v", n, err)
	}
	_, _, err = f.RevokeTree(t.Context(), now, operator, "key_none", "")
	wantIs(t, err, ErrNotFound)
	_, _, err = f.RevokeTree(t.Context(), now, operator, root.ID, strings.Repeat("x", 201))
	wantIs(t, err, ErrInvalid)
	_, _, err = f.IssueKey(t.Context(), now, Actor{Kind: ActorKey, ID: root.ID}, NewKey{AccountID: a.ID, Origin: policy.OriginAPI, Issuer: root.ID, Expires: policy.Never()})
	wantIs(t, err, ErrInvalid)
}

// A child is either revoked with its tree or was never issued.
func TestRevokeTree_RacesWithIssuing(t *testing.T) {
	f := openStore(t, newPath(t))
	a := f.account()
	root, _ := f.key(a.ID, func(k *NewKey) { k.Issuable = true })
	done := make(chan []policy.Secret)
	for range 4 {
		go func() {
			var issued []policy.Secret
			for {
				_, secret, err := f.IssueKey(context.Background(), start, Actor{Kind: ActorKey, ID: root.ID},
					NewKey{AccountID: a.ID, Origin: policy.OriginAPI, Issuer: root.ID, Expires: policy.ExpiresAt(start.Add(time.Hour))})
				if err != nil {
					done <- issued
					return
				}
				f.find(secret) // cached
				issued = append(issued, secret)
			}
		}()
	}
	time.Sleep(20 * time.Millisecond)
	if _, _, err := f.RevokeTree(t.Context(), start, operator, root.ID, ""); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		for _, secret := range <-done {
			if f.find(secret).Key().RevokedAt.IsZero() {
				t.Fatal("a child outlives its tree")
			}
		}
	}
}

func TestPrune_SearchesByIndex(t *testing.T) {
	path := newPath(t)
	openStore(t, path)
	rows, err := rawDB(t, path).Query("EXPLAIN QUERY PLAN "+endedKeys, start, pruneBatch)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var plan strings.Builder
	for rows.Next() {
		var n int
		var line string
		if err := rows.Scan(&n, &n, &n, &line); err != nil {
			t.Fatal(err)
		}
		plan.WriteString(line + "\n")
	}
	if rows.Err() != nil || strings.Contains(plan.String(), "SCAN k") ||
		!strings.Contains(plan.String(), "api_keys_ended") || !strings.Contains(plan.String(), "api_keys_account") {
		t.Errorf("the search runs as %s, %v", &plan, rows.Err())
	}
}

func TestRevokeTree_FollowsRotation(t *testing.T) {
	f := openStore(t, newPath(t))
	root, _ := f.key(f.account().ID, func(k *NewKey) { k.Issuable = true })
	_, early := f.child(root)
	rotated, _ := f.child(root)
	child, err := f.RotateKey(t.Context(), start, operator, rotated.ID, 0)
	if err != nil || child.New.IssuerID != root.ID {
		t.Fatalf("%+v, %v", child, err)
	}
	first, err := f.RotateKey(t.Context(), start, operator, root.ID, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	second, err := f.RotateKey(t.Context(), start, operator, first.New.ID, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	_, late := f.child(second.New)
	_, n, err := f.RevokeTree(t.Context(), start, operator, second.New.ID, "")
	if err != nil || n != 3 {
		t.Errorf("%d children, %v; want 3", n, err)
	}
	for name, secret := range map[string]policy.Secret{"issued before both rotations": early, "a child's successor": child.Secret, "issued after": late} {
		if f.find(secret).Key().RevokedAt.IsZero() {
			t.Errorf("a key %s goes on", name)
		}
	}
}

// Keys of the issuance API are many: after a time not even their digests stay.
func TestPrune_ForgetsKeysOfTheIssuanceAPI(t *testing.T) {
	path := newPath(t)
	f := openStore(t, path, func(c *Config) { c.Retention = time.Hour })
	a := f.account()
	root, _ := f.key(a.ID, func(k *NewKey) { k.Issuable, k.Expires = true, policy.Never() })
	f.key(a.ID)
	for range 2*pruneBatch + 1 {
		f.child(root)
	}
	db := rawDB(t, path)
	for _, step := range []struct {
		at         policy.Time
		keys, dead int
	}{
		{start.Add(2*time.Hour - 1), 2*pruneBatch + 3, 0},
		{start.Add(2 * time.Hour), 1, 2*pruneBatch + 2},
		{start.Add(2*time.Hour + deadKept - 1), 1, 2*pruneBatch + 2},
		{start.Add(2*time.Hour + deadKept), 1, 1},
		{start.Add(100 * deadKept), 1, 1},
	} {
		if err := f.Prune(t.Context(), step.at); err != nil {
			t.Fatal(err)
		}
		keys, dead := count(t, db, `SELECT COUNT(*) FROM api_keys`), count(t, db, `SELECT COUNT(*) FROM dead_digests`)
		if keys != step.keys || dead != step.dead {
			t.Errorf("at %s: %d keys and %d digests, want %d and %d", step.at, keys, dead, step.keys, step.dead)
		}
	}
}

// Keys that share a transaction share what is read of their issuer, until
// something changes.
func TestIssueKey_HeedsWhatItsTransactionChanged(t *testing.T) {
	for name, end := range map[string]func(tx *txn, k policy.Key) error{
		"the issuer is revoked": func(tx *txn, k policy.Key) error {
			tx.revoke(start, operator, &k, "")
			return tx.changed(start, changedKey, make([]byte, len(digest{})))
		},
		"the account is closed": func(tx *txn, k policy.Key) error {
			tx.exec(`UPDATE accounts SET closed_at = $1 WHERE id = $2`, start, k.AccountID)
			return tx.changed(start, changedAccount, []byte(k.AccountID))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := openStore(t, newPath(t))
			root, _ := f.key(f.account().ID, func(k *NewKey) { k.Issuable = true })
			by, k := Actor{Kind: ActorKey, ID: root.ID}, NewKey{AccountID: root.AccountID, Origin: policy.OriginAPI, Issuer: root.ID, Expires: policy.Never()}
			err := f.write(t.Context(), func(tx *txn) error {
				for range 2 {
					if err := tx.checkIssue(start, by, k); err != nil {
						return err
					}
				}
				if err := tx.checkIssue(start.Add(time.Hour), by, k); err == nil {
					t.Error("an expired key may issue, since it was read before")
				}
				if err := end(tx, root); err != nil {
					return err
				}
				if err := tx.checkIssue(start, by, k); err == nil {
					t.Error("a key may be issued after its issuer's end")
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}
