package stream_test

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/wstest"
)

func TestR16_TheBackendsRefusalOfOurOwnKeyIsNotTheClients(t *testing.T) {
	t.Parallel()
	refusals := []string{denied, "s Received illegal Service Authorization (expired)", "s invalid API key", "s APPKEY is wrong"}
	others := []string{"s", "s no such engine", "s can't connect to recognizer server", "s"}
	modes := map[credential.Mode]string{credential.Replace: startSent, credential.Drop: "s 16K -a-general", credential.Pass: startText}
	for mode, sent := range modes {
		var told atomic.Int32
		f := newScripted(t, func(cfg *settings) {
			cfg.Upstream.Mode = mode
			cfg.UpstreamRefused = func() { told.Add(1) }
		})
		var want []wstest.Frame
		answer := func(message string, pieces ...[]byte) {
			f.feed(startFrame)
			f.respond(pieces...)
			want = append(want, wstest.Text(message))
			if message == "s" {
				f.feed(wstest.RawText("e"))
				f.respond(wstest.RawText("e"))
				want = append(want, wstest.Text("e"))
			}
		}
		for _, other := range others {
			answer(other, wstest.RawText(other))
		}
		if told.Load() != 0 {
			t.Errorf("mode %v: another answer is taken for a refusal", mode)
		}
		for _, refusal := range refusals {
			message := unreachable
			if mode == credential.Pass {
				message = refusal
			}
			answer(message, wstest.RawText(refusal))
			for at := range len(wstest.RawText(refusal)) {
				answer(message, wstest.RawText(refusal)[:at], wstest.RawText(refusal)[at:])
			}
			if mode != credential.Pass {
				answer(message, slices.Concat(wstest.Fragments(1, nil, refusal, 1, 4, 0)...))
			}
		}
		if n := int(told.Load()); mode == credential.Pass && n != 0 || mode != credential.Pass && n < len(refusals) {
			t.Errorf("mode %v: told %d times", mode, n)
		}
		// A text within a session is a result, whatever its words.
		f.feed(startFrame)
		f.respond(wstest.RawText("s"), wstest.RawText(`A {"text":"s authorization"}`), wstest.RawText("s authorization"))
		want = append(want, wstest.Text("s"), wstest.Text(`A {"text":"s authorization"}`), wstest.Text("s authorization"))
		if got := frames(t, f.script.out.Bytes()); !slices.Equal(got, want) {
			t.Errorf("mode %v: the client gets %+v, want %+v", mode, got, want)
		}
		if !strings.Contains(f.sent.String(), sent) || f.ended != nil {
			t.Errorf("mode %v: the backend gets %.100q, %v", mode, f.sent.String(), f.ended)
		}
	}
}
