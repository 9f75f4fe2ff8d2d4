package upstreamkey

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/speechgate/speechgate/internal/storetest"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func openStore(t *testing.T) *keystore.Store {
	t.Helper()
	store, err := keystore.Open(t.Context(), storetest.New(t).CommandLine())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func keysOf(texts ...string) (keys []policy.Secret) {
	for _, text := range texts {
		keys = append(keys, policy.NewSecret(text))
	}
	return keys
}

func TestChoose(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	keys := keysOf("new", "old", "older")
	prints := store.Fingerprints(nil, "b", keys)
	foreign := store.Fingerprints(nil, "b", keysOf("gone")).Of(0)
	one := store.Fingerprints(nil, "b", keys[:1])
	for _, test := range []struct {
		name   string
		prints *keystore.Fingerprints
		n      int
		began  policy.Fingerprint
		want   int
		known  bool
	}{
		{"began with the newest key", prints, 3, prints.Of(0), 0, true},
		{"began with an old key", prints, 3, prints.Of(1), 1, true},
		{"began with the oldest key", prints, 3, prints.Of(2), 2, true},
		{"began with a key that is not configured any more", prints, 3, foreign, 0, false},
		{"is older than fingerprints", prints, 3, 0, 2, true},
		{"is older than fingerprints, and there is one key", one, 1, 0, 0, true},
		{"began with the only key", one, 1, one.Of(0), 0, true},
		{"the keystore is unavailable", nil, 3, prints.Of(1), 0, false},
	} {
		if got, known := Choose(test.prints, test.n, test.began); got != test.want || known != test.known {
			t.Errorf("%s: key %d, %v; want key %d, %v", test.name, got, known, test.want, test.known)
		}
	}
}

func TestNeeds_JoinsTheKeystoreAndTheProcess(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	keys := keysOf("new", "old", "gone", "idle")
	prints := store.Fingerprints(nil, "b", keys)
	backends := []Backend{{"b", keys[:2]}, {"c", keysOf("new")}, {"none", nil}}
	recorded := []keystore.UpstreamKeyNeed{
		{Backend: "b", Fingerprint: 0, Jobs: 1, LastJob: 50},
		{Backend: "b", Fingerprint: prints.Of(1), Jobs: 2, LastJob: 40, Tokens: 3},
		{Backend: "b", Fingerprint: prints.Of(2), Jobs: 4, LastJob: 30},
		{Backend: "none", Fingerprint: 0, Jobs: 5, LastJob: 20},
		{Backend: "another server's", Fingerprint: 9, Jobs: 6, LastJob: 10},
	}
	var uses Uses
	first := uses.Of("b", keys[0])
	first.Note(1000)
	first.BeginRequest()
	uses.Of("b", keys[2]).BeginStream()
	uses.Of("b", keys[3]).Note(3000)
	uses.Of("another server's", keys[0]).BeginRequest()
	want := []Need{
		{Backend: "b", Position: 1, Fingerprint: prints.Of(0), Requests: 1, LastUsed: 1000},
		{Backend: "b", Position: 2, Fingerprint: prints.Of(1), Jobs: 3, LastJob: 50, Tokens: 3},
		{Backend: "b", Fingerprint: prints.Of(2), Jobs: 4, LastJob: 30, Streams: 1},
		{Backend: "c", Position: 1, Fingerprint: store.Fingerprints(nil, "c", keys).Of(0)},
	}
	if diff := cmp.Diff(want, Needs(store, backends, recorded, &uses), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for i, idle := range []bool{false, false, false, true} {
		if want[i].Idle() != idle {
			t.Errorf("%+v is idle: %v", want[i], !idle)
		}
	}
	if got := Needs(store, backends, nil, nil); len(got) != 3 || !got[0].Idle() || !got[1].Idle() {
		t.Errorf("without records and without a server: %+v", got)
	}
}

// A use goes on when another configuration asks for it, and is noted once a second.
func TestUses(t *testing.T) {
	t.Parallel()
	var uses Uses
	use := uses.Of("b", policy.NewSecret("key"))
	for _, step := range []struct{ at, want policy.Time }{{5000, 5000}, {5999, 5000}, {6000, 6000}, {3000, 6000}} {
		use.Note(step.at)
		if got := policy.Time(use.last.Load()); got != step.want {
			t.Errorf("after a use at %d the last is %d, want %d", step.at, got, step.want)
		}
	}
	use.BeginStream()
	use.BeginRequest()
	if again := uses.Of("b", policy.NewSecret("key")); again != use || !again.running() {
		t.Error("the use is another one")
	}
	if uses.Of("c", policy.NewSecret("key")) == use || uses.Of("b", policy.NewSecret("other")) == use {
		t.Error("two keys have one use")
	}
	use.EndRequest()
	if !use.running() {
		t.Error("a key with a stream is not in use")
	}
	use.EndStream(9000)
	if use.running() || use.last.Load() != 9000 {
		t.Error("the end of a stream is not noted")
	}
	var none *Use
	none.Note(1)
	none.BeginRequest()
	none.EndRequest()
	none.BeginStream()
	none.EndStream(1)
}
