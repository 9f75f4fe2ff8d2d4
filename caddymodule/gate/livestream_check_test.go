package gate

import (
	"net/http/httptest"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// stream returns a registered stream that has no connection. It ends with the test.
func (g *rig) stream(t *testing.T) *liveStream {
	t.Helper()
	g.gate.app.AcquireStore()
	t.Cleanup(g.gate.app.ReleaseStore)
	r := (&gateCase{method: "GET", target: "/v1/"}).request(httptest.NewRecorder())
	s := newLiveStream(&gatedRequest{
		gate: g.gate, r: r, at: now(), call: g.gate.api.Classify("GET", "/v1/"),
		asked: policy.Request{Operation: policy.Stream, Client: netip.MustParseAddr("192.0.2.7")},
	}, g.gate.upstream, 0)
	if !s.register() {
		t.Fatal("the stream is not registered")
	}
	t.Cleanup(s.end)
	return s
}

// issue issues a key of the rig's account, as of another instant.
func (g *rig) issue(t *testing.T, store *keystore.Store, at policy.Time, expires policy.Expiry) (policy.Key, policy.Secret) {
	t.Helper()
	all, _, err := store.Keys(t.Context(), keystore.KeyList{})
	if err != nil {
		t.Fatal(err)
	}
	key, secret, err := store.IssueKey(t.Context(), at, operator, keystore.NewKey{AccountID: all[0].AccountID, Origin: policy.OriginConsole, Expires: expires})
	if err != nil {
		t.Fatal(err)
	}
	return key, secret
}

// listed returns how the registry lists a stream.
func (s *liveStream) listed() (owner policy.Identity, ok bool) {
	for _, one := range s.gate.app.Streams().List() {
		if one.ID == s.id {
			return one.Owner, true
		}
	}
	return owner, false
}

// running returns what the stream has of its key.
func (s *liveStream) running() (record keystore.Record, watched, timed bool) {
	s.events.do(func() { record, watched, timed = s.record, s.unwatch != nil, s.timer != nil })
	return record, watched, timed
}

func TestStream_AStartCommandIsDecided(t *testing.T) {
	g := newRigWith(t, &Gate{UpstreamKey: backendKey, MaxStreamsPerKey: 1})
	store := g.open(t)
	hour := time.Hour
	_, expired := g.issue(t, store, now().Add(-2*hour), policy.ExpiresAt(now().Add(-hour)))
	secret := policy.NewSecret(g.secret)
	for name, test := range map[string]struct {
		secret policy.Secret
		fault  *credential.Fault
		reason policy.Reason
		detail string
	}{
		"a good key":     {secret, nil, policy.Allowed, ""},
		"an expired key": {expired, nil, policy.KeyExpired, ""},
		"an unknown key": {policy.NewSecret("unknown"), nil, policy.KeyUnknown, ""},
		"a bad checksum": {policy.NewSecret(g.secret + "x"), nil, policy.CredentialMalformed, ""},
		"no key":         {policy.Secret{}, &credential.Fault{Reason: policy.CredentialMissing, Detail: "why"}, policy.CredentialMissing, "why"},
	} {
		t.Run(name, func(t *testing.T) {
			logs := g.logs()
			s := g.stream(t)
			verdict := s.authorize(test.secret, test.fault)
			message := ""
			if !test.reason.OK() {
				message = g.gate.api.Commands().Refusal(test.reason)
			}
			if verdict.OK != test.reason.OK() || verdict.Message != message {
				t.Errorf("the verdict is %+v", verdict)
			}
			kind := "refused"
			if test.reason.OK() {
				kind = "admitted"
			}
			entries := logs.FilterMessage(kind).All()
			if len(entries) != 1 || logs.Len() != 1 {
				t.Fatalf("the log is %v", logs.All())
			}
			fields := entries[0].ContextMap()
			if fields["reason"] != test.reason.String() || fields["operation"] != "stream" || fields["client_ip"] != "192.0.2.7" || test.detail != "" && fields["detail"] != test.detail {
				t.Errorf("the entry is %v", fields)
			}
			owner, _ := s.listed()
			record, watched, _ := s.running()
			if accepted := owner.KeyID != ""; accepted != test.reason.OK() || watched != accepted || record.Found() != accepted {
				t.Errorf("accepted %v, watched %v, the key is %v", accepted, watched, record.Found())
			}
			// The key may have one stream, and the second command of the same stream is not another one.
			if !test.reason.OK() {
				return
			}
			if verdict := s.authorize(test.secret, nil); !verdict.OK {
				t.Errorf("the second command: %+v", verdict)
			}
			second := g.stream(t)
			if verdict := second.authorize(test.secret, nil); verdict.OK || verdict.Message != g.gate.api.Commands().Refusal(policy.StreamLimit) {
				t.Errorf("a second stream: %+v", verdict)
			}
			if _, watched, _ := second.running(); watched {
				t.Error("a stream that is refused watches the key")
			}
			s.end()
			if _, ok := s.listed(); ok {
				t.Error("the stream is listed after its end")
			}
			if s.ctx.Err() == nil {
				t.Error("the request to the backend goes on")
			}
			if verdict := second.authorize(test.secret, nil); !verdict.OK {
				t.Errorf("after the end of the first: %+v", verdict)
			}
		})
	}
}

// A stream that waits through a reload has no proxy any more. One that runs goes on.
func TestStream_AReloadEndsStreamsThatWait(t *testing.T) {
	g := newRig(t)
	waits, runs := g.stream(t), g.stream(t)
	runs.proxied = true
	if err := g.gate.Cleanup(); err != nil {
		t.Fatal(err)
	}
	if verdict := waits.authorize(policy.NewSecret(g.secret), nil); verdict.OK || verdict.Message != g.gate.api.Commands().Unreachable() {
		t.Errorf("a stream that waits: %+v", verdict)
	}
	if verdict := runs.authorize(policy.NewSecret(g.secret), nil); !verdict.OK {
		t.Errorf("a stream that runs: %+v", verdict)
	}
}

// A stream is checked by the record of its key, by on_expiry and by max_stream_time.
func TestR14_WhatEndsAStream(t *testing.T) {
	const hour = time.Hour
	for name, test := range map[string]struct {
		onExpiry string
		longest  time.Duration
		begun    time.Duration // before now
		accepted time.Duration // before now
		expires  time.Duration // before now; 0 is never
		change   func(*testing.T, *keystore.Store, policy.Key)
		mode     checkMode
		reason   policy.Reason
		timed    bool // a timer is set
	}{
		"a good key":                        {reason: policy.Allowed},
		"a good key in a long stream":       {longest: 2 * hour, begun: hour, reason: policy.Allowed, timed: true},
		"a stream that is too long":         {longest: hour, begun: hour, reason: policy.StreamTooLong},
		"a stream without a limit":          {begun: 1000 * hour, reason: policy.Allowed},
		"expired after the start":           {accepted: 2 * hour, expires: hour, reason: policy.Allowed},
		"expired after the start, too long": {accepted: 2 * hour, expires: hour, longest: hour, begun: 2 * hour, reason: policy.StreamTooLong},
		"expired after the start, cut":      {onExpiry: "cut", accepted: 2 * hour, expires: hour, reason: policy.KeyExpired},
		"expired before the start":          {accepted: hour / 2, expires: hour, reason: policy.KeyExpired},
		"expires later":                     {expires: -hour, reason: policy.Allowed},
		"expires later, cut":                {onExpiry: "cut", expires: -hour, reason: policy.Allowed, timed: true},
		"a revoked key":                     {change: revoke, reason: policy.KeyRevoked},
		"a revoked key that has expired":    {change: revoke, accepted: 2 * hour, expires: hour, reason: policy.KeyRevoked},
		"a record that is gone":             {change: forget, reason: policy.KeyUnknown},
		"a record that is gone, at a start": {change: forget, mode: admitting, reason: policy.KeyUnknown},
		"a store that fails":                {change: breakStore, mode: running, reason: policy.Allowed, timed: true},
		"a store that fails at a start":     {change: breakStore, mode: admitting, reason: policy.StoreUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRigWith(t, &Gate{UpstreamKey: backendKey, OnExpiry: test.onExpiry, MaxStreamTime: caddy.Duration(test.longest)})
			store := g.open(t) // the stream uses this store, which reads the database
			expires := policy.Never()
			if test.expires != 0 {
				expires = policy.ExpiresAt(now().Add(-test.expires))
			}
			key, secret := g.issue(t, store, now().Add(-3*hour), expires)
			record, err := store.FindKey(t.Context(), secret)
			if err != nil {
				t.Fatal(err)
			}
			s := g.stream(t)
			s.begun = now().Add(-test.begun)
			s.store, s.record, s.accepted = store, record, now().Add(-test.accepted)
			if test.change != nil {
				test.change(t, store, key)
			}
			var reason policy.Reason
			s.events.do(func() { reason, _ = s.check(test.mode) })
			if _, _, timed := s.running(); reason != test.reason || timed != test.timed {
				t.Errorf("the reason is %s; a timer is set: %v", reason, timed)
			}
			s.ended.Store(true)
			s.events.do(func() { reason, _ = s.check(test.mode) })
			if !reason.OK() {
				t.Errorf("a stream that has ended ends again: %s", reason)
			}
		})
	}
	s := newRig(t).stream(t)
	if reason, _ := s.check(running); !reason.OK() {
		t.Errorf("a stream without a key: %s", reason)
	}
}

func revoke(t *testing.T, store *keystore.Store, key policy.Key) {
	t.Helper()
	if _, err := store.RevokeKey(t.Context(), now(), operator, key.ID, ""); err != nil {
		t.Fatal(err)
	}
}

func forget(t *testing.T, store *keystore.Store, key policy.Key) {
	t.Helper()
	if _, err := store.DeleteKey(t.Context(), now(), operator, key.ID); err != nil {
		t.Fatal(err)
	}
	if err := store.Prune(t.Context(), now().Add(100*365*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
}

func breakStore(t *testing.T, store *keystore.Store, _ policy.Key) {
	t.Helper()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

// The next end of a stream is the first instant after now at which it may end.
func TestR14_TheNextEndOfAStream(t *testing.T) {
	t.Parallel()
	const at = policy.Time(1_000_000)
	for name, test := range map[string]struct {
		revoke, expires policy.Time // 0 is never
		longest         policy.Time // from the handshake, which is at 500,000
		cut, want       policy.Time // cut 1 is on_expiry cut
	}{
		"none":                        {},
		"a revocation":                {revoke: at + 5, want: at + 5},
		"a revocation in the past":    {revoke: at - 5},
		"a revocation now":            {revoke: at},
		"an expiry that does not cut": {expires: at + 5},
		"an expiry":                   {expires: at + 5, cut: 1, want: at + 5},
		"no expiry":                   {cut: 1},
		"the longest time":            {longest: 600_000, want: at + 100_000},
		"the longest time has passed": {longest: 400_000},
		"the first is the revocation": {revoke: at + 1, expires: at + 2, longest: 500_003, cut: 1, want: at + 1},
		"the first is the expiry":     {revoke: at + 2, expires: at + 1, longest: 500_003, cut: 1, want: at + 1},
		"the first is the limit":      {revoke: at + 3, expires: at + 2, longest: 500_001, cut: 1, want: at + 1},
	} {
		s := &liveStream{gate: &Gate{}, begun: 500_000}
		if test.cut == 1 {
			s.gate.OnExpiry = expiryCut
		}
		key := policy.Key{RevokeFrom: test.revoke, Expires: policy.Never()}
		if test.expires != 0 {
			key.Expires = policy.ExpiresAt(test.expires)
		}
		if got := s.nextEnd(at, &key, time.Duration(test.longest)*time.Millisecond); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

// The timer rechecks the stream once at the end that was set last.
func TestR14_TheTimerOfAStream(t *testing.T) {
	t.Parallel()
	s := newTestStream(t)
	s.events.do(func() {
		s.setTimer(1000, 1001)
		s.setTimer(1000, 1000+86_400_000)
		first := s.timer
		s.setTimer(1000, 0)
		if s.timer != nil || first.Stop() {
			t.Error("a timer is set for no instant, or the timer before is not stopped")
		}
		s.setTimer(1000, 1000+longestTimer*1000) // does not overflow
		if s.timer == nil {
			t.Error("no timer is set for a far instant")
		}
		s.setTimer(1000, 1000+86_400_000)
	})
	_, _, timed := s.running()
	if !timed {
		t.Error("no timer is set")
	}
	s.ended.Store(true)
	s.events.do(func() { s.setTimer(1000, 2000) })
	if _, _, timed := s.running(); timed {
		t.Error("a stream that has ended has a timer")
	}
}

// A stream ends soon after another process has revoked its key, also after a recheck for another
// reason.
func TestR14_ARevocationCutsTheStream(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "virtual time, which waits for no connection to a server")
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Minute) }) // the app closes its store a second after the end of the rig
		g := newRig(t)
		store := g.open(t)
		key, secret := g.issue(t, store, now(), policy.Never())
		logs := g.logs()
		s, other := g.stream(t), g.stream(t)
		if a, b := s.authorize(secret, nil), other.authorize(policy.NewSecret(g.secret), nil); !a.OK || !b.OK {
			t.Fatalf("%+v, %+v", a, b)
		}
		s.recheckSoon()
		s.events.do(func() {})
		if s.guard.Ended() {
			t.Fatal("the stream ends without a reason")
		}
		revoke(t, store, key)
		time.Sleep(250 * time.Millisecond) // the longest time until a change by another process counts
		synctest.Wait()
		if !s.guard.Ended() {
			t.Fatal("the stream is not cut")
		}
		s.events.do(func() {}) // after the report
		cuts := logs.FilterMessage("stream cut").All()
		if len(cuts) != 1 || cuts[0].ContextMap()["reason"] != "key_revoked" || cuts[0].ContextMap()["stream_id"] != s.id || cuts[0].ContextMap()["key_id"] != key.ID {
			t.Errorf("the log is %v", cuts)
		}
		if other.guard.Ended() {
			t.Error("the stream of another key is cut too")
		}
	})
}

// The log and the placeholders say why a stream has ended.
func TestStream_EveryEndIsReported(t *testing.T) {
	g := newRig(t)
	for _, test := range []struct {
		name    string
		end     func(*liveStream)
		message string
		level   zapcore.Level
		reason  string // "" if the end is no decision
	}{
		{"a cut", func(s *liveStream) { s.cut(policy.CutByOperator, "why") }, "stream cut", zap.InfoLevel, "cut_by_operator"},
		{"a refusal", func(s *liveStream) { s.refused(policy.RequestMalformed, "why") }, "refused", zap.InfoLevel, "request_malformed"},
		{"a fault of the backend", func(s *liveStream) { s.refused(policy.Undecided, "why") }, "a stream was ended", zap.ErrorLevel, ""},
		{"a refused key", (*liveStream).upstreamRefused, "upstream key refused", zap.ErrorLevel, "upstream_refused"},
		{"a refused key again", (*liveStream).upstreamRefused, "upstream key refused", zap.InfoLevel, "upstream_refused"},
	} {
		logs := g.logs()
		s := g.stream(t)
		test.end(s)
		s.events.do(func() {})
		entries := logs.All()
		if len(entries) != 1 || entries[0].Message != test.message || entries[0].Level != test.level {
			t.Errorf("%s: the log is %v", test.name, entries)
			continue
		}
		fields := entries[0].ContextMap()
		reason, _ := fields["reason"].(string)
		detail, _ := fields["detail"].(string)
		shown, _ := caddyReplacer(s.r).GetString("speechgate.reason")
		if reason != test.reason || shown != test.reason || fields["stream_id"] != s.id || detail != "why" && test.message != "upstream key refused" || detail == "" {
			t.Errorf("%s: the placeholder is %q, the entry is %v", test.name, shown, fields)
		}
	}
}

// The end of a stream releases everything that the stream holds.
func TestStream_TheEndReleasesAll(t *testing.T) {
	s := newRig(t).stream(t)
	unwatched := false
	s.events.do(func() {
		s.unwatch = func() { unwatched = true }
		s.setTimer(1000, 1000+86_400_000)
	})
	s.end()
	if _, listed := s.listed(); listed || !unwatched || s.timer.Stop() || s.ctx.Err() == nil || s.cut(policy.CutByOperator, "") {
		t.Errorf("listed %v, unwatched %v, the request has ended: %v", listed, unwatched, s.ctx.Err())
	}
}
