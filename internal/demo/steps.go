package demo

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/speechgate/speechgate/caddymodule/issue"
	"github.com/speechgate/speechgate/internal/sandbox"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

const (
	demoWait   = 20 * time.Second // the longest wait for a step
	demoRevoke = time.Second      // the longest time until a revocation counts
)

// keyring are the keys that the demo issues for all steps.
type keyring struct {
	good   policy.Secret // good for an hour
	bound  policy.Secret // good from another address only
	leaked policy.Secret // good until it leaks
	spoken policy.Secret // of the stream that is cut

	leakedID, spokenID string // the IDs of the keys leaked and spoken
}

// actor is who the demo's changes of the keystore are of.
var actor = keystore.Actor{Kind: keystore.ActorOperator, ID: "demo"}

// play runs the steps. It returns a key that is still good at the end.
func (d *demo) play(ctx context.Context) (good policy.Secret, err error) {
	d.print("%s", d.paint(bold, "Speechgate: a gate for the API keys of a speech-recognition API"))
	d.print("The gate listens on %s. Behind it is a sandbox, a backend that\nmeasures speech instead of recognizing it, and has a key of its own.", d.gate)
	keys, err := d.issueKeys(ctx)
	if err != nil {
		return good, err
	}

	d.title(cmp.Or(d.script.title, "Synchronous recognition with a good key"))
	d.expect(d.recognize(ctx, keys.good), d.recognized(), policy.Allowed,
		"known, unexpired, from an allowed address. The backend got the gate's key, not this one.")

	d.title("The same with a key that nobody issued")
	d.expect(d.recognize(ctx, policy.NewSecret("not-a-key")), d.script.denied, policy.KeyUnknown, d.script.deniedWhy)

	d.title("The same with a key for another address")
	d.expect(d.recognize(ctx, keys.bound), d.script.elsewhere, policy.AddressRefused, d.script.elsewhereWhy)

	if err := d.script.requests(d, ctx, keys); err != nil {
		return good, err
	}
	if err := d.playLeak(ctx, keys); err != nil {
		return good, err
	}
	d.playIssuance(ctx)
	return keys.good, d.script.streams(d, ctx, keys)
}

// recognized returns a part of the answer to a recognition.
func (d *demo) recognized() string { return cmp.Or(d.script.recognized, "5.82 s of 16000 Hz") }

// issueKeys makes the account of the demo, and its keys.
func (d *demo) issueKeys(ctx context.Context) (keys keyring, err error) {
	d.title("An account, and keys with different rules")
	account, password, err := d.store.CreateAccount(ctx, d.clock.Now(), actor, "Demo")
	if err != nil {
		return keys, err
	}
	d.accountID, d.serviceID, d.password = account.ID, account.ServiceID, password
	d.say("Account %s, made as \"caddy speechgate account create\" makes one.", account.ID)
	elsewhere, err := policy.ParseAddrSet("203.0.113.0/24")
	if err != nil {
		return keys, err
	}
	hour := policy.ExpiresAt(d.clock.Now().Add(time.Hour))
	var unused string
	for _, key := range []struct {
		what   string
		new    keystore.NewKey
		secret *policy.Secret
		id     *string
	}{
		{"good for an hour, from anywhere", keystore.NewKey{Expires: hour}, &keys.good, &unused},
		{"good for an hour, from 203.0.113.0/24 only", keystore.NewKey{Expires: hour, Allow: elsewhere}, &keys.bound, &unused},
		{"good for an hour, until it leaks", keystore.NewKey{Expires: hour}, &keys.leaked, &keys.leakedID},
		{"good for an hour, for live recognition", keystore.NewKey{Expires: hour}, &keys.spoken, &keys.spokenID},
	} {
		if *key.id, *key.secret, err = d.issueKey(ctx, key.what, key.new); err != nil {
			return keys, err
		}
	}
	return keys, nil
}

// issueKey issues a key of the demo's account, and shows it.
func (d *demo) issueKey(ctx context.Context, what string, k keystore.NewKey) (id string, secret policy.Secret, err error) {
	k.AccountID, k.Origin = d.accountID, policy.OriginConsole
	key, secret, err := d.store.IssueKey(ctx, d.clock.Now(), actor, k)
	if err == nil {
		d.print("    %s  %s", secret.Reveal(), what)
	}
	return key.ID, secret, err
}

func (d *demo) revoke(ctx context.Context, id string) error {
	_, err := d.store.RevokeKey(ctx, d.clock.Now(), actor, id, "leaked")
	return err
}

// playLeak plays the step of the demo in which a key is revoked.
func (d *demo) playLeak(ctx context.Context, keys keyring) error {
	d.title("A key leaks, and is revoked")
	d.expect(d.recognize(ctx, keys.leaked), d.recognized(), policy.Allowed, "before.")
	if err := d.revoke(ctx, keys.leakedID); err != nil {
		return err
	}
	revoked := d.clock.Now()
	gone := d.wait(ctx, "waiting for the revocation to count", demoRevoke, func() bool {
		return strings.Contains(d.recognizeQuietly(ctx, keys.leaked), d.script.denied)
	})
	d.check(gone, fmt.Sprintf("it counted within %s, without a reload.", time.Duration(d.clock.Now()-revoked)*time.Millisecond))
	d.expect(d.recognize(ctx, keys.leaked), d.script.denied, policy.KeyRevoked, "after.")
	return nil
}

// playIssuance plays the step of the demo in which a server has a key issued.
func (d *demo) playIssuance(ctx context.Context) {
	d.title("An application's server has a key issued, for one of its users")
	asked := d.issue(ctx, policy.Secret{}, "30s")
	d.expectFrom(issueLogger, asked, policy.KeyPrefix, policy.Allowed,
		"the account's service ID and password stay on the server. What the\n       user's machine gets is a key that is good for 30s.")
	child := policy.NewSecret(asked.body)
	d.expect(d.recognize(ctx, child), d.recognized(), policy.Allowed, "it is good at once.")
	d.expectFrom(issueLogger, d.issue(ctx, child, "1w"), "may not issue keys", policy.NoIssuanceRight,
		"it can issue no other key, so it ends after 30s.")
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
	for _, line := range d.script.byHand {
		d.print("    %s", strings.NewReplacer("{gate}", d.gate, "{wav}", wav).Replace(line))
	}
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
// answer, only the members status and text are shown, or the code of its error, or Deepgram's
// transcript, or the beginning.
func abridged(body string) string {
	const most = 140
	body = strings.TrimSpace(body)
	if len(body) <= most {
		return body
	}
	var kept []string
	var failed struct{ Error map[string]any }
	if json.Unmarshal([]byte(body), &failed) == nil && failed.Error != nil {
		return fmt.Sprintf("{\"error\":{… \"code\":%q}}", failed.Error["code"])
	}
	if text := deepgramTranscript(body); text != "" {
		return fmt.Sprintf("{… %q:%q, …}", "transcript", text)
	}
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
