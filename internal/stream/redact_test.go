package stream_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var stars = strings.Repeat("*", len(upstreamKey))

func TestR18_TheUpstreamKeyDoesNotReachTheClient(t *testing.T) {
	long := strings.Repeat("x", 70_000)
	all := slices.Concat(
		text("s bad key "+upstreamKey), text("nothing"), text(upstreamKey+upstreamKey), text("UPSTREAMKE"), text(""),
		rawFrame(0x81, nil, 64, []byte("in a long form "+upstreamKey)),
		rawFrame(0x01, nil, 0, []byte("in pieces UPSTR")), rawFrame(0x89, nil, 0, []byte(upstreamKey)), rawFrame(0x00, nil, 0, nil), rawFrame(0x80, nil, 0, []byte("EAMKEY.")),
		rawFrame(0x01, nil, 0, nil), rawFrame(0x80, nil, 0, nil),
		rawFrame(0x01, nil, 0, nil), rawFrame(0x80, nil, 0, []byte("A hello")),
		text(long+upstreamKey), text(upstreamKey+long+upstreamKey), text(strings.Repeat("y", 65530)+upstreamKey), text(strings.Repeat("z", 65536-len(upstreamKey))+upstreamKey),
		rawFrame(0x88, nil, 0, []byte("\x03\xe8 "+upstreamKey)), binaryOf("binary "+upstreamKey),
		rawFrame(0x02, nil, 0, []byte(upstreamKey)), rawFrame(0x80, nil, 0, []byte(upstreamKey)),
	)
	want := []got{
		textOf("s bad key " + stars), textOf("nothing"), textOf(stars + stars), textOf("UPSTREAMKE"), textOf(""), textOf("in a long form " + stars),
		{true, 9, false, stars},
		textOf("in pieces " + stars + "."), textOf(""), textOf("A hello"),
		textOf(long + stars), textOf(stars + long + stars), textOf(strings.Repeat("y", 65530) + stars), textOf(strings.Repeat("z", 65536-len(upstreamKey)) + stars),
		{true, 8, false, "\x03\xe8 " + stars},
		{true, 2, false, "binary " + stars},
		{false, 2, false, stars},
		{true, 0, false, stars},
	}
	rapid.Check(t, func(rt *rapid.T) {
		f := newPiped(t, nil)
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

// TestR18_TextInPiecesIsBounded holds what is decided of a text in pieces that
// is too long to be put together.
func TestR18_TextInPiecesIsBounded(t *testing.T) {
	r := newRig(t, nil)
	r.start()
	piece := bytes.Repeat([]byte("x"), 40_000)
	go r.backend.Write(slices.Concat(rawFrame(0x01, nil, 0, piece), rawFrame(0x00, nil, 0, piece)))
	r.wantEnd(cutText)
	r.wantRefused(0)
}

func TestABackendThatBreaksTheProtocolEndsTheStream(t *testing.T) {
	for name, frame := range map[string][]byte{
		"a masked frame": rawFrame(0x81, mask, 0, []byte("s")), "a reserved bit": rawFrame(0xC1, nil, 0, []byte("s")),
		"a reserved opcode": rawFrame(0x83, nil, 0, nil), "a continuation of nothing": rawFrame(0x80, nil, 0, []byte("s")),
		"a length of 64 bits": {0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0}, "a long Ping": rawFrame(0x89, nil, 0, make([]byte, 126)),
		"a message within another": slices.Concat(rawFrame(0x01, nil, 0, nil), text("s")),
		"no frames":                []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.start()
			r.answer(text("S 1"), frame, text("late"))
			r.wantClient(textOf("S 1"))
			r.wantEnd(cutText)
			r.wantRefused(0)
		})
	}
}
