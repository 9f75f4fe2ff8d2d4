package keystore

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/speechgate/speechgate/policy"
)

func (f fixture) census(r CensusRequest) Census {
	f.t.Helper()
	c, err := f.Census(f.t.Context(), r)
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func expiresIn(d time.Duration) func(*NewKey) {
	return func(k *NewKey) { k.Expires = policy.ExpiresAt(start.Add(d)) }
}

// Each limit of a time is tested at its last instant and at the next one.
func TestCensus_CountsKeysThatEndSoon(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	a, closed := f.account(), f.account()
	for _, d := range []time.Duration{time.Millisecond, day, day + time.Millisecond, 7 * day, 7*day + time.Millisecond} {
		f.key(a.ID, expiresIn(d))
	}
	f.key(closed.ID, expiresIn(time.Hour))
	if _, err := f.CloseAccount(t.Context(), start, operator, closed.ID); err != nil {
		t.Fatal(err)
	}
	f.key(a.ID, func(k *NewKey) { k.Expires = policy.Never() })
	revoked, _ := f.key(a.ID, expiresIn(time.Hour))
	if _, err := f.RevokeKey(t.Context(), start, operator, revoked.ID, ""); err != nil {
		t.Fatal(err)
	}
	rotated, _ := f.key(a.ID, func(k *NewKey) { k.Expires = policy.Never() })
	if _, err := f.RotateKey(t.Context(), start, operator, rotated.ID, 2*day); err != nil { // its successor never expires
		t.Fatal(err)
	}
	within := []time.Duration{day, 7 * day}
	if got := f.census(CensusRequest{Now: start, Within: within}).Expiring; !slices.Equal(got, []int{2, 5}) {
		t.Errorf("now %v keys end within a day and a week, want 2 and 5", got)
	}
	if got := f.census(CensusRequest{Now: start + 1, Within: within}).Expiring; !slices.Equal(got, []int{2, 5}) {
		t.Errorf("at the expiry of the first one, %v; want 2 and 5", got)
	}
}

func TestCensus_CountsJobsByState(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	key, _ := f.key(f.account().ID)
	want := make(map[policy.JobState]int)
	for i, state := range policy.JobStates() {
		want[state] = i + 1
		for n := range i + 1 {
			id := state.String() + string(rune('a'+n))
			f.job(key, id)
			if err := f.SetJobState(t.Context(), "amivoice", id, state, start); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := f.census(CensusRequest{Now: start}).Jobs; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestCensus_CountsJobsOnGrace(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	a := f.account()
	const window = 2 * time.Hour
	rules := policy.Rules{Grace: policy.Grace{Window: window}}
	now := start.Add(90 * time.Minute) // half an hour after the expiry
	job := func(id string, edit ...func(*NewKey)) policy.Key {
		key, _ := f.key(a.ID, edit...)
		f.job(key, id)
		return key
	}
	job("on grace") // the key of f.key lives an hour
	job("of a valid key", expiresIn(3*time.Hour))
	revoked := job("of a revoked key")
	if _, err := f.RevokeKey(t.Context(), start, operator, revoked.ID, ""); err != nil {
		t.Fatal(err)
	}
	elsewhere, err := policy.ParseAddrSet("192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	job("from an address that its key refuses", func(k *NewKey) { k.Allow = elsewhere })
	request := func(now policy.Time) CensusRequest {
		return CensusRequest{Now: now, LongestGrace: window, OnGrace: func(k *policy.Key, j *policy.Job) bool {
			poll := policy.Request{Operation: policy.ReadJob, Job: j, Client: j.Client}
			return policy.Decide(now, k, &poll, rules).Reason == policy.AllowedByGrace
		}}
	}
	for at, want := range map[policy.Time]int{
		start.Add(time.Hour) - 1:             0, // the key is valid
		start.Add(time.Hour):                 1,
		now:                                  1,
		start.Add(window) - 1:                1,
		start.Add(window):                    0,
		start.Add(window + 30*time.Minute):   0,
		start.Add(3*time.Hour + time.Minute): 0, // another key has expired, and its job is older than the window
	} {
		if got := f.census(request(at)).OnGrace; got != want {
			t.Errorf("at %s %d jobs are on grace, want %d", at, got, want)
		}
	}
	if got := f.census(CensusRequest{Now: now}).OnGrace; got != 0 {
		t.Errorf("without a grace window, %d jobs", got)
	}
}

func TestTally_CountsIssuedAndEnded(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f, other := openStore(t, path), openStore(t, path, commandLine)
	a, closed := f.account(), f.account()
	f.key(a.ID) // before the tally begins
	var at TallyPosition
	tally := func(now policy.Time) Tally {
		t.Helper()
		counted, next, err := f.Tally(t.Context(), at, now)
		if err != nil {
			t.Fatal(err)
		}
		at = next
		return counted
	}
	want := func(what string, got Tally, issued map[Issuer]uint64, ended map[KeyEnd]uint64) {
		t.Helper()
		if !maps.Equal(got.Issued, issued) || !maps.EqualFunc(notZero(got.Ended), ended, func(x, y uint64) bool { return x == y }) {
			t.Errorf("%s: %+v; want %v and %v", what, got, issued, ended)
		}
	}
	want("at the beginning", tally(start), nil, nil)

	deleted, _ := f.key(a.ID, expiresIn(day))
	revoked, _, err := other.IssueKey(t.Context(), start, Actor{Kind: ActorAccount, ID: a.ID}, NewKey{AccountID: a.ID, Origin: policy.OriginConsole, Expires: policy.Never()})
	if err != nil {
		t.Fatal(err)
	}
	issuer, _ := f.key(a.ID, func(k *NewKey) { k.Issuable = true })
	if _, _, err := f.IssueKey(t.Context(), start, Actor{Kind: ActorKey, ID: issuer.ID}, NewKey{AccountID: a.ID, Origin: policy.OriginAPI, Issuer: issuer.ID, Expires: policy.ExpiresAt(start.Add(time.Minute))}); err != nil {
		t.Fatal(err)
	}
	f.imports(Import{AccountID: a.ID, Secrets: []policy.Secret{policy.NewSecret("imported-0123456789")}})
	f.key(closed.ID)
	want("issued", tally(start), map[Issuer]uint64{IssuedByOperator: 3, IssuedByAccount: 1, IssuedByKey: 1, IssuedByImport: 1}, map[KeyEnd]uint64{})
	want("nothing new", tally(start), map[Issuer]uint64{}, map[KeyEnd]uint64{})

	for _, err := range []error{
		second(f.DeleteKey(t.Context(), start+1, operator, deleted.ID)),
		second(other.RevokeKey(t.Context(), start+1, operator, revoked.ID, "")),
		second(f.RevokeKey(t.Context(), start+2, operator, deleted.ID, "has ended before")),
		second(f.CloseAccount(t.Context(), start+2, operator, closed.ID)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want("ended", tally(start+3), map[Issuer]uint64{}, map[KeyEnd]uint64{KeyDeleted: 1, KeyRevoked: 1, KeyAccountClosed: 1})

	minute := start.Add(time.Minute)
	want("just before an expiry", tally(minute-1), map[Issuer]uint64{}, map[KeyEnd]uint64{})
	want("at an expiry", tally(minute), map[Issuer]uint64{}, map[KeyEnd]uint64{KeyExpired: 1})
	want("two more in an hour, and none of the closed account", tally(start.Add(2*time.Hour)), map[Issuer]uint64{}, map[KeyEnd]uint64{KeyExpired: 2})
}

func TestTally_CountsRotations(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	a := f.account()
	never := func(k *NewKey) { k.Expires = policy.Never() }
	once, _ := f.key(a.ID, never)
	later, _ := f.key(a.ID, never)
	_, at, err := f.Tally(t.Context(), TallyPosition{}, start)
	if err != nil {
		t.Fatal(err)
	}
	for id, overlap := range map[string]time.Duration{once.ID: 0, later.ID: time.Hour} {
		if _, err := f.RotateKey(t.Context(), start+1, operator, id, overlap); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		now             policy.Time
		issued, revoked uint64
	}{{start + 2, 2, 1}, {start.Add(time.Hour), 0, 0}, {start.Add(time.Hour) + 1, 0, 1}, {start.Add(day), 0, 0}} {
		tally, next, err := f.Tally(t.Context(), at, c.now)
		if err != nil {
			t.Fatal(err)
		}
		at = next
		if tally.Issued[IssuedByOperator] != c.issued || tally.Ended[KeyRevoked] != c.revoked || len(notZero(tally.Ended)) > 1 {
			t.Errorf("up to %s: %+v; want %d issued, %d revoked", c.now, tally, c.issued, c.revoked)
		}
	}
}

// A position that is not of this keystore, or of a state that a restore has undone, counts
// nothing.
func TestTally_BeginsAgainInAnotherKeystore(t *testing.T) {
	t.Parallel()
	f, other := openStore(t, newPath(t)), openStore(t, newPath(t))
	f.key(f.account().ID)
	other.account()
	_, at, err := f.Tally(t.Context(), TallyPosition{}, start)
	if err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]TallyPosition{"another keystore": {storeID: "other", at: start}, "a later entry": {at.storeID, at.seq + 1, start}} {
		if tally, to, err := f.Tally(t.Context(), from, start); err != nil || tally.Issued != nil || tally.Ended != nil || to != at {
			t.Errorf("%s: %+v, %+v, %v", name, tally, to, err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	_, to, err := f.Tally(t.Context(), at, start)
	wantIs(t, err, ErrUnavailable)
	if to != at {
		t.Errorf("after an error the position is %+v, want the one before", to)
	}
	_, err = f.Census(t.Context(), CensusRequest{})
	wantIs(t, err, ErrUnavailable)
}

func notZero(counts map[KeyEnd]uint64) map[KeyEnd]uint64 {
	kept := maps.Clone(counts)
	maps.DeleteFunc(kept, func(_ KeyEnd, n uint64) bool { return n == 0 })
	return kept
}

func second[T any](_ T, err error) error { return err }
