package stream_test

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/stream"
)

func TestR14_EveryStartCommandIsChecked(t *testing.T) {
	r := newRig(t, nil)
	for i, key := range []string{clientKey, clientKey + "-2", clientKey + "-3"} {
		r.send(text("s 16K -a-general authorization=" + key))
		r.wantBackend(textOf(startSent))
		r.answer(text("s"))
		r.wantClient(textOf("s"))
		r.send(audio("one"), audio("two"), text("e"))
		r.wantBackend(audioOf("one"), audioOf("two"), textOf("e"))
		r.answer(text("S 100"), text("E 200"), text(`A {"text":"e"}`), text("e"))
		r.wantClient(textOf("S 100"), textOf("E 200"), textOf(`A {"text":"e"}`), textOf("e"))
		if n := r.over(); n != i+1 {
			t.Errorf("%d sessions over", n)
		}
	}
	if want := []string{clientKey, clientKey + "-2", clientKey + "-3"}; !slices.Equal(r.keys, want) {
		t.Errorf("judged %d keys", len(r.keys))
	}
	r.send(text("s 16K -a-general authorization=OTHER"))
	r.wantEnd(denied)
	if n := r.over(); len(r.keys) != 4 || len(r.refused) != 0 || n != 3 {
		t.Errorf("%d keys judged, %v refused, %d sessions over", len(r.keys), r.refused, n)
	}
}

func TestR19_WhatCameWithTheHandshakeIsChecked(t *testing.T) {
	r := newRig(t, nil, text(startText), audio("one"), text("e"))
	r.wantBackend(textOf(startSent), audioOf("one"), textOf("e"))
	t.Run("and refused", func(t *testing.T) {
		r := newRig(t, nil, text("s 16K -a-general authorization=OTHER"), audio("one"))
		r.wantEnd(denied)
	})
	t.Run("in part", func(t *testing.T) {
		first := text(startText)
		r := newRig(t, nil, first[:20])
		r.send(first[20:], audio("one"))
		r.wantBackend(textOf(startSent), audioOf("one"))
	})
	t.Run("more than a reader holds", func(t *testing.T) {
		long := strings.Repeat("x", 5000)
		r := newRig(t, nil, text(startText), audio(long))
		r.wantBackend(textOf(startSent), audioOf(long))
	})
}

// TestR19_FramesAreReadHoweverTheyAreCut sends a session in every form of
// length, masked and not, cut at every byte.
func TestR19_FramesAreReadHoweverTheyAreCut(t *testing.T) {
	for _, bits := range []int{7, 16, 64} {
		for _, mask := range [][]byte{nil, mask} {
			t.Run(fmt.Sprintf("%d bits, mask %x", bits, mask), func(t *testing.T) {
				masked := mask != nil
				all := slices.Concat(
					rawFrame(0x81, mask, bits, []byte(startText)), rawFrame(0x82, mask, bits, []byte("pAB")),
					rawFrame(0x89, mask, 7, []byte("ping")), rawFrame(0x02, mask, bits, []byte("pCD")),
					rawFrame(0x00, mask, bits, []byte("EFGHI")), rawFrame(0x00, mask, bits, nil), rawFrame(0x80, mask, bits, []byte("J")),
					rawFrame(0x82, mask, bits, []byte("p")), rawFrame(0x81, mask, bits, []byte("e")))
				want := []got{
					{true, 1, masked, startSent},
					{true, 2, masked, "pAB"},
					{true, 9, masked, "ping"},
					{true, 2, masked, "pCD"},
					{true, 2, masked, "pEFGHI"},
					{true, 2, masked, "pJ"},
					{true, 2, masked, "p"},
					{true, 1, masked, "e"},
				}
				for at := range len(all) {
					f := newPiped(t, nil)
					f.feed(all[:at], all[at:])
					f.wantAll(want)
				}
				f := newPiped(t, nil)
				for _, b := range all {
					f.feed([]byte{b})
				}
				f.wantAll(want)
			})
		}
	}
}

func TestR19_FragmentsOfAudioGoOnAsMessages(t *testing.T) {
	for _, n := range []int{1, 124, 125, 126, 65533, 65534, 65535, 65536, 100_000} {
		for _, mask := range [][]byte{nil, mask} {
			r := newRig(t, nil)
			r.start()
			body := string(bytes.Repeat([]byte("abcdefg"), n/7+1)[:n])
			go r.send(rawFrame(0x02, mask, 0, []byte("p"+body)), rawFrame(0x00, mask, 0, []byte(body)), rawFrame(0x80, mask, 0, []byte(body)))
			for range 3 {
				r.wantBackend(got{true, 2, mask != nil, "p" + body})
			}
		}
	}
}

func TestTheBackendsRefusalOfAStartEndsTheSession(t *testing.T) {
	r := newRig(t, nil)
	r.send(text(startText))
	r.wantBackend(textOf(startSent))
	r.answer(text("s no such engine"))
	r.wantClient(textOf("s no such engine"))
	if n := r.over(); n != 1 {
		t.Errorf("%d sessions over", n)
	}
	r.start()
	r.answer(text("e timeout occurred"))
	r.wantClient(textOf("e timeout occurred"))
	if n := r.over(); n != 2 {
		t.Errorf("%d sessions over", n)
	}
	r.start()
	r.answer(text("p unsupported audio"))
	r.wantClient(textOf("p unsupported audio"))
	r.start()
	if n := r.over(); n != 3 {
		t.Errorf("%d sessions over", n)
	}
	r.send(audio("x"))
	r.wantBackend(audioOf("x"))
	r.answer(text("e"))
	r.wantClient(textOf("e"))
	r.send(audio("x"))
	r.wantEnd(cutText)
}

func TestAnswersAreKnownHoweverTheyAreCut(t *testing.T) {
	for _, mode := range []credential.Mode{credential.Replace, credential.Drop} {
		for _, answer := range [][]byte{
			text("e"), text("e timeout"), rawFrame(0x81, nil, 16, []byte("e")), rawFrame(0x81, nil, 64, []byte("e x")),
			slices.Concat(rawFrame(0x01, nil, 0, []byte("e")), rawFrame(0x80, nil, 0, []byte(" x"))),
			slices.Concat(rawFrame(0x01, nil, 0, nil), rawFrame(0x89, nil, 0, []byte("s x")), rawFrame(0x80, nil, 0, []byte("e"))),
		} {
			for at := range len(answer) {
				f := newPiped(t, func(cfg *stream.Config) { cfg.Upstream.Mode = mode })
				f.feed(text(startText), text("e"))
				f.respond(text("s"), text("S 1"), text("ee"), binaryOf("e"), text("E"), text(""), text(" e"))
				if f.ends != 0 {
					t.Fatalf("the session is over before its time")
				}
				f.respond(answer[:at], answer[at:])
				if f.ends != 1 {
					t.Fatalf("%q, cut at %d, is no answer to e", answer, at)
				}
				if f.feed(text(startText)); f.ended != nil {
					t.Fatalf("after %q, cut at %d, a new session is refused", answer, at)
				}
			}
		}
	}
}

func TestTheClientsLeavingInOrderIsPassedOn(t *testing.T) {
	r := newRig(t, nil)
	r.start()
	r.send(text("e"), rawFrame(0x88, mask, 0, []byte{3, 232}), audio("x"), text(startText))
	r.wantBackend(textOf("e"), got{true, 8, true, "\x03\xe8"})
	r.answer(text("A {}"), text("e"), rawFrame(0x88, nil, 0, []byte{3, 232}))
	r.wantClient(textOf("A {}"), textOf("e"), got{true, 8, false, "\x03\xe8"})
	r.client.Close()
	r.wantSilence()
	t.Run("by a half-close", func(t *testing.T) {
		r := newRig(t, nil)
		r.start()
		r.send(text("e"))
		r.client.(interface{ CloseWrite() error }).CloseWrite()
		r.wantBackend(textOf("e"))
		r.wantSilence()
		r.answer(text("e"))
		r.backend.Close()
		r.wantClient(textOf("e"))
		if rest, err := io.ReadAll(r.fromC); err != nil || len(rest) > 0 {
			t.Errorf("the client gets %q, %v", rest, err)
		}
	})
}

func TestAKeyThatPassesOrIsDropped(t *testing.T) {
	for mode, want := range map[credential.Mode]string{credential.Pass: startText, credential.Drop: "s 16K -a-general"} {
		r := newRig(t, func(cfg *stream.Config) { cfg.Upstream = credential.Upstream{Mode: mode} })
		r.send(rawFrame(0x81, mask, 0, []byte(startText)))
		r.wantBackend(got{true, 1, true, want})
		r.answer(text("s "+upstreamKey), rawFrame(0x01, nil, 0, []byte("s")), rawFrame(0x80, nil, 0, nil))
		r.wantClient(textOf("s "+upstreamKey), got{false, 1, false, "s"}, got{true, 0, false, ""})
	}
}
