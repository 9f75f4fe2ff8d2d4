package caddymodule_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/speechgate/speechgate/internal/sandbox"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func TestR17_VerifyAnswers503ForAnErrorOfTheStore(t *testing.T) {
	g := newVerifier(t)
	key, secret := g.issue(keystore.NewKey{})
	g.recordJob("j", key, now())
	wantAnswer(t, g.verify("j", secret), http.StatusNoContent, policy.Allowed)
	g.place.Spoil(t)
	eventually(t, func() bool { return g.verify("j", secret).status == http.StatusServiceUnavailable })
	for _, key := range []string{"", secret} {
		got := g.verify("j", key)
		wantAnswer(t, got, http.StatusServiceUnavailable, policy.StoreUnavailable)
		if got.header.Get("Retry-After") != "5" {
			t.Errorf("header %v", got.header)
		}
	}
}

func TestVerify_IsLoggedAndCountedLikeTheGate(t *testing.T) {
	g := newVerifier(t)
	key, secret := g.expired()
	g.recordJob("j", key, now().Add(-90*time.Minute))
	before := counted(t, policy.ReadJob, policy.AllowedByGrace)
	wantAnswer(t, g.verify("j", secret), http.StatusNoContent, policy.AllowedByGrace)
	if after := counted(t, policy.ReadJob, policy.AllowedByGrace); after != before+1 {
		t.Errorf("counted %v decisions, then %v", before, after)
	}
	for _, want := range []string{
		`"logger":"http.handlers.speechgate_verify","msg":"admitted","reason":"allowed_by_grace","operation":"read_job","key_id":"` + key.ID +
			`","account_id":"` + g.account.ID + `","client_ip":"127.0.0.1","backend":"amivoice","job_id":"j","caller":"127.0.0.1"`,
		`"verified_key":"` + key.ID + `"`, `"verified_account":"` + g.account.ID + `"`,
		`"verified_operation":"read_job"`, `"verified_reason":"allowed_by_grace"`, `"user_id":"` + g.account.ID + `"`,
	} {
		eventually(t, func() bool { return strings.Contains(g.log(), want) })
	}
	if strings.Contains(g.log(), secret) {
		t.Error("the log shows the key")
	}
}

// counted returns how often the metric has counted a decision.
func counted(t *testing.T, op policy.Operation, reason policy.Reason) float64 {
	t.Helper()
	running := caddy.ActiveContext()
	families, err := running.GetMetricsRegistry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			values := make(map[string]string)
			for _, label := range metric.GetLabel() {
				values[label.GetName()] = label.GetValue()
			}
			if values["backend"] == "amivoice" && values["operation"] == op.String() && values["reason"] == reason.String() {
				return metric.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func TestVerify_ItsGraceWindowKeepsJobs(t *testing.T) {
	g := newGatewayWith(t, &gateway{options: "upstream_key " + backendKey, site: strings.Replace(verifySite, "grace 24h", "grace 30d", 1)})
	if grace := g.app().LongestGrace(); grace != 30*24*time.Hour {
		t.Errorf("jobs are kept for %s", grace)
	}
}

func TestR12_JobThatPausesGoesOnUnderGraceAndEndsAfterRevocation(t *testing.T) {
	g := newGatewayWith(t, &gateway{options: "upstream_key " + backendKey, site: `
	speechgate_verify /verify amivoice {
		callers 127.0.0.1
	}
	speechgate_sandbox amivoice {
		key ` + backendKey + `
		queue_time 0
		work_time 1700ms
		pause_at 1500ms
		reauthenticate http://{addr}/verify
	}`})
	_, reader := g.issue(keystore.NewKey{})
	create := func(key string) (id string, got reply) {
		got = g.send(g.form("/v2/recognitions", [2]string{"u", key}, [2]string{"a", string(sandbox.SpeechWAV())}))
		_, rest, _ := strings.Cut(got.body, `"sessionid":"`)
		id, _, _ = strings.Cut(rest, `"`)
		return id, got
	}
	// Both keys end before their jobs pause, and after the jobs are created.
	var brief, doomed policy.Key
	var lives, dies string
	holdsSoon(t, "a key is revoked before its job pauses", func() bool {
		var secret string
		doomed, secret = g.issue(keystore.NewKey{})
		begun := time.Now()
		var got reply
		if dies, got = create(secret); dies == "" {
			t.Fatalf("status %d, body %q", got.status, got.body)
		}
		if _, err := g.keys.RevokeKey(context.Background(), now(), operator, doomed.ID, "test"); err != nil {
			t.Fatal(err)
		}
		return time.Since(begun) < time.Second
	})
	holdsSoon(t, "a job is created before its key expires", func() bool {
		var secret string
		brief, secret = g.issue(keystore.NewKey{Expires: policy.ExpiresAt(now().Add(time.Second))})
		lives, _ = create(secret)
		return lives != ""
	})
	for job, end := range map[string]string{
		lives: `"status":"completed"`,
		dies:  `"error_message":"the job paused and could not be authenticated again: 401 Unauthorized, key_revoked"`,
	} {
		var body string
		holdsSoon(t, "the job ends", func() bool {
			body = g.poll(job, reader).body
			return strings.Contains(body, `"completed"`) || strings.Contains(body, `"error"`)
		})
		if !strings.Contains(body, end) {
			t.Errorf("the job ended as %s, want %s", body, end)
		}
	}
	for _, want := range []string{
		`"msg":"admitted","reason":"allowed_by_grace","operation":"read_job","key_id":"` + brief.ID,
		`"msg":"refused","reason":"key_revoked","operation":"read_job","key_id":"` + doomed.ID,
	} {
		if !strings.Contains(g.log(), want) {
			t.Errorf("the log has no %s", want)
		}
	}
}
