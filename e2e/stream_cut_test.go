package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/wstest"
)

// TestOtherProcessesCutStreams cuts as an operator does.
func TestOtherProcessesCutStreams(t *testing.T) {
	t.Parallel()
	p, admin := newStreamProgram(t, "")
	account, other := p.account(), p.account()
	_, bystander := p.key(other)
	free := p.stream(startWith(bystander))
	free.WantText("s")

	// begin opens streams that are fed until they stop, and one that idles.
	begin := func(keys ...string) (all []*library) {
		t.Helper()
		for _, key := range keys {
			l := p.stream(startWith(key))
			l.WantText("s")
			go l.goOn()
			all = append(all, l)
		}
		idle := p.stream(startWith(keys[0]))
		idle.WantText("s")
		idle.SendText("e")
		idle.WantText("e")
		return append(all, idle)
	}
	// cut checks that all of these are cut in the second after a command has ended,
	// while it runs at the earliest.
	cut := func(all []*library, args ...string) map[string]any {
		t.Helper()
		type seen struct {
			at  time.Time
			err error
		}
		cuts := make(chan seen, len(all))
		for _, l := range all {
			go func() {
				for {
					f, err := l.ReadFrame()
					if err != nil || f == wstest.Text(cutText) {
						l.stop()
						cuts <- seen{time.Now(), err}
						return
					}
				}
			}()
		}
		begun := time.Now()
		result := p.run(args...)
		ended := time.Now()
		for range all {
			if s := <-cuts; s.err != nil || s.at.Before(begun) || s.at.After(ended.Add(time.Second)) {
				t.Errorf("%v: a stream was cut %s after the command, %v", args, s.at.Sub(ended), s.err)
			}
		}
		for _, l := range all {
			l.WantEnd()
		}
		return result
	}

	id, key := p.key(account)
	cut(begin(key), "key", "revoke", id, "--reason", "leaked")
	p.stream(startWith(key)).WantText(deniedStart)
	id, key = p.key(account)
	cut(begin(key), "key", "delete", id)

	id, key = p.key(account)
	_, colleague := p.key(account)
	if got := cut(begin(key), "stream", "cut", "--key", id, "--address", admin); fmt.Sprint(got) != "map[cut:2]" {
		t.Errorf("it says %v", got)
	}
	if got := cut(begin(key, colleague), "stream", "cut", "--account", account, "--address", admin); fmt.Sprint(got) != "map[cut:3]" {
		t.Errorf("it says %v", got)
	}
	// The key is as good as it was.
	one := p.stream(startWith(key))
	one.WantText("s")
	var listed map[string]any
	p.eventually("the streams that were cut are gone", func() bool {
		all := p.runList("stream", "list", "--address", admin)
		listed = all[len(all)-1]
		return len(all) == 2
	})
	if listed["key_id"] != id || listed["account_id"] != account || listed["backend"] != "amivoice" || listed["client_ip"] != "127.0.0.1" ||
		listed["begun_at"] == nil || listed["accepted_at"] == nil {
		t.Errorf("it is listed as %v", listed)
	}
	if got := cut([]*library{one}, "stream", "cut", fmt.Sprint(listed["stream_id"]), "--config", p.config); fmt.Sprint(got) != "map[cut:1]" {
		t.Errorf("it says %v", got)
	}
	cut(begin(key), "account", "close", account, "--yes")

	free.feed()
	recognized(t, free.Until("e"))
	p.kept(key, colleague, bystander)
}
