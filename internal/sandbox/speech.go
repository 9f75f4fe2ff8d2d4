package sandbox

import (
	"bytes"
	_ "embed"
)

//go:embed speech.wav
var speechWAV []byte

// SpeechWAV returns a copy of a short recording for trying a speech API: 5.8 s of
// synthetic English, 16 kHz, mono, 16 bits, 186,240 bytes.
// The voice says: "Good morning. This is a short recording. Thank you for
// listening." It was made with eSpeak NG 1.51 and SoX 14.4.2:
//
//	espeak-ng -v en-us -s 150 -g 2 -w a.wav "Good morning. This is a short recording. Thank you for listening."
//	sox a.wav -r 16000 -b 16 -c 1 -R speech.wav gain -n -6 pad 0.25 0.25
func SpeechWAV() []byte { return bytes.Clone(speechWAV) }

// measureSpeech measures the recording of SpeechWAV. It is the audio at each URL that a client names: the
// sandbox fetches none.
func measureSpeech() measurement {
	measured, _ := measure(bytes.NewReader(speechWAV), "") // without error, because it is a WAV file
	return measured
}
