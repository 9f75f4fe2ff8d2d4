package keystore

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

// world is a store that the test changes at random, and the keys, tokens and service passwords
// that the store has issued.
type world struct {
	*Store
	t        *rapid.T
	now      policy.Time
	accounts []string
	keys     []string
	secrets  []policy.Secret
	services []service
	tokens   []policy.Secret
}

type service struct {
	id, account string
	password    policy.Secret
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) key() string {
	return rapid.SampledFrom(w.keys).Draw(w.t, "key")
}

func (w *world) account() string {
	return rapid.SampledFrom(w.accounts).Draw(w.t, "account")
}

func (w *world) overlap() time.Duration {
	return rapid.SampledFrom([]time.Duration{0, time.Hour, 200 * day}).Draw(w.t, "overlap")
}

func (w *world) open() {
	a, password, err := w.CreateAccount(w.t.Context(), w.now, operator, "x")
	w.must(err)
	w.accounts = append(w.accounts, a.ID)
	w.services = append(w.services, service{a.ServiceID, a.ID, password})
}

func (w *world) issue(accountID string) {
	k := NewKey{AccountID: accountID, Origin: policy.OriginConsole, Expires: policy.Never()}
	if rapid.Bool().Draw(w.t, "expires") {
		k.Expires = policy.ExpiresAt(w.now.Add(time.Duration(rapid.IntRange(1, 400).Draw(w.t, "days")) * day))
	}
	if rapid.Bool().Draw(w.t, "child") && len(w.keys) > 0 {
		issuer, err := w.Key(w.t.Context(), w.key())
		if err == nil && issuer.Issuable && issuer.AccountID == accountID && issuer.Status(w.now) == keyActive {
			k.Issuer, k.Origin = issuer.ID, policy.OriginAPI
		}
	}
	k.Issuable = k.Origin == policy.OriginConsole
	key, secret, err := w.IssueKey(w.t.Context(), w.now, operator, k)
	if err == nil { // a closed account gets no key
		w.keys, w.secrets = append(w.keys, key.ID), append(w.secrets, secret)
	}
}

// step makes a random change. It ignores the error of a change that a rule forbids.
func (w *world) step() {
	ctx := w.t.Context()
	w.now += policy.Time(rapid.Int64Range(1, 1000).Draw(w.t, "ms"))
	switch rapid.IntRange(0, 17).Draw(w.t, "what") {
	case 16, 17:
		if k, err := w.Key(ctx, w.key()); err == nil {
			secret := policy.NewSecret(fmt.Sprintf("ek_%d", len(w.tokens)))
			w.must(w.RecordToken(ctx, new(WriteReservation), NewToken{Backend: "b", Secret: secret, KeyID: k.ID, CreatedAt: w.now, ExpiresAt: w.now.Add(500 * day)}))
			w.tokens = append(w.tokens, secret)
		}
	case 12:
		_, _ = w.SuspendKey(ctx, w.now, operator, w.key(), "")
	case 13:
		_, _ = w.ResumeKey(ctx, w.now, operator, w.key())
	case 14:
		_, _ = w.SuspendAccount(ctx, w.now, operator, w.account(), "")
	case 15:
		_, _ = w.ResumeAccount(ctx, w.now, operator, w.account())
	case 0:
		w.open()
	case 1:
		_, _ = w.RevokeKey(ctx, w.now, operator, w.key(), "")
	case 2:
		_, _ = w.DeleteKey(ctx, w.now, operator, w.key())
	case 3:
		_, _ = w.CloseAccount(ctx, w.now, operator, w.account())
	case 4:
		a, password, err := w.RotateAccount(ctx, w.now, operator, w.account(), w.overlap())
		if err == nil {
			w.services = append(w.services, service{a.ServiceID, a.ID, password})
		}
	case 5:
		if r, err := w.RotateKey(ctx, w.now, operator, w.key(), w.overlap()); err == nil {
			w.keys, w.secrets = append(w.keys, r.New.ID), append(w.secrets, r.Secret)
		}
	case 6:
		_, _, _ = w.RevokeTree(ctx, w.now, operator, w.key(), "")
	case 7:
		w.now = w.now.Add(time.Duration(rapid.IntRange(1, 250).Draw(w.t, "days")) * day)
		if rapid.Bool().Draw(w.t, "prune") { // otherwise in a later step
			w.must(w.Prune(ctx, w.now))
		}
	case 8:
		if k, err := w.Key(ctx, w.key()); err == nil {
			w.must(w.CreateJob(ctx, policy.Job{Backend: "b", ID: fmt.Sprint(w.now), AccountID: k.AccountID, KeyID: k.ID, CreatedAt: w.now}))
		}
	default:
		w.issue(w.account())
	}
}

// good returns the active keys, and the service passwords that are valid.
func (w *world) good() (keys, passwords map[string]bool) {
	keys, passwords = map[string]bool{}, map[string]bool{}
	for i, secret := range w.secrets {
		r, err := w.FindKey(w.t.Context(), secret)
		keys[w.keys[i]] = err == nil && statusOf(&r, w.now) == keyActive
	}
	for _, s := range w.services {
		a, err := w.FindService(w.t.Context(), w.now, s.id, s.password)
		passwords[s.id] = err == nil && a.Status() == "open"
	}
	return keys, passwords
}

// goodTokens returns the tokens that can be used, by their numbers.
func (w *world) goodTokens() map[int]bool {
	good := map[int]bool{}
	for i, secret := range w.tokens {
		token, owner, err := w.FindToken(w.t.Context(), "b", secret)
		if err == nil {
			k := owner.Key()
			good[i] = policy.Decide(w.now, &k, &policy.Request{Operation: policy.Stream, Token: &token}, policy.Rules{}).Reason.OK()
		}
	}
	return good
}

// wantNoNewTokens fails the test if a token can be used that could not be used before.
func (w *world) wantNoNewTokens(before map[int]bool) {
	w.t.Helper()
	for i, good := range w.goodTokens() {
		if good && !before[i] {
			w.t.Errorf("token %d is good after the restore, and was not before it", i)
		}
	}
}

func (w *world) restoreFrom(path string) (before string) {
	w.now++
	r, err := w.Restore(w.t.Context(), w.now, operator, path)
	w.must(err)
	c, err := w.VerifyAudit(w.t.Context(), nil)
	w.must(err)
	if c.Fault != "" {
		w.t.Fatalf("the audit trail: %s", c.Fault)
	}
	return r.Before
}

// worlds returns a function that makes a world in a new store, with an account and a key, and an empty
// directory for its backups. done closes the store.
func worlds(t *testing.T, place func() func(*Config)) (newWorld func(*rapid.T) (w *world, dir string, done func())) {
	t.Helper()
	root, runs := t.TempDir(), 0
	return func(t *rapid.T) (*world, string, func()) {
		runs++
		dir := filepath.Join(root, strconv.Itoa(runs))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		s, _, err := tryStore("", place(), commandLine)
		if err != nil {
			t.Fatal(err)
		}
		w := &world{Store: s, t: t, now: start}
		w.open()
		w.issue(w.accounts[0])
		return w, dir, func() { _ = s.Close() }
	}
}

// The store changes at random before and after a backup. Restoring the backup makes no key,
// no token and no service password valid that was not valid before, and removes none that the
// backup has. The file that the restore makes has the removed records.
func TestRestore_RevivesNothing(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, place func() func(*Config)) {
		newWorld := worlds(t, place)
		rapid.Check(t, func(t *rapid.T) {
			w, dir, done := newWorld(t)
			defer done()
			for range rapid.IntRange(0, 8).Draw(t, "before") {
				w.step()
			}
			path := filepath.Join(dir, "backup")
			if _, err := w.Backup(t.Context(), path); err != nil {
				t.Fatal(err)
			}
			keysThen, accountsThen := len(w.keys), len(w.services)
			for range rapid.IntRange(0, 8).Draw(t, "after") {
				w.step()
			}
			keys, passwords := w.good()
			tokens := w.goodTokens()
			before := w.restoreFrom(path)
			w.wantNoNewTokens(tokens)
			keysNow, passwordsNow := w.good()
			for i, id := range w.keys {
				if want := keys[id] && i < keysThen; keysNow[id] != want {
					t.Errorf("key %d of %d (%d in the backup): good %t after the restore, and %t before it", i, len(w.keys), keysThen, keysNow[id], keys[id])
				}
			}
			for i, s := range w.services {
				if passwordsNow[s.id] && !passwords[s.id] || i < accountsThen && passwordsNow[s.id] != passwords[s.id] {
					t.Errorf("service password %d of %d: good %t after the restore, and %t before it", i, len(w.services), passwordsNow[s.id], passwords[s.id])
				}
			}
			w.must(w.Prune(t.Context(), w.now))

			tokens = w.goodTokens()
			w.restoreFrom(before)
			w.wantNoNewTokens(tokens)
			keysNow, passwordsNow = w.good()
			if fmt.Sprint(keysNow) != fmt.Sprint(keys) || fmt.Sprint(passwordsNow) != fmt.Sprint(passwords) {
				t.Errorf("good before: %v %v; after both restores: %v %v", keys, passwords, keysNow, passwordsNow)
			}
			w.must(w.Prune(t.Context(), w.now.Add(500*day))) // pruning works after restores
		})
	})
}

// ended reports whether a key is expired, deleted or revoked. A suspended key has not ended.
func ended(r *Record, now policy.Time) bool {
	k := r.Key()
	return k.Ended(now)
}

// deaths has the time at which each key and service password ended, according to the store.
// From that time on they must be refused, whatever is restored.
type deaths struct {
	*world
	keys, passwords map[string]policy.Time
}

func (d *deaths) note(ends map[string]policy.Time, id string, at policy.Time) {
	if known, ok := ends[id]; !ok || at < known {
		ends[id] = at
	}
}

// watch compares the store's answers with its earlier answers.
func (d *deaths) watch(what string) {
	d.t.Helper()
	for i, secret := range d.secrets {
		r, err := d.FindKey(d.t.Context(), secret)
		if err != nil {
			continue // the store does not have the key now; a restore may bring it back
		}
		id := d.world.keys[i]
		if end, ended := d.keys[id]; ended && end <= d.now && statusOf(&r, d.now) == keyActive {
			d.t.Fatalf("after %s, key %d is good again", what, i)
		}
		if ended(&r, d.now) {
			d.note(d.keys, id, d.now)
		}
		if !r.Key().RevokeFrom.IsZero() {
			d.note(d.keys, id, r.Key().RevokeFrom)
		}
	}
	for i, s := range d.services {
		a, err := d.FindService(d.t.Context(), d.now, s.id, s.password)
		if _, ended := d.passwords[s.id]; ended && err == nil && a.Open() {
			d.t.Fatalf("after %s, service password %d is good again", what, i)
		}
		if current, accountErr := d.Account(d.t.Context(), s.account); accountErr == nil && (err != nil || !current.Open()) {
			d.note(d.passwords, s.id, d.now)
		}
	}
}

// Any backups are restored in any order. A key or service password that has ended is never
// valid again.
func TestRestore_EndsAreForEver(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, place func() func(*Config)) {
		newWorld := worlds(t, place)
		rapid.Check(t, func(t *rapid.T) {
			w, dir, done := newWorld(t)
			defer done()
			d := &deaths{w, map[string]policy.Time{}, map[string]policy.Time{}}
			var backups []string
			for i := range rapid.IntRange(4, 16).Draw(t, "steps") {
				switch what := rapid.IntRange(0, 9).Draw(t, "step"); {
				case what < 2:
					c, err := d.Backup(t.Context(), filepath.Join(dir, strconv.Itoa(i)))
					d.must(err)
					backups = append(backups, c.Path)
					d.watch("a backup")
				case what < 4 && len(backups) > 0:
					backups = append(backups, d.restoreFrom(rapid.SampledFrom(backups).Draw(t, "backup")))
					d.watch("a restore")
				default:
					d.step()
					d.watch("a step")
				}
			}
		})
	})
}
