package stream_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/stream"
	"github.com/speechgate/speechgate/policy"
)

const (
	malformed = policy.RequestMalformed
	judged    = policy.Undecided // by Authorize
)

var startFrame = text(startText)

func TestR19_WhatIsOutOfPlaceEndsTheStream(t *testing.T) {
	begun := [][]byte{startFrame}
	ended := [][]byte{startFrame, text("e")}
	for name, test := range map[string]struct {
		before  [][]byte
		frame   []byte
		reason  policy.Reason
		message string
	}{
		"an unknown key":                       {nil, text("s 16K -a-general authorization=OTHER"), judged, denied},
		"a key at its stream limit":            {nil, text("s 16K -a-general authorization=LIMITED"), judged, "s can't connect to recognizer server"},
		"no key":                               {nil, text("s 16K -a-general"), judged, denied},
		"a bare start":                         {nil, text("s"), judged, denied},
		"two keys":                             {nil, text(startText + " authorization=" + clientKey), judged, denied},
		"a key in another spelling":            {nil, text("s 16K -a-general Authorization=" + clientKey), judged, unreadable},
		"a masked command with an unknown key": {nil, rawFrame(0x81, mask, 0, []byte("s authorization=OTHER")), judged, denied},
		"a text that is no command":            {nil, text("hello"), malformed, unreadable},
		"a command that only begins alike":     {nil, text("start authorization=" + clientKey), malformed, unreadable},
		"an empty text":                        {nil, text(""), malformed, unreadable},
		"a text that is no UTF-8":              {nil, text(startText + "\xff"), malformed, unreadable},
		"a binary start":                       {nil, binaryOf(startText), malformed, unreadable},
		"an empty binary message":              {nil, binaryOf(""), malformed, unreadable},
		"a start within a start in fragments":  {nil, rawFrame(0x01, nil, 0, []byte(startText)), malformed, unreadable},
		"audio within a start in fragments":    {nil, slices.Concat(rawFrame(0x01, nil, 0, []byte(startText)), audio("x")), malformed, unreadable},
		"fragments that are too large in all":  {nil, slices.Concat(rawFrame(0x01, nil, 0, []byte(startText+" x=")), rawFrame(0x80, nil, 0, bytes.Repeat([]byte("y"), 1<<20))), malformed, unreadable},
		"too many empty fragments":             {nil, slices.Concat(inFragments(1, nil, startText, append([]int{5}, make([]int, 65)...)...)...), malformed, unreadable},
		"fragments that are no UTF-8":          {nil, slices.Concat(rawFrame(0x01, nil, 0, []byte(startText+" x=\xe9")), rawFrame(0x80, nil, 0, []byte("\x9f"))), malformed, unreadable},
		"fragments with an unknown key":        {nil, slices.Concat(rawFrame(0x01, nil, 0, []byte("s authorization=")), rawFrame(0x80, nil, 0, []byte("OTHER"))), judged, denied},
		"fragments of audio that have nothing": {begun, slices.Concat(rawFrame(0x02, nil, 0, nil), rawFrame(0x80, nil, 0, nil)), malformed, unreadable},
		"fragments of no audio":                {begun, slices.Concat(rawFrame(0x02, nil, 0, nil), rawFrame(0x80, nil, 0, []byte("x"))), malformed, unreadable},
		"a compressed start":                   {nil, rawFrame(0xC1, nil, 0, []byte(startText)), malformed, unreadable},
		"RSV2":                                 {nil, rawFrame(0xA1, nil, 0, []byte(startText)), malformed, unreadable},
		"RSV3":                                 {begun, rawFrame(0x92, nil, 0, []byte("px")), malformed, unreadable},
		"a reserved opcode":                    {nil, rawFrame(0x83, nil, 0, nil), malformed, unreadable},
		"a reserved control opcode":            {begun, rawFrame(0x8B, nil, 0, nil), malformed, unreadable},
		"a length of 64 bits":                  {begun, []byte{0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 2, 'p', 'x'}, malformed, unreadable},
		"a Ping in pieces":                     {begun, rawFrame(0x09, nil, 0, nil), malformed, unreadable},
		"a Ping that is too long":              {begun, rawFrame(0x89, nil, 0, make([]byte, 126)), malformed, unreadable},
		"a start that is too large":            {nil, rawFrame(0x81, nil, 0, []byte(startText+" x="+strings.Repeat("y", 1<<20))), malformed, unreadable},
		"a frame of audio that is too large":   {begun, []byte{0x82, 127, 0, 0, 0, 0, 1, 0, 0, 1, 'p'}, malformed, unreadable},
		"a continuation of nothing":            {begun, rawFrame(0x80, nil, 0, []byte("px")), malformed, unreadable},
		"a continuation before all":            {nil, rawFrame(0x80, nil, 0, []byte(startText)), malformed, unreadable},
		"an end before all":                    {nil, text("e"), malformed, unreadable},
		"audio before all":                     {nil, audio("x"), malformed, cutText},
		"audio after the end":                  {ended, audio("x"), malformed, cutText},
		"another end after the end":            {ended, text("e"), malformed, unreadable},
		"a start within a session":             {begun, startFrame, malformed, unreadable},
		"binary that is no audio":              {begun, binaryOf("x"), malformed, unreadable},
		"audio in text":                        {begun, text("px"), malformed, unreadable},
		"an end with a word":                   {begun, text("e now"), malformed, unreadable},
		"an end in capitals":                   {begun, text("E"), malformed, unreadable},
		"a command within audio in pieces":     {append(begun, rawFrame(0x02, nil, 0, []byte("p"))), text("e"), malformed, unreadable},
		"audio within audio in pieces":         {append(begun, rawFrame(0x02, nil, 0, []byte("p"))), audio("x"), malformed, unreadable},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			for _, frame := range test.before {
				r.send(frame)
				f, err := readFrame(r.fromB)
				if err != nil {
					t.Fatal(err, f)
				}
			}
			// What follows it must not get through either.
			go r.client.Write(slices.Concat(test.frame, startFrame, audio("x")))
			r.wantEnd(test.message)
			if test.reason == judged {
				if len(r.refused) != 0 || len(r.keys)+len(r.faults) != 1 {
					t.Errorf("refused for %v, %d keys and faults %v seen", r.refused, len(r.keys), r.faults)
				}
				return
			}
			r.wantRefused(test.reason)
			if want := min(1, len(test.before)); len(r.keys) != want || r.over() != want {
				t.Errorf("%d keys judged, %d sessions over, want %d", len(r.keys), r.over(), want)
			}
		})
	}
}

func TestTheZeroVerdictAndNoJudgeRefuse(t *testing.T) {
	r := newRig(t, func(cfg *stream.Config) { cfg.Authorize = nil })
	r.send(startFrame)
	r.wantEnd(denied)
}

func TestAClientThatGoesAfterItsRefusalIsNotWaitedFor(t *testing.T) {
	for name, leave := range map[string][]byte{"by closing": nil, "by a Close frame": rawFrame(0x88, mask, 0, []byte{3, 232})} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(cfg *stream.Config) { cfg.PartingTime = 10 * time.Second })
			r.send(text("s authorization=OTHER"), audio("still"), rawFrame(0x82, mask, 64, make([]byte, 5000)))
			r.wantClient(textOf(denied))
			began := time.Now()
			if leave != nil {
				r.send(leave)
				r.wantClient(got{true, 8, false, "\x03\xf0"})
			}
			r.client.Close()
			r.wantSilence()
			<-r.done
			if d := time.Since(began); d > 2*time.Second {
				t.Errorf("it took %v", d)
			}
		})
	}
}

func TestControlFramesBeforeTheFirstStartStayHere(t *testing.T) {
	r := newRig(t, nil)
	r.send(rawFrame(0x89, mask, 0, []byte("one")), rawFrame(0x8A, mask, 0, []byte("pong")), rawFrame(0x89, nil, 0, nil))
	r.wantClient(got{true, 10, false, "one"}, got{true, 10, false, ""})
	r.start()
	r.send(rawFrame(0x89, mask, 0, []byte("two")), rawFrame(0x8A, mask, 0, nil))
	r.wantBackend(got{true, 9, true, "two"}, got{true, 10, true, ""})

	t.Run("Close", func(t *testing.T) {
		for answer, sent := range map[string][]byte{"\x03\xe8": {3, 232, 'x'}, "": nil} {
			r := newRig(t, nil)
			r.send(rawFrame(0x88, mask, 0, sent))
			r.wantClient(got{true, 8, false, answer})
			r.client.Close()
			r.wantSilence()
			<-r.done
		}
	})
	t.Run("a Pong waits for the end of the backend's frame", func(t *testing.T) {
		r := (&rig{t: t, hasty: true}).run(nil)
		whole := binaryOf("in two pieces")
		r.answer(whole[:5])
		if _, err := r.fromC.Peek(5); err != nil {
			t.Fatal(err)
		}
		r.send(rawFrame(0x89, nil, 0, []byte("x")), rawFrame(0x89, nil, 0, []byte("y")))
		time.Sleep(50 * time.Millisecond)
		r.answer(whole[5:])
		r.wantClient(got{true, 2, false, "in two pieces"}, got{true, 10, false, "y"})
	})
	t.Run("a flood", func(t *testing.T) {
		r := newRig(t, nil)
		go r.client.Write(bytes.Repeat(rawFrame(0x89, mask, 0, []byte("x")), 1000))
		for range 16 {
			r.wantClient(got{true, 10, false, "x"})
		}
		r.wantEnd(unreadable)
		r.wantRefused(malformed)
	})
}

func TestR16_CommandsHaveToComeInTime(t *testing.T) {
	const short = 150 * time.Millisecond
	quick := func(cfg *stream.Config) { cfg.StartTime = short }
	drip := func(r *rig, frame []byte) {
		for _, b := range frame {
			if _, err := r.client.Write([]byte{b}); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	for name, sent := range map[string][]byte{
		"nothing":                              nil,
		"the first, drop by drop":              startFrame,
		"Pongs instead":                        bytes.Repeat(rawFrame(0x8A, nil, 0, nil), 10),
		"fragments without an end":             bytes.Repeat(rawFrame(0x01, nil, 0, []byte("s authorization="+clientKey)), 1),
		"empty fragments, one after the other": slices.Concat(rawFrame(0x01, nil, 0, nil), bytes.Repeat(rawFrame(0x00, nil, 0, nil), 10)),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, quick)
			go drip(r, sent)
			r.wantEnd(timedOut)
			r.wantRefused(malformed)
		})
	}
	later := func(cfg *stream.Config) { cfg.CommandTime = short }
	first := rawFrame(0x01, nil, 0, []byte(startText))
	for name, test := range map[string]struct{ atOnce, slowly []byte }{
		"a second start":                    {nil, startFrame},
		"a Ping":                            {nil, rawFrame(0x89, nil, 0, make([]byte, 100))},
		"a second start in fragments":       {first, bytes.Repeat(rawFrame(0x00, nil, 0, nil), 30)},
		"fragments and whole Pongs between": {first, bytes.Repeat(rawFrame(0x8A, nil, 0, nil), 30)},
	} {
		t.Run(name+", drop by drop", func(t *testing.T) {
			r := newRig(t, later)
			r.start()
			r.send(text("e"))
			r.wantBackend(textOf("e"))
			r.answer(text("e"))
			r.wantClient(textOf("e"))
			time.Sleep(2 * short) // there is no hurry in between
			began := time.Now()
			r.send(test.atOnce)
			go drip(r, test.slowly)
			r.wantClient(textOf(unreadable))
			if took := time.Since(began); took > 4*short {
				t.Errorf("the clock struck after %s", took)
			}
			<-r.done
			r.wantRefused(malformed)
		})
	}
	t.Run("but not audio", func(t *testing.T) {
		r := newRig(t, later)
		r.start()
		go drip(r, slices.Concat(audio("a slow one"), text("e")))
		r.wantBackend(audioOf("a slow one"), textOf("e"))
		time.Sleep(2 * short)
		r.answer(text("e"))
		r.wantClient(textOf("e"))
	})
}

func TestAClientThatVanishesTakesTheBackendAlong(t *testing.T) {
	for name, before := range map[string][]byte{
		"before all": nil, "within a command": startFrame[:10], "within audio": slices.Concat(startFrame, audio("x")[:3]),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			if before != nil {
				r.send(before)
				time.Sleep(20 * time.Millisecond)
			}
			r.client.Close()
			<-r.done
		})
	}
}
