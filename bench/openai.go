//go:build linux

package main

import (
	"strconv"
	"strings"
)

// The cases of OpenAI's API: the key is in the header, so the gate does not read the body.

const (
	openAIPath       = "/v1/audio/transcriptions"
	openAIStreamPath = openAIPath + "?stream" // the query tells the backend what the form asks for

	openAIText = `{"text":"Hello, this is a transcription.","usage":{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":0,"audio_tokens":14},"output_tokens":9,"total_tokens":23}}`
	modelsBody = `{"object":"list","data":[{"id":"whisper-1","object":"model","created":1677532384,"owned_by":"openai-internal"}]}`

	// eventCount is the number of events of an answer, and eventText is one of them.
	eventCount = 32
	eventText  = `data: {"type":"transcript.text.delta","delta":" transcription","obfuscation":"8f2a61c09b"}` + "\n\n"
	eventEnd   = `data: {"type":"transcript.text.done","text":"Hello, this is a transcription."}` + "\n\n"
)

// openAIKey is the header line with the upstream key.
const openAIKey = "\r\nAuthorization: Bearer " + upstreamKey + "\r\n"

// openAIForm returns an upload with this many bytes of audio, with the parts in the order in which the
// vendor's examples for its library name them.
func openAIForm(path, key string, audio int) []byte {
	head := "--" + boundary + "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"speech.wav\"\r\nContent-Type: audio/wav\r\n\r\n"
	end := "\r\n" + part("model", "gpt-4o-transcribe\r\n")
	if path == openAIStreamPath {
		end += part("stream", "true\r\n")
	}
	end += "--" + boundary + "--\r\n"
	return []byte("POST " + path + " HTTP/1.1\r\n" + hostLine + "Authorization: Bearer " + key +
		"\r\nContent-Type: multipart/form-data; boundary=" + boundary +
		"\r\nContent-Length: " + strconv.Itoa(len(head)+audio+len(end)) + "\r\n\r\n" +
		head + strings.Repeat("\x01", audio) + end)
}

// appendEvent appends the next event of an answer as a chunk of its own. Left is how many events
// follow.
func appendEvent(buf []byte, left int) []byte {
	text, end := eventText, "\r\n"
	if left == 0 {
		text, end = eventEnd, "\r\n0\r\n\r\n"
	}
	buf = strconv.AppendInt(buf, int64(len(text)), 16)
	buf = append(append(buf, "\r\n"...), text...)
	return append(buf, end...)
}

// openAIPair is apiPair for OpenAI's API.
func (s *suite) openAIPair() (f *fixture, one, other *proxy, err error) {
	return s.apiPair("openai", openAIKey, func(f *fixture, buf []byte, n int) []byte {
		return append(buf[:0], "GET /v1/models HTTP/1.1\r\n"+hostLine+"Authorization: Bearer "+f.keys[n%len(f.keys)]+"\r\n\r\n"...)
	})
}

func openAIForms(audio, conns int, measures ...measure) func(*suite) error {
	return func(s *suite) error {
		f, one, other, err := s.openAIPair()
		if err != nil {
			return err
		}
		one.answer, other.answer = []byte(openAIText), []byte(openAIText)
		name := "openai-form"
		if audio >= 1<<20 {
			name = "openai-upload"
		}
		return s.closed(name, one, other, f.withKeys(openAIForm(openAIPath, f.keys[0], audio), f.keys[0]), conns, measures...)
	}
}

// openAIEvents has answers stream. The backend sends each event by itself.
func (s *suite) openAIEvents() error {
	f, one, other, err := s.openAIPair()
	if err != nil {
		return err
	}
	one.answer = []byte(strings.Repeat(eventText, eventCount-1) + eventEnd)
	other.answer = one.answer
	next := f.withKeys(openAIForm(openAIStreamPath, f.keys[0], 4<<10), f.keys[0])
	return s.closed("openai-sse", one, other, next, smallConns, cpuAtMost(1.05), throughputAtLeast(0.98))
}
