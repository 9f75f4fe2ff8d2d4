package stream_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/policy"
	"github.com/speechgate/speechgate/stream"
)

const (
	malformed = policy.CredentialMalformed
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
		"a key that is throttled":              {nil, text("s 16K -a-general authorization=THROTTLED"), judged, "s can't connect to recognizer server"},
		"no key":                               {nil, text("s 16K -a-general"), judged, denied},
		"a bare start":                         {nil, text("s"), judged, denied},
		"two keys":                             {nil, text(startText + " authorization=" + clientKey), judged, denied},
		"a key in another spelling":            {nil, text("s 16K -a-general Authorization=" + clientKey), judged, denied},
		"a masked command with an unknown key": {nil, rawFrame(0x81, mask, 0, []byte("s authorization=OTHER")), judged, denied},
		"a text that is no command":            {nil, text("hello"), malformed, denied},
		"a command that only begins alike":     {nil, text("start authorization=" + clientKey), malformed, denied},
		"an empty text":                        {nil, text(""), malformed, denied},
		"a text that is no UTF-8":              {nil, text(startText + "\xff"), malformed, denied},
		"a binary start":                       {nil, binaryOf(startText), malformed, denied},
		"an empty binary message":              {nil, binaryOf(""), malformed, denied},
		"a start in pieces":                    {nil, rawFrame(0x01, nil, 0, []byte(startText)), malformed, denied},
		"a compressed start":                   {nil, rawFrame(0xC1, nil, 0, []byte(startText)), malformed, denied},
		"RSV2":                                 {nil, rawFrame(0xA1, nil, 0, []byte(startText)), malformed, denied},
		"RSV3":                                 {begun, rawFrame(0x92, nil, 0, []byte("px")), malformed, denied},
		"a reserved opcode":                    {nil, rawFrame(0x83, nil, 0, nil), malformed, denied},
		"a reserved control opcode":            {begun, rawFrame(0x8B, nil, 0, nil), malformed, denied},
		"a length of 64 bits":                  {begun, []byte{0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 2, 'p', 'x'}, malformed, denied},
		"a Ping in pieces":                     {begun, rawFrame(0x09, nil, 0, nil), malformed, denied},
		"a Ping that is too long":              {begun, rawFrame(0x89, nil, 0, make([]byte, 126)), malformed, denied},
		"a start that is too large":            {nil, rawFrame(0x81, nil, 0, []byte(startText+" x="+strings.Repeat("y", 64<<10))), malformed, denied},
		"a frame of audio that is too large":   {begun, []byte{0x82, 127, 0, 0, 0, 0, 1, 0, 0, 1, 'p'}, malformed, denied},
		"a continuation of nothing":            {begun, rawFrame(0x80, nil, 0, []byte("px")), malformed, denied},
		"a continuation before all":            {nil, rawFrame(0x80, nil, 0, []byte(startText)), malformed, denied},
		"an end before all":                    {nil, text("e"), malformed, denied},
		"audio before all":                     {nil, audio("x"), malformed, cutText},
		"audio after the end":                  {ended, audio("x"), malformed, cutText},
		"another end after the end":            {ended, text("e"), malformed, denied},
		"a start within a session":             {begun, startFrame, malformed, denied},
		"a start before the end is answered":   {ended, startFrame, malformed, denied},
		"binary that is no audio":              {begun, binaryOf("x"), malformed, denied},
		"audio in text":                        {begun, text("px"), malformed, denied},
		"an end with a word":                   {begun, text("e now"), malformed, denied},
		"an end in capitals":                   {begun, text("E"), malformed, denied},
		"an empty piece of audio":              {begun, rawFrame(0x02, nil, 0, nil), malformed, denied},
		"a command within audio in pieces":     {append(begun, rawFrame(0x02, nil, 0, []byte("p"))), text("e"), malformed, denied},
		"audio within audio in pieces":         {append(begun, rawFrame(0x02, nil, 0, []byte("p"))), audio("x"), malformed, denied},
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
		r := newRig(t, nil)
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
		r.wantEnd(denied)
		r.wantRefused(malformed)
	})
}

func TestCommandsHaveToComeInTime(t *testing.T) {
	quick := func(cfg *stream.Config) { cfg.CommandTime = 150 * time.Millisecond }
	t.Run("nothing", func(t *testing.T) {
		r := newRig(t, quick)
		r.wantEnd(denied)
		r.wantRefused(policy.CredentialMissing)
	})
	drip := func(r *rig, frame []byte) {
		for _, b := range frame {
			if _, err := r.client.Write([]byte{b}); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	t.Run("the first, drop by drop", func(t *testing.T) {
		r := newRig(t, quick)
		go drip(r, startFrame)
		r.wantEnd(denied)
		r.wantRefused(policy.CredentialMissing)
	})
	t.Run("Pings instead", func(t *testing.T) {
		r := newRig(t, quick)
		go drip(r, bytes.Repeat(rawFrame(0x8A, nil, 0, nil), 10))
		r.wantEnd(denied)
	})
	for name, frame := range map[string][]byte{"a second start": startFrame, "a Ping": rawFrame(0x89, nil, 0, make([]byte, 100))} {
		t.Run(name+", drop by drop", func(t *testing.T) {
			r := newRig(t, quick)
			r.start()
			r.send(text("e"))
			r.wantBackend(textOf("e"))
			r.answer(text("e"))
			r.wantClient(textOf("e"))
			time.Sleep(300 * time.Millisecond) // there is no hurry in between
			go drip(r, frame)
			r.wantEnd(denied)
			r.wantRefused(malformed)
		})
	}
	t.Run("but not audio", func(t *testing.T) {
		r := newRig(t, quick)
		r.start()
		go drip(r, slices.Concat(audio("a slow one"), text("e")))
		r.wantBackend(audioOf("a slow one"), textOf("e"))
		time.Sleep(300 * time.Millisecond)
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
