package stream_test

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/wstest"
)

func TestR14_EveryStartCommandIsChecked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		for _, key := range []string{clientKey, clientKey + "-2", clientKey + "-3"} {
			r.send(wstest.RawText("s 16K -a-general authorization=" + key))
			r.wantBackend(wstest.Text(startSent))
			r.answer(wstest.RawText("s"))
			r.wantClient(wstest.Text("s"))
			r.send(audio("one"), audio("two"), wstest.RawText("e"))
			r.wantBackend(audioOf("one"), audioOf("two"), wstest.Text("e"))
			r.answer(wstest.RawText("S 100"), wstest.RawText("E 200"), wstest.RawText(`A {"text":"e"}`), wstest.RawText("e"))
			r.wantClient(wstest.Text("S 100"), wstest.Text("E 200"), wstest.Text(`A {"text":"e"}`), wstest.Text("e"))
		}
		if want := []string{clientKey, clientKey + "-2", clientKey + "-3"}; !slices.Equal(r.keys, want) {
			t.Errorf("judged %d keys", len(r.keys))
		}
		r.send(wstest.RawText("s 16K -a-general authorization=OTHER"))
		r.wantEnd(denied)
		if len(r.keys) != 4 || len(r.refused) != 0 {
			t.Errorf("%d keys judged, %v refused", len(r.keys), r.refused)
		}
	})
}

func TestR19_WhatCameWithTheHandshakeIsChecked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil, wstest.RawText(startText), audio("one"), wstest.RawText("e"))
		r.wantBackend(wstest.Text(startSent), audioOf("one"), wstest.Text("e"))
	})
	t.Run("and refused", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil, wstest.RawText("s 16K -a-general authorization=OTHER"), audio("one"))
			r.wantEnd(denied)
		})
	})
	t.Run("in part", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			first := wstest.RawText(startText)
			r := newRig(t, nil, first[:20])
			r.send(first[20:], audio("one"))
			r.wantBackend(wstest.Text(startSent), audioOf("one"))
		})
	})
	t.Run("more than a reader holds", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			long := strings.Repeat("x", 5000)
			r := newRig(t, nil, wstest.RawText(startText), audio(long))
			r.wantBackend(wstest.Text(startSent), audioOf(long))
		})
	})
}

// A proxy may read with a larger buffer than the pooled ones.
func TestR19_WhatComesInOneLargeReadIsChecked(t *testing.T) {
	t.Parallel()
	f := newScripted(t, nil)
	f.room = make([]byte, 256<<10)
	long := strings.Repeat("x", 100_000)
	f.feed(slices.Concat(startFrame, audio(long), wstest.RawText("e")))
	f.wantAll([]wstest.Frame{wstest.Text(startSent), audioOf(long), wstest.Text("e")})
}

// TestR19_FramesAreReadHoweverTheyAreCut sends a session with each form of the length,
// masked and unmasked, cut at every byte.
func TestR19_FramesAreReadHoweverTheyAreCut(t *testing.T) {
	t.Parallel()
	for _, bits := range []int{7, 16, 64} {
		for _, mask := range [][]byte{nil, mask} {
			t.Run(fmt.Sprintf("%d bits, mask %x", bits, mask), func(t *testing.T) {
				t.Parallel()
				masked := mask != nil
				all := slices.Concat(
					wstest.Raw(0x81, mask, bits, []byte(startText)), wstest.Raw(0x82, mask, bits, []byte("pAB")),
					wstest.Raw(0x89, mask, 7, []byte("ping\x82\x01p")), wstest.Raw(0x02, mask, bits, []byte("pCD")),
					wstest.Raw(0x00, mask, bits, []byte("EFGHI")), wstest.Raw(0x00, mask, bits, nil), wstest.Raw(0x80, mask, bits, []byte("J")),
					wstest.Raw(0x82, mask, bits, []byte("p")), wstest.Raw(0x81, mask, bits, []byte("e")))
				want := []wstest.Frame{
					wstest.Of(true, 1, masked, startSent),
					wstest.Of(true, 2, masked, "pAB"),
					wstest.Of(true, 9, masked, "ping\x82\x01p"),
					wstest.Of(true, 2, masked, "pCD"),
					wstest.Of(true, 2, masked, "pEFGHI"),
					wstest.Of(true, 2, masked, "pJ"),
					wstest.Of(true, 2, masked, "p"),
					wstest.Of(true, 1, masked, "e"),
				}
				for at := range len(all) {
					f := newScripted(t, nil)
					f.feed(all[:at], all[at:])
					f.wantAll(want)
				}
				f := newScripted(t, nil)
				for _, b := range all {
					f.feed([]byte{b})
				}
				f.wantAll(want)
			})
		}
	}
}

// In TestR19_ACommandThatIsReadInPartIsNoAudio, a start command and an end command contain
// bytes that could be a frame of audio. The commands are cut before these bytes, while
// audio passes.
func TestR19_ACommandThatIsReadInPartIsNoAudio(t *testing.T) {
	t.Parallel()
	const likeAudio = "\x82!p" // the last byte of あ, and the beginning of 33 bytes of audio
	command := startText + " profileWords=あ!p" + strings.Repeat("q", 32)
	start := wstest.RawText(command)
	end := wstest.Raw(0x81, []byte("\x82\x01p\x00"), 7, []byte("e")) // its masking key is like audio
	f := newScripted(t, nil)
	f.feed(startFrame)
	f.respond(wstest.RawText("s"), wstest.RawText("p unsupported audio")) // a start command may follow, or audio
	at := bytes.Index(start, []byte(likeAudio))
	f.feed(start[:at], start[at:])
	f.respond(wstest.RawText("s"))
	f.feed(end[:2], end[2:])
	sent := strings.Replace(command, clientKey, upstreamKey, 1)
	f.wantAll([]wstest.Frame{wstest.Text(startSent), wstest.Text(sent), wstest.Of(true, 1, true, "e")})
}

func TestR19_FragmentsOfAudioGoOnAsMessages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, n := range []int{1, 124, 125, 126, 65533, 65534, 65535, 65536, 100_000} {
			for _, mask := range [][]byte{nil, mask} {
				r := newRig(t, nil)
				r.start()
				body := string(bytes.Repeat([]byte("abcdefg"), n/7+1)[:n])
				go r.send(wstest.Raw(0x02, mask, 0, []byte("p"+body)), wstest.Raw(0x00, mask, 0, []byte(body)), wstest.Raw(0x80, mask, 0, []byte(body)))
				for range 3 {
					r.wantBackend(wstest.Of(true, 2, mask != nil, "p"+body))
				}
			}
		}
	})
}

func TestTheBackendsRefusalOfAStartEndsTheSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.send(wstest.RawText(startText))
		r.wantBackend(wstest.Text(startSent))
		r.answer(wstest.RawText("s no such engine"))
		r.wantClient(wstest.Text("s no such engine"))
		r.start()
		r.answer(wstest.RawText("e timeout occurred"))
		r.wantClient(wstest.Text("e timeout occurred"))
		r.start()
		r.answer(wstest.RawText("p unsupported audio"))
		r.wantClient(wstest.Text("p unsupported audio"))
		r.start()
		r.send(audio("x"))
		r.wantBackend(audioOf("x"))
		r.answer(wstest.RawText("e"))
		r.wantClient(wstest.Text("e"))
		r.send(audio("x"))
		r.wantEnd(cutText)
	})
}

func TestAnswersAreKnownHoweverTheyAreCut(t *testing.T) {
	t.Parallel()
	for _, mode := range []credential.Mode{credential.Replace, credential.Drop} {
		for _, answer := range [][]byte{
			wstest.RawText("e"), wstest.RawText("e timeout"), wstest.Raw(0x81, nil, 16, []byte("e")), wstest.Raw(0x81, nil, 64, []byte("e x")),
			slices.Concat(wstest.Raw(0x01, nil, 0, []byte("e")), wstest.Raw(0x80, nil, 0, []byte(" x"))),
			slices.Concat(wstest.Raw(0x01, nil, 0, nil), wstest.Raw(0x89, nil, 0, []byte("s x")), wstest.Raw(0x80, nil, 0, []byte("e"))),
		} {
			for at := range len(answer) {
				f := newScripted(t, func(cfg *settings) { cfg.setMode(mode) })
				f.feed(wstest.RawText(startText), wstest.RawText("e"), wstest.RawText(startText))
				f.respond(wstest.RawText("s"), wstest.RawText("S 1"), wstest.RawText("ee"), wstest.RawBinary("e"), wstest.RawBinary("e x"), slices.Concat(wstest.Fragments(1, nil, "ee", 1)...), wstest.RawText("E"), wstest.RawText(""), wstest.RawText(" e"))
				f.feed(audio("x"))
				if n := len(frames(t, f.sent.Bytes())); n != 2 {
					t.Fatalf("the backend gets %d frames before it has answered e", n)
				}
				f.respond(answer[:at], answer[at:])
				f.feed(audio("y"))
				if n := len(frames(t, f.sent.Bytes())); n != 5 || f.ended != nil {
					t.Fatalf("after %q, cut at %d, the backend has got %d frames; the stream ends with %v", answer, at, n, f.ended)
				}
			}
		}
	}
}

// Events and results of the backend do not end a session.
func TestR14_AStartWithinASessionThatHasResultsIsRefused(t *testing.T) {
	t.Parallel()
	f := newScripted(t, func(cfg *settings) { cfg.PartingTime = 1 })
	f.feed(startFrame)
	f.respond(wstest.RawText(""), wstest.RawText("s"), wstest.RawText("S 100"), wstest.RawText("A {}"))
	f.feed(audio("x"), startFrame)
	f.wantAll([]wstest.Frame{wstest.Text(startSent), audioOf("x")})
	f.wantRefused(malformed, twoSessions)
}

// The rest of an answer does not end the session that began after the answer's first word.
func TestAnAnswerCountsOnce(t *testing.T) {
	t.Parallel()
	for _, mode := range []credential.Mode{credential.Replace, credential.Drop, credential.Pass} {
		f := newScripted(t, func(cfg *settings) { cfg.setMode(mode) })
		f.feed(startFrame)
		f.respond(wstest.RawText("s"))
		f.feed(slices.Concat(wstest.RawText("e"), startFrame))
		answer := wstest.RawText("e timeout occurred")
		f.respond(answer[:4])
		f.feed(wstest.Raw(0x8A, nil, 0, nil)) // in this read, the start that waited goes on
		f.respond(answer[4:8], answer[8:])
		f.feed(audio("x"))
		sent := frames(t, f.sent.Bytes())
		if f.ended != nil || sent[len(sent)-1] != audioOf("x") {
			t.Errorf("mode %v: the backend gets %+v, %v", mode, sent, f.ended)
		}
	}
}

// Audio that is on its way when the backend refuses audio does not end the stream.
func TestAudioAfterTheBackendsRefusalOfAudioPasses(t *testing.T) {
	t.Parallel()
	f := newScripted(t, nil)
	f.feed(startFrame)
	f.respond(wstest.RawText("s"), wstest.RawText("p unsupported audio"))
	f.feed(audio("x"), wstest.RawText("e"))
	f.wantAll([]wstest.Frame{wstest.Text(startSent), audioOf("x"), wstest.Text("e")})
}

func TestTheClientsLeavingInOrderIsPassedOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.start()
		r.send(wstest.RawText("e"), wstest.Raw(0x88, mask, 0, []byte{3, 232}), audio("x"), wstest.RawText(startText))
		r.wantBackend(wstest.Text("e"), wstest.Of(true, 8, true, "\x03\xe8"))
		r.answer(wstest.RawText("A {}"), wstest.RawText("e"), wstest.Raw(0x88, nil, 0, []byte{3, 232}))
		r.wantClient(wstest.Text("A {}"), wstest.Text("e"), wstest.Of(true, 8, false, "\x03\xe8"))
		r.client.Close()
		r.wantSilence()
	})
	t.Run("by a half-close", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			r.start()
			r.send(wstest.RawText("e"))
			r.client.Conn.(interface{ CloseWrite() error }).CloseWrite()
			r.wantBackend(wstest.Text("e"))
			r.wantSilence()
			r.answer(wstest.RawText("e"))
			r.backend.Close()
			r.wantClient(wstest.Text("e"))
			if rest, err := io.ReadAll(r.client.Reader); err != nil || len(rest) > 0 {
				t.Errorf("the client gets %q, %v", rest, err)
			}
		})
	})
}

func TestAKeyThatPassesOrIsDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for mode, want := range map[credential.Mode]string{credential.Pass: startText, credential.Drop: "s 16K -a-general"} {
			r := newRig(t, func(cfg *settings) { cfg.setMode(mode) })
			r.send(wstest.Raw(0x81, mask, 0, []byte(startText)))
			r.wantBackend(wstest.Of(true, 1, true, want))
			r.answer(wstest.RawText("s "+upstreamKey), wstest.Raw(0x01, nil, 0, []byte("s")), wstest.Raw(0x80, nil, 0, nil))
			r.wantClient(wstest.Text("s "+upstreamKey), wstest.Of(false, 1, false, "s"), wstest.Of(true, 0, false, ""))
		}
	})
}
