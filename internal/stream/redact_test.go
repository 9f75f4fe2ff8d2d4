package stream_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/internal/wstest"
	"github.com/speechgate/speechgate/policy"
)

var stars = strings.Repeat("*", len(upstreamKey))

func TestR18_TheUpstreamKeyDoesNotReachTheClient(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 70_000)
	all := slices.Concat(
		wstest.RawText("s bad key "+upstreamKey), wstest.RawText("nothing"), wstest.RawText(upstreamKey+upstreamKey), wstest.RawText("UPSTREAMKE"), wstest.RawText(""),
		wstest.Raw(0x81, nil, 64, []byte("in a long form "+upstreamKey)),
		wstest.Raw(0x01, nil, 0, []byte("in pieces UPSTR")), wstest.Raw(0x89, nil, 0, []byte(upstreamKey)), wstest.Raw(0x00, nil, 0, nil), wstest.Raw(0x80, nil, 0, []byte("EAMKEY.")),
		wstest.Raw(0x01, nil, 0, nil), wstest.Raw(0x80, nil, 0, nil),
		wstest.Raw(0x01, nil, 0, nil), wstest.Raw(0x80, nil, 0, []byte("A hello")),
		wstest.RawText(long+upstreamKey), wstest.RawText(upstreamKey+long+upstreamKey), wstest.RawText(strings.Repeat("y", 65530)+upstreamKey), wstest.RawText(strings.Repeat("z", 65536-len(upstreamKey))+upstreamKey),
		wstest.Raw(0x88, nil, 0, []byte("\x03\xe8 "+upstreamKey)), wstest.RawBinary("binary "+upstreamKey),
		wstest.Raw(0x02, nil, 0, []byte(upstreamKey)), wstest.Raw(0x80, nil, 0, []byte(upstreamKey)),
		wstest.RawBinary("UPSTREAMKE"), wstest.RawBinary(long+"UPSTREAMKE"), wstest.RawText(long+"UPSTREAMKE"),
		wstest.Raw(0x02, nil, 0, []byte("in pieces UPSTR")), wstest.Raw(0x00, nil, 0, nil), wstest.Raw(0x80, nil, 0, []byte("EAMKEUPSTREAMKE")),
	)
	want := []wstest.Frame{
		wstest.Text("s bad key " + stars), wstest.Text("nothing"), wstest.Text(stars + stars), wstest.Text("UPSTREAMKE"), wstest.Text(""), wstest.Text("in a long form " + stars),
		wstest.Of(true, 9, false, stars),
		wstest.Text("in pieces " + stars + "."), wstest.Text(""), wstest.Text("A hello"),
		wstest.Text(long + stars), wstest.Text(stars + long + stars), wstest.Text(strings.Repeat("y", 65530) + stars), wstest.Text(strings.Repeat("z", 65536-len(upstreamKey)) + stars),
		wstest.Of(true, 8, false, "\x03\xe8 "+stars),
		wstest.Of(true, 2, false, "binary "+stars),
		wstest.Of(false, 2, false, stars),
		wstest.Of(true, 0, false, stars),
		wstest.Binary("UPSTREAMKE"), wstest.Binary(long + "UPSTREAMKE"), wstest.Text(long + "UPSTREAMKE"),
		wstest.Of(false, 2, false, "in pieces UPSTR"), wstest.Of(false, 0, false, ""), wstest.Of(true, 0, false, "EAMKEUPSTREAMKE"),
	}
	rapid.Check(t, func(rt *rapid.T) {
		f := newScripted(t, nil)
		rest := all
		for len(rest) > 0 {
			n := min(len(rest), rapid.SampledFrom([]int{1, 2, 3, 5, 11, 17, 40, 200, 4096, 32768, 1 << 20}).Draw(rt, "n"))
			f.respond(rest[:n])
			rest = rest[n:]
		}
		if f.ended != nil {
			rt.Fatal(f.ended)
		}
		if out := frames(t, f.script.out.Bytes()); !slices.Equal(out, want) {
			rt.Fatalf("the client gets %.300v", out)
		}
		f.conn.Close()
	})
}

// aBackend returns the bytes of a backend that keeps to the protocol: mostly audio, and the upstream key in
// some of it.
func aBackend(t *rapid.T) (sent []byte) {
	for range rapid.IntRange(1, 12).Draw(t, "messages") {
		payload := bytes.Repeat([]byte("x"), rapid.SampledFrom([]int{0, 1, 2, 3, 11, 40, 124, 125, 126, 127, 300, 1000}).Draw(t, "length"))
		if rapid.IntRange(0, 2).Draw(t, "key") == 0 {
			payload = slices.Insert(payload, rapid.IntRange(0, len(payload)).Draw(t, "at"), []byte(upstreamKey)...)
		}
		switch kind := rapid.IntRange(0, 9).Draw(t, "kind"); {
		case kind == 0:
			sent = append(sent, wstest.RawText(string(payload))...)
		case kind == 1:
			sent = append(sent, wstest.Raw(0x89, nil, 0, payload[:min(len(payload), 125)])...)
		case kind <= 3:
			for _, piece := range wstest.Fragments(byte(kind-1), nil, string(payload), rapid.SliceOfN(rapid.IntRange(0, 50), 1, 3).Draw(t, "sizes")...) {
				sent = append(sent, piece...)
			}
		default:
			sent = append(sent, wstest.Raw(0x82, nil, rapid.SampledFrom([]int{0, 0, 16, 64}).Draw(t, "bits"), payload)...)
		}
	}
	return sent
}

// A guard passes whole messages of audio together. With pieces of three bytes there is no whole message,
// so that each frame goes its own way.
func TestTheClientGetsTheSameInWhateverPiecesItComes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		sent := aBackend(rt)
		small, large := newScripted(t, nil), newScripted(t, nil)
		for piece := range slices.Chunk(sent, 3) {
			small.respond(piece)
		}
		for rest := sent; len(rest) > 0; {
			n := min(len(rest), rapid.SampledFrom([]int{2, 5, 13, 50, 129, 500, 4096, 32768}).Draw(rt, "n"))
			large.respond(rest[:n])
			rest = rest[n:]
		}
		if small.ended != nil || large.ended != nil {
			rt.Fatalf("the stream ends with %v and %v", small.ended, large.ended)
		}
		if got, want := large.script.out.Bytes(), small.script.out.Bytes(); !bytes.Equal(got, want) {
			rt.Fatalf("the client gets %q, want %q", got, want)
		}
		small.conn.Close()
		large.conn.Close()
	})
}

// The longest text that is put together has 64 KiB.
func TestR18_TextInPiecesHasUpTo64KiB(t *testing.T) {
	t.Parallel()
	f := newScripted(t, nil)
	f.feed(startFrame)
	f.respond(wstest.RawText("s"))
	whole := strings.Repeat("x", 65536-len(upstreamKey)) + upstreamKey
	f.respond(wstest.Fragments(1, nil, whole, 40_000, 25_530)...)
	want := []wstest.Frame{wstest.Text("s"), wstest.Text(strings.Repeat("x", 65536-len(upstreamKey)) + stars)}
	if got := frames(t, f.script.out.Bytes()); !slices.Equal(got, want) || f.ended != nil {
		t.Errorf("the client gets %.100v, %v", got, f.ended)
	}
	if f.respond(wstest.Fragments(1, nil, whole+"x", 40_000, 25_530)...); f.ended == nil {
		t.Error("a longer one is put together")
	}
}

// TestR18_TextInPiecesIsBounded sends a text in fragments that is too long to be put
// together. The stream must end.
func TestR18_TextInPiecesIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.start()
		piece := bytes.Repeat([]byte("x"), 40_000)
		go r.backend.Write(slices.Concat(wstest.Raw(0x01, nil, 0, piece), wstest.Raw(0x00, nil, 0, piece)))
		r.wantEnd(cutText)
		r.wantRefused(policy.Undecided, "the backend does not speak the WebSocket protocol")
	})
}

func TestABackendThatBreaksTheProtocolEndsTheStream(t *testing.T) {
	t.Parallel()
	for name, frame := range map[string][]byte{
		"a masked frame": wstest.Raw(0x81, mask, 0, []byte("s")), "a reserved bit": wstest.Raw(0xC1, nil, 0, []byte("s")),
		"a reserved opcode": wstest.Raw(0x83, nil, 0, nil), "a continuation of nothing": wstest.Raw(0x80, nil, 0, []byte("s")),
		"a length of 64 bits": {0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0}, "a long Ping": wstest.Raw(0x89, nil, 0, make([]byte, 126)),
		"a message within another": slices.Concat(wstest.Raw(0x01, nil, 0, nil), wstest.RawText("s")),
		"no frames":                []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				r.start()
				r.answer(wstest.RawText("S 1"), frame, wstest.RawText("late"))
				r.wantClient(wstest.Text("S 1"))
				r.wantEnd(cutText)
				r.wantRefused(policy.Undecided, "the backend does not speak the WebSocket protocol")
			})
		})
	}
}

// Frames in front of the broken one reach the client.
func TestAMaskedFrameBehindAudioEndsTheStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.start()
		r.answer(slices.Concat(wstest.RawBinary("one"), wstest.RawBinary("two"), wstest.Raw(0x82, mask, 0, []byte("masked")), wstest.RawBinary("late")))
		r.wantClient(wstest.Binary("one"), wstest.Binary("two"))
		r.wantEnd(cutText)
		r.wantRefused(policy.Undecided, "the backend does not speak the WebSocket protocol")
	})
}

// A whole message of audio within another message breaks the protocol. What follows half a header is not
// a message, even if it looks like one.
func TestAudioIsAMessageOnlyWhereOneCanBegin(t *testing.T) {
	t.Parallel()
	for name, open := range map[string][]byte{"audio": wstest.Raw(0x02, nil, 0, []byte("one")), "a text": wstest.Raw(0x01, nil, 0, []byte("one"))} {
		f := newScripted(t, nil)
		f.respond(open)
		if f.respond(wstest.RawBinary("two")); f.ended == nil {
			t.Errorf("within %s: audio passes", name)
		}
	}
	f := newScripted(t, nil)
	payload := strings.Repeat("x", 0x8205-len(upstreamKey)) // the length begins with the bytes of a header
	long := wstest.RawBinary(payload + upstreamKey)
	f.respond(long[:2], long[2:])
	if got := frames(t, f.script.out.Bytes()); f.ended != nil || !slices.Equal(got, []wstest.Frame{wstest.Binary(payload + stars)}) {
		t.Errorf("a header in two pieces: the client gets %.100v, %v", got, f.ended)
	}
}

// writeCounter counts the writes to a client.
type writeCounter struct {
	endless
	writes, size int
}

func (c *writeCounter) Write(p []byte) (int, error) {
	c.writes, c.size = c.writes+1, c.size+len(p)
	return len(p), nil
}

// Each write is a system call: many small frames with nothing to mask go to the client in one.
func TestFramesWithNothingToMaskAreWrittenTogether(t *testing.T) {
	t.Parallel()
	for name, frame := range map[string][]byte{
		"audio":           wstest.RawBinary(strings.Repeat("x", 1000)),
		"long audio":      wstest.RawBinary(strings.Repeat("x", 100_000)),
		"audio in pieces": slices.Concat(wstest.Raw(0x02, nil, 0, bytes.Repeat([]byte("x"), 1000)), wstest.Raw(0x80, nil, 0, []byte("y"))),
		"texts":           wstest.RawText(strings.Repeat("x", 1000)),
	} {
		c := &writeCounter{endless: endless{loop: audio("x")}}
		c.in = [][]byte{startFrame}
		conn, _ := (&rig{t: t}).config().guard().Wrap(c, nil)
		if _, err := conn.Read(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		all := bytes.Repeat(frame, 1+32<<10/len(frame))
		if _, err := conn.Write(all); err != nil || c.writes != 1 || c.size != len(all) {
			t.Errorf("%s: %d writes with %d bytes of %d, %v", name, c.writes, c.size, len(all), err)
		}
		conn.Close()
	}
}
