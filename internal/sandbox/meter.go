package sandbox

import (
	"encoding/binary"
	"math"
	"time"
)

// How the meter distinguishes speech from background noise. Levels are amplitudes, and
// full scale is 1. The level of a frame is the RMS of its loudest channel, without the
// channel's mean.
const (
	overFloor    = 4     // speech is at least 12 dB above the noise floor,
	minThreshold = 0.005 // it is at least -46 dBFS,
	maxThreshold = 0.04  // and every sound above -28 dBFS is speech

	framesPerSecond = 100                    // a frame lasts 10 ms
	hangover        = 250 * time.Millisecond // a shorter pause does not end a segment of speech
	minSpeech       = 50 * time.Millisecond  // a shorter sound is not speech

	maxChannels = 2
	maxSegments = 1000 // further segments are counted, and not stored
	fullScale   = 1 << 15
)

// pcm is the layout of samples.
type pcm struct {
	rate      int // sample frames per second
	channels  int // 1 or 2
	bits      int // in a sample: 16 if law is linear, otherwise 8
	law       law
	bigEndian bool // only for 16 bits
}

// block returns the size in bytes of one sample of every channel.
func (f pcm) block() int { return f.channels * f.bits / 8 }

// at returns the time of the sample frame with this index.
func (f pcm) at(index int64) time.Duration {
	rate := int64(f.rate)
	whole, rest := index/rate, index%rate
	return time.Duration(whole)*time.Second + time.Duration(rest*int64(time.Second)/rate)
}

// count returns the number of sample frames in d.
func (f pcm) count(d time.Duration) int64 { return int64(f.rate) * int64(d) / int64(time.Second) }

// segment is one stretch of speech.
type segment struct {
	start, end time.Duration
	// confidence says how much louder the speech is than the background: the mean of
	// 1 - threshold/level over the sounding frames.
	confidence float64
}

// length returns the length of the segment of speech, with its short pauses.
func (s segment) length() time.Duration { return s.end - s.start }

// measurement is the result of measuring audio.
type measurement struct {
	pcm
	duration  time.Duration
	peak      float64   // largest amplitude, 0 to 1
	rms       float64   // over all channels, 0 to 1
	stretches int       // the number of segments of speech
	segments  []segment // the first maxSegments segments
}

// moment is an event in a segment of speech.
type moment int

const (
	speechBegins moment = iota // the sound is long enough to be speech
	speechGoesOn               // another sounding frame
	speechEnds                 // the pause is long enough, or the audio has ended
)

// watch is called for each event in a segment of speech, with the segment so far. The
// calls depend only on the audio, not on the sizes in which it arrives.
type watch func(layout pcm, what moment, s segment)

// meter measures audio while it arrives. Its memory does not grow with the audio,
// except for up to maxSegments segments of speech.
type meter struct {
	pcm
	frame int   // sample frames in a frame
	watch watch // may be nil

	samples int64 // the number of sample frames so far
	peak    int64
	squares float64

	// The frame that is being filled.
	n         int
	sum, sum2 [maxChannels]int64

	floor     noiseFloor
	open      bool
	begun     bool  // whether the open segment is long enough to be speech
	from, to  int64 // the open segment, in sample frames
	sounding  int64 // the sample frames of the open segment, without its pauses
	clearness float64
	frames    int
	stretches int
	segments  []segment
}

func newMeter(f pcm) *meter {
	return &meter{pcm: f, frame: max(1, f.rate/framesPerSecond), floor: newNoiseFloor()}
}

// add measures the next audio, in whole blocks. It ignores bytes of an incomplete last
// block.
func (m *meter) add(p []byte) {
	size, block := m.bits/8, m.block()
	for len(p) >= block {
		n := min(len(p)/block, m.frame-m.n) // up to the end of the frame
		for c := range m.channels {
			sum, sum2, peak := m.sum[c], m.sum2[c], m.peak
			for at := c * size; at < n*block; at += block {
				v := m.sample(p[at:])
				sum += v
				sum2 += v * v
				peak = max(peak, v, -v)
			}
			m.sum[c], m.sum2[c], m.peak = sum, sum2, peak
		}
		p = p[n*block:]
		m.samples += int64(n)
		if m.n += n; m.n == m.frame {
			m.endFrame()
		}
	}
}

// sample returns the first sample in p, on the scale of 16 bits.
func (m *meter) sample(p []byte) int64 {
	switch {
	case m.law == muLaw:
		return muLawSamples[p[0]]
	case m.law == aLaw:
		return aLawSamples[p[0]]
	case m.bigEndian:
		return int64(int16(binary.BigEndian.Uint16(p)))
	default:
		return int64(int16(binary.LittleEndian.Uint16(p)))
	}
}

// endFrame decides whether the frame is speech, and starts the next frame.
func (m *meter) endFrame() {
	if m.n == 0 {
		return
	}
	n, loudest := float64(m.n), 0.0
	for c := range m.channels {
		sum, sum2 := float64(m.sum[c]), float64(m.sum2[c])
		m.squares += sum2
		loudest = max(loudest, (sum2-sum*sum/n)/n)
	}
	level := math.Sqrt(loudest) / fullScale
	threshold := min(max(overFloor*m.floor.after(level), minThreshold), maxThreshold)
	if level > threshold {
		m.sound(m.samples-int64(m.n), m.samples, 1-threshold/level)
	} else if m.samples-m.to > m.count(hangover) {
		m.endStretch()
	}
	m.n, m.sum, m.sum2 = 0, [maxChannels]int64{}, [maxChannels]int64{}
}

// sound adds a sounding frame to the open segment. If no segment is open, it opens one.
func (m *meter) sound(from, to int64, clearness float64) {
	if !m.open {
		m.open, m.begun, m.from, m.sounding, m.clearness, m.frames = true, false, from, 0, 0, 0
	}
	m.to = to
	m.sounding += to - from
	m.clearness += clearness
	m.frames++
	if m.sounding < m.count(minSpeech) {
		return
	}
	if !m.begun {
		m.begun = true
		m.tell(speechBegins)
	}
	m.tell(speechGoesOn)
}

func (m *meter) endStretch() {
	ended := m.open && m.begun
	m.open = false
	if !ended {
		return
	}
	if m.stretches++; len(m.segments) < maxSegments {
		m.segments = append(m.segments, m.stretch())
	}
	m.tell(speechEnds)
}

// stretch returns the open segment so far.
func (m *meter) stretch() segment {
	return segment{start: m.at(m.from), end: m.at(m.to), confidence: m.clearness / float64(m.frames)}
}

func (m *meter) tell(what moment) {
	if m.watch != nil {
		m.watch(m.pcm, what, m.stretch())
	}
}

// end returns the measurement. A last frame that is less than half full is too short to
// be speech. It counts only for duration, peak and RMS.
func (m *meter) end() measurement {
	if m.n*2 < m.frame {
		for c := range m.channels {
			m.squares += float64(m.sum2[c])
		}
	} else {
		m.endFrame()
	}
	m.endStretch()
	out := measurement{
		pcm: m.pcm, duration: m.at(m.samples), peak: float64(m.peak) / fullScale,
		stretches: m.stretches, segments: m.segments,
	}
	if m.samples > 0 {
		out.rms = math.Sqrt(m.squares/(float64(m.samples)*float64(m.channels))) / fullScale
	}
	return out
}

// noiseFloor is the level of the background noise: the level of the quietest frame of
// the last ten seconds. Speech has pauses, so the quietest frame has no speech.
type noiseFloor struct {
	minima [10]float64 // the minimum of each of the last ten seconds
	at, n  int
}

func newNoiseFloor() noiseFloor {
	var f noiseFloor
	for i := range f.minima {
		f.minima[i] = math.Inf(1)
	}
	return f
}

// after returns the noise floor after a frame with this level.
func (f *noiseFloor) after(level float64) float64 {
	if f.n == framesPerSecond {
		f.at, f.n = (f.at+1)%len(f.minima), 0
		f.minima[f.at] = math.Inf(1)
	}
	f.n++
	f.minima[f.at] = min(f.minima[f.at], level)
	floor := level
	for _, m := range f.minima {
		floor = min(floor, m)
	}
	return floor
}
