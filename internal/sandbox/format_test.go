package sandbox

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/wstest"
)

// heads are the first bytes of real files, as encoders write them. The sandbox reads only
// the first bytes, so the rest of each file is left out.
var heads = map[string]string{
	"MP3 with ID3v2.4":    "ID3\x04\x00\x00\x00\x00\x00\x23TSSE\x00\x00\x00\x0F\x00\x00\x03Lavf59.27.100\x00",
	"MP3 with ID3v2.3":    "ID3\x03\x00\x40\x00\x01\x7F\x00TIT2",
	"FLAC":                "fLaC\x00\x00\x00\x22\x10\x00\x10\x00\x00\x00\x0E",
	"Ogg Opus":            "OggS\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00OpusHead",
	"WebM":                "\x1A\x45\xDF\xA3\x9F\x42\x86\x81\x01\x42\xF7\x81\x01webm",
	"WebM as Chrome does": "\x1A\x45\xDF\xA3\x01\x00\x00\x00\x00\x00\x00\x1F",
	"M4A":                 "\x00\x00\x00\x1CftypM4A \x00\x00\x02\x00M4A isomiso2",
	"MP4":                 "\x00\x00\x00\x20ftypisom\x00\x00\x02\x00",
	"3GPP":                "\x00\x00\x00\x18ftyp3gp4\x00\x00\x00\x00",
	"AIFF":                "FORM\x00\x00\x7D\x36AIFFCOMM",
	"AIFF-C":              "FORM\x00\x00\x7D\x36AIFCFVER",
	"RF64":                "RF64\xFF\xFF\xFF\xFFWAVEds64\x1C\x00\x00\x00",
	"BW64":                "BW64\xFF\xFF\xFF\xFFWAVEds64\x1C\x00\x00\x00",
	"big-endian RIFF":     "RIFX\x00\x00\x7D\x24WAVEfmt ",
	"Wave64":              "riff\x2E\x91\xCF\x11\xA5\xD6\x28\xDB\x04\xC1\x00\x00",
	"AMR":                 "#!AMR\n\x3C\x91\x17\x16\xBE\x66\x78\x00",
	"AMR-WB":              "#!AMR-WB\n\x24\x04\x0C",
	"CAF":                 "caff\x00\x01\x00\x00desc\x00\x00\x00\x00",
	"AU":                  ".snd\x00\x00\x00\x20\x00\x00\x7D\x00",
	"WMA":                 "\x30\x26\xB2\x75\x8E\x66\xCF\x11\xA6\xD9\x00\xAA",
}

// untagged files begin with so few fixed bits that PCM can begin with them by chance.
var untagged = map[string]string{
	"MP3 without a tag":  "\xFF\xFB\x90\x44\x00\x00\x00\x00\x00\x00\x00\x00\x00",
	"AAC in ADTS frames": "\xFF\xF1\x50\x80\x2E\x7F\xFC\x21\x10\x05\x00\xA0\x1B",
	"AVI":                "RIFF\x24\x7D\x00\x00AVI LIST",
	"no audio":           "<!DOCTYPE html>",
}

func TestFilesThatTheSandboxDoesNotReadAreUnsupported(t *testing.T) {
	t.Parallel()
	h := NewAmiVoice(Config{Key: "k"})
	addr := serveStreams(t, Config{})
	noise := strings.Repeat("\x12\xF3\x7A\x00\x99", 5000)
	refused := strings.NewReplacer(`"code":"-"`, `"code":"+"`, errKey.message, errAudio.message).Replace(refusal)
	check := func(name, head string, formats ...string) {
		for _, format := range formats {
			t.Run(name+" as "+format, func(t *testing.T) {
				t.Parallel()
				parts := []part{{"u", "k"}, {"d", "-a-general"}, {"c", format}, {"a", head + noise}}
				contentType, body := form(t, parts...)
				w := do(h, http.MethodPost, "/v1/recognize", contentType, bytes.NewReader(body))
				if w.Code != http.StatusOK || w.Body.String() != refused {
					t.Errorf("over HTTP: %d %s", w.Code, w.Body)
				}
				if format == "" {
					return
				}
				p := dial(t, addr, libraryShake, wstest.RawText("s "+format+" -a-general"), feeds([]byte(head+noise), 4096))
				p.WantText("s", "p received unsupported audio format")
			})
		}
	}
	for name, head := range heads {
		check(name, head, "", "16K", "8k", "LSB16K", "mulaw")
	}
	for name, head := range untagged {
		check(name, head, "", "16K", "8k")
	}
}

func TestRawAudioIsNotTakenForAFile(t *testing.T) {
	t.Parallel()
	for name, head := range untagged {
		for _, format := range []string{"LSB16K", "MSB8K", "mulaw", "alaw"} {
			if _, err := measure(strings.NewReader(head+"\x00\x00"), format); err != nil {
				t.Errorf("%s as %s: %v", name, format, err)
			}
		}
	}
	// Fewer bytes than the magic are not recognized.
	for name, head := range heads {
		if _, err := measure(strings.NewReader(head[:3]), "LSB16K"); err != nil {
			t.Errorf("3 bytes of %s: %v", name, err)
		}
	}
}

func TestFormatNamesAreTheSameInAnyCase(t *testing.T) {
	t.Parallel()
	known := []string{
		"8K", "16K", "MULAW", "ALAW",
		"LSB8K", "LSB11K", "LSB16K", "LSB22K", "LSB32K", "LSB44K", "LSB48K",
		"MSB8K", "MSB11K", "MSB16K", "MSB22K", "MSB32K", "MSB44K", "MSB48K",
	}
	for _, name := range known {
		upper, raw := rawLayout(name)
		for _, format := range []string{name, strings.ToLower(name), name[:1] + strings.ToLower(name[1:])} {
			if layout, ok := rawLayout(format); layout != upper || ok != raw || !isFormat(format) {
				t.Errorf("%s: %+v, %v; %s: %+v, %v", format, layout, ok, name, upper, raw)
			}
		}
	}
	for _, format := range []string{"", "11K", "22K", "44K", "LSB", "MSB", "LSB24K", "MSBLSB16K", "LSB16K ", "16", "OGG", "MP3", "ULAW", "MULAW8K"} {
		if _, raw := rawLayout(format); raw || isFormat(format) {
			t.Errorf("%q is a format", format)
		}
	}
}

func TestHTTPReadsFormatNamesInAnyCase(t *testing.T) {
	t.Parallel()
	h := NewAmiVoice(Config{})
	mu := pcm{rate: 8000, channels: 1, bits: 8, law: muLaw}
	for _, test := range []struct {
		format string
		audio  []byte
		want   string
	}{
		{"lsb16k", tones(mono16k), "3.00 s of 16000 Hz mono, 16 bits, 2 stretches of speech: 0.50-1.70 s, 2.20-2.50 s"},
		{"16k", wav(mono16k, tones(mono16k)), "3.00 s of 16000 Hz mono, 16 bits, 2 stretches"},
		{"8k", wav(mu, tones(mu)), "3.00 s of 8000 Hz mono, 8 bits mu-law, 2 stretches"},
		{"MuLaw", tones(mu), "3.00 s of 8000 Hz mono, 8 bits mu-law, 2 stretches"},
	} {
		w := do(h, http.MethodPost, "/v1/recognize?c="+test.format, "", bytes.NewReader(test.audio))
		if !strings.Contains(w.Body.String(), test.want) {
			t.Errorf("%s: %s, want %s", test.format, w.Body, test.want)
		}
	}
}

func TestCompandedSamplesAreThoseOfG711(t *testing.T) {
	t.Parallel()
	for b, want := range map[byte][2]int64{ // mu-law and A-law, on the scale of 16 bits
		0x00: {-32124, -5504}, 0x80: {32124, 5504}, 0x7F: {0, -848}, 0xFF: {0, 848},
		0xD5: {716, 8}, 0x55: {-716, -8}, 0x2A: {-5372, -32256}, 0xAA: {5372, 32256},
	} {
		if got := [2]int64{muLawSamples[b], aLawSamples[b]}; got != want {
			t.Errorf("%#x: %d, want %d", b, got, want)
		}
	}
	for b := range 128 {
		if muLawSamples[b] != -muLawSamples[b+128] || aLawSamples[b] != -aLawSamples[b+128] {
			t.Errorf("%#x: the two signs differ in more than the sign", b)
		}
	}
}
