package demo

import (
	"context"
	_ "embed" // for the demo's configuration
	"net/http"
	"strings"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

//go:embed demo.caddyfile
var amiVoiceCaddyfile string

// The lifetime of the key, and the grace window, of the demo's asynchronous job. The
// backend pauses the job and authenticates it again after the key has expired and before
// the window ends.
const (
	demoKeyLife = 3 * time.Second
	demoGrace   = 10 * time.Second
)

// amiVoice is the script of the AmiVoice API.
var amiVoice = script{
	caddyfile: amiVoiceCaddyfile,
	recognition: func(d *demo, ctx context.Context, key policy.Secret) (string, *http.Request, error) {
		req, err := d.formRequest(ctx, "/v1/recognize", key)
		return "POST /v1/recognize   u=" + brief(key) + "  d=-a-general  a=@speech.wav", req, err
	},
	denied:       `"code":"-"`,
	deniedWhy:    "the backend never saw the request. The refusal has the bytes of the API, so that\n       every client of the API understands it.",
	elsewhere:    `"code":"-"`,
	elsewhereWhy: "you are not in 203.0.113.0/24. The client is not told which rule it was; the log is.",
	requests:     (*demo).playJob,
	streams:      (*demo).playStreams,
	byHand: []string{
		"curl {gate}/v1/recognize -F u=$KEY -F d=-a-general -F 'a=@{wav}'",
		"curl {gate}/v2/recognitions -F u=$KEY -F d=-a-general -F 'a=@{wav}'",
		`curl {gate}/v2/recognitions/SESSIONID -H "Authorization: Bearer $KEY"`,
	},
}

// playJob plays the steps of the demo with an asynchronous job.
func (d *demo) playJob(ctx context.Context, keys keyring) error {
	d.title("An asynchronous job, with a key that lives for " + demoKeyLife.String())
	born := d.clock.Now()
	_, brief, err := d.issueKey(ctx, "good for "+demoKeyLife.String(), keystore.NewKey{Expires: policy.ExpiresAt(born.Add(demoKeyLife))})
	if err != nil {
		return err
	}
	created := d.form(ctx, "/v2/recognitions", brief)
	job := member(created.body, "sessionid")
	d.expect(created, `"sessionid"`, policy.Allowed, "the job is on record, and on the disk, before you see its ID.")
	d.expect(d.poll(ctx, job, brief), `"status"`, policy.Allowed, "the key is still good.")

	d.title("Its key expires while the job runs")
	d.wait(ctx, "waiting for the key to expire", demoWait, func() bool { return d.clock.Now() >= born.Add(demoKeyLife) })
	d.expect(d.recognize(ctx, brief), `"code":"-"`, policy.KeyExpired, "an expired key begins nothing new.")
	d.expect(d.poll(ctx, job, brief), `"status"`, policy.AllowedByGrace,
		"but it may read the job that it created, for "+demoGrace.String()+" from the job's creation.")

	d.title("The backend pauses the job, and authenticates it again")
	var again decision
	d.wait(ctx, "waiting for the backend to ask", demoWait, func() bool {
		for _, line := range d.log.decisions() {
			if strings.HasSuffix(line.Logger, verifyLogger) {
				again = line
			}
		}
		return again.Reason != ""
	})
	d.sent("GET /   Speechgate-Job: " + job + "   (the backend to the gateway)")
	d.got("204 Speechgate-Reason: " + again.Reason)
	d.check(again.Reason == policy.AllowedByGrace.String(), again.Reason+": without grace, hours of queueing would have been for nothing.")
	d.wait(ctx, "waiting for the job to end", demoWait, func() bool { return strings.Contains(d.pollQuietly(ctx, job, keys.good), `"completed"`) })
	d.expect(d.poll(ctx, job, brief), `"status":"completed"`, policy.AllowedByGrace, "the result, with the key that has expired.")

	d.title("The window ends")
	d.wait(ctx, "waiting for the grace to end", demoWait, func() bool { return d.clock.Now() >= born.Add(demoGrace+time.Second) })
	d.expect(d.poll(ctx, job, brief), "illegal service authorization", policy.KeyExpired, "grace has an end.")
	d.expect(d.poll(ctx, job, keys.good), `"status":"completed"`, policy.Allowed, "any valid key of the account can still read the job.")
	return nil
}

// playStreams plays the steps of the demo with live streams.
func (d *demo) playStreams(ctx context.Context, keys keyring) error {
	d.playStream(ctx, keys.good)
	return d.playCut(ctx, keys.spoken, func() error { return d.revoke(ctx, keys.spokenID) })
}
