package e2e_test

import (
	"os"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/wstest"
)

// newStreamProgram is Caddyfile.example with these options of the gate, and with
// the admin API at the address that is returned.
func newStreamProgram(t *testing.T, options string) (p *program, admin string) {
	t.Helper()
	example, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	admin = "localhost:" + port(t)
	text := string(example)
	for _, change := range [][2]string{
		{"admin localhost:2019", "admin " + admin},
		{"trusted_proxies static 192.0.2.1", "trusted_proxies static 127.0.0.1 ::1"},
		{"grace_after_end 1h\n", "grace_after_end 1h\n" + options + "\n"},
	} {
		if !strings.Contains(text, change[0]) {
			t.Fatalf("the example has no %q", change[0])
		}
		text = strings.Replace(text, change[0], change[1], 1)
	}
	p = newProgram(t, text)
	p.start()
	return p, admin
}

func TestLibrariesStreamThroughTheGateway(t *testing.T) {
	t.Parallel()
	p, _ := newStreamProgram(t, "max_streams 2")
	account, closed := p.account(), p.account()
	_, key := p.key(account, "--expires", "1h")
	_, second := p.key(account)
	_, expired := p.key(account, "--expires", "1ms")
	_, bound := p.key(account, "--allow", "203.0.113.0/24")
	revokedID, revoked := p.key(account)
	p.run("key", "revoke", revokedID)
	deletedID, deleted := p.key(account)
	p.run("key", "delete", deletedID)
	_, ofClosed := p.key(closed)
	p.run("account", "close", closed, "--yes")

	run := func(name string, f func()) {
		t.Run(name, func(sub *testing.T) {
			p.t = sub
			defer func() { p.t = t }()
			f()
		})
	}
	run("to the final result", func() {
		l := p.stream(startWith(key))
		l.WantText("s")
		l.feed()
		recognized(p.t, l.Until("e"))
	})
	run("with one key after the other", func() {
		l := p.stream(startWith(key))
		for _, next := range []string{second, expired} {
			l.WantText("s")
			l.feed()
			recognized(p.t, l.Until("e"))
			l.SendText(startWith(next))
		}
		l.WantText(deniedStart)
		l.WantEnd()
	})
	refusals := []struct{ reason, command string }{
		{"key_unknown", startWith("nobody")},
		{"key_expired", startWith(expired)},
		{"key_revoked", startWith(revoked)},
		{"key_deleted", startWith(deleted)},
		{"account_closed", startWith(ofClosed)},
		{"address_refused", startWith(bound)},
		{"credential_missing", `s 16K -a-general profileWords="x authorization=` + key + `"`},
		{"credential_ambiguous", startWith(key) + " authorization=" + second},
		{"credential_malformed", startWith(key + "x")},
	}
	for _, r := range refusals {
		run(r.reason, func() {
			l := p.stream(r.command)
			l.WantText(deniedStart)
			p.logsRefusal(r.reason)
		})
	}
	run("from the address that a key is bound to", func() {
		l := p.stream(startWith(bound), "X-Forwarded-For: 203.0.113.7\r\n")
		l.WantText("s")
	})
	run("stream_limit", func() {
		for range 2 {
			p.stream(startWith(second)).WantText("s")
		}
		l := p.stream(startWith(second))
		l.WantText(failedStart)
		l.WantEnd()
		p.logsRefusal("stream_limit")
	})
	run("store_unavailable", func() {
		store := p.store()
		if err := os.Rename(store, store+".away"); err != nil {
			p.t.Fatal(err)
		}
		p.eventually("the gateway notices", func() bool {
			l := p.stream(startWith(key))
			f, err := l.ReadFrame()
			_ = l.Close()
			return err == nil && f == wstest.Text(failedStart)
		})
		p.logsRefusal("store_unavailable")
	})
	p.kept(key, second, expired, bound, revoked, deleted, ofClosed)
}

// logsRefusal waits for a refusal of a stream in the log.
func (p *program) logsRefusal(reason string) {
	p.t.Helper()
	p.eventually("the refusal is logged as "+reason, func() bool {
		return strings.Contains(p.output.String(), `"msg":"refused","reason":"`+reason+`","operation":"stream"`)
	})
}
