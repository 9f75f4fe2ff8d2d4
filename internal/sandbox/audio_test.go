package sandbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var (
	mono16k  = pcm{rate: 16000, channels: 1, bits: 16}
	compared = cmp.AllowUnexported(measurement{}, pcm{}, segment{})
)

const second = time.Second

func TestMeasureReadsEverySupportedFormat(t *testing.T) {
	t.Parallel()
	tone := samples(mono16k, 440, stretch{second, 0.5})
	stereo44 := pcm{rate: 44100, channels: 2, bits: 16}
	mu, a := pcm{rate: 8000, channels: 1, bits: 8, law: muLaw}, pcm{rate: 8000, channels: 2, bits: 8, law: aLaw}
	muTone, aTone := samples(mu, 440, stretch{second, 0.5}), samples(a, 440, stretch{second, 0.5})
	aMono := pcm{rate: 8000, channels: 1, bits: 8, law: aLaw}
	big := pcm{rate: 8000, channels: 1, bits: 16, bigEndian: true}
	extensible := func(f pcm, tag byte) []byte {
		data := append(fmtData(tagExtensible, f), 22, 0, byte(f.bits), 0, 4, 0, 0, 0, tag, 0)
		return chunk("fmt ", 40, append(data, subtypeTail...))
	}
	long := make([]byte, 101)

	tests := []struct {
		name   string
		audio  []byte
		format string
		want   pcm
		length time.Duration
		err    error
	}{
		{name: "plain WAV", audio: wav(mono16k, tone), want: mono16k, length: second},
		{name: "stereo", audio: wav(stereo44, samples(stereo44, 440, stretch{second, 0.5})), want: stereo44, length: second},
		{name: "format parameter beside a WAV", audio: wav(mono16k, tone), format: "8K", want: mono16k, length: second},
		{name: "extensible", audio: riff(extensible(mono16k, tagPCM), chunk("data", len(tone), tone)), want: mono16k, length: second},
		{name: "extensible, but of floats", audio: riff(extensible(mono16k, 3), chunk("data", len(tone), tone)), err: errUnsupported},
		{name: "extensible, of mu-law", audio: riff(extensible(mu, tagMuLaw), chunk("data", len(muTone), muTone)), want: mu, length: second},
		{name: "extensible, with another tail", audio: riff(bytes.Replace(extensible(mono16k, tagPCM), subtypeTail, make([]byte, 14), 1), chunk("data", len(tone), tone)), err: errUnsupported},
		{name: "extensible, cut short", audio: riff(chunk("fmt ", 16, fmtData(0xFFFE, mono16k)), chunk("data", len(tone), tone)), err: errUnsupported},
		{name: "data of size 0", audio: riff(fmtChunk(mono16k), chunk("data", 0, tone)), want: mono16k, length: second},
		{name: "data of size 0xFFFFFFFE", audio: append(riff(fmtChunk(mono16k), []byte("data\xFE\xFF\xFF\xFF")), tone...), want: mono16k, length: second},
		{name: "data of size 0xFFFFFFFF", audio: append(riff(fmtChunk(mono16k), []byte("data\xFF\xFF\xFF\xFF")), tone...), want: mono16k, length: second},
		{name: "chunks before and after", audio: riff(chunk("LIST", 101, long), fmtChunk(mono16k), chunk("fact", 4, long[:4]), chunk("data", len(tone), tone), chunk("id3 ", 101, long)), want: mono16k, length: second},
		{name: "format chunk of 18 bytes", audio: riff(chunk("fmt ", 18, append(fmtData(1, mono16k), 0, 0)), chunk("data", len(tone), tone)), want: mono16k, length: second},
		{name: "format chunk of 51 bytes", audio: riff(chunk("fmt ", 51, append(fmtData(1, mono16k), long[:35]...)), chunk("data", len(tone), tone)), want: mono16k, length: second},
		{name: "no samples", audio: wav(mono16k, nil), want: mono16k},
		{name: "half a sample at the end", audio: append(riff(fmtChunk(mono16k), chunk("data", 0, tone)), 1), want: mono16k, length: second},
		{name: "data without format", audio: riff(chunk("data", len(tone), tone)), err: errUnsupported},
		{name: "format without data", audio: riff(fmtChunk(mono16k)), err: errUnsupported},
		{name: "format cut off", audio: riff(fmtChunk(mono16k)[:20]), err: errUnsupported},
		{name: "format too small", audio: riff(chunk("fmt ", 14, fmtData(1, mono16k)[:14]), chunk("data", len(tone), tone)), err: errUnsupported},
		{name: "mu-law", audio: wav(mu, muTone), format: "8K", want: mu, length: second},
		{name: "A-law, stereo", audio: wav(a, aTone), format: "8k", want: a, length: second},
		{name: "mu-law at 16 kHz", audio: wav(pcm{rate: 16000, channels: 1, bits: 8, law: muLaw}, muTone), err: errUnsupported},
		{name: "mu-law of 16 bits", audio: wav(pcm{rate: 8000, channels: 1, bits: 16, law: muLaw}, muTone), err: errUnsupported},
		{name: "8 bits", audio: wav(pcm{rate: 16000, channels: 1, bits: 8}, tone), err: errUnsupported},
		{name: "24 kHz", audio: wav(pcm{rate: 24000, channels: 1, bits: 16}, tone), err: errUnsupported},
		{name: "24 bits", audio: wav(pcm{rate: 16000, channels: 1, bits: 24}, tone), err: errUnsupported},
		{name: "3 channels", audio: wav(pcm{rate: 16000, channels: 3, bits: 16}, tone), err: errUnsupported},
		{name: "no channels", audio: wav(pcm{rate: 16000, bits: 16}, tone), err: errUnsupported},
		{name: "rate of 0", audio: wav(pcm{channels: 1, bits: 16}, tone), err: errUnsupported},
		{name: "raw 16K", audio: tone, format: "16K", err: errUnsupported},
		{name: "raw, rate alone", audio: tone, format: "22K", err: errUnsupported},
		{name: "raw, byte order alone", audio: tone, format: "LSB", err: errUnsupported},
		{name: "raw, rate unknown", audio: tone, format: "LSB24K", err: errUnsupported},
		{name: "raw lsb16k", audio: tone, format: "lsb16k", want: mono16k, length: second},
		{name: "raw MULAW", audio: muTone, format: "MULAW", want: mu, length: second},
		{name: "raw alaw", audio: samples(aMono, 440, stretch{second, 0.5}), format: "alaw", want: aMono, length: second},
		{name: "WAV under the name of raw audio", audio: wav(stereo44, samples(stereo44, 440, stretch{second, 0.5})), format: "MULAW", want: stereo44, length: second},
		{name: "WAV that cannot be read, under the name of raw audio", audio: wav(pcm{rate: 16000, channels: 1, bits: 24}, tone), format: "LSB16K", err: errUnsupported},
		{name: "raw LSB16K", audio: tone, format: "LSB16K", want: mono16k, length: second},
		{name: "raw LSB11K", audio: tone[:22050], format: "LSB11K", want: pcm{rate: 11025, channels: 1, bits: 16}, length: second},
		{name: "raw MSB8K", audio: samples(big, 440, stretch{second, 0.5}), format: "MSB8K", want: big, length: second},
		{name: "raw and shorter than a file header", audio: tone[:8], format: "LSB16K", want: mono16k, length: 250 * time.Microsecond},
		{name: "raw, format unsaid", audio: tone, err: errUnsupported},
		{name: "raw, format unknown", audio: tone, format: "MSBLSB16K", err: errUnsupported},
		{name: "nothing", format: "LSB16K", err: errUnsupported},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := measure(bytes.NewReader(test.audio), test.format)
			if !errors.Is(err, test.err) {
				t.Fatalf("error %v, want %v", err, test.err)
			}
			if got.pcm != test.want || got.duration != test.length {
				t.Errorf("%v of %+v, want %v of %+v", got.duration, got.pcm, test.length, test.want)
			}
			if test.length == second {
				if math.Abs(got.peak-0.5) > 0.015 || math.Abs(got.rms-0.5/math.Sqrt2) > 0.01 {
					t.Errorf("peak %.3f, RMS %.3f of a tone of amplitude 0.5", got.peak, got.rms)
				}
				if got.stretches != 1 {
					t.Errorf("%d stretches of speech, want 1", got.stretches)
				}
			}
		})
	}
}

func TestMeasureHearsNoSpeechInNoise(t *testing.T) {
	t.Parallel()
	noise := func(amplitude float64) []byte {
		random := rand.New(rand.NewPCG(1, 2))
		var out []byte
		for range 3 * mono16k.rate {
			v := int16(random.NormFloat64() * amplitude * fullScale)
			out = binary.LittleEndian.AppendUint16(out, uint16(v))
		}
		return out
	}
	mu, a := pcm{rate: 8000, channels: 1, bits: 8, law: muLaw}, pcm{rate: 8000, channels: 1, bits: 8, law: aLaw}
	tests := []struct {
		name  string
		audio []byte
	}{
		{"digital silence", wav(mono16k, make([]byte, 32000))},
		{"both zeros of mu-law", wav(mu, bytes.Repeat([]byte{0x7F, 0xFF}, 8000))},
		{"A-law that toggles about zero", wav(a, bytes.Repeat([]byte{0x55, 0xD5}, 8000))},
		{"mu-law with an offset", wav(mu, bytes.Repeat([]byte{0x55}, 8000))},
		{"faint noise", wav(mono16k, noise(0.001))},
		{"loud steady noise", wav(mono16k, noise(0.03))},
		{"a click", wav(mono16k, samples(mono16k, 440, stretch{second, 0}, stretch{20 * time.Millisecond, 0.9}, stretch{second, 0}))},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := measure(bytes.NewReader(test.audio), "")
			if err != nil || got.stretches != 0 || len(got.segments) != 0 {
				t.Errorf("%s (error %v)", got.text(), err)
			}
		})
	}
}

func TestMeasureFindsSpeechAboveNoise(t *testing.T) {
	t.Parallel()
	audio := samples(mono16k, 440, stretch{second, 0}, stretch{second, 0.2}, stretch{second, 0})
	random := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < len(audio); i += 2 {
		v := float64(int16(binary.LittleEndian.Uint16(audio[i:]))) + random.NormFloat64()*0.01*fullScale
		binary.LittleEndian.PutUint16(audio[i:], uint16(int16(v)))
	}
	got, _ := measure(bytes.NewReader(audio), "LSB16K")
	if got.stretches != 1 || got.segments[0].start.Round(10*time.Millisecond) != second {
		t.Error(got.text())
	}
}

func TestMeasureKeepsABoundedNumberOfStretches(t *testing.T) {
	t.Parallel()
	f := pcm{rate: 8000, channels: 1, bits: 8, law: muLaw}
	one := samples(f, 100, stretch{100 * time.Millisecond, 0.9}, stretch{300 * time.Millisecond, 0})
	got, err := measure(bytes.NewReader(wav(f, bytes.Repeat(one, maxSegments+7))), "")
	if err != nil || got.stretches != maxSegments+7 || len(got.segments) != maxSegments {
		t.Errorf("%d stretches, %d kept, error %v", got.stretches, len(got.segments), err)
	}
	if want := " and 987 more"; !strings.Contains(got.text(), want) {
		t.Errorf("text %q lacks %q", got.text(), want)
	}
}

func TestMeasureTheBundledSpeech(t *testing.T) {
	t.Parallel()
	got, err := measure(bytes.NewReader(SpeechWAV()), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Log(got.text())
	if got.pcm != mono16k || got.duration.Round(10*time.Millisecond) != 5820*time.Millisecond {
		t.Errorf("%v of %+v", got.duration, got.pcm)
	}
	if got.stretches != 3 {
		t.Errorf("%d stretches of speech in three sentences", got.stretches)
	}
	SpeechWAV()[0] = 0
	if SpeechWAV()[0] != 'R' {
		t.Error("SpeechWAV hands out its own bytes")
	}
}

func TestMeasureFindsTonesBetweenSilences(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.SampledFrom([]pcm{
			{rate: 8000, bits: 8, law: muLaw},
			{rate: 8000, bits: 8, law: aLaw},
			{rate: 8000, bits: 16},
			{rate: 11025, bits: 16},
			{rate: 16000, bits: 16},
			{rate: 22050, bits: 16},
		}).Draw(t, "layout")
		f.channels = rapid.IntRange(1, 2).Draw(t, "channels")
		ms := func(from, to int, label string) time.Duration {
			return time.Duration(rapid.IntRange(from, to).Draw(t, label)) * time.Millisecond
		}
		var sound []stretch
		var want []segment
		at := ms(0, 500, "lead")
		sound = append(sound, stretch{at, 0})
		for range rapid.IntRange(0, 3).Draw(t, "tones") {
			tone, gap := ms(100, 400, "tone"), ms(300, 600, "gap")
			sound = append(sound, stretch{tone, rapid.Float64Range(0.15, 0.95).Draw(t, "amplitude")}, stretch{gap, 0})
			want = append(want, segment{start: at, end: at + tone})
			at += tone + gap
		}
		freq := rapid.Float64Range(150, 3000).Draw(t, "frequency")

		got, err := measure(bytes.NewReader(wav(f, samples(f, freq, sound...))), "")
		if err != nil {
			t.Fatal(err)
		}
		if d := got.duration - at; d.Abs() > 5*time.Millisecond {
			t.Errorf("duration is off by %v", d)
		}
		if len(got.segments) != len(want) || got.stretches != len(want) {
			t.Fatalf("%s; want %+v", got.text(), want)
		}
		for i, s := range got.segments {
			if (s.start-want[i].start).Abs() > 15*time.Millisecond || (s.end-want[i].end).Abs() > 15*time.Millisecond {
				t.Errorf("stretch %d is %v to %v, want %v to %v", i, s.start, s.end, want[i].start, want[i].end)
			}
		}
	})
}

// splitReader returns data in pieces of these sizes, over and over.
type splitReader struct {
	data  []byte
	sizes []int
	turn  int
}

func (r *splitReader) Read(p []byte) (int, error) {
	if len(r.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), r.sizes[r.turn%len(r.sizes)])], r.data)
	r.data = r.data[n:]
	r.turn++
	return n, nil
}

func TestMeasureDoesNotDependOnHowAudioIsSplit(t *testing.T) {
	t.Parallel()
	speech := SpeechWAV()[:60000]
	want, err := measure(bytes.NewReader(speech), "")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.IntRange(1, 5000), 1, 20).Draw(t, "sizes")
		got, err := measure(&splitReader{data: speech, sizes: sizes}, "")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, compared); diff != "" {
			t.Error(diff)
		}
	})
}

func FuzzMeasure(f *testing.F) {
	slow := pcm{rate: 8000, channels: 1, bits: 8, law: muLaw} // so that few bytes of audio are long
	tone := samples(slow, 100, stretch{60 * time.Millisecond, 0.5}, stretch{10 * time.Millisecond, 0})
	f.Add(wav(slow, tone), "")
	f.Add(wav(pcm{rate: 8000, channels: 2, bits: 8, law: aLaw}, tone), "8K")
	f.Add(tone, "mulaw")
	f.Add([]byte("OggS\x00 and more than that"), "LSB16K")
	f.Add(riff(chunk("junk", 3, []byte("abc")), fmtChunk(mono16k), chunk("data", 0, tone)), "")
	f.Add(tone, "MSB44K")
	f.Fuzz(func(t *testing.T, audio []byte, format string) {
		got, err := measure(bytes.NewReader(audio), format)
		again, err2 := measure(iotest.OneByteReader(bytes.NewReader(audio)), format)
		if !errors.Is(err2, err) {
			t.Fatalf("error %v at once, %v byte by byte", err, err2)
		}
		if diff := cmp.Diff(got, again, compared); diff != "" {
			t.Fatal(diff)
		}
		if err != nil {
			return
		}
		if got.peak < 0 || got.peak > 1 || got.rms < 0 || got.rms > got.peak+1e-9 {
			t.Errorf("peak %v, RMS %v", got.peak, got.rms)
		}
		if got.stretches < len(got.segments) || len(got.segments) > maxSegments {
			t.Errorf("%d stretches, %d kept", got.stretches, len(got.segments))
		}
		last := time.Duration(0)
		for _, s := range got.segments {
			if s.start < last || s.end <= s.start || s.end > got.duration || s.confidence <= 0 || s.confidence >= 1 {
				t.Errorf("stretch %+v after %v in %v", s, last, got.duration)
			}
			last = s.end
		}
	})
}
