package demo

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/speechgate/speechgate/internal/sandbox"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

const (
	assemblyShort       = "/v1/transcribe/live"
	assemblyTranscripts = "/v2/transcript"
	assemblyLive        = "/v3/ws?sample_rate=16000&format_turns=true"

	assemblyFrame = 3200 // bytes: 100 ms of audio. A message may have 50 to 1,000 ms.
)

// assemblyAI is the script of AssemblyAI's API. Its transcripts end after the key that created one.
var assemblyAI = script{
	caddyfile: withJobs("assemblyai", "queue_time 1s\n\t\twork_time 4s"),
	recognition: func(d *demo, ctx context.Context, key policy.Secret) (string, *http.Request, error) {
		return d.shortAudio(ctx, key)
	},
	denied:       `"error":"Authentication error, API token missing/invalid"`,
	deniedWhy:    "the backend never saw the request. The refusal has the API's own bytes, so that the\n       API's libraries raise their own errors.",
	elsewhere:    `"error":"Forbidden"`,
	elsewhereWhy: "you are not in 203.0.113.0/24.",
	requests:     (*demo).playTranscript,
	streams:      (*demo).playTurns,
	byHand: []string{
		`curl {gate}/v2/upload -H "Authorization: $KEY" --data-binary '@{wav}'`,
		`curl {gate}/v2/transcript -H "Authorization: $KEY" -d '{"audio_url":"UPLOADURL"}'`,
		`curl {gate}/v2/transcript/ID/srt -H "Authorization: $KEY"`,
		`curl {gate}/v1/transcribe/live -H "Authorization: $KEY" -H 'X-AAI-Model: universal-3-5-pro' -F 'config={}' -F 'audio=@{wav};type=audio/wav'`,
	},
}

// shortAudio returns a request with the recording, as the API's library sends it, and how the demo
// shows the request.
func (d *demo) shortAudio(ctx context.Context, key policy.Secret) (shown string, req *http.Request, err error) {
	shown = "POST " + assemblyShort + "   Authorization: " + brief(key) + "  config={}  audio=@speech.wav"
	contentType, body := form("config", "{}", "audio", theRecording)
	if req, err = d.request(ctx, http.MethodPost, assemblyShort, key.Reveal(), contentType, body); err == nil {
		req.Header.Set("X-AAI-Model", "universal-3-5-pro")
	}
	return shown, req, err
}

// bare sends a request whose key has no scheme, and shows it.
func (d *demo) bare(ctx context.Context, method, path, body string, key policy.Secret) demoReply {
	shown := method + " " + path + "   Authorization: " + brief(key)
	if body != "" {
		shown += "  " + body
	}
	d.sent(shown)
	return d.do(d.request(ctx, method, path, key.Reveal(), "", strings.NewReader(body)))
}

// playTranscript plays the steps of the demo with a transcript, with a list, and with a path that is
// refused.
func (d *demo) playTranscript(ctx context.Context, keys keyring) error {
	d.title("A transcript, with a key that lives for " + demoKeyLife.String())
	born := d.clock.Now()
	_, lived, err := d.issueKey(ctx, "good for "+demoKeyLife.String(), keystore.NewKey{Expires: policy.ExpiresAt(born.Add(demoKeyLife))})
	if err != nil {
		return err
	}
	d.sent("POST /v2/upload   Authorization: " + brief(lived) + "  speech.wav")
	uploaded := d.do(d.request(ctx, http.MethodPost, "/v2/upload", lived.Reveal(), "", bytes.NewReader(sandbox.SpeechWAV())))
	address := member(uploaded.body, "upload_url")
	d.expect(uploaded, `"upload_url"`, policy.Allowed, "the backend has the recording.")
	asked := fmt.Sprintf(`{"audio_url":%q}`, address)
	created := d.bare(ctx, http.MethodPost, assemblyTranscripts, asked, lived)
	id := member(created.body, "id")
	path := assemblyTranscripts + "/" + id
	d.expect(created, `"status":"queued"`, policy.Allowed, "the transcript is on record, and on the disk, before you see its ID.")
	d.expect(d.bare(ctx, http.MethodGet, path, "", lived), `"status":"`, policy.Allowed, "the key is still good.")

	d.title("Its key expires while the backend works")
	d.wait(ctx, "waiting for the key to expire", demoWait, func() bool { return d.clock.Now() >= born.Add(demoKeyLife) })
	d.expect(d.bare(ctx, http.MethodPost, assemblyTranscripts, asked, lived), d.script.denied, policy.KeyExpired, "an expired key begins nothing new.")
	d.expect(d.bare(ctx, http.MethodGet, path, "", lived), `"status":"`, policy.AllowedByGrace, "but it may read the transcript that it created.")
	d.wait(ctx, "waiting for the transcript to be completed", demoWait, func() bool {
		return strings.Contains(d.do(d.request(ctx, http.MethodGet, path, lived.Reveal(), "", nil)).body, `"completed"`)
	})
	d.expect(d.bare(ctx, http.MethodGet, path, "", lived), "5.82 s of 16000 Hz", policy.AllowedByGrace,
		"the result, with the key that has expired. The API's\n       libraries poll, and get their result too.")

	d.title("The list of transcripts")
	d.expect(d.bare(ctx, http.MethodGet, assemblyTranscripts, "", keys.good), `"resource_url":"`+d.gate+path+`"`, policy.Allowed,
		"it has those of the account only. Its links lead to the gate: the API's libraries\n       send their key to the host of a link.")

	d.title("A path that is no speech recognition")
	d.expect(d.bare(ctx, http.MethodPost, "/lemur/v3/generate/task", "{}", keys.good), `"error":"Not found"`, policy.OperationUnlisted,
		"all clients share the backend's key, and with it the bill.")
	return nil
}

// told reads messages until one has this type, and shows it. Of turns, only one that is formatted
// counts. It returns "" after an error.
func (s *demoStream) told(kind string) string {
	for s.err == nil {
		message := s.answer()
		text := member(message, "transcript")
		if member(message, "type") != kind || kind == "Turn" && !strings.HasPrefix(text, "speech ") {
			continue
		}
		shown := fmt.Sprintf("{%q:%q, …}", "type", kind)
		if text != "" {
			shown = fmt.Sprintf("{%q:%q, … %q:%q, …}", "type", kind, "transcript", text)
		}
		if kind == "Error" {
			shown = message
		}
		s.d.got(shown)
		return message
	}
	s.d.got(s.err.Error())
	return ""
}

// playTurns plays the steps of the demo with live streams.
func (d *demo) playTurns(ctx context.Context, keys keyring) error {
	d.title("Live recognition, with a token that the backend makes for a key")
	made := d.bare(ctx, http.MethodGet, "/v3/token?expires_in_seconds=60", "", keys.good)
	token := made.hideToken("token")
	d.expect(made, `"expires_in_seconds":60`, policy.Allowed, "the gate keeps the digest of the token, and knows whose token it is.")
	d.sent("GET " + assemblyLive + "&token=" + brief(token) + "   Upgrade: websocket")
	s := d.dialStream(ctx, assemblyLive+"&token="+token.Reveal(), "")
	defer s.close()
	d.checkStream(s.told("Begin") != "", "", policy.Allowed, "the token counts as the key, until it expires or the key ends. A page has no\n       other way: it cannot set a header field of a WebSocket.")
	samples := sandbox.SpeechWAV()[wavHeader:]
	frames := s.sendAll(samples[:len(samples)/assemblyFrame*assemblyFrame], assemblyFrame, s.binary)
	s.text(`{"type":"Terminate"}`)
	d.sent(fmt.Sprintf("%d frames of audio, speech.wav, and then Terminate", frames))
	var last string
	for range 3 {
		last = s.told("Turn")
	}
	d.check(strings.Contains(last, "speech 3") && s.told("Termination") != "", "to the last turn.")
	s.close()

	return d.playKeyedCut(ctx, keys, keyedCut{
		path:   assemblyLive,
		begins: func(s *demoStream) bool { return s.told("Begin") != "" },
		feeds:  "frames of audio, on and on", audio: samples, frame: assemblyFrame, send: (*demoStream).binary,
		hears:      func(s *demoStream) { s.told("Turn") },
		ends:       func(s *demoStream) bool { return strings.Contains(s.told("Error"), `"error_code":4001`) },
		endsWhy:    "After 4001 the API's\n       library does not connect again.",
		refusedWhy: " The API accepts each handshake, and then says why it ends the stream.",
	})
}
