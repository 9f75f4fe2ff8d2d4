package sandbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"strings"
)

// errUnsupported says that audio is of no kind that the sandbox reads.
var errUnsupported = errors.New("unsupported audio")

// rawRates are the sampling rates that the names of raw audio formats stand for.
var rawRates = map[string]int{
	"8K": 8000, "11K": 11025, "16K": 16000, "22K": 22050, "32K": 32000, "44K": 44100, "48K": 48000,
}

// subtypePCM ends the format chunk of an extensible WAV that holds plain PCM.
var subtypePCM = []byte{1, 0, 0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71}

// measure reads audio to the end of its samples and measures it. Audio that
// begins as a WAV file is read as one, whatever format says. Any other is raw
// mono PCM of 16 bits as format names it: LSB16K and MSB16K (and 8K, 11K,
// 22K, 32K, 44K, 48K) by byte order, while a bare 16K means LSB16K.
//
// An incomplete last sample is ignored. errUnsupported is the only error: what
// goes wrong in reading ends the audio, and is for the reader to remember.
func measure(r io.Reader, format string) (measurement, error) {
	return measureWatched(r, format, nil)
}

// measureWatched does so, and tells w of speech when it has read enough to know.
func measureWatched(r io.Reader, format string, w watch) (measurement, error) {
	var head [12]byte
	n, _ := io.ReadFull(r, head[:])
	if n == len(head) && string(head[:4]) == "RIFF" && string(head[8:]) == "WAVE" {
		layout, samples, err := wavSamples(r)
		if err != nil {
			return measurement{}, err
		}
		return measureSamples(samples, layout, w), nil
	}
	layout, ok := rawLayout(format)
	if !ok || n == 0 {
		return measurement{}, errUnsupported
	}
	return measureSamples(io.MultiReader(bytes.NewReader(head[:n]), r), layout, w), nil
}

// rawLayout is the layout that the name of a raw audio format stands for.
func rawLayout(format string) (pcm, bool) {
	name, bigEndian := strings.CutPrefix(format, "MSB")
	if !bigEndian {
		name = strings.TrimPrefix(format, "LSB")
	}
	rate, ok := rawRates[name]
	return pcm{rate: rate, channels: 1, bits: 16, bigEndian: bigEndian}, ok
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

// wavLayout reads a WAV file's format chunk.
func wavLayout(chunk []byte) (pcm, bool) {
	const plain, extensible = 1, 0xFFFE
	if len(chunk) < 16 {
		return pcm{}, false
	}
	u16 := func(at int) int { return int(binary.LittleEndian.Uint16(chunk[at:])) }
	switch u16(0) {
	case plain:
	case extensible:
		if len(chunk) < 40 || !bytes.Equal(chunk[24:40], subtypePCM) {
			return pcm{}, false
		}
	default:
		return pcm{}, false
	}
	rate := binary.LittleEndian.Uint32(chunk[4:])
	layout := pcm{rate: int(rate), channels: u16(2), bits: u16(14)}
	ok := rate > 0 && rate <= math.MaxInt32 &&
		layout.channels >= 1 && layout.channels <= maxChannels &&
		(layout.bits == 8 || layout.bits == 16)
	return layout, ok
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
