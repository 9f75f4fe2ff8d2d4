// Package audiometer measures the audio of a request while its body passes: the bytes, and the
// length in time if the format tells it. It reads the beginning of a body and of a WAV header,
// and nothing else of the audio.
//
// What it measures is for accounts of usage and for limits. It decides nothing about keys, so it
// reads forms leniently, and says that a length is not known if it cannot read a body.
package audiometer

import (
	"encoding/binary"
	"strconv"
	"strings"
)

// pcmRates are the sampling rates in AmiVoice's names of formats. Source: docs.amivoice.com,
// "Audio Formats".
var pcmRates = map[string]int{
	"8K": 8000, "11K": 11025, "16K": 16000, "22K": 22050, "32K": 32000, "44K": 44100, "48K": 48000,
}

// NamedRate returns how many bytes a second of audio has in a format that AmiVoice names, such
// as LSB16K: 16-bit PCM of one channel at 16 kHz. It returns 0 for formats with a header, such as
// 16K, and for names that it does not know. Upper and lower case are the same.
func NamedRate(format string) int {
	name := strings.ToUpper(format)
	if name == "MULAW" || name == "ALAW" {
		return 8000
	}
	rate, pcm := strings.CutPrefix(name, "LSB")
	if !pcm {
		if rate, pcm = strings.CutPrefix(name, "MSB"); !pcm {
			return 0
		}
	}
	return 2 * pcmRates[rate]
}

// sampleBytes are the bytes of a sample in the encodings of APIs whose query has the encoding.
var sampleBytes = map[string]int{
	"linear16": 2, "linear32": 4, "mulaw": 1, "alaw": 1, // Deepgram
	"pcm_s16le": 2, "pcm_mulaw": 1, // AssemblyAI
}

// RawRate returns how many bytes a second of audio has, by the values of a query: an encoding
// such as linear16, a sampling rate, and a number of channels ("" is one channel). It returns 0
// if the values do not tell it.
func RawRate(encoding, samples, channels string) int {
	rate, err := strconv.Atoi(samples)
	if err != nil || rate <= 0 || rate > 1<<20 {
		return 0
	}
	n := 1
	if channels != "" {
		if n, err = strconv.Atoi(channels); err != nil || n <= 0 || n > 256 {
			return 0
		}
	}
	return sampleBytes[strings.ToLower(encoding)] * rate * n
}

// wavHead is how many bytes of a WAV file readWAV needs at most. The header of most files has 44
// bytes; some have notes, or the data of a broadcast, in front of the format or of the audio.
const wavHead = 4 << 10

// readWAV reads the header of a WAV file (RIFF WAVE, or RF64 for files above 4 GiB). It returns how
// many bytes a second of audio has, and the size of the header, as far as head has it. ok is false
// if head is not the beginning of a WAV file with a format whose bytes a second are fixed.
func readWAV(head []byte) (rate, size int, ok bool) {
	if len(head) < 12 || string(head[:4]) != "RIFF" && string(head[:4]) != "RF64" || string(head[8:12]) != "WAVE" {
		return 0, 0, false
	}
	at := 12
	for at+8 <= len(head) {
		name, length := string(head[at:at+4]), int64(binary.LittleEndian.Uint32(head[at+4:]))
		at += 8
		switch {
		case name == "data":
			return rate, at, rate > 0
		case name == "fmt " && length >= 16 && at+16 <= len(head):
			rate = wavRate(head[at:])
		}
		at += int(min(length+length%2, int64(len(head)))) // chunks begin at even offsets
	}
	// The audio begins later. How much later is not known: the size of a chunk is only what the
	// file says.
	return rate, min(at+8, len(head)), rate > 0
}

// wavRate returns how many bytes a second of audio has by the format of a WAV file; 0 if the format
// does not tell it. The format says it twice: as a number, and by its channels, its sampling rate
// and its bits. Programs that play the file use the latter, so a larger number does not count.
func wavRate(format []byte) int {
	field := func(at int) int64 { return int64(binary.LittleEndian.Uint16(format[at:])) }
	channels, bits := field(2), field(14)
	samples, stated := int64(binary.LittleEndian.Uint32(format[4:])), int64(binary.LittleEndian.Uint32(format[8:]))
	if bits == 0 {
		bits = 16 // compressed audio is smaller than this
	}
	played := min(channels*samples*((bits+7)/8), 1<<30)
	if stated == 0 {
		return int(played)
	}
	return int(min(stated, played))
}
