package stream_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/stream"
	"github.com/speechgate/speechgate/internal/wstest"
)

func TestR20_ALimitIsTheLargestThatPasses(t *testing.T) {
	t.Parallel()
	inPieces := func(opcode byte, message string) []byte {
		return slices.Concat(wstest.Fragments(opcode, mask, message, 5, 3)...)
	}
	for name, test := range map[string]struct {
		change  func(*settings)
		message func(n int) []byte // of n bytes
		limit   int
	}{
		"a command":              {func(cfg *settings) { cfg.MaxCommand = 100 }, func(n int) []byte { return wstest.RawText(startText + " " + strings.Repeat("x", n-len(startText)-1)) }, 100},
		"a command in fragments": {func(cfg *settings) { cfg.MaxCommand = 100 }, func(n int) []byte { return inPieces(1, startText+" "+strings.Repeat("x", n-len(startText)-1)) }, 100},
		"an empty fragment": {nil, func(n int) []byte {
			return slices.Concat(wstest.Fragments(1, mask, startText, append([]int{5}, make([]int, n)...)...)...)
		}, 64},
		"an empty fragment after an empty one": {nil, func(n int) []byte {
			return slices.Concat(wstest.Fragments(1, mask, startText, append([]int{0}, make([]int, n)...)...)...)
		}, 64},
		"audio": {func(cfg *settings) { cfg.MaxAudio = 100 }, func(n int) []byte { return slices.Concat(startFrame, audio(strings.Repeat("x", n-1))) }, 100},
		"audio in fragments": {func(cfg *settings) { cfg.MaxAudio = 100 }, func(n int) []byte {
			return slices.Concat(startFrame, wstest.Raw(0x02, mask, 0, []byte("p")), wstest.Raw(0x80, mask, 0, make([]byte, n)))
		}, 100},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, cut := range []int{0, 1} { // read at once, and with the first byte by itself
				f := newScripted(t, test.change)
				whole := test.message(test.limit)
				if f.feed(whole[:cut], whole[cut:]); f.ended != nil {
					t.Errorf("the largest that may pass is refused: %v %q", f.refused, f.details)
				}
				f = newScripted(t, func(cfg *settings) {
					cfg.PartingTime = 1
					if test.change != nil {
						test.change(cfg)
					}
				})
				larger := test.message(test.limit + 1)
				if f.feed(larger[:cut], larger[cut:]); f.ended == nil {
					t.Error("a larger one passes")
				}
			}
		})
	}
}

// A text that passes has no limit of a command, and no clock.
func TestATextThatPassesIsNoCommand(t *testing.T) {
	t.Parallel()
	const short = 100 * time.Millisecond
	limited := func(p stream.Protocol) func(*settings) {
		return func(cfg *settings) { cfg.Protocol, cfg.MaxCommand, cfg.CommandTime = p, 10, short }
	}
	long := strings.Repeat("x", 1000)
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, limited(newHandshake(new(dialect.HandshakeRules), credential.Drop)))
		first, second := wstest.Raw(0x01, mask, 0, []byte(long)), wstest.Raw(0x80, mask, 0, []byte(long))
		r.send(first[:1])
		time.Sleep(short / 2)
		r.send(first[1:])
		time.Sleep(2 * short)
		ping := wstest.Raw(0x89, mask, 0, []byte("1"))
		r.send(ping[:3])
		time.Sleep(short / 2)
		r.send(ping[3:])
		time.Sleep(2 * short)
		r.send(second)
		r.wantBackend(wstest.Of(false, 1, true, long), wstest.Of(true, 9, true, "1"), wstest.Of(true, 0, true, long))
	})
	t.Run("beside audio that is checked", func(t *testing.T) {
		t.Parallel()
		f := newScripted(t, limited(newCheckedAudio()))
		all := slices.Concat(wstest.RawText(long), wstest.RawText(""), wstest.Raw(0x01, nil, 0, []byte("x")), wstest.Raw(0x00, nil, 0, nil), wstest.Raw(0x80, nil, 0, []byte("y")), audio("x"))
		f.feed(all[:1], all[1:])
		if !bytes.Equal(f.sent.Bytes(), all) || f.ended != nil {
			t.Errorf("the backend gets %+v, %v", frames(t, f.sent.Bytes()), f.ended)
		}
		f = newScripted(t, func(cfg *settings) { cfg.Protocol, cfg.PartingTime = newCheckedAudio(), 1 })
		if f.feed(wstest.RawBinary("x")); f.ended == nil || f.sent.Len() > 0 {
			t.Errorf("binary that is no audio passes")
		}
	})
}

// checkedAudio is an API whose texts pass, and whose audio begins with p.
type checkedAudio struct{ *stream.Handshake }

func newCheckedAudio() checkedAudio {
	return checkedAudio{newHandshake(new(dialect.HandshakeRules), credential.Drop)}
}

func (checkedAudio) Shape() stream.Shape {
	return stream.Shape{KeyInHandshake: true, CheckAudio: true, Audio: 'p'}
}

// The clock of a message stops when the message is whole.
func TestR16_ACommandInTimeStopsItsClock(t *testing.T) {
	t.Parallel()
	const short = 100 * time.Millisecond
	pieces := wstest.Fragments(1, mask, startText, 5, 0)
	ping := wstest.Raw(0x89, mask, 0, []byte("1"))
	for name, test := range map[string]struct {
		sent [][]byte // a pause of half the time is between them
		want []wstest.Frame
	}{
		"a command in two reads":                   {[][]byte{startFrame[:9], startFrame[9:]}, []wstest.Frame{wstest.Text(startSent)}},
		"a command in fragments":                   {[][]byte{pieces[0], slices.Concat(pieces[1], pieces[2])}, []wstest.Frame{wstest.Of(true, 1, true, startSent)}},
		"a Ping in two reads":                      {[][]byte{ping[:3], ping[3:]}, []wstest.Frame{wstest.Of(true, 9, true, "1")}},
		"a command in fragments, and a Ping in it": {[][]byte{slices.Concat(pieces[0], ping), slices.Concat(pieces[1:]...)}, []wstest.Frame{wstest.Of(true, 9, true, "1"), wstest.Of(true, 1, true, startSent)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(cfg *settings) { cfg.CommandTime = short })
				r.start()
				r.send(wstest.RawText("e"))
				r.wantBackend(wstest.Text("e"))
				r.answer(wstest.RawText("e"))
				r.wantClient(wstest.Text("e"))
				for i, piece := range test.sent {
					if i > 0 {
						time.Sleep(short / 2)
					}
					r.send(piece)
				}
				r.wantBackend(test.want...)
				time.Sleep(3 * short)
				r.send(ping)
				r.wantBackend(wstest.Of(true, 9, true, "1"))
				if len(r.refused) != 0 {
					t.Errorf("refused for %v %q", r.refused, r.details)
				}
			})
		})
	}
	t.Run("what waits behind a start has no clock", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, func(cfg *settings) { cfg.CommandTime = short })
			r.held(wstest.RawText("e")[:1])
			time.Sleep(3 * short)
			r.send(wstest.RawText("e")[1:])
			r.answer(wstest.RawText("e"))
			r.wantClient(wstest.Text("e"))
			r.wantBackend(wstest.Text(startSent), wstest.Text("e"))
		})
	})
	t.Run("audio that comes in part has no clock", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, func(cfg *settings) { cfg.CommandTime = short })
			r.start()
			r.send(audio("x")[:1])
			time.Sleep(3 * short)
			r.send(audio("x")[1:])
			r.wantBackend(audioOf("x"))
		})
	})
}

func TestNothingFollowsAClose(t *testing.T) {
	t.Parallel()
	f := newScripted(t, nil)
	f.feed(startFrame)
	f.respond(wstest.RawText("s"))
	closing := wstest.Raw(0x88, mask, 0, []byte{3, 232})
	f.feed(slices.Concat(closing, audio("x")), audio("y"), wstest.RawText("e"), audio("z")[:1], audio("z")[1:])
	f.wantAll([]wstest.Frame{wstest.Text(startSent), wstest.Of(true, 8, true, "\x03\xe8")})
}

// A backend that has closed its half still gets what the client sends.
func TestABackendThatHalfClosesGetsTheRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.start()
		r.backend.Conn.(interface{ CloseWrite() error }).CloseWrite()
		synctest.Wait()
		r.send(audio("x"), wstest.RawText("e"))
		r.wantBackend(audioOf("x"), wstest.Text("e"))
	})
}

// After a cut, the guard finds the client's Close frame wherever the cut has stopped the
// reading, and answers it at once.
func TestR14_AClientsCloseIsFoundAfterACut(t *testing.T) {
	t.Parallel()
	closing := wstest.Raw(0x88, mask, 0, []byte{3, 232})
	cutAt := func(frame []byte, n int) [2][]byte { return [2][]byte{frame[:n], frame[n:]} }
	e := wstest.RawText("e")
	for name, sent := range map[string][2][]byte{
		"between frames":                    {audio("x"), nil},
		"within audio":                      cutAt(audio("xyz"), 3),
		"within a header":                   cutAt(wstest.Raw(0x82, mask, 16, []byte("pxyz")), 3),
		"within a command":                  cutAt(wstest.Raw(0x81, mask, 0, []byte("e")), 4),
		"within a fragment":                 cutAt(wstest.Raw(0x01, mask, 0, []byte("s 16K")), 8),
		"behind a start that waits":         {slices.Concat(e, startFrame), nil},
		"within audio behind it":            {slices.Concat(e, startFrame, audio("xyz")[:3]), audio("xyz")[3:]},
		"within a header behind it":         {slices.Concat(e, startFrame, audio("xyz")[:1]), audio("xyz")[1:]},
		"after another Close":               {closing, nil},
		"within a frame like a Close frame": cutAt(audio("\x88\x00\x88\x00"), 4),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(cfg *settings) { cfg.PartingTime = 10 * time.Second })
				r.start()
				r.send(sent[0])
				synctest.Wait()
				r.guard.Cut("")
				r.wantClient(wstest.Text(cutText))
				if sent[1] != nil {
					r.send(sent[1])
				}
				synctest.Wait()
				// The guard waits for a Close frame, unless the client has sent one before.
				r.client.SetReadDeadline(time.Now().Add(time.Second))
				_, err := r.client.Reader.Peek(1)
				if came := err == nil; came != (name == "after another Close") {
					t.Errorf("before the client closes, a frame comes: %v", came)
				}
				r.client.SetReadDeadline(time.Time{})
				began := time.Now()
				r.send(closing)
				r.wantClient(closed())
				if took := time.Since(began); took != 0 {
					t.Errorf("the Close frame is answered after %v", took)
				}
				r.client.Close()
				<-r.done
			})
		})
	}
}
