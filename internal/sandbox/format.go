package sandbox

import "strings"

// rates are the sampling rates that the API supports for PCM, by their words in format
// names. Source: docs.amivoice.com, "Audio Formats".
var rates = map[string]int{
	"8K": 8000, "11K": 11025, "16K": 16000, "22K": 22050, "32K": 32000, "44K": 44100, "48K": 48000,
}

// lawRate is the only sampling rate that the API supports for mu-law and A-law.
const lawRate = 8000

// supported reports whether the API supports PCM of this sampling rate.
func supported(rate int) bool {
	for _, r := range rates {
		if r == rate {
			return true
		}
	}
	return false
}

// rawLayout returns the layout that a format name says for audio without a header: LSB
// or MSB for the byte order of 16-bit PCM and a rate (LSB16K), MULAW or ALAW. Such
// audio is mono. Upper and lower case are the same.
func rawLayout(format string) (layout pcm, ok bool) {
	name := strings.ToUpper(format)
	switch name {
	case "MULAW":
		return pcm{rate: lawRate, channels: 1, bits: 8, law: muLaw}, true
	case "ALAW":
		return pcm{rate: lawRate, channels: 1, bits: 8, law: aLaw}, true
	}
	rate, bigEndian := strings.CutPrefix(name, "MSB")
	if !bigEndian {
		if rate, ok = strings.CutPrefix(name, "LSB"); !ok {
			return pcm{}, false
		}
	}
	layout = pcm{rate: rates[rate], channels: 1, bits: 16, bigEndian: bigEndian}
	return layout, layout.rate > 0
}

// isFormat reports whether the API knows a format name: a name for audio without a
// header, or 8K or 16K for audio with a header.
func isFormat(format string) bool {
	_, raw := rawLayout(format)
	return raw || strings.EqualFold(format, "8K") || strings.EqualFold(format, "16K")
}

// headSize is how many bytes of audio isWAV and isContainer need.
const headSize = 12

// isWAV reports whether audio that begins with head is a WAV file.
func isWAV(head []byte) bool {
	return len(head) == headSize && string(head[:4]) == "RIFF" && string(head[8:]) == "WAVE"
}

// magics are the first bytes of files other than WAV. A question mark matches any byte.
// Each magic has four bytes or more, so that audio without a header does not begin with
// it by chance. MPEG and ADTS frames without a tag are not in the list, because only 12
// of their bits are fixed.
var magics = []struct{ file, head string }{
	{"Ogg (Opus, Speex, Vorbis)", "OggS\x00"},
	{"FLAC", "fLaC"},
	{"WebM, Matroska", "\x1A\x45\xDF\xA3"},
	{"M4A, MP4, QuickTime, 3GPP", "????ftyp"},
	{"AIFF", "FORM????AIFF"},
	{"AIFF-C", "FORM????AIFC"},
	{"RF64", "RF64????WAVE"},
	{"BW64", "BW64????WAVE"},
	{"big-endian RIFF", "RIFX????WAVE"},
	{"Wave64", "riff\x2E\x91\xCF\x11\xA5\xD6\x28\xDB"},
	{"AMR and AMR-WB", "#!AMR"},
	{"CAF", "caff\x00"},
	{"AU", ".snd\x00\x00"},
	{"ASF, WMA", "\x30\x26\xB2\x75\x8E\x66\xCF\x11"},
}

// isContainer reports whether audio that begins with head is a file that the sandbox
// does not read. The API also reads a file's header if the format name says that there
// is no header.
func isContainer(head []byte) bool {
	for _, m := range magics {
		if hasMagic(head, m.head) {
			return true
		}
	}
	return isID3(head)
}

func hasMagic(head []byte, magic string) bool {
	if len(head) < len(magic) {
		return false
	}
	for i := range len(magic) {
		if magic[i] != '?' && magic[i] != head[i] {
			return false
		}
	}
	return true
}

// isID3 reports whether audio begins with an ID3v2 tag, as most MP3 files do. The name
// of the tag has only three bytes, so isID3 also checks the version and the size.
func isID3(head []byte) bool {
	return len(head) >= 10 && string(head[:3]) == "ID3" && head[3] < 0x10 && head[4] < 0xFF && head[5]&0x0F == 0 &&
		(head[6]|head[7]|head[8]|head[9])&0x80 == 0
}
