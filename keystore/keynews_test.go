package keystore

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/policy"
)

// The spans of the gateway: a week, and a day.
var (
	weekBefore = ExpirySpan{Name: "7d", After: day, Within: 7 * day}
	dayBefore  = ExpirySpan{Name: "1d", Within: day}
)

// told returns news as lines: the key, the reason, and the end as a time after start.
func told(t *testing.T, news TakenNews, err error) []string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, n := range news.Keys {
		lines = append(lines, fmt.Sprintf("%s %s %s", n.Key.KeyID, n.Reason, time.Duration(n.Ends-start)*time.Millisecond))
	}
	slices.Sort(lines)
	return lines
}

func (f fixture) ended(now policy.Time) []string {
	f.t.Helper()
	news, err := f.TakeEndedKeys(f.t.Context(), now)
	return told(f.t, news, err)
}

func (f fixture) expiring(now policy.Time, span ExpirySpan) []string {
	f.t.Helper()
	news, err := f.TakeExpiringKeys(f.t.Context(), now, span)
	return told(f.t, news, err)
}

func wantLines(t *testing.T, when string, got []string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: told of\n%s\nwant\n%s", when, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Each way in which a key ends is told once, with its reason and its instant, and the end of a key
// that has ended before is not.
func TestEndedKeys_AreToldOnce(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	a, closed := f.account(), f.account()
	deleted, _ := f.key(a.ID, forever)
	revoked, _ := f.key(a.ID, expiresIn(3*time.Hour))
	expires, _ := f.key(a.ID, expiresIn(time.Hour))
	rotated, _ := f.key(a.ID, forever)
	retired, _ := f.key(a.ID, forever)
	one, _ := f.key(closed.ID, forever)
	two, _ := f.key(closed.ID, expiresIn(2*time.Hour))
	gone, _ := f.key(closed.ID, forever)
	wantLines(t, "the first call", f.ended(start))

	at := start.Add(time.Minute)
	for _, err := range []error{
		second(f.DeleteKey(t.Context(), at, operator, deleted.ID)), second(f.RevokeKey(t.Context(), at, operator, revoked.ID, "leaked")),
		second(f.RotateKey(t.Context(), at, operator, rotated.ID, 0)), second(f.RotateKey(t.Context(), at, operator, retired.ID, time.Hour)),
		second(f.DeleteKey(t.Context(), at, operator, gone.ID)), second(f.CloseAccount(t.Context(), at.Add(time.Minute), operator, closed.ID)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	wantLines(t, "after the changes", f.ended(at.Add(time.Minute)),
		deleted.ID+" key_deleted 1m0s", revoked.ID+" key_revoked 1m0s", rotated.ID+" key_revoked 1m0s", gone.ID+" key_deleted 1m0s",
		one.ID+" account_closed 2m0s", two.ID+" account_closed 2m0s")
	wantLines(t, "a millisecond before the expiry", f.ended(start.Add(time.Hour)-1))
	wantLines(t, "at the expiry", f.ended(start.Add(time.Hour)), expires.ID+" key_expired 1h0m0s")
	if _, err := f.RevokeKey(t.Context(), start.Add(time.Hour), operator, expires.ID, ""); err != nil {
		t.Fatal(err)
	}
	wantLines(t, "at the end of the overlap", f.ended(at.Add(time.Hour)), retired.ID+" key_revoked 1h1m0s")
	wantLines(t, "at the expiries of keys that had ended", f.ended(start.Add(4*time.Hour)))
}

// forever makes a key that does not expire.
func forever(k *NewKey) { k.Expires = policy.Never() }

// Keys end with the keys that issued them: with the scheduled revocation of their issuer, and with
// the revocation of its tree.
func TestEndedKeys_IncludeThoseThatEndWithTheirIssuer(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	a := f.account()
	issuer, _ := f.key(a.ID, forever, func(k *NewKey) { k.Issuable = true })
	child, _ := f.key(a.ID, forever, func(k *NewKey) { k.Issuer, k.Origin = issuer.ID, policy.OriginAPI })
	free, _ := f.key(a.ID, forever, func(k *NewKey) { k.Issuer, k.Origin, k.OutlivesIssuer = issuer.ID, policy.OriginAPI, true })
	f.ended(start)
	if _, err := f.RotateKey(t.Context(), start, operator, issuer.ID, time.Hour); err != nil {
		t.Fatal(err)
	}
	wantLines(t, "in the overlap", f.ended(start.Add(time.Hour)-1))
	wantLines(t, "at its end", f.ended(start.Add(time.Hour)), issuer.ID+" key_revoked 1h0m0s", child.ID+" key_revoked 1h0m0s")
	if _, _, err := f.RevokeTree(t.Context(), start.Add(2*time.Hour), operator, issuer.ID, ""); err != nil {
		t.Fatal(err)
	}
	wantLines(t, "after the revocation of the tree", f.ended(start.Add(2*time.Hour)), free.ID+" key_revoked 2h0m0s")
}

// A server that was down for a day tells what happened meanwhile, and nothing older.
func TestEndedKeys_OlderThanADayAreNotTold(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	a := f.account()
	f.key(a.ID, expiresIn(time.Hour))
	late, _ := f.key(a.ID, expiresIn(time.Hour+1*time.Millisecond))
	revoked, _ := f.key(a.ID, forever)
	f.ended(start)
	if _, err := f.RevokeKey(t.Context(), start.Add(time.Hour), operator, revoked.ID, ""); err != nil {
		t.Fatal(err)
	}
	wantLines(t, "a day after the first end", f.ended(start.Add(time.Hour+day)), late.ID+" key_expired 1h0m0.001s")
}

// Two servers of one keystore tell each end once, also after a restart.
func TestKeyNews_AreTakenByOneServer(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	other := openStore(t, path)
	a := f.account()
	f.ended(start)
	other.ended(start)
	f.expiring(start, dayBefore)
	first, _ := f.key(a.ID, expiresIn(day+time.Hour))
	at := start.Add(time.Hour)
	wantLines(t, "one server", f.expiring(at, dayBefore), first.ID+" key_expired 25h0m0s")
	wantLines(t, "the other server", other.expiring(at, dayBefore))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f = openStore(t, path)
	wantLines(t, "after a restart", f.expiring(at, dayBefore))
	at = start.Add(day + time.Hour)
	wantLines(t, "the other server", other.ended(at), first.ID+" key_expired 25h0m0s")
	wantLines(t, "after a restart", f.ended(at))
}

// If two servers look at the same time, one of them tells.
func TestKeyNews_AreTakenOnceInARace(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	servers := []fixture{openStore(t, path), openStore(t, path)}
	a := servers[0].account()
	servers[0].ended(start)
	for round := range 30 {
		at := start.Add(time.Duration(round) * time.Second)
		key, _ := servers[0].key(a.ID, forever)
		if _, err := servers[0].RevokeKey(t.Context(), at, operator, key.ID, ""); err != nil {
			t.Fatal(err)
		}
		var lines [2][]string
		var both sync.WaitGroup
		for i := range servers {
			both.Go(func() {
				news, err := servers[i].TakeEndedKeys(t.Context(), at)
				if err != nil {
					t.Error(err)
				}
				for _, n := range news.Keys {
					lines[i] = append(lines[i], n.Key.KeyID)
				}
			})
		}
		both.Wait()
		if got := append(lines[0], lines[1]...); len(got) != 1 || got[0] != key.ID {
			t.Fatalf("in round %d, the servers told of %v, want %s once", round, got, key.ID)
		}
	}
}

// A key is told of a week and a day before its end, at these instants and not before.
func TestExpiringKeys_AreToldAtEachSpan(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	a := f.account()
	f.expiring(start, weekBefore)
	f.expiring(start, dayBefore)
	key, _ := f.key(a.ID, expiresIn(30*day))
	short, _ := f.key(a.ID, func(k *NewKey) { expiresIn(26 * day)(k); k.Origin = policy.OriginAPI })
	revoked, _ := f.key(a.ID, expiresIn(30*day))
	f.key(a.ID, forever)
	if _, err := f.RevokeKey(t.Context(), start, operator, revoked.ID, ""); err != nil {
		t.Fatal(err)
	}
	line, shortLine := key.ID+" key_expired 720h0m0s", short.ID+" key_expired 624h0m0s"
	wantLines(t, "a millisecond too early", f.expiring(start.Add(19*day)-1, weekBefore))
	wantLines(t, "a week before the first end", f.expiring(start.Add(19*day), weekBefore), shortLine)
	wantLines(t, "a week before the second end", f.expiring(start.Add(23*day), weekBefore), line)
	wantLines(t, "not the day yet", f.expiring(start.Add(25*day)-1, dayBefore))
	wantLines(t, "a day before", f.expiring(start.Add(25*day), dayBefore), shortLine)
	wantLines(t, "no second time", f.expiring(start.Add(28*day), weekBefore))
	wantLines(t, "a day before", f.expiring(start.Add(29*day), dayBefore), line)
	wantLines(t, "after the end", f.expiring(start.Add(31*day), dayBefore))
}

// A key that is issued with less time than the span is told of at once, and in the shorter of two
// spans. A key from the issuance API is not.
func TestExpiringKeys_ThatAreIssuedLateAreToldAtOnce(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	a := f.account()
	f.expiring(start, weekBefore)
	f.expiring(start, dayBefore)
	days, _ := f.key(a.ID, expiresIn(3*day))
	hours, _ := f.key(a.ID, expiresIn(12*time.Hour))
	f.key(a.ID, func(k *NewKey) { expiresIn(time.Hour)(k); k.Origin = policy.OriginAPI })
	wantLines(t, "a week", f.expiring(start.Add(time.Second), weekBefore), days.ID+" key_expired 72h0m0s")
	wantLines(t, "a day", f.expiring(start.Add(time.Second), dayBefore), hours.ID+" key_expired 12h0m0s")
	wantLines(t, "later", f.expiring(start.Add(day), weekBefore))
	wantLines(t, "a day before", f.expiring(start.Add(2*day), dayBefore), days.ID+" key_expired 72h0m0s")
}

// The first server with subscribers tells of the keys that end soon already, except those from the
// issuance API. A server that was down tells of each key in the shortest span.
func TestExpiringKeys_OfTheTimeWithoutAServer(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	a := f.account()
	soon, _ := f.key(a.ID, expiresIn(12*time.Hour))
	later, _ := f.key(a.ID, expiresIn(6*day))
	last, _ := f.key(a.ID, expiresIn(10*day))
	f.key(a.ID, func(k *NewKey) { expiresIn(time.Hour)(k); k.Origin = policy.OriginAPI })
	wantLines(t, "the first call", f.expiring(start, weekBefore), later.ID+" key_expired 144h0m0s")
	wantLines(t, "the first call", f.expiring(start, dayBefore), soon.ID+" key_expired 12h0m0s")
	meanwhile, _ := f.key(a.ID, expiresIn(9*day+time.Hour))
	back := start.Add(9*day + time.Minute)
	wantLines(t, "after nine days", f.expiring(back, weekBefore))
	wantLines(t, "after nine days", f.expiring(back, dayBefore), last.ID+" key_expired 240h0m0s", meanwhile.ID+" key_expired 217h0m0s")
}

// Many keys are taken in parts, and no key is lost or told twice.
func TestKeyNews_OfManyKeysComeInParts(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	a, together := f.account(), f.account()
	f.ended(start)
	want := make(map[string]bool)
	for i := range newsBatch + 50 {
		k, _ := f.key(a.ID, expiresIn(time.Hour+time.Duration(i/10)*time.Minute))
		want[k.ID] = true
	}
	for range newsBatch + 50 {
		k, _ := f.key(together.ID, expiresIn(100*time.Hour))
		want[k.ID] = true
	}
	for _, at := range []policy.Time{start.Add(2 * time.Hour), start.Add(100 * time.Hour)} {
		parts := 0
		for more := true; more; parts++ {
			news, err := f.TakeEndedKeys(t.Context(), at)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range news.Keys {
				if !want[n.Key.KeyID] {
					t.Fatalf("key %s is told twice", n.Key.KeyID)
				}
				delete(want, n.Key.KeyID)
			}
			more = news.More
		}
		if parts != 2 {
			t.Errorf("the news came in %d parts", parts)
		}
	}
	if len(want) > 0 {
		t.Errorf("%d keys are not told of", len(want))
	}
	for range newsBatch + 50 {
		k, _ := f.key(a.ID, forever)
		want[k.ID] = true
	}
	for id := range want {
		if _, err := f.RevokeKey(t.Context(), start.Add(100*time.Hour), operator, id, ""); err != nil {
			t.Fatal(err)
		}
	}
	news, err := f.TakeEndedKeys(t.Context(), start.Add(100*time.Hour))
	if err != nil || len(news.Keys) != newsBatch || !news.More {
		t.Errorf("the first part has %d keys, %v, %v", len(news.Keys), news.More, err)
	}
	if news, err = f.TakeEndedKeys(t.Context(), start.Add(100*time.Hour)); err != nil || len(news.Keys) != 50 || news.More {
		t.Errorf("the second part has %d keys, %v, %v", len(news.Keys), news.More, err)
	}
}

// The queries run every second, so they read an index, however many keys there are.
func TestKeyNews_ReadNoWholeTable(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "a query plan of SQLite")
	path := newPath(t)
	openStore(t, path)
	db := rawDB(t, path)
	for _, from := range []string{keysOfAccount, endsByClock, endsByIssuer, endsAsIssued, endsOfOthers, newEnds} {
		id := "id"
		if from == newEnds {
			id = "k.id"
		}
		arguments := 0
		for strings.Contains(from, fmt.Sprintf("$%d", arguments+1)) {
			arguments++
		}
		steps, err := queryRows(t.Context(), db, func(row scanner) (step string, err error) {
			var ignored int
			err = row.Scan(&ignored, &ignored, &ignored, &step)
			return step, err
		}, `EXPLAIN QUERY PLAN SELECT `+id+from, slices.Repeat([]any{"0"}, arguments)...)
		if err != nil || len(steps) == 0 {
			t.Fatalf("%s: %v", from, err)
		}
		for _, step := range steps {
			if strings.Contains(step, "SCAN") {
				t.Errorf("%s: %s", from, step)
			}
		}
	}
}
