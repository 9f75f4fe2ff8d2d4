package stream_test

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/stream"
	"github.com/speechgate/speechgate/internal/wstest"
	"github.com/speechgate/speechgate/policy"
)

const malformed = policy.RequestMalformed

// What Config.Refused is told of a client's bytes.
const (
	reserved       = "a frame with a reserved bit or opcode: no extension has been agreed on"
	brokenPing     = "a control frame in fragments, or of more than 125 bytes"
	hugeLength     = "a frame with a length of more than 63 bits"
	nested         = "a message within another, or a continuation of nothing"
	tooLarge       = "a command that is larger than max_command, or a frame of audio that is too large"
	empty          = "an empty binary message"
	tooManyEmpty   = "too many empty fragments of a command"
	tooManyEarly   = "too many control frames before the first start command"
	noAudio        = "a binary message that is no audio"
	noUTF8         = "a text that is no UTF-8"
	noSession      = "an end command while no session runs"
	unknownCommand = "an unknown command"
	twoSessions    = "a start command before the end of the session that runs"
	outOfTurn      = "audio before a session or after its end"
	startTooLate   = "no start command came within start_timeout"
	commandTooLate = "a command did not come whole in time"
)

// judged precedes what Authorize saw of a command, a key or a fault.
const judged = "judged: "

var startFrame = wstest.RawText(startText)

func TestR19_WhatIsOutOfPlaceEndsTheStream(t *testing.T) {
	t.Parallel()
	begun := [][]byte{startFrame}
	ended := [][]byte{startFrame, wstest.RawText("e")}
	for name, test := range map[string]struct {
		before  [][]byte
		frame   []byte
		why     string
		message string
	}{
		"an unknown key":                       {nil, wstest.RawText("s 16K -a-general authorization=OTHER"), judged + "OTHER", denied},
		"a key at its stream limit":            {nil, wstest.RawText("s 16K -a-general authorization=LIMITED"), judged + "LIMITED", "s can't connect to recognizer server"},
		"no key":                               {nil, wstest.RawText("s 16K -a-general"), judged + "credential_missing: the command has no pair authorization, or an empty one", denied},
		"a bare start":                         {nil, wstest.RawText("s"), judged + "credential_missing: the command has no pair authorization, or an empty one", denied},
		"two keys":                             {nil, wstest.RawText(startText + " authorization=" + clientKey), judged + "credential_ambiguous: the pair authorization twice", denied},
		"a key in another spelling":            {nil, wstest.RawText("s 16K -a-general Authorization=" + clientKey), judged + "request_malformed: the pair of the key is spelled in another way, or hidden", unreadable},
		"a masked command with an unknown key": {nil, wstest.Raw(0x81, mask, 0, []byte("s authorization=OTHER")), judged + "OTHER", denied},
		"a text that is no command":            {nil, wstest.RawText("hello"), unknownCommand, unreadable},
		"a command that only begins alike":     {nil, wstest.RawText("start authorization=" + clientKey), unknownCommand, unreadable},
		"an empty text":                        {nil, wstest.RawText(""), unknownCommand, unreadable},
		"a text that is no UTF-8":              {nil, wstest.RawText(startText + "\xff"), noUTF8, unreadable},
		"a binary start":                       {nil, wstest.RawBinary(startText), noAudio, unreadable},
		"an empty binary message":              {nil, wstest.RawBinary(""), empty, unreadable},
		"an empty one, and p":                  {begun, append(wstest.RawBinary(""), 'p'), empty, unreadable},
		"a masked empty one, and p":            {begun, append(wstest.Raw(0x82, mask, 0, nil), 'p'^mask[0]), empty, unreadable},
		"a start within a start in fragments":  {nil, wstest.Raw(0x01, nil, 0, []byte(startText)), nested, unreadable},
		"audio within a start in fragments":    {nil, slices.Concat(wstest.Raw(0x01, nil, 0, []byte(startText)), audio("x")), nested, unreadable},
		"fragments that are too large in all":  {nil, slices.Concat(wstest.Raw(0x01, nil, 0, []byte(startText+" x=")), wstest.Raw(0x80, nil, 0, bytes.Repeat([]byte("y"), 1<<20))), tooLarge, unreadable},
		"too many empty fragments":             {nil, slices.Concat(wstest.Fragments(1, nil, startText, append([]int{5}, make([]int, 65)...)...)...), tooManyEmpty, unreadable},
		"fragments that are no UTF-8":          {nil, slices.Concat(wstest.Raw(0x01, nil, 0, []byte(startText+" x=\xe9")), wstest.Raw(0x80, nil, 0, []byte("\x9f"))), noUTF8, unreadable},
		"fragments with an unknown key":        {nil, slices.Concat(wstest.Raw(0x01, nil, 0, []byte("s authorization=")), wstest.Raw(0x80, nil, 0, []byte("OTHER"))), judged + "OTHER", denied},
		"fragments of audio that have nothing": {begun, slices.Concat(wstest.Raw(0x02, nil, 0, nil), wstest.Raw(0x80, nil, 0, nil)), empty, unreadable},
		"fragments of no audio":                {begun, slices.Concat(wstest.Raw(0x02, nil, 0, nil), wstest.Raw(0x80, nil, 0, []byte("x"))), noAudio, unreadable},
		"a compressed start":                   {nil, wstest.Raw(0xC1, nil, 0, []byte(startText)), reserved, unreadable},
		"RSV2":                                 {nil, wstest.Raw(0xA1, nil, 0, []byte(startText)), reserved, unreadable},
		"RSV3":                                 {begun, wstest.Raw(0x92, nil, 0, []byte("px")), reserved, unreadable},
		"a reserved opcode":                    {nil, wstest.Raw(0x83, nil, 0, nil), reserved, unreadable},
		"a reserved control opcode":            {begun, wstest.Raw(0x8B, nil, 0, nil), reserved, unreadable},
		"a length of 64 bits":                  {begun, []byte{0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 2, 'p', 'x'}, hugeLength, unreadable},
		"a Ping in pieces":                     {begun, wstest.Raw(0x09, nil, 0, nil), brokenPing, unreadable},
		"a Ping that is too long":              {begun, wstest.Raw(0x89, nil, 0, make([]byte, 126)), brokenPing, unreadable},
		"a start that is too large":            {nil, wstest.Raw(0x81, nil, 0, []byte(startText+" x="+strings.Repeat("y", 1<<20))), tooLarge, unreadable},
		"a frame of audio that is too large":   {begun, []byte{0x82, 127, 0, 0, 0, 0, 1, 0, 0, 1, 'p'}, tooLarge, unreadable},
		"a continuation of nothing":            {begun, wstest.Raw(0x80, nil, 0, []byte("px")), nested, unreadable},
		"a continuation before all":            {nil, wstest.Raw(0x80, nil, 0, []byte(startText)), nested, unreadable},
		"an end before all":                    {nil, wstest.RawText("e"), noSession, unreadable},
		"audio before all":                     {nil, audio("x"), outOfTurn, cutText},
		"audio after the end":                  {ended, audio("x"), outOfTurn, cutText},
		"another end after the end":            {ended, wstest.RawText("e"), noSession, unreadable},
		"a start within a session":             {begun, startFrame, twoSessions, unreadable},
		"binary that is no audio":              {begun, wstest.RawBinary("x"), noAudio, unreadable},
		"binary that is p before it is masked": {begun, wstest.Raw(0x82, mask, 0, []byte{'p' ^ mask[0], 'x'}), noAudio, unreadable},
		"the same in fragments":                {begun, wstest.Raw(0x02, mask, 0, []byte{'p' ^ mask[0], 'x'}), noAudio, unreadable},
		"the same in the second fragment":      {begun, slices.Concat(wstest.Raw(0x02, mask, 0, nil), wstest.Raw(0x80, mask, 0, []byte{'p' ^ mask[0], 'x'})), noAudio, unreadable},
		"audio in text":                        {begun, wstest.RawText("px"), unknownCommand, unreadable},
		"an end with a word":                   {begun, wstest.RawText("e now"), unknownCommand, unreadable},
		"an end in capitals":                   {begun, wstest.RawText("E"), unknownCommand, unreadable},
		"a command within audio in pieces":     {append(begun, wstest.Raw(0x02, nil, 0, []byte("p"))), wstest.RawText("e"), nested, unreadable},
		"audio within audio in pieces":         {append(begun, wstest.Raw(0x02, nil, 0, []byte("p"))), audio("x"), nested, unreadable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				for _, frame := range test.before {
					r.send(frame)
					f, err := wstest.ReadFrame(r.backend.Reader)
					if err != nil {
						t.Fatal(err, f)
					}
				}
				// The frames after it must not get through either.
				go r.client.Write(slices.Concat(test.frame, startFrame, audio("x")))
				r.wantEnd(test.message)
				if saw, ok := strings.CutPrefix(test.why, judged); ok {
					if got := append(r.keys, r.faults...); len(r.refused) != 0 || !slices.Equal(got, []string{saw}) {
						t.Errorf("refused for %v; judged %q, want %q", r.refused, got, saw)
					}
					return
				}
				r.wantRefused(malformed, test.why)
				if want := min(1, len(test.before)); len(r.keys) != want {
					t.Errorf("%d keys judged, want %d", len(r.keys), want)
				}
			})
		})
	}
}

func TestTheZeroVerdictAndNoJudgeRefuse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(cfg *settings) { cfg.Authorize = nil })
		r.send(startFrame)
		r.wantEnd(denied)
	})
}

// A command from which no key can be read is refused, even if Authorize accepts it.
func TestR1_ACommandWithoutAReadableKeyIsRefusedWhateverAuthorizeSays(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ command, message string }{
		"no key":                    {"s 16K -a-general", denied},
		"two keys":                  {startText + " authorization=" + clientKey, denied},
		"a key in another spelling": {"s 16K -a-general Authorization=" + clientKey, unreadable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(cfg *settings) {
					cfg.Authorize = func(secret policy.Secret, fault *credential.Fault) stream.Verdict {
						if !secret.Empty() || fault == nil {
							t.Errorf("Authorize gets a key, and the fault %v", fault)
						}
						return stream.Verdict{OK: true}
					}
				})
				r.send(wstest.RawText(test.command), audio("x"))
				r.wantEnd(test.message)
			})
		})
	}
}

func TestAClientThatGoesAfterItsRefusalIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string][]byte{"by closing": nil, "by a Close frame": wstest.Raw(0x88, mask, 0, []byte{3, 232})} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(cfg *settings) { cfg.PartingTime = 10 * time.Second })
				r.send(wstest.RawText("s authorization=OTHER"), audio("still"), wstest.Raw(0x82, mask, 64, make([]byte, 5000)))
				r.wantClient(wstest.Text(denied))
				began := time.Now()
				if leave != nil {
					r.send(leave)
					r.wantClient(closed())
				}
				r.client.Close()
				r.wantSilence()
				<-r.done
				if d := time.Since(began); d > 2*time.Second {
					t.Errorf("it took %v", d)
				}
			})
		})
	}
}

func TestControlFramesBeforeTheFirstStartStayHere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.send(wstest.Raw(0x89, mask, 0, []byte("one")), wstest.Raw(0x8A, mask, 0, []byte("pong")), wstest.Raw(0x89, nil, 0, nil))
		r.wantClient(wstest.Of(true, 10, false, "one"), wstest.Of(true, 10, false, ""))
		r.start()
		r.send(wstest.Raw(0x89, mask, 0, []byte("two")), wstest.Raw(0x8A, mask, 0, nil))
		r.wantBackend(wstest.Of(true, 9, true, "two"), wstest.Of(true, 10, true, ""))
	})
	t.Run("Close", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			for answer, sent := range map[string][]byte{"\x03\xe8": {3, 232, 'x'}, "": nil} {
				r := newRig(t, nil)
				r.send(wstest.Raw(0x88, mask, 0, sent))
				r.wantClient(wstest.Of(true, 8, false, answer))
				r.client.Close()
				r.wantSilence()
				<-r.done
			}
		})
	})
	t.Run("a Pong waits for the end of the backend's frame", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := (&rig{t: t, hasty: true}).run(nil)
			whole := wstest.RawBinary("in two pieces")
			r.answer(whole[:5])
			if _, err := r.client.Reader.Peek(5); err != nil {
				t.Fatal(err)
			}
			r.send(wstest.Raw(0x89, nil, 0, []byte("x")), wstest.Raw(0x89, nil, 0, []byte("y")))
			synctest.Wait()
			for _, piece := range [][]byte{whole[5:9], whole[9:], wstest.RawBinary("another"), wstest.RawBinary("the last")} {
				r.answer(piece)
				synctest.Wait()
			}
			r.wantClient(wstest.Of(true, 2, false, "in two pieces"), wstest.Of(true, 10, false, "y"), wstest.Binary("another"), wstest.Binary("the last"))
		})
	})
	t.Run("a flood", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			go r.client.Write(bytes.Repeat(wstest.Raw(0x89, mask, 0, []byte("x")), 1000))
			for range 16 {
				r.wantClient(wstest.Of(true, 10, false, "x"))
			}
			r.wantEnd(unreadable)
			r.wantRefused(malformed, tooManyEarly)
		})
	})
}

func TestR16_CommandsHaveToComeInTime(t *testing.T) {
	t.Parallel()
	const short = 150 * time.Millisecond
	quick := func(cfg *settings) { cfg.StartTime = short }
	// drip sends a byte every 20 ms, until the connection is closed.
	drip := func(r *rig, frame []byte) {
		var dripping sync.WaitGroup
		dripping.Go(func() {
			for _, b := range frame {
				if _, err := r.client.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
		r.t.Cleanup(dripping.Wait)
	}
	for name, sent := range map[string][]byte{
		"nothing":                              nil,
		"the first, drop by drop":              startFrame,
		"Pongs instead":                        bytes.Repeat(wstest.Raw(0x8A, nil, 0, nil), 10),
		"fragments without an end":             bytes.Repeat(wstest.Raw(0x01, nil, 0, []byte("s authorization="+clientKey)), 1),
		"empty fragments, one after the other": slices.Concat(wstest.Raw(0x01, nil, 0, nil), bytes.Repeat(wstest.Raw(0x00, nil, 0, nil), 10)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, hasty := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					r := (&rig{t: t, hasty: hasty}).run(quick)
					drip(r, sent)
					r.wantEnd(timedOut)
					r.wantRefused(malformed, startTooLate)
				})
			}
		})
	}
	later := func(cfg *settings) { cfg.CommandTime = short }
	first := wstest.Raw(0x01, nil, 0, []byte(startText))
	for name, test := range map[string]struct{ atOnce, slowly []byte }{
		"a second start":                    {nil, startFrame},
		"a Ping":                            {nil, wstest.Raw(0x89, nil, 0, make([]byte, 100))},
		"a second start in fragments":       {first, bytes.Repeat(wstest.Raw(0x00, nil, 0, nil), 30)},
		"fragments and whole Pongs between": {first, bytes.Repeat(wstest.Raw(0x8A, nil, 0, nil), 30)},
	} {
		t.Run(name+", drop by drop", func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, later)
				r.start()
				r.send(wstest.RawText("e"))
				r.wantBackend(wstest.Text("e"))
				r.answer(wstest.RawText("e"))
				r.wantClient(wstest.Text("e"))
				time.Sleep(2 * short) // no clock runs between two sessions
				began := time.Now()
				r.send(test.atOnce)
				drip(r, test.slowly)
				r.wantClient(wstest.Text(unreadable))
				if took := time.Since(began); took != short {
					t.Errorf("the clock struck after %s", took)
				}
				<-r.done
				r.wantRefused(malformed, commandTooLate)
			})
		})
	}
	t.Run("but not audio", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, later)
			r.start()
			drip(r, slices.Concat(audio("a slow one"), wstest.RawText("e")))
			r.wantBackend(audioOf("a slow one"), wstest.Text("e"))
			time.Sleep(2 * short)
			r.answer(wstest.RawText("e"))
			r.wantClient(wstest.Text("e"))
		})
	})
}

func TestAClientThatVanishesTakesTheBackendAlong(t *testing.T) {
	t.Parallel()
	for name, before := range map[string][]byte{
		"before all": nil, "within a command": startFrame[:10], "within audio": slices.Concat(startFrame, audio("x")[:3]),
		"within a later command": slices.Concat(startFrame, wstest.RawText("e")[:1]), "between its fragments": slices.Concat(startFrame, wstest.Raw(0x01, nil, 0, []byte("s"))),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, hasty := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					r := (&rig{t: t, hasty: hasty}).run(nil)
					if before != nil {
						r.send(before)
						synctest.Wait()
					}
					r.client.Close()
					<-r.done
				})
			}
		})
	}
}
