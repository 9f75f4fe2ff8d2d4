package caddymodule_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

const (
	jobNotFound = `{"message":"not found"}`
	jobDenied   = `{"message":"received illegal service authorization"}`
)

// creating makes the backend answer creations with this job ID, and polls with this body.
func (b *backend) creating(id, poll string) {
	b.respond(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodPost {
			_, _ = fmt.Fprintf(w, `{"sessionid":%q,"text":"..."}`, id)
			return
		}
		_, _ = io.WriteString(w, poll)
	})
}

func (g *gateway) create(key string) reply {
	g.t.Helper()
	return g.send(g.form("/v1/recognitions", [2]string{"u", key}, [2]string{"d", "-a-general"}, [2]string{"a", audio}))
}

func (g *gateway) wantPoll(id, key string, status int, body string) {
	g.t.Helper()
	if got := g.poll(id, key); got.status != status || got.body != body {
		g.t.Errorf("status %d, body %q; want %d, %q", got.status, got.body, status, body)
	}
}

func TestR10_JobIsRecordedBeforeTheClientLearnsItsID(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	key, secret := g.issue(keystore.NewKey{})
	const id = "017ac8786c5b0a0504399999"
	g.backend.creating(id, "")

	before := now()
	got := g.create(secret)
	if got.status != http.StatusOK || got.body != `{"sessionid":"`+id+`","text":"..."}` {
		t.Fatalf("status %d, body %q; log:\n%s", got.status, got.body, g.log())
	}
	job, err := g.keys.Job(context.Background(), "amivoice", id)
	if err != nil {
		t.Fatal(err)
	}
	if job.KeyID != key.ID || job.AccountID != key.AccountID || job.Client.String() != "127.0.0.1" ||
		job.CreatedAt < before || job.CreatedAt > now() || job.State != policy.JobUnseen {
		t.Errorf("recorded as %+v", job)
	}

	t.Run("an ID that another job has is an error, and the log names the job", func(t *testing.T) {
		g.t = t
		got := g.create(secret)
		if got.status != http.StatusBadGateway || strings.Contains(got.body, id) {
			t.Errorf("status %d, body %q", got.status, got.body)
		}
		if !strings.Contains(g.log(), `"job_id":"`+id+`"`) {
			t.Error("the log does not name the job")
		}
	})
	t.Run("an answer without an ID passes as it is", func(t *testing.T) {
		g.t = t
		unsupported := strings.Replace(deniedBody, `"code":"-"`, `"code":"+"`, 1)
		g.backend.respondText(http.StatusOK, unsupported)
		if got := g.create(secret); got.status != http.StatusOK || got.body != unsupported {
			t.Errorf("status %d, body %q", got.status, got.body)
		}
	})
	for name, answer := range map[string]string{
		"an ID in another case":            `{"SessionID":"x"}`,
		"a byte order mark":                "\ufeff" + `{"sessionid":"x"}`,
		"a list":                           `[{"sessionid":"x"}]`,
		"two objects":                      `{}{"sessionid":"x"}`,
		"nothing":                          "",
		"two IDs":                          `{"sessionid":"first","sessionid":"second"}`,
		"an ID that is no string":          `{"sessionid":17}`,
		"an ID that a path cannot carry":   `{"sessionid":"a/../b"}`,
		"an answer larger than the buffer": `{"text":"` + strings.Repeat("x", 128<<10) + `","sessionid":"late"}`,
	} {
		t.Run(name+" is the gateway's error", func(t *testing.T) {
			g.t = t
			g.backend.respondText(http.StatusOK, answer)
			if got := g.create(secret); got.status != http.StatusBadGateway || !strings.Contains(got.body, `"code":"!"`) {
				t.Errorf("status %d, body %q", got.status, got.body)
			}
		})
	}
}

// refuseJobs makes the database refuse every new job at once.
func (g *gateway) refuseJobs() (allow func()) {
	g.t.Helper()
	db := g.place.Database(g.t)
	refuse, stop := "CREATE TRIGGER refuse BEFORE INSERT ON jobs BEGIN SELECT RAISE(ABORT, 'refused'); END", "DROP TRIGGER refuse"
	if g.place.IsPostgreSQL() {
		refuse, stop = "ALTER TABLE jobs ADD CONSTRAINT refuse CHECK (FALSE) NOT VALID", "ALTER TABLE jobs DROP CONSTRAINT refuse"
	}
	if _, err := db.ExecContext(g.t.Context(), refuse); err != nil {
		g.t.Fatal(err)
	}
	return func() {
		if _, err := db.ExecContext(g.t.Context(), stop); err != nil {
			g.t.Error(err)
		}
	}
}

func TestR11_JobsBelongToTheAccount(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	creator, _ := g.issue(keystore.NewKey{})
	_, colleague := g.issue(keystore.NewKey{})
	other := g.newAccount("Other")
	_, stranger := g.issue(keystore.NewKey{AccountID: other.ID})
	g.recordJob("job1", creator, now())
	const answer = `{"status":"queued","session_id":"job1"}`
	g.backend.respondText(http.StatusOK, answer)

	g.wantPoll("job1", colleague, http.StatusOK, answer)
	if sent := g.backend.received(); !strings.Contains(sent, "Authorization: Bearer "+backendKey+"\r\n") || strings.Contains(sent, colleague) {
		t.Errorf("the backend got\n%s", sent)
	}

	foreign, unknown := g.poll("job1", stranger), g.poll("job2", stranger)
	if foreign.body != jobNotFound || foreign.status != http.StatusNotFound {
		t.Errorf("a job of another account: status %d, body %q", foreign.status, foreign.body)
	}
	withoutDate := func(raw string) string {
		lines := strings.Split(raw, "\r\n")
		kept := lines[:0]
		for _, line := range lines {
			if !strings.HasPrefix(line, "Date: ") {
				kept = append(kept, line)
			}
		}
		return strings.Join(kept, "\r\n")
	}
	if withoutDate(foreign.raw) != withoutDate(unknown.raw) || foreign.body != unknown.body {
		t.Errorf("a foreign job and an unknown one can be told apart:\n%s\n%s\n\n%s\n%s", foreign.raw, foreign.body, unknown.raw, unknown.body)
	}
	if sent := g.backend.received(); sent != "" {
		t.Errorf("the backend got\n%s", sent)
	}
}

func TestR12_GraceOpensTheKeysOwnJobAndNothingElse(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey+"\n grace 24h\n grace_after_end 1h")
	hour := time.Hour
	made := now().Add(-30 * hour)
	expiredAt := policy.ExpiresAt(made.Add(2 * hour))
	creator, secret := g.issueAt(made, keystore.NewKey{Expires: expiredAt})
	_, otherExpired := g.issueAt(made, keystore.NewKey{Expires: expiredAt})
	_, valid := g.issue(keystore.NewKey{})
	const answer = `{"status":"processing"}`
	g.backend.respondText(http.StatusOK, answer)

	g.recordJob("inside", creator, now().Add(-23*hour))
	g.recordJob("outside", creator, now().Add(-25*hour))
	g.recordJob("ended-long-ago", creator, now().Add(-20*hour))
	g.recordJob("ended-just-now", creator, now().Add(-20*hour))
	for id, at := range map[string]policy.Time{"ended-long-ago": now().Add(-2 * hour), "ended-just-now": now().Add(-hour / 2)} {
		if err := g.keys.SetJobState(context.Background(), "amivoice", id, policy.JobCompleted, at); err != nil {
			t.Fatal(err)
		}
	}

	g.wantPoll("inside", secret, http.StatusOK, answer)
	if !strings.Contains(g.log(), `"reason":"allowed_by_grace"`) {
		t.Error("grace is not in the log")
	}
	g.wantPoll("outside", secret, http.StatusUnauthorized, jobDenied)
	g.wantPoll("ended-long-ago", secret, http.StatusUnauthorized, jobDenied)
	g.wantPoll("ended-just-now", secret, http.StatusOK, answer)
	g.wantPoll("inside", otherExpired, http.StatusUnauthorized, jobDenied)
	g.wantPoll("inside", valid, http.StatusOK, answer)
	g.wantPoll("outside", valid, http.StatusOK, answer)
	wantDenied(t, g.create(secret))
	wantDenied(t, g.send(requestForms["curl's form with u"](g, secret)))

	t.Run("not from another address than the key's rule allows", func(t *testing.T) {
		g.t = t
		bound, boundSecret := g.issueAt(made, keystore.NewKey{Expires: expiredAt, Allow: g.allow("203.0.113.7")})
		g.recordJob("bound", bound, now().Add(-hour))
		g.wantPoll("bound", boundSecret, http.StatusUnauthorized, jobDenied)
		if got := g.poll("bound", boundSecret, "X-Forwarded-For: 203.0.113.7\r\n"); got.status != http.StatusOK {
			t.Errorf("from its own address: status %d", got.status)
		}
	})
	t.Run("revoking the key ends it at once", func(t *testing.T) {
		g.t = t
		if _, err := g.keys.RevokeKey(context.Background(), now(), operator, creator.ID, "test"); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() bool { return g.poll("inside", secret).status == http.StatusUnauthorized })
		g.wantPoll("inside", valid, http.StatusOK, answer)
	})
	t.Run("closing the account ends everything at once", func(t *testing.T) {
		g.t = t
		if _, err := g.keys.CloseAccount(context.Background(), now(), operator, g.account.ID); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() bool { return g.poll("inside", valid).status == http.StatusUnauthorized })
	})
}

func TestR13_UnrecordedJobs(t *testing.T) {
	const answer = `{"status":"completed"}`
	t.Run("are unknown by default", func(t *testing.T) {
		g := newGateway(t, "upstream_key "+backendKey)
		_, key := g.issue(keystore.NewKey{})
		g.backend.respondText(http.StatusOK, answer)
		g.wantPoll("older", key, http.StatusNotFound, jobNotFound)
	})
	t.Run("go to the backend with unrecorded_jobs backend", func(t *testing.T) {
		g := newGateway(t, "upstream_key pass\n unrecorded_jobs backend")
		_, key := g.issue(keystore.NewKey{})
		other := g.newAccount("Other")
		foreign, _ := g.issue(keystore.NewKey{AccountID: other.ID})
		_, expired := g.expired()
		g.recordJob("foreign", foreign, now())
		g.backend.respondText(http.StatusOK, answer)
		g.wantPoll("older", key, http.StatusOK, answer)
		if sent := g.backend.received(); !strings.Contains(sent, "Authorization: Bearer "+key+"\r\n") {
			t.Errorf("under pass the backend got\n%s", sent)
		}
		g.wantPoll("foreign", key, http.StatusNotFound, jobNotFound)
		g.wantPoll("older", expired, http.StatusUnauthorized, jobDenied)
		if strings.Contains(g.log(), "recording a job's state") {
			t.Error("the gate tries to record the state of a job without a record")
		}
	})
}

// If the record of a job cannot be read, nobody knows whose the job is.
func TestR17_AJobThatCannotBeLookedUpIsNotUnrecorded(t *testing.T) {
	g := newGateway(t, "upstream_key pass\n unrecorded_jobs backend")
	_, secret := g.issue(keystore.NewKey{})
	g.backend.respondText(http.StatusOK, `{"status":"completed"}`)
	g.wantPoll("older", secret, http.StatusOK, `{"status":"completed"}`) // the key is in the cache now
	g.backend.received()
	if _, err := g.place.Database(t).ExecContext(t.Context(), `ALTER TABLE jobs RENAME TO jobs_elsewhere`); err != nil {
		t.Fatal(err)
	}
	got := g.poll("older", secret)
	if got.status != http.StatusServiceUnavailable || got.body != `{"message":"service temporarily unavailable"}` || got.header.Get("Retry-After") == "" {
		t.Errorf("status %d, body %q, header %v", got.status, got.body, got.header)
	}
	if sent := g.backend.received(); sent != "" {
		t.Errorf("the backend got %q", sent)
	}
	if log := g.log(); !strings.Contains(log, `"reason":"store_unavailable"`) || !strings.Contains(log, "looking up the job: ") {
		t.Error("the log does not name the reason")
	}
}

func TestJobStateIsReadFromPolls(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	key, secret := g.issue(keystore.NewKey{})
	state := func(id string) policy.Job {
		job, err := g.keys.Job(context.Background(), "amivoice", id)
		if err != nil {
			t.Fatal(err)
		}
		return job
	}
	g.recordJob("j", key, now())
	g.backend.respondText(http.StatusNotFound, `{"session_id":"j","status":"completed"}`)
	g.poll("j", secret)
	if job := state("j"); job.State != policy.JobUnseen {
		t.Errorf("after an error the job is %+v", job)
	}
	for _, word := range []string{"queued", "started", "processing", "completed"} {
		g.backend.respondText(http.StatusOK, `{"session_id":"j","status":"`+word+`"}`)
		g.poll("j", secret)
		if job := state("j"); job.State.String() != word || job.State.Ended() != !job.EndedAt.IsZero() {
			t.Errorf("after %s the job is %+v", word, job)
		}
	}
	ended := state("j")
	g.backend.respondText(http.StatusOK, `{"session_id":"j","status":"processing"}`)
	g.poll("j", secret)
	if job := state("j"); job != ended {
		t.Errorf("after its end the job is %+v, and was %+v", job, ended)
	}

	t.Run("at the end of an answer of many megabytes, which streams", func(t *testing.T) {
		g.t = t
		g.recordJob("large", key, now())
		segment := strings.Repeat(`{"results":[{"tokens":[{"written":"\"status\":\"queued\""}]}],"text":"a"},`, 1000)
		const times = 100
		size := 0
		g.backend.respond(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"segments":[`)
			for range times {
				n, _ := io.WriteString(w, segment)
				size += n
			}
			_, _ = io.WriteString(w, `{}],"nested":{"status":"error"},"status":"completed"}`)
		})
		got := g.poll("large", secret)
		if len(got.body) < size || !strings.HasSuffix(got.body, `"status":"completed"}`) {
			t.Errorf("%d bytes came of more than %d", len(got.body), size)
		}
		if job := state("large"); job.State != policy.JobCompleted || job.EndedAt.IsZero() {
			t.Errorf("the job is %+v", job)
		}
	})
}
