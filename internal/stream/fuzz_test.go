package stream_test

import (
	"bytes"
	"encoding/binary"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/stream"
	"github.com/speechgate/speechgate/internal/wstest"
	"github.com/speechgate/speechgate/policy"
)

// tester is a *testing.T or a *rapid.T.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
}

// said are the messages that a backend may send between two pieces of the client.
var said = [][]byte{
	nil, wstest.RawText("s"), wstest.RawText("s refused"), wstest.RawText("e"), wstest.RawText("e timeout"), wstest.RawText("p no"), wstest.RawText("S 1"), wstest.RawBinary("e"),
	wstest.Raw(0x01, nil, 0, nil), wstest.Raw(0x80, nil, 0, []byte("e")), wstest.RawText("e")[:2], []byte("e"),
}

var (
	quotedValue = regexp.MustCompile(`="(?:[^"]|"")*"`)
	ourPair     = regexp.MustCompile(` authorization=` + upstreamKey + `( |$)`)
	anyPair     = regexp.MustCompile(`(?i)authorization\s*(=|%3d)`)
)

// reader is a backend that fails the test if it finds what was not authorized.
type reader struct {
	t                tester
	allowed, starts  int
	session, started bool
}

// message reads a message as a lenient backend does: by its first byte, whatever the
// opcode.
func (r *reader) message(payload string) {
	r.t.Helper()
	bare := quotedValue.ReplaceAllString(payload, "=")
	switch {
	case strings.HasPrefix(payload, "p"):
		if !r.session {
			r.t.Fatalf("audio outside of a session")
		}
	case payload == "e":
		if !r.session {
			r.t.Fatalf("an end outside of a session")
		}
		r.session = false
	case strings.HasPrefix(payload, "s "):
		if !utf8.ValidString(payload) || len(ourPair.FindAllString(bare, -1)) != 1 || len(anyPair.FindAllString(bare, -1)) != 1 {
			r.t.Fatalf("a start command with another key than ours: %q", payload)
		}
		r.starts++
		r.session, r.started = true, true
	default:
		r.t.Fatalf("an unknown message %.100q", payload)
	}
}

// check reads everything that has come to the backend.
func (r *reader) check(sent []byte) {
	r.t.Helper()
	for len(sent) > 0 {
		in := bytes.NewReader(sent)
		f, err := wstest.ReadFrame(in)
		if err != nil {
			r.partial(sent)
			return
		}
		sent = sent[len(sent)-in.Len():]
		control := f.Opcode >= 8
		switch {
		case !f.Fin || f.Opcode == 0: // each frame is a message: strict and lenient backends agree
			r.t.Fatalf("a message in pieces: %+v", f)
		case control && (!r.started || len(f.Payload) > 125 || f.Opcode > 10):
			r.t.Fatalf("a control frame before all, or a broken one: %+v", f)
		case control:
			if f.Opcode == 8 && len(sent) > 0 {
				r.t.Fatalf("%d bytes after a Close frame", len(sent))
			}
		case f.Opcode != 1 && f.Opcode != 2, (f.Opcode == 2) != strings.HasPrefix(f.Payload, "p"):
			r.t.Fatalf("the opcode does not fit: %+v", f)
		default:
			r.message(f.Payload)
		}
	}
}

// partial checks the part of a frame that has come before the stream ended. It must be
// audio, or a frame that had been authorized.
func (r *reader) partial(b []byte) {
	r.t.Helper()
	if b[0] == 0x81 && (r.starts < r.allowed || r.session) || b[0] > 0x87 && r.started {
		return
	}
	if b[0] != 0x82 || !r.session {
		r.t.Fatalf("a part of a frame, % x", b[:min(len(b), 20)])
	}
	if len(b) < 2 {
		return
	}
	at := 2 + map[byte]int{126: 2, 127: 8}[b[1]&0x7f]
	first := byte('p')
	if b[1]&0x80 != 0 {
		if at += 4; len(b) >= at {
			first ^= b[at-4]
		}
	}
	if len(b) > at && b[at] != first {
		r.t.Fatalf("a part of a frame that is no audio, % x", b[:min(len(b), 20)])
	}
}

// checkGuard sends these bytes from a client, cut into pieces, and a message from the
// backend after each piece. It checks that nothing unchecked comes through.
func checkGuard(t tester, tb testing.TB, client, cuts, answers []byte) {
	t.Helper()
	allowed := 0
	f := newScripted(tb, func(cfg *settings) {
		cfg.Authorize = func(secret policy.Secret, fault *credential.Fault) stream.Verdict {
			ok := fault == nil && strings.HasPrefix(secret.Reveal(), "CLIENT")
			if ok {
				allowed++
			}
			return stream.Verdict{OK: ok || fault != nil && secret.Reveal() == ""}
		}
	})
	for i := 0; len(client) > 0; i++ {
		n, room := len(client), len(f.room)
		if i < len(cuts) {
			n = min(n, int(cuts[i])+1)
			room = int(cuts[i]&0x1f) + 1
		}
		whole := f.room
		f.room = f.room[:room]
		f.feed(client[:n])
		f.room = whole
		client = client[n:]
		if i < len(answers) {
			f.respond(said[int(answers[i])%len(said)])
		}
	}
	f.conn.Close()
	r := &reader{t: t, allowed: allowed}
	r.check(f.sent.Bytes())
	if r.starts > allowed {
		t.Fatalf("%d start commands went on, of which %d were authorized", r.starts, allowed)
	}
}

// aClient returns the bytes of a client that mostly keeps to the protocol.
func aClient(t *rapid.T) (sent []byte) {
	texts := []string{
		startText, startText, startText, "e", "e", "s authorization=OTHER", `s x="a authorization=F" authorization=` + clientKey, "s", "x", startText + "\xff",
	}
	var masks [][]byte
	masks = append(masks, nil, mask, []byte{0, 0, 0, 0}, []byte("p\x00sp"))
	inPieces := false
	for range rapid.IntRange(1, 12).Draw(t, "frames") {
		payload, head := []byte("p"+strings.Repeat("s authorization=L ", rapid.IntRange(0, 9).Draw(t, "length"))), byte(0x82)
		switch kind := rapid.IntRange(0, 9).Draw(t, "kind"); {
		case inPieces && kind < 7:
			head, payload = 0, payload[1:]
			if kind < 3 {
				head, inPieces = 0x80, false
			}
		case kind < 5:
			head, payload = 0x81, []byte(rapid.SampledFrom(texts).Draw(t, "text"))
		case kind == 5:
			head, inPieces = 0x02, true
		case kind == 8:
			payload = payload[1:] // without the letter of audio, or empty
		case kind == 7 && !inPieces:
			command := rapid.SampledFrom(texts).Draw(t, "text in fragments")
			for _, piece := range wstest.Fragments(1, rapid.SampledFrom(masks).Draw(t, "mask"), command, rapid.SliceOfN(rapid.IntRange(0, 20), 1, 4).Draw(t, "sizes")...) {
				sent = append(sent, piece...)
				if rapid.IntRange(0, 4).Draw(t, "a Ping between") == 0 {
					sent = append(sent, wstest.Raw(0x89, mask, 0, []byte("s x"))...)
				}
			}
			continue
		case kind == 6:
			head, payload = rapid.SampledFrom([]byte{0x89, 0x8A, 0x88}).Draw(t, "control"), []byte("s x")
		}
		head ^= rapid.SampledFrom([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x40, 0x03}).Draw(t, "odd")
		bits := rapid.SampledFrom([]int{0, 16, 64}).Draw(t, "bits")
		sent = append(sent, wstest.Raw(head, rapid.SampledFrom(masks).Draw(t, "mask"), bits, payload)...)
	}
	for range rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "damages") {
		sent[rapid.IntRange(0, len(sent)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "by")
	}
	return sent
}

func TestR19_NothingUncheckedReachesTheBackend(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		for range 5 {
			cuts := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(rt, "cuts")
			answers := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 0, 1, 3, 3, 3, 4, 5, 2, 6}), 0, 40).Draw(rt, "answers")
			checkGuard(rt, t, aClient(rt), cuts, answers)
		}
	})
}

func FuzzGuard(f *testing.F) {
	session := slices.Concat(startFrame, audio("audio"), wstest.RawText("e"))
	masked := slices.Concat(wstest.Raw(0x81, mask, 0, []byte(startText)), wstest.Raw(0x02, mask, 0, []byte("pAB")), wstest.Raw(0x80, mask, 16, []byte("CD")), wstest.Raw(0x81, mask, 0, []byte("e")))
	f.Add(slices.Concat(session, session), []byte{57, 8, 2}, []byte{1, 0, 3})
	f.Add(slices.Concat(masked, masked), []byte{61, 3, 3, 3, 5, 20}, []byte{1, 5, 0, 3, 3, 3})
	f.Add(slices.Concat(wstest.Raw(0x89, mask, 0, []byte("x")), masked, wstest.Raw(0x88, nil, 0, []byte{3, 232}), session), []byte{}, []byte{3})
	f.Add(slices.Concat(wstest.RawText(`s x="a authorization=F" authorization=`+clientKey), wstest.Raw(0x82, nil, 64, []byte("p"))), []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, []byte{})
	f.Add(slices.Concat(session, startFrame), []byte{}, []byte{})
	f.Add(slices.Concat(startFrame, wstest.Raw(0x02, nil, 0, []byte("p")), wstest.RawText("s"), binary.BigEndian.AppendUint64([]byte{0x82, 127}, 1<<40)), []byte{100, 5, 3, 3}, []byte{4, 4, 4})
	f.Add(slices.Concat(slices.Concat(wstest.Fragments(1, mask, startText, 0, 9, 0)...), audio("x"), slices.Concat(wstest.Fragments(1, nil, "e", 0)...)), []byte{3, 9, 40}, []byte{1, 3})
	f.Add(slices.Concat(startFrame, wstest.RawText("e"), startFrame, audio("x"), wstest.Raw(0x89, mask, 0, []byte("x")), wstest.RawText("e"), startFrame), []byte{100, 50, 50}, []byte{1, 3, 3, 3})
	f.Fuzz(func(t *testing.T, client, cuts, answers []byte) { checkGuard(t, t, client, cuts, answers) })
}
