package sandbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
)

// errUnsupported says that the sandbox cannot read the format of the audio.
var errUnsupported = errors.New("unsupported audio")

// subtypeTail is the end of the format chunk of an extensible WAV file. The two bytes
// before it are the format tag of a plain WAV file.
var subtypeTail = []byte{0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71}

// measure reads audio to the end of its samples, and measures it. The header of a WAV file
// gives the layout, and format is ignored. For audio without a header, format must name
// the layout, such as LSB16K. The names 8K and 16K are for audio with a header.
//
// The only error is errUnsupported: for a WAV file that is broken or has a layout that the
// API does not support, for any other file, for empty audio, and for a format that names
// no layout. measure does not return a read error: it takes the error for the end of the
// audio. A caller that must know the error keeps it in r. An incomplete last sample is
// ignored.
func measure(r io.Reader, format string) (measurement, error) {
	return measureWatched(r, format, nil)
}

// measureWatched does what measure does. It also calls w for each event of speech as
// soon as enough audio has been read.
func measureWatched(r io.Reader, format string, w watch) (measurement, error) {
	raw, _ := rawLayout(format)
	layout, samples, err := audioSamples(r, raw)
	if err != nil {
		return measurement{}, err
	}
	return measureSamples(samples, layout, w), nil
}

// audioSamples reads the header of audio, and returns the layout and the samples. Audio without
// a header has the layout raw. If raw is the zero value, only a WAV file is supported. The only
// error is errUnsupported.
func audioSamples(r io.Reader, raw pcm) (pcm, io.Reader, error) {
	var room [headSize]byte
	n, _ := io.ReadFull(r, room[:])
	head := room[:n]
	if isWAV(head) {
		return wavSamples(r)
	}
	if raw.rate == 0 || n == 0 || isContainer(head) {
		return pcm{}, nil, errUnsupported
	}
	return raw, io.MultiReader(bytes.NewReader(head), r), nil
}

// wavSamples reads a WAV file up to its samples. The first 12 bytes have already been
// read. wavSamples ignores the size of the file in the header. It also ignores a data
// size of 0 or 0xFFFFFFFF, as in a file that was written to a pipe: the samples then
// end with the file. They also end with the file if the data size is too large.
func wavSamples(r io.Reader) (pcm, io.Reader, error) {
	var layout pcm
	for {
		var head [8]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return pcm{}, nil, errUnsupported
		}
		size := int64(binary.LittleEndian.Uint32(head[4:]))
		read := int64(0)
		switch string(head[:4]) {
		case "data":
			if layout.rate == 0 {
				return pcm{}, nil, errUnsupported
			}
			if size != 0 && size != math.MaxUint32 {
				r = io.LimitReader(r, size)
			}
			return layout, r, nil
		case "fmt ":
			chunk := make([]byte, min(size, 40))
			n, err := io.ReadFull(r, chunk)
			if err != nil {
				return pcm{}, nil, errUnsupported
			}
			var ok bool
			if layout, ok = wavLayout(chunk); !ok {
				return pcm{}, nil, errUnsupported
			}
			read = int64(n)
		}
		// A byte of padding follows a chunk of odd size.
		if _, err := io.CopyN(io.Discard, r, size+size%2-read); err != nil {
			return pcm{}, nil, errUnsupported
		}
	}
}

// The tags of a WAV file's format chunk that the API supports.
const (
	tagPCM        = 1
	tagALaw       = 6
	tagMuLaw      = 7
	tagExtensible = 0xFFFE // the actual tag is in the subtype
)

// wavLayout reads the format chunk of a WAV file. OK is true if the API supports the
// layout: PCM of 16 bits at a rate that has a format name, or mu-law or A-law at
// 8 kHz; mono or stereo.
func wavLayout(chunk []byte) (layout pcm, ok bool) {
	if len(chunk) < 16 {
		return pcm{}, false
	}
	u16 := func(at int) int { return int(binary.LittleEndian.Uint16(chunk[at:])) }
	tag := u16(0)
	if tag == tagExtensible {
		if len(chunk) < 40 || !bytes.Equal(chunk[26:40], subtypeTail) {
			return pcm{}, false
		}
		tag = u16(24)
	}
	layout = pcm{rate: int(binary.LittleEndian.Uint32(chunk[4:])), channels: u16(2), bits: u16(14)}
	switch tag {
	case tagPCM:
		ok = layout.bits == 16 && supported(layout.rate)
	case tagALaw, tagMuLaw:
		layout.law = aLaw
		if tag == tagMuLaw {
			layout.law = muLaw
		}
		ok = layout.bits == 8 && layout.rate == lawRate
	}
	return layout, ok && (layout.channels == 1 || layout.channels == 2)
}

// measureSamples reads samples to their end, and measures them. It measures all samples
// that have arrived before it waits for more.
func measureSamples(r io.Reader, layout pcm, w watch) measurement {
	m := newMeter(layout)
	m.watch = w
	return m.measure(r, nil)
}

// errMark is the error of a reader at a place where the open segment of speech ends, although
// the speech may go on.
var errMark = errors.New("mark")

// measure does what measureSamples does. At each errMark it ends the open segment, and calls
// marked.
func (m *meter) measure(r io.Reader, marked func()) measurement {
	block := m.block()
	buf := make([]byte, 32<<10/block*block)
	held := 0 // bytes of an incomplete block
	for {
		n, err := r.Read(buf[held:])
		n += held
		whole := n - n%block
		m.add(buf[:whole])
		held = copy(buf, buf[whole:n])
		switch {
		case errors.Is(err, errMark):
			m.endStretch()
			marked()
		case err != nil:
			return m.end()
		}
	}
}
