package demo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/speechgate/speechgate/caddymodule/issue"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/sandbox"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

const (
	demoWait   = 20 * time.Second // the longest wait for a step
	demoRevoke = time.Second      // the longest time until a revocation counts
)

// play runs the steps. It returns a key that is still good at the end.
func (d *demo) play(ctx context.Context) (good policy.Secret, err error) {
	d.print("%s", d.paint(bold, "Speechgate: a gate for the API keys of a speech-recognition API"))
	d.print("The gate listens on %s. Behind it stands a sandbox, a backend that\nmeasures speech instead of recognizing it, and has a key of its own.", d.gate)

	by := keystore.Actor{Kind: keystore.ActorOperator, ID: "demo"}
	d.title("An account, and keys with different rules")
	account, password, err := d.store.CreateAccount(ctx, d.clock.Now(), by, "Demo")
	if err != nil {
		return good, err
	}
	d.serviceID, d.password = account.ServiceID, password
	d.say("Account %s, made as \"caddy speechgate account create\" makes one.", account.ID)
	issue := func(what string, k keystore.NewKey) (policy.Key, policy.Secret) {
		if err != nil {
			return policy.Key{}, policy.Secret{}
		}
		k.AccountID, k.Origin = account.ID, policy.OriginConsole
		var key policy.Key
		var secret policy.Secret
		if key, secret, err = d.store.IssueKey(ctx, d.clock.Now(), by, k); err == nil {
			d.print("    %s  %s", secret.Reveal(), what)
		}
		return key, secret
	}
	elsewhere, err := policy.ParseAddrSet("203.0.113.0/24")
	if err != nil {
		return good, err
	}
	hour := policy.ExpiresAt(d.clock.Now().Add(time.Hour))
	_, good = issue("good for an hour, from anywhere", keystore.NewKey{Expires: hour})
	_, bound := issue("good for an hour, from 203.0.113.0/24 only", keystore.NewKey{Expires: hour, Allow: elsewhere})
	doomed, leaked := issue("good for an hour, until it leaks", keystore.NewKey{Expires: hour})
	speaker, spoken := issue("good for an hour, for live recognition", keystore.NewKey{Expires: hour})
	if err != nil {
		return good, err
	}

	d.title("Synchronous recognition with a good key")
	d.expect(d.recognize(ctx, good), "5.82 s of 16000 Hz", policy.Allowed,
		"known, unexpired, from an allowed address. The backend got its own key, not this one.")

	d.title("The same with a key that nobody issued")
	d.expect(d.recognize(ctx, policy.NewSecret("not-a-key")), `"code":"-"`, policy.KeyUnknown,
		"the backend never saw the request. The refusal is its own, to the byte, so that\n       every client of the API understands it.")

	d.title("The same with a key for another address")
	d.expect(d.recognize(ctx, bound), `"code":"-"`, policy.AddressRefused,
		"you are not in 203.0.113.0/24. The client is not told which rule it was; the log is.")

	d.title("An asynchronous job, with a key that lives for " + demoKeyLife.String())
	born := d.clock.Now()
	_, brief := issue("good for "+demoKeyLife.String(), keystore.NewKey{Expires: policy.ExpiresAt(born.Add(demoKeyLife))})
	if err != nil {
		return good, err
	}
	created := d.form(ctx, "/v2/recognitions", brief)
	job := member(created.body, dialect.AmiVoice.Jobs.ID.Path(0).String())
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
	d.wait(ctx, "waiting for the job to end", demoWait, func() bool { return strings.Contains(d.pollQuietly(ctx, job, good), `"completed"`) })
	d.expect(d.poll(ctx, job, brief), `"status":"completed"`, policy.AllowedByGrace, "the result, with the key that has expired.")

	d.title("The window ends")
	d.wait(ctx, "waiting for the grace to end", demoWait, func() bool { return d.clock.Now() >= born.Add(demoGrace+time.Second) })
	d.expect(d.poll(ctx, job, brief), "illegal service authorization", policy.KeyExpired, "grace has an end.")
	d.expect(d.poll(ctx, job, good), `"status":"completed"`, policy.Allowed, "any good key of the account reads the job nonetheless.")

	d.title("A key leaks, and is revoked")
	d.expect(d.recognize(ctx, leaked), "5.82 s", policy.Allowed, "before.")
	if _, err := d.store.RevokeKey(ctx, d.clock.Now(), by, doomed.ID, "leaked"); err != nil {
		return good, err
	}
	revoked := d.clock.Now()
	gone := d.wait(ctx, "waiting for the revocation to count", demoRevoke, func() bool {
		return strings.Contains(d.recognizeQuietly(ctx, leaked), `"code":"-"`)
	})
	d.check(gone, fmt.Sprintf("it counted within %s, without a reload.", time.Duration(d.clock.Now()-revoked)*time.Millisecond))
	d.expect(d.recognize(ctx, leaked), `"code":"-"`, policy.KeyRevoked, "after.")

	d.title("An application's server has a key issued, for one of its users")
	asked := d.issue(ctx, policy.Secret{}, "30s")
	d.expectFrom(issueLogger, asked, policy.KeyPrefix, policy.Allowed,
		"the account's service ID and password stay on the server. What the\n       user's machine gets is a key that is good for 30s.")
	child := policy.NewSecret(asked.body)
	d.expect(d.recognize(ctx, child), "5.82 s", policy.Allowed, "it is good at once.")
	d.expectFrom(issueLogger, d.issue(ctx, child, "1w"), "may not issue keys", policy.NoIssuanceRight,
		"it gets no other key, and so no longer life.")

	d.playStream(ctx, good)
	return good, d.playCut(ctx, spoken, func() error {
		_, err := d.store.RevokeKey(ctx, d.clock.Now(), by, speaker.ID, "leaked")
		return err
	})
}

// goOn prints commands that people can run against the demo.
func (d *demo) goOn(good policy.Secret) {
	wav := filepath.Join(d.dir, "speech.wav")
	if err := os.WriteFile(wav, sandbox.SpeechWAV(), 0o600); err != nil {
		d.print("%v", err)
		return
	}
	d.print("\n%s", d.paint(bold, "Go on by hand"))
	d.print("    KEY=%s", good.Reveal())
	d.print("    curl %s/v1/recognize -F u=$KEY -F d=-a-general -F 'a=@%s'", d.gate, wav)
	d.print("    curl %s/v2/recognitions -F u=$KEY -F d=-a-general -F 'a=@%s'", d.gate, wav)
	d.print("    curl %s/v2/recognitions/SESSIONID -H \"Authorization: Bearer $KEY\"", d.gate)
	d.print("    curl %s%s -d sid=%s -d spw=%s -d epi=60000", d.gate, issue.DefaultPath, d.serviceID, d.password.Reveal())
	d.print("    caddy speechgate --keystore %s key list", filepath.Join(d.dir, "keystore.db"))
	d.print("\nCtrl-C ends it, and throws the keystore away.")
}

// The last parts of the names of the loggers that log decisions.
const (
	gateLogger   = "handlers.speechgate"
	issueLogger  = "handlers.speechgate_issue"
	verifyLogger = "handlers.speechgate_verify"
)

// expect does what expectFrom does, for the gate's logger.
func (d *demo) expect(got demoReply, contains string, reason policy.Reason, why string) {
	d.expectFrom(gateLogger, got, contains, reason, why)
}

// expectFrom shows the answer got. It checks that the answer contains a text, and that the
// last decision of the logger has this reason. If so, it prints why.
func (d *demo) expectFrom(logger string, got demoReply, contains string, reason policy.Reason, why string) {
	d.got(fmt.Sprintf("%d %s", got.status, abridged(got.body)))
	decided := ""
	for _, entry := range d.log.decisions() {
		if strings.HasSuffix(entry.Logger, logger) {
			decided = entry.Reason
		}
	}
	if decided != reason.String() || !strings.Contains(got.body, contains) {
		d.check(false, fmt.Sprintf("decided as %q; this should have been %q, with an answer that has %q", decided, reason, contains))
		return
	}
	d.check(true, reason.String()+": "+why)
}

// abridged returns an answer in at most one line. A short answer is whole. Of a long
// answer, only the members status and text are shown or, without them, the beginning.
func abridged(body string) string {
	const most = 140
	body = strings.TrimSpace(body)
	if len(body) <= most {
		return body
	}
	var kept []string
	for _, name := range []string{"status", "text"} {
		if text := member(body, name); text != "" {
			kept = append(kept, fmt.Sprintf("%q:%q", name, text))
		}
	}
	if len(kept) == 0 {
		return body[:most] + "…"
	}
	return "{… " + strings.Join(kept, ", … ") + ", …}"
}
