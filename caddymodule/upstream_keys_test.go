package caddymodule_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/sandbox"
	"github.com/speechgate/speechgate/internal/wstest"
	"github.com/speechgate/speechgate/keystore"
)

// A vendor's key is changed without an end to a job or a stream.
func TestUpstreamKeys_TheWholeTurn(t *testing.T) {
	g := newTurnGateway(t, oldKey)
	g.vendor.live.Store(sandbox.NewAmiVoice(sandbox.Config{Key: oldKey}))
	first := g.newJob()
	g.wantKey(first, oldKey)
	stream := g.dialStream("").upgraded()
	stream.start(g.secret)
	stream.WantText("s")
	g.wantNeeds("1: 1 jobs 0 tokens 1 streams 0 requests false")

	g.reload(newKey + " " + oldKey)
	g.vendor.live.Store(sandbox.NewAmiVoice(sandbox.Config{Key: newKey}))
	second := g.newJob()
	g.wantKey(first, oldKey)
	g.wantKey(second, newKey)
	stream.wav()
	stream.text("e")
	stream.Until("e")
	later := g.dialStream("").upgraded() // a new stream takes the new key
	later.start(g.secret)
	later.WantText("s")
	stream.start(g.secret) // the next session on the old connection keeps the old key
	stream.WantText("s")
	g.wantNeeds("1: 1 jobs 0 tokens 1 streams 0 requests false; 2: 1 jobs 0 tokens 1 streams 0 requests false")
	g.wantDoctor("warn backend amivoice, key 2 of upstream_key: It is not idle: 1 job whose end no poll has seen (the newest of ", ", 1 live stream.",
		"do not end it at the vendor", "pass server srv0, upstream "+g.upstream()+", key 2 of upstream_key: The backend does not refuse this old key.")
	eventually(t, func() bool {
		return metric(t, "upstream_key_needed", "backend", "amivoice", "by", "jobs", "position", "2") == 1 &&
			metric(t, "upstream_key_needed", "backend", "amivoice", "by", "streams", "position", "2") == 1
	})

	_ = stream.Close()
	g.wantNeeds("1: 1 jobs 0 tokens 1 streams 0 requests false; 2: 1 jobs 0 tokens 0 streams 0 requests false")
	g.vendor.end(first)
	g.wantKey(first, oldKey) // a poll sees the end
	g.wantNeeds("1: 1 jobs 0 tokens 1 streams 0 requests false; 2: 0 jobs 0 tokens 0 streams 0 requests true")
	g.wantDoctor("pass backend amivoice, key 2 of upstream_key: It is idle: no job, token, stream or request needs it. The server used it last at 2", "Remove it from upstream_key, reload, and then end it at the vendor.")
	eventually(t, func() bool {
		return metric(t, "upstream_key_needed", "backend", "amivoice", "by", "jobs", "position", "2") == 0
	})
	if at := metric(t, "upstream_key_last_used_timestamp_seconds", "backend", "amivoice", "position", "2"); time.Since(time.Unix(int64(at), 0)) > time.Minute {
		t.Errorf("the old key was used last at %v", at)
	}

	g.reload(newKey)
	g.vendor.endKey(oldKey)
	g.wantKey(second, newKey)
	later.wav()
	later.text("e")
	later.Until("e")
	third := g.newJob()
	g.wantKey(third, newKey)
	g.wantDoctor("pass : No old upstream key is configured, and nothing needs one.")
	if log := g.log(); strings.Contains(log, oldKey) || strings.Contains(log, newKey) {
		t.Error("the log shows an upstream key")
	}
}

// Jobs of a key that is not configured any more go on with the first key. The doctor says so before, and the
// log says it once.
func TestUpstreamKeys_AKeyIsRemovedTooEarly(t *testing.T) {
	g := newTurnGateway(t, oldKey)
	jobs := []string{g.newJob(), g.newJob()}
	g.options = "upstream_key " + newKey
	g.wantDoctor("warn backend amivoice, a key that is not in upstream_key, with the fingerprint ", "It is still needed: 2 jobs", "Write it at the end of upstream_key")
	g.reload(newKey)
	g.backend.received()
	for range 3 {
		for _, id := range jobs {
			if got := g.poll(id, g.secret); got.status != http.StatusNotFound || got.body != jobNotFound+"\n" {
				t.Errorf("%d %q", got.status, got.body)
			}
		}
	}
	if got := g.backend.received(); strings.Count(got, "Bearer "+newKey) != 6 || strings.Contains(got, oldKey) {
		t.Errorf("the backend got %q", got)
	}
	if n := strings.Count(g.log(), "not configured any more"); n != 1 {
		t.Errorf("the log says so %d times", n)
	}
	g.wantNeeds("1: 0 jobs 0 tokens 0 streams 0 requests true; removed: 2 jobs 0 tokens 0 streams 0 requests false")
	eventually(t, func() bool {
		return metric(t, "upstream_key_needed", "backend", "amivoice", "by", "jobs", "position", "removed") == 2
	})
	// With the key back in the list, the jobs are found again.
	g.reload(newKey + " " + oldKey)
	g.wantKey(jobs[0], oldKey)
}

// A job from before the upgrade has no fingerprint. It gets the oldest key, which is the last one.
func TestUpstreamKeys_AJobWithoutAFingerprint(t *testing.T) {
	g := newTurnGateway(t, newKey+" "+oldKey)
	g.recordJob("before", g.key, now())
	g.vendor.jobs["before"] = oldKey
	g.wantKey("before", oldKey)
	g.wantNeeds("1: 0 jobs 0 tokens 0 streams 0 requests true; 2: 1 jobs 0 tokens 0 streams 0 requests false")
	g.vendor.jobs["before"] = newKey
	g.reload(newKey)
	g.wantKey("before", newKey)
	if strings.Contains(g.log(), "not configured any more") {
		t.Error("the log says that a key is missing")
	}
}

// An old key that the vendor has ended is found, and is an error while jobs need it.
func TestUpstreamKeys_TheDoctorTriesEachKey(t *testing.T) {
	g := newTurnGateway(t, oldKey)
	job := g.newJob()
	g.reload(newKey + " " + oldKey)
	g.vendor.endKey(oldKey)
	if got := g.poll(job, g.secret); got.status != http.StatusBadGateway {
		t.Errorf("status %d, %s", got.status, got.body)
	}
	if log := g.log(); !strings.Contains(log, "refuses an old key of upstream_key") || !strings.Contains(log, `"upstream_key_position":2`) {
		t.Errorf("the log does not say which key: %s", log)
	}
	g.wantDoctor("fail server srv0, upstream "+g.upstream()+", key 2 of upstream_key: The backend refuses this old key, with status 401",
		"pass server srv0, upstream "+g.upstream()+": The backend does not refuse the upstream key.", "its jobs are then read with the first key")
	g.reload(newKey)
	g.vendor.mu.Lock()
	g.vendor.jobs[job] = newKey // keys of one account see each other's jobs
	g.vendor.mu.Unlock()
	g.vendor.end(job)
	g.wantKey(job, newKey)
	g.reload(newKey + " " + oldKey)
	g.wantDoctor("warn server srv0, upstream "+g.upstream()+", key 2 of upstream_key: The backend refuses this old key, with status 401", "Remove it from upstream_key.")
}

// The requests that a configuration from before still serves count, also without a job.
func TestUpstreamKeys_ARunningRequestNeedsItsKey(t *testing.T) {
	g := newTurnGateway(t, oldKey)
	begun, goOn := make(chan struct{}), make(chan struct{})
	g.backend.respond(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Method == http.MethodPost { // and no request of the doctor
			close(begun)
			<-goOn
		}
		_, _ = io.WriteString(w, `{"results":[],"text":"hello","code":""}`)
	})
	done := make(chan reply, 1)
	go func() { done <- g.send(requestForms["curl's form with u"](g.gateway, g.secret)) }()
	<-begun
	g.wantNeeds("1: 0 jobs 0 tokens 0 streams 1 requests false")
	g.reload(newKey)
	g.wantNeeds("1: 0 jobs 0 tokens 0 streams 0 requests true; removed: 0 jobs 0 tokens 0 streams 1 requests false")
	g.wantDoctor("warn backend amivoice, a key that is not in upstream_key", "It is still needed: 1 request.")
	close(goOn)
	if got := <-done; got.status != http.StatusOK {
		t.Errorf("status %d, %s", got.status, got.body)
	}
	g.wantNeeds("1: 0 jobs 0 tokens 0 streams 0 requests true")
}

// Each operation on a job of an old key goes out with it. A token belongs to the key that minted it, and
// so do the jobs that are created with the token.
func TestUpstreamKeys_OtherDialects(t *testing.T) {
	g := &turnGateway{}
	g.gateway = newGatewayWith(t, &gateway{dialect: "speechmatics", options: "upstream_key " + oldKey})
	_, secret := g.issue(keystore.NewKey{})
	wantSent := func(what, key string, ask func() reply) reply {
		t.Helper()
		g.backend.received()
		got := ask()
		if sent := g.backend.received(); strings.Count(sent, "Bearer "+key+"\r\n") != 1 || got.status >= 300 {
			t.Errorf("%s: status %d; the backend got %q, want %s", what, got.status, sent, key)
		}
		return got
	}
	ask := func(method, target, authorization, body string) func() reply {
		return func() reply { return g.ask(method, target, "Bearer "+authorization, body) }
	}
	create := func(authorization string) func() reply {
		return func() reply {
			form := g.form("/v2/jobs", [2]string{"config", `{"type":"transcription"}`}, [2]string{"data_file", audio})
			return g.send(strings.Replace(form, "\r\n", "\r\nAuthorization: Bearer "+authorization+"\r\n", 1))
		}
	}
	g.backend.respondText(http.StatusCreated, `{"key_value":"a-token-of-the-old-key"}`)
	wantSent("a mint", oldKey, ask("POST", "/v1/api_keys?type=batch", secret, `{"ttl":600}`))
	g.backend.respondText(http.StatusCreated, `{"id":"job1"}`)
	wantSent("a creation", oldKey, create(secret))

	g.reload(newKey + " " + oldKey)
	g.backend.respondText(http.StatusCreated, `{"id":"job2"}`)
	wantSent("a creation with a token of the old key", "a-token-of-the-old-key", create("a-token-of-the-old-key"))
	g.backend.respondText(http.StatusCreated, `{"id":"job3"}`)
	wantSent("a new creation", newKey, create(secret))
	g.backend.respondText(http.StatusOK, `{"job":{"status":"running"}}`)
	for id, key := range map[string]string{"job1": oldKey, "job2": oldKey, "job3": newKey} {
		wantSent("a poll of "+id, key, ask("GET", "/v2/jobs/"+id, secret, ""))
		wantSent("the transcript of "+id, key, ask("GET", "/v2/jobs/"+id+"/transcript", secret, ""))
	}
	g.wantNeeds("1: 1 jobs 0 tokens 0 streams 0 requests false; 2: 2 jobs 1 tokens 0 streams 0 requests false")
	for id, key := range map[string]string{"job1": oldKey, "job3": newKey} {
		wantSent("the deletion of "+id, key, ask("DELETE", "/v2/jobs/"+id, secret, ""))
	}
	g.backend.respondText(http.StatusOK, `{"jobs":[{"id":"job1"},{"id":"job2"}]}`)
	wantSent("a list", newKey, ask("GET", "/v2/jobs", secret, ""))
	g.wantNeeds("1: 0 jobs 0 tokens 0 streams 0 requests true; 2: 1 jobs 1 tokens 0 streams 0 requests false")
}

// Whatever the key of a request, an answer shows no upstream key.
func TestUpstreamKeys_EveryKeyIsMasked(t *testing.T) {
	const short = "sh0rt-key"
	g := newGateway(t, "upstream_key "+newKey+" "+oldKey+" "+short)
	_, secret := g.issue(keystore.NewKey{})
	recognize := requestForms["curl's form with u"](g, secret)
	all := newKey + " " + oldKey + " " + short
	for status, want := range map[int]string{
		http.StatusOK:         strings.Repeat("*", len(newKey)) + " " + strings.Repeat("*", len(oldKey)) + " " + short, // a short one can be a word
		http.StatusBadGateway: strings.Repeat("*", len(newKey)) + " " + strings.Repeat("*", len(oldKey)) + " " + strings.Repeat("*", len(short)),
		http.StatusBadRequest: strings.Repeat("*", len(newKey)) + " " + strings.Repeat("*", len(oldKey)) + " " + strings.Repeat("*", len(short)),
	} {
		g.backend.respond(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("X-Keys", all)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, all)
		})
		got := g.send(recognize)
		if got.status != status || got.body != want || strings.Contains(got.header.Get("X-Keys"), "key") {
			t.Errorf("status %d, %v, %q, want %d, %q", got.status, got.header, got.body, status, want)
		}
	}
	g.backend.respondPieces(http.StatusOK, -1, "x "+oldKey[:9], oldKey[9:]+" "+newKey[:5], newKey[5:])
	if got := g.send(recognize); got.body != "x "+strings.Repeat("*", len(oldKey))+" "+strings.Repeat("*", len(newKey)) {
		t.Errorf("in pieces: %q", got.body)
	}
	for _, key := range []string{newKey, oldKey} {
		g.backend.respondText(http.StatusOK, `{"sessionid":"x-`+key+`","text":"..."}`)
		if got := g.create(secret); got.status != http.StatusBadGateway || strings.Contains(got.raw, key) {
			t.Errorf("a job whose ID is a key: %d %s", got.status, got.body)
		}
	}
	if log := g.log(); strings.Contains(log, oldKey) || strings.Contains(log, newKey) {
		t.Error("the log shows a key")
	}
}

// A stream shows no upstream key either, also if the backend gets a token in place of a key.
func TestUpstreamKeys_EveryKeyIsMaskedInStreams(t *testing.T) {
	g := newGatewayWith(t, &gateway{dialect: "openai", options: "upstream_key " + newKey + " " + oldKey})
	g.backend.realtime(t, "", echo(newKey+" "+oldKey))
	owner, secret := g.issueAt(now().Add(-2*time.Hour), keystore.NewKey{})
	g.recordToken(owner, "openai", "ek_token-of-the-old-key", 10*time.Minute)
	for _, shown := range []string{secret, "ek_token-of-the-old-key"} {
		c := g.openKeyed(t, shown)
		c.WantText(strings.Repeat("*", len(newKey)) + " " + strings.Repeat("*", len(oldKey)))
		c.Send(wstest.Raw(wstest.Fin|wstest.OpText, wstest.Mask(), 0, []byte(oldKey)))
		c.WantText("echo " + strings.Repeat("*", len(oldKey)))
		_ = c.Close()
	}
}
