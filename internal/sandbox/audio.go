package sandbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
)

// errUnsupported says that audio is of no kind that the sandbox reads.
var errUnsupported = errors.New("unsupported audio")

// subtypeTail ends the format chunk of an extensible WAV file. The two bytes
// before the tail are the tag that a plain WAV file has.
var subtypeTail = []byte{0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71}

// measure reads audio to the end of its samples and measures it. A WAV file is
// read by its header, whatever format says. Audio without a header is read as
// format says. Any other file, and audio without a header under 8K, 16K, an
// unknown name or none, is errUnsupported.
//
// An incomplete last sample is ignored. errUnsupported is the only error: a
// failure to read ends the audio, and the reader has to remember the failure.
func measure(r io.Reader, format string) (measurement, error) {
	return measureWatched(r, format, nil)
}

// measureWatched measures as measure does, and tells w of speech as soon as it
// has read enough to know of it.
func measureWatched(r io.Reader, format string, w watch) (measurement, error) {
	var room [headSize]byte
	n, _ := io.ReadFull(r, room[:])
	head := room[:n]
	if isWAV(head) {
		layout, samples, err := wavSamples(r)
		if err != nil {
			return measurement{}, err
		}
		return measureSamples(samples, layout, w), nil
	}
	layout, raw := rawLayout(format)
	if !raw || n == 0 || isContainer(head) {
		return measurement{}, errUnsupported
	}
	return measureSamples(io.MultiReader(bytes.NewReader(head), r), layout, w), nil
}

// wavSamples reads a WAV file, of which the first 12 bytes have been read, up
// to its samples. Of the sizes in it, the file's is not used at all, and the
// data's not if it is 0 or 0xFFFFFFFF, as in a file written to a pipe: the
// samples then go on to the end. They end there too if a size is too large.
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
		// A chunk of odd size is followed by a byte of padding.
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
	tagExtensible = 0xFFFE // the tag proper is in the subtype
)

// wavLayout reads a WAV file's format chunk. ok is whether the API supports
// samples of this layout: PCM of 16 bits at one of the rates that format names
// stand for, or mu-law or A-law at 8 kHz; mono or stereo.
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

// measureSamples reads samples to their end and measures them. It measures what
// there is before it waits for more.
func measureSamples(r io.Reader, layout pcm, w watch) measurement {
	m := newMeter(layout)
	m.watch = w
	block := layout.block()
	buf := make([]byte, 32<<10/block*block)
	held := 0 // bytes of a block that is not whole yet
	for {
		n, err := r.Read(buf[held:])
		n += held
		whole := n - n%block
		m.add(buf[:whole])
		held = copy(buf, buf[whole:n])
		if err != nil {
			return m.end()
		}
	}
}
