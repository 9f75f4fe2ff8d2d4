package stream_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/internal/wstest"
)

func TestR19_CommandsInFragmentsGoOnAsOneFrame(t *testing.T) {
	t.Parallel()
	long := startText + ` profileWords="` + strings.Repeat("認識|にんしき ", 3000) + `"`
	sent := strings.Replace(long, clientKey, upstreamKey, 1)
	at := strings.Index(long, "認") + 1 // within a character
	inKey := strings.Index(startText, clientKey) + 3
	for name, sizes := range map[string][]int{
		"two":                          {20},
		"within the key":               {inKey},
		"an empty first one":           {0},
		"an empty one in between":      {20, 0, 0},
		"an empty last one":            {len(long)},
		"empty ones alone":             {0, 0, len(long), 0},
		"within a character":           {at},
		"as gorilla does":              slices.Repeat([]int{4096}, len(long)/4096),
		"as websocket-sharp does":      slices.Repeat([]int{1016}, len(long)/1016),
		"as npm websocket does":        slices.Repeat([]int{16384}, len(long)/16384),
		"as many empty ones as may be": append([]int{5}, make([]int, 64)...),
		"byte by byte":                 slices.Repeat([]int{1}, 300),
	} {
		for _, mask := range [][]byte{nil, mask} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				f := newScripted(t, nil)
				f.feed(wstest.Fragments(1, mask, long, sizes...)...)
				f.respond(wstest.RawText("s"))
				f.feed(slices.Concat(wstest.Fragments(1, mask, "e", 0, 0, 1)...))
				f.respond(wstest.RawText("e"))
				f.feed(slices.Concat(wstest.Fragments(1, mask, long, sizes...)...))
				masked := mask != nil
				f.wantAll([]wstest.Frame{wstest.Of(true, 1, masked, sent), wstest.Of(true, 1, masked, "e"), wstest.Of(true, 1, masked, sent)})
			})
		}
	}
}

func TestR19_ControlFramesBetweenFragments(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pieces := wstest.Fragments(1, mask, startText, 5, 0)
		ping, pong := wstest.Raw(0x89, mask, 0, []byte("hello")), wstest.Raw(0x8A, mask, 0, nil)
		between := slices.Concat(pieces[0], ping, pong, pieces[1], ping, pieces[2])
		r := newRig(t, nil)
		r.send(between)
		r.wantClient(wstest.Of(true, 10, false, "hello"), wstest.Of(true, 10, false, "hello")) // before a key is known
		r.wantBackend(wstest.Of(true, 1, true, startSent))
		r.answer(wstest.RawText("s"))
		r.wantClient(wstest.Text("s"))
		r.send(wstest.RawText("e"))
		r.wantBackend(wstest.Text("e"))
		r.answer(wstest.RawText("e"))
		r.wantClient(wstest.Text("e"))
		r.send(between)
		passed := wstest.Of(true, 9, true, "hello")
		r.wantBackend(passed, wstest.Of(true, 10, true, ""), passed, wstest.Of(true, 1, true, startSent))
		r.send(pieces[0], wstest.Raw(0x88, mask, 0, []byte{3, 232}), pieces[1], pieces[2])
		r.wantBackend(wstest.Of(true, 8, true, "\x03\xe8"))
		r.client.Close()
		r.wantSilence()
	})
}

// TestR19_EmptyFragmentsOfAudio checks that the guard looks at the first byte of a
// message, in whichever fragment it comes.
func TestR19_EmptyFragmentsOfAudio(t *testing.T) {
	t.Parallel()
	for _, mask := range [][]byte{nil, mask} {
		f := newScripted(t, nil)
		f.feed(startFrame)
		f.feed(wstest.Fragments(2, mask, "pAB", 0, 0, 2, 0)...)
		f.feed(slices.Concat(wstest.Fragments(2, mask, "pCD", 3)...))
		masked := mask != nil
		f.wantAll([]wstest.Frame{wstest.Text(startSent), wstest.Of(true, 2, masked, "pA"), wstest.Of(true, 2, masked, "pB"), wstest.Of(true, 2, masked, "pCD")})
	}
}

// TestR19_FragmentsSayTheSameAsOneFrame sends a command in one frame and in fragments,
// with control frames between them, and compares what comes of the two.
func TestR19_FragmentsSayTheSameAsOneFrame(t *testing.T) {
	t.Parallel()
	commands := []string{startText, "e", "s", "s authorization=OTHER", "hello", startText + " x=日本語", startText + "\xff", ""}
	rapid.Check(t, func(rt *rapid.T) {
		command := rapid.SampledFrom(commands).Draw(rt, "command")
		sizes := rapid.SliceOfN(rapid.IntRange(0, 20), 1, 8).Draw(rt, "sizes")
		mask := rapid.SampledFrom([][]byte{nil, mask}).Draw(rt, "mask")
		run := func(pieces [][]byte) (sent []wstest.Frame, said []string, ended bool) {
			f := newScripted(t, func(cfg *settings) { cfg.PartingTime = 1 })
			f.feed(slices.Concat(pieces...))
			for _, frame := range frames(t, f.sent.Bytes()) {
				if frame.Opcode < 8 {
					sent = append(sent, frame)
				}
			}
			for _, frame := range frames(t, f.script.out.Bytes()) {
				if frame.Opcode == 1 {
					said = append(said, frame.Payload)
				}
			}
			return sent, said, f.ended != nil
		}
		whole := [][]byte{wstest.Raw(0x81, mask, 0, []byte(command))}
		pieces := wstest.Fragments(1, mask, command, sizes...)
		if rapid.Bool().Draw(rt, "a Pong between") {
			at := rapid.IntRange(0, len(pieces)).Draw(rt, "at")
			pieces = slices.Insert(pieces, at, wstest.Raw(0x8A, mask, 0, []byte("x")))
		}
		wantSent, wantSaid, wantEnded := run(whole)
		sent, said, ended := run(pieces)
		if !slices.Equal(sent, wantSent) || !slices.Equal(said, wantSaid) || ended != wantEnded {
			rt.Fatalf("in fragments the backend gets %+v and the client %q, %v; in one frame %+v and %q, %v", sent, said, ended, wantSent, wantSaid, wantEnded)
		}
	})
}
