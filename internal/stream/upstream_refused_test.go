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
			cfg.setMode(mode)
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

// asked returns a guard whose backend has not answered the start command yet, and counts the
// calls of Config.UpstreamRefused.
func asked(t *testing.T, mode credential.Mode) (f *scripted, told *int) {
	t.Helper()
	told = new(int)
	f = newScripted(t, func(cfg *settings) {
		cfg.setMode(mode)
		cfg.UpstreamRefused = func() { *told++ }
	})
	f.feed(startFrame)
	return f, told
}

func TestR16_OnlyTheAnswerToAStartCanRefuseTheUpstreamKey(t *testing.T) {
	t.Parallel()
	refusal := wstest.RawText(denied)
	inPieces := slices.Concat(wstest.Fragments(1, nil, denied, 4)...)
	for name, test := range map[string]struct {
		answers [][]byte
		want    []wstest.Frame
		told    int
	}{
		"after another text":           {[][]byte{wstest.RawText("G 1"), refusal}, []wstest.Frame{wstest.Text("G 1"), wstest.Text(unreachable)}, 1},
		"a result in fragments":        {[][]byte{wstest.RawText("s"), inPieces}, []wstest.Frame{wstest.Text("s"), wstest.Text(denied)}, 0},
		"after an answer e":            {[][]byte{wstest.RawText("e timeout occurred"), refusal}, []wstest.Frame{wstest.Text("e timeout occurred"), wstest.Text(denied)}, 0},
		"a binary message":             {[][]byte{wstest.RawBinary(denied), wstest.RawText("s")}, []wstest.Frame{wstest.Binary(denied), wstest.Text("s")}, 0},
		"a binary message in pieces":   {[][]byte{wstest.RawBinary(denied)[:9], wstest.RawBinary(denied)[9:]}, []wstest.Frame{wstest.Binary(denied)}, 0},
		"a Ping within an answer":      {[][]byte{wstest.Raw(0x01, nil, 0, []byte("s no")), wstest.Raw(0x89, nil, 0, []byte(denied)), wstest.Raw(0x80, nil, 0, []byte(" engine"))}, []wstest.Frame{wstest.Of(true, 9, false, denied), wstest.Text("s no engine")}, 0},
		"an answer of 64 KiB":          {[][]byte{wstest.RawText(padded(65536))}, []wstest.Frame{wstest.Text(unreachable)}, 1},
		"a longer answer, which is no": {[][]byte{wstest.RawText(padded(65537))}, []wstest.Frame{wstest.Text(padded(65537))}, 0},
	} {
		for _, mode := range []credential.Mode{credential.Replace, credential.Drop} {
			f, told := asked(t, mode)
			f.respond(test.answers...)
			got := frames(t, f.script.out.Bytes())
			if mode == credential.Drop && name == "a result in fragments" { // it passes as it came
				test.want = []wstest.Frame{wstest.Text("s"), wstest.Of(false, 1, false, denied[:4]), wstest.Of(true, 0, false, denied[4:])}
			}
			if !slices.Equal(got, test.want) || *told != test.told || f.ended != nil {
				t.Errorf("%s, mode %v: the client gets %.300v, told %d times, %v", name, mode, got, *told, f.ended)
			}
		}
	}
}

// padded returns a refusal of n bytes.
func padded(n int) string { return denied + strings.Repeat(".", n-len(denied)) }
