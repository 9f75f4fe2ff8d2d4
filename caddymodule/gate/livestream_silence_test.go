package gate

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/policy"
)

// While the keystore cannot be read, a stream goes on for max_stream_staleness: nobody knows whether its key
// has been revoked.
func TestR17_ASilentKeystoreEndsAStream(t *testing.T) { // not parallel: the process has one queue of events, which belongs to one bubble
	postgrestest.OfSQLite(t, "virtual time, which waits for no connection to a server")
	for name, test := range map[string]struct {
		longest  time.Duration // max_stream_staleness
		back     time.Duration // after which the keystore can be read again
		revoked  bool          // meanwhile
		want     policy.Reason
		from, to time.Duration // of the cut, after the keystore was read last
	}{
		"by default after a minute":          {want: policy.StoreUnavailable, from: time.Minute, to: 61 * time.Second},
		"after the time that is configured":  {longest: 10 * time.Second, want: policy.StoreUnavailable, from: 10 * time.Second, to: 11 * time.Second},
		"not if the keystore comes back":     {back: 50 * time.Second, want: policy.Allowed},
		"at once if the key is revoked then": {back: 50 * time.Second, revoked: true, want: policy.KeyRevoked, from: 50 * time.Second, to: 53 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				t.Cleanup(func() { time.Sleep(time.Minute) }) // the app closes its store a second after the end of the rig
				g := newRig(t)
				g.gate.app.MaxStreamStaleness = caddy.Duration(test.longest)
				store := g.open(t)
				key, secret := g.issue(t, store, now(), policy.Never())
				logs := g.logs()
				s := g.stream(t)
				if v := s.authorize(secret, nil); !v.OK {
					t.Fatalf("%+v", v)
				}
				away := g.place.Beside("away")
				g.place.Move(t, away)
				begun := time.Now()
				for !s.guard.Ended() && time.Since(begun) < 3*time.Minute {
					time.Sleep(100 * time.Millisecond)
					if test.back > 0 && time.Since(begun) >= test.back {
						test.back = 0
						away.Move(t, g.place)
					}
					if test.revoked && test.back == 0 {
						_, err := store.RevokeKey(t.Context(), now(), operator, key.ID, "")
						test.revoked = err != nil // the store is not open again yet
					}
				}
				if got := s.guard.Ended(); got != !test.want.OK() {
					t.Fatalf("the stream has ended: %t", got)
				}
				if test.want.OK() {
					return
				}
				if took := time.Since(begun); took < test.from || took > test.to {
					t.Errorf("cut after %s, want from %s to %s", took, test.from, test.to)
				}
				s.events.do(func() {})
				if cuts := logs.FilterMessage("stream cut").All(); len(cuts) != 1 || cuts[0].ContextMap()["reason"] != test.want.String() {
					t.Errorf("the log has %v, want one cut, %s", cuts, test.want)
				}
			})
		})
	}
}

// The change feed can be read while the record of a key cannot. A stream then ends after the same time, counted
// from the first read that has failed since the last one that has not.
func TestR17_AKeyThatCannotBeReadEndsAStream(t *testing.T) { // not parallel: see TestR17_ASilentKeystoreEndsAStream
	postgrestest.OfSQLite(t, "virtual time, which waits for no connection to a server")
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Minute) }) // the app closes its store a second after the end of the rig
		g := newRig(t)
		g.gate.app.MaxStreamStaleness = caddy.Duration(10 * time.Second)
		store := g.open(t)
		_, secret := g.issue(t, store, now(), policy.Never())
		logs := g.logs()
		s := g.stream(t)
		if v := s.authorize(secret, nil); !v.OK {
			t.Fatalf("%+v", v)
		}
		db := g.place.Database(t)
		change := func(statement string) {
			t.Helper()
			// A change that concerns all records: the gateway reads the key again.
			if _, err := db.ExecContext(t.Context(), statement+`; INSERT INTO feed (at, kind, ref) VALUES (0, 'all', x'00')`); err != nil {
				t.Fatal(err)
			}
		}
		const hide, show = `ALTER TABLE api_keys RENAME TO hidden`, `ALTER TABLE hidden RENAME TO api_keys`
		for range 2 { // the time begins again after each read that succeeds
			change(hide)
			time.Sleep(9 * time.Second)
			change(show)
			time.Sleep(2 * time.Second)
		}
		if s.guard.Ended() {
			t.Fatalf("the stream has ended, although its key could be read again: %v", logs.All())
		}
		change(hide)
		begun := time.Now()
		for !s.guard.Ended() && time.Since(begun) < time.Minute {
			if silence := store.Silence(); silence > 0 {
				t.Fatalf("the store is silent for %s: it must read the feed", silence)
			}
			if time.Since(begun) > 5*time.Second { // a refused start command reads the key, too
				s.events.do(func() { _, _ = s.check(admitting) })
			}
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(begun); took < 10*time.Second || took > 11*time.Second {
			t.Errorf("cut after %s, want from 10s to 11s", took)
		}
		s.events.do(func() {})
		if cuts := logs.FilterMessage("stream cut").All(); len(cuts) != 1 || cuts[0].ContextMap()["reason"] != policy.StoreUnavailable.String() {
			t.Errorf("the log has %v, want one cut, %s", cuts, policy.StoreUnavailable)
		}
		change(show)
	})
}

// A key that could not be read before the keystore fell silent gets no more time for the silence.
func TestR17_ASilenceGivesNoMoreTimeToAKeyThatCannotBeRead(t *testing.T) { // not parallel: see TestR17_ASilentKeystoreEndsAStream
	postgrestest.OfSQLite(t, "virtual time, which waits for no connection to a server")
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Minute) }) // the app closes its store a second after the end of the rig
		g := newRig(t)
		g.gate.app.MaxStreamStaleness = caddy.Duration(20 * time.Second)
		store := g.open(t)
		_, secret := g.issue(t, store, now(), policy.Never())
		s := g.stream(t)
		if v := s.authorize(secret, nil); !v.OK {
			t.Fatalf("%+v", v)
		}
		_, err := g.place.Database(t).ExecContext(t.Context(), `ALTER TABLE api_keys RENAME TO hidden; INSERT INTO feed (at, kind, ref) VALUES (0, 'all', x'00')`)
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		time.Sleep(3 * time.Second)
		g.place.Move(t, g.place.Beside("away"))
		for !s.guard.Ended() && time.Since(begun) < time.Minute {
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(begun); took < 20*time.Second || took > 21*time.Second {
			t.Errorf("cut after %s, want from 20s to 21s", took)
		}
	})
}
