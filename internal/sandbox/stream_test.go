package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/internal/wstest"
)

const startLibrary = "s LSB16K -a-general authorization=" + testKey

// tones is raw audio of 16 kHz with speech at 0.5 to 1.7 s and 2.2 to 2.5 s.
func tones(f pcm) []byte {
	return samples(f, 440, stretch{500 * time.Millisecond, 0}, stretch{1200 * time.Millisecond, 0.5},
		stretch{500 * time.Millisecond, 0}, stretch{300 * time.Millisecond, 0.5}, stretch{500 * time.Millisecond, 0})
}

// toldOfTones are the events of these tones.
func toldOfTones(layout string) []string {
	const final = `A {"results":[{"tokens":[{"written":"speech %[1]d (%[2]s s)","spoken":"speech %[1]d","confidence":0.9858,"starttime":%[3]d,"endtime":%[4]d}],` +
		`"confidence":0.9858,"starttime":%[3]d,"endtime":%[4]d,"tags":[],"rulename":"","text":"%[5]s"}],` +
		`"utteranceid":"20250701/12/ID_20250701_123045","text":"%[5]s","code":"","message":""}`
	const interim = `U {"results":[{"tokens":[{"written":"%[1]s"},{"written":"..."}],"text":"%[1]s..."}],"text":"%[1]s..."}`
	return []string{
		"S 500", "C", fmt.Sprintf(interim, "speech 1 (0.50 s)"), fmt.Sprintf(interim, "speech 1 (1.00 s)"), "E 1700",
		fmt.Sprintf(final, 1, "1.20", 500, 1700, "speech 1 (1.20 s): 0.50-1.70 s of "+layout),
		"S 2200", "C", "E 2500",
		fmt.Sprintf(final, 2, "0.30", 2200, 2500, "speech 2 (0.30 s): 2.20-2.50 s of "+layout),
		"e",
	}
}

func TestTheEventsOfAStreamByteForByte(t *testing.T) {
	t.Parallel()
	addr := serveStreams(t, Config{Now: newClock().Now})
	big := pcm{rate: 8000, channels: 1, bits: 16, bigEndian: true}
	stereo := pcm{rate: 16000, channels: 2, bits: 16}
	mu, a := pcm{rate: 8000, channels: 1, bits: 8, law: muLaw}, pcm{rate: 8000, channels: 1, bits: 8, law: aLaw}
	for name, test := range map[string]struct {
		format string
		audio  []byte
		layout string
	}{
		"raw":                       {"LSB16K", tones(mono16k), "16000 Hz mono, 16 bits"},
		"raw, big endian":           {"MSB8K", tones(big), "8000 Hz mono, 16 bits"},
		"raw, format in lower case": {"lsb16k", tones(mono16k), "16000 Hz mono, 16 bits"},
		"WAV":                       {"8K", wav(stereo, tones(stereo)), "16000 Hz stereo, 16 bits"},
		"mu-law":                    {"mulaw", tones(mu), "8000 Hz mono, 8 bits mu-law"},
		"A-law":                     {"ALAW", tones(a), "8000 Hz mono, 8 bits A-law"},
		"WAV with bytes after it":   {"8K", append(wav(stereo, tones(stereo)), tones(stereo)...), "16000 Hz stereo, 16 bits"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := dial(t, addr, libraryShake, wstest.RawText("s "+test.format+" -a-general"))
			p.WantText("s")
			p.Send(feeds(test.audio, 4096), wstest.RawText("e"))
			if diff := cmp.Diff(toldOfTones(test.layout), p.events()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// toldInOrder checks the events of a session: S C U* E A for each utterance, and e at the
// end. It returns the final results.
func toldInOrder(t *testing.T, events []string) (finals []syncAnswer) {
	t.Helper()
	var order strings.Builder
	for _, event := range events {
		order.WriteByte(event[0])
		if name, body, _ := strings.Cut(event, " "); name == "A" {
			var final syncAnswer
			if err := json.Unmarshal([]byte(body), &final); err != nil {
				t.Fatal(err)
			}
			finals = append(finals, final)
		}
	}
	rest := order.String()
	for range finals {
		rest = strings.TrimPrefix(rest, "SC")
		rest = strings.TrimPrefix(strings.TrimLeft(rest, "U"), "EA")
	}
	if rest != "e" {
		t.Errorf("events in the order %s", order.String())
	}
	return finals
}

func TestTheLibrariesStreamTheBundledSpeech(t *testing.T) {
	t.Parallel()
	addr := serveStreams(t, Config{Key: testKey})
	want, err := measure(bytes.NewReader(SpeechWAV()), "")
	if err != nil {
		t.Fatal(err)
	}
	for name, shake := range map[string]string{"logging": libraryShake, "not logging": strings.Replace(libraryShake, "/v1/", "/v1/nolog/", 1)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := dial(t, addr, shake, wstest.RawText(startLibrary))
			p.WantText("s")
			p.Send(feeds(SpeechWAV(), 4096), wstest.RawText("e"))
			events := p.events()
			for _, event := range events {
				t.Log(event)
			}
			finals := toldInOrder(t, events)
			if len(finals) != len(want.segments) {
				t.Fatalf("%d utterances, want %d", len(finals), len(want.segments))
			}
			for i, s := range want.segments {
				if token := finals[i].Results[0].Tokens[0]; token != newToken(i, s) {
					t.Errorf("told of %+v, measured %+v", token, s)
				}
			}
		})
	}
}

func TestABrowserStreams(t *testing.T) {
	t.Parallel()
	addr := serveStreams(t, Config{Key: testKey})
	p := dial(t, addr, browserShake)
	mask := []byte{0x12, 0xF0, 0x00, 0x9A}
	p.Send(wstest.Raw(0x81, mask, 0, []byte(startLibrary)))
	p.WantText("s")
	for audio := SpeechWAV(); len(audio) > 0; {
		n := min(8000, len(audio))
		p.Send(wstest.Raw(0x82, mask, 0, append([]byte("p"), audio[:n]...)))
		audio = audio[n:]
	}
	p.Send(wstest.Raw(0x81, mask, 0, []byte("e")))
	if finals := toldInOrder(t, p.events()); len(finals) != 3 {
		t.Errorf("%d utterances in three sentences", len(finals))
	}
	p.Send(wstest.Raw(0x88, mask, 0, []byte{3, 232}))
	p.WantClose(1000)
}

func TestEventsComeWhileTheAudioDoes(t *testing.T) {
	t.Parallel()
	p := dial(t, serveStreams(t, Config{}), libraryShake, wstest.RawText("s LSB16K -a-general"))
	p.WantText("s")
	audio := tones(mono16k)
	bytesIn := func(d time.Duration) int { return 2 * int(mono16k.count(d)) }
	p.Send(feeds(audio[:bytesIn(560*time.Millisecond)], 4096))
	p.WantText("S 500", "C")
	p.Send(feeds(audio[bytesIn(560*time.Millisecond):bytesIn(second)], 4096))
	if payload := p.Next().Payload; !strings.HasPrefix(payload, `U {"results":[{"tokens":[{"written":"speech 1 (0.50 s)"}`) {
		t.Errorf("got %q", payload)
	}
	p.Send(feeds(audio[bytesIn(second):bytesIn(2*second)], 4096))
	if payload := p.Next().Payload; !strings.HasPrefix(payload, "U ") {
		t.Errorf("got %q", payload)
	}
	p.WantText("E 1700")
	if payload := p.Next().Payload; !strings.HasPrefix(payload, "A ") {
		t.Errorf("got %q", payload)
	}
}

func TestEventsDoNotDependOnHowAudioIsCutIntoFrames(t *testing.T) {
	t.Parallel()
	addr := serveStreams(t, Config{Now: newClock().Now})
	speech := SpeechWAV()[:60000]
	p := dial(t, addr, libraryShake)
	var want []string
	session := func(frames ...[]byte) []string {
		p.Send(wstest.RawText("s 16K -a-general"))
		p.WantText("s")
		p.Send(bytes.Join(frames, nil), wstest.RawText("e"))
		return p.events()
	}
	want = session(feeds(speech, len(speech)))
	if len(want) < 5 {
		t.Fatalf("no more than %q", want)
	}
	rapid.Check(t, func(t *rapid.T) {
		var frames []byte
		rest := append([]byte("p"), speech...)
		bits := rapid.SampledFrom([]int{0, 16, 64})
		masks := rapid.SampledFrom([][]byte{nil, {1, 2, 3, 4}, {0, 0, 0, 0}})
		size := rapid.IntRange(0, rapid.SampledFrom([]int{200, 5000, 65535}).Draw(t, "largest"))
		head, empty := byte(0x02), true
		for len(rest) > 0 {
			n := min(size.Draw(t, "size"), len(rest))
			final := byte(0)
			if n == len(rest) || rapid.Bool().Draw(t, "final") {
				final = 0x80
			}
			piece := rest[:n:n]
			rest = rest[n:]
			if empty = empty && n == 0; empty {
				final = 0 // the command's letter is still to come
			}
			frames = append(frames, wstest.Raw(final|head, masks.Draw(t, "mask"), bits.Draw(t, "bits"), piece)...)
			head = 0x00
			if final != 0 && len(rest) > 0 {
				head, empty, rest = 0x02, true, append([]byte("p"), rest...)
			}
			if rapid.IntRange(0, 20).Draw(t, "pong") == 0 {
				frames = append(frames, wstest.Raw(0x8A, nil, 0, []byte("nobody asked"))...)
			}
		}
		if diff := cmp.Diff(want, session(frames)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestSessionsFollowOneAnother(t *testing.T) {
	t.Parallel()
	p := dial(t, serveStreams(t, Config{Key: testKey, Now: newClock().Now}), libraryShake)
	for range 2 {
		p.Send(wstest.RawText(startLibrary))
		p.WantText("s")
		p.Send(feeds(tones(mono16k), 4096), wstest.RawText("e"))
		if diff := cmp.Diff(toldOfTones("16000 Hz mono, 16 bits"), p.events()); diff != "" {
			t.Error(diff)
		}
	}
	p.Send(wstest.RawText("s 16K -a-general authorization=other"))
	p.WantText("s received illegal service authorization")
}

func TestASessionMayBeginBeforeTheAnswerToTheEndOfTheLast(t *testing.T) {
	t.Parallel()
	p := dial(t, serveStreams(t, Config{Key: testKey, Now: newClock().Now}), libraryShake)
	var all []byte
	for range 3 {
		all = append(all, wstest.RawText(startLibrary)...)
		all = append(all, feeds(tones(mono16k), 4096)...)
		all = append(all, wstest.RawText("e")...)
	}
	all = append(all, wstest.RawText("s 16K -a-general authorization=other")...)
	go p.Write(all)
	for range 3 {
		p.WantText("s")
		if diff := cmp.Diff(toldOfTones("16000 Hz mono, 16 bits"), p.events()); diff != "" {
			t.Error(diff)
		}
	}
	p.WantText("s received illegal service authorization")
}

// Clients cut a text message into fragments when it is larger than their buffer.
// The first, the last or one between may be empty, and control frames may come
// between them.
func TestCommandsComeInFragments(t *testing.T) {
	t.Parallel()
	p := dial(t, serveStreams(t, Config{Key: testKey, Now: newClock().Now}), browserShake)
	mask := []byte{0x12, 0xF0, 0x00, 0x9A}
	start := "s LSB16K -a-general profileWords=\"" + words(1000) + "\" authorization=" + testKey
	for name, sizes := range map[string][]int{
		"gorilla":         {4096},
		"JDK":             {16384},
		"websocket-sharp": {1016},
		"in the key":      {len(start) - 5},
		"first is empty":  {0, 100, 70000},
		"two are empty":   {1, 0, 0, 70000},
		"byte by byte":    {1},
		"last is empty":   {70000, 0},
	} {
		var frames []byte
		fragments := func(command string, sizes []int) {
			head := byte(0x01)
			for i := 0; command != "" || i < len(sizes); i++ {
				n := min(sizes[i%len(sizes)], len(command))
				piece := command[:n]
				command = command[n:]
				if command == "" && i+1 >= len(sizes) {
					head |= 0x80
				}
				frames = append(frames, wstest.Raw(head, mask, 0, []byte(piece))...)
				if head = 0x00; i%7 == 0 {
					frames = append(frames, wstest.Raw(0x8A, mask, 0, nil)...) // an unsolicited Pong
				}
			}
		}
		fragments(start, sizes)
		frames = append(frames, feeds(tones(mono16k), 4096)...)
		fragments("e", []int{0, 1, 0})
		go p.Write(frames)
		p.WantText("s")
		if diff := cmp.Diff(toldOfTones("16000 Hz mono, 16 bits"), p.events()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestAClientMayConnectEarly(t *testing.T) {
	t.Parallel()
	c := Config{Key: testKey, StreamIdle: time.Minute}
	p := dial(t, serveStreams(t, c), libraryShake)
	for range 3 { // Pings are answered between messages
		p.Send(wstest.Raw(0x89, nil, 0, nil))
		if f := p.Next(); f.Opcode != wstest.OpPong {
			t.Fatalf("got %v, want a Pong", f)
		}
	}
	p.Send(wstest.RawText(startLibrary))
	p.WantText("s")
	if idle := NewAmiVoice(Config{}).idle; idle <= time.Minute {
		t.Errorf("by default a stream waits for %v: a command s after a minute is too late", idle)
	}
}

func TestEveryStartNeedsTheKey(t *testing.T) {
	t.Parallel()
	p := dial(t, serveStreams(t, Config{Key: testKey}), libraryShake)
	const refused = "s received illegal service authorization"
	for start, want := range map[string]string{
		"s 16K -a-general":                                                                  refused,
		"s 16K -a-general authorization=":                                                   refused,
		"s 16K -a-general authorization=KEY%2B%2F%3Dabc":                                    refused,
		`s 16K -a-general profileWords="x authorization=` + testKey + `"`:                   refused,
		startLibrary + " authorization=other":                                               refused,
		"s OGG -a-general authorization=other":                                              refused,
		`s 16K -a-general authorization="` + testKey + `"`:                                  "s",
		`s 16K -a-general profileWords="x ""y authorization=FAKE" authorization=` + testKey: "s",
		"s 16K -a-general authorization=" + testKey + ` extension={"a":"b"}`:                "s",
		"s OGG -a-general authorization=" + testKey:                                         "s received unsupported audio format",
		"s 16K  -a-general authorization=" + testKey:                                        "s " + errStart.Error(),
		"s": "s " + errStart.Error(),
	} {
		p.Send(wstest.RawText(start))
		p.WantText(want)
		if want == "s" {
			p.Send(wstest.RawText("e"))
			p.WantText("e")
		}
	}
}

func TestCommandsOutOfPlaceAreAnsweredAndTheConnectionStays(t *testing.T) {
	t.Parallel()
	p := dial(t, serveStreams(t, Config{}), libraryShake)
	p.Send(wstest.RawText("e"))
	p.WantText(cannotEnd)
	p.Send(feeds([]byte("sound"), 4096), wstest.RawText("psound"), wstest.RawText("p\xFF"))
	p.WantText(cannotFeed, cannotFeed, cannotFeed)
	p.Send(wstest.RawText("s LSB16K -a-general"))
	p.WantText("s")
	p.Send(wstest.RawText("s LSB16K -a-general"), wstest.RawText("psound"), wstest.RawText("s"))
	p.WantText(cannotStart, cannotFeed, cannotStart)
	p.Send(feeds(tones(mono16k), 4096), wstest.RawText("e"))
	if finals := toldInOrder(t, p.events()); len(finals) != 2 {
		t.Errorf("%d utterances, want 2", len(finals))
	}
	p.Send(wstest.RawBinary("p"), wstest.RawText("e"))
	p.WantText(cannotFeed, cannotEnd)
}

func TestAudioThatCannotBeReadEndsTheSession(t *testing.T) {
	t.Parallel()
	p := dial(t, serveStreams(t, Config{}), libraryShake)
	p.Send(wstest.RawText("s 16K -a-general"), feeds(wav(pcm{rate: 8000, channels: 1, bits: 24}, make([]byte, 3000)), 100))
	p.WantText("s", "p received unsupported audio format", cannotFeed)
	p = dial(t, serveStreams(t, Config{}), libraryShake)
	p.Send(wstest.RawText("s 16K -a-general"), feeds(riff(fmtChunk(mono16k)), 7), wstest.RawText("e"))
	p.WantText("s", "e received unsupported audio format")
	p.Send(wstest.RawText("s LSB16K -a-general"), wstest.RawBinary("p"), wstest.RawBinary("psound"), wstest.RawText("e"), wstest.RawText("e"))
	p.WantText("s", "e", cannotEnd)
	for _, format := range []string{"16k", "8K"} { // formats of audio with a header
		p.Send(wstest.RawText("s "+format+" -a-general"), feeds(tones(mono16k)[:100], 100))
		p.WantText("s", "p received unsupported audio format")
	}
}
