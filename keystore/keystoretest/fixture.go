package keystoretest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

var operator = keystore.Actor{Kind: keystore.ActorOperator, ID: "root", From: netip.MustParseAddr("192.0.2.1")}

// start is the time of every test's clock.
const start policy.Time = 1_800_000_000_000

const (
	day = 24 * time.Hour
	// later is when the tests restore a backup.
	later = start + 1000
)

// fixture is a store with helpers that fail the test.
type fixture struct {
	*keystore.Store

	t *testing.T
}

// openStore opens a store and closes it when the test ends.
func openStore(t *testing.T, cfg keystore.Config, options ...func(*keystore.Config)) fixture {
	t.Helper()
	cfg.Clock = func() policy.Time { return start }
	for _, option := range options {
		option(&cfg)
	}
	s, err := keystore.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return fixture{s, t}
}

func commandLine(c *keystore.Config) { c.CommandLine = true }

func withPepper(pepper string) func(*keystore.Config) {
	return func(c *keystore.Config) { c.Pepper = policy.NewSecret(pepper) }
}

// key issues a key that expires in an hour.
func (f fixture) key(accountID string, edit ...func(*keystore.NewKey)) (policy.Key, policy.Secret) {
	f.t.Helper()
	k := keystore.NewKey{AccountID: accountID, Origin: policy.OriginConsole, Expires: policy.ExpiresAt(start.Add(time.Hour))}
	for _, e := range edit {
		e(&k)
	}
	key, secret, err := f.IssueKey(f.t.Context(), start, operator, k)
	if err != nil {
		f.t.Fatal(err)
	}
	return key, secret
}

// find returns the record of a key; nil if the store has no such key.
func (f fixture) find(secret policy.Secret) *keystore.Record {
	f.t.Helper()
	r, err := f.FindKey(f.t.Context(), secret)
	if err != nil && !errors.Is(err, keystore.ErrNotFound) {
		f.t.Fatal(err)
	}
	if !r.Found() {
		return nil
	}
	return &r
}

// cmpPolicy compares the types of package policy.
var cmpPolicy = cmp.Options{
	cmp.Comparer(func(a, b policy.AddrSet) bool { return a.String() == b.String() }),
	cmp.Comparer(func(a, b policy.Expiry) bool { return a == b }),
	cmpopts.EquateComparable(netip.Addr{}),
}

// cmpFound is cmpPolicy for the keys of records, which have no texts for people.
var cmpFound = cmp.Options{cmpPolicy, cmpopts.IgnoreFields(policy.Key{}, "Label", "Prefix", "RevokeReason", "SuspendReason")}

// verify checks the audit trail.
func (f fixture) verify(kept *keystore.AuditHead) keystore.AuditCheck {
	f.t.Helper()
	c, err := f.VerifyAudit(f.t.Context(), kept)
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// backup makes a backup in a directory of its own.
func (f fixture) backup() keystore.Copy {
	f.t.Helper()
	c, err := f.Backup(f.t.Context(), filepath.Join(f.t.TempDir(), "backup.db"))
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// secrets wraps texts.
func secrets(texts ...string) []policy.Secret {
	all := make([]policy.Secret, len(texts))
	for i, text := range texts {
		all[i] = policy.NewSecret(text)
	}
	return all
}

// imports runs an import. Without an expiry, the keys do not expire.
func (f fixture) imports(im keystore.Import) []keystore.Imported {
	f.t.Helper()
	if im.Expires == (policy.Expiry{}) {
		im.Expires = policy.Never()
	}
	results, err := f.ImportKeys(f.t.Context(), start, operator, im)
	if err != nil {
		f.t.Fatal(err)
	}
	return results
}

func results(all []keystore.Imported) (words []keystore.ImportResult) {
	for _, r := range all {
		words = append(words, r.Result)
	}
	return words
}

func wantResults(t *testing.T, got []keystore.Imported, want ...keystore.ImportResult) {
	t.Helper()
	if !slices.Equal(results(got), want) {
		t.Errorf("got %v, want %v", results(got), want)
	}
}

func hexDigest(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

func addrs(t testing.TB, list string) policy.AddrSet {
	t.Helper()
	set, err := policy.ParseAddrSet(list)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func actions(t *testing.T, f fixture, accountID, action string) (found []keystore.AuditEntry) {
	t.Helper()
	entries, _, err := f.Audit(t.Context(), keystore.AuditList{AccountID: accountID, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Action == action {
			found = append(found, e)
		}
	}
	return found
}

func (f fixture) account() policy.Account {
	f.t.Helper()
	a, _, err := f.CreateAccount(f.t.Context(), start, operator, "Example K.K.")
	if err != nil {
		f.t.Fatal(err)
	}
	return a
}

func (f fixture) job(k policy.Key, id string) policy.Job {
	f.t.Helper()
	j := policy.Job{Backend: "amivoice", ID: id, Dialect: "amivoice", AccountID: k.AccountID, KeyID: k.ID, CreatedAt: start, Client: netip.MustParseAddr("2001:db8::1")}
	if err := f.CreateJob(f.t.Context(), j); err != nil {
		f.t.Fatal(err)
	}
	return j
}

func statusOf(r *keystore.Record, now policy.Time) string {
	k := r.Key()
	return k.Status(now)
}

// waitFor polls until ok. Another process must see a change within 250 ms. The limit is far longer,
// because the tests also run on busy machines.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	const limit = 30 * time.Second
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

func wantIs(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("error %v, want one that is %q", err, target)
	}
}

// restore restores a backup, and checks the audit trail.
func (f fixture) restore(from string, now policy.Time) keystore.Restored {
	f.t.Helper()
	r, err := f.Restore(f.t.Context(), now, operator, from)
	if err != nil {
		f.t.Fatal(err)
	}
	if c := f.verify(nil); c.Fault != "" {
		f.t.Errorf("the audit trail: %s", c.Fault)
	}
	return r
}

// child issues a key in the name of another key, as the issuance API does.
func (f fixture) child(issuer policy.Key, edit ...func(*keystore.NewKey)) (policy.Key, policy.Secret) {
	f.t.Helper()
	return f.key(issuer.AccountID, append([]func(*keystore.NewKey){func(k *keystore.NewKey) { k.Origin, k.Issuer = policy.OriginAPI, issuer.ID }}, edit...)...)
}
