package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/speechgate/speechgate/internal/sandbox"
	"github.com/speechgate/speechgate/policy"
)

const deepgramListen = "/v1/listen?model=nova-3"

// deepgram is the script of Deepgram's API.
var deepgram = script{
	caddyfile: withoutJobs("deepgram"),
	recognition: func(d *demo, ctx context.Context, key policy.Secret) (string, *http.Request, error) {
		return d.recording(ctx, "Token", key)
	},
	denied:       `"err_code":"INVALID_AUTH"`,
	deniedWhy:    "the backend never saw the request. The refusal has the API's own bytes, so that the\n       API's libraries raise their own error, DeepgramError.",
	elsewhere:    `"err_code":"INSUFFICIENT_PERMISSIONS"`,
	elsewhereWhy: "you are not in 203.0.113.0/24.",
	requests:     (*demo).playGrant,
	streams:      (*demo).playListen,
	byHand: []string{
		`curl '{gate}/v1/listen?model=nova-3' -H "Authorization: Token $KEY" --data-binary '@{wav}'`,
		`curl {gate}/v1/auth/grant -H "Authorization: Token $KEY" -d '{"ttl_seconds":60}'`,
		`curl {gate}/v1/models -H "Authorization: Token $KEY"`,
	},
}

// recording returns a request with the recording, and how the demo shows it.
func (d *demo) recording(ctx context.Context, scheme string, key policy.Secret) (shown string, req *http.Request, err error) {
	shown = "POST " + deepgramListen + "   Authorization: " + scheme + " " + brief(key) + "  speech.wav"
	req, err = d.request(ctx, http.MethodPost, deepgramListen, scheme+" "+key.Reveal(), "audio/wav", bytes.NewReader(sandbox.SpeechWAV()))
	return shown, req, err
}

// deepgramTranscript returns the transcript in an answer to a recording, or in a result of a
// stream, or "" for other messages.
func deepgramTranscript(answer string) string {
	type channel struct{ Alternatives []struct{ Transcript string } }
	var a struct {
		Results struct{ Channels []channel }
		Channel json.RawMessage // another message has a list in this member
	}
	if json.Unmarshal([]byte(answer), &a) != nil {
		return ""
	}
	var live channel
	if json.Unmarshal(a.Channel, &live) == nil {
		a.Results.Channels = append(a.Results.Channels, live)
	}
	for _, c := range a.Results.Channels {
		for _, best := range c.Alternatives {
			return best.Transcript
		}
	}
	return ""
}

// playGrant plays the steps of the demo with other requests than a recording.
func (d *demo) playGrant(ctx context.Context, keys keyring) error {
	d.title("A short-lived token, which the backend makes for a key")
	d.sent("POST /v1/auth/grant   Authorization: Token " + brief(keys.good))
	granted := d.do(d.request(ctx, http.MethodPost, "/v1/auth/grant", "Token "+keys.good.Reveal(), "", nil))
	token := granted.hideToken("access_token")
	d.expect(granted, `"expires_in":30`, policy.Allowed,
		"the gate keeps the digest of the token, and knows whose token it is.")
	shown, req, err := d.recording(ctx, "Bearer", token)
	d.sent(shown)
	d.expect(d.do(req, err), "5.82 s", policy.Allowed, "the token counts as the key, until it expires or the key ends.")

	d.title("A path that is no speech recognition")
	d.sent("GET /v1/projects   Authorization: Token " + brief(keys.good))
	d.expect(d.do(d.request(ctx, http.MethodGet, "/v1/projects", "Token "+keys.good.Reveal(), "", nil)), `"NOT_FOUND"`, policy.OperationUnlisted,
		"all clients share the backend's key, with which a client could make more keys there.")
	return nil
}

// heard reads messages until one has this type, and shows it. It returns "" after an error.
func (s *demoStream) heard(kind string) string {
	for s.err == nil {
		message := s.answer()
		if member(message, "type") != kind {
			continue
		}
		shown := fmt.Sprintf("{%q:%q, …}", "type", kind)
		if text := deepgramTranscript(message); text != "" {
			shown = fmt.Sprintf("{%q:%q, … %q:%q, …}", "type", kind, "transcript", text)
		}
		if variant := member(message, "variant"); variant != "" {
			shown = fmt.Sprintf("{%q:%q, … %q:%q, …}", "type", kind, "variant", variant)
		}
		s.d.got(shown)
		return message
	}
	s.d.got(s.err.Error())
	return ""
}

// playListen plays the steps of the demo with live streams.
func (d *demo) playListen(ctx context.Context, keys keyring) error {
	d.title("Live recognition, over a WebSocket")
	s := d.openStream(ctx, deepgramListen, "Token", keys.good)
	defer s.close()
	d.checkStream(s.err == nil, "", policy.Allowed, "the key is in the handshake. A page has it in a subprotocol.")
	frames := s.sendAll(sandbox.SpeechWAV(), demoFrame, s.binary)
	s.text(`{"type":"CloseStream"}`)
	d.sent(fmt.Sprintf("%d frames of audio, speech.wav, and then CloseStream", frames))
	var last string
	for range 3 {
		last = s.heard("Results")
	}
	d.check(strings.Contains(last, "speech 3") && s.heard("Metadata") != "", "to the last result.")
	s.close()

	return d.playKeyedCut(ctx, keys, keyedCut{
		path: deepgramListen, scheme: "Token",
		begins: (*demoStream).opened,
		feeds:  "frames of audio, on and on", audio: sandbox.SpeechWAV(), frame: demoFrame, send: (*demoStream).binary,
		hears:   func(s *demoStream) { s.heard("Results") },
		ends:    func(s *demoStream) bool { return member(s.heard("Error"), "variant") == "INVALID_AUTH" },
		endsWhy: "The code of the\n       Close frame is 1000, after which the API's library for JavaScript does not connect again.",
		refused: (*demoStream).unauthorized,
	})
}
