package demo

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/gobwas/ws/wsutil"

	"github.com/speechgate/speechgate/internal/sandbox"
	"github.com/speechgate/speechgate/policy"
)

const (
	openAITranscriptions = "/v1/audio/transcriptions"
	openAIRealtime       = "/v1/realtime?intent=transcription"
	openAICompleted      = `"type":"conversation.item.input_audio_transcription.completed"`
)

// openAI is the script of OpenAI's API.
var openAI = script{
	caddyfile: withoutJobs("openai"),
	recognition: func(d *demo, ctx context.Context, key policy.Secret) (string, *http.Request, error) {
		return d.transcription(ctx, key, "model", "whisper-1")
	},
	denied:       `"code":"invalid_api_key"`,
	deniedWhy:    "the backend never saw the request. The refusal has the API's own form, so that the\n       API's libraries raise their own error, AuthenticationError.",
	elsewhere:    `"code":"ip_not_authorized"`,
	elsewhereWhy: "you are not in 203.0.113.0/24. The API has a code of its own for this.",
	requests:     (*demo).playTranscriptions,
	streams:      (*demo).playRealtime,
	byHand: []string{
		"curl {gate}/v1/audio/transcriptions -H \"Authorization: Bearer $KEY\" -F model=whisper-1 -F 'file=@{wav}'",
		"curl -N {gate}/v1/audio/transcriptions -H \"Authorization: Bearer $KEY\" -F model=gpt-4o-transcribe -F stream=true -F 'file=@{wav}'",
		`curl {gate}/v1/models -H "Authorization: Bearer $KEY"`,
		"OPENAI_BASE_URL={gate}/v1 OPENAI_API_KEY=$KEY   (for programs that use the API's libraries)",
	},
}

// transcription returns a request with the recording and then these fields, as the API's
// libraries send it, and how the demo shows it.
func (d *demo) transcription(ctx context.Context, key policy.Secret, fields ...string) (shown string, req *http.Request, err error) {
	shown = "POST " + openAITranscriptions + "   Authorization: Bearer " + brief(key) + "  file=" + theRecording
	for pair := range slices.Chunk(fields, 2) {
		shown += "  " + strings.Join(pair, "=") //nolint:perfsprint // at most two fields
	}
	contentType, body := form(append([]string{"file", theRecording}, fields...)...)
	req, err = d.request(ctx, http.MethodPost, openAITranscriptions, "Bearer "+key.Reveal(), contentType, body)
	return shown, req, err
}

// playTranscriptions plays the steps of the demo with other requests than a transcription.
func (d *demo) playTranscriptions(ctx context.Context, keys keyring) error {
	d.title("A transcription that arrives piece by piece")
	shown, req, err := d.transcription(ctx, keys.good, "model", "gpt-4o-transcribe", "stream", "true")
	d.sent(shown)
	got := d.do(req, err)
	events := strings.Split(strings.TrimSpace(got.body), "\n\n")
	for _, event := range events[:len(events)-1] {
		d.got(event)
	}
	d.expect(demoReply{got.status, events[len(events)-1]}, `"type":"transcript.text.done"`, policy.Allowed,
		"the gate passes each server-sent event on as soon as it comes.")

	d.title("A path that is no speech recognition")
	d.sent("GET /v1/files   Authorization: Bearer " + brief(keys.good))
	d.expect(d.do(d.request(ctx, http.MethodGet, "/v1/files", "Bearer "+keys.good.Reveal(), "", nil)), `"error"`, policy.OperationUnlisted,
		"all clients share the backend's key, so the gate lets only speech recognition through.")
	return nil
}

// appendAudio sends samples.
func (s *demoStream) appendAudio(samples []byte) error {
	return wsutil.WriteClientText(s.conn, []byte(`{"type":"input_audio_buffer.append","audio":"`+base64.StdEncoding.EncodeToString(samples)+`"}`))
}

// event reads messages until one contains text, and shows this message. It returns "" after an
// error.
func (s *demoStream) event(text string) string {
	for s.err == nil {
		if message := s.answer(); strings.Contains(message, text) {
			s.d.got(abridgedEvent(message))
			return message
		}
	}
	s.d.got(s.err.Error())
	return ""
}

// abridgedEvent returns the members of an event that the demo shows.
func abridgedEvent(message string) string {
	kept := fmt.Sprintf("{%q:%q, … ", "type", member(message, "type"))
	if text := member(message, "transcript"); text != "" {
		kept += fmt.Sprintf("%q:%q, …", "transcript", text)
	}
	if code := `"code":"invalid_api_key"`; strings.Contains(message, code) {
		kept += code + ", …"
	}
	return strings.TrimSuffix(kept, " ") + "}"
}

// playRealtime plays the steps of the demo with realtime sessions.
func (d *demo) playRealtime(ctx context.Context, keys keyring) error {
	samples := sandbox.SpeechWAV()[wavHeader:]
	d.title("Live recognition, over a WebSocket")
	s := d.openStream(ctx, openAIRealtime, "Bearer", keys.good)
	defer s.close()
	created := s.event(`"type":"session.created"`)
	d.checkStream(created != "", "", policy.Allowed, "the key is in the handshake. A page has it in a subprotocol.")
	frames := s.sendAll(samples, demoFrame, s.appendAudio)
	d.sent(fmt.Sprintf("%d times input_audio_buffer.append, with the samples of speech.wav", frames))
	var last string
	for range 3 {
		last = s.event(openAICompleted)
	}
	d.check(strings.Contains(last, "speech 3"), "to the last transcript. The sandbox takes the samples for those of 24 kHz.")
	s.close()

	return d.playKeyedCut(ctx, keys, keyedCut{
		path: openAIRealtime, scheme: "Bearer",
		begins: func(s *demoStream) bool { return s.event(`"type":"session.created"`) != "" },
		feeds:  "input_audio_buffer.append, on and on", audio: samples, frame: demoFrame, send: (*demoStream).appendAudio,
		hears: func(s *demoStream) { s.event(openAICompleted) },
		ends: func(s *demoStream) bool {
			return strings.Contains(s.event(`"type":"error"`), `"code":"invalid_api_key"`)
		},
		endsWhy: "The code of the\n       Close frame is 1008, after which the API's libraries do not connect again.",
	})
}
