package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/speechgate/speechgate/internal/sandbox"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

const (
	speechmaticsJobs  = "/v2/jobs"
	speechmaticsStart = `{"message":"StartRecognition","audio_format":{"type":"file"},"transcription_config":{"language":"en"}}`
)

// speechmatics is the script of Speechmatics' API. The jobs end after the key that created one.
var speechmatics = script{
	caddyfile:  withJobs("speechmatics", "queue_time 1s\n\t\twork_time 4s"),
	title:      "A new job with a good key",
	recognized: `{"id":"`,
	recognition: func(d *demo, ctx context.Context, key policy.Secret) (string, *http.Request, error) {
		return d.newJob(ctx, key)
	},
	denied:       `"error":"Permission Denied"`,
	deniedWhy:    "the backend never saw the request. The refusal is JSON, for which the API's library\n       has an error of its own, SpeechmaticsResponseError.",
	elsewhere:    `"error":"Forbidden"`,
	elsewhereWhy: "you are not in 203.0.113.0/24.",
	requests:     (*demo).playSpeechmaticsJob,
	streams:      (*demo).playRealTime,
	byHand: []string{
		`curl '{gate}/v2/jobs?wait=60&format=txt' -H "Authorization: Bearer $KEY" -F 'data_file=@{wav}' -F 'config={"type":"transcription","transcription_config":{"language":"en"}}'`,
		`curl {gate}/v2/jobs -H "Authorization: Bearer $KEY"`,
		`curl '{gate}/v2/jobs/JOBID/transcript?format=srt' -H "Authorization: Bearer $KEY"`,
		`curl '{gate}/v1/api_keys?type=rt' -H "Authorization: Bearer $KEY" -d '{"ttl":60}'`,
	},
}

// newJob returns a request with the recording, as the API's library sends it, and how the demo shows
// the request.
func (d *demo) newJob(ctx context.Context, key policy.Secret) (shown string, req *http.Request, err error) {
	shown = "POST " + speechmaticsJobs + "   Authorization: Bearer " + brief(key) + "  data_file=@speech.wav  config={…}"
	contentType, body := form("data_file", theRecording, "config", `{"type":"transcription","transcription_config":{"language":"en"}}`)
	req, err = d.request(ctx, http.MethodPost, speechmaticsJobs, "Bearer "+key.Reveal(), contentType, body)
	return shown, req, err
}

// get sends a GET request, and shows it.
func (d *demo) get(ctx context.Context, path string, key policy.Secret) demoReply {
	d.sent("GET " + path + "   Authorization: Bearer " + brief(key))
	return d.do(d.request(ctx, http.MethodGet, path, "Bearer "+key.Reveal(), "", nil))
}

// playSpeechmaticsJob plays the steps of the demo with a job, and with a path that is refused.
func (d *demo) playSpeechmaticsJob(ctx context.Context, keys keyring) error {
	d.title("A job, with a key that lives for " + demoKeyLife.String())
	born := d.clock.Now()
	_, brief, err := d.issueKey(ctx, "good for "+demoKeyLife.String(), keystore.NewKey{Expires: policy.ExpiresAt(born.Add(demoKeyLife))})
	if err != nil {
		return err
	}
	created := d.recognize(ctx, brief)
	job := speechmaticsJobs + "/" + member(created.body, "id")
	d.expect(created, d.recognized(), policy.Allowed, "the job is on record, and on the disk, before you see its ID.")
	d.expect(d.get(ctx, job+"?wait=0", brief), `"status":"running"`, policy.Allowed, "the key is still good.")

	d.title("Its key expires while the job runs")
	d.wait(ctx, "waiting for the key to expire", demoWait, func() bool { return d.clock.Now() >= born.Add(demoKeyLife) })
	d.expect(d.recognize(ctx, brief), `"error":"Forbidden"`, policy.KeyExpired, "an expired key begins nothing new.")
	d.expect(d.get(ctx, job+"?wait=0", brief), `"status":"running"`, policy.AllowedByGrace, "but it may read the job that it created.")
	d.expect(d.get(ctx, job+"/transcript?format=txt&wait=20", brief), "5.82 s of 16000 Hz", policy.AllowedByGrace,
		"the request waited for the result. The API's library polls\n       instead, and gets its result too.")

	d.title("A path that is no speech recognition")
	d.expect(d.get(ctx, "/v2/usage", keys.good), `"error":"Not Implemented"`, policy.OperationUnlisted,
		"all clients share the backend's key, so they would see each other's usage.")
	return nil
}

// message reads messages until one is of this kind, and shows it. It returns "" after an error.
func (s *demoStream) message(kind string) string {
	for s.err == nil {
		message := s.answer()
		if member(message, "message") != kind {
			continue
		}
		shown := fmt.Sprintf("{… %q:%q, …}", "message", kind)
		if word := member(message, "type"); word != "" {
			shown = fmt.Sprintf("{… %q:%q, … %q:%q}", "message", kind, "type", word)
		}
		if kind == "AddTranscript" {
			shown = fmt.Sprintf("{… %q:%q, … %q:%q, …}", "message", kind, "transcript", realTimeText(message))
		}
		s.d.got(shown)
		return message
	}
	s.d.got(s.err.Error())
	return ""
}

// realTimeText returns the text of a result.
func realTimeText(message string) string {
	var result struct{ Metadata struct{ Transcript string } }
	if json.Unmarshal([]byte(message), &result) != nil {
		return ""
	}
	return result.Metadata.Transcript
}

// startSession opens a session in a stream, and shows it. It reports whether the backend has started it.
func (s *demoStream) startSession() bool {
	s.d.sent(speechmaticsStart)
	s.text(speechmaticsStart)
	return s.message("RecognitionStarted") != ""
}

// playRealTime plays the steps of the demo with live streams.
func (d *demo) playRealTime(ctx context.Context, keys keyring) error {
	d.title("Live recognition, with a temporary key that the backend makes for a key")
	d.sent("POST /v1/api_keys?type=rt   Authorization: Bearer " + brief(keys.good) + `  {"ttl":60}`)
	made := d.do(d.request(ctx, http.MethodPost, "/v1/api_keys?type=rt", "Bearer "+keys.good.Reveal(), "", strings.NewReader(`{"ttl":60}`)))
	temporary := made.hideToken("key_value")
	d.expect(made, `"key_value":"ey`, policy.Allowed, "the gate keeps the digest of the temporary key, and knows whose it is.")
	s := d.openStream(ctx, "/v2", "Bearer", temporary)
	defer s.close()
	d.checkStream(s.startSession(), "", policy.Allowed, "the temporary key counts as the key, until it expires or the key ends. A page\n       has it in the query, as ?jwt=.")
	frames := s.sendAll(sandbox.SpeechWAV(), demoFrame, s.binary)
	s.text(fmt.Sprintf(`{"message":"EndOfStream","last_seq_no":%d}`, frames))
	d.sent(fmt.Sprintf("%d frames of audio, speech.wav, and then EndOfStream", frames))
	var last string
	for range 3 {
		last = s.message("AddTranscript")
	}
	d.check(strings.Contains(last, "speech 3") && s.message("EndOfTranscript") != "", "to the last result.")
	s.close()

	return d.playKeyedCut(ctx, keys, keyedCut{
		path: "/v2", scheme: "Bearer",
		begins: (*demoStream).startSession,
		feeds:  "frames of audio, on and on", audio: sandbox.SpeechWAV(), frame: demoFrame, send: (*demoStream).binary,
		hears:   func(s *demoStream) { s.message("AddTranscript") },
		ends:    func(s *demoStream) bool { return member(s.message("Error"), "type") == "not_authorised" },
		endsWhy: "The code of the\n       Close frame is 4001.",
		refused: (*demoStream).unauthorized,
	})
}
